//! What can be wrong with a Marian model.

use thiserror::Error;

use crate::checkpoint::Quoted;

/// What is wrong with a Marian model as a whole.
#[derive(Debug, Error)]
#[non_exhaustive]
#[allow(missing_docs)] // each variant's message says what its fields are
pub enum MarianProblem {
    #[error("version {found} of Marian's binary format; version 1 is read")]
    Version { found: u64 },
    #[error(
        "{what} of {wanted} bytes should begin at byte {at}, but {available} bytes are left; the file was \
         probably not downloaded completely"
    )]
    Truncated { what: &'static str, at: usize, wanted: u64, available: usize },
    #[error("the file claims {count} {what}, more than the {max} that are possible")]
    TooMany { what: &'static str, count: u64, max: u64 },
    #[error("the name at byte {at} is not UTF-8")]
    Name { at: usize },
    #[error("tensor {tensor} has a dimension below zero")]
    Shape { tensor: Quoted },
    #[error(
        "tensor {tensor} has type {kind:#x}, which is not read: it is packed for one kind of processor, or \
         not int8. Models of Firefox Translations (`*.intgemm.alphas.bin`) are read, and what \
         `marian-conv --gemm-type intgemm8` writes"
    )]
    UnsupportedType { tensor: Quoted, kind: u64 },
    #[error(
        "the values of tensor {tensor} were multiplied by a number that gives a step of {step}"
    )]
    Multiplier { tensor: Quoted, step: f32 },
    #[error("the shortlist cannot be used: {what}")]
    Shortlist { what: &'static str },
    #[error("its configuration is not UTF-8")]
    Config,
    #[error("there is no item `special:model.yml` with the model's configuration")]
    NoConfig,
}
