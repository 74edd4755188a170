//! Errors as JavaScript `Error` objects with a `code`.

use js_sys::Reflect;
use kinglet_formats::checkpoint::{CheckpointError, OnnxProblem};
use kinglet_quantize::{InvalidOption, QuantizeError};

/// An error of this code and message.
pub(crate) fn new(code: &str, message: &str) -> js_sys::Error {
    let error = js_sys::Error::new(message);
    let set = Reflect::set(&error, &"code".into(), &code.into());
    debug_assert!(set.is_ok());
    error
}

/// The quantizer's error, with its code.
pub(crate) fn from(error: QuantizeError) -> js_sys::Error {
    new(code(&error), &error.to_string())
}

pub(crate) fn option(name: &str, error: &InvalidOption) -> js_sys::Error {
    new("invalid-option", &format!("{name}: {error}"))
}

fn code(error: &QuantizeError) -> &'static str {
    match error {
        QuantizeError::NotACheckpoint { .. }
        | QuantizeError::NotAModel { .. }
        | QuantizeError::OtherPlace { .. }
        | QuantizeError::Checkpoint(CheckpointError::UnknownKind { .. }) => "not-a-checkpoint",
        QuantizeError::MissingFile { .. } => "missing-file",
        QuantizeError::UnsupportedArchitecture { .. }
        | QuantizeError::UnsupportedOption { .. }
        | QuantizeError::NotFloat { .. }
        | QuantizeError::UnmappedTensors { .. } => "unsupported",
        QuantizeError::Checkpoint(CheckpointError::Onnx { problem, .. }) => match problem {
            OnnxProblem::ExternalMissing { .. } => "missing-file",
            OnnxProblem::Node { .. }
            | OnnxProblem::NoParameters
            | OnnxProblem::Sparse
            | OnnxProblem::UnsupportedType { .. } => "unsupported",
            _ => "corrupt",
        },
        QuantizeError::Output(_) | QuantizeError::Threads(_) => "internal",
        _ => "corrupt",
    }
}
