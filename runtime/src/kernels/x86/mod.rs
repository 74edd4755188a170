//! The kernel sets of 64-bit x86.
//!
//! All of them keep the 8 activations of a run in the order `[k0 k2 k4 k6 | k1 k3 k5 k7]`. Seen
//! as 16-bit lanes, a line of `r8k8` holds the even k in the low and the odd k in the high bytes;
//! two shifts sign-extend the even ones, one shift the odd ones, and each half meets its four
//! activations by one 8-byte broadcast.

mod avx2;
mod avx512vnni;
mod avxvnni;

use super::Kernels;
use super::product::{F16Product, IntProduct, balanced};
use std::arch::x86_64::__cpuid;
use std::sync::LazyLock;

/// How far ahead of a plain stream of weights (one token) memory is asked for, in bytes. A line
/// takes some hundred nanoseconds to arrive, in which a core reads thousands of bytes; the
/// hardware does not run that far ahead, and stops at the end of each page of 4 KiB. AMD's (Zen 3)
/// runs further by itself: there, two threads are 12 % faster with the smaller figure.
static STREAM_AHEAD: LazyLock<usize> = LazyLock::new(|| {
    let vendor = __cpuid(0);
    let amd = [vendor.ebx, vendor.edx, vendor.ecx].map(u32::to_le_bytes)
        == [*b"Auth", *b"enti", *b"cAMD"];
    if amd { 1024 } else { 8 * 1024 }
});

/// Adds the sets this processor can run, best first.
pub(super) fn detect(sets: &mut Vec<&'static Kernels>) {
    let avx2 = is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("f16c");
    let avx512 = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512dq");
    if avx2 && avx512 && is_x86_feature_detected!("avx512vnni") {
        sets.push(&avx512vnni::KERNELS);
    }
    if avx2 && is_x86_feature_detected!("avxvnni") {
        sets.push(&avxvnni::KERNELS);
    }
    if avx2 {
        sets.push(&avx2::KERNELS);
    }
}
