//! The kernel sets of 64-bit x86.

use super::Kernels;

/// Adds the sets this processor can run, best first.
pub(super) fn detect(_sets: &mut Vec<&'static Kernels>) {}
