//! What the models share: tables made at opening, and working memory.

use kinglet_formats::tokenizer::{Model, Tables};

use super::pretokenize::Pieces;
use super::{bpe, unigram, wordpiece};

/// No id.
pub(super) const NONE: u32 = u32::MAX;

/// Small tables made when a tokenizer is opened.
pub(super) struct Lookup {
    /// The piece that is this one byte.
    pub(super) bytes: Box<[u32; 256]>,
    /// The token that spells this byte where characters are unknown (`<0x41>`).
    pub(super) byte_tokens: Box<[u32; 256]>,
}

impl Lookup {
    pub(super) fn new(model: &Model, tables: &Tables<'_>) -> Lookup {
        let mut lookup =
            Lookup { bytes: Box::new([NONE; 256]), byte_tokens: Box::new([NONE; 256]) };
        let byte_fallback = match model {
            Model::Bpe(bpe) => bpe.byte_fallback,
            Model::Unigram { byte_fallback, .. } => *byte_fallback,
            _ => false,
        };
        for byte in 0..=255u8 {
            let at = byte as usize;
            lookup.bytes[at] = tables.find(&[byte]).unwrap_or(NONE);
            if byte_fallback {
                let token = format!("<0x{byte:02X}>");
                lookup.byte_tokens[at] = tables.find(token.as_bytes()).unwrap_or(NONE);
            }
        }
        lookup
    }

    /// Appends the byte tokens of `text` if every one of its bytes has one.
    pub(super) fn spell(&self, text: &[u8], mut push: impl FnMut(u32)) -> bool {
        let has_all = text.iter().all(|&byte| self.byte_tokens[byte as usize] != NONE);
        if has_all {
            text.iter().for_each(|&byte| push(self.byte_tokens[byte as usize]));
        }
        has_all
    }

    pub(super) fn encode_word(
        &self,
        model: &Model,
        tables: &Tables<'_>,
        word: &str,
        scratch: &mut Scratch,
        ids: &mut Vec<u32>,
    ) {
        match model {
            Model::Bpe(options) => bpe::encode(options, self, tables, word, &mut scratch.bpe, ids),
            &Model::Unigram { unk, unk_score, .. } => {
                let unknown = unigram::Unknown { id: unk, score: unk_score };
                unigram::encode(unknown, self, tables, word, &mut scratch.best, ids);
            }
            Model::WordPiece { unk, prefix, max_chars } => {
                wordpiece::encode(*unk, prefix, *max_chars, tables, word, ids);
            }
            Model::WordLevel { unk } => ids.extend(tables.find(word.as_bytes()).or(*unk)),
        }
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
