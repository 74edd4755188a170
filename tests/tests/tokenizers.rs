//! Tokenizers against Hugging Face `tokenizers`: ids and decoded texts of one corpus of texts, for
//! real vocabularies and for small ones of every kind.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may fail and tell")]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kinglet::tokenizer::{EncodeOptions, TextToken, Tokenizer};
use kinglet_formats::checkpoint::gguf::Gguf;
use kinglet_quantize::tokenizer::{GgufVocab, RoleNames, compile_gguf, compile_json};
use kinglet_tests::corpus::{corpus, fnv};
use kinglet_tests::real;

/// Pairs of texts behind the texts of a golden.
const PAIRS: usize = 30;

/// Sequences of any ids behind them.
const SEQUENCES: usize = 150;

const AS_REFERENCE: EncodeOptions = EncodeOptions { add_special: true, parse_special: true };

fn goldens() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("goldens/tokenizers")
}

fn from_json(path: &Path) -> Tokenizer {
    let json = std::fs::read(path).unwrap();
    let compiled = compile_json(&json, &RoleNames::default());
    let compiled = compiled.unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    Tokenizer::from_bytes(&compiled).unwrap()
}

fn from_gguf(path: &Path) -> Tokenizer {
    let file = Gguf::open(path).unwrap();
    let vocab = GgufVocab::read(file.metadata()).unwrap();
    Tokenizer::from_bytes(&compile_gguf(&vocab).unwrap()).unwrap()
}

fn small(name: &str) -> Tokenizer {
    from_json(&goldens().join(format!("{name}.json")))
}

/// What the reference made of a text.
struct Expected {
    ids: Vec<u32>,
    /// Hashes of the decoded text, with special tokens and without.
    decoded: [u32; 2],
}

/// The bytes of a golden yet to be read.
struct Golden(std::vec::IntoIter<u8>);

impl Golden {
    fn open(name: &str) -> Golden {
        Golden(std::fs::read(goldens().join(format!("{name}.golden"))).unwrap().into_iter())
    }

    fn byte(&mut self) -> u8 {
        self.0.next().expect("the golden ends early")
    }

    /// One byte below 0xf0, else two or three of which the first gives the top three bits.
    fn number(&mut self) -> u32 {
        let first = u32::from(self.byte());
        let n_more = if first < 0xf0 { 0 } else { 1 + (first >> 3 & 1) };
        let top = if n_more == 0 { first } else { first & 7 };
        (0..n_more).fold(top, |value, _| value << 8 | u32::from(self.byte()))
    }

    fn ids(&mut self) -> Vec<u32> {
        let n = self.number();
        (0..n).map(|_| self.number()).collect()
    }

    fn hash(&mut self) -> u32 {
        u32::from_le_bytes(std::array::from_fn(|_| self.byte()))
    }

    fn text(&mut self, text: &str) -> Expected {
        let ids = self.ids();
        let same = self.byte();
        let all = if same & 1 == 0 { self.hash() } else { fnv(text.as_bytes()) };
        let without_special = match same >> 1 {
            0 => self.hash(),
            1 => fnv(text.as_bytes()),
            _ => all,
        };
        Expected { ids, decoded: [all, without_special] }
    }
}

fn streamed(tokenizer: &Tokenizer, ids: &[u32], skip_special: bool) -> String {
    let mut stream = tokenizer.decode_stream(skip_special);
    let mut text: String = ids.iter().map(|&id| stream.push(id).to_owned()).collect();
    text.push_str(stream.finish());
    text
}

/// Ids of a linear congruential generator, the same in the reference.
fn sequences(below: u32) -> impl Iterator<Item = Vec<u32>> {
    let mut state = 1u32;
    let mut id = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) % below
    };
    (0..SEQUENCES).map(move |_| (0..20).map(|_| id()).collect())
}

