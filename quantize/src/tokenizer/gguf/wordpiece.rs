//! WordPiece vocabularies, as BERT has them.

use kinglet_formats::tokenizer::{Decoder, Model, Normalizer, Template, TemplateItem};

use super::{GgufTokenType, GgufVocab, add_tokens, is_type};
use crate::tokenizer::build::{Builder, WORD_MARK};
use crate::tokenizer::{CompileError, json_steps};

/// What may stand before pieces inside a word; the first that no word begins with is taken.
const PREFIXES: [&str; 3] = ["##", "\u{2581}\u{2581}", "\u{fdd1}"];

/// Compiles a WordPiece model (`bert`).
pub(super) fn compile(vocab: &GgufVocab) -> Result<Builder, CompileError> {
    let mut builder = Builder::new(Model::WordLevel { unk: None });
    // The format writes a word mark before pieces that begin a word and nothing inside one.
    let marked = vocab.tokens.iter().any(|token| token.starts_with(WORD_MARK));
    let words = || vocab.tokens.iter().filter_map(|token| token.strip_prefix(WORD_MARK));
    let is_free = |prefix: &&str| !marked || !words().any(|word| word.starts_with(prefix));
    let prefix = PREFIXES.into_iter().find(is_free).unwrap_or(PREFIXES[0]);
    add_tokens(&mut builder, vocab, |id, token| match token.strip_prefix(WORD_MARK) {
        Some(word) => word.to_owned(),
        None if marked && is_type(vocab, id, GgufTokenType::Normal) && !is_name(token) => {
            format!("{prefix}{token}")
        }
        None => token.to_owned(),
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
    let lowercase = vocab.lowercase.unwrap_or(!has_capitals);
    builder.model = Model::WordPiece { unk, prefix: prefix.into(), max_chars: 100 };
    builder.normalizers.push(Normalizer::Bert {
        clean_text: true,
        handle_chinese_chars: true,
        strip_accents: vocab.strip_accents.unwrap_or(lowercase),
        lowercase,
    });
    json_steps::bert_words(&mut builder)?;
    builder.decoders.push(Decoder::WordPiece { prefix: prefix.into(), cleanup: true });
    let token = |id, type_id| TemplateItem::Token { id, type_id };
    let (first, second) = (TemplateItem::First { type_id: 0 }, TemplateItem::Second { type_id: 1 });
    builder.template = Some(Template {
        single: vec![token(cls, 0), first, token(sep, 0)],
        pair: vec![token(cls, 0), first, token(sep, 0), second, token(sep, 1)],
    });
    Ok(builder)
}

/// Whether a token has a name in brackets, which some converters leave without a mark whatever its
/// type. Inside a word there are no such pieces: brackets are words of their own.
fn is_name(token: &str) -> bool {
    token.len() > 2 && token.starts_with('[') && token.ends_with(']')
}
