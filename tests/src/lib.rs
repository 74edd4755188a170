//! What the cross-crate tests beside this file share: synthetic and real checkpoints, and what
//! independent implementations computed for them.

pub mod corpus;
pub mod gguf_file;
pub mod images;
pub mod moonshine;
pub mod real;
pub mod references;
pub mod rewrite;
pub mod sentence;
pub mod tasks;
pub mod tiny;
pub mod tiny_gguf;
pub mod whisper;
