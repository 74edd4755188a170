//! fp16 weights (and keys and values) times f32 activations.
//!
//! The 8 rows of a k are widened to two vectors, once for a tile of tokens; each token costs a
//! broadcast, two multiplications and two additions. There is no fused multiply-add.

use super::{convert, sums};
use crate::kernels::product::{F16Product, balanced};
use crate::kernels::{F16Panels, FloatRows, TileMut, lengths};
use std::arch::wasm32::*;

/// Tokens of the largest tile.
const TOKENS: usize = 4;

pub(super) fn gemm_f16(
    w: &F16Panels<'_>,
    first_panel: usize,
    x: &FloatRows<'_>,
    out: &mut TileMut<'_>,
) {
    lengths::gemm_f16(w, first_panel, x, out);
    let product = F16Product::new(w, x, out);
    let panels = out.cols().div_ceil(8);
    for tokens in product.token_blocks(x.m, TOKENS) {
        for panel in 0..panels {
            let cols = (out.cols() - panel * 8).min(8);
            for tile in balanced(tokens.clone(), TOKENS) {
                let (t, p) = (tile.start, first_panel + panel);
                // SAFETY: the lengths were checked: the panel, the tokens and the tile of the
                // output exist.
                unsafe {
                    let to = product.out.add(t * product.out_stride + panel * 8);
                    match tile.len() {
                        1 => finite_tile::<1>(&product, p, t, to, cols),
                        2 => finite_tile::<2>(&product, p, t, to, cols),
                        3 => finite_tile::<3>(&product, p, t, to, cols),
                        _ => finite_tile::<4>(&product, p, t, to, cols),
                    }
                }
            }
        }
    }
}

/// One panel times `T` tokens from `token` on, to `cols` columns from `out` on: as if all weights
/// were finite, as they nearly always are, and again if not.
///
/// # Safety
/// The panel and the tokens must exist in `product`, and `out` must be valid for `T` rows of
/// `cols <= 8` elements.
unsafe fn finite_tile<const T: usize>(
    product: &F16Product,
    panel: usize,
    token: usize,
    out: *mut f32,
    cols: usize,
) {
    // SAFETY: the caller's promise.
    unsafe {
        if !tile_of::<T, true>(product, panel, token, out, cols) {
            tile_of::<T, false>(product, panel, token, out, cols);
        }
    }
}

/// Gives whether the results are right, which `FINITE` ones may not be.
///
/// # Safety
/// As for [`finite_tile`].
#[inline(always)]
unsafe fn tile_of<const T: usize, const FINITE: bool>(
    product: &F16Product,
    panel: usize,
    token: usize,
    out: *mut f32,
    cols: usize,
) -> bool {
    // SAFETY: all pointers stay inside the planes: `k` times 8 values of the panel, `k` of each
    // token.
    unsafe {
        let x = product.x.add(token * product.x_stride);
        let weights = product.weights(panel);
        let mut magnitudes = convert::Magnitudes::new();
        let mut rows = [[f32x4_splat(0.0); 2]; T];
        for k in 0..product.k {
            let half = v128_load(weights.add(k * 8).cast());
            let w = if FINITE {
                magnitudes.add(half);
                convert::wide_finite(half)
            } else {
                convert::wide(half)
            };
            for (t, rows) in rows.iter_mut().enumerate() {
                let x = v128_load32_splat(x.add(t * product.x_stride + k).cast());
                for (sum, w) in rows.iter_mut().zip(w) {
                    *sum = f32x4_add(f32x4_mul(w, x), *sum);
                }
            }
        }
        for (t, rows) in rows.into_iter().enumerate() {
            sums::store(out.add(t * product.out_stride), rows, cols);
        }
        magnitudes.all_finite()
    }
}
