//! fp16 weights (and keys and values) times f32 activations.
//!
//! `fcvtl` and `fcvtl2` turn the 8 rows of a k into two f32 registers, which a tile of tokens
//! shares; each token costs two `fmla` by the element of a register that holds 4 of its k. One
//! output has one chain of additions, so a single token takes two panels at a time, and four sums
//! are under way.

use crate::kernels::aarch64::tile::{store, zero_sums};
use crate::kernels::product::{F16Product, balanced};
use crate::kernels::{F16Panels, FloatRows, TileMut, lengths};
use half::f16;
use std::arch::aarch64::*;

/// Tokens of the largest tile: 16 sums, 8 registers of activations, 2 of weights.
const TOKENS: usize = 8;

pub(in crate::kernels::aarch64) fn gemm_f16(
    w: &F16Panels<'_>,
    first_panel: usize,
    x: &FloatRows<'_>,
    out: &mut TileMut<'_>,
) {
    lengths::gemm_f16(w, first_panel, x, out);
    let product = F16Product::new(w, x, out);
    let panels = out.cols().div_ceil(8);
    for block in product.token_blocks(x.m, TOKENS) {
        let few = block.len() == 1;
        let mut panel = 0;
        while panel < panels {
            let together = if few && panels - panel >= 2 { 2 } else { 1 };
            let cols = (out.cols() - panel * 8).min(together * 8);
            for tile in balanced(block.clone(), TOKENS) {
                let (t, p) = (tile.start, first_panel + panel);
                // SAFETY: the lengths were checked: the panels, the tokens and the tile of the
                // output exist; the set's features were detected.
                unsafe {
                    let to = product.out.add(t * product.out_stride + panel * 8);
                    match (together, tile.len()) {
                        (2, _) => tile_of::<2, 1>(&product, p, t, to, cols),
                        (_, 1) => tile_of::<1, 1>(&product, p, t, to, cols),
                        (_, 2) => tile_of::<1, 2>(&product, p, t, to, cols),
                        (_, 3) => tile_of::<1, 3>(&product, p, t, to, cols),
                        (_, 4) => tile_of::<1, 4>(&product, p, t, to, cols),
                        (_, 5) => tile_of::<1, 5>(&product, p, t, to, cols),
                        (_, 6) => tile_of::<1, 6>(&product, p, t, to, cols),
                        (_, 7) => tile_of::<1, 7>(&product, p, t, to, cols),
                        (_, _) => tile_of::<1, 8>(&product, p, t, to, cols),
                    }
                }
            }
            panel += together;
        }
    }
}

/// `P` panels times `T` tokens from `token` on, to `cols` columns from `out` on.
///
/// # Safety
/// The panels and the tokens must exist in `product`, and `out` must be valid for `T` rows of
/// `cols` elements, more than `8 * (P - 1)` and at most `8 * P`.
#[target_feature(enable = "neon")]
unsafe fn tile_of<const P: usize, const T: usize>(
    product: &F16Product,
    panel: usize,
    token: usize,
    out: *mut f32,
    cols: usize,
) {
    // SAFETY: all pointers stay inside the planes: `k` times 8 values of each panel, `k` of each
    // token.
    unsafe {
        let x = product.x.add(token * product.x_stride);
        let weights: [_; P] = std::array::from_fn(|p| product.weights(panel + p));
        let mut sums = [[zero_sums(); P]; T];
        let in_fours = product.k & !3;
        for k in (0..in_fours).step_by(4) {
            let x: [_; T] = std::array::from_fn(|t| vld1q_f32(x.add(t * product.x_stride + k)));
            add_k::<0, P, T>(&mut sums, weights, k, x);
            add_k::<1, P, T>(&mut sums, weights, k + 1, x);
            add_k::<2, P, T>(&mut sums, weights, k + 2, x);
            add_k::<3, P, T>(&mut sums, weights, k + 3, x);
        }
        for k in in_fours..product.k {
            let x: [_; T] = std::array::from_fn(|t| vdupq_n_f32(*x.add(t * product.x_stride + k)));
            add_k::<0, P, T>(&mut sums, weights, k, x);
        }
        for (t, sums) in sums.into_iter().enumerate() {
            for (p, sums) in sums.into_iter().enumerate() {
                store(out.add(t * product.out_stride + p * 8), sums, (cols - p * 8).min(8));
            }
        }
    }
}

/// `sums += weights[..][k] * x[..][LANE]`
///
/// # Safety
/// The panels must have more than `k` values of 8 rows.
#[target_feature(enable = "neon")]
#[inline]
unsafe fn add_k<const LANE: i32, const P: usize, const T: usize>(
    sums: &mut [[[float32x4_t; 2]; P]; T],
    weights: [*const f16; P],
    k: usize,
    x: [float32x4_t; T],
) {
    for (p, weights) in weights.into_iter().enumerate() {
        // SAFETY: as the caller promises.
        let w = vreinterpretq_f16_u16(unsafe { vld1q_u16(weights.add(k * 8).cast()) });
        let rows = [vcvt_f32_f16(vget_low_f16(w)), vcvt_high_f32_f16(w)];
        for (sums, x) in sums.iter_mut().zip(x) {
            for (sum, w) in sums[p].iter_mut().zip(rows) {
                *sum = vfmaq_laneq_f32::<LANE>(*sum, w, x);
            }
        }
    }
}
