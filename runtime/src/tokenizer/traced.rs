//! Tokens with the places in the text that they come from.
//!
//! Each step of [`super::words`] is done in the same way, and beside it goes a list that says for
//! every byte which bytes of the user's text it was made of.

use std::ops::Range;

use kinglet_formats::tokenizer::{Normalizer, PreTokenizer, byte_letter};
use unicode_segmentation::UnicodeSegmentation;

use super::added::{Found, Specials};
use super::found::FoundTokens;
use super::model::{Scratch, encode_word};
use super::normalize::{self, Context};
use super::{Inner, Place, Tokenizer};

/// A token and where it stands in the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextToken {
    /// Its id.
    pub id: u32,
    /// Bytes of the text, without white space at their ends; between characters.
    pub span: Range<usize>,
    /// Number of the word that it is a part of.
    pub word: usize,
}

/// Bytes of the user's text.
type Source = Range<usize>;

/// A text that has been changed, and the source of each of its bytes.
struct Traced {
    text: String,
    sources: Vec<Source>,
}

impl Tokenizer {
    /// The tokens of a text, without those that belong around it, and where each stands. Special
    /// tokens are not read from the text.
    pub fn encode_traced(&self, text: &str) -> Vec<TextToken> {
        let inner = &*self.inner;
        let section = inner.section();
        let tables = inner.layout.tables(section);
        let classes = inner.layout.classes(section);
        let mut scratch = inner.take_scratch();
        let mut out = Collector { text, tokens: Vec::new(), n_words: 0 };
        let mut parts = inner.added.split(text, Specials::None, classes).peekable();
        while let Some((found, at)) = parts.next() {
            let end = parts.peek().map_or(text.len(), |(_, next)| *next);
            let raw = match found {
                Found::Token(id) => {
                    out.word([(id, at..end)]);
                    continue;
                }
                Found::Text(raw) => raw,
            };
            let place = if at == 0 { Place::Start } else { Place::Token };
            let normalized = normalized(inner, place, raw, at);
            let parts = inner.added_normalized.split(&normalized.text, Specials::None, classes);
            let mut parts = parts.peekable();
            while let Some((found, offset)) = parts.next() {
                let end = parts.peek().map_or(normalized.text.len(), |(_, next)| *next);
                match found {
                    Found::Token(id) => out.word([(id, normalized.source(offset..end))]),
                    Found::Text(part) => {
                        let place = if offset == 0 { place } else { Place::Token };
                        let part = Traced {
                            text: part.to_owned(),
                            sources: normalized.sources[offset..end].to_vec(),
                        };
                        words(inner, &tables, part, place, &mut scratch, &mut out);
                    }
                }
            }
        }
        inner.keep_scratch(scratch);
        out.tokens
    }
}

/// Tokens found so far.
struct Collector<'t> {
    text: &'t str,
    tokens: Vec<TextToken>,
    n_words: usize,
}

impl Collector<'_> {
    /// Adds the tokens of a word.
    fn word(&mut self, tokens: impl IntoIterator<Item = (u32, Source)>) {
        let word = self.n_words;
        let text = self.text;
        let trimmed = |span: Source| {
            let Some(part) = text.get(span.clone()) else { return span };
            let start = span.start + (part.len() - part.trim_start().len());
            start..start + part.trim().len()
        };
        let tokens = tokens.into_iter();
        self.tokens.extend(tokens.map(|(id, span)| TextToken { id, span: trimmed(span), word }));
        self.n_words += 1;
    }
}

