//! Tiny checkpoints as GGUF files, made as llama.cpp's converter makes them.
//!
//! `goldens/tiny/FAMILY/gguf.json` lists the metadata and, for each tensor, how it is made of those
//! of the checkpoint; `reference/tiny_gguf.py` wrote it with gguf-py's names, and the hash of all
//! values with which what is made here is compared.

use std::collections::HashMap;

use serde_json::Value as Json;
use sha2::{Digest, Sha256};

use crate::gguf_file::{GgufFile, Value};
use crate::tiny::{self, Tensor, float, ids, read_json};

/// The families of which there are GGUF files.
pub fn families() -> impl Iterator<Item = &'static str> {
    tiny::families().filter(|family| tiny::folder(family).join("gguf.json").exists())
}

/// The tiny checkpoint of `family` as a GGUF file.
///
/// # Panics
/// If the family has none, its golden is damaged, or the values are not the reference's.
pub fn file(family: &str) -> GgufFile {
    let json = read_json(&tiny::folder(family).join("gguf.json"));
    let stored: HashMap<String, Tensor> =
        tiny::tensors(family).into_iter().map(|tensor| (tensor.name.clone(), tensor)).collect();
    let mut file = GgufFile::default();
    file.set("general.architecture", Value::Text(text(&json["architecture"])));
    for entry in tiny::array(&json["keys"]) {
        let value = &entry[2];
        let value = match entry[1].as_str() {
            Some("u32") => Value::U32(value.as_u64().expect("a whole number") as u32),
            Some("f32") => Value::F32(float(value)),
            Some("bool") => Value::Bool(value.as_bool().expect("true or false")),
            _ => Value::Text(text(value)),
        };
        file.set(&text(&entry[0]), value);
    }
    let mut hash = Sha256::new();
    for row in tiny::array(&json["tensors"]) {
        let dims: Vec<usize> = ids(&row[1]).into_iter().map(|d| d as usize).collect();
        let (how, sources) = (text(&row[2]), tiny::array(&row[3]));
        let values = match how.as_str() {
            "values" => sources.iter().map(float).collect(),
            _ => made(&how, sources.iter().map(|source| &stored[source.as_str().unwrap_or("")])),
        };
        if how != "values" {
            values.iter().for_each(|value| hash.update(value.to_le_bytes()));
        }
        file.float(&text(&row[0]), &dims, &values);
    }
    let digest: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(digest, text(&json["sha256"]), "{family}: not the reference's values");
    file.vocabulary(300);
    file
}

/// The values of a tensor that the converter makes of others.
fn made<'a>(how: &str, sources: impl Iterator<Item = &'a Tensor>) -> Vec<f32> {
    let sources: Vec<&Tensor> = sources.collect();
    let values: Vec<f32> = sources.iter().flat_map(|tensor| tensor.values()).collect();
    let dims = &sources[0].dims;
    let rows: Vec<&[f32]> = values.chunks_exact(values.len() / dims[0]).collect();
    let (how, n) = how.split_once(':').unwrap_or((how, "1"));
    let n: usize = n.parse().expect("a number");
    match how {
        "plus_one" => values.iter().map(|x| x + 1.0).collect(),
        "pairs" => {
            let head = rows.len() / n;
            let order = |row: usize| row / head * head + row % 2 * (head / 2) + row % head / 2;
            (0..rows.len()).flat_map(|row| rows[order(row)].to_vec()).collect()
        }
        "heads" => {
            let width = rows.len() / n / 3;
            let of = |part: usize| (0..n).map(move |head| (head * 3 + part) * width);
            let firsts = (0..3).flat_map(of);
            firsts.flat_map(|first| rows[first..first + width].concat()).collect()
        }
        "half" => {
            let half = rows[0].len() / 2;
            rows.iter().flat_map(|row| row[n * half..][..half].to_vec()).collect()
        }
        _ => values,
    }
}

fn text(value: &Json) -> String {
    value.as_str().expect("a text").to_owned()
}
