//! From partial sums of rows to rows.

use std::arch::wasm32::*;

/// The sums of the four lanes of each of four vectors.
#[inline(always)]
pub(super) fn of_fours(rows: [v128; 4]) -> v128 {
    of_pairs(pairs(rows[0], rows[1]), pairs(rows[2], rows[3]))
}

/// `[a0 a1 b0 b1], [c0 c1 d0 d1]` to the sums `[a b c d]`.
#[inline(always)]
pub(super) fn of_pairs(ab: v128, cd: v128) -> v128 {
    i32x4_add(i32x4_shuffle::<0, 2, 4, 6>(ab, cd), i32x4_shuffle::<1, 3, 5, 7>(ab, cd))
}

/// `[a0 a1 a2 a3], [b0 b1 b2 b3]` to `[a02 a13 b02 b13]`.
#[inline(always)]
fn pairs(a: v128, b: v128) -> v128 {
    i32x4_add(i64x2_shuffle::<0, 2>(a, b), i64x2_shuffle::<1, 3>(a, b))
}

/// Reads `cols` values, zeros behind them.
///
/// # Safety
/// `from` must be valid for `cols <= 8` elements.
#[inline]
pub(super) unsafe fn load(from: *const f32, cols: usize) -> [v128; 2] {
    // SAFETY: the caller's promise; the padded array has 8 elements.
    unsafe {
        if cols == 8 {
            [v128_load(from.cast()), v128_load(from.add(4).cast())]
        } else {
            let mut padded = [0.0f32; 8];
            std::ptr::copy_nonoverlapping(from, padded.as_mut_ptr(), cols);
            load(padded.as_ptr(), 8)
        }
    }
}

/// Writes `cols` of the eight values in two vectors.
///
/// # Safety
/// `out` must be valid for `cols <= 8` elements.
#[inline(always)]
pub(super) unsafe fn store(out: *mut f32, values: [v128; 2], cols: usize) {
    // SAFETY: the caller's promise; the padded array has 8 elements.
    unsafe {
        if cols == 8 {
            v128_store(out.cast(), values[0]);
            v128_store(out.add(4).cast(), values[1]);
        } else {
            let mut padded = [0.0f32; 8];
            v128_store(padded.as_mut_ptr().cast(), values[0]);
            v128_store(padded.as_mut_ptr().add(4).cast(), values[1]);
            std::ptr::copy_nonoverlapping(padded.as_ptr(), out, cols);
        }
    }
}

/// `sums += minima * x_sum`, a product and an addition.
#[inline(always)]
pub(super) fn add_minima(sums: &mut [v128; 2], minima: [v128; 2], x_sum: f32) {
    for (sum, minima) in sums.iter_mut().zip(minima) {
        *sum = f32x4_add(f32x4_mul(minima, f32x4_splat(x_sum)), *sum);
    }
}
