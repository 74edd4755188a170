//! Encoders, embedders and rerankers in GGUF files, with the names and keys of gguf-py
//! (`reference/gguf_encoders.py`), give what their folders give, bit for bit.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::path::Path;

use kinglet::{Model, Task};
use kinglet_formats::checkpoint::open_file;
use kinglet_formats::spec::{Activation, Dense};
use kinglet_quantize::{Options, Source, quantize};
use kinglet_tests::gguf_file::{GgufFile, Value};
use kinglet_tests::sentence::cases;
use kinglet_tests::tiny;
use serde_json::Value as Json;

/// What gguf-py says of all families.
fn names() -> serde_json::Map<String, Json> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("goldens/gguf_encoders.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn value(json: &Json) -> Value {
    match json {
        Json::Bool(b) => Value::Bool(*b),
        Json::String(text) => Value::Text(text.clone()),
        Json::Array(list) => {
            Value::Texts(list.iter().map(|text| text.as_str().unwrap().to_owned()).collect())
        }
        number => match number.as_u64() {
            Some(n) => Value::U32(n as u32),
            None => Value::F32(number.as_f64().unwrap() as f32),
        },
    }
}

/// The family's tiny checkpoint as the converter writes it.
fn gguf(family: &str, entry: &Json) -> GgufFile {
    let mut file = GgufFile::default();
    file.set("general.architecture", value(&entry["architecture"]));
    for (key, json) in entry["keys"].as_object().unwrap() {
        file.set(key, value(json));
    }
    for tensor in tiny::tensors(family) {
        let Some(name) = entry["names"][&tensor.name].as_str() else { continue };
        let mut values: Vec<f32> = tensor.values().collect();
        let mut dims = tensor.dims.clone();
        if family.starts_with("roberta") && name == "position_embd.weight" {
            // Rows before the first position are left out.
            let rows = entry["keys"]["bert.context_length"].as_u64().unwrap() as usize;
            values.drain(..(dims[0] - rows) * dims[1]);
            dims[0] = rows;
        }
        if family == "embeddinggemma" && name.ends_with("norm.weight") {
            // The format's norms are whole factors.
            values.iter_mut().for_each(|x| *x += 1.0);
        }
        file.float(name, &dims, &values);
    }
    file.vocabulary(300);
    file
}

fn model(source: &Path, out: &Path) -> Model {
    let source = Source::open(source).unwrap();
    quantize(&source, &Options::default(), out, &mut ()).unwrap();
    Model::open(out).unwrap()
}

/// Gives a file the vocabulary of WordPiece that a folder has.
fn wordpiece(file: &mut GgufFile, folder: &Path) {
    let bytes = std::fs::read(folder.join("tokenizer.json")).unwrap();
    let json: Json = serde_json::from_slice(&bytes).unwrap();
    let vocab = json["model"]["vocab"].as_object().unwrap();
    let mut tokens: Vec<(&str, u64)> =
        vocab.iter().map(|(token, id)| (token.as_str(), id.as_u64().unwrap())).collect();
    tokens.sort_by_key(|(_, id)| *id);
    let is_special = |token: &str| token.starts_with('[') && token.len() > 2;
    let spelled = |(token, _): &(&str, u64)| match token.strip_prefix("##") {
        Some(inside) => inside.to_owned(),
        None if is_special(token) => (*token).to_owned(),
        None => format!("\u{2581}{token}"),
    };
    let types = tokens.iter().map(|(token, _)| if is_special(token) { 3 } else { 1 }).collect();
    file.set("tokenizer.ggml.model", Value::Text("bert".to_owned()))
        .set("tokenizer.ggml.tokens", Value::Texts(tokens.iter().map(spelled).collect()))
        .set("tokenizer.ggml.token_type", Value::I32s(types))
        .set("tokenizer.ggml.cls_token_id", Value::U32(2))
        .set("tokenizer.ggml.seperator_token_id", Value::U32(3));
}

