//! What is wrong with an ONNX model, or with what is asked of it.

use thiserror::Error;

use super::super::Quoted;
use super::graph::Node;
use crate::protobuf::Malformed;

/// What is wrong with an ONNX model.
#[derive(Debug, Error)]
#[non_exhaustive]
#[allow(missing_docs)] // each variant's message says what its fields are
pub enum OnnxProblem {
    #[error("{0}; it was probably not downloaded completely")]
    Malformed(#[from] Malformed),
    #[error("there is no graph in it; it was probably not downloaded completely")]
    NoGraph,
    #[error("more than {max} {what}: no model needs so many")]
    TooMany { what: &'static str, max: usize },
    #[error("graphs lie more than {max} deep in each other")]
    TooDeep { max: usize },
    #[error("it has sparse tensors, which Kinglet does not read; export the model with dense ones")]
    Sparse,
    #[error("tensor {tensor} has more than {max} dimensions")]
    Dimensions { tensor: Quoted, max: usize },
    #[error("tensor {tensor} has a dimension that is negative or too large")]
    Dimension { tensor: Quoted },
    #[error("tensor {tensor}: the product of the dimensions {dims:?} is too large for any file")]
    TooLarge { tensor: Quoted, dims: Vec<usize> },
    #[error(
        "tensor {tensor}: {dims:?} {element} takes {expected} bytes, but the file gives it {found}; \
         it was probably not downloaded completely"
    )]
    WrongSize { tensor: Quoted, dims: Vec<usize>, element: String, expected: usize, found: u64 },
    #[error("tensor {tensor} appears twice")]
    Duplicate { tensor: Quoted },
    #[error(
        "tensor {tensor} has type {element}, which Kinglet does not read; export the model in f32 or f16"
    )]
    UnsupportedType { tensor: Quoted, element: String },
    #[error("tensor {tensor}: {key} of its data in another file is missing or no number")]
    ExternalKey { tensor: Quoted, key: &'static str },
    #[error(
        "tensor {tensor} has its data in {location}: only files in the folder of the model are read"
    )]
    ExternalPath { tensor: Quoted, location: Quoted },
    #[error(
        "{location}, which has the weights, is a link that leads out of the folder of the model; \
         put the file itself there"
    )]
    ExternalLink { location: Quoted },
    #[error(
        "the weights are in another file, {location}, which is not in the same folder; download both"
    )]
    ExternalMissing { location: Quoted },
    #[error("{0}")]
    ExternalFile(String),
    #[error(
        "tensor {tensor} takes {expected} bytes, for which {length} bytes from {offset} of {location} are \
         given, which has {available}; it was probably not downloaded completely"
    )]
    ExternalRange {
        tensor: Quoted,
        location: Quoted,
        expected: usize,
        offset: u64,
        length: u64,
        available: usize,
    },
    #[error(
        "the tensors take {tensors} bytes, many times the {files} of the files: they share their bytes"
    )]
    Shared { tensors: u64, files: u64 },
    #[error("node {node} ({op}): {reason}")]
    Node { node: Quoted, op: Quoted, reason: String },
    #[error("tensor {tensor} appears twice, with different numbers")]
    Conflict { tensor: Quoted },
    #[error(
        "none of its tensors has the name of a parameter; export the model with torch.onnx or optimum, \
         which keep them"
    )]
    NoParameters,
}

impl Node<'_> {
    /// A weight of this node that cannot be recovered.
    pub(super) fn problem(&self, reason: impl Into<String>) -> OnnxProblem {
        // Nodes need no names; what they make has one.
        let name = if self.name.is_empty() { self.output() } else { self.name };
        OnnxProblem::Node { node: name.into(), op: self.op.into(), reason: reason.into() }
    }
}
