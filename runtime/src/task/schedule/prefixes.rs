//! What earlier requests have computed, kept for those that begin alike.

use std::collections::HashSet;

use crate::task::session::Computed;

/// Kept sequences, the one used last at the end.
#[derive(Debug, Default)]
pub(super) struct Prefixes {
    kept: Vec<Computed>,
}

/// Shorter ones are computed as fast as they are found.
pub(super) const SHORTEST: usize = 16;

impl Prefixes {
    /// Keeps a sequence, in place of those that are starts of it.
    pub(super) fn keep(&mut self, computed: Computed) {
        if computed.tokens.len() < SHORTEST {
            return;
        }
        let is_start = |other: &Computed| computed.tokens.starts_with(&other.tokens);
        self.kept.retain(|other| !is_start(other));
        if !self.kept.iter().any(|other| other.tokens.starts_with(&computed.tokens)) {
            self.kept.push(computed);
        }
    }

    /// The kept sequence that has most tokens in common with the start of `prompt`, and how many.
    pub(super) fn find(&mut self, prompt: &[u32]) -> Option<(&Computed, usize)> {
        let longest = (0..self.kept.len())
            .map(|at| (common(&self.kept[at].tokens, prompt), at))
            .max()
            .filter(|&(n, _)| n >= SHORTEST);
        let (n, at) = longest?;
        let used = self.kept.remove(at);
        self.kept.push(used);
        self.kept.last().map(|computed| (computed, n))
    }

    /// Drops the one that was not used for the longest time; `false` if there is none.
    pub(super) fn drop_oldest(&mut self) -> bool {
        let any = !self.kept.is_empty();
        if any {
            self.kept.remove(0);
        }
        any
    }

    /// Drops all.
    pub(super) fn clear(&mut self) {
        self.kept.clear();
    }

    /// Adds the bytes of spans that `seen` does not have yet.
    pub(super) fn count_bytes(&self, seen: &mut HashSet<usize>) -> usize {
        self.kept.iter().map(|computed| computed.count_bytes(seen)).sum()
    }
}

/// Length of the longest start that both have.
pub(super) fn common(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}
