//! Models of SentencePiece against the `sentencepiece` package: ids, pieces and decoded texts.

#![allow(clippy::unwrap_used, reason = "a test may fail and tell")]

use std::path::{Path, PathBuf};

use kinglet::tokenizer::{EncodeOptions, Tokenizer};
use kinglet_formats::kinglet::KingletFile;
use kinglet_quantize::tokenizer::{
    RoleNames, SentencePieceClass, SentencePieceOptions, compile_sentencepiece,
};
use kinglet_quantize::{Options, QuantizeError, Source, quantize};
use kinglet_tests::corpus::{corpus, fnv};
use kinglet_tests::tiny;

const N_TEXTS: usize = 1500;
const SEQUENCES: usize = 300;
const ODD: [&str; 16] = [
    " ", "\u{3000}", "\u{2581}", "\t", "\u{a0}", "a", "\n", "\u{301}", "\u{fb01}", "\u{bd}",
    "\u{30ab}", "\u{ff9e}", "e", "\u{323}", "  ", "\0",
];

fn goldens() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("goldens/sentencepiece")
}

/// A linear congruential generator, the same in the reference.
fn numbers() -> impl FnMut() -> u32 {
    let mut state = 1u32;
    move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state >> 8
    }
}

fn any_texts() -> impl Iterator<Item = String> {
    let mut draw = numbers();
    (0..N_TEXTS).map(move |_| {
        let mut text = String::new();
        for _ in 0..1 + draw() % 12 {
            let (kind, code) = (draw() % 4, draw());
            match kind {
                3 => text.push_str(ODD[code as usize % ODD.len()]),
                kind => {
                    let code = code % [0x80, 0x800, 0xd800][kind as usize];
                    text.push(char::from_u32(code).unwrap());
                }
            }
        }
        text
    })
}

fn compare(name: &str, model: &Path) {
    let model = std::fs::read(model).unwrap();
    let section = compile_sentencepiece(&model, &SentencePieceOptions::default()).unwrap();
    let tokenizer = Tokenizer::from_bytes(&section).unwrap();
    let golden = std::fs::read(goldens().join(format!("{name}.golden"))).unwrap();
    let mut hashes = golden.as_chunks().0.iter().map(|hash| u32::from_le_bytes(*hash));
    let mut expect = |what: &dyn Fn() -> String, bytes: &[u8]| {
        (hashes.next() != Some(fnv(bytes))).then(what).into_iter().collect::<Vec<_>>()
    };
    let n = tokenizer.vocab_size() as u32;
    let vocabulary: String =
        (0..n).map(|id| format!("{}\n", tokenizer.token(id).unwrap_or_default())).collect();
    let mut wrong = expect(&|| "pieces".to_owned(), vocabulary.as_bytes());
    let plain = EncodeOptions { add_special: false, parse_special: false };
    for text in corpus().into_iter().chain(any_texts()) {
        let ids = tokenizer.encode(&text, plain);
        let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
        wrong.extend(expect(&|| format!("ids of {text:?}: {ids:?}"), &bytes));
        let traced: Vec<u32> = tokenizer.encode_traced(&text).iter().map(|one| one.id).collect();
        if traced != ids {
            wrong.push(format!("{text:?} traced: {traced:?}, {ids:?}"));
        }
        let decoded = tokenizer.decode(&ids, true);
        wrong.extend(expect(&|| format!("{text:?} decoded: {decoded:?}"), decoded.as_bytes()));
    }
    let mut draw = numbers();
    for _ in 0..SEQUENCES {
        let ids: Vec<u32> = (0..20).map(|_| draw() % n).collect();
        let decoded = tokenizer.decode(&ids, true);
        wrong.extend(expect(&|| format!("{ids:?} decoded: {decoded:?}"), decoded.as_bytes()));
    }
    let shown = wrong.iter().take(8).cloned().collect::<Vec<_>>().join("\n");
    assert!(wrong.is_empty(), "{name}: {} differences\n{shown}", wrong.len());
    assert_eq!(hashes.next(), None, "the golden holds more than the texts");
}

macro_rules! models {
    ($($name:ident),*) => {
        $(
            #[test]
            fn $name() {
                compare(stringify!($name), &goldens().join(concat!(stringify!($name), ".model")));
            }
        )*
    };
}

models!(unigram, unigram_bytes, unigram_suffix, bpe_bytes, bpe_unused, bpe_suffix, albert);

/// Large vocabularies, which are not fetched for this: `KINGLET_SPM` names the folder where they are.
/// Two are of Firefox's translations, one of Mistral's models.
#[test]
fn real_vocabularies() {
    let Some(folder) = std::env::var_os("KINGLET_SPM") else { return };
    for name in ["vocab.enpt", "vocab.pten", "mistral-v3"] {
        compare(name, &Path::new(&folder).join(format!("{name}.spm")));
    }
}

