//! Models of whisper.cpp: one file with the sizes of the network, its vocabulary and its tensors under
//! OpenAI's names.

use std::path::{Path, PathBuf};

use kinglet_formats::checkpoint::{
    Checkpoint, CheckpointError, Ggml, Joined, TensorInfo, TensorProblem,
};
use kinglet_formats::kinglet::{General, Generation, Speech};
use serde_json::{Map, Value, json};

use super::files::Files;
use super::{Defaults, Prompts, file_name};
use crate::QuantizeError;
use crate::arch::{self, FolderConfig};
use crate::fields::Fields;
use crate::mapping::Mapping;
use crate::speech;
use crate::tokenizer::{WhisperVocabulary, compile_whisper};

/// How messages call the sizes.
const CONFIG: &str = "sizes of the model";

pub(super) struct GgmlModel {
    files: Files,
    path: PathBuf,
    checkpoint: Joined,
    config: Map<String, Value>,
    vocabulary: WhisperVocabulary,
}

impl GgmlModel {
    pub(super) fn open(files: Files, path: &Path) -> Result<Self, QuantizeError> {
        let model = match files.held(path) {
            Some(bytes) => Ggml::parse(bytes.clone(), path)?,
            None => Ggml::open(path)?,
        };
        let sizes = model.sizes();
        let pieces = model.pieces().map(<[u8]>::to_vec).collect();
        let vocabulary = WhisperVocabulary::new(pieces, sizes.n_vocab as usize)
            .map_err(|source| QuantizeError::Tokenizer { file: path.to_owned(), source })?;
        // Which is four times the rows' length in all that were published.
        let width = |stack: &str| {
            let index = model.find(&format!("{stack}.blocks.0.mlp.0.weight"));
            index.and_then(|index| model.tensors()[index].dims.first().copied()).unwrap_or(0)
        };
        let config = json!({
            "architectures": ["WhisperForConditionalGeneration"],
            "vocab_size": sizes.n_vocab,
            "num_mel_bins": sizes.n_mels,
            "d_model": sizes.n_audio_state,
            "max_source_positions": sizes.n_audio_ctx,
            "max_target_positions": sizes.n_text_ctx,
            "encoder_layers": sizes.n_audio_layer,
            "encoder_attention_heads": sizes.n_audio_head,
            "encoder_ffn_dim": width("encoder"),
            "decoder_layers": sizes.n_text_layer,
            "decoder_attention_heads": sizes.n_text_head,
            "decoder_ffn_dim": width("decoder"),
            "suppress_tokens": vocabulary.not_spoken(),
            "begin_suppress_tokens": vocabulary.not_first(),
        });
        let config = match config {
            Value::Object(map) => map,
            _ => Map::new(),
        };
        let renamed = |_, info: &TensorInfo| Some(renamed(&info.name));
        let checkpoint = Joined::new(vec![Box::new(model)], renamed).map_err(|tensor| {
            let problem = TensorProblem::Duplicate;
            CheckpointError::Tensor { file: path.to_owned(), tensor, problem }
        })?;
        Ok(Self { files, path: path.to_owned(), checkpoint, config, vocabulary })
    }

    pub(super) fn files(&self) -> &Files {
        &self.files
    }

    pub(super) fn inputs(&self) -> &[PathBuf] {
        std::slice::from_ref(&self.path)
    }

    pub(super) fn checkpoint(&self) -> &dyn Checkpoint {
        &self.checkpoint
    }

