#![doc = include_str!("../../FORMAT.md")]

mod dictation;
mod download;
mod error;
mod foreign;
mod header;
mod index;
mod json;
mod limits;
mod meta;
mod new_file;
mod preprocessing;
mod reader;
mod speech;
mod text_to_text;
mod verify;
mod writer;

#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
pub(crate) mod sample;
#[cfg(test)]
mod tests;

pub use dictation::Dictation;
pub use download::Download;
pub use error::{KingletError, Section, TensorProblem};
pub use index::{Role, Tensor};
pub use limits::{HEADER as HEADER_BYTES, META_BYTES, NAME_BYTES};
pub use meta::{
    EmbeddingUse, Filler, General, Generation, Infill, InputFile, Meta, Prompt, Provenance,
};
pub use new_file::NewFile;
pub use preprocessing::{Preprocessing, Resize, ResizeFilter, ResizeTo};
pub use reader::{KingletFile, View};
pub use speech::{Language, Speech};
pub use text_to_text::{EarlyStopping, MAX_BEAMS, Mark, TextLanguage, TextToText, Translation};
pub use writer::{TensorPlan, Writer};

/// Version written, and newest version that can be read.
pub const VERSION: (u16, u16) = (2, 5);

/// Alignment of sections and planes.
pub const ALIGNMENT: usize = 64;

/// Bytes of data behind one entry of the chunk table.
pub const CHUNK: usize = 4 << 20;
