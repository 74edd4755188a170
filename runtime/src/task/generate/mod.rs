//! Text out of a session, piece by piece.

mod options;

pub use options::GenerateOptions;

use super::form::Constraint;
use super::lookup::Lookup;
use super::sampler::Sampler;
use super::session::{MOST_AHEAD, Session};
use super::stop::StopStrings;
use crate::error::Error;
use crate::model::Model;
use crate::tokenizer::DecodeStream;

/// Why a generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FinishReason {
    /// The model ended its answer.
    Eos,
    /// A stop string came up.
    Stop,
    /// The wanted number of tokens was reached.
    MaxTokens,
    /// The context is full.
    ContextFull,
    /// It was cancelled.
    Cancelled,
}

/// An answer in the making: an iterator of pieces of text, each of whole characters.
///
/// The session can be used again when the generation is dropped, finished or not.
#[derive(Debug)]
pub struct Generation<'a> {
    session: &'a mut Session,
    state: GenerationState,
}

impl<'a> Generation<'a> {
    pub(crate) fn new(session: &'a mut Session, state: GenerationState) -> Self {
        Self { session, state }
    }

    /// The next piece of text, borrowed until the next call, or `None` at the end. The first call
    /// runs the prompt. Pieces may be empty while a character or a stop string is incomplete.
    ///
    /// # Errors
    /// If a computation fails; the generation is over then.
    pub fn advance(&mut self) -> Result<Option<&str>, Error> {
        self.state.advance(self.session)
    }

    /// Computes the next batch of the prompt, a few hundred tokens, and gives the number of its
    /// tokens that are still due. For owners who want to show progress or to give up in between:
    /// without it, [`Generation::advance`] computes the whole prompt.
    ///
    /// # Errors
    /// If a computation fails; the generation is over then.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), kinglet::Error> {
    /// # let long = "";
    /// let mut session = kinglet::Model::open("smollm2.kinglet")?.session()?;
    /// let mut answer = session.generate(long, &Default::default())?;
    /// while let due @ 1.. = answer.prefill()? {
    ///     eprintln!("{due} of {} tokens to read", answer.prompt_tokens());
    /// }
    /// # Ok(()) }
    /// ```
    pub fn prefill(&mut self) -> Result<usize, Error> {
        self.state.prefill(self.session)
    }

    /// Counts and the reason for the end.
    pub fn state(&self) -> &GenerationState {
        &self.state
    }

    /// Number of prompt tokens.
    pub fn prompt_tokens(&self) -> usize {
        self.state.prompt_tokens()
    }

    /// Number of tokens generated so far.
    pub fn generated_tokens(&self) -> usize {
        self.state.generated_tokens()
    }

    /// Why the generation ended, once it has.
    pub fn finish_reason(&self) -> Option<FinishReason> {
        self.state.finish_reason()
    }
}

/// A [`Generation`] without its session, for owners who keep both side by side. The session is
/// handed to every call; once it has been used for something else, the generation is over.
pub struct GenerationState {
    sampler: Sampler,
    stream: DecodeStream,
    stop: StopStrings,
    n_prompt: usize,
    n_generated: usize,
    n_guessed: usize,
    max_tokens: usize,
    ignore_eos: bool,
    /// Tokens that end it besides the model's own.
    ends: Vec<u32>,
    /// The form that it keeps to, and whether tokens that must come are taken without being drawn.
    constraint: Option<Constraint>,
    takes_forced: bool,
    lookup: Lookup,
    piece: String,
    /// Where the session must stand, and the number of its generation.
    position: usize,
    serial: u64,
    finished: Option<FinishReason>,
}

impl std::fmt::Debug for GenerationState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GenerationState")
            .field("n_prompt", &self.n_prompt)
            .field("n_generated", &self.n_generated)
            .field("finished", &self.finished)
            .finish_non_exhaustive()
    }
}

