//! Small tables that the models share, made when a tokenizer is opened.

use kinglet_formats::tokenizer::{Model, Tables, flags};

use super::added::AddedSet;
use super::decode::byte_token;

/// No id.
pub(super) const NONE: u32 = u32::MAX;

/// The pieces and tokens that stand for single bytes.
pub(super) struct Lookup {
    /// The piece that is this one byte.
    pub(super) bytes: Box<[u32; 256]>,
    /// The token that spells this byte where characters are unknown (`<0x41>`).
    pub(super) byte_tokens: Box<[u32; 256]>,
    /// Pieces that are always found whole.
    pub(super) whole: AddedSet,
    /// Whether there are pieces that are found and not given out.
    pub(super) has_unused: bool,
    /// Whether there are names of ids that are no pieces.
    pub(super) has_names: bool,
}

impl Lookup {
    pub(super) fn new(model: &Model, tables: &Tables<'_>) -> Lookup {
        let mut lookup = Lookup {
            bytes: Box::new([NONE; 256]),
            byte_tokens: Box::new([NONE; 256]),
            whole: AddedSet::default(),
            has_unused: false,
            has_names: false,
        };
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
        let mut whole = Vec::new();
        for id in 0..tables.n_pieces() as u32 {
            let found =
                tables.flags(id) & (flags::WHOLE | flags::BYTE | flags::UNUSED | flags::NAME);
            if found == 0 {
                continue;
            }
            lookup.has_unused |= found & flags::UNUSED != 0;
            lookup.has_names |= found & flags::NAME != 0;
            let piece = tables.piece(id).and_then(|piece| str::from_utf8(piece).ok());
            let Some(piece) = piece else { continue };
            if found & flags::WHOLE != 0 {
                whole.push((piece.into(), id, 0));
            }
            if found & flags::BYTE != 0
                && let Some(byte) = byte_token(piece)
            {
                lookup.byte_tokens[byte as usize] = id;
            }
        }
        lookup.whole = AddedSet::new(whole.into_iter());
        lookup
    }

    /// Whether an id has a name and is no piece.
    pub(super) fn is_name(&self, tables: &Tables<'_>, id: u32) -> bool {
        self.has_names && tables.flags(id) & flags::NAME != 0
    }

    /// The id that is called by this text, which no pieces spell.
    pub(super) fn named(&self, tables: &Tables<'_>, text: &[u8]) -> Option<u32> {
        if self.has_names { tables.find(text) } else { None }
    }

    /// Appends the byte tokens of `text` if every one of its bytes has one.
    pub(super) fn spell(&self, text: &[u8], mut push: impl FnMut(u32)) -> bool {
        let has_all = text.iter().all(|&byte| self.byte_tokens[byte as usize] != NONE);
        if has_all {
            text.iter().for_each(|&byte| push(self.byte_tokens[byte as usize]));
        }
        has_all
    }
}
