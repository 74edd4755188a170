//! Byte-level vocabularies: what `tokenizer.ggml.pre` implies, the patterns first of all.
//!
//! Characters beyond ASCII are written as escapes: some of them look like others, and editors
//! and tools that normalize text would turn one into the other.

use kinglet_formats::tokenizer::{Bpe, Decoder, Model, Normalizer, PreTokenizer, SplitBehavior};

use super::{GgufVocab, add_tokens, bos_eos};
use crate::tokenizer::CompileError;
use crate::tokenizer::build::{Builder, GPT2_PATTERN};

/// What a value of `tokenizer.ggml.pre` implies.
struct Kind {
    names: &'static [&'static str],
    /// The patterns that cut a text into words, applied one after the other.
    patterns: &'static [&'static str],
    nfc: bool,
    /// A word that is a token stays whole, whatever the merges say.
    whole_words: bool,
    /// Texts begin with BOS unless the file says otherwise.
    bos: bool,
}

const PLAIN: Kind =
    Kind { names: &[], patterns: &[GPT2_PATTERN], nfc: false, whole_words: false, bos: false };

const KINDS: &[Kind] = &[
    Kind {
        names: &[
            "gpt-2",
            "phi-2",
            "jina-es",
            "jina-de",
            "jina-v1-en",
            "jina-v2-es",
            "jina-v2-de",
            "jina-v2-code",
            "gigachat",
            "a.x-4.0",
            "mellum",
            "modern-bert",
            "roberta-bpe",
            "mpt",
            "jais",
            "exaone4",
            "trillion",
            "granite-docling",
        ],
        ..PLAIN
    },
    Kind { names: &["olmo"], nfc: true, ..PLAIN },
    Kind {
        names: &[
            "smollm",
            "starcoder",
            "refact",
            "command-r",
            "codeshell",
            "exaone",
            "minerva-7b",
            "mellum2",
        ],
        patterns: &[r"\p{N}", GPT2_PATTERN],
        ..PLAIN
    },
    Kind {
        names: &[
            "llama-bpe",
            "llama3",
            "llama-v3",
            "falcon3",
            "falcon-h1",
            "pixtral",
            "midm-2.0",
            "lfm2",
            "jina-v5-nano",
        ],
        patterns: &[LLAMA3],
        whole_words: true,
        bos: true,
        ..PLAIN
    },
    Kind { names: &["smaug-bpe", "chatglm-bpe", "glm4"], patterns: &[LLAMA3], ..PLAIN },
    Kind { names: &["dbrx"], patterns: &[LLAMA3], nfc: true, ..PLAIN },
    Kind { names: &["qwen2", "deepseek-r1-qwen"], patterns: &[QWEN2], nfc: true, ..PLAIN },
    Kind { names: &["stablelm2", "hunyuan", "megrez"], patterns: &[QWEN2], ..PLAIN },
    Kind { names: &["gpt-4o", "llama4", "kanana2"], patterns: &[O200K], ..PLAIN },
    Kind { names: &["tekken"], patterns: &[TEKKEN], whole_words: true, bos: true, ..PLAIN },
    Kind { names: &["bloom", "poro-chat", "gpt3-finnish"], patterns: &[BLOOM], ..PLAIN },
    Kind { names: &["viking"], patterns: &[BLOOM, r"\p{N}"], ..PLAIN },
    Kind {
        names: &["falcon"],
        patterns: &[r"[\p{P}\$\+<=>\^~\|`]+", GPT2_PATTERN, "[0-9][0-9][0-9]"],
        ..PLAIN
    },
    Kind {
        names: &["deepseek-llm"],
        patterns: &[
            r"[\r\n]",
            CASED,
            r"\s?[!-/:-~\u{ff01}-\u{ff0f}\u{ff1a}-\u{ff5e}\u{2018}-\u{201f}\u{3000}-\u{3002}]+",
            r"\s+$",
            CJK,
            r"\p{N}+",
        ],
        ..PLAIN
    },
    Kind {
        names: &["deepseek-coder"],
        patterns: &[r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", CJK, r"\p{N}"],
        ..PLAIN
    },
    Kind {
        names: &["deepseek-v3", "joyai-llm"],
        patterns: &[
            r"\p{N}{1,3}",
            r"[\u{4e00}-\u{9fa5}\u{3040}-\u{309f}\u{30a0}-\u{30ff}]+",
            r"[!-/:-@\[-`{-~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        ],
        ..PLAIN
    },
    Kind {
        names: &["default"],
        patterns: &[r"[\p{P}\$\+<=>\^~\|]+", GPT2_PATTERN, r"\p{N}+", "[0-9][0-9][0-9]"],
        ..PLAIN
    },
];

const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const O200K: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const BLOOM: &str = r" ?[^(\s|.,!?\u{2026}\u{3002}\u{ff0c}\u{3001}\u{964}\u{6d4}\u{60c}]+";
const CJK: &str = r"[\u{4e00}-\u{9fa5}\u{800}-\u{4e00}\u{ac00}-\u{d7ff}]+";
/// Letters with a case, as far as DeepSeek's list of them goes.
const CASED: &str = concat!(
    r"\s?[A-Za-z",
    r"\u{b5}\u{c0}-\u{d6}\u{d8}-\u{f6}\u{f8}-\u{1ba}\u{1bc}-\u{1bf}\u{1c4}-\u{293}",
    r"\u{295}-\u{2af}\u{370}-\u{373}\u{376}\u{377}\u{37b}-\u{37d}\u{37f}\u{386}\u{388}-\u{38a}",
    r"\u{38c}\u{38e}-\u{3a1}\u{3a3}-\u{3f5}\u{3f7}-\u{481}\u{48a}-\u{52f}\u{531}-\u{556}",
    r"\u{10a0}-\u{10c5}\u{13a0}-\u{13f5}\u{13f8}-\u{13fd}\u{1c90}-\u{1cba}\u{1cbd}-\u{1cbf}",
    r"\u{1d00}-\u{1d2b}\u{1d6b}-\u{1d77}\u{1d79}-\u{1d9a}\u{1e00}-\u{1f15}\u{1f18}-\u{1f1d}",
    r"\u{1f20}-\u{1f45}\u{1f48}-\u{1f4d}\u{1f50}-\u{1f57}\u{1f59}\u{1f5b}\u{1f5d}",
    r"\u{1f5f}-\u{1f7d}\u{1f80}-\u{1fb4}\u{1fb6}-\u{1fbc}\u{1fbe}\u{1fc2}-\u{1fc4}",
    r"\u{1fc6}-\u{1fcc}\u{1fd0}-\u{1fd3}\u{1fd6}-\u{1fdb}\u{1fe0}-\u{1fec}\u{1ff2}-\u{1ff4}",
    r"\u{1ff6}-\u{1ffc}\u{2102}\u{2107}\u{210a}-\u{2113}\u{2115}\u{2119}-\u{211d}\u{2124}",
    r"\u{2126}\u{2128}\u{212a}-\u{212d}\u{212f}-\u{2134}\u{2139}\u{213c}-\u{213f}",
    r"\u{2145}-\u{2149}\u{214e}\u{2183}\u{2184}\u{2c00}-\u{2c7b}\u{2c7e}-\u{2ce4}",
    r"\u{2ceb}-\u{2cee}\u{2cf2}\u{2cf3}\u{a640}-\u{a66d}\u{a680}-\u{a69b}\u{a722}-\u{a76f}",
    r"\u{a771}-\u{a787}\u{a78b}-\u{a78e}\u{ab70}-\u{abbf}\u{fb00}-\u{fb06}\u{fb13}-\u{fb17}",
    r"\u{ff21}-\u{ff3a}\u{ff41}-\u{ff5a}\u{10400}-\u{1044f}\u{104b0}-\u{104d3}",
    r"\u{104d8}-\u{104fb}\u{10c80}-\u{10cb2}\u{10cc0}-\u{10cf2}\u{118a0}-\u{118df}",
    r"\u{1e900}-\u{1e943}",
    r"]+",
);

/// Vocabularies that are told by one token: (token, its id, kind).
const KNOWN: [(&str, usize, &str); 4] = [
    ("<|begin_of_text|>", 128_000, "llama-bpe"),
    ("<|endoftext|>", 151_643, "qwen2"),
    ("<|endoftext|>", 50_256, "gpt-2"),
    ("<repo_name>", 3, "smollm"),
];

/// The kind of a file from before `tokenizer.ggml.pre`: that of a vocabulary that is known, else the
/// rule that stands for all others.
fn known_kind(vocab: &GgufVocab) -> &'static str {
    let is_there = |&&(token, id, _): &&(&str, usize, _)| {
        vocab.tokens.get(id).is_some_and(|found| found == token)
    };
    KNOWN.iter().find(is_there).map_or("default", |(.., kind)| kind)
}

/// Compiles a byte-level model (`gpt2`).
pub(super) fn compile(vocab: &GgufVocab) -> Result<Builder, CompileError> {
    let pre = if vocab.pre.is_empty() { known_kind(vocab) } else { &vocab.pre };
    let kind = KINDS.iter().find(|kind| kind.names.contains(&pre));
    let kind = kind.ok_or_else(|| CompileError::UnsupportedGguf {
        key: "tokenizer.ggml.pre",
        value: vocab.pre.clone(),
    })?;
    let mut builder =
        Builder::new(Model::Bpe(Bpe { ignore_merges: kind.whole_words, ..Bpe::default() }));
    for (number, merge) in vocab.merges.iter().enumerate() {
        // A part may itself be a space in hand-made vocabularies: the first character is no cut.
        let Some(at) = merge.char_indices().skip(1).find(|(_, c)| *c == ' ').map(|(at, _)| at)
        else {
            return Err(CompileError::BadMerge { number, merge: merge.clone() });
        };
        let (left, right) = (&merge[..at], &merge[at + 1..]);
        builder.merges.push((left.to_owned(), right.to_owned()));
    }
    add_tokens(&mut builder, vocab, |_, token| token.to_owned())?;
    if kind.nfc {
        builder.normalizers.push(Normalizer::Nfc);
    }
    for pattern in kind.patterns {
        let automaton = builder.regex(pattern)?;
        let behavior = SplitBehavior::Isolated;
        builder.pre_tokenizers.push(PreTokenizer::Split { automaton, behavior, invert: false });
    }
    builder.pre_tokenizers.push(PreTokenizer::ByteAlphabet);
    builder.decoders.push(Decoder::ByteLevel { alphabet: true });
    builder.template = bos_eos(vocab, kind.bos, false);
    Ok(builder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::pattern;
    use kinglet_formats::tokenizer::Automaton;

    #[test]
    fn every_pattern_compiles() {
        for kind in KINDS {
            for pattern in kind.patterns {
                if let Err(error) = pattern::compile(pattern) {
                    panic!("{:?}: {error}", kind.names);
                }
            }
        }
    }

    #[test]
    fn names_stand_once() {
        let mut names: Vec<&str> = KINDS.iter().flat_map(|kind| kind.names).copied().collect();
        names.sort_unstable();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all);
    }

    #[test]
    fn look_alikes_are_told_apart() {
        let bytes = pattern::compile(CASED).unwrap();
        let automaton = Automaton::read(&bytes).unwrap();
        let find = |text: &str| automaton.matches(text).count();
        // The Kelvin sign begins a range that the letter K would stretch over all of Asia.
        assert_eq!(
            [find("\u{212a}"), find("\u{3b1}"), find("\u{5d0}"), find("\u{915}")],
            [1, 1, 0, 0]
        );
    }
}
