//! A sequence in progress: its tokens, their KV cache and the buffers of a step.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::Error;
use crate::forward::{Batch, Scratch};
use crate::generate::{GenerateOptions, Generation, GenerationState};
use crate::kv_cache::{KvCache, KvType};
use crate::memory::{MemoryPlan, Room};
use crate::model::Model;
use crate::sampler::Sampler;
use crate::session_file::{self, Expected};
use crate::tokenizer::EncodeOptions;

/// Tokens of a prompt that go through the network together.
const BATCH_TOKENS: usize = 256;
/// Logits computed together while scoring a text.
const SCORE_ROWS: usize = 16;

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
    cache: KvCache,
    scratch: Scratch,
    batch: Batch,
    tokens: Vec<u32>,
    /// Leading tokens whose keys and values are in the cache. The logits belong to the last token
    /// if all are.
    computed: usize,
    /// `[vocab_size]` logits after the last token.
    logits: Vec<f32>,
    /// Bytes of scratch and logits.
    buffer_bytes: usize,
    context_length: usize,
    cancel: CancelToken,
    /// Number of the last generation begun.
    serial: u64,
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

/// Scratch and logits of a session.
fn buffers(
    model: &Model,
    context_length: usize,
    room: &mut Room,
) -> Result<(Scratch, Vec<f32>), Error> {
    let network = model.network();
    let capacity = BATCH_TOKENS.min(context_length);
    let scratch = Scratch::new(network, capacity, model.n_threads(), room)?;
    Ok((scratch, room.zeroed(network.vocab_size)?))
}

impl Session {
    /// What a session with a full context would take.
    pub(crate) fn plan(
        model: &Model,
        context_length: usize,
        kv: KvType,
    ) -> Result<MemoryPlan, Error> {
        let mut room = Room::plan();
        buffers(model, context_length, &mut room)?;
        let shapes = model.network().layers.iter().map(|layer| layer.kv_shape());
        let cache = KvCache::new(kv, shapes);
        Ok(MemoryPlan::new(model.file(), context_length, &cache, &room))
    }

