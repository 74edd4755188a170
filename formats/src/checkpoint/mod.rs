//! Readers of trained checkpoints: safetensors, GGUF and PyTorch archives.
//!
//! A reader borrows mapped bytes, trusts no number in them, and hands out rows as `f32`.
//! [`open_file`], [`open_bytes`] and [`open_folder`] choose the reader by what the file contains.

mod dtype;
mod error;
pub mod gguf;
#[cfg(test)]
mod hostile;
mod open;
mod plain;
mod pytorch;
mod safetensors;
mod sharded;
mod stored;

pub use dtype::DType;
pub use error::{CheckpointError, IndexProblem, Quoted, TensorProblem};
pub use gguf::{Gguf, GgufProblem};
pub use open::{open_bytes, open_file, open_folder};
pub use pytorch::{Pytorch, PytorchProblem};
pub use safetensors::{Safetensors, SafetensorsProblem};

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
    /// Cannot overflow: a reader has checked the product.
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
