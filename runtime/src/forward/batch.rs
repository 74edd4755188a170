//! The tokens of one step: where they stand and what they see.

use std::ops::Range;

use crate::team::RowRuns;

/// Query rows handled by one attention item.
pub(crate) const QUERY_ROWS: usize = 32;

/// Tokens of one step, of one sequence or of several packed one after another.
#[derive(Clone, Debug, Default)]
pub(crate) struct Batch {
    /// `[m]` token ids.
    pub(crate) tokens: Vec<u32>,
    /// `[m]` positions within their sequences.
    pub(crate) positions: Vec<u32>,
    /// `[m]` places in the KV cache.
    pub(crate) slots: Vec<u32>,
    /// `[m]` KV slots of the token's sequence that it may see.
    pub(crate) visible: Vec<Range<u32>>,
    /// Runs of rows of one sequence, at most [`QUERY_ROWS`] long.
    pub(crate) query_blocks: RowRuns,
    /// Rows of each sequence.
    pub(crate) sequences: Vec<Range<usize>>,
    /// KV slots in use when the batch has been stored.
    pub(crate) n_slots: usize,
}

impl Batch {
    /// An empty batch with room for `m` tokens.
    pub(crate) fn with_capacity(m: usize) -> Self {
        Self {
            tokens: Vec::with_capacity(m),
            positions: Vec::with_capacity(m),
            slots: Vec::with_capacity(m),
            visible: Vec::with_capacity(m),
            query_blocks: RowRuns::with_capacity(m / QUERY_ROWS + 64),
            sequences: Vec::with_capacity(1),
            n_slots: 0,
        }
    }

    /// Number of tokens.
    pub(crate) fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Removes all tokens.
    pub(crate) fn clear(&mut self) {
        self.tokens.clear();
        self.positions.clear();
        self.slots.clear();
        self.visible.clear();
        self.query_blocks.clear();
        self.sequences.clear();
        self.n_slots = 0;
    }

    /// Adds tokens of a sequence of which `n_past` are stored at the start of the cache (several
    /// sequences must all be new). Each sees its predecessors and itself, and its successors too
    /// unless `causal`.
    pub(crate) fn push_sequence(&mut self, tokens: &[u32], n_past: usize, causal: bool) {
        let first_row = self.len();
        // Sequences begin in panels of their own.
        let base = self.n_slots.next_multiple_of(8) as u32;
        let end = base + (n_past + tokens.len()) as u32;
        for (position, &token) in (n_past as u32..).zip(tokens) {
            self.tokens.push(token);
            self.positions.push(position);
            self.slots.push(base + position);
            self.visible.push(base..if causal { base + position + 1 } else { end });
        }
        self.n_slots = end as usize;
        self.sequences.push(first_row..self.len());
        self.query_blocks.extend(tokens.len(), QUERY_ROWS);
    }
}
