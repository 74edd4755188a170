//! An opened model: mapped weights, plan, kernels and threads, shared by all its sessions.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use kinglet_formats::kinglet::{KingletFile, Meta};
use kinglet_formats::map::Bytes;
use kinglet_formats::spec::Topology;

use crate::chat::Chat;
use crate::cores;
use crate::embed::Embedder;
use crate::error::Error;
use crate::forward::{Scratch, Step};
use crate::kernels::{self, Kernels};
use crate::kv_cache::KvCache;
use crate::memory::MemoryPlan;
use crate::plan::Network;
use crate::session::{Session, SessionOptions};
use crate::team::Team;
use crate::tokenizer::Tokenizer;

/// Weight bytes that a thread should find in a region before it is worth waking.
const BYTES_PER_THREAD: usize = 96 << 10;
/// Regions of parallel work in a layer.
const REGIONS_PER_LAYER: usize = 5;

/// How to open a model.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ModelOptions {
    /// Threads for each step; `None` takes the machine's physical cores, or fewer for a small model.
    pub threads: Option<usize>,
    /// Name of the kernel set; `None` takes the best one the machine can run (or what the
    /// environment variable `KINGLET_ISA` says).
    pub kernels: Option<String>,
    /// Read the file into memory instead of mapping it.
    pub read_into_memory: bool,
    /// Take followers from rayon's global pool, not from a pool of the model's own: where only the
    /// application can start threads, as on the web. One thread of it for each beyond the first.
    pub global_pool: bool,
}

impl ModelOptions {
    /// Sets the number of threads.
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = Some(threads);
        self
    }

    /// Sets the kernel set by name.
    pub fn kernels(mut self, name: impl Into<String>) -> Self {
        self.kernels = Some(name.into());
        self
    }

    /// Takes threads from rayon's global pool.
    pub fn global_pool(mut self, yes: bool) -> Self {
        self.global_pool = yes;
        self
    }

    /// Reads the file into memory instead of mapping it, so that it may change on disk.
    pub fn read_into_memory(mut self, yes: bool) -> Self {
        self.read_into_memory = yes;
        self
    }
}

/// A model, cheap to clone and to share between threads.
///
/// ```no_run
/// # fn main() -> Result<(), kinglet::Error> {
/// let model = kinglet::Model::open("smollm2.kinglet")?;
/// let mut session = model.session()?;
/// for piece in session.generate("The sky is", &Default::default())? {
///     print!("{}", piece?);
/// }
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Model(Arc<Inner>);

struct Inner {
    file: KingletFile,
    network: Network,
    kernels: &'static Kernels,
    team: Team,
    tokenizer: Tokenizer,
    embedder: Mutex<Option<Embedder>>,
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Model")
            .field("name", &self.meta().general.name)
            .field("kernels", &self.kernel_set())
            .field("threads", &self.n_threads())
            .finish_non_exhaustive()
    }
}

