//! Many requests, one step after another: whoever comes or goes does so between two steps.

mod job;
mod options;
mod prefixes;
mod request;

pub use options::SchedulerOptions;
pub use request::{Event, Request, Ticket, TokenLogprobs, Usage};

use std::collections::{HashSet, VecDeque};

use self::job::{Job, Running};
use self::prefixes::{Prefixes, SHORTEST, common};
use super::generate::{FinishReason, GenerationState};
use super::session::{Session, step};
use crate::error::Error;
use crate::limits::BATCH_TOKENS;
use crate::model::Model;

/// Runs many requests for one model together. Requests join and leave between steps, long prompts
/// are computed in pieces beside answers, and starts that requests have in common are computed
/// once. Each request gets the tokens that it would get alone.
///
/// It has no thread of its own: whoever owns it calls [`Scheduler::step`].
///
/// ```no_run
/// # fn main() -> Result<(), kinglet::Error> {
/// use kinglet::{Event, GenerateOptions, Model, Request, Scheduler, SchedulerOptions};
///
/// let model = Model::open("smollm2.kinglet")?;
/// let mut scheduler = Scheduler::new(&model, &SchedulerOptions::default())?;
/// for prompt in ["A wren is", "A ship is"] {
///     let tokens = model.tokenizer().encode(prompt, Default::default());
///     scheduler.submit(Request::new(tokens, GenerateOptions::greedy().max_tokens(20)))?;
/// }
/// while scheduler.step(&mut |ticket, event| match event {
///     Event::Token { text, .. } => print!("{ticket:?}: {text}"),
///     _ => println!(),
/// }) {}
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Scheduler {
    model: Model,
    options: SchedulerOptions,
    waiting: VecDeque<Job>,
    /// In the order in which they began.
    running: Vec<Running>,
    /// Sessions of slots that are free.
    idle: Vec<Session>,
    prefixes: Prefixes,
    cancelled: HashSet<Ticket>,
    next_ticket: u64,
}

