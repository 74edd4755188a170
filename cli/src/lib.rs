//! The `kinglet` command: fetches, converts and runs models.
//!
//! Each verb is a file in `verbs`; what a verb computes comes from the `kinglet` and
//! `kinglet-quantize` crates. Results go to standard output, everything else to standard error.
//! Public are the entry point, and the catalog with its cache and wheels, which tests and benchmarks
//! share.

mod arguments;
pub mod cache;
mod calibration;
pub mod catalog;
mod command;
mod conversion;
mod failure;
mod form;
mod generation;
mod hub;
mod images;
mod index;
mod input;
mod interrupt;
mod memory;
mod numbers;
mod out;
mod output;
mod pip;
mod progress;
mod repetition;
mod reply;
mod resolve;
mod results;
mod roofline;
mod sampling;
mod site;
mod sound;
mod spelling;
mod subtitles;
mod system;
mod table;
mod texts;
mod units;
mod verbs;
pub mod wheel;

pub use command::run;
pub use failure::Failure;