impl GenerationState {
    /// Appends `prompt` to `session`; nothing is computed yet.
    pub(crate) fn new(
        session: &mut Session,
        prompt: &[u32],
        options: &GenerateOptions,
    ) -> Result<Self, Error> {
        if prompt.is_empty() && session.position() == 0 {
            return Err(Error::Empty { what: "the prompt" });
        }
        let mut state = Self::apart(session.model(), prompt.len(), options)?;
        if let Some(max_tokens) = options.max_tokens {
            // Room for a bounded answer is made now, so that no token allocates; and before
            // anything else, so that a session without it is as it was.
            let prompt_end = session.position().saturating_add(prompt.len());
            session.reserve(prompt_end.saturating_add(max_tokens))?;
        }
        if options.lookup != Some(0) {
            session.reserve_ahead()?;
        }
        session.append(prompt)?;
        state.place(session);
        Ok(state)
    }

    /// A generation that has no session yet, after `n_prompt` tokens.
    pub(super) fn apart(
        model: &Model,
        n_prompt: usize,
        options: &GenerateOptions,
    ) -> Result<Self, Error> {
        let form = options.form.as_ref().map(|form| Constraint::new(form, model));
        Ok(Self {
            sampler: Sampler::for_model(options.sampler(model), model)?,
            stream: model.tokenizer().decode_stream(true),
            stop: StopStrings::new(&options.stop)?,
            n_prompt,
            n_generated: 0,
            n_guessed: 0,
            max_tokens: options.max_tokens.unwrap_or(usize::MAX),
            ignore_eos: options.ignore_eos,
            ends: Vec::new(),
            constraint: form.transpose()?,
            takes_forced: true,
            lookup: Lookup::new(options.lookup.unwrap_or(MOST_AHEAD).min(MOST_AHEAD)),
            piece: String::with_capacity(256),
            position: 0,
            serial: 0,
            finished: None,
        })
    }

    /// The same, each token of which is drawn, even where there is no choice.
    pub(super) fn drawing_all(self) -> Self {
        Self { takes_forced: false, ..self }
    }

    /// Goes on in `session`, which holds its tokens.
    pub(super) fn place(&mut self, session: &mut Session) {
        self.position = session.position();
        self.serial = session.new_serial();
    }

    /// The same, ended by these tokens too.
    pub(crate) fn ending_at(self, ends: &[u32]) -> Self {
        Self { ends: ends.to_vec(), ..self }
    }

    /// As [`Generation::prefill`], with the session it was begun in.
    ///
    /// # Errors
    /// As [`Generation::prefill`].
    pub fn prefill(&mut self, session: &mut Session) -> Result<usize, Error> {
        if !self.goes_on(session) || self.n_generated >= self.max_tokens {
            return Ok(0);
        }
        let batch = session.compute_batch();
        self.position = session.position();
        match batch {
            // At the beginning there may be more due than the prompt: the last token before it.
            Ok(Some(due)) => Ok(due.min(self.n_prompt)),
            Ok(None) => {
                self.finished = Some(FinishReason::Cancelled);
                Ok(0)
            }
            Err(error) => {
                self.finished = Some(FinishReason::Cancelled);
                Err(error)
            }
        }
    }

    /// As [`Generation::advance`], with the session it was begun in.
    ///
    /// # Errors
    /// As [`Generation::advance`].
    pub fn advance(&mut self, session: &mut Session) -> Result<Option<&str>, Error> {
        if self.wants_logits(session) {
            // The token that is drawn next needs no guess.
            let limit = self.max_tokens - self.n_generated - 1;
            let computed = match self.lookup.guess(session, limit) {
                [] => session.compute(),
                guess => session.compute_ahead(guess),
            };
            self.position = session.position();
            match computed {
                Ok(true) => {}
                Ok(false) => {
                    self.finished = Some(FinishReason::Cancelled);
                    self.piece.clear();
                    return Ok(self.close());
                }
                Err(error) => {
                    self.finished = Some(FinishReason::Cancelled);
                    return Err(error);
                }
            }
        }
        self.draw(session)
    }

    /// Whether the session's tokens must be computed before the next [`GenerationState::draw`].
    /// [`Session::compute_all`] does it for many sessions at once.
    pub fn wants_logits(&mut self, session: &Session) -> bool {
        self.goes_on(session) && self.n_generated < self.max_tokens && session.due() > 0
    }

