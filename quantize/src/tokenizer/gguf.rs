//! Compiles the vocabulary of a GGUF file.

use kinglet_formats::checkpoint::gguf::{Metadata, Value};
use kinglet_formats::tokenizer::{
    AddedToken, Bpe, Decoder, Model, Normalizer, PreTokenizer, PrependScheme, SplitBehavior,
    Template, TemplateItem, added_flags,
};

use super::build::{Builder, GPT2_PATTERN, WORD_MARK};
use super::{CompileError, json_steps};

/// What a GGUF file says about its tokenizer, under the names of its keys without the prefix
/// `tokenizer.ggml.`.
#[derive(Clone, Debug, Default)]
pub struct GgufVocab {
    /// `model`: `gpt2`, `llama`, `t5` or `bert`.
    pub model: String,
    /// `pre`: the kind of pre-tokenizer of a `gpt2` model.
    pub pre: String,
    /// `tokens`.
    pub tokens: Vec<String>,
    /// `scores`, empty if absent.
    pub scores: Vec<f32>,
    /// `token_type`, empty if absent; see [`GgufTokenType`].
    pub token_types: Vec<i32>,
    /// `merges`, empty if absent.
    pub merges: Vec<String>,
    /// `bos_token_id`.
    pub bos: Option<u32>,
    /// `eos_token_id`.
    pub eos: Option<u32>,
    /// `unknown_token_id`.
    pub unk: Option<u32>,
    /// `padding_token_id`.
    pub pad: Option<u32>,
    /// `seperator_token_id` (so spelled in the format).
    pub sep: Option<u32>,
    /// `cls_token_id`.
    pub cls: Option<u32>,
    /// `add_bos_token`.
    pub add_bos: Option<bool>,
    /// `add_eos_token`.
    pub add_eos: Option<bool>,
    /// `add_space_prefix`.
    pub add_space_prefix: Option<bool>,
    /// `remove_extra_whitespaces`.
    pub remove_extra_whitespaces: Option<bool>,
    /// `precompiled_charsmap`, empty if absent.
    pub precompiled_charsmap: Vec<u8>,
}

impl GgufVocab {
    /// Takes the vocabulary out of a file's metadata.
    pub fn read(metadata: &Metadata) -> Result<GgufVocab, CompileError> {
        let unreadable = |e: kinglet_formats::checkpoint::CheckpointError| {
            CompileError::GgufMetadata { reason: e.to_string() }
        };
        let key = |name: &str| format!("tokenizer.ggml.{name}");
        let text = |name| {
            let text = metadata.str(&key(name)).map_err(unreadable)?;
            Ok::<String, CompileError>(text.unwrap_or_default().to_owned())
        };
        let texts = |name| {
            let texts = metadata.strs(&key(name)).map_err(unreadable)?.unwrap_or_default();
            Ok::<Vec<String>, CompileError>(texts.into_iter().map(str::to_owned).collect())
        };
        let id = |name| metadata.u64(&key(name)).and_then(|id| u32::try_from(id).ok());
        let flag = |name| metadata.bool(&key(name));
        let token_types = metadata.i64s(&key("token_type")).unwrap_or_default();
        let charsmap = metadata.array(&key("precompiled_charsmap"));
        let charsmap = charsmap.into_iter().flat_map(|bytes| bytes.iter());
        Ok(GgufVocab {
            model: text("model")?,
            pre: text("pre")?,
            tokens: texts("tokens")?,
            scores: metadata.f32s(&key("scores")).unwrap_or_default(),
            token_types: token_types.into_iter().map(|kind| kind as i32).collect(),
            merges: texts("merges")?,
            bos: id("bos_token_id"),
            eos: id("eos_token_id"),
            unk: id("unknown_token_id"),
            pad: id("padding_token_id"),
            sep: id("seperator_token_id"),
            cls: id("cls_token_id"),
            add_bos: flag("add_bos_token"),
            add_eos: flag("add_eos_token"),
            add_space_prefix: flag("add_space_prefix"),
            remove_extra_whitespaces: flag("remove_extra_whitespaces"),
            precompiled_charsmap: charsmap
                .filter_map(|byte: Value<'_>| byte.as_i64())
                .map(|byte| byte as u8)
                .collect(),
        })
    }
}

/// Values of `token_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GgufTokenType {
    /// A piece of text.
    Normal = 1,
    /// The unknown token.
    Unknown = 2,
    /// A special token.
    Control = 3,
    /// A token that is always found whole.
    UserDefined = 4,
    /// Takes up an id.
    Unused = 5,
    /// One byte.
    Byte = 6,
}

