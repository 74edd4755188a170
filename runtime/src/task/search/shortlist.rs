//! The tokens that may answer a source, where a model has lists of them.

use crate::error::Error;
use crate::network::{BoundHead, BoundOutput, BoundShortlist};
use crate::ops::{ChosenRows, Ops};

/// A choice is filled up to a multiple of this, as Marian does it.
const MULTIPLE: usize = 8;

/// The rows of the matrix of logits for the tokens that may answer `source`, if the head has lists of
/// them. `needed` are in it in any case.
///
/// # Errors
/// If memory runs out.
pub(super) fn choose(
    ops: Ops<'_>,
    head: &BoundHead,
    source: &[u32],
    needed: impl Iterator<Item = u32>,
) -> Result<Option<ChosenRows>, Error> {
    let BoundOutput::Logits { linears, shortlist: Some(shortlist), .. } = &head.output else {
        return Ok(None);
    };
    let matrix = &linears.parts()[0];
    let tokens = tokens(ops, shortlist, source, needed, matrix.rows);
    ChosenRows::new(ops, matrix, tokens).map(Some)
}

/// The tokens of `vocab`, ascending. What lists say that cannot be is left out.
fn tokens(
    ops: Ops<'_>,
    shortlist: &BoundShortlist,
    source: &[u32],
    needed: impl Iterator<Item = u32>,
    vocab: usize,
) -> Vec<u32> {
    let (offsets, words) = (shortlist.offsets.values(ops.file), shortlist.words.values(ops.file));
    let mut chosen = Set { bits: vec![0; vocab.div_ceil(64)], vocab, len: 0 };
    (0..shortlist.n_frequent as u32).for_each(|token| chosen.add(token));
    for &token in source {
        chosen.add(token);
        let at = token as usize;
        let list = match offsets.get(at..at + 2) {
            Some(&[from, to]) => words.get(from as usize..to as usize),
            _ => None,
        };
        list.into_iter().flatten().for_each(|&word| chosen.add(word));
    }
    needed.for_each(|token| chosen.add(token));
    let mut next = shortlist.n_frequent as u32;
    while !chosen.len.is_multiple_of(MULTIPLE) && (next as usize) < vocab {
        chosen.add(next);
        next += 1;
    }
    chosen.ascending()
}

/// A set of tokens.
struct Set {
    bits: Vec<u64>,
    vocab: usize,
    len: usize,
}

impl Set {
    fn add(&mut self, token: u32) {
        let at = token as usize;
        if at < self.vocab {
            let (word, bit) = (&mut self.bits[at / 64], 1 << (at % 64));
            self.len += usize::from(*word & bit == 0);
            *word |= bit;
        }
    }

    fn ascending(&self) -> Vec<u32> {
        let mut tokens = Vec::with_capacity(self.len);
        for (i, &word) in self.bits.iter().enumerate() {
            let mut rest = word;
            while rest != 0 {
                tokens.push(i as u32 * 64 + rest.trailing_zeros());
                rest &= rest - 1;
            }
        }
        tokens
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_counts_each_once() {
        let mut set = Set { bits: vec![0; 3], vocab: 130, len: 0 };
        [129, 3, 64, 3, 130, u32::MAX].into_iter().for_each(|token| set.add(token));
        assert_eq!((set.len, set.ascending()), (3, vec![3, 64, 129]));
    }
}
