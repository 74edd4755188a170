//! Reader of PyTorch checkpoints: the zip archive, and the stream that PyTorch wrote before 1.6.
//!
//! Both describe their tensors with a pickle, which in general is a program. Here it is read by a
//! machine that knows the few instructions and names a dictionary of tensors needs, and nothing
//! else: no code runs, and a pickle that asks for more is refused.
//!
//! Names: tensors of the outermost dictionary keep their names; those of a dictionary inside it are
//! joined with dots (`encoder.weight`). A checkpoint that wraps its tensors in `state_dict`,
//! `model_state_dict` or `model` is unwrapped: the tensors lose that prefix and everything beside
//! the wrapped dictionary, such as the state of an optimizer, is left out. What is no tensor is
//! left out, too.

mod globals;
mod legacy;
mod node;
mod pickle;
mod state_dict;
mod view;
mod zip;

use std::path::Path;

use thiserror::Error;

pub(super) use legacy::is_legacy;
use state_dict::StateDict;
use view::View;

use super::error::{CheckpointError, Quoted, TensorProblem};
use super::stored::{self, ByName};
use super::{Checkpoint, DType, TensorInfo};
use crate::map::Bytes;

/// A PyTorch checkpoint in one file.
pub struct Pytorch {
    bytes: Bytes,
    infos: Vec<TensorInfo>,
    views: Vec<View>,
    by_name: ByName,
}

/// What is wrong with a PyTorch file as a whole.
#[derive(Debug, Error)]
#[non_exhaustive]
#[allow(missing_docs)] // each variant's message says what its fields are
pub enum PytorchProblem {
    #[error(
        "{what} is missing or incomplete; the file was probably not downloaded or saved completely"
    )]
    Truncated { what: &'static str },
    #[error("the archive has no entry {entry}")]
    MissingEntry { entry: Quoted },
    #[error("the archive has several pickles; one is expected")]
    SeveralPickles,
    #[error(
        "entry {entry} of the archive is compressed; PyTorch stores entries as they are: save the \
         checkpoint again with `torch.save`, or pack the archive again with `zip -0`"
    )]
    Compressed { entry: Quoted },
    #[error("entry {entry} of the archive is encrypted; decrypt the checkpoint first")]
    Encrypted { entry: Quoted },
    #[error("the tensors are big-endian; save the checkpoint on a little-endian machine")]
    BigEndian,
    #[error(
        "the stream is of version {found}; only 1001, which PyTorch has always written, is supported"
    )]
    StreamVersion { found: i64 },
    #[error("more than {max} {what}: no state dict needs so many")]
    TooMuch { what: &'static str, max: usize },
    #[error(
        "the pickle asks for {name}, which a state dict does not need. Kinglet never runs pickled code: \
         if you trust the file, load it in PyTorch and save its tensors as safetensors"
    )]
    Global { name: Quoted },
    #[error(
        "the pickle has instruction {opcode:#04x} at byte {at}, which a state dict does not need. Kinglet \
         never runs pickled code: if you trust the file, load it in PyTorch and save its tensors as safetensors"
    )]
    Opcode { opcode: u8, at: usize },
    #[error("the pickle is damaged at byte {at}: {expected} is expected there")]
    Malformed { at: usize, expected: &'static str },
    #[error(
        "does not hold a dictionary of tensors; save `model.state_dict()`, best as safetensors"
    )]
    NoTensors,
    #[error("tensor {tensor} is described wrongly: {expected} is expected")]
    Tensor { tensor: Quoted, expected: &'static str },
    #[error("tensor {tensor} reaches to element {needed} of its storage, which has {available}")]
    BeyondStorage { tensor: Quoted, needed: u64, available: u64 },
    #[error("the storage {storage} takes {found} bytes, but {expected} are needed")]
    StorageSize { storage: Quoted, expected: u64, found: u64 },
}

impl Pytorch {
    /// Maps the file at `path` and reads its pickle.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, CheckpointError> {
        let path = path.as_ref();
        Self::parse(Bytes::map(path)?, path)
    }

    /// Reads the pickle in `bytes`; `file` is the name to use in errors.
    pub fn parse(bytes: Bytes, file: impl AsRef<Path>) -> Result<Self, CheckpointError> {
        let file = file.as_ref();
        let state_dict = if is_legacy(&bytes) { legacy::read(&bytes) } else { zip::read(&bytes) };
        let StateDict { infos, views } = state_dict
            .map_err(|problem| CheckpointError::Pytorch { file: file.to_owned(), problem })?;
        let by_name = ByName::new(&infos).map_err(|twice| CheckpointError::Tensor {
            file: file.to_owned(),
            tensor: infos[twice].name.as_str().into(),
            problem: TensorProblem::Duplicate,
        })?;
        Ok(Self { bytes, infos, views, by_name })
    }
}

impl Checkpoint for Pytorch {
    fn tensors(&self) -> &[TensorInfo] {
        &self.infos
    }

    fn read_rows(
        &self,
        index: usize,
        first_row: usize,
        out: &mut [f32],
    ) -> Result<(), CheckpointError> {
        let info = stored::tensor(&self.infos, index)?;
        info.check_rows(first_row, out.len())?;
        self.views[index].read_rows(info, &self.bytes, first_row, out);
        Ok(())
    }

    /// Fails for a transposed tensor or another view whose elements do not lie in order.
    fn raw(&self, index: usize) -> Result<&[u8], CheckpointError> {
        let info = stored::tensor(&self.infos, index)?;
        self.views[index]
            .raw(info, &self.bytes)
            .ok_or_else(|| CheckpointError::NotInOrder { tensor: info.name.as_str().into() })
    }

    fn find(&self, name: &str) -> Option<usize> {
        self.by_name.find(&self.infos, name)
    }
}

#[cfg(test)]
pub(crate) mod tests;