#[test]
fn gguf_files_give_the_vectors_of_folders() {
    let names = names();
    let embedders = names.iter().filter(|(family, _)| !family.ends_with("-sequences"));
    assert_eq!(embedders.clone().count(), 8);
    for (family, entry) in embedders {
        let folder = tiny::checkpoint(family);
        let path = folder.path().join("model.gguf");
        gguf(family, entry).write(&path);
        let theirs = model(&path, &folder.path().join("theirs.kinglet"));
        let ours = model(folder.path(), &folder.path().join("ours.kinglet"));
        if family == "roberta" {
            assert_eq!(ours.context_length(), theirs.context_length());
        } else {
            assert_eq!(ours.meta().spec, theirs.meta().spec, "{family}");
        }
        assert_eq!(ours.text_tokens(), theirs.text_tokens(), "{family}");
        let golden = tiny::golden(family);
        let texts = [golden.tokens.clone(), golden.tokens[3..9].to_vec()];
        let vectors = ours.embed_tokens(&texts).unwrap();
        assert!(vectors == theirs.embed_tokens(&texts).unwrap(), "{family}");
        let cosine: f32 = vectors[0].iter().zip(&golden.embedding).map(|(a, b)| a * b).sum();
        assert!(cosine > 0.999, "{family}: {cosine}");
    }
}

#[test]
fn the_layers_behind_the_pooling_are_read() {
    let entry = &names()["embeddinggemma"];
    let case = cases().1.into_iter().find(|case| case.name == "embeddinggemma").unwrap();
    let folder = case.folder();
    let mut file = gguf("embeddinggemma", entry);
    for (module, name) in [("2_Dense", "dense_2.weight"), ("3_Dense", "dense_3.weight")] {
        let weights = open_file(folder.path().join(module).join("model.safetensors")).unwrap();
        let dims = weights.tensors()[0].dims.clone();
        let mut values = vec![0.0; dims.iter().product()];
        weights.read_rows(0, 0, &mut values).unwrap();
        file.float(name, &dims, &values);
        let key = |part: &str| format!("gemma-embedding.{}_feat_{part}", &name[..7]);
        file.set(&key("in"), Value::U32(dims[1] as u32));
        file.set(&key("out"), Value::U32(dims[0] as u32));
    }
    let path = folder.path().join("model.gguf");
    file.write(&path);
    let theirs = model(&path, &folder.path().join("theirs.kinglet"));
    let ours = model(folder.path(), &folder.path().join("ours.kinglet"));
    assert_eq!(ours.meta().spec, theirs.meta().spec);
    assert_eq!(ours.meta().spec.heads[0].chain.len(), 2);
    let texts = [tiny::golden("embeddinggemma").tokens];
    assert!(ours.embed_tokens(&texts).unwrap() == theirs.embed_tokens(&texts).unwrap());
}

#[test]
fn rerankers_score_as_their_folders_do() {
    let names = names();
    let texts = ["the wren is small", "the king", "A model is data: blocks, norms!"];
    let pairs = [(texts[0], texts[2]), (texts[1], "data for the range")];
    for family in ["roberta-sequences", "modernbert-sequences"] {
        let folder = tiny::checkpoint(family);
        let path = folder.path().join("model.gguf");
        let mut file = gguf(family, &names[family]);
        wordpiece(&mut file, folder.path());
        file.write(&path);
        let theirs = model(&path, &folder.path().join("theirs.kinglet"));
        let ours = model(folder.path(), &folder.path().join("ours.kinglet"));
        assert_eq!(ours.labels(), theirs.labels(), "{family}");
        assert_eq!(ours.meta().spec.heads, theirs.meta().spec.heads, "{family}");
        assert!(ours.classify(&texts).unwrap() == theirs.classify(&texts).unwrap(), "{family}");
        assert!(
            ours.classify_pairs(&pairs).unwrap() == theirs.classify_pairs(&pairs).unwrap(),
            "{family}"
        );
    }
}

