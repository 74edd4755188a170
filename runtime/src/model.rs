//! An opened model: mapped weights, plan, kernels and threads, shared by all its sessions.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use kinglet_formats::kinglet::{KingletFile, Meta};
use kinglet_formats::map::Bytes;

use crate::cores;
use crate::error::Error;
use crate::kernels;
use crate::network::Network;
use crate::ops::Moments;
use crate::runner::Runner;
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
    /// Keep how large what goes into each matrix is, for [`Model::input_moments`]. It takes time.
    pub watch_inputs: bool,
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

    /// Keeps how large what goes into each matrix is.
    pub fn watch_inputs(mut self, yes: bool) -> Self {
        self.watch_inputs = yes;
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
    runner: Runner,
    tokenizer: Tokenizer,
    /// Made when a form is first asked for.
    #[cfg(feature = "grammar")]
    vocabulary: std::sync::OnceLock<crate::task::form::Vocabulary>,
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
        let tokenizer = match len {
            0 => Tokenizer::none()?,
            _ => Tokenizer::from_shared(Arc::new(section), 0..len)?,
        };
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
        let moments = options.watch_inputs.then(Moments::default);
        let runner = Runner::new(file, network, kernels, team, moments);
        Ok(Self(Arc::new(Inner {
            runner,
            tokenizer,
            #[cfg(feature = "grammar")]
            vocabulary: Default::default(),
        })))
    }

    /// What the file says about the model.
    pub fn meta(&self) -> &Meta {
        self.0.runner.file.meta()
    }

    /// The file itself.
    pub fn file(&self) -> &KingletFile {
        &self.0.runner.file
    }

    /// The model's tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.0.tokenizer
    }

    /// Longest sequence in tokens: of the stack that generates, or else of the one that reads.
    pub fn context_length(&self) -> usize {
        let network = &self.0.runner.network;
        network.stacks[network.generator().unwrap_or(network.entry())].max_positions
    }

    /// Number of token ids the network knows.
    pub fn vocab_size(&self) -> usize {
        let network = &self.0.runner.network;
        network.stacks[network.generator().unwrap_or(network.entry())].vocab_size()
    }

    /// Name of the kernel set in use.
    pub fn kernel_set(&self) -> &'static str {
        self.0.runner.kernels.name
    }

    /// Threads of a step.
    pub fn n_threads(&self) -> usize {
        self.0.runner.team.n_threads()
    }

    /// Weight bytes read for each generated token.
    pub fn bytes_per_token(&self) -> usize {
        self.0.runner.network.decode_bytes()
    }

    /// The mean square of each column of what went into each matrix so far, `[k]`, by the matrix's
    /// name: what its errors weigh when it is quantized. Empty unless the model was opened with
    /// [`ModelOptions::watch_inputs`].
    pub fn input_moments(&self) -> BTreeMap<String, Vec<f32>> {
        let means = self.0.runner.moments.as_ref().map(Moments::means).unwrap_or_default();
        let name = |tensor: usize| self.file().tensors()[tensor].name.clone();
        means.into_iter().map(|(tensor, mean)| (name(tensor), mean)).collect()
    }

    /// Whether the model generates text.
    pub fn is_generative(&self) -> bool {
        self.0.runner.network.generator().is_some()
    }

    /// Whether what it generates answers a source: a text to translate, or sound.
    pub fn reads_source(&self) -> bool {
        let network = &self.0.runner.network;
        network.generator().is_some_and(|stack| network.stacks[stack].memory.is_some())
    }

    /// Whether the file carries a chat template.
    pub fn has_chat_template(&self) -> bool {
        self.meta().chat_template.is_some()
    }

    pub(crate) fn is_eos(&self, token: u32) -> bool {
        self.meta().generation.eos.contains(&token)
    }

    /// Whether this is the same opened model as `other`.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The vocabulary as grammars see it.
    #[cfg(feature = "grammar")]
    pub(crate) fn vocabulary(&self) -> Result<&crate::task::form::Vocabulary, Error> {
        if let Some(made) = self.0.vocabulary.get() {
            return Ok(made);
        }
        let made = crate::task::form::Vocabulary::new(self)?;
        Ok(self.0.vocabulary.get_or_init(|| made))
    }

    pub(crate) fn runner(&self) -> &Runner {
        &self.0.runner
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
    let tokens = if spec.generates() { 1 } else { 4 };
    cores.min((bytes_per_region * tokens / BYTES_PER_THREAD).max(1)).min(MAX_THREADS)
}
