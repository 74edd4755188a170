//! A classifier on the real all-MiniLM-L6-v2 (`reference/sections.py`), against Hugging Face
//! transformers in f32.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may fail and tell")]

use std::fs;
use std::path::Path;

use kinglet::{Classification, Model};
use kinglet_quantize::{Options, Source, WeightType, quantize};
use kinglet_tests::real;
use serde_json::{Value, json};
use tempfile::TempDir;

fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn numbers(rows: &Value) -> Vec<f32> {
    rows.as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32).collect()
}

/// A copy of a safetensors file with further f32 tensors: name, dims, values.
fn with_tensors(source: &Path, target: &Path, tensors: &[(&str, Vec<usize>, Vec<f32>)]) {
    let bytes = fs::read(source).unwrap();
    let (len, rest) = bytes.split_first_chunk::<8>().unwrap();
    let (header, data) = rest.split_at(u64::from_le_bytes(*len) as usize);
    let (mut header, mut data): (Value, _) =
        (serde_json::from_slice(header).unwrap(), data.to_vec());
    for (name, dims, values) in tensors {
        let start = data.len();
        data.extend(values.iter().flat_map(|x| x.to_le_bytes()));
        let offsets = [start, data.len()];
        header[*name] = json!({ "dtype": "F32", "shape": dims, "data_offsets": offsets });
    }
    let header = header.to_string().into_bytes();
    let len = (header.len() as u64).to_le_bytes();
    fs::write(target, [&len[..], &header, &data].concat()).unwrap();
}

/// The checkpoint with the classifier.
fn folder(golden: &Value) -> TempDir {
    let source = real::checkpoint("all-minilm-l6-v2");
    let folder = tempfile::tempdir().unwrap();
    for file in ["tokenizer.json", "tokenizer_config.json"] {
        fs::copy(source.join(file), folder.path().join(file)).unwrap();
    }
    let mut config = read_json(&source.join("config.json"));
    let labels = golden["labels"].as_array().unwrap();
    config["architectures"] = json!(["BertForSequenceClassification"]);
    config["id2label"] = (0..labels.len()).map(|i| (i.to_string(), labels[i].clone())).collect();
    fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    let rows = golden["weight"].as_array().unwrap();
    let weight: Vec<f32> = rows.iter().flat_map(numbers).collect();
    let tensors = [
        ("classifier.weight", vec![rows.len(), weight.len() / rows.len()], weight),
        ("classifier.bias", vec![rows.len()], numbers(&golden["bias"])),
    ];
    let weights = "model.safetensors";
    with_tensors(&source.join(weights), &folder.path().join(weights), &tensors);
    folder
}

/// The reference's scores, in the order of labels.
fn softmax(logits: &[f32]) -> Vec<f32> {
    let max = logits.iter().copied().fold(f32::MIN, f32::max);
    let powers: Vec<f32> = logits.iter().map(|x| (x - max).exp()).collect();
    let sum: f32 = powers.iter().sum();
    powers.iter().map(|x| x / sum).collect()
}

/// Largest difference of a score.
fn off(found: &[Classification], golden: &Value) -> f32 {
    let labels = golden["labels"].as_array().unwrap();
    let rows = golden["logits"].as_array().unwrap();
    assert_eq!(found.len(), rows.len());
    let mut off = 0.0f32;
    for (found, row) in found.iter().zip(rows) {
        for (label, score) in labels.iter().zip(softmax(&numbers(row))) {
            let one = found.scores.iter().find(|one| *label == *one.label).unwrap();
            off = off.max((one.score - score).abs());
        }
    }
    off
}

#[test]
fn labels_of_real_texts_are_those_of_the_reference() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("goldens/sections.json");
    let golden = read_json(&path);
    let texts: Vec<&str> =
        golden["texts"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
    let folder = folder(&golden);
    let classified = |dtype: WeightType| {
        let out = folder.path().join(format!("{dtype}.kinglet"));
        let options = Options { dtype, ..Options::default() };
        quantize(&Source::open(folder.path()).unwrap(), &options, &out, &mut ()).unwrap();
        Model::open(&out).unwrap().classify(&texts).unwrap()
    };
    let (f16, int8) = (classified(WeightType::F16), classified(WeightType::Int8));
    let (off_f16, off_int8) = (off(&f16, &golden), off(&int8, &golden));
    let best = |found: &Classification| found.scores[0].label.clone();
    let same = f16.iter().zip(&int8).filter(|(a, b)| best(a) == best(b)).count();
    println!(
        "scores off by {off_f16:.5} in f16, {off_int8:.5} in int8; {same} of {} labels the same",
        texts.len()
    );
    assert!(off_f16 < 1e-3, "{off_f16}");
    // One in two hundred.
    assert!(texts.len() == 200 && same >= 199, "{same} of {} labels the same", texts.len());
}
