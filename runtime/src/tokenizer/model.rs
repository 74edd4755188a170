//! Words to tokens, by whichever model a tokenizer has; and the working memory of all.

use kinglet_formats::tokenizer::{Model, Tables};

use super::found::FoundTokens;
use super::lookup::Lookup;
use super::pretokenize::Pieces;
use super::{bpe, unigram, wordpiece};

/// Appends the tokens of one word.
pub(super) fn encode_word(
    lookup: &Lookup,
    model: &Model,
    tables: &Tables<'_>,
    word: &str,
    scratch: &mut Scratch,
    found: &mut FoundTokens<'_>,
) {
    let first = found.len();
    match model {
        Model::Bpe(options) => bpe::encode(options, lookup, tables, word, &mut scratch.bpe, found),
        &Model::Unigram { unk, unk_score, single, .. } => {
            let unknown = unigram::Rules { unk, unk_score, single };
            unigram::encode(unknown, lookup, tables, word, &mut scratch.best, found);
        }
        Model::WordPiece { unk, prefix, max_chars } => {
            wordpiece::encode(*unk, prefix, *max_chars, tables, word, found);
        }
        Model::WordLevel { unk } => {
            if let Some(id) = tables.find(word.as_bytes()).or(*unk) {
                found.push(id, 0, word.len());
            }
        }
    }
    if tables.gives_others() {
        found.rename_from(first, |id| tables.given(id));
    }
}

/// Working memory of one call, reused by later ones.
#[derive(Default)]
pub(super) struct Scratch {
    pub(super) pieces: Pieces,
    pub(super) bpe: bpe::Scratch,
    pub(super) best: Vec<unigram::Best>,
}

impl Scratch {
    /// Whether it is worth keeping.
    pub(super) fn is_small(&self) -> bool {
        self.pieces.capacity() + self.bpe.capacity() + self.best.capacity() <= 1 << 18
    }
}
