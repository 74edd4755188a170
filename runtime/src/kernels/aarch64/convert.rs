//! Quantization of activations and conversion to fp16.

use crate::kernels::{ACTIVATION_MAX, lengths};
use half::f16;
use std::arch::aarch64::*;

/// The largest group.
const GROUP_MAX: usize = 128;

/// With `BYTES`, each run of 8 values `256 * high + low`, both bytes signed, is left as 8 high
/// bytes and 8 low bytes; otherwise as it is.
pub(super) fn quantize_row<const BYTES: bool>(
    x: &[f32],
    group: usize,
    q: &mut [i16],
    scales: &mut [f32],
) {
    lengths::quantize_row(x, group, q, scales);
    let mut rest = x;
    for (q, scale) in q.chunks_exact_mut(group).zip(scales) {
        let (x, after) = rest.split_at(group.min(rest.len()));
        rest = after;
        *scale = if x.len() == group {
            // SAFETY: the set's features were detected; `x` and `q` have the same length, a
            // multiple of 8.
            unsafe { quantize_group::<BYTES>(x, q) }
        } else {
            let mut padded = [0.0; GROUP_MAX];
            padded[..x.len()].copy_from_slice(x);
            // SAFETY: as above.
            unsafe { quantize_group::<BYTES>(&padded[..group], q) }
        };
    }
}

/// Gives the scale. The largest magnitude is found among the bits as integers, where NaN and
/// infinity come out on top.
///
/// # Safety
/// `x` and `q` must have the same length, a multiple of 8.
#[target_feature(enable = "neon")]
unsafe fn quantize_group<const BYTES: bool>(x: &[f32], q: &mut [i16]) -> f32 {
    let mut max = [vdupq_n_u32(0); 2];
    for i in (0..x.len()).step_by(8) {
        for (half, max) in max.iter_mut().enumerate() {
            // SAFETY: `i + 8 <= x.len()`.
            let x = unsafe { vld1q_f32(x.as_ptr().add(i + 4 * half)) };
            *max = vmaxq_u32(*max, vreinterpretq_u32_f32(vabsq_f32(x)));
        }
    }
    let max = f32::from_bits(vmaxvq_u32(vmaxq_u32(max[0], max[1])));
    let limit = f32::from(ACTIVATION_MAX);
    let factor = limit / max;
    if !max.is_finite() || !factor.is_finite() {
        q.fill(0);
        return if max.is_finite() { 0.0 } else { f32::NAN };
    }
    for i in (0..x.len()).step_by(8) {
        // SAFETY: `i + 8 <= x.len() == q.len()`.
        unsafe {
            let low = vmulq_n_f32(vld1q_f32(x.as_ptr().add(i)), factor);
            let high = vmulq_n_f32(vld1q_f32(x.as_ptr().add(i + 4)), factor);
            let low = vmovn_s32(vcvtnq_s32_f32(low));
            let mut values = vmovn_high_s32(low, vcvtnq_s32_f32(high));
            if BYTES {
                // (value + 128) >> 8, and what that leaves: the low byte as it stands.
                let high = vrshrn_n_s16::<8>(values);
                values = vreinterpretq_s16_s8(vmovn_high_s16(high, values));
            }
            vst1q_s16(q.as_mut_ptr().add(i), values);
        }
    }
    max / limit
}

/// `fcvtn`, 4 at a time; the last few by way of a padded block.
pub(super) fn to_f16(x: &[f32], out: &mut [f16]) {
    lengths::to_f16(x, out);
    // SAFETY: the set's features were detected.
    unsafe { convert_all(x, out) };
}

#[target_feature(enable = "neon")]
fn convert_all(x: &[f32], out: &mut [f16]) {
    let (blocks, last) = x.as_chunks::<4>();
    let (out_blocks, out_last) = out.as_chunks_mut::<4>();
    for (x, out) in blocks.iter().zip(out_blocks) {
        convert_4(x, out);
    }
    let mut padded = [0.0; 4];
    let mut converted = [f16::ZERO; 4];
    padded[..last.len()].copy_from_slice(last);
    convert_4(&padded, &mut converted);
    out_last.copy_from_slice(&converted[..last.len()]);
}

#[target_feature(enable = "neon")]
#[inline]
fn convert_4(x: &[f32; 4], out: &mut [f16; 4]) {
    // SAFETY: both have 4 elements, and f16 is 16 bits.
    unsafe {
        let half = vcvt_f16_f32(vld1q_f32(x.as_ptr()));
        vst1_u16(out.as_mut_ptr().cast(), vreinterpret_u16_f16(half));
    }
}
