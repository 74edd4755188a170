//! Why a checkpoint could not be read: one variant per cause, with the file, the names and the numbers.

use std::path::PathBuf;

use thiserror::Error;

use super::gguf::GgufProblem;
use super::{
    Ct2Problem, DType, GgmlProblem, MarianProblem, OnnxProblem, PytorchProblem, SafetensorsProblem,
};
use crate::map::MapError;

/// Why a checkpoint could not be read.
#[derive(Debug, Error)]
#[non_exhaustive]
#[allow(missing_docs)] // each variant's message says what its fields are
pub enum CheckpointError {
    #[error(transparent)]
    Map(#[from] MapError),
    #[error("{}: not a checkpoint that Kinglet reads (safetensors, GGUF, PyTorch, ONNX, CTranslate2, Marian, whisper.cpp): {hint}", .file.display())]
    UnknownKind { file: PathBuf, hint: String },
    #[error("{}: no checkpoint in this folder; looked for {looked_for}", .folder.display())]
    NothingInFolder { folder: PathBuf, looked_for: String },
    #[error("{}: {problem}", .file.display())]
    Safetensors { file: PathBuf, problem: SafetensorsProblem },
    #[error("{}: {problem}", .file.display())]
    Gguf { file: PathBuf, problem: GgufProblem },
    #[error("{}: {problem}", .file.display())]
    Pytorch { file: PathBuf, problem: PytorchProblem },
    #[error("{}: {problem}", .file.display())]
    Onnx { file: PathBuf, problem: OnnxProblem },
    #[error("{}: {problem}", .file.display())]
    Ct2 { file: PathBuf, problem: Ct2Problem },
    #[error("{}: {problem}", .file.display())]
    Ggml { file: PathBuf, problem: GgmlProblem },
    #[error("{}: {problem}", .file.display())]
    Marian { file: PathBuf, problem: MarianProblem },
    #[error("{}: {problem}", .file.display())]
    Index { file: PathBuf, problem: IndexProblem },
    #[error("{}: tensor {tensor}: {problem}", .file.display())]
    Tensor { file: PathBuf, tensor: Quoted, problem: TensorProblem },
    #[error(
        "tensor {tensor} is stored transposed, strided or quantized: its bytes are not in the order of \
         its rows; read its rows instead"
    )]
    NotInOrder { tensor: Quoted },
    #[error("there is no tensor number {index}: the checkpoint has {count}")]
    NoSuchTensor { index: usize, count: usize },
    #[error(
        "tensor {tensor}: {len} values asked for from row {first_row}, but it has {n_rows} rows of {row_len}"
    )]
    NoSuchRows { tensor: Quoted, first_row: usize, len: usize, n_rows: usize, row_len: usize },
}

/// What is wrong with one tensor of a checkpoint.
#[derive(Debug, Error, PartialEq)]
#[non_exhaustive]
#[allow(missing_docs)]
pub enum TensorProblem {
    #[error("the product of the dimensions {dims:?} is too large for any file")]
    TooLarge { dims: Vec<usize> },
    #[error("rows of {row_len} elements are not whole blocks of {block_len} {dtype} elements")]
    RaggedRow { row_len: usize, dtype: DType, block_len: usize },
    #[error(
        "{dims:?} {dtype} takes {expected} bytes from {start}, but the file has {available} there; \
         it was probably not downloaded completely"
    )]
    BeyondEnd { dims: Vec<usize>, dtype: DType, expected: usize, start: u64, available: u64 },
    #[error("{dims:?} {dtype} takes {expected} bytes, but the file gives it {found}")]
    WrongSize { dims: Vec<usize>, dtype: DType, expected: usize, found: u64 },
    #[error("appears twice")]
    Duplicate,
    #[error("shares bytes with tensor {other}")]
    Overlap { other: Quoted },
}

/// What is wrong with the index file of a checkpoint in several files.
#[derive(Debug, Error)]
#[non_exhaustive]
#[allow(missing_docs)]
pub enum IndexProblem {
    #[error("the index is {len} bytes long, more than the {max} that any model needs")]
    TooLong { len: usize, max: usize },
    #[error("not a valid index of weight files: {0}")]
    Json(serde_json::Error),
    #[error("the index names {count} weight files, more than the {max} that any model needs")]
    TooManyFiles { count: usize, max: usize },
    #[error(
        "the index names the weight file {name}: only plain names of files in the same folder are accepted"
    )]
    NotAPlainName { name: Quoted },
    #[error(
        "the index promises tensor {tensor} in {weight_file}, which does not have it; download both again"
    )]
    MissingTensor { tensor: Quoted, weight_file: Quoted },
}

/// A name out of a file, shown in quotes, escaped, and shortened if it is very long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quoted(String);

impl Quoted {
    const MAX: usize = 120;
}

impl From<&str> for Quoted {
    fn from(name: &str) -> Self {
        match name.char_indices().nth(Self::MAX) {
            Some((cut, _)) => Self(format!("{:?}…", &name[..cut])),
            None => Self(format!("{name:?}")),
        }
    }
}

impl std::fmt::Display for Quoted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}
