//! Folders of sentence-transformers: every module, prompts and limits, against its own vectors.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may fail and tell")]

use kinglet::{EmbedOptions, Embedding, Model, TextLength};
use kinglet_formats::kinglet::Prompt;
use kinglet_quantize::{Options, Source, WeightType, quantize};
use kinglet_tests::sentence::{Case, cases};

/// Largest difference over the largest number of a vector: weights, keys and values are rounded to
/// 11 bits a few times on the way.
const TOLERANCE: f32 = 5e-3;

fn model(folder: &tempfile::TempDir, dtype: WeightType) -> Model {
    let path = folder.path().join("model.kinglet");
    let options = Options { dtype, ..Options::default() };
    quantize(&Source::open(folder.path()).unwrap(), &options, &path, &mut ()).unwrap();
    Model::open(&path).unwrap()
}

fn case(name: &str) -> Case {
    cases().1.into_iter().find(|case| case.name == name).unwrap()
}

fn options(prompt: &str) -> EmbedOptions {
    match prompt {
        "default" => EmbedOptions::default(),
        "none" => EmbedOptions::default().without_prompt(),
        name => EmbedOptions::default().prompt(name),
    }
}

#[test]
fn vectors_are_those_of_sentence_transformers() {
    let (texts, cases) = cases();
    assert_eq!(cases.len(), 17);
    for case in cases {
        let folder = case.folder();
        let model = model(&folder, WeightType::F16);
        for run in &case.runs {
            let embeddings = model.embed_with(&texts, &options(&run.prompt)).unwrap();
            for (i, (found, expected)) in embeddings.iter().zip(&run.vectors).enumerate() {
                let Embedding { vector, length: TextLength { tokens, truncated } } = found;
                assert_eq!(*tokens, run.tokens[i], "{} {} {i}", case.name, run.prompt);
                assert_eq!(*truncated, *tokens > model.text_tokens(), "{}", case.name);
                assert_eq!(vector.len(), expected.len(), "{}", case.name);
                let differences = vector.iter().zip(expected).map(|(a, b)| (a - b).abs());
                let largest = expected.iter().fold(0.0, |max: f32, x| max.max(x.abs()));
                let error = differences.fold(0.0, f32::max) / largest;
                assert!(error < TOLERANCE, "{} {} {i}: {error}", case.name, run.prompt);
            }
        }
        let vectors = model.embed(&texts).unwrap();
        let with = model.embed_with(&texts, &EmbedOptions::default()).unwrap();
        assert!(with.iter().zip(&vectors).all(|(one, other)| one.vector == *other));
    }
}

#[test]
fn prompts_are_kept_and_asked_for_by_name() {
    let folder = case("embeddinggemma").folder();
    let model = model(&folder, WeightType::Int8);
    let prompt = |name: &str, text: &str| Prompt { name: name.to_owned(), text: text.to_owned() };
    let expected = [
        prompt("query", "find: "),
        prompt("document", ""),
        prompt("title", "the title is small and data "),
    ];
    assert_eq!(model.prompts(), expected);
    let embedding = model.meta().embedding.clone().unwrap();
    assert_eq!(embedding.default_prompt.as_deref(), Some("query"));
    let error = model.embed_with(&["a"], &EmbedOptions::default().prompt("passage"));
    assert_eq!(
        error.unwrap_err().to_string(),
        "the model has no prompt \"passage\"; it has query, document, title"
    );
}

#[test]
fn texts_that_are_cut_are_told() {
    let folder = case("distilbert cut at 9").folder();
    let model = model(&folder, WeightType::Int8);
    assert_eq!(model.text_tokens(), 9);
    let found =
        model.embed_with(&["king", "the wren is small and the king is small"], &options(""));
    // No such prompt, and none at all.
    assert!(found.unwrap_err().to_string().ends_with("it has none"));
    let texts = ["king", "the wren is small and the king is small"];
    let found = model.embed_with(&texts, &EmbedOptions::default()).unwrap();
    let lengths: Vec<_> = found.iter().map(|e| (e.length.tokens, e.length.truncated)).collect();
    assert_eq!(lengths, [(3, false), (11, true)]);
}

#[test]
fn a_prompt_that_leaves_no_room_is_refused() {
    let case = case("bert mean without its prompt");
    let folder = case.folder();
    let limit = serde_json::json!({ "max_seq_length": 6 }).to_string();
    std::fs::write(folder.path().join("sentence_bert_config.json"), limit).unwrap();
    let error = model(&folder, WeightType::Int8).embed(&["king"]).unwrap_err().to_string();
    assert_eq!(
        error,
        "the prompt, with a token of the text, has 7 tokens, the model takes 6; shorten it"
    );
}

#[test]
fn modules_that_do_not_fit_are_named() {
    let change = |file: &str, key: &str, value: serde_json::Value| {
        let folder = case("embeddinggemma").folder();
        let path = folder.path().join(file);
        let mut json: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        json[key] = value;
        std::fs::write(&path, json.to_string()).unwrap();
        let source = Source::open(folder.path());
        source.and_then(|source| source.spec()).unwrap_err().to_string()
    };
    for (key, value, part) in [
        ("in_features", serde_json::json!(63), "the width of what comes before, 64"),
        ("activation_function", serde_json::json!("torch.nn.Softsign"), "Softsign"),
        ("use_residual", serde_json::json!(true), "use_residual"),
        ("module_input_name", serde_json::json!("token_embeddings"), "token_embeddings"),
    ] {
        let error = change("2_Dense/config.json", key, value);
        assert!(error.contains(part) && error.contains("2_Dense/config.json"), "{error}");
    }
    let prompts = "config_sentence_transformers.json";
    let failed = |folder: &tempfile::TempDir| {
        let path = folder.path().join("model.kinglet");
        let source = Source::open(folder.path()).unwrap();
        quantize(&source, &Options::default(), &path, &mut ()).unwrap_err().to_string()
    };
    let folder = case("bert mean without its prompt").folder();
    let pooling = folder.path().join("1_Pooling/config.json");
    let text = std::fs::read_to_string(&pooling).unwrap();
    let mut json: serde_json::Value = serde_json::from_str(&text).unwrap();
    json["include_prompt"] = serde_json::json!("no");
    std::fs::write(&pooling, json.to_string()).unwrap();
    let error = failed(&folder);
    assert!(error.contains("1_Pooling/config.json") && error.contains("include_prompt"), "{error}");
    let folder = case("embeddinggemma").folder();
    std::fs::remove_file(folder.path().join("3_Dense/model.safetensors")).unwrap();
    let error = Source::open(folder.path()).err().unwrap().to_string();
    assert!(error.contains("3_Dense/model.safetensors"), "{error}");
    let folder = case("embeddinggemma").folder();
    std::fs::write(folder.path().join(prompts), r#"{"default_prompt_name": "no"}"#).unwrap();
    let error = failed(&folder);
    assert!(error.contains("default_prompt_name"), "{error}");
}
