//! Numbers that several parts agree on.

/// Largest head size the runtime takes.
pub(crate) const MAX_HEAD_DIM: usize = 512;

/// Positions in a span of keys and values.
pub(crate) const SPAN: usize = 128;

/// Most tokens of a sequence that go through the network together.
pub(crate) const BATCH_TOKENS: usize = 256;
