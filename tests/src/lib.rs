//! Cross-crate tests live beside this file.

pub mod tiny;
