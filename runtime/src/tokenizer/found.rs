//! Where the tokens of words go.

use std::ops::Range;

/// The tokens of a text's words, and which bytes of its word each covers, where somebody asks.
pub(super) struct FoundTokens<'a> {
    ids: &'a mut Vec<u32>,
    spans: Option<&'a mut Vec<Range<usize>>>,
}

impl<'a> FoundTokens<'a> {
    pub(super) fn ids(ids: &'a mut Vec<u32>) -> Self {
        Self { ids, spans: None }
    }

    pub(super) fn with_spans(ids: &'a mut Vec<u32>, spans: &'a mut Vec<Range<usize>>) -> Self {
        Self { ids, spans: Some(spans) }
    }

    /// Adds a token that covers bytes `from` to `to` of the word.
    #[inline]
    pub(super) fn push(&mut self, id: u32, from: usize, to: usize) {
        self.ids.push(id);
        if let Some(spans) = &mut self.spans {
            spans.push(from..to);
        }
    }

    /// Makes the last of the tokens from number `first` on reach to byte `to`, if it is `id`; says
    /// whether it is.
    pub(super) fn extend(&mut self, first: usize, id: u32, to: usize) -> bool {
        let is_last = self.ids.len() > first && self.ids.last() == Some(&id);
        if is_last && let Some(span) = self.spans.as_mut().and_then(|spans| spans.last_mut()) {
            span.end = to;
        }
        is_last
    }

    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    /// Takes back all tokens but the first `len`.
    pub(super) fn truncate(&mut self, len: usize) {
        self.ids.truncate(len);
        if let Some(spans) = &mut self.spans {
            spans.truncate(len);
        }
    }

    /// Replaces the ids of the tokens from number `first` on.
    pub(super) fn rename_from(&mut self, first: usize, given: impl Fn(u32) -> u32) {
        self.ids[first..].iter_mut().for_each(|id| *id = given(*id));
    }

    /// Turns around the order of the tokens from number `first` on.
    pub(super) fn reverse_from(&mut self, first: usize) {
        self.ids[first..].reverse();
        if let Some(spans) = &mut self.spans {
            spans[first..].reverse();
        }
    }
}
