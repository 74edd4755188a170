//! Vocabularies of GGUF files as users have them: what leaves something out, or says it otherwise.

#![allow(clippy::unwrap_used, reason = "a test may fail and tell")]

use std::path::Path;

use kinglet::tokenizer::{EncodeOptions, Tokenizer};
use kinglet_formats::checkpoint::gguf::Gguf;
use kinglet_quantize::tokenizer::{
    CompileError, ExtraToken, GgufVocab, RoleNames, compile_gguf, compile_json, compile_tekken,
};
use kinglet_tests::corpus::{corpus, fnv};
use kinglet_tests::gguf_file::{GgufFile, Value};
use serde_json::json;

const TEXT: EncodeOptions = EncodeOptions { add_special: false, parse_special: true };
const ALL: EncodeOptions = EncodeOptions { add_special: true, parse_special: true };

/// What a file says about its vocabulary.
fn read(file: &GgufFile) -> Result<GgufVocab, CompileError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vocabulary.gguf");
    file.write(&path);
    GgufVocab::read(Gguf::open(&path).unwrap().metadata())
}

fn tokenizer(vocab: &GgufVocab) -> Tokenizer {
    Tokenizer::from_bytes(&compile_gguf(vocab).unwrap()).unwrap()
}

fn texts(list: &[&str]) -> Value {
    Value::Texts(list.iter().map(|&text| text.to_owned()).collect())
}

/// A file with the given tokens and their types, and no more.
fn file(model: &str, tokens: &[(&str, i32)]) -> GgufFile {
    let mut file = GgufFile::default();
    let (names, kinds): (Vec<&str>, Vec<i32>) = tokens.iter().copied().unzip();
    file.set("tokenizer.ggml.model", Value::Text(model.to_owned()))
        .set("tokenizer.ggml.tokens", texts(&names))
        .set("tokenizer.ggml.token_type", Value::I32s(kinds));
    file
}

/// Letters, and the words "ab" and "abc" of which merges make the first only.
fn byte_level(pre: &str) -> GgufFile {
    let mut file = file("gpt2", &[("<s>", 3), ("a", 1), ("b", 1), ("c", 1), ("ab", 1), ("abc", 1)]);
    file.set("tokenizer.ggml.pre", Value::Text(pre.to_owned()))
        .set("tokenizer.ggml.merges", texts(&["a b"]))
        .set("tokenizer.ggml.bos_token_id", Value::U32(0));
    file
}

/// SentencePiece, in which a word has a mark before it.
fn sentencepiece() -> GgufFile {
    let tokens =
        [("<unk>", 2), ("<s>", 3), ("</s>", 3), ("<|x|>", 3), ("▁", 1), ("a", 1), ("▁a", 1)];
    let mut file = file("llama", &tokens);
    file.set("tokenizer.ggml.scores", Value::I32s(vec![0, 0, 0, 0, -1, -2, -3]));
    file
}

#[test]
fn brackets_inside_words_of_bert_are_no_names() {
    let tokens = [
        ("[PAD]", 3),
        ("[UNK]", 3),
        ("[CLS]", 3),
        ("[SEP]", 3),
        ("[unused0]", 1),
        ("▁array", 1),
        ("▁[", 1),
        ("▁0", 1),
        ("▁]", 1),
        ("[", 1),
        ("]", 1),
        ("s", 1),
    ];
    let bert = tokenizer(&read(&file("bert", &tokens)).unwrap());
    assert_eq!(bert.encode("array[0]", ALL), [2, 5, 6, 7, 8, 3]);
    assert_eq!(bert.encode("arrays", TEXT), [5, 11]);
    assert_eq!(bert.token(9).as_deref(), Some("##["));
    assert_eq!(bert.token(4).as_deref(), Some("[unused0]"));
}

#[test]
fn words_that_begin_like_pieces_stay_apart() {
    // The word `##s` and the piece `s` inside a word.
    let tokens =
        [("[PAD]", 3), ("[UNK]", 3), ("[CLS]", 3), ("[SEP]", 3), ("▁a", 1), ("s", 1), ("▁##s", 1)];
    let bert = tokenizer(&read(&file("bert", &tokens)).unwrap());
    assert_eq!(bert.encode("as", TEXT), [4, 5]);
    assert_eq!(bert.decode(&[4, 5], false), "as");
    assert_eq!(bert.decode(&[4, 6], false), "a ##s");
}

#[test]
fn cases_of_bert_are_read_where_they_are_written() {
    let tokens =
        [("[PAD]", 3), ("[UNK]", 3), ("[CLS]", 3), ("[SEP]", 3), ("▁a", 1), ("▁é", 1), ("▁e", 1)];
    let mut file = file("bert", &tokens);
    let encode = |file: &GgufFile| tokenizer(&read(file).unwrap()).encode("A é", TEXT);
    assert_eq!(encode(&file), [4, 6]);
    file.set("tokenizer.ggml.normalizer.lowercase", Value::Bool(false));
    assert_eq!(encode(&file), [1, 5]);
    file.set("tokenizer.ggml.normalizer.strip_accents", Value::Bool(true));
    assert_eq!(encode(&file), [1, 6]);
}

