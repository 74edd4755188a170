//! Compiles models of SentencePiece (`tokenizer.model`, `spiece.model`, `*.spm`).
//!
//! Ids, pieces and decoded texts are those of the `sentencepiece` package. What a checkpoint adds to
//! the model (other ids, tokens around a text) depends on its class: [`SentencePieceClass`].

mod class;
mod languages;
mod named;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};

use kinglet_formats::sentencepiece::{Algorithm, PieceKind, SentencePieceModel};
use kinglet_formats::tokenizer::{
    AddedToken, Bpe, Decoder, MAX_PIECES, Model, Normalizer, PrependScheme, added_flags, flags,
};

pub use class::SentencePieceClass;
pub use named::{NamedIds, compile_named_sentencepiece};

use super::build::{Builder, WORD_MARK};
use super::json::usual_mask;
use super::{CompileError, ExtraToken, RoleNames};

/// What a checkpoint says about the use of a model.
#[derive(Clone, Copy, Debug, Default)]
pub struct SentencePieceOptions<'a> {
    /// How ids are numbered and what stands around a text.
    pub class: SentencePieceClass,
    /// Tokens with a role; without a name for it, a role has the token that the model names. Added
    /// tokens with the ids that they have.
    pub names: RoleNames<'a>,
    /// Whether texts begin with BOS, where it is not as the class has it.
    pub add_bos: Option<bool>,
    /// Whether texts end with EOS, where it is not as the class has it.
    pub add_eos: Option<bool>,
    /// Which texts between special tokens get a space of their own, if the model gives them one:
    /// all, unless a checkpoint says otherwise.
    pub prepend: Option<PrependScheme>,
    /// Texts are turned to lower case first.
    pub lowercase: bool,
    /// Accents are taken off first.
    pub strip_accents: bool,
    /// The language that a text is in, for classes of several (`en_XX`).
    pub language: Option<&'a str>,
    /// Number of tokens for gaps in a text (T5), where it is not 100.
    pub extra_ids: Option<usize>,
}

/// Most tokens for gaps.
const MAX_EXTRA_IDS: usize = 1 << 16;

/// What SentencePiece takes off the score of the least likely piece for a character without one.
const UNKNOWN_PENALTY: f32 = 10.0;

/// Compiles the bytes of a model.
pub fn compile_sentencepiece(
    file: &[u8],
    options: &SentencePieceOptions<'_>,
) -> Result<Vec<u8>, CompileError> {
    let model = SentencePieceModel::read(file)?;
    check(&model)?;
    if let Some(id) = options.extra_ids.filter(|&n| n > MAX_EXTRA_IDS) {
        return Err(CompileError::IdTooLarge { id: id as u64, limit: MAX_EXTRA_IDS });
    }
    let ids: Vec<u32> = (0..model.pieces.len() as u32)
        .map(|id| options.class.id(id, model.pieces[id as usize].text))
        .collect();
    let unknown = model.pieces.iter().position(|piece| piece.kind == PieceKind::Unknown);
    let unk = unknown.map(|at| ids[at]);
    let mut builder = Builder::new(algorithm(&model, unk));
    pieces(&mut builder, &model, &ids)?;
    normalizers(&mut builder, &model, options)?;
    builder.decoders = vec![decoder(&model, model.unknown_text)];
    let tokens = options.class.tokens(model.pieces.len(), options);
    add(&mut builder, tokens.iter().chain(options.names.added))?;
    builder.roles.unk = unk;
    roles(&mut builder, &model, &options.names);
    builder.template = options.class.template(&builder, options)?;
    builder.finish()
}

/// How tokens become text; `unknown` is what the unknown token becomes.
fn decoder(model: &SentencePieceModel<'_>, unknown: &str) -> Decoder {
    let normalizer = model.normalizer;
    Decoder::SentencePiece {
        strip_first: normalizer.add_dummy_prefix || normalizer.remove_extra_whitespaces,
        strip_all: normalizer.remove_extra_whitespaces,
        unknown: unknown.to_owned(),
    }
}

fn check(model: &SentencePieceModel<'_>) -> Result<(), CompileError> {
    let unsupported =
        |setting: &str| Err(CompileError::UnsupportedVocabulary { setting: setting.to_owned() });
    match model.algorithm {
        Algorithm::Unigram | Algorithm::Bpe => {}
        Algorithm::Word => return unsupported("a model of whole words"),
        Algorithm::Char => return unsupported("a model of characters"),
    }
    if !model.denormalizer.is_empty() {
        return unsupported("a character map for decoded text");
    }
    Ok(())
}

fn algorithm(model: &SentencePieceModel<'_>, unk: Option<u32>) -> Model {
    let byte_fallback = model.byte_fallback;
    if model.algorithm == Algorithm::Bpe {
        return Model::Bpe(Bpe { byte_fallback, unk, fuse_unk: true, ..Bpe::default() });
    }
    let normal = model.pieces.iter().filter(|piece| piece.kind == PieceKind::Normal);
    let lowest = normal.map(|piece| piece.score).fold(f32::MAX, f32::min);
    let unk_score = f64::from(lowest - UNKNOWN_PENALTY);
    Model::Unigram { unk, unk_score, byte_fallback, single: true }
}

