//! What the kernel benchmarks share: rooflines of the machine, and products of a given shape.

pub mod machine;
pub mod peak;
pub mod product;
