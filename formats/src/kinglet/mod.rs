#![doc = include_str!("../../FORMAT.md")]

mod download;
mod error;
mod foreign;
mod header;
mod index;
mod json;
mod meta;
mod new_file;
mod reader;
mod verify;
mod writer;

#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
pub(crate) mod sample;
#[cfg(test)]
mod tests;

pub use download::Download;
pub use error::{KingletError, Section, TensorProblem};
pub use header::HEADER as HEADER_BYTES;
pub use index::{NAME_BYTES, Role, Tensor};
pub use meta::{EmbeddingLimits, General, Generation, InputFile, META_BYTES, Meta, Provenance};
pub use new_file::NewFile;
pub use reader::{KingletFile, View};
pub use writer::{TensorPlan, Writer};

/// Version written, and newest version that can be read.
pub const VERSION: (u16, u16) = (1, 0);

/// Alignment of sections and planes.
pub const ALIGNMENT: usize = 64;

/// Bytes of data behind one entry of the chunk table.
pub const CHUNK: usize = 4 << 20;
