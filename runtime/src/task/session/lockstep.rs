//! One step for one session or for several.

use super::{BATCH_TOKENS, Session};
use crate::error::Error;
use crate::memory::Room;
use crate::step::{Batch, Other, Rows, Watch};

/// Most rows of several sessions in one step.
const MAX_ROWS: usize = 2 * BATCH_TOKENS;

/// Computes all that is due in `sessions`.
pub(super) fn run(sessions: &mut [&mut Session]) -> Result<(), Error> {
    let Some((first, others)) = sessions.split_first() else { return Ok(()) };
    if others.iter().any(|other| !other.model.is(&first.model)) {
        return Err(Error::InvalidOption {
            name: "the model of a session",
            value: "another one".to_owned(),
            range: "the same for all that are computed together",
        });
    }
    loop {
        let mut rows = 0;
        let mut now = Vec::with_capacity(sessions.len());
        for session in sessions.iter_mut() {
            if session.cancel.is_cancelled() {
                session.tokens.truncate(session.computed);
            }
            let n = session.next_rows();
            if n > 0 && rows + n <= MAX_ROWS {
                rows += n;
                now.push(&mut **session);
            }
        }
        if now.is_empty() {
            return Ok(());
        }
        step(&mut now)?;
    }
}

/// Runs the next tokens of each of `sessions` in one step; for those of which nothing is left to
/// compute, the logits too. The step ends early when all of them are cancelled.
pub(in crate::task) fn step(sessions: &mut [&mut Session]) -> Result<(), Error> {
    match sessions {
        [session] => one(session),
        _ => several(sessions),
    }
}

impl Session {
    /// Rows of the next step.
    fn next_rows(&self) -> usize {
        self.due().min(self.most_rows).min(self.context_length)
    }

    /// Room for the rows of the next step.
    fn make_room(&mut self) -> Result<(), Error> {
        let end = self.computed + self.next_rows();
        self.kv.reserve(self.model.runner().kernels, self.computed, end)
    }
}

/// The one session's next rows; nothing is allocated.
fn one(session: &mut Session) -> Result<(), Error> {
    let last = session.next_rows() == session.due();
    let mut logits = std::mem::take(&mut session.logits);
    let model = session.model.clone();
    let done = rows_of(session, None, |rows| {
        let n = rows.batch().len();
        match model.runner().network.logits() {
            Some(head) if last => rows.head(head, [n - 1].into_iter(), &mut logits),
            _ => Ok(()),
        }
    });
    session.logits = logits;
    done.map(drop)
}

/// Runs the session's next rows, and computes the logits `[n][vocab_size]` after the last `n` of them;
/// nothing is allocated. `false` if cancelled.
pub(super) fn last_logits(session: &mut Session, logits: &mut [f32]) -> Result<bool, Error> {
    let model = session.model.clone();
    let wanted = logits.len() / model.vocab_size();
    let done = rows_of(session, None, |rows| {
        let n = rows.batch().len();
        match model.runner().network.logits() {
            Some(head) => rows.head(head, n - wanted..n, logits),
            None => Ok(()),
        }
    })?;
    Ok(done.is_some())
}

/// Hidden states `[rows][hidden_size]` of the session's next rows; `None` if cancelled.
pub(super) fn hidden_rows(session: &mut Session) -> Result<Option<Vec<f32>>, Error> {
    rows_of(session, None, |rows| Ok(rows.hidden().to_vec()))
}

/// Rows, and what heads look at.
pub(super) struct WatchedRows {
    /// `[rows][hidden_size]` hidden states.
    pub(super) rows: Vec<f32>,
    /// `[rows][heads][slots]` scores of the rows of the source.
    pub(super) scores: Vec<f32>,
}

/// The same, and the scores of these heads, each with the number of its layer.
pub(super) fn watched_rows(
    session: &mut Session,
    heads: &[(usize, usize)],
) -> Result<Option<WatchedRows>, Error> {
    let watch = Watch { heads: heads.to_vec(), scores: Vec::new() };
    rows_of(session, Some(watch), |rows| {
        let scores = rows.batch().watch.as_ref().map_or(&[][..], |watch| &watch.scores);
        Ok(WatchedRows { rows: rows.hidden().to_vec(), scores: scores.to_vec() })
    })
}

