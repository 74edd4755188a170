//! A sequence in progress: its tokens, their keys and values, its logits.

mod ahead;
mod answer;
mod compute;
mod lockstep;
mod parts;
mod saved;
mod source;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::Error;
use crate::kv::{KvSequence, KvType};
use crate::limits::BATCH_TOKENS;
use crate::memory::{MemoryPlan, Room};
use crate::model::Model;
use crate::network::BoundInput;

use ahead::Ahead;
pub(in crate::task) use ahead::MOST_AHEAD;
pub(in crate::task) use lockstep::step;
pub(in crate::task) use parts::Computed;

/// How to begin a session.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct SessionOptions {
    /// Most tokens the session can hold; `None` takes what the model was made for, which is the
    /// limit in any case. Memory is taken as it is needed, whatever the limit.
    pub context_length: Option<usize>,
    /// How keys and values are kept.
    pub kv: KvType,
}

impl SessionOptions {
    /// Sets the most tokens the session can hold.
    pub fn context_length(mut self, tokens: usize) -> Self {
        self.context_length = Some(tokens);
        self
    }

    /// Sets how keys and values are kept.
    pub fn kv(mut self, kv: KvType) -> Self {
        self.kv = kv;
        self
    }
}

/// One sequence of tokens. Owned and `Send`: keep it in a struct, move it to a thread.
pub struct Session {
    model: Model,
    /// Number of the stack that generates.
    stack: usize,
    kv: KvSequence,
    /// Keys and values of the source text, of a model that reads one, and its number of tokens.
    source: Option<(KvSequence, usize)>,
    tokens: Vec<u32>,
    /// Leading tokens whose keys and values are in the cache. The logits belong to the last token
    /// if all are.
    computed: usize,
    /// `[vocab_size]` logits after the last token.
    logits: Vec<f32>,
    context_length: usize,
    cancel: CancelToken,
    /// Number of the last generation begun.
    serial: u64,
    /// Most rows of a step.
    most_rows: usize,
    /// What has been computed of tokens that may come.
    ahead: Ahead,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("position", &self.position())
            .field("context_length", &self.context_length)
            .finish_non_exhaustive()
    }
}

/// Stops a computation from another thread; it ends before the next layer.
#[derive(Clone, Debug, Default)]
pub struct CancelToken(Arc<AtomicBool>);

impl CancelToken {
    /// Asks the computation to stop.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether a stop has been asked for.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn clear(&self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

impl Model {
    /// A session with the model's own context length.
    ///
    /// # Errors
    /// If the model has no language-model head or memory runs out.
    pub fn session(&self) -> Result<Session, Error> {
        self.session_with(&SessionOptions::default())
    }

    /// A session that holds at most `context_length` tokens.
    ///
    /// # Errors
    /// As [`Model::session`].
    pub fn session_with_context(&self, context_length: usize) -> Result<Session, Error> {
        self.session_with(&SessionOptions::default().context_length(context_length))
    }

    /// A session with a choice of context length and type of keys and values.
    ///
    /// # Errors
    /// As [`Model::session`].
    pub fn session_with(&self, options: &SessionOptions) -> Result<Session, Error> {
        Session::new(self.clone(), options)
    }

    /// What working with the model takes of the machine's memory: a session whose context is full,
    /// or, for an embedding model, texts of that length. Nothing is allocated.
    ///
    /// # Errors
    /// If the model can do neither.
    pub fn memory_plan(&self, options: &SessionOptions) -> Result<MemoryPlan, Error> {
        let longest = self.context_length();
        let context_length = options.context_length.map_or(longest, |n| n.clamp(1, longest));
        let runner = self.runner();
        let Some(stack) = runner.network.generator() else {
            return self.embedding_plan(context_length);
        };
        let mut room = Room::plan();
        // The longest sound; how long a source text is, nobody knows.
        let reader = &runner.network.stacks[stack];
        let encoder = reader.memory.map(|memory| (memory, &runner.network.stacks[memory]));
        let heard = encoder.filter(|(_, it)| {
            matches!(it.input, BoundInput::Spectrogram(_) | BoundInput::Samples(_))
        });
        let heard_rows = heard.map_or(0, |(_, encoder)| encoder.max_positions);
        runner.workspace(BATCH_TOKENS.min(context_length).max(heard_rows), &mut room)?;
        room.zeroed::<f32>(self.vocab_size())?;
        if let Some((encoder, _)) = heard {
            let layouts = [runner.other_layout(stack, options.kv), runner.passing_layout(encoder)];
            for layout in layouts {
                room.zeroed::<u8>(layout.bytes_for(heard_rows))?;
            }
        }
        let layout = runner.own_layout(stack, options.kv);
        Ok(MemoryPlan::new(&runner.file, context_length, &layout, &room))
    }
}

impl Session {
    fn new(model: Model, options: &SessionOptions) -> Result<Self, Error> {
        let runner = model.runner();
        let Some(stack) = runner.network.generator() else {
            return Err(Error::WrongTask {
                task: "generate text",
                reason: "it has no causal language-model head (is it an embedding model?)"
                    .to_owned(),
            });
        };
        let longest = model.context_length();
        let context_length = options.context_length.map_or(longest, |n| n.min(longest));
        if context_length == 0 {
            return Err(Error::InvalidOption {
                name: "context length",
                value: "0".to_owned(),
                range: "1 or more",
            });
        }
        runner.prepare(BATCH_TOKENS.min(context_length))?;
        Ok(Self {
            stack,
            kv: KvSequence::new(runner.own_layout(stack, options.kv)),
            source: None,
            tokens: Vec::new(),
            computed: 0,
            logits: Room::real().zeroed(model.vocab_size())?,
            context_length,
            cancel: CancelToken::default(),
            serial: 0,
            most_rows: BATCH_TOKENS,
            ahead: Ahead::default(),
            model,
        })
    }

