//! Turns trained checkpoints into `.kinglet` files.

pub mod tokenizer;
