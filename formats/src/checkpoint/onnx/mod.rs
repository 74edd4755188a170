//! Reader of ONNX models, as `torch.onnx`, optimum and onnxruntime's quantizers write them.
//!
//! A file is a graph of operations and the tensors that they use. Nothing is computed here: what is
//! read are the parameters of the model that the graph was exported from, its *state dict*. They are
//!
//! - tensors that have kept their names (`encoder.layer.0.output.LayerNorm.weight`);
//! - matrices without a name of their own (`onnx::MatMul_812`), which belong to the module whose scope
//!   the name of their node tells (`/encoder/layer.0/attention/q/MatMul`), and which lie there as
//!   `[inputs, outputs]`: they come back as `[outputs, inputs]`;
//! - either of them behind what quantizers do: integers with scales and zero points, as values of
//!   `DequantizeLinear`, of `Cast` and `Mul`, as factors of products of integers, or packed in blocks.
//!   They are read as the floats that the graph makes of them, `(q - zero) * scale`;
//! - the table of positions of models of images, which the graph has in two parts.
//!
//! Constants of the computation itself are left out. A weight whose place in the model cannot be told
//! is an error.

mod constant;
mod element;
mod external;
mod files;
mod graph;
mod join;
mod naming;
mod packed;
mod positions;
mod problem;
mod products;
mod recover;
mod scope;
mod tensor;
mod weight;

use std::collections::BTreeMap;
use std::path::Path;

pub use files::{onnx_files, onnx_parts};
pub use problem::OnnxProblem;

use super::error::CheckpointError;
use super::stored;
use super::{Checkpoint, TensorInfo};
use crate::map::Bytes;
use external::Files;
use tensor::Tensor;
use weight::{Memory, Weight};

/// Most nodes of a graph, and most tensors.
const MAX_NODES: usize = 1 << 17;
/// Most graphs inside each other.
const MAX_DEPTH: usize = 8;
/// Most dimensions of a tensor.
const MAX_DIMS: usize = 8;
/// How often the bytes of the files may be the data of tensors.
const MAX_SHARING: usize = 4;

/// The parameters of an ONNX model.
pub struct Onnx {
    files: Vec<Bytes>,
    /// Names of all files but the first, seen from the folder of that one.
    data_files: Vec<String>,
    tensors: Vec<Tensor>,
    /// In the order of names.
    infos: Vec<TensorInfo>,
    weights: Vec<Weight>,
}

/// Whether a file that begins so is an ONNX model: the version of the format is its first field, a
/// small number, and one of a few fields follows.
pub fn is_onnx(start: &[u8]) -> bool {
    matches!(start, [8, 1..=32, 0x12 | 0x1a | 0x22 | 0x28 | 0x32 | 0x3a | 0x42, ..])
}

impl Onnx {
    /// Maps the model at `path`, and the files of its folder that have its data.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, CheckpointError> {
        let path = path.as_ref();
        Self::beside(Bytes::map(path)?, path)
    }

    /// Reads the model `bytes` of the file at `path`.
    pub(super) fn beside(bytes: Bytes, path: &Path) -> Result<Self, CheckpointError> {
        Self::read(bytes, path, &|name| external::beside(path, name))
    }

    /// Reads a model all of whose data is in `bytes`; `file` is the name to use in errors.
    pub fn parse(bytes: Bytes, file: impl AsRef<Path>) -> Result<Self, CheckpointError> {
        Self::parse_with(bytes, file, &|_| None)
    }

    /// Reads a model whose data may also be in other files, which `sibling` gives by their names seen
    /// from the model's folder.
    pub fn parse_with(
        bytes: Bytes,
        file: impl AsRef<Path>,
        sibling: &dyn Fn(&str) -> Option<Bytes>,
    ) -> Result<Self, CheckpointError> {
        Self::read(bytes, file.as_ref(), &|name| {
            sibling(name).ok_or_else(|| OnnxProblem::ExternalMissing { location: name.into() })
        })
    }

    fn read(
        bytes: Bytes,
        file: &Path,
        siblings: external::Siblings<'_>,
    ) -> Result<Self, CheckpointError> {
        let refuse = |problem| CheckpointError::Onnx { file: file.to_owned(), problem };
        let mut files = Files::new(bytes.clone(), siblings);
        let mut tensors = Vec::new();
        let graph = graph::read(&bytes, &mut files, &mut tensors).map_err(refuse)?;
        let Files { bytes: files, names, .. } = files;
        let memory = Memory { tensors: &tensors, files: &files };
        memory.check_sharing().map_err(refuse)?;
        let weights = recover::parameters(&graph, memory).map_err(refuse)?;
        if weights.is_empty() {
            return Err(refuse(OnnxProblem::NoParameters));
        }
        Ok(Self::new(files, names, tensors, weights))
    }

    fn new(
        files: Vec<Bytes>,
        data_files: Vec<String>,
        tensors: Vec<Tensor>,
        weights: BTreeMap<String, Weight>,
    ) -> Self {
        let infos = weights.iter().map(|(name, weight)| weight.info(name.clone())).collect();
        let weights = weights.into_values().collect();
        Self { files, data_files, tensors, infos, weights }
    }

    /// Names of the files beside the model that have its data, seen from its folder.
    pub fn data_files(&self) -> &[String] {
        &self.data_files
    }

    fn memory(&self) -> Memory<'_> {
        Memory { tensors: &self.tensors, files: &self.files }
    }
}

impl Checkpoint for Onnx {
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
        self.weights[index].read_rows(&self.memory(), first_row, out);
        Ok(())
    }

    /// Fails for a tensor that is stored turned or quantized.
    fn raw(&self, index: usize) -> Result<&[u8], CheckpointError> {
        let info = stored::tensor(&self.infos, index)?;
        self.weights[index]
            .raw(&self.memory())
            .ok_or_else(|| CheckpointError::NotInOrder { tensor: info.name.as_str().into() })
    }

    fn find(&self, name: &str) -> Option<usize> {
        self.infos.binary_search_by(|info| info.name.as_str().cmp(name)).ok()
    }
}

#[cfg(test)]
pub(super) mod sample;
#[cfg(test)]
mod tests;
