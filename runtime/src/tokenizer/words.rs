//! From a text to the words that the model encodes: added tokens are found, and what lies between
//! them is normalized and cut.

use kinglet_formats::tokenizer::{ClassMap, Normalizer, Tables};

use super::Inner;
use super::added::{Found, Specials};
use super::found::FoundTokens;
use super::model::{Scratch, encode_word};
use super::normalize::{self, Context};

/// Where a text stands in what has been encoded so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// At the beginning.
    Start,
    /// Behind an added token.
    Token,
    /// Behind text, which it continues: nothing is put before it.
    Text,
}

/// One call's view of the tokenizer.
pub(super) struct Words<'a> {
    pub(super) inner: &'a Inner,
    pub(super) context: Context<'a>,
    pub(super) tables: Tables<'a>,
    pub(super) classes: Option<ClassMap<'a>>,
    pub(super) specials: Specials,
    pub(super) place: Place,
    /// A character that keeps tokens from being found across it.
    pub(super) mark: Option<char>,
}

impl Words<'_> {
    /// Added tokens are split off the text, the rest is normalized, the added tokens of normalized
    /// text are split off, and what remains is cut into words for the model.
    pub(super) fn encode(&self, text: &str, scratch: &mut Scratch, ids: &mut Vec<u32>) {
        let normalizers: &[Normalizer] = &self.inner.spec.normalizers;
        for (found, at) in self.inner.added.split(text, self.specials, self.classes) {
            let raw = match found {
                Found::Token(id) => {
                    ids.push(id);
                    continue;
                }
                Found::Text(raw) => raw,
            };
            let place = if at == 0 { self.place } else { Place::Token };
            let normalized = normalize::normalize_at(place, normalizers, self.context, raw);
            let parts = self.inner.added_normalized.split(&normalized, self.specials, self.classes);
            for (found, offset) in parts {
                match found {
                    Found::Token(id) => ids.push(id),
                    Found::Text(part) => {
                        let place = if offset == 0 { place } else { Place::Token };
                        match self.mark.filter(|&mark| part.contains(mark)) {
                            None => self.encode_words(part, place, scratch, ids),
                            Some(mark) => {
                                self.encode_words(&part.replace(mark, ""), place, scratch, ids);
                            }
                        }
                    }
                }
            }
        }
    }

    fn encode_words(&self, text: &str, place: Place, scratch: &mut Scratch, ids: &mut Vec<u32>) {
        let mut pieces = std::mem::take(&mut scratch.pieces);
        let steps = &self.inner.spec.pre_tokenizers;
        let text = pieces.cut(steps, &self.inner.layout, self.context.section, text, place);
        let mut found = FoundTokens::ids(ids);
        for &(from, to) in pieces.spans() {
            if let Some(word) = text.get(from..to) {
                let model = &self.inner.spec.model;
                encode_word(&self.inner.lookup, model, &self.tables, word, scratch, &mut found);
            }
        }
        drop(text);
        scratch.pieces = pieces;
    }
}