impl Model {
    /// Opens a `.kinglet` file. Its weights are mapped, not read: pages come in as they are used.
    ///
    /// # Errors
    /// If the file is missing or damaged, or uses blocks this version does not know.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        Self::open_with(path, &ModelOptions::default())
    }

    /// Opens a `.kinglet` file with a choice of threads, kernels or memory.
    ///
    /// # Errors
    /// As [`Model::open`], or if the kernel set is unknown or cannot run here.
    pub fn open_with(path: impl AsRef<Path>, options: &ModelOptions) -> Result<Self, Error> {
        let file = if options.read_into_memory {
            let bytes =
                Bytes::read(path.as_ref()).map_err(kinglet_formats::kinglet::KingletError::from)?;
            KingletFile::from_bytes(bytes)?
        } else {
            KingletFile::open(path.as_ref())?
        };
        Self::from_file(file, options)
    }

    /// Takes a file that is already open, for instance one downloaded into memory.
    ///
    /// # Errors
    /// As [`Model::open_with`].
    pub fn from_file(file: KingletFile, options: &ModelOptions) -> Result<Self, Error> {
        let kernels = match &options.kernels {
            Some(name) => kernels::by_name(name)?,
            None => kernels::select()?,
        };
        let section = TokenizerSection(file.clone());
        let len = section.as_ref().len();
        let tokenizer = Tokenizer::from_shared(Arc::new(section), 0..len)?;
        let threads = match options.threads {
            Some(0) => {
                return Err(Error::InvalidOption {
                    name: "threads",
                    value: "0".to_owned(),
                    range: "1 or more",
                });
            }
            Some(n) => n.min(MAX_THREADS),
            None => default_threads(&file),
        };
        let network = Network::bind(&file, &file.meta().spec, threads)?;
        let team = Team::new(threads, options.global_pool)?;
        let embedder = Mutex::new(None);
        Ok(Self(Arc::new(Inner { file, network, kernels, team, tokenizer, embedder })))
    }

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

    /// A conversation, through the chat template of the file.
    ///
    /// # Errors
    /// As [`Model::session`], or if the model has no chat template or a broken one.
    pub fn chat(&self) -> Result<Chat, Error> {
        Chat::new(self.session()?)
    }

    /// One vector per text, in order.
    ///
    /// Texts longer than [`Model::embedding_tokens`] are cut.
    ///
    /// # Errors
    /// If the model is not for embeddings or memory runs out.
    pub fn embed<T: AsRef<str>>(&self, texts: &[T]) -> Result<Vec<Vec<f32>>, Error> {
        self.with_embedder(|embedder| embedder.embed(self, texts))
    }

    /// One vector per list of token ids, special tokens included, in order.
    ///
    /// # Errors
    /// As [`Model::embed`], or if a list is empty or longer than the context.
    pub fn embed_tokens(&self, tokens: &[Vec<u32>]) -> Result<Vec<Vec<f32>>, Error> {
        self.with_embedder(|embedder| embedder.embed_tokens(self, tokens))
    }

    /// What the file says about the model.
    pub fn meta(&self) -> &Meta {
        self.0.file.meta()
    }

    /// The file itself.
    pub fn file(&self) -> &KingletFile {
        &self.0.file
    }

    /// The model's tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.0.tokenizer
    }

    /// Longest sequence in tokens.
    pub fn context_length(&self) -> usize {
        self.0.network.max_positions
    }

    /// Longest text that [`Model::embed`] takes in whole, in tokens.
    pub fn embedding_tokens(&self) -> usize {
        let limit = self.meta().embedding.map_or(usize::MAX, |e| e.max_tokens);
        limit.min(self.context_length())
    }

    /// Number of token ids the network knows.
    pub fn vocab_size(&self) -> usize {
        self.0.network.vocab_size
    }

    /// What working with the model takes of the machine's memory: a session whose context is full,
    /// or, for an embedding model, texts of that length. Nothing is allocated.
    ///
    /// # Errors
    /// If the model can do neither.
    pub fn memory_plan(&self, options: &SessionOptions) -> Result<MemoryPlan, Error> {
        let longest = self.context_length();
        let context_length = options.context_length.map_or(longest, |n| n.clamp(1, longest));
        match self.is_generative() {
            true => Session::plan(self, context_length, options.kv),
            false => Embedder::plan(self, context_length),
        }
    }

    /// Name of the kernel set in use.
    pub fn kernel_set(&self) -> &'static str {
        self.0.kernels.name
    }

    /// Threads of a step.
    pub fn n_threads(&self) -> usize {
        self.0.team.n_threads()
    }

    /// Weight bytes read for each generated token.
    pub fn bytes_per_token(&self) -> usize {
        self.0.network.decode_bytes()
    }

    /// Whether the model generates text.
    pub fn is_generative(&self) -> bool {
        self.0.network.causal && self.0.network.lm_head.is_some()
    }

    /// Whether the file carries a chat template.
    pub fn has_chat_template(&self) -> bool {
        self.meta().chat_template.is_some()
    }

    /// Takes the buffers kept from the last call, or makes new ones while another thread has them.
    fn with_embedder<R>(
        &self,
        work: impl FnOnce(&mut Embedder) -> Result<R, Error>,
    ) -> Result<R, Error> {
        let lock = || self.0.embedder.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = lock().take();
        let mut embedder = kept.map_or_else(|| Embedder::new(self), Ok)?;
        let result = work(&mut embedder);
        *lock() = Some(embedder);
        result
    }

    pub(crate) fn is_eos(&self, token: u32) -> bool {
        self.meta().generation.eos.contains(&token)
    }

    pub(crate) fn kernels(&self) -> &'static Kernels {
        self.0.kernels
    }

    pub(crate) fn network(&self) -> &Network {
        &self.0.network
    }

    pub(crate) fn step<'a>(&'a self, cache: &'a mut KvCache, scratch: &'a mut Scratch) -> Step<'a> {
        Step {
            file: &self.0.file,
            network: &self.0.network,
            kernels: self.0.kernels,
            team: &self.0.team,
            cache,
            scratch,
        }
    }
}

/// The tokenizer's tables, used where they lie in the file.
struct TokenizerSection(KingletFile);

impl AsRef<[u8]> for TokenizerSection {
    fn as_ref(&self) -> &[u8] {
        self.0.tokenizer()
    }
}

/// More threads than any machine this is for has cores.
const MAX_THREADS: usize = 256;

fn default_threads(file: &KingletFile) -> usize {
    let cores = cores::available();
    let spec = &file.meta().spec;
    let layers: usize = spec.stacks.iter().map(|stack| stack.layers.len()).sum();
    let bytes_per_region = file.data_len() as usize / (REGIONS_PER_LAYER * layers.max(1));
    // An encoder's regions carry many tokens each.
    let tokens = if spec.topology == Topology::Decoder { 1 } else { 4 };
    cores.min((bytes_per_region * tokens / BYTES_PER_THREAD).max(1)).min(MAX_THREADS)
}
