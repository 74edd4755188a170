//! Readers of trained checkpoints: safetensors, GGUF and PyTorch archives.
//!
//! A reader borrows mapped bytes, trusts no number in them, and hands out rows as `f32`.

use thiserror::Error;

/// Element type of a tensor in a checkpoint, under its name in the source format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, non_camel_case_types)]
pub enum DType {
    F64,
    F32,
    F16,
    BF16,
    I64,
    I32,
    I16,
    I8,
    U8,
    Bool,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q2_K,
    Q3_K,
    Q4_K,
    Q5_K,
    Q6_K,
}

/// Name, shape and type of one tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Name in the checkpoint.
    pub name: String,
    /// Dimensions, outermost first (GGUF's order reversed). Empty for a scalar.
    pub dims: Vec<usize>,
    /// Element type.
    pub dtype: DType,
}

impl TensorInfo {
    /// Length of the innermost dimension (1 for a scalar).
    pub fn row_len(&self) -> usize {
        self.dims.last().copied().unwrap_or(1)
    }

    /// Number of rows of `row_len` elements (product of all other dimensions).
    /// Cannot overflow: a reader has checked the product against the file's size.
    pub fn n_rows(&self) -> usize {
        self.dims.iter().rev().skip(1).product()
    }
}

/// A checkpoint whose header has been read and checked.
pub trait Checkpoint: Send + Sync {
    /// All tensors, in file order.
    fn tensors(&self) -> &[TensorInfo];

    /// Decodes rows `first_row..` of tensor number `index` into `out`, whose length is a multiple
    /// of the tensor's `row_len`. Values are as stored: NaN and infinities pass through.
    fn read_rows(
        &self,
        index: usize,
        first_row: usize,
        out: &mut [f32],
    ) -> Result<(), CheckpointError>;

    /// The stored bytes of tensor number `index`, rows in order.
    fn raw(&self, index: usize) -> Result<&[u8], CheckpointError>;

    /// Index of the tensor called `name`.
    fn find(&self, name: &str) -> Option<usize> {
        self.tensors().iter().position(|t| t.name == name)
    }
}

/// Why a checkpoint could not be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// Placeholder until the readers land.
    #[error("{0}")]
    Invalid(String),
}
