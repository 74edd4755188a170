//! Turns trained checkpoints into `.kinglet` files.
