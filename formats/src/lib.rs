//! Bytes in and out: the `.kinglet` container, checkpoint readers and block codecs.

pub mod checkpoint;
pub mod kinglet;
pub mod layout;
pub mod map;
pub mod spec;
pub mod tokenizer;