/// Compiles a GGUF vocabulary.
pub fn compile_gguf(vocab: &GgufVocab) -> Result<Vec<u8>, CompileError> {
    check_lengths(vocab)?;
    let mut builder = match vocab.model.as_str() {
        "gpt2" => byte_level(vocab)?,
        "llama" => sentencepiece(vocab)?,
        "t5" => unigram(vocab)?,
        "bert" => wordpiece(vocab)?,
        model => {
            let key = "tokenizer.ggml.model";
            return Err(CompileError::UnsupportedGguf { key, value: model.to_owned() });
        }
    };
    builder.roles.bos = vocab.bos;
    builder.roles.eos = vocab.eos;
    builder.roles.pad = vocab.pad;
    builder.roles.unk = builder.roles.unk.or(vocab.unk);
    builder.finish()
}

fn check_lengths(vocab: &GgufVocab) -> Result<(), CompileError> {
    let expected = vocab.tokens.len();
    for (key, found) in [
        ("tokenizer.ggml.scores", vocab.scores.len()),
        ("tokenizer.ggml.token_type", vocab.token_types.len()),
    ] {
        if found != 0 && found != expected {
            return Err(CompileError::GgufLength { key, expected, found });
        }
    }
    Ok(())
}

fn is_type(vocab: &GgufVocab, id: usize, kind: GgufTokenType) -> bool {
    vocab.token_types.get(id).is_some_and(|&found| found == kind as i32)
}

/// Fills in the pieces, and the tokens that are found whole: special ones and user-defined ones.
fn add_tokens(
    builder: &mut Builder,
    vocab: &GgufVocab,
    spelled: impl Fn(usize, &str) -> String,
) -> Result<(), CompileError> {
    let mut known = std::collections::HashSet::new();
    for (id, token) in vocab.tokens.iter().enumerate() {
        let special = is_type(vocab, id, GgufTokenType::Control)
            || is_type(vocab, id, GgufTokenType::Unknown);
        let whole = special || is_type(vocab, id, GgufTokenType::UserDefined);
        let piece = spelled(id, token);
        if whole && !token.is_empty() && known.insert(token.as_str()) {
            let flags = if special { added_flags::SPECIAL } else { 0 };
            builder.added.push(AddedToken { content: piece.clone(), id: id as u32, flags });
        }
        builder.set_piece(id as u64, piece)?;
    }
    Ok(())
}

/// BOS before and EOS behind the text, as far as the file asks for them.
fn bos_eos(vocab: &GgufVocab, bos: bool, eos: bool) -> Option<Template> {
    let token = |wanted: Option<bool>, default, id: Option<u32>, type_id| {
        id.filter(|_| wanted.unwrap_or(default)).map(|id| TemplateItem::Token { id, type_id })
    };
    let around = |text, type_id| {
        let before = token(vocab.add_bos, bos, vocab.bos, type_id);
        let behind = token(vocab.add_eos, eos, vocab.eos, type_id);
        before.into_iter().chain([text]).chain(behind)
    };
    let single: Vec<_> = around(TemplateItem::First { type_id: 0 }, 0).collect();
    let second = around(TemplateItem::Second { type_id: 1 }, 1);
    let pair = single.iter().copied().chain(second).collect();
    (single.len() > 1).then_some(Template { single, pair })
}

fn byte_level(vocab: &GgufVocab) -> Result<Builder, CompileError> {
    let mut builder = Builder::new(Model::Bpe(Bpe {
        ignore_merges: matches!(vocab.pre.as_str(), "llama-bpe" | "llama3" | "llama-v3" | "tekken"),
        ..Bpe::default()
    }));
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
    if matches!(vocab.pre.as_str(), "qwen2" | "deepseek-r1-qwen" | "olmo" | "dbrx") {
        builder.normalizers.push(Normalizer::Nfc);
    }
    for pattern in patterns(&vocab.pre)? {
        let automaton = builder.regex(pattern)?;
        let behavior = SplitBehavior::Isolated;
        builder.pre_tokenizers.push(PreTokenizer::Split { automaton, behavior, invert: false });
    }
    builder.pre_tokenizers.push(PreTokenizer::ByteAlphabet);
    builder.decoders.push(Decoder::ByteLevel { alphabet: true });
    builder.template = bos_eos(vocab, false, false);
    Ok(builder)
}

