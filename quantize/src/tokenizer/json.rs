//! Compiles a Hugging Face `tokenizer.json`.

use std::collections::HashSet;

use kinglet_formats::tokenizer::{AddedToken, Bpe, MAX_PIECES, Model, TemplateItem, added_flags};
use serde_json::{Map, Value};

use super::build::Builder;
use super::{CompileError, json_steps};

/// Which tokens have a role. `tokenizer.json` does not say; a checkpoint's other files do.
#[derive(Clone, Copy, Debug, Default)]
pub struct RoleNames<'a> {
    /// Begins a text.
    pub bos: Option<&'a str>,
    /// Ends a text.
    pub eos: Option<&'a str>,
    /// Fills a batch.
    pub pad: Option<&'a str>,
    /// Stands for a gap in a text; without a name, a special token called `[MASK]` or `<mask>`.
    pub mask: Option<&'a str>,
    /// Tokens that are to be found whole beside those of `tokenizer.json`.
    pub added: &'a [ExtraToken],
}

/// A token that is found whole in a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtraToken {
    pub(super) content: String,
    /// The id that a checkpoint gives it; `tokenizer.json` numbers such tokens itself.
    pub(super) id: Option<u32>,
    pub(super) flags: u8,
}

impl ExtraToken {
    /// Reads the JSON of a token: `content` and what it says about finding it.
    pub fn read(token: &Value) -> Option<ExtraToken> {
        let content = token["content"].as_str().filter(|content| !content.is_empty())?.to_owned();
        Some(ExtraToken { content, id: None, flags: added_flags_of(token) })
    }

    /// The token with the id that a checkpoint gives it.
    pub fn at(self, id: u32) -> ExtraToken {
        ExtraToken { id: Some(id), ..self }
    }
}

fn added_flags_of(token: &Value) -> u8 {
    [
        ("special", added_flags::SPECIAL),
        ("lstrip", added_flags::LSTRIP),
        ("rstrip", added_flags::RSTRIP),
        ("single_word", added_flags::SINGLE_WORD),
        ("normalized", added_flags::NORMALIZED),
    ]
    .into_iter()
    .fold(0, |flags, (key, bit)| flags | if flag(token, key) { bit } else { 0 })
}

/// Compiles the bytes of a `tokenizer.json`. Without a name for it, a special token that the
/// template puts first is taken for BOS, one that it puts last for EOS.
pub fn compile_json(json: &[u8], names: &RoleNames<'_>) -> Result<Vec<u8>, CompileError> {
    let root: Value =
        serde_json::from_slice(json).map_err(|e| CompileError::Json { reason: e.to_string() })?;
    let mut builder = model(&root["model"])?;
    json_steps::normalizer(&mut builder, &root["normalizer"])?;
    json_steps::pre_tokenizer(&mut builder, &root["pre_tokenizer"])?;
    json_steps::decoder(&mut builder, &root["decoder"])?;
    added_tokens(&mut builder, &root["added_tokens"])?;
    extra_tokens(&mut builder, names.added)?;
    builder.template = json_steps::template(&root["post_processor"])?;
    roles(&mut builder, names)?;
    builder.finish()
}

fn field(path: &str, expected: &'static str) -> CompileError {
    CompileError::Field { path: path.to_owned(), expected }
}

/// An optional text: absent and null are the same.
fn text(object: &Value, key: &str) -> Option<String> {
    object[key].as_str().map(str::to_owned)
}

fn flag(object: &Value, key: &str) -> bool {
    object[key].as_bool().unwrap_or(false)
}

