//! Tokens computed before it is known whether they come: a step reads all weights for one row or for
//! several, so that tokens guessed right cost next to nothing.

use super::Session;
use super::lockstep;
use crate::error::Error;
use crate::memory::Room;
use crate::model::Model;

/// Most tokens that are tried ahead.
pub(in crate::task) const MOST_AHEAD: usize = 8;

/// Tokens behind a session's last one, whose keys and values stand in the cache behind its own.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    tokens: Vec<u32>,
    /// `[1 + MOST_AHEAD][vocab_size]`: logits after the session's last token at that time, and after
    /// each of these.
    logits: Vec<f32>,
    /// How many of them have come.
    taken: usize,
}

impl Ahead {
    /// Tokens that may still come.
    pub(super) fn left(&self) -> usize {
        self.tokens.len() - self.taken
    }

    pub(super) fn bytes(&self) -> usize {
        size_of_val(&self.logits[..])
    }

    pub(super) fn clear(&mut self) {
        self.tokens.clear();
        self.taken = 0;
    }
}

impl Model {
    /// Bytes that a generation takes besides its session's, once a token has been guessed:
    /// [`GenerateOptions::lookup`](crate::GenerateOptions::lookup).
    pub fn lookup_bytes(&self) -> usize {
        (1 + MOST_AHEAD).saturating_mul(self.vocab_size()).saturating_mul(size_of::<f32>())
    }
}

impl Session {
    /// Makes room for the logits of [`Session::compute_ahead`].
    pub(in crate::task) fn reserve_ahead(&mut self) -> Result<(), Error> {
        if self.ahead.logits.is_empty() && self.kv.rewinds() {
            let n = (1 + MOST_AHEAD).saturating_mul(self.model.vocab_size());
            self.ahead.logits = Room::real().zeroed(n)?;
            self.ahead.tokens.reserve(MOST_AHEAD);
        }
        Ok(())
    }

    /// How many tokens a guess may have.
    pub(in crate::task) fn most_ahead(&self) -> usize {
        match self.ahead.logits.is_empty() || self.due() != 1 {
            true => 0,
            false => MOST_AHEAD.min(self.context_length - self.tokens.len()),
        }
    }

    /// Computes the token that is due, and behind it a guess of at most [`Session::most_ahead`] tokens
    /// that may follow. Those that [`Session::append`] gives it next, as guessed, are computed then, with
    /// the bits that they would have got. `false` if cancelled.
    pub(in crate::task) fn compute_ahead(&mut self, guess: &[u32]) -> Result<bool, Error> {
        let (own, vocab_size) = (self.tokens.len(), self.model.vocab_size());
        let n = guess.len();
        self.tokens.extend_from_slice(guess);
        let mut logits = std::mem::take(&mut self.ahead.logits);
        let done = lockstep::last_logits(self, &mut logits[..(1 + n) * vocab_size]);
        self.ahead.logits = logits;
        self.tokens.truncate(own);
        self.computed = self.computed.min(own);
        if !done? {
            self.tokens.truncate(self.computed);
            return Ok(false);
        }
        self.ahead.taken = 0;
        self.ahead.tokens.clear();
        self.ahead.tokens.extend_from_slice(guess);
        self.logits.copy_from_slice(&self.ahead.logits[..vocab_size]);
        Ok(true)
    }

    /// Takes the next token if it was guessed; otherwise the guess is forgotten.
    pub(super) fn take_guessed(&mut self, tokens: &[u32]) -> bool {
        let Ahead { tokens: guess, logits, taken } = &mut self.ahead;
        if let [token] = tokens
            && guess.get(*taken) == Some(token)
            && self.computed == self.tokens.len()
        {
            *taken += 1;
            self.tokens.push(*token);
            self.computed += 1;
            let vocab_size = self.logits.len();
            self.logits.copy_from_slice(&logits[*taken * vocab_size..][..vocab_size]);
            return true;
        }
        self.ahead.clear();
        false
    }
}
