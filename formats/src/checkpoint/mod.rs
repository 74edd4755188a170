//! Readers of trained checkpoints: safetensors, GGUF, PyTorch archives, ONNX and CTranslate2 models,
//! Marian's and whisper.cpp's binaries.
//!
//! A reader borrows mapped bytes, trusts no number in them, and hands out rows as `f32`.
//! [`open_file`], [`open_bytes`] and [`open_folder`] choose the reader by what the file contains.

mod ct2;
mod dtype;
mod error;
mod ggml;
pub mod gguf;
#[cfg(test)]
mod hostile;
mod joined;
mod marian;
mod onnx;
mod open;
mod plain;
mod pytorch;
mod safetensors;
mod sharded;
mod stored;

pub use ct2::{Ct2, Ct2Problem, is_ct2};
pub use dtype::DType;
pub use error::{CheckpointError, IndexProblem, Quoted, TensorProblem};
pub use ggml::{Ggml, GgmlProblem, GgmlSizes, is_ggml};
pub use gguf::{Gguf, GgufProblem};
pub use joined::Joined;
pub use marian::{Marian, MarianProblem, Shortlist, is_marian, is_shortlist};
pub use onnx::{Onnx, OnnxProblem, is_onnx, onnx_files, onnx_parts};
pub use open::{WEIGHTS, folder_weights, is_index, open_bytes, open_file, open_folder, weights_of};
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

    /// Checks that `len` values from `first_row` on are whole rows that the tensor has.
    ///
    /// # Errors
    /// With what was asked for and what there is.
    pub fn check_rows(&self, first_row: usize, len: usize) -> Result<(), CheckpointError> {
        let (n_rows, row_len) = (self.n_rows(), self.row_len());
        let whole = len == 0 || (row_len != 0 && len.is_multiple_of(row_len));
        let rows = len.checked_div(row_len).unwrap_or(0);
        if whole && first_row <= n_rows && rows <= n_rows - first_row {
            return Ok(());
        }
        let tensor = self.name.as_str().into();
        Err(CheckpointError::NoSuchRows { tensor, first_row, len, n_rows, row_len })
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

    /// The number of which all values of a row are multiples, at most 127 times it, where the
    /// checkpoint was quantized so.
    fn row_step(&self, _index: usize, _row: usize) -> Option<f32> {
        None
    }

    /// The stored bytes of tensor number `index`, rows in order.
    fn raw(&self, index: usize) -> Result<&[u8], CheckpointError>;

    /// Index of the tensor called `name`.
    fn find(&self, name: &str) -> Option<usize> {
        self.tensors().iter().position(|t| t.name == name)
    }

    /// What the file says that it describes, if it says so: the name of CTranslate2's specification.
    fn specification(&self) -> Option<&str> {
        None
    }
}

impl<T: Checkpoint + ?Sized> Checkpoint for &T {
    fn tensors(&self) -> &[TensorInfo] {
        (**self).tensors()
    }

    fn read_rows(
        &self,
        index: usize,
        first_row: usize,
        out: &mut [f32],
    ) -> Result<(), CheckpointError> {
        (**self).read_rows(index, first_row, out)
    }

    fn row_step(&self, index: usize, row: usize) -> Option<f32> {
        (**self).row_step(index, row)
    }

    fn raw(&self, index: usize) -> Result<&[u8], CheckpointError> {
        (**self).raw(index)
    }

    fn find(&self, name: &str) -> Option<usize> {
        (**self).find(name)
    }

    fn specification(&self) -> Option<&str> {
        (**self).specification()
    }
}