/// Compares everything, prints the first differences and fails on any.
fn compare(name: &str, tokenizer: &Tokenizer) {
    let (texts, mut golden) = (corpus(), Golden::open(name));
    assert!(texts.len() >= 1500);
    let mut differences = Vec::new();
    for text in &texts {
        let expected = golden.text(text);
        let ids = tokenizer.encode(text, AS_REFERENCE);
        if ids != expected.ids {
            let spell = |ids: &[u32]| -> Vec<_> {
                ids.iter().map(|&id| tokenizer.token(id).unwrap_or_default().into_owned()).collect()
            };
            let (found, wanted) = (spell(&ids), spell(&expected.ids));
            differences.push(format!("ids of {text:?}: {found:?}, not {wanted:?}"));
        }
        let plain = EncodeOptions { add_special: false, parse_special: false };
        let traced: Vec<u32> = tokenizer.encode_traced(text).iter().map(|one| one.id).collect();
        if traced != tokenizer.encode(text, plain) {
            differences.push(format!("{text:?} is traced otherwise: {traced:?}"));
        }
        for (skip_special, hash) in [false, true].into_iter().zip(expected.decoded) {
            let decoded = tokenizer.decode(&expected.ids, skip_special);
            if fnv(decoded.as_bytes()) != hash {
                differences.push(format!("{text:?} decoded ({skip_special}): {decoded:?}"));
            }
            assert_eq!(streamed(tokenizer, &expected.ids, skip_special), decoded, "{text:?}");
        }
    }
    for pair in texts.windows(2).take(PAIRS) {
        let ids = golden.ids();
        let type_ids: Vec<u32> = ids.iter().map(|_| u32::from(golden.byte())).collect();
        let encoding = tokenizer.encode_pair(&pair[0], &pair[1], AS_REFERENCE);
        if encoding.ids != ids || encoding.type_ids != type_ids {
            differences.push(format!("pair {pair:?}: {encoding:?}, not {ids:?} {type_ids:?}"));
        }
    }
    let below = golden.number();
    for ids in sequences(below) {
        for skip_special in [false, true] {
            let decoded = tokenizer.decode(&ids, skip_special);
            if fnv(decoded.as_bytes()) != golden.hash() {
                differences.push(format!("{ids:?} decoded ({skip_special}): {decoded:?}"));
            }
            assert_eq!(streamed(tokenizer, &ids, skip_special), decoded, "{ids:?}");
        }
    }
    assert_eq!(golden.0.next(), None, "the golden holds more than the corpus");
    for difference in differences.iter().take(12) {
        println!("{name}: {difference}");
    }
    assert!(differences.is_empty(), "{name}: {} differences", differences.len());
}

macro_rules! small_tokenizers {
    ($($name:ident),*) => {
        const SMALL: &[&str] = &[$(stringify!($name)),*];
        $(
            #[test]
            fn $name() {
                compare(stringify!($name), &small(stringify!($name)));
            }
        )*
    };
}

small_tokenizers!(
    llama3_like,
    qwen2_like,
    roberta_like,
    llama2_like,
    gemma_like,
    metaspace_like,
    t5_like,
    xlm_like,
    bert_cased_like,
    clip_like,
    falcon_like,
    words_like
);

#[test]
fn smollm2() {
    compare("smollm2", &from_gguf(&real::checkpoint("smollm2-135m")));
}

#[test]
fn minilm() {
    compare("minilm", &from_json(&real::checkpoint("all-minilm-l6-v2").join("tokenizer.json")));
}

/// The same vocabulary in the spelling of GGUF files: a mark before pieces that begin a word, nothing
/// before those inside one.
#[test]
fn minilm_in_gguf() {
    let json = std::fs::read(real::checkpoint("all-minilm-l6-v2").join("tokenizer.json")).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    let vocab = json["model"]["vocab"].as_object().unwrap();
    let special: Vec<&str> = json["added_tokens"]
        .as_array()
        .unwrap()
        .iter()
        .map(|token| token["content"].as_str().unwrap())
        .collect();
    let mut pieces: Vec<(u64, &str)> =
        vocab.iter().map(|(piece, id)| (id.as_u64().unwrap(), piece.as_str())).collect();
    pieces.sort_unstable();
    let is_special = |piece: &str| special.contains(&piece);
    let spelled = |piece: &str| match piece.strip_prefix("##") {
        _ if is_special(piece) => piece.to_owned(),
        Some(inside) => inside.to_owned(),
        None => format!("▁{piece}"),
    };
    let vocab = GgufVocab {
        model: "bert".to_owned(),
        tokens: pieces.iter().map(|(_, piece)| spelled(piece)).collect(),
        token_types: pieces
            .iter()
            .map(|(_, piece)| if is_special(piece) { 3 } else { 1 })
            .collect(),
        ..GgufVocab::default()
    };
    compare("minilm", &Tokenizer::from_bytes(&compile_gguf(&vocab).unwrap()).unwrap());
}