/// Cuts a normalized text into words and these into tokens.
fn words(
    inner: &Inner,
    tables: &kinglet_formats::tokenizer::Tables<'_>,
    part: Traced,
    place: Place,
    scratch: &mut Scratch,
    out: &mut Collector<'_>,
) {
    let mut pieces = std::mem::take(&mut scratch.pieces);
    pieces.begin(&part.text);
    let mut part = part;
    for step in &inner.spec.pre_tokenizers {
        let before = pieces.spans().to_vec();
        if let Some(text) = pieces.step(step, &inner.layout, inner.section(), &part.text, place) {
            let sources = rewritten(step, &part, &before, &text);
            part = Traced { text, sources };
        }
    }
    let (mut ids, mut spans) = (Vec::new(), Vec::new());
    for &(from, to) in pieces.spans() {
        let Some(word) = part.text.get(from..to) else { continue };
        ids.clear();
        spans.clear();
        let mut found = FoundTokens::with_spans(&mut ids, &mut spans);
        encode_word(&inner.lookup, &inner.spec.model, tables, word, scratch, &mut found);
        let tokens = ids.iter().zip(&spans);
        out.word(tokens.map(|(&id, span)| (id, part.source(from + span.start..from + span.end))));
    }
    scratch.pieces = pieces;
}

/// A part of the text that begins at byte `at` of it, after all normalizers.
fn normalized(inner: &Inner, place: Place, raw: &str, at: usize) -> Traced {
    let chars = raw.char_indices();
    let mut sources = Vec::with_capacity(raw.len());
    for (from, c) in chars {
        let source = at + from..at + from + c.len_utf8();
        sources.extend(std::iter::repeat_n(source, c.len_utf8()));
    }
    let (mut traced, context) = (Traced { text: raw.to_owned(), sources }, inner.normalizing());
    for step in normalize::steps_at(place, &inner.spec.normalizers) {
        traced = traced.normalized(step, context, place);
    }
    traced
}

impl Traced {
    /// What bytes `range` of the text were made of. What is made of nothing stands with what follows.
    fn source(&self, range: Range<usize>) -> Source {
        let end = range.end.max(range.start + 1).min(self.sources.len());
        let sources = self.sources.get(range.start.min(end)..end).unwrap_or_default();
        match (sources.iter().map(|s| s.start).min(), sources.iter().map(|s| s.end).max()) {
            (Some(start), Some(end)) => start..end,
            _ => {
                let end = self.sources.last().map_or(0, |source| source.end);
                end..end
            }
        }
    }

    /// The text after one step.
    fn normalized(self, step: &Normalizer, context: Context<'_>, place: Place) -> Traced {
        let by_clusters = match step {
            Normalizer::Strip { .. } | Normalizer::Prepend { .. } | Normalizer::Replace { .. } => {
                return self.edited(step, context);
            }
            Normalizer::SentencePiece { .. } => {
                let Some(rules) = normalize::sentencepiece_rules(step, context) else {
                    return self;
                };
                let mut ranges = Vec::new();
                let text = rules.normalize(&self.text, place, Some(&mut ranges));
                let sources = ranges.into_iter().map(|range| self.source(range)).collect();
                return Traced { text, sources };
            }
            // What is changed together stands together.
            Normalizer::Nfc
            | Normalizer::Nfd
            | Normalizer::Nfkc
            | Normalizer::Nfkd
            | Normalizer::Charsmap { .. }
            | Normalizer::Bert { strip_accents: true, .. } => true,
            Normalizer::Lowercase
            | Normalizer::StripAccents
            | Normalizer::Bert { .. }
            | Normalizer::ByteAlphabet => false,
        };
        let apply = |text: &str| normalize::apply(step, context, text, place);
        let Some(text) = apply(&self.text) else { return self };
        let parts = if by_clusters {
            let clusters = self.text.grapheme_indices(true);
            self.piecewise(clusters.map(|(at, part)| at..at + part.len()), apply)
        } else {
            let chars = self.text.char_indices();
            self.piecewise(chars.map(|(at, c)| at..at + c.len_utf8()), apply)
        };
        parts.or_whole(text)
    }

