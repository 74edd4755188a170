//! How a scheduler shares a model.

use crate::task::session::SessionOptions;

/// How a scheduler shares a model.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SchedulerOptions {
    /// Requests computed together, at most.
    pub slots: usize,
    /// Requests that may wait for a slot.
    pub queue: usize,
    /// The context of each request, and how keys and values are kept.
    pub session: SessionOptions,
    /// Bytes of keys and values, those kept for requests to come included. One request always runs,
    /// whatever it takes.
    pub kv_memory: usize,
    /// Tokens of prompts in a step in which answers are written too: more of them make prompts
    /// faster and answers less even.
    pub prompt_rows: usize,
}

impl Default for SchedulerOptions {
    fn default() -> Self {
        Self {
            slots: 8,
            queue: 64,
            session: SessionOptions::default(),
            kv_memory: 1 << 30,
            prompt_rows: 64,
        }
    }
}
