//! Reports on a running conversion.

use std::ops::ControlFlow;

/// What a conversion is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stage {
    /// Hashing the input files for the record.
    Hash,
    /// Compiling the tokenizer.
    Tokenizer,
    /// Quantizing and writing tensors.
    Tensors,
    /// Finishing the file: header, sync to disk, final name.
    Finish,
}

/// How far a conversion is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Update<'a> {
    /// What it is doing.
    pub stage: Stage,
    /// The file or the canonical tensor at work.
    pub name: &'a str,
    /// Bytes of the stage that are done: of input for `Hash`, of output for `Tensors`.
    pub done: u64,
    /// Bytes of the whole stage, 0 where there is nothing to count.
    pub total: u64,
}

/// Receives reports on a running conversion, on the thread that started it.
///
/// Answering [`ControlFlow::Break`] cancels: nothing is left under the output's name.
pub trait Progress {
    /// Called at the beginning and end of each stage and every few megabytes between.
    fn update(&mut self, update: &Update<'_>) -> ControlFlow<()>;
}

/// Listens to nothing.
impl Progress for () {
    fn update(&mut self, _: &Update<'_>) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

impl<F: FnMut(&Update<'_>) -> ControlFlow<()>> Progress for F {
    fn update(&mut self, update: &Update<'_>) -> ControlFlow<()> {
        self(update)
    }
}
