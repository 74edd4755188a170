//! Quantization of activations to 16 bits.

use crate::kernels::{ACTIVATION_MAX, lengths};
use std::arch::wasm32::*;

/// The largest group.
const GROUP_MAX: usize = 128;

/// `1.5 * 2^23`: adding it rounds to the nearest integer, ties to even, left in the low bits.
const ROUND: f32 = 12_582_912.0;

/// Quantizes a row; `arrange` gives a run of 8 its private order.
#[inline(always)]
pub(super) fn quantize_row(
    x: &[f32],
    group: usize,
    q: &mut [i16],
    scales: &mut [f32],
    arrange: impl Fn(v128) -> v128,
) {
    lengths::quantize_row(x, group, q, scales);
    let mut rest = x;
    for (q, scale) in q.chunks_exact_mut(group).zip(scales) {
        let (x, after) = rest.split_at(group.min(rest.len()));
        rest = after;
        *scale = if x.len() == group {
            quantize_group(x, q, &arrange)
        } else {
            let mut padded = [0.0; GROUP_MAX];
            padded[..x.len()].copy_from_slice(x);
            quantize_group(&padded[..group], q, &arrange)
        };
    }
}

/// Gives the scale. `x` and `q` have the same length, a multiple of 8.
#[inline(always)]
fn quantize_group(x: &[f32], q: &mut [i16], arrange: impl Fn(v128) -> v128) -> f32 {
    // SAFETY: a block has 8 elements, half of them are a vector.
    let halves =
        |x: &[f32]| unsafe { (v128_load(x.as_ptr().cast()), v128_load(x.as_ptr().add(4).cast())) };
    // As integers, magnitudes order like floats, with NaN above everything.
    let magnitude = i32x4_splat(i32::MAX);
    let mut max = i32x4_splat(0);
    for x in x.chunks_exact(8) {
        let (low, high) = halves(x);
        max = i32x4_max(max, v128_and(low, magnitude));
        max = i32x4_max(max, v128_and(high, magnitude));
    }
    let max = i32x4_max(max, i64x2_shuffle::<1, 0>(max, max));
    let max = i32x4_extract_lane::<0>(max).max(i32x4_extract_lane::<1>(max));
    let max = f32::from_bits(max as u32);
    let limit = f32::from(ACTIVATION_MAX);
    let factor = limit / max;
    if !max.is_finite() || !factor.is_finite() {
        q.fill(0);
        return if max.is_finite() { 0.0 } else { f32::NAN };
    }
    let (factor, round) = (f32x4_splat(factor), f32x4_splat(ROUND));
    let rounded = |x| i32x4_sub(f32x4_add(f32x4_mul(x, factor), round), round);
    for (x, q) in x.chunks_exact(8).zip(q.chunks_exact_mut(8)) {
        let (low, high) = halves(x);
        let run = arrange(i16x8_narrow_i32x4(rounded(low), rounded(high)));
        // SAFETY: eight values of two bytes.
        unsafe { v128_store(q.as_mut_ptr().cast(), run) };
    }
    max / limit
}
