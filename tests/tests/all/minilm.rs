//! all-MiniLM-L6-v2, from its safetensors folder, against Hugging Face transformers in f32.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may fail and tell")]

use kinglet::Model;
use kinglet::tokenizer::EncodeOptions;
use kinglet_quantize::WeightType;
use kinglet_tests::{real, references};

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter().zip(b).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum()
    };
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

#[test]
fn embeddings_equal_the_reference() {
    let golden = references::minilm();
    for (dtype, least) in [(WeightType::F16, 0.99999), (WeightType::Int8, 0.999)] {
        let path = real::converted("minilm", "all-minilm-l6-v2", dtype);
        let model = Model::open(path).unwrap();
        assert_eq!(model.text_tokens(), golden.max_tokens);
        // The reference reads markers such as [SEP] in a text as special tokens, `embed` does not.
        let options = EncodeOptions { add_special: true, parse_special: true };
        let encode =
            |text: &String| model.tokenizer().encode_truncated(text, options, golden.max_tokens);
        let tokens: Vec<Vec<u32>> = golden.texts.iter().map(encode).collect();
        let vectors = model.embed_tokens(&tokens).unwrap();
        let worst = vectors
            .iter()
            .zip(&golden.embeddings)
            .map(|(a, b)| cosine(a, b))
            .fold(f64::INFINITY, f64::min);
        println!("{dtype}: worst cosine of {} texts {worst:.7}", vectors.len());
        assert!(worst >= least, "{dtype}: cosine {worst}");
        for vector in &vectors {
            let length = cosine(vector, vector).sqrt();
            assert!((length - 1.0).abs() < 1e-5);
        }
    }
}

#[test]
fn markers_in_a_text_are_text() {
    let path = real::converted("minilm", "all-minilm-l6-v2", WeightType::Int8);
    let model = Model::open(path).unwrap();
    let vectors = model.embed(&["one [SEP] two", "one", "two"]).unwrap();
    assert_eq!(vectors.len(), 3);
    let options = EncodeOptions { add_special: true, parse_special: false };
    let ids = model.tokenizer().encode("one [SEP] two", options);
    assert_eq!(ids.iter().filter(|&&id| model.tokenizer().is_special(id)).count(), 2);
}
