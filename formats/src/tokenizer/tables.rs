//! The tables of a tokenizer section, used where they lie.

use super::hash::{PieceHash, home_slot, pair_hash};
use super::{MAX_PROBES, flags, words::U32s};

/// An added token as stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddedEntry<'a> {
    /// What is found in the text.
    pub content: &'a str,
    /// Its id.
    pub id: u32,
    /// See [`added_flags`](super::added_flags).
    pub flags: u8,
}

/// The tables of a section, used where they lie.
#[derive(Clone, Copy, Debug)]
pub struct Tables<'a> {
    pub(super) piece_offsets: U32s<'a>,
    pub(super) piece_bytes: &'a [u8],
    pub(super) piece_flags: &'a [u8],
    pub(super) piece_index: &'a [[u8; 8]],
    pub(super) merges: &'a [[u8; 16]],
    pub(super) ranks: U32s<'a>,
    pub(super) scores: &'a [[u8; 8]],
    pub(super) prefix_filter: &'a [u8],
    pub(super) given_ids: U32s<'a>,
    pub(super) added_offsets: U32s<'a>,
    pub(super) added_bytes: &'a [u8],
    pub(super) added_ids: U32s<'a>,
    pub(super) added_flags: &'a [u8],
    pub(super) max_piece_len: usize,
}

impl<'a> Tables<'a> {
    /// Number of ids.
    pub fn n_pieces(&self) -> usize {
        self.piece_flags.len()
    }

    /// Length of the longest piece in bytes.
    pub fn max_piece_len(&self) -> usize {
        self.max_piece_len
    }

    /// The bytes of a piece; `None` for an id without one.
    pub fn piece(&self, id: u32) -> Option<&'a [u8]> {
        let index = id as usize;
        if self.piece_flags.get(index)? & flags::ABSENT != 0 {
            return None;
        }
        let (from, to) = (self.piece_offsets.at(index), self.piece_offsets.at(index + 1));
        self.piece_bytes.get(from as usize..to as usize)
    }

    /// Flags of a piece; those of an absent one for an id beyond the end.
    pub fn flags(&self, id: u32) -> u8 {
        self.piece_flags.get(id as usize).copied().unwrap_or(flags::ABSENT)
    }

    /// The id of a piece of the model.
    #[inline]
    pub fn find(&self, piece: &[u8]) -> Option<u32> {
        self.find_hashed(PieceHash::of(piece), piece.len(), |found| found == piece)
    }

    /// The id of the piece with this hash and length for which `is_equal` holds.
    #[inline]
    pub fn find_hashed(
        &self,
        hash: PieceHash,
        len: usize,
        is_equal: impl Fn(&[u8]) -> bool,
    ) -> Option<u32> {
        let hash = hash.finish();
        let capacity = self.piece_index.len();
        let mut at = home_slot(hash, capacity);
        for _ in 0..MAX_PROBES.min(capacity) {
            let slot = U32s::new(self.piece_index.get(at)?);
            let id = slot.at(1).checked_sub(1)?;
            if slot.at(0) == hash as u32 {
                let found = self.piece(id).unwrap_or_default();
                if found.len() == len && is_equal(found) {
                    return Some(id);
                }
            }
            at = if at + 1 == capacity { 0 } else { at + 1 };
        }
        None
    }

    /// Rank and result of merging two pieces.
    #[inline]
    pub fn merge(&self, left: u32, right: u32) -> Option<(u32, u32)> {
        let capacity = self.merges.len();
        let mut at = home_slot(pair_hash(left, right), capacity);
        for _ in 0..MAX_PROBES.min(capacity) {
            let slot = U32s::new(self.merges.get(at)?);
            let merged = slot.at(3).checked_sub(1)?;
            if slot.at(0) == left && slot.at(1) == right {
                return Some((slot.at(2), merged));
            }
            at = if at + 1 == capacity { 0 } else { at + 1 };
        }
        None
    }

    /// Merge order of a piece, `None` if nothing merges into it.
    #[inline]
    pub fn rank(&self, id: u32) -> Option<u32> {
        let in_range = (id as usize) < self.ranks.len();
        Some(self.ranks.at(id as usize)).filter(|&rank| in_range && rank != u32::MAX)
    }

    /// Score of a piece.
    #[inline]
    pub fn score(&self, id: u32) -> f64 {
        self.scores.get(id as usize).map_or(0.0, |score| f64::from_le_bytes(*score))
    }

    /// Whether a piece may begin with the text of this hash. Says yes a little too often.
    #[inline]
    pub fn may_begin(&self, hash: PieceHash) -> bool {
        let bit = home_slot(hash.finish(), self.prefix_filter.len() * 8);
        self.prefix_filter.get(bit / 8).is_some_and(|byte| byte >> (bit % 8) & 1 != 0)
    }

    /// Whether texts get other ids than those of the pieces found in them.
    pub fn gives_others(&self) -> bool {
        !self.given_ids.is_empty()
    }

    /// The id that a text gets for a piece.
    #[inline]
    pub fn given(&self, id: u32) -> u32 {
        if (id as usize) < self.given_ids.len() { self.given_ids.at(id as usize) } else { id }
    }

    /// Number of added tokens.
    pub fn n_added(&self) -> usize {
        self.added_flags.len()
    }

    /// An added token, in the order of their contents.
    pub fn added(&self, index: usize) -> Option<AddedEntry<'a>> {
        let flags = *self.added_flags.get(index)?;
        let (from, to) = (self.added_offsets.at(index), self.added_offsets.at(index + 1));
        let content = self.added_bytes.get(from as usize..to as usize)?;
        let content = str::from_utf8(content).ok()?;
        Some(AddedEntry { content, id: self.added_ids.at(index), flags })
    }
}
