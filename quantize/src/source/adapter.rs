//! Files that look like models and are none: adapters, statistics, vocabularies.

use std::path::Path;

use kinglet_formats::checkpoint::{Checkpoint, Gguf};

use super::files::Files;
use super::parts::MAX_CONFIG;
use crate::QuantizeError;

/// The configuration of an adapter of PEFT.
const CONFIG: &str = "adapter_config.json";
const MERGE: &str = "merge it into its base model first, with `merge_and_unload()` and `save_pretrained()` \
                     of PEFT, and convert the result";

/// The error for a folder of an adapter that has no model beside it.
pub(super) fn in_folder(files: &Files) -> Option<QuantizeError> {
    let bytes = files.read(CONFIG, MAX_CONFIG).ok()??;
    let config: Option<serde_json::Value> = super::text::json(CONFIG, bytes).ok();
    let base = config.as_ref().and_then(|config| config.get("base_model_name_or_path")?.as_str());
    let what = match base {
        Some(base) => format!("an adapter of {base:.120}"),
        None => "an adapter".to_owned(),
    };
    Some(QuantizeError::NotAModel { path: files.place().to_owned(), what, remedy: MERGE })
}

/// The error for weights that change those of another model.
pub(super) fn among_weights(path: &Path, checkpoint: &dyn Checkpoint) -> Result<(), QuantizeError> {
    let is_part = |name: &str| {
        [".lora_A.", ".lora_B.", ".lora_embedding_A"].iter().any(|part| name.contains(part))
    };
    if !checkpoint.tensors().iter().any(|tensor| is_part(&tensor.name)) {
        return Ok(());
    }
    let what = "a LoRA adapter".to_owned();
    Err(QuantizeError::NotAModel { path: path.to_owned(), what, remedy: MERGE })
}

/// The error for a GGUF file that holds something else than a model.
pub(super) fn in_gguf(path: &Path, gguf: &Gguf) -> Result<(), QuantizeError> {
    let metadata = gguf.metadata();
    let text = |key: &str| metadata.str(key).ok().flatten();
    let (what, remedy) = match (text("general.type"), text("general.architecture")) {
        (Some("adapter"), _) => (
            "a LoRA adapter",
            "merge it into its base model first, with `llama-export-lora`, and convert the result",
        ),
        (Some("imatrix"), _) => (
            "an importance matrix, which tells how to quantize a model",
            "name the model's own file",
        ),
        (Some("mmproj"), _) | (_, Some("clip")) => {
            ("the part of a model that sees or hears", "name the file of its language model")
        }
        _ if gguf.tensors().is_empty() && metadata.array("tokenizer.ggml.tokens").is_some() => {
            ("a vocabulary without weights", "name the file of a whole model")
        }
        _ => return Ok(()),
    };
    Err(QuantizeError::NotAModel { path: path.to_owned(), what: what.to_owned(), remedy })
}
