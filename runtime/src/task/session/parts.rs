//! Sessions taken apart, for a scheduler: what has been computed outlives who asked for it.

use std::collections::HashSet;

use super::Session;
use crate::error::Error;
use crate::kv::KvSequence;
use crate::limits::BATCH_TOKENS;

/// Tokens, and their keys and values.
#[derive(Debug)]
pub(in crate::task) struct Computed {
    pub(in crate::task) tokens: Vec<u32>,
    kv: KvSequence,
}

impl Computed {
    /// Adds the bytes of spans that `seen` does not have yet.
    pub(in crate::task) fn count_bytes(&self, seen: &mut HashSet<usize>) -> usize {
        self.kv.count_bytes(seen)
    }
}

impl Session {
    /// Takes away what has been computed and leaves the session empty.
    pub(in crate::task) fn take_computed(&mut self) -> Computed {
        self.ahead.clear();
        self.tokens.truncate(self.computed);
        let tokens = std::mem::take(&mut self.tokens);
        let empty = KvSequence::new(self.kv.layout().clone());
        self.computed = 0;
        Computed { tokens, kv: std::mem::replace(&mut self.kv, empty) }
    }

    /// Begins with the first `n` tokens that `other` has computed, which it may share.
    ///
    /// # Errors
    /// If memory runs out.
    pub(in crate::task) fn share(&mut self, other: &Computed, n: usize) -> Result<(), Error> {
        self.begin_with(&other.kv, &other.tokens[..n])
    }

    /// The same with another session's.
    ///
    /// # Errors
    /// If memory runs out.
    pub(in crate::task) fn share_of(&mut self, other: &Self, n: usize) -> Result<(), Error> {
        self.begin_with(&other.kv, &other.tokens[..n])
    }

    fn begin_with(&mut self, kv: &KvSequence, tokens: &[u32]) -> Result<(), Error> {
        self.ahead.clear();
        self.kv = kv.fork(self.model.runner().kernels, tokens.len())?;
        self.tokens.clear();
        self.tokens.extend_from_slice(tokens);
        self.computed = tokens.len();
        Ok(())
    }

    /// Tokens that have been computed.
    pub(in crate::task) fn computed(&self) -> &[u32] {
        &self.tokens[..self.computed]
    }

    /// Sets how many rows the next step computes, of those that are due.
    pub(in crate::task) fn set_rows(&mut self, rows: usize) {
        self.most_rows = rows.clamp(1, BATCH_TOKENS);
    }

    /// Bytes of keys and values that the next `rows` tokens add.
    pub(in crate::task) fn growth(&self, rows: usize) -> usize {
        let wanted = self.kv.layout().bytes_for(self.computed + rows);
        wanted.saturating_sub(self.kv.bytes())
    }

    /// Adds the bytes of spans that `seen` does not have yet.
    pub(in crate::task) fn count_bytes(&self, seen: &mut HashSet<usize>) -> usize {
        self.kv.count_bytes(seen)
    }

    /// Whether what it has computed can be shared in part.
    pub(in crate::task) fn shares(&self) -> bool {
        self.kv.rewinds()
    }
}
