//! Penalties on tokens that would lengthen a repetition.

use super::options::Dry;
use crate::tokenizer::{EncodeOptions, Tokenizer};

/// Longest text that ends a sequence, in bytes; and most tokens that are compared to find it.
const MAX_BREAKER: usize = 40;
const MAX_TAIL: usize = 20;

/// The tokens at which a sequence may end.
#[derive(Clone, Debug, Default)]
pub(super) struct Breakers {
    /// `(token, what must follow it)`, in order: a breaker may begin inside of a token and go on
    /// in the next ones.
    found: Vec<(u32, Vec<u32>)>,
}

impl Breakers {
    /// All places of the vocabulary where one of the texts can begin.
    pub(super) fn of(dry: &Dry, tokenizer: &Tokenizer) -> Self {
        let mut found = Vec::new();
        if dry.multiplier == 0.0 {
            return Self { found };
        }
        let plain = EncodeOptions { add_special: false, parse_special: false };
        for token in 0..tokenizer.vocab_size() as u32 {
            let piece = tokenizer.token_bytes(token);
            for breaker in &dry.breakers {
                let mut end = breaker.len().min(MAX_BREAKER);
                while !breaker.is_char_boundary(end) {
                    end -= 1;
                }
                let text = &breaker[..end];
                if text.is_empty() {
                    continue;
                }
                if piece.windows(text.len()).any(|part| part == text.as_bytes()) {
                    found.push((token, Vec::new()));
                    continue;
                }
                // The piece ends with the beginning of the text.
                for len in
                    (1..text.len().min(piece.len() + 1)).filter(|&n| text.is_char_boundary(n))
                {
                    if piece.ends_with(&text.as_bytes()[..len]) {
                        let mut tail = tokenizer.encode(&text[len..], plain);
                        tail.truncate(MAX_TAIL);
                        found.push((token, tail));
                    }
                }
            }
        }
        found.sort_unstable();
        found.dedup();
        Self { found }
    }

    /// How many tokens the longest of the texts that begin at `token` has after it, if one does;
    /// `following` is what came.
    fn ends_at(&self, token: u32, following: &[u32]) -> Option<usize> {
        let first = self.found.partition_point(|entry| entry.0 < token);
        let here = self.found[first..].iter().take_while(|entry| entry.0 == token);
        here.filter(|(_, tail)| following.starts_with(tail)).map(|(_, tail)| tail.len()).max()
    }
}

/// What is kept from token to token.
#[derive(Clone, Debug, Default)]
pub(super) struct Repetitions {
    /// For each place, how many tokens before it are also the last ones.
    lengths: Vec<usize>,
    /// `(token, longest repetition that it would lengthen)`, in order.
    longest: Vec<(u32, usize)>,
}

impl Repetitions {
    /// `(token, penalty)` after `recent`, in the order of their ids.
    pub(super) fn penalties<'a>(
        &'a mut self,
        dry: &'a Dry,
        breakers: &Breakers,
        recent: &[u32],
    ) -> impl Iterator<Item = (u32, f32)> + use<'a> {
        self.find(dry, breakers, recent);
        // Beyond it the power is infinite.
        let most = f32::MAX.ln() / dry.base.ln();
        self.longest.iter().map(move |&(token, length)| {
            let exponent = ((length - dry.allowed_length) as f32).min(most.floor());
            (token, dry.multiplier * dry.base.powf(exponent))
        })
    }

    fn find(&mut self, dry: &Dry, breakers: &Breakers, recent: &[u32]) {
        self.longest.clear();
        let recent = &recent[recent.len() - dry.last_n.unwrap_or(usize::MAX).min(recent.len())..];
        let n = recent.len();
        if n <= dry.allowed_length {
            return;
        }
        // Nothing before the last breaker is repeated with what follows it.
        let breaker = (0..n).rev().find_map(|at| {
            let len = breakers.ends_at(recent[at], &recent[at + 1..])?;
            Some(n - at - 1 - len)
        });
        let most = breaker.unwrap_or(n);
        if most < dry.allowed_length {
            return;
        }
        self.suffix_lengths(recent);
        for (at, &length) in self.lengths.iter().enumerate().skip(1) {
            let length = length.min(most);
            if length >= dry.allowed_length {
                self.longest.push((recent[n - at], length));
            }
        }
        // The longest of each token.
        self.longest.sort_unstable_by(|a, b| a.0.cmp(&b.0).then(b.1.cmp(&a.1)));
        self.longest.dedup_by_key(|entry| entry.0);
    }

    /// Fills `lengths[k]`: how many tokens, backwards from the one `k` before the last, are those
    /// backwards from the last (0 for `k = 0`). Each is compared once: Gusfield's algorithm Z on
    /// the tokens from the last to the first.
    fn suffix_lengths(&mut self, recent: &[u32]) {
        let n = recent.len();
        let back = |i: usize| recent[n - 1 - i];
        self.lengths.clear();
        self.lengths.resize(n, 0);
        // The stretch that reaches farthest of those that repeat the end.
        let (mut start, mut end) = (0, 0);
        for k in 1..n {
            let mut length = if k < end { self.lengths[k - start].min(end - k) } else { 0 };
            while k + length < n && back(length) == back(k + length) {
                length += 1;
            }
            if k + length > end {
                (start, end) = (k, k + length);
            }
            self.lengths[k] = length;
        }
    }
}
