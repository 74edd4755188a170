//! Code completion: which models have the tokens, what the prompt is, and where it ends.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::fs;
use std::path::{Path, PathBuf};

use kinglet::tokenizer::EncodeOptions;
use kinglet::{FinishReason, GenerateOptions, Model};
use kinglet_formats::kinglet::{Infill, KingletFile};
use kinglet_quantize::{Options, Source, quantize};
use kinglet_tests::{rewrite, tiny};

/// A tiny model whose special tokens `<pad>`, `<s>` and `</s>`, with the ids 0, 1 and 2, are called
/// otherwise.
fn converted(folder: &Path, names: [&str; 3]) -> PathBuf {
    let file = folder.join("tokenizer.json");
    let mut text = fs::read_to_string(&file).unwrap();
    for (ours, theirs) in ["<pad>", "<s>", "</s>"].into_iter().zip(names) {
        text = text.replace(&format!("{ours:?}"), &format!("{theirs:?}"));
    }
    fs::write(&file, text).unwrap();
    let out = folder.join("model.kinglet");
    quantize(&Source::open(folder).unwrap(), &Options::default(), &out, &mut ()).unwrap();
    out
}

const STARCODER: [&str; 3] = ["<fim_prefix>", "<fim_suffix>", "<fim_middle>"];

#[test]
fn each_convention_is_found() {
    for names in [
        STARCODER,
        ["<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"],
        ["<fim-prefix>", "<fim-suffix>", "<fim-middle>"],
        ["<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"],
    ] {
        let folder = tiny::checkpoint("qwen2");
        let file = KingletFile::open(&converted(folder.path(), names)).unwrap();
        let expected = Infill { prefix: 0, suffix: 1, middle: 2, ends: vec![0, 1, 2] };
        assert_eq!(file.meta().infill, Some(expected), "{names:?}");
    }
    // Two of three are none, and an encoder fills no gaps.
    let folder = tiny::checkpoint("qwen2");
    let file = converted(folder.path(), ["<fim_prefix>", "<fim_suffix>", "</s>"]);
    assert_eq!(KingletFile::open(&file).unwrap().meta().infill, None);
}

#[test]
fn a_model_without_the_tokens_says_so() {
    let folder = tiny::checkpoint("qwen2");
    let model = Model::open(converted(folder.path(), ["<pad>", "<s>", "</s>"])).unwrap();
    assert!(!model.can_infill());
    let mut session = model.session().unwrap();
    let error = session.infill("a", "b", &GenerateOptions::greedy()).unwrap_err().to_string();
    assert!(error.ends_with("no fill-in-the-middle tokens"), "{error}");
}

#[test]
fn texts_stand_between_the_tokens_and_hold_none_of_them() {
    let folder = tiny::checkpoint("qwen2");
    let model = Model::open(converted(folder.path(), STARCODER)).unwrap();
    assert!(model.can_infill());
    let plain = |text: &str| {
        let options = EncodeOptions { add_special: false, parse_special: false };
        model.tokenizer().encode(text, options)
    };
    let options = GenerateOptions::greedy().max_tokens(3);
    let (prefix, suffix) = ("for i <fim_suffix> in", " end <fim_middle><fim_prefix>");
    let mut session = model.session().unwrap();
    session.infill(prefix, suffix, &options).unwrap().count();
    let expected = [&[0], &plain(prefix)[..], &[1], &plain(suffix)[..], &[2]].concat();
    assert!(expected.len() > 20 && plain(prefix).iter().all(|id| *id > 2));
    assert_eq!(session.tokens()[..expected.len()], expected);
    // The whole of it again, and one text alone.
    session.infill("", "b", &options).unwrap().count();
    assert_eq!(session.tokens()[..4], [0, 1, plain("b")[0], 2]);
    // What does not fit leaves an error, not a cut text.
    let long = "for i in ".repeat(40);
    let error = session.infill(&long, "", &options).unwrap_err();
    assert!(matches!(error, kinglet::Error::ContextFull { .. }), "{error}");
}

#[test]
fn the_gap_ends_where_the_model_says_so() {
    let folder = tiny::checkpoint("qwen2");
    let path = converted(folder.path(), STARCODER);
    let options = GenerateOptions::greedy().max_tokens(6);
    let model = Model::open(&path).unwrap();
    let mut session = model.session().unwrap();
    let mut all = session.infill("for i", "range", &options).unwrap();
    while all.advance().unwrap().is_some() {}
    assert_eq!(all.generated_tokens(), 6);
    let third = session.tokens()[session.position() - 4];

    let file = KingletFile::open(&path).unwrap();
    let ended = folder.path().join("ended.kinglet");
    let end = |meta: &mut kinglet_formats::kinglet::Meta| {
        meta.infill.as_mut().unwrap().ends.push(third);
    };
    rewrite::rewrite(&file, &ended, end, &file, |_| false);
    let model = Model::open(&ended).unwrap();
    let mut session = model.session().unwrap();
    let mut cut = session.infill("for i", "range", &options).unwrap();
    while cut.advance().unwrap().is_some() {}
    assert!(cut.generated_tokens() < 3);
    assert_eq!(cut.finish_reason(), Some(FinishReason::Eos));
    // An answer of another kind is not ended by it.
    let mut plain = session.generate_from(vec![third], &options).unwrap();
    while plain.advance().unwrap().is_some() {}
    assert_eq!(plain.finish_reason(), Some(FinishReason::MaxTokens));
}
