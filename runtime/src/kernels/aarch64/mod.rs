//! The kernel sets of 64-bit ARM.
//!
//! | set | instruction | per line and token | cores |
//! |---|---|---|---|
//! | `neon` | `smlal` | 16, after 8 to widen the line | Cortex-A53, A72 |
//! | `dotprod` | `sdot` | 8 | Cortex-A55, A76, Neoverse N1, Apple M1 |
//! | `i8mm` | `smmla` | 4 | Cortex-A510, A710, Neoverse V1, Apple M2 |
//!
//! NEON belongs to the baseline of the architecture, so the float functions are written once, in
//! the `neon` set, and the elementwise ones are vectorised by the compiler without further ado.

mod convert;
mod dotprod;
mod i8mm;
mod neon;
mod tile;

use super::Kernels;
use std::arch::is_aarch64_feature_detected;

/// Adds the sets this processor can run, best first.
pub(super) fn detect(sets: &mut Vec<&'static Kernels>) {
    if !is_aarch64_feature_detected!("neon") {
        return;
    }
    if is_aarch64_feature_detected!("i8mm") {
        sets.push(&i8mm::KERNELS);
    }
    if is_aarch64_feature_detected!("dotprod") {
        sets.push(&dotprod::KERNELS);
    }
    sets.push(&neon::KERNELS);
}