    /// The next piece of text, from the logits that the session has; the token drawn is left for
    /// the session to compute. `None` at the end.
    ///
    /// # Errors
    /// If tokens of the session are not computed yet, or memory runs out.
    pub fn draw(&mut self, session: &mut Session) -> Result<Option<&str>, Error> {
        self.piece.clear();
        if !self.goes_on(session) {
            return Ok(None);
        }
        let step = self.step(session);
        self.position = session.position();
        match step {
            Ok(None) => Ok(Some(&self.piece)),
            Ok(Some(reason)) => {
                self.finished = Some(reason);
                Ok(self.close())
            }
            Err(error) => {
                self.finished = Some(FinishReason::Cancelled);
                Err(error)
            }
        }
    }

    /// What was held back at the end, if it is text.
    fn close(&mut self) -> Option<&str> {
        if self.finished != Some(FinishReason::Stop) {
            if self.stop.push(self.stream.finish(), &mut self.piece) {
                self.finished = Some(FinishReason::Stop);
            } else {
                self.stop.finish(&mut self.piece);
            }
        }
        if self.piece.is_empty() { None } else { Some(&self.piece) }
    }

    /// Number of prompt tokens.
    pub fn prompt_tokens(&self) -> usize {
        self.n_prompt
    }

    /// Number of tokens generated so far.
    pub fn generated_tokens(&self) -> usize {
        self.n_generated
    }

    /// How many of these were guessed before they came: [`GenerateOptions::lookup`].
    pub fn guessed_tokens(&self) -> usize {
        self.n_guessed
    }

    /// Why the generation ended, once it has.
    pub fn finish_reason(&self) -> Option<FinishReason> {
        self.finished
    }

    /// Whether `session` stands where this generation left it.
    pub(crate) fn belongs_to(&self, session: &Session) -> bool {
        session.serial() == self.serial && session.position() == self.position
    }

    /// Whether there is more to do; one whose session has been used for something else ends.
    fn goes_on(&mut self, session: &Session) -> bool {
        if self.finished.is_none() && !self.belongs_to(session) {
            self.finished = Some(FinishReason::Cancelled);
        }
        self.finished.is_none()
    }

    /// Samples a token and appends its text to `piece`.
    fn step(&mut self, session: &mut Session) -> Result<Option<FinishReason>, Error> {
        if self.n_generated >= self.max_tokens {
            return Ok(Some(FinishReason::MaxTokens));
        }
        let token = match &mut self.constraint {
            Some(constraint) => session.sample_within(constraint, &mut self.sampler)?,
            None => session.sample(&mut self.sampler)?,
        };
        let ends = session.model().is_eos(token) || self.ends.contains(&token);
        if ends && (!self.ignore_eos || self.constraint.is_some()) {
            return Ok(Some(FinishReason::Eos));
        }
        if let Some(reason) = self.take(session, token)? {
            return Ok(Some(reason));
        }
        let Some(constraint) = &mut self.constraint else { return Ok(None) };
        let forced = if self.takes_forced { constraint.forced() } else { Vec::new() };
        for token in forced {
            if self.n_generated >= self.max_tokens {
                break;
            }
            if let Some(reason) = self.take(session, token)? {
                return Ok(Some(reason));
            }
        }
        let complete = self.constraint.as_ref().is_some_and(Constraint::is_complete);
        Ok(complete.then_some(FinishReason::Eos))
    }

    /// Makes a token part of the answer.
    fn take(&mut self, session: &mut Session, token: u32) -> Result<Option<FinishReason>, Error> {
        if session.position() == session.context_length() {
            return Ok(Some(FinishReason::ContextFull));
        }
        if let Some(constraint) = &mut self.constraint {
            constraint.accept(token)?;
        }
        self.n_generated += 1;
        session.append(&[token])?;
        self.n_guessed += usize::from(session.due() == 0);
        let text = self.stream.push(token);
        Ok(self.stop.push(text, &mut self.piece).then_some(FinishReason::Stop))
    }
}

/// Pieces as owned strings; [`Generation::advance`] gives them out without allocating.
impl Iterator for Generation<'_> {
    type Item = Result<String, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.advance() {
                Ok(Some("")) => {}
                Ok(Some(piece)) => return Some(Ok(piece.to_owned())),
                Ok(None) => return None,
                Err(error) => return Some(Err(error)),
            }
        }
    }
}