    /// Each part changed by itself.
    fn piecewise(
        &self,
        parts: impl Iterator<Item = Range<usize>>,
        apply: impl Fn(&str) -> Option<String>,
    ) -> Traced {
        let mut traced = Traced { text: String::new(), sources: Vec::new() };
        for range in parts {
            let part = &self.text[range.clone()];
            match apply(part).filter(|changed| changed != part) {
                Some(changed) => traced.push(&changed, self.source(range)),
                None => traced.keep(self, range),
            }
        }
        traced
    }

    /// The text in which a step has replaced some ranges.
    fn edited(&self, step: &Normalizer, context: Context<'_>) -> Traced {
        let mut traced = Traced { text: String::new(), sources: Vec::new() };
        let mut done = 0;
        normalize::each_edit(step, context, &self.text, |range, content| {
            traced.keep(self, done..range.start);
            traced.push(content, self.source(range.clone()));
            done = range.end;
        });
        traced.keep(self, done..self.text.len());
        traced
    }

    /// Adds a part of another text as it is.
    fn keep(&mut self, from: &Traced, range: Source) {
        self.text.push_str(from.text.get(range.clone()).unwrap_or_default());
        self.sources.extend_from_slice(from.sources.get(range).unwrap_or_default());
    }

    fn push(&mut self, text: &str, source: Source) {
        self.text.push_str(text);
        self.sources.extend(std::iter::repeat_n(source, text.len()));
    }

    /// This, if it is what the whole step made; where parts behave otherwise than the whole, what
    /// differs is of everything that differs.
    fn or_whole(self, whole: String) -> Traced {
        if self.text == whole {
            return self;
        }
        let same = |a: &mut dyn Iterator<Item = u8>, b: &mut dyn Iterator<Item = u8>| {
            a.zip(b).take_while(|(a, b)| a == b).count()
        };
        let front = same(&mut self.text.bytes(), &mut whole.bytes());
        let most = self.text.len().min(whole.len()) - front;
        let back = same(&mut self.text.bytes().rev(), &mut whole.bytes().rev()).min(most);
        let middle = self.source(front..self.text.len() - back);
        let mut sources = self.sources[..front].to_vec();
        sources.resize(whole.len() - back, middle);
        sources.extend_from_slice(&self.sources[self.text.len() - back..]);
        Traced { text: whole, sources }
    }
}

/// The sources of `text`, which `step` made of the pieces `spans` of another.
fn rewritten(
    step: &PreTokenizer,
    from: &Traced,
    spans: &[(usize, usize)],
    text: &str,
) -> Vec<Source> {
    let mut sources: Vec<Source> = Vec::with_capacity(text.len());
    for &(start, end) in spans {
        let piece = from.text.get(start..end).unwrap_or_default();
        let rest = text.get(sources.len()..).unwrap_or_default();
        // What was put before the piece.
        let prefix = match *step {
            PreTokenizer::PrefixSpace => Some(' '),
            PreTokenizer::Metaspace { replacement, .. } => Some(replacement),
            _ => None,
        };
        let begins = |mark: char| piece.starts_with(mark) || piece.starts_with(' ');
        if let Some(mark) = prefix.filter(|&mark| rest.starts_with(mark) && !begins(mark)) {
            let place = from.source(start..start);
            sources.extend(std::iter::repeat_n(place, mark.len_utf8()));
        }
        for (at, c) in piece.char_indices() {
            let bytes = start + at..start + at + c.len_utf8();
            match *step {
                PreTokenizer::ByteAlphabet => {
                    for byte in bytes {
                        let n = byte_letter(from.text.as_bytes()[byte]).len_utf8();
                        sources.extend(std::iter::repeat_n(from.sources[byte].clone(), n));
                    }
                }
                PreTokenizer::Metaspace { replacement, .. } if c == ' ' || c == replacement => {
                    let n = replacement.len_utf8();
                    sources.extend(std::iter::repeat_n(from.source(bytes), n));
                }
                _ => sources.extend_from_slice(&from.sources[bytes]),
            }
        }
    }
    debug_assert_eq!(sources.len(), text.len());
    sources.resize(text.len(), 0..0);
    sources
}
