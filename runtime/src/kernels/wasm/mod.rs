//! The kernel sets of WebAssembly.
//!
//! A module cannot ask what its engine understands: it is compiled once for each set of target
//! features, and whoever loads it chooses the module. Where relaxed instructions are compiled in,
//! what they compute is tried out before they are used.

mod convert;
mod gemm_f16;
mod quantize;
#[cfg(target_feature = "relaxed-simd")]
mod relaxed;
mod simd128;
mod sums;

use super::Kernels;

/// Adds the sets this module was compiled with, best first.
pub(super) fn detect(sets: &mut Vec<&'static Kernels>) {
    #[cfg(target_feature = "relaxed-simd")]
    if relaxed::is_exact() {
        sets.push(&relaxed::KERNELS);
    }
    sets.push(&simd128::KERNELS);
}
