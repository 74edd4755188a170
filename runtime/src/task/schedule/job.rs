//! Requests under way.

use super::request::{Ticket, Usage};
use crate::task::generate::GenerationState;
use crate::task::session::Session;

/// A request that is not finished.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) ticket: Ticket,
    /// All tokens so far: the prompt, and what had been drawn when it lost its place.
    pub(super) tokens: Vec<u32>,
    pub(super) state: GenerationState,
    pub(super) logprobs: Option<usize>,
    pub(super) fresh: bool,
    pub(super) usage: Usage,
}

/// One that has a slot.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) job: Job,
    pub(super) session: Session,
}