/// Runs the session's next rows and hands them to `finish`; `None` if cancelled.
fn rows_of<R>(
    session: &mut Session,
    watch: Option<Watch>,
    finish: impl FnOnce(&mut Rows<'_, '_>) -> Result<R, Error>,
) -> Result<Option<R>, Error> {
    session.make_room()?;
    let n = session.next_rows();
    let limit = session.context_length;
    let Session { model, stack, kv, source, tokens, computed, cancel, .. } = session;
    let due = &tokens[*computed..][..n];
    let other = source.as_ref().map(|(_, n)| Other { memory: 1, slots: 0..*n });
    let fill = |batch: &mut Batch| {
        batch.push_tokens(due, *computed, limit, 0, other);
        batch.watch = watch;
    };
    let keep_going = || !cancel.is_cancelled();
    let runner = model.runner();
    let done = match source {
        Some((source, _)) => {
            runner.step(*stack, n, &mut [kv, source], fill, &keep_going, finish)?
        }
        None => runner.step(*stack, n, &mut [kv], fill, &keep_going, finish)?,
    };
    if done.is_some() {
        *computed += n;
        kv.commit();
    }
    Ok(done)
}

/// A session's part of a step.
struct Part<'a> {
    tokens: &'a [u32],
    n_past: usize,
    limit: usize,
    memory: usize,
    other: Option<Other>,
    /// Nothing is due after it.
    last: bool,
}

/// The next rows of all sessions.
fn several(sessions: &mut [&mut Session]) -> Result<(), Error> {
    let Some(first) = sessions.first() else { return Ok(()) };
    let (model, stack) = (first.model.clone(), first.stack);
    let cancels: Vec<_> = sessions.iter().map(|session| session.cancel.clone()).collect();
    let mut memories = Vec::with_capacity(2 * sessions.len());
    let mut parts = Vec::with_capacity(sessions.len());
    for session in sessions.iter_mut() {
        session.make_room()?;
        let n = session.next_rows();
        let last = n == session.due();
        let limit = session.context_length;
        let Session { kv, source, tokens, computed, .. } = &mut **session;
        let memory = memories.len();
        memories.push(kv);
        let other = source.as_mut().map(|(kv, n)| {
            memories.push(kv);
            Other { memory: memory + 1, slots: 0..*n }
        });
        let n_past = *computed;
        parts.push(Part { tokens: &tokens[n_past..][..n], n_past, limit, memory, other, last });
    }
    let n_rows = parts.iter().map(|part| part.tokens.len()).sum();
    let fill = |batch: &mut Batch| {
        for part in &parts {
            let Part { tokens, n_past, limit, memory, .. } = *part;
            batch.push_tokens(tokens, n_past, limit, memory, part.other.clone());
        }
    };
    let keep_going = || cancels.iter().any(|cancel| !cancel.is_cancelled());
    let runner = model.runner();
    let vocab_size = model.vocab_size();
    let logits = runner.step(stack, n_rows, &mut memories, fill, &keep_going, |rows| {
        let segments = rows.batch().segments.iter().zip(&parts);
        let ends = segments.filter(|(_, part)| part.last).map(|(s, _)| s.rows.end - 1);
        let ends: Vec<usize> = ends.collect();
        let mut logits: Vec<f32> = Room::real().zeroed(ends.len().saturating_mul(vocab_size))?;
        if let Some(head) = runner.network.logits()
            && !ends.is_empty()
        {
            rows.head(head, ends.into_iter(), &mut logits)?;
        }
        Ok(logits)
    })?;
    let Some(logits) = logits else { return Ok(()) };
    let counts: Vec<_> = parts.iter().map(|part| (part.tokens.len(), part.last)).collect();
    let mut logits = logits.chunks_exact(vocab_size);
    for (session, (n, last)) in sessions.iter_mut().zip(counts) {
        session.computed += n;
        session.kv.commit();
        if last && let Some(logits) = logits.next() {
            session.logits.copy_from_slice(logits);
        }
    }
    Ok(())
}
