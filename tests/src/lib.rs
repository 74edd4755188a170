//! Cross-crate tests live beside this file.

pub mod gguf_file;
pub mod tiny;
