//! The kernel sets of WebAssembly.
//!
//! A module cannot ask what its engine understands: it is compiled with relaxed instructions (the
//! cargo feature `relaxed-simd`) and without, and whoever loads it chooses the module. Where they
//! are compiled in, what they compute is tried out before they are used.

mod convert;
mod gemm_f16;
mod quantize;
#[cfg(feature = "relaxed-simd")]
mod relaxed;
mod simd128;
mod sums;
mod widened;

use super::Kernels;

/// Runs of 8 k in a line of 64 bytes.
const fn runs_of_line(four: bool) -> usize {
    if four { 2 } else { 1 }
}

/// Adds the sets this module was compiled with, best first.
pub(super) fn detect(sets: &mut Vec<&'static Kernels>) {
    #[cfg(feature = "relaxed-simd")]
    if relaxed::is_exact() {
        sets.push(&relaxed::KERNELS);
    }
    sets.push(&simd128::KERNELS);
}
