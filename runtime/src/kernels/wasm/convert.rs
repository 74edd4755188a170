//! fp16 to f32 in integer arithmetic, as there is no instruction for it.

use std::arch::wasm32::*;

/// `2^112`: the difference between the exponents of f32 and fp16.
const REBIAS: f32 = f32::from_bits((127 + 112) << 23);

/// Eight fp16 values as two vectors.
#[inline(always)]
pub(super) fn wide(half: v128) -> [v128; 2] {
    finite(half).map(|(moved, value)| {
        // Infinity and NaN came out as 65536 and more, which no fp16 number is.
        let magnitude = v128_and(moved, i32x4_splat(0x0fff_e000));
        let special = i32x4_gt(magnitude, i32x4_splat(0x0f7f_ffff));
        v128_or(value, v128_and(special, i32x4_splat(0x7f80_0000)))
    })
}

/// Eight finite fp16 values as two vectors.
#[inline(always)]
pub(super) fn wide_finite(half: v128) -> [v128; 2] {
    finite(half).map(|(_, value)| value)
}

/// Sign, exponent and mantissa move to their places in f32; a multiplication then corrects the
/// exponent, of subnormal numbers too.
#[inline(always)]
fn finite(half: v128) -> [(v128, v128); 2] {
    [i32x4_extend_low_i16x8(half), i32x4_extend_high_i16x8(half)].map(|half| {
        let moved = v128_and(i32x4_shl(half, 13), i32x4_splat(0x8fff_e000_u32 as i32));
        (moved, f32x4_mul(moved, f32x4_splat(REBIAS)))
    })
}

/// The largest magnitudes seen, by which infinity and NaN are found afterwards.
#[derive(Clone, Copy)]
pub(super) struct Magnitudes(v128);

impl Magnitudes {
    pub(super) fn new() -> Self {
        Self(u16x8_splat(0))
    }

    #[inline(always)]
    pub(super) fn add(&mut self, half: v128) {
        self.0 = u16x8_max(self.0, i16x8_shl(half, 1));
    }

    /// Whether all values so far were finite.
    #[inline(always)]
    pub(super) fn all_finite(self) -> bool {
        !v128_any_true(u16x8_gt(self.0, u16x8_splat(0xf7ff)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::f16;

    #[test]
    fn every_value_is_widened_exactly() {
        let store = |vectors: [v128; 2]| {
            let mut values = [0.0f32; 8];
            // SAFETY: room for two vectors.
            unsafe { super::super::sums::store(values.as_mut_ptr(), vectors, 8) };
            values
        };
        for bits in (0..=u16::MAX).step_by(8) {
            let halves: [u16; 8] = std::array::from_fn(|i| bits + i as u16);
            let values = halves.map(f16::from_bits);
            // SAFETY: sixteen bytes to read.
            let half = unsafe { v128_load(halves.as_ptr().cast()) };
            for (value, wide) in values.into_iter().zip(store(wide(half))) {
                let expected = value.to_f32();
                let same = wide.to_bits() == expected.to_bits();
                assert!(same || wide.is_nan() && expected.is_nan(), "{value:?}: {wide}");
            }
            let mut magnitudes = Magnitudes::new();
            magnitudes.add(half);
            assert_eq!(magnitudes.all_finite(), values.iter().all(|value| value.is_finite()));
            if magnitudes.all_finite() {
                assert_eq!(store(wide_finite(half)), values.map(f16::to_f32));
            }
        }
    }
}
