//! Tiny random encoders with heads of tasks, and what Hugging Face's pipelines make of texts with
//! them; `reference/tiny_tasks.py` made the goldens. Their checkpoints are those of [`crate::tiny`].

use std::fs;
use std::path::Path;

use serde_json::Value;

/// Every checkpoint, by the family and the task.
pub const CHECKPOINTS: [&str; 18] = [
    "bert-sequences",
    "bert-rerank",
    "bert-tokens",
    "bert-masks",
    "bert-answers",
    "albert-sequences",
    "albert-masks",
    "roberta-sequences",
    "roberta-tokens",
    "roberta-masks",
    "distilbert-sequences",
    "distilbert-masks",
    "electra-sequences",
    "electra-masks",
    "deberta-sequences",
    "modernbert-sequences",
    "modernbert-tokens",
    "modernbert-masks",
];

/// What the reference computed with the checkpoint called `name`.
///
/// # Panics
/// If there is none, or it is damaged.
pub fn golden(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("goldens/tiny").join(name);
    let text = fs::read_to_string(path.join("goldens.json"));
    let text = text.unwrap_or_else(|e| panic!("{name}: {e}"));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// Those of a task: `sequences`, `tokens`, `masks`, `answers`, `rerank`.
pub fn checkpoints_of(task: &str) -> impl Iterator<Item = &'static str> {
    CHECKPOINTS.into_iter().filter(move |name| name.ends_with(task))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tiny;

    #[test]
    fn weights_are_the_reference_bytes() {
        for name in CHECKPOINTS {
            assert_eq!(golden(name)["safetensors_sha256"], tiny::sha256(name), "{name}");
        }
    }
}