/// A classifier of one label without a layer before it, or such a layer alone.
#[test]
fn either_half_of_a_rerankers_head_may_be_missing() {
    let names = names();
    let folder = tiny::checkpoint("bert");
    let row: Vec<f32> = (0..64).map(|i| i as f32 / 64.0 - 0.5).collect();
    for (name, activation) in [("cls", Some(Activation::Tanh)), ("cls.output", None)] {
        let mut file = gguf("bert", &names["bert"]);
        wordpiece(&mut file, folder.path());
        file.float(&format!("{name}.weight"), &[1, 64], &row)
            .float(&format!("{name}.bias"), &[1], &[0.25])
            .set("bert.pooling_type", Value::U32(4));
        let path = folder.path().join("model.gguf");
        file.write(&path);
        let reranker = model(&path, &folder.path().join("reranker.kinglet"));
        assert_eq!(reranker.tasks(), [Task::Rerank, Task::Classify]);
        assert_eq!(reranker.labels(), ["LABEL_0"]);
        let expected = Dense { activation, ..Dense::plain(1) };
        assert_eq!(reranker.meta().spec.heads[0].chain, [expected]);
        let ranked = reranker.rerank("a small bird", &["the wren", "the king is small"]).unwrap();
        assert_ne!(ranked[0].score, ranked[1].score);
    }
}

/// `<s> a </s></s> b </s>`, and one separator in ModernBERT's.
#[test]
fn pairs_have_what_their_file_asks_for_between_them() {
    let names = names();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    for (pre, add_sep, between) in [
        ("roberta-bpe", Some(true), &[2, 2][..]),
        ("roberta-bpe", None, &[2, 2]),
        ("roberta-bpe", Some(false), &[2]),
        ("modern-bert", Some(true), &[2]),
    ] {
        let mut file = gguf("roberta", &names["roberta"]);
        file.set("tokenizer.ggml.pre", Value::Text(pre.to_owned()))
            .set("tokenizer.ggml.seperator_token_id", Value::U32(2));
        for key in ["bos", "eos"] {
            file.set(&format!("tokenizer.ggml.add_{key}_token"), Value::Bool(true));
        }
        if let Some(add_sep) = add_sep {
            file.set("tokenizer.ggml.add_sep_token", Value::Bool(add_sep));
        }
        file.write(&path);
        let model = model(&path, &folder.path().join("model.kinglet"));
        let pair = model.tokenizer().frame(&[7, 8], Some(&[9]));
        assert_eq!(pair.ids, [&[1, 7, 8][..], between, &[9, 2]].concat(), "{pre} {add_sep:?}");
    }
}

#[test]
fn poolings_that_are_neither_vectors_nor_scores_are_named() {
    let names = names();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    let refused = |file: &mut GgufFile| {
        file.write(&path);
        let out = folder.path().join("model.kinglet");
        let source = Source::open(&path).unwrap();
        quantize(&source, &Options::default(), &out, &mut ()).unwrap_err().to_string()
    };
    let mut decoder = gguf("qwen3-embedding", &names["qwen3-embedding"]);
    // Those of decoders read a prompt of their own and compare two tokens.
    let error = refused(decoder.set("qwen3.pooling_type", Value::U32(4)));
    assert!(error.contains("qwen3.pooling_type") && error.contains("of encoders"), "{error}");
    // Without one it continues texts.
    decoder.remove("qwen3.pooling_type").write(&path);
    assert!(Source::open(&path).unwrap().spec().unwrap().logits_head().is_some());
    let mut encoder = gguf("bert", &names["bert"]);
    let error = refused(encoder.set("bert.pooling_type", Value::U32(5)));
    assert!(error.contains("bert.pooling_type") && error.contains("4 (rank"), "{error}");
    let error = refused(encoder.set("bert.pooling_type", Value::U32(4)));
    assert!(error.contains("cls.output.weight, cls.weight"), "{error}");
    encoder.float("cls.output.weight", &[2, 64], &[0.0; 128]);
    let error = refused(encoder.set("bert.classifier.output_labels", {
        Value::Texts(vec!["a".into(), "b".into(), "c".into()])
    }));
    assert!(error.contains("output_labels") && error.contains("2 names"), "{error}");
}
