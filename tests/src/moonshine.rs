//! A tiny random Moonshine as Hugging Face stores it, and what Hugging Face computes for it;
//! `reference/tiny_moonshine.py` made it.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::tiny::{ids, read_json, rows, table, write_safetensors};

/// What the reference computed for the sound of the tiny Whisper.
#[derive(Clone, Debug)]
pub struct Golden {
    /// Rows of the encoder.
    pub n_rows: usize,
    /// Every fourth of them.
    pub states: Vec<Vec<f32>>,
    /// Samples of a sound that is cut.
    pub cut: usize,
    /// Every fourth row of that one.
    pub cut_states: Vec<Vec<f32>>,
    /// A text.
    pub tokens: Vec<u32>,
    /// After each of its tokens every third logit.
    pub logits: Vec<Vec<f32>>,
    /// Greedy answer.
    pub answer: Vec<u32>,
    /// Distance from the best to the second-best logit at each of its tokens.
    pub gaps: Vec<f32>,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("goldens/moonshine")
}

/// The golden in `goldens/moonshine`.
///
/// # Panics
/// If it is missing or damaged.
pub fn golden() -> Golden {
    let json = read_json(&folder().join("goldens.json"));
    let number = |value: &Value| ids(&json!([value]))[0] as usize;
    Golden {
        n_rows: number(&json["n_rows"]),
        states: rows(&json["states"]),
        cut: number(&json["cut"]),
        cut_states: rows(&json["cut_states"]),
        tokens: ids(&json["tokens"]),
        logits: rows(&json["logits"]),
        answer: ids(&json["answer"]),
        gaps: rows(&json!([json["gaps"]])).concat(),
    }
}

/// The checkpoint as Hugging Face saves it, deleted when the value is dropped.
///
/// # Panics
/// If it cannot be written.
pub fn checkpoint() -> TempDir {
    let target = tempfile::tempdir().expect("a temporary folder");
    for file in ["config.json", "../tiny/llama/tokenizer.json"] {
        let name = Path::new(file).file_name().expect("a name");
        fs::copy(folder().join(file), target.path().join(name)).expect("a file copied");
    }
    let tensors = table(&read_json(&folder().join("tensors.json")));
    write_safetensors(&tensors, &target.path().join("model.safetensors"));
    target
}
