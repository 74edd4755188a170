//! What a checkpoint becomes as an embedding model: the pooling and the modules behind it that
//! sentence-transformers describes.

use kinglet_formats::spec::{Activation, Dense, Head, Input, Output, Pooling};

use super::{FolderConfig, Mapping, SentenceConfig};
use crate::QuantizeError;
use crate::fields::Fields;

/// Gives a text model the head that makes vectors, instead of any other, and the limit of its texts.
pub(super) fn embed(mapping: &mut Mapping, folder: &FolderConfig<'_>) -> Result<(), QuantizeError> {
    let Some(stack) = mapping.spec.stacks.last() else { return Ok(()) };
    mapping.spec.heads = vec![match &folder.sentence {
        Some(sentence) => head(sentence, stack.hidden_size)?,
        // What sentence-transformers makes of a plain encoder.
        None => Head::embedding(Pooling::Mean, false),
    }];
    limit(mapping, folder);
    Ok(())
}

/// The limit of a text that is read in whole.
pub(super) fn limit(mapping: &mut Mapping, folder: &FolderConfig<'_>) {
    let context_length = mapping.spec.context_length;
    mapping.max_tokens = Some(folder.max_tokens.unwrap_or(usize::MAX).min(context_length));
}

/// Whether a folder's model is asked for vectors: by sentence-transformers, or since its
/// architecture has no head of its own.
pub(super) fn asks_for_vectors(
    mapping: &Mapping,
    folder: &FolderConfig<'_>,
    architectures: &[&str],
) -> bool {
    // Whoever reads images besides has heads for both.
    let reads_text =
        mapping.spec.stacks.iter().all(|stack| matches!(stack.input, Input::Tokens(_)));
    let base = |name: &&str| {
        let headed = ["HeadModel", "MTModel"];
        name.ends_with("Model") && !headed.iter().any(|end| name.ends_with(end))
    };
    reads_text
        && (folder.sentence.is_some()
            || mapping.spec.heads.is_empty()
            || architectures.iter().any(base))
}

/// The head that a list of modules describes.
fn head(sentence: &SentenceConfig<'_>, hidden_size: usize) -> Result<Head, QuantizeError> {
    let wrong = || QuantizeError::UnsupportedOption {
        file: "modules.json".to_owned(),
        option: "modules".to_owned(),
        found: sentence.modules.join(", "),
        supported: "Transformer, Pooling and, optionally, Dense and Normalize in this order"
            .to_owned(),
    };
    // What is only for training changes nothing.
    let mut modules = sentence.modules.iter().copied().filter(|module| *module != "Dropout");
    if (modules.next(), modules.next()) != (Some("Transformer"), Some("Pooling")) {
        return Err(wrong());
    }
    let mut modules = modules.peekable();
    let mut dense = sentence.dense.iter();
    let mut chain = Vec::new();
    let mut width = hidden_size;
    while modules.next_if_eq(&"Dense").is_some() {
        let layer = self::dense(dense.next().ok_or_else(wrong)?, width)?;
        width = layer.size;
        chain.push(layer);
    }
    let normalize = modules.next_if_eq(&"Normalize").is_some();
    if modules.next().is_some() {
        return Err(wrong());
    }
    let pooling = pooling(&sentence.pooling, hidden_size)?;
    Ok(Head {
        stack: None,
        pool: Some(pooling),
        chain,
        output: Output::Vector { normalize, similarity: None },
    })
}

/// A dense module that reads vectors of `width`.
fn dense(config: &Fields<'_>, width: usize) -> Result<Dense, QuantizeError> {
    let inputs = config.size("in_features")?;
    if inputs != width {
        let expected = format!("the width of what comes before, {width}");
        return Err(config.bad("in_features", &inputs, &expected));
    }
    let key = "activation_function";
    // By the name of a Python class.
    let name = config.opt_text(key)?.unwrap_or("Tanh");
    let activation = match name.rsplit('.').next().unwrap_or(name) {
        "Identity" => None,
        "Tanh" => Some(Activation::Tanh),
        "ReLU" => Some(Activation::Relu),
        "GELU" => Some(Activation::Gelu),
        "SiLU" => Some(Activation::Silu),
        _ => return Err(config.unsupported(key, name, "Identity, Tanh, ReLU, GELU, SiLU")),
    };
    if config.flag_or("use_residual", false)? {
        return Err(config.unsupported("use_residual", "true", "false"));
    }
    for key in ["module_input_name", "module_output_name"] {
        if let Some(name) = config.opt_text(key)?.filter(|name| *name != "sentence_embedding") {
            return Err(config.unsupported(key, name, "sentence_embedding"));
        }
    }
    let bias = config.flag_or("bias", true)?;
    Ok(Dense { size: config.size("out_features")?, bias, activation, norm: None })
}

/// How token vectors become one.
fn pooling(config: &Fields<'_>, hidden_size: usize) -> Result<Pooling, QuantizeError> {
    for key in ["word_embedding_dimension", "embedding_dimension"] {
        let width = config.size_or(key, hidden_size)?;
        if width != hidden_size {
            return Err(config.bad(key, &width, &format!("the hidden size, {hidden_size}")));
        }
    }
    let chosen = pooling_modes(config)?;
    let supported = "one of mean, cls, lasttoken, max, mean_sqrt_len, weightedmean";
    Ok(match chosen.as_slice() {
        ["mean" | "mean_tokens"] => Pooling::Mean,
        ["cls" | "cls_token"] => Pooling::Cls,
        ["lasttoken"] => Pooling::Last,
        ["max" | "max_tokens"] => Pooling::Max,
        ["mean_sqrt_len" | "mean_sqrt_len_tokens"] => Pooling::MeanSqrtLen,
        ["weightedmean" | "weightedmean_tokens"] => Pooling::WeightedMean,
        [] => return Err(config.unsupported("pooling_mode", "none", supported)),
        other => return Err(config.unsupported("pooling_mode", &other.join(", "), supported)),
    })
}

/// The modes that are on: `pooling_mode` names them, older files have a flag for each.
fn pooling_modes<'a>(config: &Fields<'a>) -> Result<Vec<&'a str>, QuantizeError> {
    if config.has("pooling_mode") {
        return config.texts("pooling_mode");
    }
    let known = [
        "mean_tokens",
        "cls_token",
        "lasttoken",
        "max_tokens",
        "mean_sqrt_len_tokens",
        "weightedmean_tokens",
    ];
    let mut chosen = Vec::new();
    for mode in known {
        if config.flag_or(&format!("pooling_mode_{mode}"), false)? {
            chosen.push(mode);
        }
    }
    Ok(chosen)
}