fn model(model: &Value) -> Result<Builder, CompileError> {
    // Old files do not name the type.
    let guessed = match () {
        () if model["merges"].is_array() => "BPE",
        () if model["vocab"].is_array() => "Unigram",
        () if model["max_input_chars_per_word"].is_number() => "WordPiece",
        () => "WordLevel",
    };
    match model["type"].as_str().unwrap_or(guessed) {
        "BPE" => bpe(model),
        "Unigram" => unigram(model),
        "WordPiece" => {
            let mut builder = Builder::new(Model::WordLevel { unk: None });
            vocabulary(&mut builder, model)?;
            let unk = text(model, "unk_token").unwrap_or_else(|| "[UNK]".into());
            builder.model = Model::WordPiece {
                unk: named(&builder, "the unknown token", &unk)?,
                prefix: text(model, "continuing_subword_prefix").unwrap_or_else(|| "##".into()),
                max_chars: model["max_input_chars_per_word"]
                    .as_u64()
                    .map_or(100, |n| u32::try_from(n).unwrap_or(u32::MAX)),
            };
            Ok(builder)
        }
        "WordLevel" => {
            let mut builder = Builder::new(Model::WordLevel { unk: None });
            vocabulary(&mut builder, model)?;
            let unk = text(model, "unk_token").and_then(|unk| builder.ids().get(&*unk).copied());
            builder.model = Model::WordLevel { unk };
            Ok(builder)
        }
        name => Err(CompileError::UnsupportedComponent { kind: "model", name: name.into() }),
    }
}

fn bpe(model: &Value) -> Result<Builder, CompileError> {
    let mut builder = Builder::new(Model::Bpe(Bpe::default()));
    vocabulary(&mut builder, model)?;
    let merges = model["merges"].as_array().ok_or(field("model.merges", "a list"))?;
    for (number, merge) in merges.iter().enumerate() {
        let pair = match merge {
            Value::String(line) if line.starts_with("#version") => continue,
            Value::String(line) => {
                let mut parts = line.split(' ').map(str::to_owned);
                match (parts.next(), parts.next(), parts.next()) {
                    (Some(left), Some(right), None) => Some((left, right)),
                    _ => None,
                }
            }
            Value::Array(pair) => match pair.as_slice() {
                [Value::String(left), Value::String(right)] => Some((left.clone(), right.clone())),
                _ => None,
            },
            _ => None,
        };
        let bad = || CompileError::BadMerge { number, merge: merge.to_string() };
        builder.merges.push(pair.ok_or_else(bad)?);
    }
    let unk = match text(model, "unk_token") {
        Some(unk) => builder.ids().get(&*unk).copied(),
        None => None,
    };
    let affix = |key| text(model, key).filter(|affix| !affix.is_empty());
    builder.roles.unk = unk;
    builder.model = Model::Bpe(Bpe {
        byte_fallback: flag(model, "byte_fallback"),
        ignore_merges: flag(model, "ignore_merges"),
        unk,
        fuse_unk: flag(model, "fuse_unk"),
        prefix: affix("continuing_subword_prefix"),
        suffix: affix("end_of_word_suffix"),
        ..Bpe::default()
    });
    Ok(builder)
}

fn unigram(model: &Value) -> Result<Builder, CompileError> {
    let unk = model["unk_id"].as_u64().map(|id| id as u32);
    let mut builder = Builder::new(Model::WordLevel { unk });
    let vocab = model["vocab"].as_array().ok_or(field("model.vocab", "a list"))?;
    let mut lowest = f64::INFINITY;
    for (id, entry) in vocab.iter().enumerate() {
        let (Some(piece), Some(score)) = (entry[0].as_str(), entry[1].as_f64()) else {
            return Err(field(&format!("model.vocab[{id}]"), "a piece and its score"));
        };
        builder.set_piece(id as u64, piece.to_owned())?;
        builder.scores.push(score);
        lowest = lowest.min(score);
    }
    builder.roles.unk = unk;
    builder.model = Model::Unigram {
        unk,
        // An empty vocabulary has no lowest score; JSON has no infinity.
        unk_score: if lowest.is_finite() { lowest - 10.0 } else { 0.0 },
        byte_fallback: flag(model, "byte_fallback"),
        single: false,
    };
    Ok(builder)
}

fn vocabulary(builder: &mut Builder, model: &Value) -> Result<(), CompileError> {
    let vocab: &Map<String, Value> =
        model["vocab"].as_object().ok_or(field("model.vocab", "an object"))?;
    for (piece, id) in vocab {
        let id = id.as_u64().ok_or_else(|| field(&format!("model.vocab.{piece}"), "an id"))?;
        builder.set_piece(id, piece.clone())?;
    }
    Ok(())
}

