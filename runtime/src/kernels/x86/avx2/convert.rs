//! Quantization of activations and conversion to fp16.

use crate::kernels::{ACTIVATION_MAX, lengths};
use half::f16;
use std::arch::x86_64::*;

/// The largest group.
const GROUP_MAX: usize = 128;

/// Each run of 8 is left as `[k0 k2 k4 k6 k1 k3 k5 k7]`.
pub(in crate::kernels::x86) fn quantize_row(
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
            unsafe { quantize_group(x, q) }
        } else {
            let mut padded = [0.0; GROUP_MAX];
            padded[..x.len()].copy_from_slice(x);
            // SAFETY: as above.
            unsafe { quantize_group(&padded[..group], q) }
        };
    }
}

/// Gives the scale. The values are scanned for the largest magnitude as integers (NaN and
/// infinity come out on top), then multiplied, rounded by `vcvtps2dq`, and narrowed.
///
/// # Safety
/// `x` and `q` must have the same length, a multiple of 8.
#[target_feature(enable = "avx2")]
unsafe fn quantize_group(x: &[f32], q: &mut [i16]) -> f32 {
    let magnitude = _mm256_set1_epi32(i32::MAX);
    let mut max = _mm256_setzero_si256();
    for i in (0..x.len()).step_by(8) {
        // SAFETY: `i + 8 <= x.len()`.
        let bits = unsafe { _mm256_loadu_si256(x.as_ptr().add(i).cast()) };
        max = _mm256_max_epi32(max, _mm256_and_si256(bits, magnitude));
    }
    let max = _mm_max_epi32(_mm256_castsi256_si128(max), _mm256_extracti128_si256::<1>(max));
    let max = _mm_max_epi32(max, _mm_shuffle_epi32::<0b01_00_11_10>(max));
    let max = _mm_max_epi32(max, _mm_shuffle_epi32::<0b10_11_00_01>(max));
    let max = f32::from_bits(_mm_cvtsi128_si32(max) as u32);
    let limit = f32::from(ACTIVATION_MAX);
    let factor = limit / max;
    if !max.is_finite() || !factor.is_finite() {
        q.fill(0);
        return if max.is_finite() { 0.0 } else { f32::NAN };
    }
    let factor = _mm256_set1_ps(factor);
    let even_odd = _mm256_setr_epi32(0, 2, 4, 6, 1, 3, 5, 7);
    for i in (0..x.len()).step_by(8) {
        // SAFETY: `i + 8 <= x.len() == q.len()`.
        unsafe {
            let values = _mm256_mul_ps(_mm256_loadu_ps(x.as_ptr().add(i)), factor);
            let values = _mm256_permutevar8x32_epi32(_mm256_cvtps_epi32(values), even_odd);
            let values = _mm_packs_epi32(
                _mm256_castsi256_si128(values),
                _mm256_extracti128_si256::<1>(values),
            );
            _mm_storeu_si128(q.as_mut_ptr().add(i).cast(), values);
        }
    }
    max / limit
}

/// `vcvtps2ph`, 8 at a time; the last few by way of a padded block.
pub(in crate::kernels::x86) fn to_f16(x: &[f32], out: &mut [f16]) {
    lengths::to_f16(x, out);
    let mut blocks = x.chunks_exact(8);
    let mut outs = out.chunks_exact_mut(8);
    for (x, out) in (&mut blocks).zip(&mut outs) {
        // SAFETY: the set's features were detected; both blocks have 8 elements.
        unsafe { convert_8(x.as_ptr(), out.as_mut_ptr()) };
    }
    let (x, out) = (blocks.remainder(), outs.into_remainder());
    let mut padded = [0.0; 8];
    let mut converted = [f16::ZERO; 8];
    padded[..x.len()].copy_from_slice(x);
    // SAFETY: as above.
    unsafe { convert_8(padded.as_ptr(), converted.as_mut_ptr()) };
    out.copy_from_slice(&converted[..x.len()]);
}

/// # Safety
/// `x` and `out` must point to 8 elements.
#[target_feature(enable = "avx2,f16c")]
unsafe fn convert_8(x: *const f32, out: *mut f16) {
    // SAFETY: as the caller promises.
    unsafe {
        let half = _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(_mm256_loadu_ps(x));
        _mm_storeu_si128(out.cast(), half);
    }
}
