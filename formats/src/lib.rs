//! Bytes in and out: the `.kinglet` container, checkpoint readers and block codecs.

pub mod checkpoint;
pub mod kinglet;
pub mod layout;
pub mod map;
mod protobuf;
pub mod sentencepiece;
pub mod spec;
pub mod tokenizer;

pub use protobuf::Malformed;