fn added_tokens(builder: &mut Builder, tokens: &Value) -> Result<(), CompileError> {
    let pieces = builder.ids();
    let mut known: HashSet<&str> =
        builder.added.iter().map(|token| token.content.as_str()).collect();
    // Tokens outside the model's vocabulary are numbered on from its size, as the reference does.
    let mut next_id = pieces.len() as u32;
    let mut new = Vec::new();
    for (number, token) in tokens.as_array().into_iter().flatten().enumerate() {
        let content = token["content"]
            .as_str()
            .ok_or_else(|| field(&format!("added_tokens[{number}].content"), "a text"))?;
        if content.is_empty() || !known.insert(content) {
            continue;
        }
        let id = pieces.get(content).copied().unwrap_or_else(|| {
            next_id += 1;
            next_id - 1
        });
        if id as usize >= MAX_PIECES {
            return Err(CompileError::IdTooLarge { id: id.into(), limit: MAX_PIECES });
        }
        new.push(AddedToken { content: content.to_owned(), id, flags: added_flags_of(token) });
    }
    builder.added.extend(new);
    Ok(())
}

/// Adds the tokens that `tokenizer.json` does not list, those outside the vocabulary behind all
/// others, as the reference does.
fn extra_tokens(builder: &mut Builder, tokens: &[ExtraToken]) -> Result<(), CompileError> {
    let taken = builder
        .vocab
        .len()
        .max(builder.added.iter().map(|token| token.id as usize + 1).max().unwrap_or(0));
    let mut next_id = taken;
    let mut known: HashSet<&str> =
        builder.added.iter().map(|token| token.content.as_str()).collect();
    let pieces = builder.ids();
    let mut new = Vec::new();
    for ExtraToken { content, flags, .. } in tokens {
        if !known.insert(content) {
            continue;
        }
        let id = pieces.get(content.as_str()).copied().unwrap_or_else(|| {
            next_id += 1;
            next_id as u32 - 1
        });
        if id as usize >= MAX_PIECES {
            return Err(CompileError::IdTooLarge { id: id.into(), limit: MAX_PIECES });
        }
        new.push(AddedToken { content: content.clone(), id, flags: *flags });
    }
    builder.added.extend(new);
    Ok(())
}

fn named(builder: &Builder, role: &'static str, token: &str) -> Result<u32, CompileError> {
    builder.find(token).ok_or_else(|| CompileError::UnknownToken { role, token: token.to_owned() })
}

/// The token that most vocabularies have for a gap.
pub(super) fn usual_mask(builder: &Builder) -> Option<u32> {
    let is_mask = |content: &str| ["[MASK]", "<mask>"].contains(&content);
    let found = builder
        .added
        .iter()
        .find(|token| token.flags & added_flags::SPECIAL != 0 && is_mask(token.content.as_str()));
    found.map(|token| token.id)
}

fn roles(builder: &mut Builder, names: &RoleNames<'_>) -> Result<(), CompileError> {
    let role = |name: Option<&str>, role| name.map(|name| named(builder, role, name)).transpose();
    let (bos, eos) = (role(names.bos, "BOS")?, role(names.eos, "EOS")?);
    // One that the model never learned is as good as none: only training fills batches.
    let pad = names.pad.and_then(|name| builder.find(name));
    let token = |item: Option<&TemplateItem>| match item {
        Some(&TemplateItem::Token { id, .. }) => Some(id),
        _ => None,
    };
    let single = builder.template.as_ref().map_or(&[][..], |template| &template.single);
    builder.roles.bos = bos.or(token(single.first()));
    builder.roles.eos = eos.or(token(single.last()));
    builder.roles.pad = pad;
    builder.roles.mask = match names.mask {
        Some(name) => builder.find(name),
        None => usual_mask(builder),
    };
    Ok(())
}
