//! What can go wrong between a file and an answer.

mod session_file;

pub(crate) use session_file::SESSION_VERSION;
pub use session_file::SessionFileError;

use thiserror::Error;

use kinglet_formats::kinglet::KingletError;

use crate::kernels::KernelError;
use crate::tokenizer::TokenizerError;

/// Why a model could not be opened or a request could not be served.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The file is not a sound `.kinglet` file.
    #[error(transparent)]
    File(#[from] KingletError),
    /// The tokenizer section is not sound.
    #[error("tokenizer: {0}")]
    Tokenizer(#[from] TokenizerError),
    /// No kernel set can be used.
    #[error(transparent)]
    Kernels(#[from] KernelError),
    /// A session could not be saved or loaded.
    #[error(transparent)]
    SessionFile(#[from] SessionFileError),
    /// The model uses a block this version cannot execute.
    #[error("this version of Kinglet cannot run {what}; a newer version may")]
    Unsupported {
        /// The block and where it was found.
        what: String,
    },
    /// A tensor that the spec calls for is not in the file.
    #[error("the file has no tensor `{name}`, which its spec calls for; convert the model again")]
    MissingTensor {
        /// Canonical name.
        name: String,
    },
    /// A tensor has other dimensions or another layout than the spec calls for.
    #[error("tensor `{name}`: {expected} expected, {found} found; convert the model again")]
    WrongTensor {
        /// Canonical name.
        name: String,
        /// What the spec calls for.
        expected: String,
        /// What the file has.
        found: String,
    },
    /// The model has no head for the task.
    #[error("the model cannot {task}: {reason}")]
    WrongTask {
        /// What was asked for.
        task: &'static str,
        /// What the model is for.
        reason: String,
    },
    /// A translator has several languages and none was named.
    #[error("the language to translate {side} is missing; the model knows {}", known.join(", "))]
    LanguageMissing {
        /// `from` or `to`.
        side: &'static str,
        /// The codes that it knows.
        known: Vec<String>,
    },
    /// The text does not fit the context.
    #[error(
        "{wanted} tokens do not fit: {used} of the context of {context_length} are in use; \
         reset or shorten the session, or open it with a larger context"
    )]
    ContextFull {
        /// Tokens already held.
        used: usize,
        /// Tokens to add.
        wanted: usize,
        /// Size of the session's context.
        context_length: usize,
    },
    /// A text is longer than the model takes, where none of it may be left out.
    #[error("{what} has {tokens} tokens, the model takes {limit}; shorten it")]
    TextTooLong {
        /// Which text.
        what: String,
        /// Its tokens, special ones included.
        tokens: usize,
        /// Tokens that fit.
        limit: usize,
    },
    /// A text has no gap to fill.
    #[error("text {text} has no mask; this model's mask is spelled `{mask}`")]
    NoMask {
        /// Its number, from 1.
        text: usize,
        /// The mask.
        mask: String,
    },
    /// A text names a segment that the model does not know.
    #[error("the tokenizer's template has segment {segment}, the model knows {n_segments}")]
    SegmentOutOfRange {
        /// The segment.
        segment: u32,
        /// Rows of the segment table.
        n_segments: usize,
    },
    /// A token id outside the vocabulary.
    #[error("token id {id} is outside the vocabulary of {vocab_size}")]
    TokenOutOfRange {
        /// The id.
        id: u32,
        /// Rows of the embedding table.
        vocab_size: usize,
    },
    /// An image is not of the size that it is said to have.
    #[error(
        "an image of {width} x {height} with {levels} levels; give 3 levels for each pixel, of at least one"
    )]
    WrongImage {
        /// Pixels of a line.
        width: usize,
        /// Lines.
        height: usize,
        /// Levels that were given.
        levels: usize,
    },
    /// There is nothing to compute.
    #[error("{what} is empty")]
    Empty {
        /// The input.
        what: &'static str,
    },
    /// An input has a value that is NaN or infinite.
    #[error("{what} has a value that is no finite number, at {at}")]
    NotANumber {
        /// The input.
        what: &'static str,
        /// Where, counted in values.
        at: usize,
    },
    /// A model that translates or writes speech down does not know a language.
    #[error("the model does not know the language {code:?}; it knows {}", known.join(", "))]
    UnknownLanguage {
        /// Its code.
        code: String,
        /// The codes that it knows.
        known: Vec<String>,
    },
    /// An option has a value outside its range.
    #[error("{name} is {value}, but must be {range}")]
    InvalidOption {
        /// The option.
        name: &'static str,
        /// Its value.
        value: String,
        /// The values allowed.
        range: &'static str,
    },
    /// The model has no prompt of this name.
    #[error("the model has no prompt {name:?}{}", prompts_known(known))]
    UnknownPrompt {
        /// The name.
        name: String,
        /// The names it has.
        known: Vec<String>,
    },
    /// The chat template is missing, broken or too costly.
    #[error("chat template: {reason}")]
    Template {
        /// The template engine's words.
        reason: String,
    },
    /// Memory could not be had.
    #[error("{bytes} bytes for {what} could not be allocated; use a shorter context")]
    OutOfMemory {
        /// What for.
        what: &'static str,
        /// How much.
        bytes: usize,
    },
    /// The form of an answer cannot be read, or cannot be kept to.
    #[error("the form of the answer: {reason}")]
    Form {
        /// What is wrong with it.
        reason: String,
    },
    /// A scheduler has as many requests as it may have.
    #[error("{waiting} requests are waiting already; try again later, or let more of them wait")]
    Busy {
        /// Requests that wait.
        waiting: usize,
    },
    /// Threads could not be started.
    #[error("{wanted} threads could not be started: {reason}")]
    Threads {
        /// How many.
        wanted: usize,
        /// The system's words.
        reason: String,
    },
    /// A thread panicked while computing; the session's last step is lost, the model is intact.
    #[error("internal error, a computation panicked: {message}")]
    WorkerPanicked {
        /// The panic's message.
        message: String,
    },
    /// The model gave NaN or infinite results.
    #[error(
        "the model's {what} are not finite numbers; the file may be damaged: run `kinglet verify`"
    )]
    NotFinite {
        /// Which results.
        what: &'static str,
    },
}

fn prompts_known(known: &[String]) -> String {
    match known {
        [] => ": it has none".to_owned(),
        known => format!("; it has {}", known.join(", ")),
    }
}
