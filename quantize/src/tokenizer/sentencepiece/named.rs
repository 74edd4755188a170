//! Checkpoints that keep a list of names beside a model of SentencePiece (`vocab.json`): the model cuts a
//! text into pieces, the list says which ids these have. Marian's have a second model, for answers, of
//! which nothing is needed: what their pieces spell is in the list.

use std::collections::{BTreeMap, HashSet};

use kinglet_formats::sentencepiece::SentencePieceModel;
use kinglet_formats::tokenizer::{added_flags, flags};

use super::{SentencePieceClass, SentencePieceOptions};
use super::{add, algorithm, check, decoder, normalizers, pieces};
use crate::tokenizer::build::Builder;
use crate::tokenizer::{CompileError, ExtraToken};

/// The ids of pieces by their names.
#[derive(Clone, Debug, Default)]
pub struct NamedIds {
    /// Of texts that are read; of all where there is no other list.
    pub source: BTreeMap<String, u32>,
    /// Of answers, where they have other ids.
    pub target: Option<BTreeMap<String, u32>>,
}

const BEGIN: &str = "<s>";
const END: &str = "</s>";
const PAD: &str = "<pad>";
/// Stands for pieces without a name.
const UNKNOWN: &str = "<unk>";

/// Compiles a model whose pieces have the ids of `named`.
///
/// Where answers have other ids than sources, the pieces of answers come first, under their own ids.
/// Behind them stand those of sources, and last what the model has and the list has not: texts get other
/// ids for these.
pub fn compile_named_sentencepiece(
    file: &[u8],
    named: &NamedIds,
    options: &SentencePieceOptions<'_>,
) -> Result<Vec<u8>, CompileError> {
    let model = SentencePieceModel::read(file)?;
    check(&model)?;
    let (source, target) = (&named.source, named.target.as_ref());
    let answers = target.unwrap_or(source);
    let (unknown, end) = (id_of(source, UNKNOWN)?, id_of(source, END)?);
    if id_of(answers, END)? != end {
        let setting = format!("`{END}` with one id in sources and another in answers");
        return Err(CompileError::UnsupportedVocabulary { setting });
    }
    let offset = target.map_or(0, n_ids);
    let own = |id: u32| offset.saturating_add(id);
    // Pieces without a name come behind all that have an id.
    let languages = options.class.languages().len() as u32;
    let added = options.names.added.iter().filter_map(|token| token.id).max().unwrap_or(0);
    let behind = own(n_ids(source)).saturating_add(languages).max(added.saturating_add(1));
    let mut without_name = HashSet::new();
    let mut id = |text: &str| match source.get(text) {
        Some(&id) => own(id),
        None => {
            let id = behind.saturating_add(without_name.len() as u32);
            without_name.insert(id);
            id
        }
    };
    let ids: Vec<u32> = model.pieces.iter().map(|piece| id(piece.text)).collect();

    let mut builder = Builder::new(algorithm(&model, Some(own(unknown))));
    for (name, &id) in target.into_iter().flatten() {
        builder.set_piece(id.into(), name.clone())?;
        builder.hidden.insert(id);
        if [BEGIN, END, PAD, UNKNOWN].contains(&name.as_str()) {
            builder.flags.insert(id, flags::SPECIAL);
        }
    }
    let known: HashSet<&str> = model.pieces.iter().map(|piece| piece.text).collect();
    for (name, &id) in source {
        builder.set_piece(own(id).into(), name.clone())?;
        if target.is_some() {
            builder.given.insert(own(id), id);
        }
        if !known.contains(name.as_str()) {
            builder.flags.insert(own(id), flags::NAME);
        }
        if [BEGIN, END, PAD, UNKNOWN].contains(&name.as_str()) {
            builder.hidden.insert(own(id));
        }
    }
    pieces(&mut builder, &model, &ids)?;
    builder.given.extend(without_name.iter().map(|&id| (id, unknown)));
    normalizers(&mut builder, &model, options)?;
    // transformers leaves the unknown out.
    builder.decoders = vec![decoder(&model, "")];
    if target.is_none() {
        builder.added.retain(|token| !without_name.contains(&token.id));
        let tokens = tokens(options.class, source);
        add(&mut builder, tokens.iter().chain(options.names.added))?;
    } else {
        builder.added.clear();
    }
    builder.roles.unk = Some(id_of(answers, UNKNOWN)?);
    builder.roles.eos = Some(end);
    builder.roles.pad = answers.get(PAD).copied();
    builder.roles.bos = answers.get(BEGIN).copied();
    builder.template = options.class.template(&builder, options)?;
    builder.finish()
}

fn id_of(names: &BTreeMap<String, u32>, name: &str) -> Result<u32, CompileError> {
    let missing = || CompileError::UnknownToken { role: "the token", token: name.to_owned() };
    names.get(name).copied().ok_or_else(missing)
}

/// The first id behind all names.
fn n_ids(names: &BTreeMap<String, u32>) -> u32 {
    names.values().max().map_or(0, |id| id.saturating_add(1))
}

/// The tokens beside the pieces: languages, and what stands around a text.
fn tokens(class: SentencePieceClass, names: &BTreeMap<String, u32>) -> Vec<ExtraToken> {
    let special = |(content, id): (String, u32)| ExtraToken {
        content,
        id: Some(id),
        flags: added_flags::SPECIAL,
    };
    let is_special = |(name, _): &(&String, &u32)| {
        let is_language = name.starts_with(">>") && name.ends_with("<<");
        is_language || [BEGIN, END, PAD].contains(&name.as_str())
    };
    let named = names.iter().filter(is_special).map(|(name, &id)| (name.clone(), id));
    let mut tokens: Vec<ExtraToken> = named.map(special).collect();
    tokens.sort_by_key(|token| token.id);
    tokens.extend(class.languages().into_iter().zip(n_ids(names)..).map(special));
    tokens
}