impl Scheduler {
    /// A scheduler for `model`.
    ///
    /// # Errors
    /// If the model does not go on with a text, or an option is 0.
    pub fn new(model: &Model, options: &SchedulerOptions) -> Result<Self, Error> {
        if options.slots == 0 || options.prompt_rows == 0 {
            return Err(Error::InvalidOption {
                name: if options.slots == 0 { "slots" } else { "prompt rows" },
                value: "0".to_owned(),
                range: "1 or more",
            });
        }
        let session = model.session_with(&options.session)?;
        if model.reads_source() {
            return Err(Error::WrongTask {
                task: "continue texts",
                reason: "it answers a source text: translate, or use `text_to_text`".to_owned(),
            });
        }
        Ok(Self {
            model: model.clone(),
            options: options.clone(),
            waiting: VecDeque::new(),
            running: Vec::new(),
            idle: vec![session],
            prefixes: Prefixes::default(),
            cancelled: HashSet::new(),
            next_ticket: 0,
        })
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Requests being computed, and requests that wait.
    pub fn load(&self) -> (usize, usize) {
        (self.running.len(), self.waiting.len())
    }

    /// Takes a request.
    ///
    /// # Errors
    /// If an option is out of range, the prompt is empty, does not fit the context or has unknown
    /// tokens, or too many requests wait ([`Error::Busy`]).
    pub fn submit(&mut self, request: Request) -> Result<Ticket, Error> {
        let Request { prompt, options, ends, logprobs, fresh } = request;
        if prompt.is_empty() {
            return Err(Error::Empty { what: "the prompt" });
        }
        let vocab_size = self.model.vocab_size();
        if let Some(&id) = prompt.iter().find(|&&id| id as usize >= vocab_size) {
            return Err(Error::TokenOutOfRange { id, vocab_size });
        }
        let context_length = self.context_length();
        if prompt.len() > context_length {
            return Err(Error::ContextFull { used: 0, wanted: prompt.len(), context_length });
        }
        let free = self.options.slots.saturating_sub(self.running.len());
        if self.waiting.len() >= self.options.queue.saturating_add(free) {
            return Err(Error::Busy { waiting: self.waiting.len() });
        }
        let state = GenerationState::apart(&self.model, prompt.len(), &options)?.ending_at(&ends);
        let state = if logprobs.is_some() { state.drawing_all() } else { state };
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        let usage = Usage { prompt: prompt.len(), ..Usage::default() };
        self.waiting.push_back(Job { ticket, tokens: prompt, state, logprobs, fresh, usage });
        Ok(ticket)
    }

    /// Most tokens of a prompt and its answer together.
    pub fn context_length(&self) -> usize {
        let longest = self.model.context_length();
        self.options.session.context_length.map_or(longest, |n| n.min(longest))
    }

    /// Gives a request up: it ends before the next step.
    pub fn cancel(&mut self, ticket: Ticket) {
        self.cancelled.insert(ticket);
    }

    /// Forgets what was kept for requests to come.
    pub fn forget(&mut self) {
        self.prefixes.clear();
    }

    /// Bytes of keys and values now, of running and of kept sequences.
    pub fn kv_bytes(&self) -> usize {
        let mut seen = HashSet::new();
        let running = self.running.iter().map(|one| one.session.count_bytes(&mut seen));
        running.sum::<usize>() + self.prefixes.count_bytes(&mut seen)
    }

    /// Computes one step and tells what became of which request; `false` if there was nothing to do.
    pub fn step(&mut self, tell: &mut dyn FnMut(Ticket, Event<'_>)) -> bool {
        self.drop_cancelled(tell);
        self.admit(tell);
        self.make_room();
        let rows = self.rows();
        if self.running.is_empty() {
            return !self.waiting.is_empty();
        }
        self.compute(&rows, tell);
        self.draw(tell);
        true
    }

    fn drop_cancelled(&mut self, tell: &mut dyn FnMut(Ticket, Event<'_>)) {
        if self.cancelled.is_empty() {
            return;
        }
        let cancelled = std::mem::take(&mut self.cancelled);
        let mut end = |job: &Job| {
            let usage = job.usage();
            tell(job.ticket, Event::Ended { text: "", reason: FinishReason::Cancelled, usage });
        };
        self.waiting.retain(|job| {
            let gone = cancelled.contains(&job.ticket);
            if gone {
                end(job);
            }
            !gone
        });
        for at in (0..self.running.len()).rev() {
            if cancelled.contains(&self.running[at].job.ticket) {
                end(&self.running[at].job);
                self.retire(at);
            }
        }
    }

    /// Gives free slots to those who wait, unless another one is just computing what they begin
    /// with.
    fn admit(&mut self, tell: &mut dyn FnMut(Ticket, Event<'_>)) {
        let mut at = 0;
        while self.running.len() < self.options.slots && at < self.waiting.len() {
            if self.is_soon_known(&self.waiting[at]) {
                at += 1;
                continue;
            }
            let Some(job) = self.waiting.remove(at) else { return };
            let ticket = job.ticket;
            match self.begin(job) {
                Ok(running) => self.running.push(running),
                Err(error) => tell(ticket, Event::Failed(error)),
            }
        }
    }

    /// Whether a running request is going to compute more of the start of `job` than is known now.
    fn is_soon_known(&self, job: &Job) -> bool {
        !job.fresh
            && self.running.iter().any(|one| {
                let alike = common(one.session.tokens(), &job.tokens).min(job.tokens.len() - 1);
                alike >= one.session.computed().len() + BATCH_TOKENS / 4
            })
    }

    fn begin(&mut self, mut job: Job) -> Result<Running, Error> {
        let mut session = match self.idle.pop() {
            Some(session) => session,
            None => self.model.session_with(&self.options.session)?,
        };
        // The last token is always computed, for its logits.
        let start = &job.tokens[..job.tokens.len() - 1];
        if !job.fresh && session.shares() {
            let alike = |one: &Running| common(one.session.computed(), start);
            let running = self.running.iter().max_by_key(|one| alike(one));
            let running = running.map(|one| (one, alike(one)));
            match (self.prefixes.find(start), running) {
                (kept, Some((other, n)))
                    if n >= SHORTEST && kept.as_ref().is_none_or(|(_, m)| n > *m) =>
                {
                    session.share_of(&other.session, n)?;
                }
                (Some((kept, n)), _) => session.share(kept, n)?,
                _ => {}
            }
        }
        let known = session.position();
        // What it had computed before it lost its place was not known.
        if job.state.generated_tokens() == 0 {
            job.usage.cached = known;
        }
        session.append(&job.tokens[known..])?;
        job.state.place(&mut session);
        Ok(Running { job, session })
    }

    /// The rows of each running request in the next step: of answers one, of prompts what fits
    /// beside them, the oldest first.
    fn rows(&self) -> Vec<usize> {
        let is_answer = |one: &Running| one.session.due() == 1;
        let answers = self.running.iter().filter(|one| is_answer(one)).count();
        let mut left = match answers {
            0 => BATCH_TOKENS,
            n => self.options.prompt_rows.min(BATCH_TOKENS.saturating_sub(n)),
        };
        let rows = |one: &Running| {
            if is_answer(one) {
                return 1;
            }
            let n = one.session.due().min(left);
            left -= n;
            n
        };
        self.running.iter().map(rows).collect()
    }

    /// Drops what is kept for later, and then puts back who came last, until the next step fits
    /// the memory.
    fn make_room(&mut self) {
        loop {
            let rows = self.rows();
            let growth = self.running.iter().zip(&rows).map(|(one, &n)| one.session.growth(n));
            let growth: usize = growth.sum();
            if self.kv_bytes() + growth <= self.options.kv_memory {
                return;
            }
            if self.prefixes.drop_oldest() {
                continue;
            }
            if self.running.len() <= 1 {
                return;
            }
            let Some(Running { mut job, mut session }) = self.running.pop() else { return };
            job.tokens.clear();
            job.tokens.extend_from_slice(session.tokens());
            session.take_computed();
            self.idle.push(session);
            self.waiting.push_front(job);
        }
    }

    /// Computes the rows; where that fails, each request alone, so that only those fail that do.
    fn compute(&mut self, rows: &[usize], tell: &mut dyn FnMut(Ticket, Event<'_>)) {
        let due =
            self.running.iter_mut().zip(rows).filter(|(one, n)| **n > 0 && one.session.due() > 0);
        let mut sessions: Vec<&mut Session> = due
            .map(|(one, &n)| {
                one.session.set_rows(n);
                &mut one.session
            })
            .collect();
        if sessions.is_empty() || step(&mut sessions).is_ok() {
            return;
        }
        for at in (0..self.running.len()).rev() {
            let session = &mut self.running[at].session;
            if rows[at] == 0 || session.due() == 0 {
                continue;
            }
            if let Err(error) = step(&mut [session]) {
                tell(self.running[at].job.ticket, Event::Failed(error));
                self.discard(at);
            }
        }
    }

    /// Draws a token for each request whose logits are there.
    fn draw(&mut self, tell: &mut dyn FnMut(Ticket, Event<'_>)) {
        for at in (0..self.running.len()).rev() {
            let Running { job, session } = &mut self.running[at];
            if session.due() > 0 {
                continue;
            }
            match job.draw(session, tell) {
                Ok(true) => {}
                Ok(false) => self.retire(at),
                Err(error) => {
                    tell(job.ticket, Event::Failed(error));
                    self.discard(at);
                }
            }
        }
    }

    /// Frees a slot and keeps what was computed.
    fn retire(&mut self, at: usize) {
        let Running { mut session, .. } = self.running.remove(at);
        if session.shares() {
            self.prefixes.keep(session.take_computed());
        }
        session.reset();
        self.idle.push(session);
    }

    /// Frees a slot and keeps nothing.
    fn discard(&mut self, at: usize) {
        let Running { mut session, .. } = self.running.remove(at);
        session.take_computed();
        self.idle.push(session);
    }
}

impl Job {
    /// Draws a token and tells of it; `false` at the end.
    fn draw(
        &mut self,
        session: &mut Session,
        tell: &mut dyn FnMut(Ticket, Event<'_>),
    ) -> Result<bool, Error> {
        loop {
            let before = self.state.generated_tokens();
            let text = self.state.draw(session)?.unwrap_or_default().to_owned();
            let drawn = self.state.generated_tokens() > before;
            if drawn {
                let token = session.tokens().last().copied().unwrap_or_default();
                let of = |n| TokenLogprobs::of(session.logits(), token, n);
                let logprobs = self.logprobs.map(of);
                tell(self.ticket, Event::Token { text: &text, logprobs });
            }
            if let Some(reason) = self.state.finish_reason() {
                let text = if drawn { "" } else { &text };
                tell(self.ticket, Event::Ended { text, reason, usage: self.usage() });
                return Ok(false);
            }
            if self.state.wants_logits(session) {
                return Ok(true);
            }
        }
    }

    fn usage(&self) -> Usage {
        Usage { generated: self.state.generated_tokens(), ..self.usage }
    }
}
