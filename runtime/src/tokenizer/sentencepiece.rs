//! SentencePiece's own rules: how it normalizes a text, and how tokens become text again.

use std::ops::Range;

use kinglet_formats::tokenizer::{Charsmap, PrependScheme};

use super::Place;
use super::added::AddedSet;
use super::utf8::{self, Errors};

/// What marks the beginning of a word.
const WORD_MARK: char = '\u{2581}';

/// How a text is normalized; see `Normalizer::SentencePiece`.
pub(super) struct Rules<'a> {
    pub(super) charsmap: Option<Charsmap<'a>>,
    /// Pieces that are left as they are.
    pub(super) whole: &'a AddedSet,
    pub(super) trim: bool,
    pub(super) prepend: PrependScheme,
    pub(super) behind: bool,
    pub(super) mark: char,
}

impl Rules<'_> {
    /// The normalized text; beside it, for each of its bytes, the range of `text` that it was made of.
    pub(super) fn normalize(
        &self,
        text: &str,
        place: Place,
        mut sources: Option<&mut Vec<Range<usize>>>,
    ) -> String {
        let mut made = |out: &mut String, c: char, source: Range<usize>| {
            out.push(c);
            if let Some(sources) = &mut sources {
                sources.extend(std::iter::repeat_n(source, c.len_utf8()));
            }
        };
        // What continues a text keeps the spaces between.
        let mut after_space = self.trim && place != Place::Text;
        let mut rest = text;
        while after_space && !rest.is_empty() {
            match self.first(rest) {
                (" ", behind) => rest = behind,
                _ => break,
            }
        }
        let mut out = String::with_capacity(rest.len() + rest.len() / 2 + 3);
        if rest.is_empty() {
            return out;
        }
        let marked = match self.prepend {
            PrependScheme::Always => place != Place::Text,
            PrependScheme::First => place == Place::Start,
            PrependScheme::Never => false,
        };
        if marked && !self.behind {
            let at = text.len() - rest.len();
            made(&mut out, self.mark, at..at);
        }
        while !rest.is_empty() {
            let (mut first, behind) = self.first(rest);
            let source = text.len() - rest.len()..text.len() - behind.len();
            rest = behind;
            if after_space {
                first = first.trim_start_matches(' ');
            }
            for c in first.chars() {
                made(&mut out, if c == ' ' { self.mark } else { c }, source.clone());
            }
            if !first.is_empty() {
                after_space = self.trim && first.ends_with(' ');
            }
        }
        if self.trim {
            out.truncate(out.trim_end_matches(self.mark).len());
        }
        let end = text.len();
        if marked && self.behind {
            out.push(self.mark);
        }
        if let Some(sources) = sources {
            sources.resize(out.len(), end..end);
        }
        out
    }

    /// What the beginning of a text that is not empty becomes, and what is behind it.
    fn first<'t>(&'t self, text: &'t str) -> (&'t str, &'t str) {
        let whole = self.whole.longest(text.as_bytes(), 0).and_then(|(_, len)| {
            let (whole, behind) = text.split_at_checked(len)?;
            Some((whole, behind))
        });
        let mapped = || {
            let (len, mapped) = self.charsmap?.longest(text)?;
            Some((mapped, text.get(len..)?))
        };
        let len = text.chars().next().map_or(0, char::len_utf8);
        whole.or_else(mapped).unwrap_or_else(|| text.split_at(len))
    }
}

/// What a token is to the decoder.
pub(super) enum Token<'a> {
    /// A byte of a character.
    Byte(u8),
    /// A piece of text.
    Piece(&'a str),
    /// What the vocabulary cannot say.
    Unknown,
    /// A token that is not shown.
    Silent,
}

/// How tokens become text; see `Decoder::SentencePiece`.
pub(super) struct Decoding<'a> {
    pub(super) strip_first: bool,
    pub(super) strip_all: bool,
    pub(super) unknown: &'a str,
}

impl Decoding<'_> {
    /// Adds the text that a token completes. `begun`: word marks do not disappear any more; `held`:
    /// the bytes of a character that is not complete.
    pub(super) fn push(
        &self,
        token: &Token<'_>,
        begun: &mut bool,
        held: &mut Vec<u8>,
        out: &mut String,
    ) {
        if let Token::Byte(byte) = token {
            held.push(*byte);
        }
        spelled(held, !matches!(token, Token::Byte(_)), begun, out);
        match *token {
            Token::Byte(_) | Token::Silent => {}
            Token::Unknown => {
                out.push_str(self.unknown);
                *begun |= !self.unknown.is_empty();
            }
            Token::Piece(piece) => {
                let stripped =
                    piece.strip_prefix(WORD_MARK).filter(|_| self.strip_first && !*begun);
                *begun |= stripped.is_some() && !self.strip_all;
                let piece = stripped.unwrap_or(piece);
                out.extend(piece.chars().map(|c| if c == WORD_MARK { ' ' } else { c }));
                *begun |= !piece.is_empty();
            }
        }
    }
}

/// Hands out the characters that the bytes held spell, and U+FFFD for every byte that belongs to
/// none. What may become a character stays, unless it is at the end.
pub(super) fn spelled(held: &mut Vec<u8>, at_end: bool, begun: &mut bool, out: &mut String) {
    utf8::hand_out(held, at_end, Errors::Bytes, |text| {
        *begun = true;
        out.push_str(text);
    });
}