    pub(crate) fn new(model: Model, options: &SessionOptions) -> Result<Self, Error> {
        if !model.is_generative() {
            return Err(Error::WrongTask {
                task: "generate text",
                reason: "it has no causal language-model head (is it an embedding model?)"
                    .to_owned(),
            });
        }
        let longest = model.context_length();
        let context_length = options.context_length.map_or(longest, |n| n.min(longest));
        if context_length == 0 {
            return Err(Error::InvalidOption {
                name: "context length",
                value: "0".to_owned(),
                range: "1 or more",
            });
        }
        let network = model.network();
        let cache = KvCache::new(options.kv, network.layers.iter().map(|layer| layer.kv_shape()));
        let mut room = Room::real();
        let (scratch, logits) = buffers(&model, context_length, &mut room)?;
        Ok(Self {
            cache,
            batch: Batch::with_capacity(scratch.capacity()),
            scratch,
            tokens: Vec::new(),
            computed: 0,
            logits,
            buffer_bytes: room.bytes(),
            context_length,
            cancel: CancelToken::default(),
            serial: 0,
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
        self.cache.kind()
    }

    /// Bytes of the KV cache now, and for each further token.
    pub fn kv_bytes(&self) -> (usize, usize) {
        (self.cache.bytes(), self.cache.bytes_per_position())
    }

    /// Bytes of the buffers of a step.
    pub fn scratch_bytes(&self) -> usize {
        self.buffer_bytes
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
            self.computed = self.computed.min(n_tokens.saturating_sub(1));
        }
    }

    /// A second session with the same tokens, which goes its own way from here. What has been
    /// computed is copied, not computed again.
    ///
    /// # Errors
    /// If memory runs out.
    pub fn fork(&self) -> Result<Self, Error> {
        let cache = self.cache.fork(self.model.kernels(), self.computed)?;
        let mut room = Room::real();
        let (scratch, mut logits) = buffers(&self.model, self.context_length, &mut room)?;
        logits.copy_from_slice(&self.logits);
        Ok(Self {
            model: self.model.clone(),
            cache,
            batch: Batch::with_capacity(scratch.capacity()),
            scratch,
            tokens: self.tokens.clone(),
            computed: self.computed,
            logits,
            buffer_bytes: room.bytes(),
            context_length: self.context_length,
            cancel: CancelToken::default(),
            serial: 0,
        })
    }

    /// Writes the tokens, keys and values, to be read by [`Session::load`]. Whoever reads the file
    /// can read the conversation.
    ///
    /// # Errors
    /// If writing fails.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::io::{BufReader, BufWriter, Write};
    ///
    /// let model = kinglet::Model::open("smollm2.kinglet")?;
    /// let mut session = model.session()?;
    /// session.feed(&[1, 2, 3])?;
    /// let mut file = BufWriter::new(std::fs::File::create("birds.session")?);
    /// session.save(&mut file)?;
    /// file.flush()?;
    ///
    /// let mut file = BufReader::new(std::fs::File::open("birds.session")?);
    /// let session = kinglet::Session::load(&model, &mut file)?;
    /// assert_eq!(session.tokens(), [1, 2, 3]);
    /// # Ok(()) }
    /// ```
    pub fn save(&self, out: &mut dyn Write) -> Result<(), Error> {
        let (kernels, model) = (self.model.kernels(), self.model.file().hash());
        session_file::write(out, kernels, model, &self.tokens, self.computed, &self.cache)
    }

    /// Reads a session saved with the same model, on this machine or another one. It has the
    /// model's context length, and keeps keys and values as they were kept.
    ///
    /// # Errors
    /// If reading fails, the bytes are no sound saved session or that of another model, or memory
    /// runs out.
    pub fn load(model: &Model, input: &mut dyn Read) -> Result<Self, Error> {
        let mut session = Self::new(model.clone(), &SessionOptions::default())?;
        let expected = Expected {
            model: model.file().hash(),
            vocab_size: model.vocab_size(),
            context_length: session.context_length,
        };
        let shapes = || model.network().layers.iter().map(|layer| layer.kv_shape());
        let saved = session_file::read(input, &expected, |kv| KvCache::new(kv, shapes()))?;
        session.cache = saved.cache;
        session.cache.reserve(saved.tokens.len())?;
        // The last token is computed again, for its logits.
        session.computed = saved.computed.min(saved.tokens.len().saturating_sub(1));
        session.tokens = saved.tokens;
        Ok(session)
    }

    /// Logits `[vocab_size]` for the token after the last one, as of the last [`Session::feed`].
    pub fn logits(&self) -> &[f32] {
        &self.logits
    }

    /// Computes what is due and draws the next token, which becomes part of the session but is
    /// not computed yet. `None` if cancelled.
    pub(crate) fn sample(&mut self, sampler: &mut Sampler) -> Result<Option<u32>, Error> {
        if !self.compute()? {
            return Ok(None);
        }
        Ok(Some(sampler.sample(&mut self.logits, &self.tokens)))
    }

    /// Appends tokens that are computed when they are needed.
    pub(crate) fn append(&mut self, tokens: &[u32]) -> Result<(), Error> {
        let vocab_size = self.model.vocab_size();
        if let Some(&id) = tokens.iter().find(|&&id| id as usize >= vocab_size) {
            return Err(Error::TokenOutOfRange { id, vocab_size });
        }
        let (used, context_length) = (self.tokens.len(), self.context_length);
        if tokens.len() > context_length - used {
            return Err(Error::ContextFull { used, wanted: tokens.len(), context_length });
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
        self.cache.reserve(n_tokens)?;
        let more = n_tokens.saturating_sub(self.tokens.len());
        self.tokens
            .try_reserve(more)
            .map_err(|_| Error::OutOfMemory { what: "tokens", bytes: more * 4 })
    }

    /// Appends tokens and computes the logits after the last of them.
    ///
    /// A cancelled call returns `false`; it keeps the tokens that were computed.
    ///
    /// # Errors
    /// If they do not fit the context, an id is outside the vocabulary, or memory runs out.
    pub fn feed(&mut self, tokens: &[u32]) -> Result<bool, Error> {
        if tokens.is_empty() && self.computed == self.tokens.len() {
            return Err(Error::Empty { what: "the list of tokens" });
        }
        self.append(tokens)?;
        self.compute()
    }

    /// Computes the tokens that are due, and the logits after the last.
    fn compute(&mut self) -> Result<bool, Error> {
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
        if self.computed < self.tokens.len() {
            let Some(rows) = self.run_batch()? else {
                self.tokens.truncate(self.computed);
                return Ok(None);
            };
            if self.computed == self.tokens.len() {
                let mut step = self.model.step(&mut self.cache, &mut self.scratch);
                step.logits(rows - 1..rows, &mut self.logits)?;
            }
        }
        Ok(Some(self.tokens.len() - self.computed))
    }

    /// Runs the next batch of tokens that are due; gives their number, or `None` if cancelled.
    fn run_batch(&mut self) -> Result<Option<usize>, Error> {
        let due = &self.tokens[self.computed..];
        let due = &due[..due.len().min(self.scratch.capacity())];
        self.batch.clear();
        self.batch.push_sequence(due, self.computed, true);
        let cancel = &self.cancel;
        let mut step = self.model.step(&mut self.cache, &mut self.scratch);
        let finished = step.run(&self.batch, &|| !cancel.is_cancelled())?;
        if !finished {
            return Ok(None);
        }
        self.computed += self.batch.len();
        Ok(Some(self.batch.len()))
    }

    /// Appends tokens and calls `visit(index, logits)` with the logits after each token from
    /// index `from` on: what the model expects as token `index + 1`.
    ///
    /// # Errors
    /// As [`Session::feed`].
    pub fn score(
        &mut self,
        tokens: &[u32],
        from: usize,
        mut visit: impl FnMut(usize, &[f32]),
    ) -> Result<(), Error> {
        self.compute()?;
        let (start, vocab_size) = (self.tokens.len(), self.model.vocab_size());
        let mut logits = vec![0.0; SCORE_ROWS * vocab_size];
        self.append(tokens)?;
        while self.computed < self.tokens.len() {
            let first = self.computed - start;
            let Some(rows) = self.run_batch()? else {
                self.tokens.truncate(self.computed);
                return Ok(());
            };
            let mut row = from.saturating_sub(first);
            while row < rows {
                let end = rows.min(row + SCORE_ROWS);
                let logits = &mut logits[..(end - row) * vocab_size];
                let mut step = self.model.step(&mut self.cache, &mut self.scratch);
                step.logits(row..end, logits)?;
                for (r, logits) in (row..).zip(logits.chunks_exact(vocab_size)) {
                    visit(first + r, logits);
                }
                row = end;
            }
        }
        // The session's own logits were not computed: the last token is due again.
        self.computed = self.computed.saturating_sub(1);
        Ok(())
    }

    /// Continues the session with `prompt` and generates text.
    ///
    /// The prompt is plain text: markers of special tokens in it are not special. At the start of
    /// a session the model's leading token (BOS) is added, where it has one.
    ///
    /// # Errors
    /// If an option is out of range or the prompt does not fit the context.
    pub fn generate(
        &mut self,
        prompt: &str,
        options: &GenerateOptions,
    ) -> Result<Generation<'_>, Error> {
        let tokens = self.encode(prompt, self.tokens.is_empty());
        self.generate_from(tokens, options)
    }

    /// Continues the session with prompt tokens and generates text.
    ///
    /// # Errors
    /// As [`Session::generate`].
    pub fn generate_from(
        &mut self,
        prompt: Vec<u32>,
        options: &GenerateOptions,
    ) -> Result<Generation<'_>, Error> {
        let state = self.begin(&prompt, options)?;
        Ok(Generation::new(self, state))
    }

