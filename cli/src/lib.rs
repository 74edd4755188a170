//! The `kinglet` command: fetches, converts and runs models.
//!
//! Each verb is a file in `verbs`; what a verb computes comes from the `kinglet` and
//! `kinglet-quantize` crates. Results go to standard output, everything else to standard error.
//! Public are the entry point and the catalog with its cache, which tests and benchmarks share.

mod arguments;
pub mod cache;
pub mod catalog;
mod command;
mod conversion;
mod failure;
mod generation;
mod interrupt;
mod memory;
mod output;
mod pip;
mod progress;
mod resolve;
mod roofline;
mod site;
mod table;
mod units;
mod verbs;
mod wheel;

pub use command::run;
pub use failure::Failure;