    fn fields(&self) -> Fields<'_> {
        Fields::json(CONFIG, &self.config)
    }

    pub(super) fn map(&self) -> Result<Mapping, QuantizeError> {
        let folder = FolderConfig {
            config: self.fields(),
            sentence: None,
            max_tokens: None,
            preprocessor: None,
        };
        arch::map_folder(&folder, self.checkpoint())
    }

    pub(super) fn defaults(&self) -> Defaults {
        Defaults {
            general: General { name: file_name(&self.path), ..General::default() },
            generation: Generation { eos: vec![self.vocabulary.end()], ..Generation::default() },
            chat_template: None,
            labels: Vec::new(),
            prompts: Prompts::default(),
            languages: [None, None],
            text_to_text: None,
            translation: None,
        }
    }

    /// Files of whisper.cpp have spectrograms.
    pub(super) fn without_dictation(&self) -> QuantizeError {
        self.fields().missing("dictation")
    }

    /// How the model writes speech down.
    pub(super) fn speech(&self, compiled: &[u8]) -> Result<Speech, QuantizeError> {
        speech::find(compiled, &[self.fields()])
    }

    pub(super) fn tokenizer(&self) -> Result<Vec<u8>, QuantizeError> {
        compile_whisper(&self.vocabulary)
            .map_err(|source| QuantizeError::Tokenizer { file: self.path.clone(), source })
    }
}

/// OpenAI's names as Hugging Face has them; names of other kinds stay as they are.
fn renamed(name: &str) -> String {
    /// Within a stack, and within a layer.
    const OUTSIDE: [(&str, &str); 5] = [
        ("positional_embedding", "embed_positions.weight"),
        ("token_embedding.", "embed_tokens."),
        ("ln_post.", "layer_norm."),
        ("ln.", "layer_norm."),
        ("conv", "conv"),
    ];
    const INSIDE: [(&str, &str); 13] = [
        ("attn.query.", "self_attn.q_proj."),
        ("attn.key.", "self_attn.k_proj."),
        ("attn.value.", "self_attn.v_proj."),
        ("attn.out.", "self_attn.out_proj."),
        ("attn_ln.", "self_attn_layer_norm."),
        ("cross_attn.query.", "encoder_attn.q_proj."),
        ("cross_attn.key.", "encoder_attn.k_proj."),
        ("cross_attn.value.", "encoder_attn.v_proj."),
        ("cross_attn.out.", "encoder_attn.out_proj."),
        ("cross_attn_ln.", "encoder_attn_layer_norm."),
        ("mlp.0.", "fc1."),
        ("mlp.2.", "fc2."),
        ("mlp_ln.", "final_layer_norm."),
    ];
    let theirs = |table: &[(&str, &str)], rest: &str| {
        table.iter().find_map(|(a, b)| Some(format!("{b}{}", rest.strip_prefix(a)?)))
    };
    let ours = name.split_once('.').and_then(|(stack, rest)| {
        if let Some((number, rest)) = rest.strip_prefix("blocks.").and_then(|s| s.split_once('.')) {
            return Some(format!("model.{stack}.layers.{number}.{}", theirs(&INSIDE, rest)?));
        }
        Some(format!("model.{stack}.{}", theirs(&OUTSIDE, rest)?))
    });
    ours.unwrap_or_else(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::renamed;

    #[test]
    fn names_are_hugging_faces() {
        for (name, expected) in [
            ("encoder.positional_embedding", "model.encoder.embed_positions.weight"),
            ("decoder.token_embedding.weight", "model.decoder.embed_tokens.weight"),
            ("encoder.conv1.bias", "model.encoder.conv1.bias"),
            ("encoder.ln_post.bias", "model.encoder.layer_norm.bias"),
            ("decoder.ln.weight", "model.decoder.layer_norm.weight"),
            ("decoder.blocks.3.attn.query.bias", "model.decoder.layers.3.self_attn.q_proj.bias"),
            ("decoder.blocks.3.attn_ln.bias", "model.decoder.layers.3.self_attn_layer_norm.bias"),
            (
                "decoder.blocks.10.cross_attn_ln.bias",
                "model.decoder.layers.10.encoder_attn_layer_norm.bias",
            ),
            ("encoder.blocks.0.mlp.2.weight", "model.encoder.layers.0.fc2.weight"),
            ("encoder.blocks.0.other", "encoder.blocks.0.other"),
            ("odd", "odd"),
        ] {
            assert_eq!(renamed(name), expected);
        }
    }
}