    /// The model this session runs.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Number of tokens held.
    pub fn position(&self) -> usize {
        self.tokens.len()
    }

    /// The tokens held.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Most tokens the session can hold.
    pub fn context_length(&self) -> usize {
        self.context_length
    }

    /// How keys and values are kept.
    pub fn kv_type(&self) -> KvType {
        self.kv.kind()
    }

    /// Bytes of the KV cache now, and for each further token.
    pub fn kv_bytes(&self) -> (usize, usize) {
        (self.kv.bytes(), self.kv.layout().bytes_per_position())
    }

    /// Bytes of the logits and of the buffers of a step, which all sessions of a model share.
    pub fn scratch_bytes(&self) -> usize {
        self.model.runner().buffer_bytes() + size_of_val(&self.logits[..]) + self.ahead.bytes()
    }

    /// A handle that stops this session's work from another thread.
    pub fn cancel_token(&self) -> CancelToken {
        self.cancel.clone()
    }

    /// Forgets all tokens; memory is kept.
    pub fn reset(&mut self) {
        self.truncate(0);
    }

    /// Keeps the first `n_tokens` tokens.
    pub fn truncate(&mut self, n_tokens: usize) {
        if n_tokens < self.tokens.len() {
            self.tokens.truncate(n_tokens);
            // The last token is computed again, for its logits.
            self.rewind(n_tokens.saturating_sub(1));
        }
    }

    /// At most `n` tokens count as computed.
    fn rewind(&mut self, n: usize) {
        self.ahead.clear();
        if n < self.computed {
            self.computed = if self.kv.rewinds() { n } else { 0 };
            if self.computed == 0 {
                self.kv.reset_states();
            }
        }
    }

    /// A second session with the same tokens, which goes its own way from here. What has been
    /// computed is shared until one of the two writes there.
    ///
    /// # Errors
    /// If memory runs out.
    pub fn fork(&self) -> Result<Self, Error> {
        let kv = self.kv.fork(self.model.runner().kernels, self.computed)?;
        let mut logits: Vec<f32> = Room::real().zeroed(self.logits.len())?;
        logits.copy_from_slice(&self.logits);
        Ok(Self {
            model: self.model.clone(),
            stack: self.stack,
            kv,
            source: self.source.clone(),
            tokens: self.tokens.clone(),
            computed: self.computed,
            logits,
            context_length: self.context_length,
            cancel: CancelToken::default(),
            serial: 0,
            most_rows: BATCH_TOKENS,
            ahead: Ahead::default(),
        })
    }

    /// Logits `[vocab_size]` for the token after the last one, as of the last [`Session::feed`].
    pub fn logits(&self) -> &[f32] {
        &self.logits
    }

    /// Appends tokens that are computed when they are needed: by [`Session::feed`], a generation,
    /// or [`Session::compute_all`].
    ///
    /// # Errors
    /// If they do not fit the context, an id is outside the vocabulary, the model reads a source
    /// text and has none, or memory runs out; the session is unchanged then.
    pub fn append(&mut self, tokens: &[u32]) -> Result<(), Error> {
        let vocab_size = self.model.runner().network.stacks[self.stack].n_known();
        if let Some(&id) = tokens.iter().find(|&&id| id as usize >= vocab_size) {
            return Err(Error::TokenOutOfRange { id, vocab_size });
        }
        if self.source.is_none() && self.model.runner().network.stacks[self.stack].memory.is_some()
        {
            return Err(Error::WrongTask {
                task: "continue text by itself",
                reason: "it reads a source text first; give it one with `Session::set_source`"
                    .to_owned(),
            });
        }
        let (used, context_length) = (self.tokens.len(), self.context_length);
        if tokens.len() > context_length - used {
            return Err(Error::ContextFull { used, wanted: tokens.len(), context_length });
        }
        if self.take_guessed(tokens) {
            return Ok(());
        }
        self.reserve(used + tokens.len())?;
        self.tokens.extend_from_slice(tokens);
        Ok(())
    }

    /// Allocates keys, values and buffers for `n_tokens` tokens in all, so that feeding up to
    /// there allocates nothing.
    ///
    /// # Errors
    /// If memory runs out.
    pub fn reserve(&mut self, n_tokens: usize) -> Result<(), Error> {
        let n_tokens = n_tokens.min(self.context_length);
        let written = self.computed + self.ahead.left();
        self.kv.reserve(self.model.runner().kernels, written, n_tokens)?;
        let more = n_tokens.saturating_sub(self.tokens.len());
        self.tokens
            .try_reserve(more)
            .map_err(|_| Error::OutOfMemory { what: "tokens", bytes: more.saturating_mul(4) })
    }
}