    /// Starts over with `prompt` and generates text, by the state alone. What the session holds of
    /// the prompt already is not computed again.
    ///
    /// # Errors
    /// As [`Session::generate`].
    pub fn restart(
        &mut self,
        prompt: &str,
        options: &GenerateOptions,
    ) -> Result<GenerationState, Error> {
        let tokens = self.encode(prompt, true);
        let keep = self.keep_prefix(&tokens)?;
        self.begin(&tokens[keep..], options)
    }

    /// Appends `prompt` and begins a generation.
    pub(crate) fn begin(
        &mut self,
        prompt: &[u32],
        options: &GenerateOptions,
    ) -> Result<GenerationState, Error> {
        self.cancel.clear();
        GenerationState::new(self, prompt, options)
    }

    /// Truncates the session to the longest start that it has computed of `tokens`, but for the
    /// last of them, which is always fed, for its logits. Gives the number of tokens kept. The
    /// session is unchanged if `tokens` do not fit the context.
    pub(crate) fn keep_prefix(&mut self, tokens: &[u32]) -> Result<usize, Error> {
        let same = self.tokens.iter().zip(tokens).take_while(|(a, b)| a == b).count();
        let keep = same.min(self.computed).min(tokens.len().saturating_sub(1));
        let (wanted, context_length) = (tokens.len() - keep, self.context_length);
        if wanted > context_length - keep {
            return Err(Error::ContextFull { used: keep, wanted, context_length });
        }
        self.truncate(keep);
        Ok(keep)
    }

    /// The number of the last generation begun in this session.
    pub(crate) fn serial(&self) -> u64 {
        self.serial
    }

    /// Ends all earlier generations of this session.
    pub(crate) fn new_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    fn encode(&self, prompt: &str, add_special: bool) -> Vec<u32> {
        let options = EncodeOptions { add_special, parse_special: false };
        self.model.tokenizer().encode(prompt, options)
    }
}
