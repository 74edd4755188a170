//! Tokens through the network, and the logits after them.

use super::Session;
use super::lockstep::{self, WatchedRows};
use crate::error::Error;
use crate::memory::Room;
use crate::task::form::Constraint;
use crate::task::sampler::Sampler;

/// Logits computed together while scoring a text.
const SCORE_ROWS: usize = 16;

impl Session {
    /// Draws the next token from the logits; the session is unchanged.
    pub(crate) fn sample(&mut self, sampler: &mut Sampler) -> Result<u32, Error> {
        if self.due() > 0 {
            return Err(Error::Empty { what: "the list of logits: tokens are due, which" });
        }
        Ok(sampler.sample(&mut self.logits, &self.tokens))
    }

    /// The same among the tokens with which an answer keeps to its form.
    pub(in crate::task) fn sample_within(
        &mut self,
        constraint: &mut Constraint,
        sampler: &mut Sampler,
    ) -> Result<u32, Error> {
        if self.due() > 0 {
            return Err(Error::Empty { what: "the list of logits: tokens are due, which" });
        }
        constraint.sample(&self.logits, &self.tokens, sampler, &self.model)
    }

    /// Number of tokens that are not computed yet.
    pub fn due(&self) -> usize {
        self.tokens.len() - self.computed
    }

    /// Appends tokens and computes the logits after the last of them.
    ///
    /// A cancelled call returns `false`; it keeps the tokens that were computed.
    ///
    /// # Errors
    /// If they do not fit the context, an id is outside the vocabulary, or memory runs out.
    pub fn feed(&mut self, tokens: &[u32]) -> Result<bool, Error> {
        if tokens.is_empty() && self.due() == 0 {
            return Err(Error::Empty { what: "the list of tokens" });
        }
        self.cancel.clear();
        self.go_on(tokens)
    }

    /// [`Session::feed`] of at least one token, also if the session has been cancelled before.
    pub(in crate::task) fn go_on(&mut self, tokens: &[u32]) -> Result<bool, Error> {
        self.append(tokens)?;
        self.compute()
    }

    /// Computes the tokens that are due, and the logits after the last. `false` if cancelled.
    pub(crate) fn compute(&mut self) -> Result<bool, Error> {
        while let Some(due) = self.compute_batch()? {
            if due == 0 {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Computes a batch of the tokens that are due, after the last of them the logits too. Gives
    /// the number of tokens still due; `None` if cancelled, and then those are dropped.
    pub(crate) fn compute_batch(&mut self) -> Result<Option<usize>, Error> {
        if self.due() > 0 {
            lockstep::step(&mut [&mut *self])?;
            if self.cancel.is_cancelled() && self.due() > 0 {
                self.tokens.truncate(self.computed);
                return Ok(None);
            }
        }
        Ok(Some(self.due()))
    }

    /// Computes what is due in all sessions, which are of one model, several of them in each step,
    /// and the logits after each last token. Every session gets the bits that it would get alone.
    ///
    /// What is due in a session that is cancelled meanwhile is dropped.
    ///
    /// # Errors
    /// If the sessions are of different models, or a computation fails.
    pub fn compute_all(sessions: &mut [&mut Self]) -> Result<(), Error> {
        lockstep::run(sessions)
    }

    /// Begins anew with `tokens` and gives, for each of them, the scores `[heads][slots]` before their
    /// softmax that these heads, each with the number of its layer, give the rows of the source; and
    /// calls `visit(index, logits)` with the logits after each token from `from` on. `None` if cancelled.
    /// Keys and values are fp16.
    pub(in crate::task) fn watch(
        &mut self,
        tokens: &[u32],
        heads: &[(usize, usize)],
        from: usize,
        visit: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<Option<Vec<f32>>, Error> {
        self.reset();
        self.append(tokens)?;
        let vocab_size = self.model.vocab_size();
        let mut logits: Vec<f32> = Room::real().zeroed(SCORE_ROWS.saturating_mul(vocab_size))?;
        let mut scores = Vec::new();
        while self.due() > 0 {
            let first = self.computed;
            let watched = lockstep::watched_rows(self, heads)?;
            let Some(WatchedRows { rows, scores: some }) = watched else {
                self.tokens.truncate(self.computed);
                return Ok(None);
            };
            scores.extend(some);
            self.visit_rows(&rows, first, from, &mut logits, visit)?;
        }
        // The session's own logits were not computed: the last token is due again.
        self.rewind(self.computed.saturating_sub(1));
        Ok(Some(scores))
    }

    /// Appends tokens and calls `visit(index, logits)` with the logits after each token from
    /// index `from` on: what the model expects as token `index + 1`.
    ///
    /// A cancelled call returns `false`; it keeps the tokens that were computed.
    ///
    /// # Errors
    /// As [`Session::feed`].
    pub fn score(
        &mut self,
        tokens: &[u32],
        from: usize,
        mut visit: impl FnMut(usize, &[f32]),
    ) -> Result<bool, Error> {
        self.cancel.clear();
        if !self.compute()? {
            return Ok(false);
        }
        let (start, vocab_size) = (self.tokens.len(), self.model.vocab_size());
        let mut logits: Vec<f32> = Room::real().zeroed(SCORE_ROWS.saturating_mul(vocab_size))?;
        self.append(tokens)?;
        while self.due() > 0 {
            let first = self.computed - start;
            let Some(rows) = lockstep::hidden_rows(self)? else {
                self.tokens.truncate(self.computed);
                return Ok(false);
            };
            self.visit_rows(&rows, first, from, &mut logits, &mut visit)?;
        }
        // The session's own logits were not computed: the last token is due again.
        self.rewind(self.computed.saturating_sub(1));
        Ok(true)
    }

    /// Calls `visit` with the logits after each of `rows` `[n][hidden_size]`, of which the first is token
    /// number `first`, from token `from` on.
    fn visit_rows(
        &self,
        rows: &[f32],
        first: usize,
        from: usize,
        logits: &mut [f32],
        visit: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<(), Error> {
        let runner = self.model.runner();
        let vocab_size = self.model.vocab_size();
        let hidden = runner.network.stacks[self.stack].hidden_size;
        let n_rows = rows.len() / hidden;
        let mut row = from.saturating_sub(first);
        while row < n_rows {
            let end = n_rows.min(row + SCORE_ROWS);
            let logits = &mut logits[..(end - row) * vocab_size];
            let head = runner.network.logits().ok_or(Error::Empty { what: "the head" })?;
            runner.head(head, &rows[row * hidden..end * hidden], end - row, logits)?;
            for (r, logits) in (row..).zip(logits.chunks_exact(vocab_size)) {
                visit(first + r, logits);
            }
            row = end;
        }
        Ok(())
    }
}