#[test]
fn the_kind_of_words_implies_more_than_a_pattern() {
    let implied = [
        "llama3",
        "llama-v3",
        "llama-bpe",
        "falcon3",
        "falcon-h1",
        "pixtral",
        "midm-2.0",
        "lfm2",
        "tekken",
    ];
    for pre in implied {
        let mut file = byte_level(pre);
        assert_eq!(tokenizer(&read(&file).unwrap()).encode("abc", ALL), [0, 5], "{pre}");
        file.set("tokenizer.ggml.add_bos_token", Value::Bool(false));
        assert_eq!(tokenizer(&read(&file).unwrap()).encode("abc", ALL), [5], "{pre}");
    }
    for pre in ["gpt-2", "qwen2", "smaug-bpe", "deepseek-llm", "default"] {
        let mut file = byte_level(pre);
        assert_eq!(tokenizer(&read(&file).unwrap()).encode("abc", ALL), [4, 3], "{pre}");
        file.set("tokenizer.ggml.add_bos_token", Value::Bool(true));
        assert_eq!(tokenizer(&read(&file).unwrap()).encode("abc", ALL), [0, 4, 3], "{pre}");
    }
    let error = compile_gguf(&read(&byte_level("unheard-of")).unwrap()).unwrap_err().to_string();
    assert!(error.contains("unheard-of"), "{error}");
}

/// Files from before `pre` say nothing of it: a vocabulary that is known has its own rule, others have
/// the one that cuts before every third digit.
#[test]
fn old_files_do_not_name_the_kind() {
    let mut file = byte_level("default");
    file.remove("tokenizer.ggml.pre");
    let digits: Vec<(String, i32)> = (0..10).map(|digit| (digit.to_string(), 1)).collect();
    let pieces = [("12", 1), ("123", 1), ("34", 1)].map(|(text, kind)| (text.to_owned(), kind));
    let mut tokens: Vec<(String, i32)> =
        [("<s>".to_owned(), 3)].into_iter().chain(digits).collect();
    tokens.extend(pieces);
    let set = |file: &mut GgufFile, tokens: &[(String, i32)]| {
        let names = tokens.iter().map(|(text, _)| text.clone()).collect();
        let kinds = tokens.iter().map(|&(_, kind)| kind).collect();
        file.set("tokenizer.ggml.tokens", Value::Texts(names))
            .set("tokenizer.ggml.token_type", Value::I32s(kinds))
            .set("tokenizer.ggml.merges", texts(&["1 2", "3 4", "12 3"]));
    };
    set(&mut file, &tokens);
    let encode = |file: &GgufFile| tokenizer(&read(file).unwrap()).encode("1234", TEXT);
    assert_eq!(encode(&file), [12, 5]);
    // GPT-2's rule leaves numbers whole.
    tokens.resize(50_257, (String::new(), 5));
    for (id, token) in tokens.iter_mut().enumerate().skip(14) {
        token.0 = format!("<unused{id}>");
    }
    tokens[50_256].0 = "<|endoftext|>".to_owned();
    set(&mut file, &tokens);
    assert_eq!(encode(&file), [11, 13]);
}

#[test]
fn what_is_missing_is_named() {
    for (file, keys) in [
        (byte_level("llama-bpe"), &["merges", "token_type"][..]),
        (sentencepiece(), &["scores", "token_type"]),
        (file("bert", &[("[UNK]", 3), ("[CLS]", 3), ("[SEP]", 3)]), &["token_type"]),
    ] {
        read(&file).unwrap();
        for name in keys {
            let mut file = file.clone();
            let key = format!("tokenizer.ggml.{name}");
            file.remove(&key);
            let error = read(&file).unwrap_err().to_string();
            assert!(error.contains(&key) && error.contains("convert the model again"), "{error}");
        }
    }
}

#[test]
fn none_is_also_written_as_a_number() {
    for none in [Value::I32(-1), Value::U32(u32::MAX)] {
        let mut file = byte_level("llama-bpe");
        file.set("tokenizer.ggml.bos_token_id", none.clone())
            .set("tokenizer.ggml.padding_token_id", none);
        let tokenizer = tokenizer(&read(&file).unwrap());
        assert_eq!((tokenizer.bos(), tokenizer.pad()), (None, None));
        assert_eq!(tokenizer.encode("abc", ALL), [5]);
    }
}

#[test]
fn old_files_of_sentencepiece_leave_the_usual_ids_out() {
    let tokenizer = tokenizer(&read(&sentencepiece()).unwrap());
    assert_eq!((tokenizer.bos(), tokenizer.eos(), tokenizer.unk()), (Some(1), Some(2), Some(0)));
}

