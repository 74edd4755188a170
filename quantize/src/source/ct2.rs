//! Folders of CTranslate2: the names of tensors with dots, plain weights, and a configuration that says
//! what the tensors and their numbers imply.

use std::path::Path;

use kinglet_formats::checkpoint::{
    Checkpoint, CheckpointError, DType, Joined, TensorInfo, TensorProblem,
};
use serde_json::{Map, Value, json};

use super::packed::Scaled;
use super::place::CONFIG;
use crate::QuantizeError;
use crate::overlay::{Make, Overlay};

/// What a file calls the one kind of models of it that is read.
const WHISPER: &str = "WhisperSpec";
/// How a file numbers the exact form of GELU among activations.
const GELU: usize = 3;

/// The checkpoint as families know them, if it is one of CTranslate2; `config` is completed.
pub(super) fn plain(
    folder: &Path,
    inner: Box<dyn Checkpoint>,
    config: &mut Map<String, Value>,
) -> Result<Box<dyn Checkpoint>, QuantizeError> {
    match inner.specification() {
        None => return Ok(inner),
        Some(WHISPER) => {}
        Some(other) => {
            return Err(QuantizeError::UnsupportedArchitecture {
                file: CONFIG.to_owned(),
                found: format!("{other} of CTranslate2"),
                supported: format!("{WHISPER}; convert the original checkpoint instead"),
            });
        }
    }
    describe(inner.as_ref(), config)?;
    let renamed = Joined::new(vec![unscaled(inner)?], |_, info| name(info));
    let renamed = renamed.map_err(|tensor| CheckpointError::Tensor {
        file: folder.to_owned(),
        tensor,
        problem: TensorProblem::Duplicate,
    })?;
    Ok(Box::new(renamed))
}

/// A tensor's name with dots, where norms have weights and biases as everything else; numbers that
/// are no weights are left out.
fn name(info: &TensorInfo) -> Option<String> {
    let dotted = info.name.replace('/', ".");
    let norm = [(".gamma", ".weight"), (".beta", ".bias")];
    let renamed = norm.iter().find_map(|(theirs, ours)| {
        dotted.strip_suffix(theirs).map(|module| format!("{module}{ours}"))
    });
    (!info.dims.is_empty()).then(|| renamed.unwrap_or(dotted))
}

/// The checkpoint with integers divided by their scales.
fn unscaled(inner: Box<dyn Checkpoint>) -> Result<Box<dyn Checkpoint>, QuantizeError> {
    let (mut used, mut made) = (Vec::new(), Vec::<(TensorInfo, Box<dyn Make>)>::new());
    for (index, info) in inner.tensors().iter().enumerate() {
        if matches!(info.dtype, DType::I8 | DType::I16)
            && !info.dims.is_empty()
            && let Some(scale) = inner.find(&format!("{}_scale", info.name))
        {
            let scaled = Scaled::divided(inner.as_ref(), index, scale)?;
            used.extend([index, scale]);
            made.push((TensorInfo { dtype: DType::F32, ..info.clone() }, Box::new(scaled)));
        }
    }
    if made.is_empty() {
        return Ok(inner);
    }
    Ok(Box::new(Overlay::new(inner, |index, _| !used.contains(&index), made)))
}

/// Writes into `config` what Hugging Face's says of the same model.
fn describe(
    checkpoint: &dyn Checkpoint,
    config: &mut Map<String, Value>,
) -> Result<(), QuantizeError> {
    for (name, expected) in
        [("decoder/pre_norm", 1), ("decoder/scale_embeddings", 0), ("decoder/activation", GELU)]
    {
        let found = number(checkpoint, name)?;
        if found.is_some_and(|found| found != expected) {
            return Err(QuantizeError::UnsupportedOption {
                file: "model.bin".to_owned(),
                option: name.to_owned(),
                found: found.unwrap_or_default().to_string(),
                supported: expected.to_string(),
            });
        }
    }
    let dim = |name: &str, at: usize| -> Option<usize> {
        checkpoint.tensors()[checkpoint.find(name)?].dims.get(at).copied()
    };
    let layers = |stack: &str| {
        let is_there = |i: &usize| {
            checkpoint.find(&format!("{stack}/layer_{i}/ffn/linear_0/weight")).is_some()
        };
        (0..checkpoint.tensors().len()).take_while(is_there).count()
    };
    let said = [
        ("d_model", dim("encoder/conv1/weight", 0)),
        ("num_mel_bins", dim("encoder/conv1/weight", 1)),
        ("vocab_size", dim("decoder/embeddings/weight", 0)),
        ("max_source_positions", dim("encoder/position_encodings/encodings", 0)),
        ("max_target_positions", dim("decoder/position_encodings/encodings", 0)),
        ("encoder_layers", Some(layers("encoder"))),
        ("decoder_layers", Some(layers("decoder"))),
        ("encoder_ffn_dim", dim("encoder/layer_0/ffn/linear_0/weight", 0)),
        ("decoder_ffn_dim", dim("decoder/layer_0/ffn/linear_0/weight", 0)),
        ("encoder_attention_heads", number(checkpoint, "encoder/num_heads")?),
        ("decoder_attention_heads", number(checkpoint, "decoder/num_heads")?),
    ];
    for (key, value) in said {
        if let Some(value) = value {
            config.insert(key.to_owned(), json!(value));
        }
    }
    config.insert("architectures".to_owned(), json!(["WhisperForConditionalGeneration"]));
    Ok(())
}

/// A number that is stored as a tensor.
fn number(checkpoint: &dyn Checkpoint, name: &str) -> Result<Option<usize>, QuantizeError> {
    let Some(index) = checkpoint.find(name) else { return Ok(None) };
    let info = &checkpoint.tensors()[index];
    if !info.dims.is_empty() {
        return Err(QuantizeError::shape(info, Vec::new()));
    }
    let mut value = [0.0];
    checkpoint.read_rows(index, 0, &mut value)?;
    Ok(Some(value[0] as usize))
}
