//! Folders of sentence-transformers and the vectors it makes of texts, as
//! `reference/sentence_modules.py` wrote them down.

use std::fs;
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use crate::tiny;

/// A tiny checkpoint with modules, and what it makes of texts.
#[derive(Clone, Debug)]
pub struct Case {
    /// What it is about.
    pub name: String,
    base: String,
    /// Files by their names in the folder.
    files: Vec<(String, Value)>,
    /// Folders of dense layers and their weights.
    dense: Vec<(String, Vec<tiny::Tensor>)>,
    /// What the reference computed.
    pub runs: Vec<Run>,
}

/// All texts with one prompt.
#[derive(Clone, Debug)]
pub struct Run {
    /// The name of a prompt, `default`, or `none`.
    pub prompt: String,
    /// Tokens of each text, with the prompt and special tokens, uncut.
    pub tokens: Vec<usize>,
    /// The vector of each text.
    pub vectors: Vec<Vec<f32>>,
}

/// The texts, and all cases.
///
/// # Panics
/// If the golden is damaged.
pub fn cases() -> (Vec<String>, Vec<Case>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("goldens/sentence.json");
    let golden = tiny::read_json(&path);
    let texts = tiny::array(&golden["texts"]).iter().map(text).collect();
    (texts, tiny::array(&golden["cases"]).iter().map(case).collect())
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

fn case(case: &Value) -> Case {
    let files = case["files"].as_object().expect("files");
    let dense = |entry: &Value| (text(&entry[0]), tiny::table(&entry[1]));
    let run = |run: &Value| Run {
        prompt: text(&run["prompt"]),
        tokens: tiny::ids(&run["tokens"]).into_iter().map(|n| n as usize).collect(),
        vectors: tiny::rows(&run["vectors"]),
    };
    Case {
        name: text(&case["name"]),
        base: text(&case["base"]),
        files: files.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
        dense: tiny::array(&case["dense"]).iter().map(dense).collect(),
        runs: tiny::array(&case["runs"]).iter().map(run).collect(),
    }
}

impl Case {
    /// The folder, in a temporary place.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn folder(&self) -> TempDir {
        let folder = tiny::checkpoint(&self.base);
        // The base has modules and a limit of its own, which not every case replaces.
        let _ = fs::remove_file(folder.path().join("sentence_bert_config.json"));
        for (name, value) in &self.files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder made");
            fs::write(path, value.to_string()).expect("a file written");
        }
        for (name, tensors) in &self.dense {
            tiny::write_safetensors(tensors, &folder.path().join(name).join("model.safetensors"));
        }
        folder
    }
}
