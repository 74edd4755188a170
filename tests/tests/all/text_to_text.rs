//! Answers to sources, greedy and by beams, against the reference's generation.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use kinglet::{Error, Model, SearchOptions, TokenAnswer};
use kinglet_quantize::{Options, Source, WeightType, quantize};
use kinglet_tests::tiny::{self, Kind};
use serde_json::{Value, json};

/// Largest difference of scores, which are of the size of one or, with a penalty below zero, of hundreds:
/// logits in fp16 are off by some thousandths.
const TOLERANCE: f32 = 0.02;

/// A tiny model whose folder has this configuration of generation.
fn model(family: &str, generation: &Value) -> (Model, tempfile::TempDir) {
    let folder = tiny::checkpoint(family);
    let config = serde_json::to_vec(generation).unwrap();
    std::fs::write(folder.path().join("generation_config.json"), config).unwrap();
    let path = folder.path().join("model.kinglet");
    let options = Options { dtype: WeightType::F16, ..Options::default() };
    quantize(&Source::open(folder.path()).unwrap(), &options, &path, &mut ()).unwrap();
    (Model::open(&path).unwrap(), folder)
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

fn sources(search: &Value) -> Vec<Vec<u32>> {
    search["sources"].as_array().unwrap().iter().map(ids).collect()
}

#[test]
fn answers_are_those_of_the_reference() {
    for family in tiny::families_of(Kind::EncoderDecoder) {
        let golden = tiny::searches(family);
        for search in golden["searches"].as_array().unwrap() {
            let mut generation = search["settings"].clone();
            generation["eos_token_id"] = golden["ends"].clone();
            let (model, _folder) = model(family, &generation);
            let answers = model.answers_to(&sources(search), &SearchOptions::default()).unwrap();
            for (answer, expected) in answers.iter().zip(search["answers"].as_array().unwrap()) {
                let case = format!("{family}, {generation}: {answer:?} for {expected}");
                assert_eq!(answer.tokens, ids(&expected["tokens"]), "{case}");
                let score = expected["score"].as_f64().unwrap() as f32;
                let tolerance = TOLERANCE * score.abs().max(1.0);
                assert!((answer.score - score).abs() < tolerance, "{case}");
            }
        }
    }
}

#[test]
fn answers_are_the_same_alone_and_among_others() {
    for family in ["t5", "marian"] {
        let golden = tiny::searches(family);
        for beams in [1, 3] {
            let settings = json!({
                "decoder_start_token_id": 0, "num_beams": beams, "max_length": 40,
                "no_repeat_ngram_size": 2, "eos_token_id": golden["ends"],
            });
            let (model, _folder) = model(family, &settings);
            let some = sources(&golden["searches"][0]);
            // More than fit a step, so that some begin when others end.
            let many: Vec<_> = (0..70).map(|i| some[i % 4][i / 4 % 3..].to_vec()).collect();
            let options = SearchOptions::default();
            let together = model.answers_to(&many, &options).unwrap();
            let alone: Vec<TokenAnswer> =
                many.iter().flat_map(|one| model.answers_to(&[one], &options).unwrap()).collect();
            assert_eq!(together, alone);
        }
    }
}

#[test]
fn what_cannot_be_answered_is_an_error() {
    let (model, _folder) = model("t5", &json!({"decoder_start_token_id": 0, "eos_token_id": 1}));
    let options = SearchOptions::default();
    let empty: [u32; 0] = [];
    assert!(matches!(model.answers_to(&[empty], &options), Err(Error::Empty { .. })));
    let unknown = model.answers_to(&[[300]], &options);
    assert!(matches!(unknown, Err(Error::TokenOutOfRange { id: 300, .. })));
    for beams in [0, 65] {
        let error = model.answers_to(&[[5]], &options.clone().beams(beams));
        assert!(matches!(error, Err(Error::InvalidOption { name: "beams", .. })));
    }
    let error = model.translate(&["x"], &Default::default()).unwrap_err().to_string();
    assert!(error.contains("`run`"), "{error}");
    assert!(matches!(model.text_to_text(&[""; 0], &options), Err(Error::Empty { .. })));
}