/// The same from `vocab.txt` alone, in a folder of a small model.
#[test]
fn minilm_from_its_vocabulary() {
    let folder = kinglet_tests::tiny::checkpoint("bert");
    let vocabulary = real::checkpoint("all-minilm-l6-v2").join("vocab.txt");
    std::fs::copy(vocabulary, folder.path().join("vocab.txt")).unwrap();
    std::fs::remove_file(folder.path().join("tokenizer.json")).unwrap();
    let source = kinglet_quantize::Source::open(folder.path()).unwrap();
    let out = folder.path().join("out.kinglet");
    kinglet_quantize::quantize(&source, &Default::default(), &out, &mut ()).unwrap();
    let file = kinglet_formats::kinglet::KingletFile::open(&out).unwrap();
    compare("minilm", &Tokenizer::from_bytes(file.tokenizer()).unwrap());
}

/// The checkpoint is large and not fetched for this: `KINGLET_GEMMA3` names it where it is.
#[test]
fn gemma3() {
    match std::env::var_os("KINGLET_GEMMA3") {
        Some(path) => compare("gemma3", &from_gguf(Path::new(&path))),
        None => println!("not run: KINGLET_GEMMA3 names no gemma-3-270m GGUF file"),
    }
}

#[test]
fn spelled_special_tokens_are_text_unless_asked_for() {
    let options = EncodeOptions { add_special: false, parse_special: false };
    let mut wrong = Vec::new();
    for name in SMALL {
        let tokenizer = small(name);
        for (id, token) in tokenizer.special_tokens() {
            for text in [token.to_string(), format!("a {token} b"), format!("a{token}b")] {
                let ids = tokenizer.encode(&text, options);
                let unknown = |id| {
                    tokenizer
                        .token(id)
                        .is_some_and(|t| t.eq_ignore_ascii_case("<unk>") || t == "[UNK]")
                };
                let special = |&id: &u32| tokenizer.is_special(id) && !unknown(id);
                if ids.iter().any(special) {
                    wrong.push(format!("{name}: {text:?} becomes {ids:?}, {id} in it"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Texts of a megabyte that tokenizers with a quadratic step choke on.
fn hostile_texts() -> Vec<(String, String)> {
    const BYTES: usize = 1 << 20;
    let repeated = |piece: &str, end: &str| {
        (format!("{piece:?} repeated, then {end:?}"), piece.repeat(BYTES / piece.len()) + end)
    };
    // Runs of marks are put in an order; a run of spaces ends one way or the other.
    let pieces = ["a", "\n", "😀", "<|im_end|", " [MASK", "\u{301}\u{323}", "1"];
    let mut texts: Vec<_> = pieces.iter().map(|piece| repeated(piece, "")).collect();
    texts.push(repeated(" ", "x"));
    texts
}

/// One test per core: the texts are many.
fn take_bounded_time(names: &[&str]) {
    let limit = Duration::from_secs(30);
    let texts = hostile_texts();
    for name in names {
        let tokenizer = small(name);
        for (what, text) in &texts {
            let start = Instant::now();
            let n = tokenizer.encode(text, AS_REFERENCE).len();
            let time = start.elapsed();
            println!("{name}: {what}: {n} tokens in {time:?}");
            assert!(time < limit, "{name}: {what}: {time:?}");
        }
    }
}

#[test]
fn long_hostile_texts_take_bounded_time() {
    take_bounded_time(&SMALL[..SMALL.len() / 2]);
}

#[test]
fn more_long_hostile_texts_take_bounded_time() {
    take_bounded_time(&SMALL[SMALL.len() / 2..]);
}

/// Run with `cargo test -p kinglet-tests write_fuzz_seeds -- --ignored` after changing the section.
#[test]
#[ignore = "writes fuzz/seeds"]
fn write_fuzz_seeds() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds");
    let (jsons, sections) = (seeds.join("tokenizer_json"), seeds.join("tokenizer"));
    for folder in [&jsons, &sections] {
        std::fs::create_dir_all(folder).unwrap();
    }
    // Byte-level BPE, WordPiece, words.
    for name in ["falcon_like", "bert_cased_like", "words_like"] {
        let json = std::fs::read(goldens().join(format!("{name}.json"))).unwrap();
        let section = compile_json(&json, &RoleNames::default()).unwrap();
        std::fs::write(jsons.join(name), json).unwrap();
        std::fs::write(sections.join(name), section).unwrap();
    }
    let models = seeds.join("sentencepiece");
    std::fs::create_dir_all(&models).unwrap();
    for name in ["bpe_bytes.model", "bpe_unused.model", "unigram.model"] {
        std::fs::copy(goldens().join("../sentencepiece").join(name), models.join(name)).unwrap();
    }
    // BPE and unigram models of SentencePiece, with few tokens.
    let model = |fields: &str| {
        format!(
            r#"{{"added_tokens": [{{"id": 0, "content": "<unk>", "special": true}}],
                "normalizer": {{"type": "Replace", "pattern": {{"String": " "}}, "content": "▁"}},
                "decoder": {{"type": "Sequence", "decoders": [{{"type": "ByteFallback"}}, {{"type": "Fuse"}}]}},
                "model": {{{fields}}}}}"#
        )
    };
    let bpe = r#""type": "BPE", "byte_fallback": true, "fuse_unk": true, "unk_token": "<unk>",
        "vocab": {"<unk>": 0, "<0xC3>": 1, "▁": 2, "H": 3, "l": 4, "o": 5, "ll": 6, "llo": 7, "▁wö": 8},
        "merges": [["l", "l"], ["ll", "o"]]"#;
    let unigram = r#""type": "Unigram", "unk_id": 0, "byte_fallback": false,
        "vocab": [["<unk>", 0.0], ["▁", -2.0], ["H", -3.5], ["llo", -4.0], ["l", -3.0], ["o", -2.5]]"#;
    for (name, fields) in [("sentencepiece_bpe", bpe), ("sentencepiece_unigram", unigram)] {
        let json = model(fields);
        let section = compile_json(json.as_bytes(), &RoleNames::default()).unwrap();
        std::fs::write(jsons.join(name), json).unwrap();
        std::fs::write(sections.join(name), section).unwrap();
    }
}

/// Places of tokens, as the reference finds them.
#[test]
fn tokens_stand_where_the_reference_finds_them() {
    let json = std::fs::read(goldens().join("offsets.json")).unwrap();
    let golden: serde_json::Value = serde_json::from_slice(&json).unwrap();
    let mut differences = Vec::new();
    for (name, texts) in golden.as_object().unwrap().iter().filter(|(name, _)| *name != "texts") {
        let tokenizer = small(name);
        for (text, spans) in
            golden["texts"].as_array().unwrap().iter().zip(texts.as_array().unwrap())
        {
            let text = text.as_str().unwrap();
            let chars = |byte: usize| text[..byte].chars().count() as u64;
            let tokens = tokenizer.encode_traced(text);
            let found: Vec<[u64; 3]> = tokens
                .iter()
                .map(|one| [chars(one.span.start), chars(one.span.end), one.word as u64])
                .collect();
            let wanted: Vec<[u64; 3]> = serde_json::from_value(spans.clone()).unwrap();
            let is_same = |((found, wanted), token): ((&[u64; 3], &[u64; 3]), &TextToken)| {
                let is_white = wanted[0] == wanted[1];
                // The reference gives the bytes of unknown characters the place of all of them.
                let spelled = tokenizer.token(token.id).unwrap_or_default();
                let is_byte =
                    spelled.starts_with("<0x") && wanted[0] <= found[0] && found[1] <= wanted[1];
                found[2] == wanted[2] && (found == wanted || is_white || is_byte)
            };
            let pairs = found.iter().zip(&wanted).zip(&tokens);
            if found.len() != wanted.len() || !pairs.clone().all(is_same) {
                differences.push(format!("{name}, {text:?}:\n  {found:?}\n  {wanted:?}"));
            }
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
