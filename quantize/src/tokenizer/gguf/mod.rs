//! Compiles the vocabulary of a GGUF file.

mod byte_level;
mod sentencepiece;
mod wordpiece;

use kinglet_formats::checkpoint::gguf::{Metadata, Value};
use kinglet_formats::tokenizer::{AddedToken, Template, TemplateItem, added_flags};

use super::CompileError;
use super::build::Builder;

/// What a GGUF file says about its tokenizer, under the names of its keys without the prefix
/// `tokenizer.ggml.`.
#[derive(Clone, Debug, Default)]
pub struct GgufVocab {
    /// `model`: `gpt2`, `llama`, `t5` or `bert`.
    pub model: String,
    /// `pre`: the kind of pre-tokenizer of a `gpt2` model; empty in old files.
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
    /// `mask_token_id`.
    pub mask: Option<u32>,
    /// `seperator_token_id` (so spelled in the format).
    pub sep: Option<u32>,
    /// `cls_token_id`.
    pub cls: Option<u32>,
    /// `add_bos_token`.
    pub add_bos: Option<bool>,
    /// `add_eos_token`.
    pub add_eos: Option<bool>,
    /// `add_sep_token`.
    pub add_sep: Option<bool>,
    /// `add_space_prefix`.
    pub add_space_prefix: Option<bool>,
    /// `remove_extra_whitespaces`.
    pub remove_extra_whitespaces: Option<bool>,
    /// `precompiled_charsmap`, empty if absent.
    pub precompiled_charsmap: Vec<u8>,
    /// `normalizer.lowercase`, for `bert`.
    pub lowercase: Option<bool>,
    /// `normalizer.strip_accents`, for `bert`; as `lowercase` if absent.
    pub strip_accents: Option<bool>,
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
        // Some files write "none" as -1, which as a number without sign is the largest one.
        let id = |name| {
            let id = metadata.u64(&key(name)).and_then(|id| u32::try_from(id).ok());
            id.filter(|&id| id != u32::MAX)
        };
        let flag = |name| metadata.bool(&key(name));
        let model = text("model")?;
        for (name, why, models) in REQUIRED {
            if metadata.array(&key(name)).is_none()
                && models.contains(&model.as_str())
                && metadata.array(&key("tokens")).is_some()
            {
                return Err(CompileError::GgufMissing { key: key(name), why });
            }
        }
        let tokens = texts("tokens")?;
        let token_types = metadata.i64s(&key("token_type")).unwrap_or_default();
        let scores = metadata.f32s(&key("scores")).or_else(|| {
            let scores = metadata.i64s(&key("scores"))?;
            Some(scores.into_iter().map(|score| score as f32).collect())
        });
        // What SentencePiece itself numbers so, old files leave out.
        let usual = |name, id: u32| {
            let absent = model == "llama" && metadata.value(&key(name)).is_none();
            (absent && (id as usize) < tokens.len()).then_some(id)
        };
        let charsmap = metadata.array(&key("precompiled_charsmap"));
        let charsmap = charsmap.into_iter().flat_map(|bytes| bytes.iter());
        Ok(GgufVocab {
            pre: text("pre")?,
            bos: id("bos_token_id").or(usual("bos_token_id", 1)),
            eos: id("eos_token_id").or(usual("eos_token_id", 2)),
            unk: id("unknown_token_id").or(usual("unknown_token_id", 0)),
            tokens,
            model,
            scores: scores.unwrap_or_default(),
            token_types: token_types.into_iter().map(|kind| kind as i32).collect(),
            merges: texts("merges")?,
            pad: id("padding_token_id"),
            mask: id("mask_token_id"),
            sep: id("seperator_token_id"),
            cls: id("cls_token_id"),
            add_bos: flag("add_bos_token"),
            add_eos: flag("add_eos_token"),
            add_sep: flag("add_sep_token"),
            add_space_prefix: flag("add_space_prefix"),
            remove_extra_whitespaces: flag("remove_extra_whitespaces"),
            lowercase: flag("normalizer.lowercase"),
            strip_accents: flag("normalizer.strip_accents"),
            precompiled_charsmap: charsmap
                .filter_map(|byte: Value<'_>| byte.as_i64())
                .map(|byte| byte as u8)
                .collect(),
        })
    }
}

/// What a vocabulary cannot do without, and for which models: without it the same text would be cut
/// otherwise than the model was trained on, and nothing would tell.
const REQUIRED: [(&str, &str, &[&str]); 3] = [
    ("merges", "it says which pieces make up a word", &["gpt2"]),
    ("scores", "it says which pieces make up a word", &["llama", "t5"]),
    ("token_type", "it tells special tokens from text", &["gpt2", "llama", "t5", "bert"]),
];

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
        "gpt2" => byte_level::compile(vocab)?,
        "llama" => sentencepiece::compile(vocab)?,
        "t5" => sentencepiece::compile_unigram(vocab)?,
        "bert" => wordpiece::compile(vocab)?,
        model => {
            let key = "tokenizer.ggml.model";
            return Err(CompileError::UnsupportedGguf { key, value: model.to_owned() });
        }
    };
    builder.roles.bos = vocab.bos;
    builder.roles.eos = vocab.eos;
    builder.roles.pad = vocab.pad;
    builder.roles.mask = vocab.mask;
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

/// BOS before and EOS behind a text, as far as the file asks for them. A second text has the separator
/// in place of BOS, where there is one.
fn bos_eos(vocab: &GgufVocab, bos: bool, eos: bool) -> Option<Template> {
    let token = |id, type_id| TemplateItem::Token { id, type_id };
    let bos = vocab.bos.filter(|_| vocab.add_bos.unwrap_or(bos));
    let eos = vocab.eos.filter(|_| vocab.add_eos.unwrap_or(eos));
    // One separator stands between ModernBERT's texts, which ends the first: files ask for two.
    let is_ended = vocab.pre == "modern-bert" && eos.is_some();
    let between = vocab.sep.or(bos).filter(|_| !is_ended && vocab.add_sep.unwrap_or(true));
    let around = |before: Option<u32>, text, type_id| {
        let before = before.map(|id| token(id, type_id));
        before.into_iter().chain([text]).chain(eos.map(|id| token(id, type_id)))
    };
    let single: Vec<_> = around(bos, TemplateItem::First { type_id: 0 }, 0).collect();
    let second = around(between, TemplateItem::Second { type_id: 1 }, 1);
    let pair = single.iter().copied().chain(second).collect();
    (single.len() > 1).then_some(Template { single, pair })
}
