//! Kinglet runs foundation models on small machines.

pub mod kernels;
pub mod tokenizer;