/// The tokenizer of a small model whose folder has `model` under `name` in place of a tokenizer.json.
fn of_folder(
    family: &str,
    (model, name): (&str, &str),
    files: &[(&str, &str)],
) -> Result<Vec<u8>, QuantizeError> {
    let folder = tiny::checkpoint(family);
    std::fs::remove_file(folder.path().join("tokenizer.json")).unwrap();
    std::fs::copy(goldens().join(format!("{model}.model")), folder.path().join(name)).unwrap();
    for (name, content) in files {
        std::fs::write(folder.path().join(name), content).unwrap();
    }
    let out = folder.path().join("out.kinglet");
    let source = Source::open(folder.path())?;
    assert!(source.inputs().contains(&folder.path().join(name)));
    quantize(&source, &Options::default(), &out, &mut ())?;
    Ok(KingletFile::open(&out).unwrap().tokenizer().to_vec())
}

#[test]
fn folders_without_a_tokenizer_json() {
    let model = std::fs::read(goldens().join("bpe_bytes.model")).unwrap();
    let compiled =
        |options: &SentencePieceOptions<'_>| compile_sentencepiece(&model, options).unwrap();
    let llama = SentencePieceOptions { class: SentencePieceClass::Llama, ..Default::default() };
    // The kind of the model says how pieces are numbered, where no class is named.
    let found = of_folder("llama", ("bpe_bytes", "tokenizer.model"), &[]).unwrap();
    assert!(found == compiled(&llama));
    let names = RoleNames { eos: Some("<td>"), ..RoleNames::default() };
    let options =
        SentencePieceOptions { class: SentencePieceClass::T5, names, extra_ids: Some(3), ..llama };
    let config = r#"{"tokenizer_class": "T5TokenizerFast", "eos_token": "<td>", "extra_ids": 3}"#;
    let found =
        of_folder("llama", ("bpe_bytes", "spiece.model"), &[("tokenizer_config.json", config)]);
    assert!(found.unwrap() == compiled(&options));
    // Tokens that were added later.
    let config = r#"{"added_tokens_decoder": {"703": {"content": "<|im_end|>", "special": true}}}"#;
    let files =
        [("tokenizer_config.json", config), ("added_tokens.json", r#"{"<|im_start|>": 700}"#)];
    let found = of_folder("llama", ("bpe_bytes", "tokenizer.model"), &files).unwrap();
    let tokenizer = Tokenizer::from_bytes(&found).unwrap();
    let options = EncodeOptions { add_special: true, parse_special: true };
    let ids = tokenizer.encode("<|im_start|><|im_end|>", options);
    assert_eq!((ids[0], &ids[1..]), (tokenizer.bos().unwrap(), &[700, 703][..]));
}

#[test]
fn tokenizers_of_no_known_class_are_named() {
    let unknown = ("tokenizer_config.json", r#"{"tokenizer_class": "XLNetTokenizer"}"#);
    let error = of_folder("gpt2", ("unigram", "spiece.model"), &[unknown]).unwrap_err().to_string();
    for part in ["XLNetTokenizer", "spiece.model", "save_pretrained"] {
        assert!(error.contains(part), "{error}");
    }
    for (content, part) in [
        ("IQ== 0\nIg== 1\n", "tokenizer.model: a tokenizer.model of tiktoken"),
        ("<html>", "tokenizer.model: no SentencePiece model"),
    ] {
        let text = ("tokenizer.model", content);
        let error = of_folder("llama", ("unigram", "tokenizer.model"), &[text]).unwrap_err();
        assert!(error.to_string().contains(part), "{error}");
    }
}

/// Ids that transformers' classes give, from folders of the same files.
#[test]
fn classes_number_and_surround_as_transformers_does() {
    let cases = std::fs::read(goldens().join("classes.json")).unwrap();
    let cases: serde_json::Value = serde_json::from_slice(&cases).unwrap();
    let ids = |value: &serde_json::Value| -> Vec<u32> {
        value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
    };
    let options = EncodeOptions { add_special: true, parse_special: false };
    for case in cases.as_array().unwrap() {
        let text = |key: &str| case[key].as_str().unwrap();
        let config = case["config"].to_string();
        let files = [("tokenizer_config.json", config.as_str())];
        let section = of_folder("llama", (text("model"), text("file")), &files).unwrap();
        let tokenizer = Tokenizer::from_bytes(&section).unwrap();
        let mut texts = Vec::new();
        for pair in case["texts"].as_array().unwrap() {
            let text = pair[0].as_str().unwrap();
            assert_eq!(tokenizer.encode(text, options), ids(&pair[1]), "{config}: {text:?}");
            texts.push(text);
        }
        let pair = tokenizer.encode_pair(texts[0], texts[1], options);
        assert_eq!(pair.ids, ids(&case["pair"]), "{config}");
        let mask = case["mask"].as_u64().map(|id| id as u32);
        assert_eq!(tokenizer.id_of("<mask>"), mask, "{config}");
    }
}

/// Whatever happens to a file: what compiles opens, and texts become ids and texts again.
#[test]
fn damaged_models_do_no_harm() {
    let mut draw = numbers();
    for name in ["unigram", "bpe_bytes", "bpe_unused"] {
        let model = std::fs::read(goldens().join(format!("{name}.model"))).unwrap();
        let mut n_compiled = 0;
        for _ in 0..400 {
            let mut changed = model.clone();
            for _ in 0..1 + draw() % 3 {
                let at = draw() as usize % changed.len();
                changed[at] = draw() as u8;
            }
            let Ok(section) = compile_sentencepiece(&changed, &SentencePieceOptions::default())
            else {
                continue;
            };
            n_compiled += 1;
            let tokenizer = Tokenizer::from_bytes(&section).unwrap();
            let text = "Hello  <sep> w\u{f6}rld, the \u{65e5}\u{672c}\n\n \u{fb01}\u{301}";
            let ids = tokenizer.encode(text, EncodeOptions::default());
            tokenizer.decode(&ids, true);
        }
        assert!(n_compiled > 50, "{name}: {n_compiled}");
    }
}

/// Pieces and the bytes of the text that each stands for.
fn places(name: &str, text: &str) -> Vec<(String, usize, usize)> {
    let model = std::fs::read(goldens().join(format!("{name}.model"))).unwrap();
    let section = compile_sentencepiece(&model, &SentencePieceOptions::default()).unwrap();
    let tokenizer = Tokenizer::from_bytes(&section).unwrap();
    let tokens = tokenizer.encode_traced(text).into_iter();
    let piece = |id| tokenizer.token(id).unwrap().into_owned();
    tokens.map(|token| (piece(token.id), token.span.start, token.span.end)).collect()
}

/// A mark in front stands with what follows, a mark alone between words at the end of its first
/// blank; what one character became, pieces or bytes, stands where it is.
#[test]
fn tokens_stand_where_their_pieces_came_from() {
    let check = |name: &str, text: &str, expected: &[(&str, usize, usize)]| {
        let found = places(name, text);
        let found: Vec<(&str, usize, usize)> =
            found.iter().map(|(piece, start, end)| (piece.as_str(), *start, *end)).collect();
        assert_eq!(found, expected, "{name}: {text:?}");
    };
    let bird = [("\u{2581}b", 4, 5), ("i", 5, 6), ("r", 6, 7), ("d", 7, 8)];
    let the = [("\u{2581}", 0, 1), ("the", 0, 3)];
    check("unigram", "the bird", &[&the[..], &bird[..]].concat());
    // Blanks that collapse, and those that stay.
    let bird = [("\u{2581}b", 8, 9), ("i", 9, 10), ("r", 10, 11), ("d", 11, 12)];
    let the = [("\u{2581}", 2, 3), ("the", 2, 5)];
    check("unigram", "  the   bird  ", &[&the[..], &bird[..]].concat());
    let the = [("\u{2581}\u{2581}\u{2581}", 2, 2), ("the", 2, 5)];
    let bird = [("\u{2581}\u{2581}\u{2581}", 8, 8), ("b", 8, 9), ("ir", 9, 11), ("d", 11, 12)];
    let blank = [("\u{2581}\u{2581}", 14, 14)];
    check("bpe_bytes", "  the   bird  ", &[&the[..], &bird[..], &blank[..]].concat());
    // A mark behind each word.
    let bird = [("b", 4, 5), ("i", 5, 6), ("r", 6, 7), ("d\u{2581}", 7, 8)];
    check("bpe_suffix", "the bird", &[&[("the\u{2581}", 0, 3)], &bird[..]].concat());
    // One character that becomes several, several that become one.
    check("unigram_suffix", "\u{fb01}x", &[("fi", 0, 3), ("x\u{2581}", 3, 4)]);
    check("unigram", "\u{bd}", &[("\u{2581}1", 0, 2), ("\u{2044}", 0, 2), ("2", 0, 2)]);
    check(
        "unigram",
        "e\u{301} \u{1f426}",
        &[("\u{2581}", 0, 1), ("\u{e9}", 0, 3), ("\u{2581}", 4, 4), ("<unk>", 4, 8)],
    );
    // Bytes of a character that no piece spells.
    check(
        "bpe_bytes",
        "x \u{1f426}e",
        &[
            ("\u{2581}x", 0, 1),
            ("\u{2581}", 2, 2),
            ("<0xF0>", 2, 6),
            ("<0x9F>", 2, 6),
            ("<0x90>", 2, 6),
            ("<0xA6>", 2, 6),
            ("e", 6, 7),
        ],
    );
}