const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const O200K: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const BLOOM: &str = r" ?[^(\s|.,!?…。，、।۔،)]+";

/// The patterns that cut a text into words, applied one after the other.
fn patterns(pre: &str) -> Result<&'static [&'static str], CompileError> {
    Ok(match pre {
        "gpt-2" | "phi-2" | "jina-es" | "jina-de" | "jina-v2-es" | "jina-v2-de" | "gigachat"
        | "a.x-4.0" | "mellum" | "modern-bert" | "roberta-bpe" | "olmo" | "mpt" | "jais" => {
            &[GPT2_PATTERN]
        }
        "smollm" | "starcoder" | "refact" | "command-r" | "codeshell" | "exaone" | "minerva-7b" => {
            &[r"\p{N}", GPT2_PATTERN]
        }
        "llama-bpe" | "llama3" | "llama-v3" | "dbrx" | "smaug-bpe" | "falcon3" | "pixtral"
        | "chatglm-bpe" | "lfm2" => &[LLAMA3],
        "qwen2" | "deepseek-r1-qwen" | "stablelm2" | "hunyuan" | "megrez" => &[QWEN2],
        "gpt-4o" | "llama4" | "kanana2" => &[O200K],
        "tekken" => &[TEKKEN],
        "bloom" | "poro-chat" | "gpt3-finnish" => &[BLOOM],
        "viking" => &[BLOOM, r"\p{N}"],
        "falcon" => &[r"[\p{P}\$\+<=>\^~\|`]+", GPT2_PATTERN, "[0-9][0-9][0-9]"],
        "deepseek-llm" => &[
            r"[\r\n]",
            r"\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+",
            r"\s?[!-/:-~！-／：-～‘-‟　-。]+",
            r"\s+$",
            r"[一-龥ࠀ-一가-퟿]+",
            r"\p{N}+",
        ],
        "deepseek-coder" => &[r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", r"[一-龥ࠀ-一가-퟿]+", r"\p{N}"],
        "deepseek-v3" | "joyai-llm" => &[
            r"\p{N}{1,3}",
            r"[一-龥぀-ゟ゠-ヿ]+",
            r"[!-/:-@\[-`{-~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        ],
        "default" | "" => &[r"[\p{P}\$\+<=>\^~\|]+", GPT2_PATTERN, r"\p{N}+", "[0-9][0-9][0-9]"],
        _ => {
            let key = "tokenizer.ggml.pre";
            return Err(CompileError::UnsupportedGguf { key, value: pre.to_owned() });
        }
    })
}

fn sentencepiece(vocab: &GgufVocab) -> Result<Builder, CompileError> {
    let mut builder = Builder::new(Model::Bpe(Bpe {
        byte_fallback: true,
        unk: vocab.unk,
        fuse_unk: true,
        ..Bpe::default()
    }));
    add_tokens(&mut builder, vocab, |_, token| token.to_owned())?;
    builder.merge_by_rank(merge_ranks(vocab));
    let prefix = vocab.add_space_prefix.unwrap_or(true);
    if prefix {
        // Only a text at the beginning gets a space; behind a special token it stays as it is.
        let prepend = PrependScheme::First;
        builder.pre_tokenizers.push(PreTokenizer::Metaspace {
            replacement: WORD_MARK,
            prepend,
            split: false,
        });
    } else {
        let automaton = builder.literal(" ")?;
        builder.normalizers.push(Normalizer::Replace { automaton, content: WORD_MARK.into() });
    }
    let automaton = builder.literal(&WORD_MARK.to_string())?;
    builder.decoders = vec![
        Decoder::Replace { automaton, content: " ".into() },
        Decoder::ByteFallback,
        Decoder::Fuse,
    ];
    if prefix {
        builder.decoders.push(Decoder::Strip { content: ' ', start: 1, stop: 0 });
    }
    builder.template = bos_eos(vocab, true, false);
    Ok(builder)
}

/// Merge order from scores, best first; equal scores are equal ranks. Special tokens, bytes and
/// unused ids never come out of a merge.
fn merge_ranks(vocab: &GgufVocab) -> Vec<u32> {
    let score = |id: usize| vocab.scores.get(id).copied().unwrap_or(0.0);
    let merges = |id: &usize| {
        vocab.token_types.is_empty()
            || is_type(vocab, *id, GgufTokenType::Normal)
            || is_type(vocab, *id, GgufTokenType::UserDefined)
    };
    let mut order: Vec<usize> = (0..vocab.tokens.len()).filter(merges).collect();
    order.sort_by(|&a, &b| score(b).total_cmp(&score(a)));
    let mut ranks = vec![u32::MAX; vocab.tokens.len()];
    let (mut rank, mut previous) = (0, None);
    for id in order {
        let is_new = previous.replace(score(id)).is_some_and(|previous| previous != score(id));
        rank += u32::from(is_new);
        ranks[id] = rank;
    }
    ranks
}

fn unigram(vocab: &GgufVocab) -> Result<Builder, CompileError> {
    let scores: Vec<f64> = vocab.scores.iter().map(|&score| f64::from(score)).collect();
    // Only pieces of text take part; what is found whole must not set the price of the unknown.
    let lowest = (0..scores.len())
        .filter(|&id| is_type(vocab, id, GgufTokenType::Normal))
        .map(|id| scores[id])
        .fold(0.0, f64::min);
    let mut builder = Builder::new(Model::Unigram {
        unk: vocab.unk,
        unk_score: lowest - 10.0,
        byte_fallback: (0..scores.len()).any(|id| is_type(vocab, id, GgufTokenType::Byte)),
    });
    add_tokens(&mut builder, vocab, |_, token| token.to_owned())?;
    builder.scores = scores;
    if !vocab.precompiled_charsmap.is_empty() {
        builder.charsmaps.push(vocab.precompiled_charsmap.clone());
        builder.normalizers.push(Normalizer::Charsmap { charsmap: 0 });
    }
    if vocab.remove_extra_whitespaces.unwrap_or(false) {
        builder.normalizers.push(Normalizer::Strip { left: true, right: true });
        let automaton = builder.regex(" {2,}")?;
        builder.normalizers.push(Normalizer::Replace { automaton, content: " ".into() });
    }
    let prefix = vocab.add_space_prefix.unwrap_or(true);
    let prepend = if prefix { PrependScheme::Always } else { PrependScheme::Never };
    builder.pre_tokenizers.push(PreTokenizer::Metaspace {
        replacement: WORD_MARK,
        prepend,
        split: true,
    });
    builder.decoders = vec![Decoder::Metaspace { replacement: WORD_MARK, strip_first: prefix }];
    builder.template = bos_eos(vocab, false, true);
    Ok(builder)
}

fn wordpiece(vocab: &GgufVocab) -> Result<Builder, CompileError> {
    let mut builder = Builder::new(Model::WordLevel { unk: None });
    // The format writes a word mark before pieces that begin a word and no `##` inside one.
    let marked = vocab.tokens.iter().any(|token| token.starts_with(WORD_MARK));
    add_tokens(&mut builder, vocab, |id, token| {
        let text = !vocab.token_types.is_empty() && is_type(vocab, id, GgufTokenType::Normal);
        match token.strip_prefix(WORD_MARK) {
            Some(word) => word.to_owned(),
            None if marked && text && !token.starts_with('[') => format!("##{token}"),
            None => token.to_owned(),
        }
    })?;
    let find = |given: Option<u32>, name: &'static str| {
        given.or_else(|| builder.ids().get(name).copied()).ok_or_else(|| {
            CompileError::UnknownToken { role: "a special token", token: name.to_owned() }
        })
    };
    let unk = find(vocab.unk, "[UNK]")?;
    let cls = find(vocab.cls.or(vocab.bos), "[CLS]")?;
    let sep = find(vocab.sep.or(vocab.eos), "[SEP]")?;
    let has_capitals = vocab.tokens.iter().any(|token| {
        token.trim_start_matches(WORD_MARK).starts_with(|c: char| c.is_ascii_uppercase())
    });
    builder.model = Model::WordPiece { unk, prefix: "##".into(), max_chars: 100 };
    builder.normalizers.push(Normalizer::Bert {
        clean_text: true,
        handle_chinese_chars: true,
        strip_accents: !has_capitals,
        lowercase: !has_capitals,
    });
    json_steps::bert_words(&mut builder)?;
    builder.decoders.push(Decoder::WordPiece { prefix: "##".into(), cleanup: true });
    let token = |id, type_id| TemplateItem::Token { id, type_id };
    let (first, second) = (TemplateItem::First { type_id: 0 }, TemplateItem::Second { type_id: 1 });
    builder.template = Some(Template {
        single: vec![token(cls, 0), first, token(sep, 0)],
        pair: vec![token(cls, 0), first, token(sep, 0), second, token(sep, 1)],
    });
    Ok(builder)
}
