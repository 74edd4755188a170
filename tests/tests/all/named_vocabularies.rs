//! Tokenizers whose pieces have their ids from a list of names (OPUS-MT, M2M100), against transformers.

#![allow(clippy::unwrap_used, reason = "a test may fail and tell")]

use std::fs;
use std::path::{Path, PathBuf};

use kinglet::tokenizer::{EncodeOptions, Tokenizer};
use kinglet::{Model, SearchOptions, TranslateOptions};
use kinglet_formats::kinglet::KingletFile;
use kinglet_quantize::{Options, Source, WeightType, quantize};
use kinglet_tests::tiny;
use serde_json::Value;
use tempfile::TempDir;

fn goldens() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("goldens")
}

fn json(path: &str) -> Value {
    serde_json::from_str(&fs::read_to_string(goldens().join(path)).unwrap()).unwrap()
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

fn pairs(value: &Value) -> impl Iterator<Item = (&Value, &Value)> {
    value.as_array().unwrap().iter().map(|pair| (&pair[0], &pair[1]))
}

/// The folder of a small model with the tokenizer of a case.
fn folder(case: &Value) -> TempDir {
    let is_marian = case["files"].get("source.spm").is_some();
    let folder = tiny::checkpoint(if is_marian { "marian" } else { "m2m100" });
    fs::remove_file(folder.path().join("tokenizer.json")).unwrap();
    for (name, model) in case["files"].as_object().unwrap() {
        let model = format!("sentencepiece/{}.model", model.as_str().unwrap());
        fs::copy(goldens().join(model), folder.path().join(name)).unwrap();
    }
    for (name, part) in [
        ("tokenizer_config.json", "config"),
        ("vocab.json", "vocab"),
        ("target_vocab.json", "target_vocab"),
    ] {
        if !case[part].is_null() {
            fs::write(folder.path().join(name), case[part].to_string()).unwrap();
        }
    }
    folder
}

fn compiled(folder: &Path) -> Result<Tokenizer, String> {
    let out = folder.join("out.kinglet");
    let source = Source::open(folder).map_err(|error| error.to_string())?;
    quantize(&source, &Options::default(), &out, &mut ()).map_err(|error| error.to_string())?;
    Ok(Tokenizer::from_bytes(KingletFile::open(&out).unwrap().tokenizer()).unwrap())
}

#[test]
fn ids_and_texts_are_those_of_transformers() {
    let options = EncodeOptions { add_special: true, parse_special: false };
    for case in json("sentencepiece/named.json").as_array().unwrap() {
        let tokenizer = compiled(folder(case).path()).unwrap();
        let config = &case["config"];
        let mut texts = Vec::new();
        for (text, expected) in pairs(&case["texts"]) {
            let text = text.as_str().unwrap();
            assert_eq!(tokenizer.encode(text, options), ids(expected), "{config}: {text:?}");
            texts.push(text);
        }
        let pair = tokenizer.encode_pair(texts[0], texts[1], options);
        assert_eq!(pair.ids, ids(&case["pair"]), "{config}");
        let parse = EncodeOptions { parse_special: true, ..options };
        for (text, expected) in case.get("marked").into_iter().flat_map(pairs) {
            let text = text.as_str().unwrap();
            assert_eq!(tokenizer.encode(text, parse), ids(expected), "{config}: {text:?}");
        }
        for (sequence, expected) in pairs(&case["decoded"]) {
            let text = tokenizer.decode(&ids(sequence), true);
            assert_eq!(text.trim(), expected.as_str().unwrap(), "{config}: {sequence}");
        }
    }
}

#[test]
fn what_does_not_fit_is_named() {
    let cases = json("sentencepiece/named.json");
    let error = |case: &Value, change: &dyn Fn(&mut Value)| {
        let mut case = case.clone();
        change(&mut case);
        compiled(folder(&case).path()).unwrap_err()
    };
    let found = error(&cases[0], &|case| case["vocab"] = Value::Null);
    assert!(found.contains("vocab.json"), "{found}");
    let found = error(&cases[1], &|case| case["target_vocab"] = Value::Null);
    assert!(found.contains("target_vocab.json"), "{found}");
    for name in ["<unk>", "</s>"] {
        let found =
            error(&cases[0], &|case| drop(case["vocab"].as_object_mut().unwrap().remove(name)));
        assert!(found.contains(name), "{found}");
    }
    let found = error(&cases[1], &|case| case["target_vocab"]["</s>"] = 7.into());
    assert!(found.contains("another in answers"), "{found}");
    let found = error(&cases[0], &|case| case["vocab"]["odd"] = (-1).into());
    assert!(found.contains("vocab.json"), "{found}");
    let found = error(&cases[0], &|case| case["vocab"]["odd"] = u32::MAX.into());
    assert!(found.contains("4294967295"), "{found}");
}

/// A small random model in a folder as those of OPUS-MT.
#[test]
fn opus_mt_translates_as_transformers_does() {
    let folder = tiny::checkpoint("opus-mt");
    assert!(!folder.path().join("tokenizer.json").exists());
    let path = folder.path().join("out.kinglet");
    let options = Options { dtype: WeightType::F16, ..Options::default() };
    let source = Source::open(folder.path()).unwrap();
    for file in ["source.spm", "vocab.json"] {
        assert!(source.inputs().contains(&folder.path().join(file)), "{file}");
    }
    quantize(&source, &options, &path, &mut ()).unwrap();
    let model = Model::open(&path).unwrap();
    let languages = model.languages().unwrap();
    let codes: Vec<&str> = languages.to.iter().map(|language| &*language.code).collect();
    assert_eq!((&*languages.from[0].code, &codes[..]), ("en", &["de", "pt"][..]));
    let cases = json("tiny/opus-mt/translations.json");
    for case in cases.as_array().unwrap() {
        let answer = model.answers_to(&[ids(&case["source"])], &SearchOptions::default()).unwrap();
        assert_eq!(answer[0].tokens, ids(&case["tokens"]), "{case}");
        let text = case["text"].as_str().unwrap();
        let translated = model.translate(&[text], &TranslateOptions::default().to("pt")).unwrap();
        assert_eq!(translated[0].text, case["translation"].as_str().unwrap(), "{case}");
    }
}