/// The ids are those of the reference for the JSON below (`legacy` of Llama and its kin).
#[test]
fn a_space_is_put_before_every_text_between_special_tokens() {
    let from_gguf = tokenizer(&read(&sentencepiece()).unwrap());
    let added = |id: u32, content: &str| {
        json!({"id": id, "content": content, "special": true, "normalized": false,
               "lstrip": false, "rstrip": false, "single_word": false})
    };
    let from_json = json!({
        "added_tokens": [added(0, "<unk>"), added(1, "<s>"), added(2, "</s>"), added(3, "<|x|>")],
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "▁"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        ]},
        "post_processor": {"type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}},
        "decoder": null,
        "model": {"type": "BPE", "unk_token": "<unk>", "fuse_unk": true, "byte_fallback": true,
            "vocab": {"<unk>": 0, "<s>": 1, "</s>": 2, "<|x|>": 3, "▁": 4, "a": 5, "▁a": 6},
            "merges": ["▁ a"]},
    });
    let section = compile_json(from_json.to_string().as_bytes(), &RoleNames::default()).unwrap();
    let from_json = Tokenizer::from_bytes(&section).unwrap();
    for (text, expected) in [
        ("a", &[1, 6][..]),
        ("a</s>a", &[1, 6, 2, 6]),
        ("<|x|>a a<|x|>", &[1, 3, 6, 6, 3]),
        (" a", &[1, 4, 6]),
        ("a<|x|> a", &[1, 6, 3, 4, 6]),
        ("", &[1]),
    ] {
        assert_eq!(from_gguf.encode(text, ALL), expected, "{text:?}");
        assert_eq!(from_json.encode(text, ALL), expected, "{text:?}");
    }
}

#[test]
fn tokens_are_known_to_other_files_too() {
    let tokenizer = json!({
        "added_tokens": [{"id": 0, "content": "<s>", "special": true}],
        "model": {"type": "BPE", "vocab": {"<s>": 0, "a": 1, "<t>": 2, "<": 3, "t": 4, ">": 5}, "merges": []},
    });
    let extra = |token| ExtraToken::read(&token).unwrap();
    let added = [
        extra(json!({"content": "<s>", "special": true})),
        extra(json!({"content": "<t>", "special": true})),
        extra(json!({"content": "<new>"})),
    ];
    let names = RoleNames { pad: Some("[PAD]"), added: &added, ..RoleNames::default() };
    let section = compile_json(tokenizer.to_string().as_bytes(), &names).unwrap();
    let with = Tokenizer::from_bytes(&section).unwrap();
    assert_eq!(with.encode("a<t><new>a", TEXT), [1, 2, 6, 1]);
    assert_eq!(with.pad(), None);
    assert!(with.is_special(2) && !with.is_special(6));
    let plain = EncodeOptions { add_special: false, parse_special: false };
    assert_eq!(with.encode("<t>", plain), [3, 4, 5]);
}

/// Mistral's own form of byte-level vocabularies, against its own package.
#[test]
fn tekken() {
    let goldens = Path::new(env!("CARGO_MANIFEST_DIR")).join("goldens/tokenizers");
    let json = std::fs::read(goldens.join("tekken.json")).unwrap();
    let golden = std::fs::read(goldens.join("tekken.golden")).unwrap();
    let (hashes, _) = golden.as_chunks::<4>();
    let texts = corpus();
    assert_eq!(hashes.len(), 2 * texts.len());
    let tekken = Tokenizer::from_bytes(&compile_tekken(&json).unwrap()).unwrap();
    let options = EncodeOptions { add_special: true, parse_special: false };
    for (text, hashes) in texts.iter().zip(hashes.chunks(2)) {
        let ids = tekken.encode(text, options);
        let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
        assert_eq!(fnv(&bytes).to_le_bytes(), hashes[0], "{text:?}: {ids:?}");
        let decoded = tekken.decode(&ids, true);
        assert_eq!(fnv(decoded.as_bytes()).to_le_bytes(), hashes[1], "{text:?}: {decoded:?}");
    }
    assert_eq!((tekken.bos(), tekken.eos(), tekken.pad()), (Some(1), Some(2), Some(11)));
    assert_eq!(tekken.encode("[INST]", ALL), [1, 3]);

    let change = |edit: fn(&mut serde_json::Value)| {
        let mut value: serde_json::Value = serde_json::from_slice(&json).unwrap();
        edit(&mut value);
        compile_tekken(value.to_string().as_bytes()).unwrap_err().to_string()
    };
    for (edit, part) in [
        ((|v| v["vocab"][3]["token_bytes"] = json!("?")) as fn(&mut serde_json::Value), "piece 3"),
        (|v| v["vocab"] = json!(3), "tekken.json cannot be read"),
        (|v| v["vocab"] = json!([]), "vocabulary is empty"),
        (
            |v| v["config"]["default_num_special_tokens"] = json!(3),
            "\"[INST]\" has the id of a piece",
        ),
        (
            |v| v["config"]["default_vocab_size"] = json!(1_u64 << 40),
            "beyond the largest vocabulary",
        ),
        (|v| v["config"]["pattern"] = json!("(a"), "cannot be compiled"),
    ] {
        let error = change(edit);
        assert!(error.contains(part), "{error}");
    }
}
