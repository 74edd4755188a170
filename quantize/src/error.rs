//! Why a checkpoint could not be converted.

use std::path::PathBuf;

use kinglet_formats::checkpoint::{CheckpointError, TensorInfo};
use kinglet_formats::kinglet::KingletError;
use kinglet_formats::layout::EncodeError;
use thiserror::Error;

use crate::tokenizer::CompileError;

/// Why a checkpoint could not be converted. Every message names the file, key or tensor at fault.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum QuantizeError {
    /// The operating system refused to read or write a file.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The path is no checkpoint of a known kind.
    #[error(
        "{}: {found}; a checkpoint is a GGUF file, a Hugging Face folder, or a .safetensors, .bin, .pt or \
         .onnx file beside its config.json and tokenizer",
        path.display()
    )]
    NotACheckpoint {
        /// What was opened.
        path: PathBuf,
        /// What it looks like instead.
        found: String,
    },
    /// No labels can be learned on a model.
    #[error("no labels can be learned on this model: {reason}")]
    NotForFitting {
        /// Why.
        reason: String,
    },
    /// A file that the conversion needs is not there.
    #[error("{}: {file} is missing; {why}", folder.display())]
    MissingFile {
        /// Where it was looked for.
        folder: PathBuf,
        /// Its name.
        file: String,
        /// What it is needed for.
        why: &'static str,
    },
    /// A JSON file is malformed.
    #[error("{file}: not valid JSON: {source}")]
    Json {
        /// The file.
        file: String,
        /// Where and how.
        source: serde_json::Error,
    },
    /// A file that is something else than its name says.
    #[error("{file}: {found}")]
    WrongContent {
        /// The file.
        file: String,
        /// What it is instead, and what to do.
        found: String,
    },
    /// The path leads to something that belongs to models, but is none.
    #[error("{}: this is {what}, not a model; {remedy}", path.display())]
    NotAModel {
        /// What was opened.
        path: PathBuf,
        /// What it is.
        what: String,
        /// What to do.
        remedy: &'static str,
    },
    /// The folder holds no model, but a place nearby does.
    #[error("{}: config.json is missing; the model is in {}", folder.display(), listed(nearby))]
    OtherPlace {
        /// What was opened.
        folder: PathBuf,
        /// Where models are.
        nearby: Vec<PathBuf>,
    },
    /// A file that should be small is not.
    #[error("{file}: {bytes} bytes, at most {limit} are read")]
    TooLarge {
        /// The file.
        file: String,
        /// Its size.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// A required key is absent.
    #[error("{file}: key `{key}` is missing")]
    MissingKey {
        /// The file.
        file: String,
        /// The key, with its parents.
        key: String,
    },
    /// A key holds something that makes no sense there.
    #[error("{file}: key `{key}` is {found}, expected {expected}")]
    BadKey {
        /// The file.
        file: String,
        /// The key, with its parents.
        key: String,
        /// What it holds.
        found: String,
        /// What it may hold.
        expected: String,
    },
    /// No family maps this architecture.
    #[error("{file}: architecture `{found}` is not supported; supported: {supported}")]
    UnsupportedArchitecture {
        /// The file that names it.
        file: String,
        /// The architecture.
        found: String,
        /// All supported ones.
        supported: String,
    },
    /// The architecture is known, but one of its options is not.
    #[error("{file}: {option} = {found} is not supported; supported: {supported}")]
    UnsupportedOption {
        /// The file that asks for it.
        file: String,
        /// The option, usually a key.
        option: String,
        /// What it asks for.
        found: String,
        /// What would work.
        supported: String,
    },
    /// The checkpoint has no tensor for a part of the model.
    #[error("tensor `{canonical}`: the checkpoint has no `{looked_for}`")]
    MissingTensor {
        /// Its name in the `.kinglet` file.
        canonical: String,
        /// Its name in the checkpoint.
        looked_for: String,
    },
    /// The tokenizer lacks a token that the model cannot do without.
    #[error("the tokenizer has no token `{token}`, by which such a model is asked")]
    MissingToken {
        /// Its text.
        token: String,
    },
    /// A tensor's shape contradicts the configuration.
    #[error("tensor `{name}`: shape {found:?}, expected {expected:?} from the configuration")]
    Shape {
        /// Its name in the checkpoint.
        name: String,
        /// The shape found.
        found: Vec<usize>,
        /// The shape that follows from the configuration.
        expected: Vec<usize>,
    },
    /// A weight is stored as integers, whose meaning is not in the checkpoint.
    #[error("tensor `{name}`: {found} weights are not supported; f32, f16 or bf16 are")]
    NotFloat {
        /// Its name in the checkpoint.
        name: String,
        /// Its type.
        found: String,
    },
    /// The checkpoint holds weights that the mapping does not use: the result would compute
    /// something else than the checkpoint means.
    #[error(
        "{count} tensors of the checkpoint have no place in the model, first: {first:?}; \
         the checkpoint is not a plain {family} model"
    )]
    UnmappedTensors {
        /// The family that was tried.
        family: &'static str,
        /// How many.
        count: usize,
        /// The first few names.
        first: Vec<String>,
    },
    /// The configuration leads to a network that makes no sense.
    #[error(transparent)]
    Spec(kinglet_formats::spec::SpecError),
    /// A number of the configuration leads to sizes beyond what can be addressed.
    #[error("tensor `{name}`: its size overflows")]
    SizeOverflow {
        /// Its name in the `.kinglet` file.
        name: String,
    },
    /// A weight is NaN, infinite or beyond what the layout can hold.
    #[error("tensor `{tensor}`: {source}")]
    Encode {
        /// Its name in the checkpoint.
        tensor: String,
        /// Where and what.
        source: EncodeError,
    },
    /// A pattern of tensors to keep in f16 matches none.
    #[error("pattern `{pattern}` to keep in f16 matches no matrix; names look like `{example}`")]
    PatternMatchesNothing {
        /// The pattern.
        pattern: String,
        /// The name of some matrix.
        example: String,
    },
    /// The output would overwrite an input.
    #[error("{}: the output is one of the inputs", path.display())]
    OutputIsInput {
        /// The path.
        path: PathBuf,
    },
    /// The tokenizer could not be compiled.
    #[error("{}: {source}", file.display())]
    Tokenizer {
        /// The file it comes from.
        file: PathBuf,
        /// Why.
        source: CompileError,
    },
    /// The checkpoint's bytes are malformed.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The result could not be encoded or written.
    #[error(transparent)]
    Output(#[from] KingletError),
    /// The worker threads could not be started.
    #[error("worker threads: {0}")]
    Threads(String),
    /// The progress callback asked to stop.
    #[error("cancelled")]
    Cancelled,
}

fn listed(paths: &[PathBuf]) -> String {
    let names: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    names.join(" or ")
}

impl QuantizeError {
    /// A tensor whose shape is not the one that others or the configuration call for.
    pub(crate) fn shape(info: &TensorInfo, expected: Vec<usize>) -> Self {
        Self::Shape { name: info.name.clone(), found: info.dims.clone(), expected }
    }

    pub(crate) fn io(path: &std::path::Path, source: std::io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }
}