/// Fills in the pieces, of which `ids` has the ids.
fn pieces(
    builder: &mut Builder,
    model: &SentencePieceModel<'_>,
    ids: &[u32],
) -> Result<(), CompileError> {
    let unigram = model.algorithm == Algorithm::Unigram;
    let mut merging = Vec::new();
    for (piece, &id) in model.pieces.iter().zip(ids) {
        builder.set_piece(id.into(), piece.text.to_owned())?;
        builder.scores.resize(builder.vocab.len(), 0.0);
        let flag = match piece.kind {
            PieceKind::UserDefined => flags::WHOLE,
            PieceKind::Byte => flags::BYTE,
            PieceKind::Unused if !unigram => flags::UNUSED,
            _ => 0,
        };
        if flag != 0 {
            builder.flags.insert(id, flag);
        }
        match piece.kind {
            PieceKind::Normal | PieceKind::UserDefined => merging.push((id, piece.score)),
            PieceKind::Unused if !unigram => merging.push((id, piece.score)),
            _ => {
                builder.hidden.insert(id);
            }
        }
        if piece.kind == PieceKind::Control {
            let (content, flags) = (piece.text.to_owned(), added_flags::SPECIAL);
            builder.added.push(AddedToken { content, id, flags });
        }
        builder.scores[id as usize] = match piece.kind {
            // What is found whole is worth more than its parts, and the longer the better.
            PieceKind::UserDefined => (0.1 * (piece.text.len() as f64 - 1.0)) as f32,
            _ => piece.score,
        }
        .into();
    }
    if !unigram {
        builder.scores.clear();
        builder.merge_by_score(merging);
    }
    Ok(())
}

fn normalizers(
    builder: &mut Builder,
    model: &SentencePieceModel<'_>,
    options: &SentencePieceOptions<'_>,
) -> Result<(), CompileError> {
    for (from, to) in options.class.replacements() {
        let automaton = builder.literal(from)?;
        builder.normalizers.push(Normalizer::Replace { automaton, content: (*to).to_owned() });
    }
    if options.strip_accents {
        builder.normalizers.extend([Normalizer::Nfkd, Normalizer::StripAccents]);
    }
    if options.lowercase {
        builder.normalizers.push(Normalizer::Lowercase);
    }
    for (from, to) in options.class.patterns() {
        let automaton = builder.regex(from)?;
        builder.normalizers.push(Normalizer::Replace { automaton, content: (*to).to_owned() });
    }
    let normalizer = model.normalizer;
    let charsmap = (!normalizer.charsmap.is_empty()).then(|| {
        builder.charsmaps.push(normalizer.charsmap.to_owned());
        builder.charsmaps.len() as u32 - 1
    });
    let prepend = match normalizer.add_dummy_prefix {
        true => options.prepend.unwrap_or(PrependScheme::Always),
        false => PrependScheme::Never,
    };
    builder.normalizers.push(Normalizer::SentencePiece {
        charsmap,
        trim: normalizer.remove_extra_whitespaces,
        prepend,
        behind: model.space_behind_words,
        mark: if normalizer.escape_whitespaces { WORD_MARK } else { ' ' },
    });
    Ok(())
}

/// Makes tokens such that are found whole: under the id that the text has, else the one that the token
/// names if that is free, else behind all others.
fn add<'t>(
    builder: &mut Builder,
    tokens: impl Iterator<Item = &'t ExtraToken>,
) -> Result<(), CompileError> {
    let ids: HashMap<String, u32> =
        builder.ids().into_iter().map(|(piece, id)| (piece.to_owned(), id)).collect();
    let mut known: HashSet<String> =
        builder.added.iter().map(|token| token.content.clone()).collect();
    let mut taken: HashSet<u32> = builder.added.iter().map(|token| token.id).collect();
    let mut behind = builder.vocab.len() as u32;
    for ExtraToken { content, id, flags } in tokens {
        if !known.insert(content.clone()) {
            continue;
        }
        let is_free = |id: &u32| {
            let piece = builder.vocab.get(*id as usize);
            piece.is_none_or(Option::is_none) && !taken.contains(id)
        };
        let named = ids.get(content).copied().or(id.filter(is_free));
        let id = named.unwrap_or(behind);
        if id as usize >= MAX_PIECES {
            return Err(CompileError::IdTooLarge { id: id.into(), limit: MAX_PIECES });
        }
        behind = behind.max(id + 1);
        taken.insert(id);
        builder.added.push(AddedToken { content: content.clone(), id, flags: *flags });
    }
    Ok(())
}

fn roles(builder: &mut Builder, model: &SentencePieceModel<'_>, names: &RoleNames<'_>) {
    let is_control = |name: &&str| {
        model.pieces.iter().any(|piece| piece.text == *name && piece.kind == PieceKind::Control)
    };
    let role = |named: Option<&str>, own: &str| {
        let name = named.or(Some(own).filter(is_control));
        name.and_then(|name| builder.find(name))
    };
    let (bos, eos) = (role(names.bos, model.bos), role(names.eos, model.eos));
    let pad = role(names.pad, model.pad);
    (builder.roles.bos, builder.roles.eos, builder.roles.pad) = (bos, eos, pad);
    builder.roles.mask = match names.mask {
        Some(name) => builder.find(name),
        None => usual_mask(builder),
    };
}
