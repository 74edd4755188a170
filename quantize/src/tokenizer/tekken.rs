//! Compiles Mistral's `tekken.json`: byte-level pieces in the order in which they merge, behind a number
//! of special tokens.

use std::collections::HashSet;

use kinglet_formats::tokenizer::{
    AddedToken, Bpe, Decoder, MAX_PIECES, Model, PreTokenizer, SplitBehavior, Template,
    TemplateItem, added_flags, byte_letter,
};
use serde::Deserialize;

use super::build::Builder;
use super::{CompileError, base64};

/// Special tokens of files that do not list them, in the order of their ids.
const SPECIAL: [&str; 20] = [
    "<unk>",
    "<s>",
    "</s>",
    "[INST]",
    "[/INST]",
    "[AVAILABLE_TOOLS]",
    "[/AVAILABLE_TOOLS]",
    "[TOOL_RESULTS]",
    "[/TOOL_RESULTS]",
    "[TOOL_CALLS]",
    "[IMG]",
    "<pad>",
    "[IMG_BREAK]",
    "[IMG_END]",
    "[PREFIX]",
    "[MIDDLE]",
    "[SUFFIX]",
    "[SYSTEM_PROMPT]",
    "[/SYSTEM_PROMPT]",
    "[TOOL_CONTENT]",
];

#[derive(Deserialize)]
struct Tekken {
    config: Config,
    vocab: Vec<Piece>,
    special_tokens: Option<Vec<Special>>,
}

#[derive(Deserialize)]
struct Config {
    /// How a text is cut into words.
    pattern: String,
    /// Ids that the model has, special ones included: the file may have more pieces.
    default_vocab_size: usize,
    default_num_special_tokens: usize,
}

#[derive(Deserialize)]
struct Piece {
    /// In base64.
    token_bytes: String,
}

#[derive(Deserialize)]
struct Special {
    rank: u32,
    token_str: String,
}

/// Compiles the bytes of a `tekken.json`.
pub fn compile_tekken(json: &[u8]) -> Result<Vec<u8>, CompileError> {
    let tekken: Tekken =
        serde_json::from_slice(json).map_err(|e| CompileError::Tekken { reason: e.to_string() })?;
    let Config { pattern, default_vocab_size, default_num_special_tokens } = tekken.config;
    let first = default_num_special_tokens;
    if first.max(default_vocab_size) > MAX_PIECES {
        let id = first.max(default_vocab_size) as u64;
        return Err(CompileError::IdTooLarge { id, limit: MAX_PIECES });
    }
    let mut builder = Builder::new(Model::Bpe(Bpe { ignore_merges: true, ..Bpe::default() }));
    let pieces = tekken.vocab.iter().take(default_vocab_size.saturating_sub(first));
    let mut ranks = Vec::new();
    for (rank, piece) in pieces.enumerate() {
        let bytes = base64::decode(&piece.token_bytes).ok_or_else(|| CompileError::Tekken {
            reason: format!("the bytes of piece {rank} are no base64"),
        })?;
        let id = first + rank;
        builder.set_piece(id as u64, bytes.into_iter().map(byte_letter).collect())?;
        ranks.push((id as u32, -(rank as f32)));
    }
    builder.merge_by_score(ranks);
    let special = tekken.special_tokens.unwrap_or_else(|| {
        let special =
            |(rank, token): (u32, &&str)| Special { rank, token_str: (*token).to_owned() };
        (0..).zip(&SPECIAL).map(special).collect()
    });
    let mut known = HashSet::new();
    for Special { rank, token_str: content } in special {
        if rank as usize >= first {
            let reason = format!("special token {content:?} has the id of a piece, {rank}");
            return Err(CompileError::Tekken { reason });
        }
        if !content.is_empty() && known.insert(content.clone()) {
            builder.added.push(AddedToken { content, id: rank, flags: added_flags::SPECIAL });
        }
    }
    let automaton = builder.regex(&pattern)?;
    let behavior = SplitBehavior::Isolated;
    builder.pre_tokenizers = vec![
        PreTokenizer::Split { automaton, behavior, invert: false },
        PreTokenizer::ByteAlphabet,
    ];
    builder.decoders = vec![Decoder::ByteLevel { alphabet: true }];
    let named = |token: &str| builder.added.iter().find(|known| known.content == token);
    let id = |token: &str| named(token).map(|known| known.id);
    let (bos, eos, pad) = (id("<s>"), id("</s>"), id("<pad>"));
    (builder.roles.bos, builder.roles.eos, builder.roles.pad) = (bos, eos, pad);
    builder.template = bos.map(|id| {
        let (bos, first) =
            (TemplateItem::Token { id, type_id: 0 }, TemplateItem::First { type_id: 0 });
        let second = TemplateItem::Second { type_id: 0 };
        Template { single: vec![bos, first], pair: vec![bos, first, bos, second] }
    });
    builder.finish()
}
