//! fp16 weights (and keys and values) times f32 activations.
//!
//! `vcvtph2ps` turns the 8 rows of a k into one f32 register, which a tile of tokens shares; each
//! token costs a broadcast and a fused multiply-add. One output has one chain of additions, so a
//! tile spans enough panels and tokens (8 to 12 sums) to hide the latency of the additions.

use super::line::store;
use crate::kernels::x86::{F16Product, STREAM_AHEAD, balanced};
use crate::kernels::{F16Panels, FloatRows, TileMut, lengths};
use std::arch::x86_64::*;

/// Tokens of the largest tile.
const TOKENS: usize = 6;

/// k of a panel in one cache line.
const LINE: usize = 4;

pub(in crate::kernels::x86) fn gemm_f16(
    w: &F16Panels<'_>,
    first_panel: usize,
    x: &FloatRows<'_>,
    out: &mut TileMut<'_>,
) {
    lengths::gemm_f16(w, first_panel, x, out);
    let product = F16Product::new(w, x, out);
    let panels = out.cols().div_ceil(8);
    for block in product.token_blocks(x.m, TOKENS) {
        let mut panel = 0;
        while panel < panels {
            let widest = block.len().div_ceil(block.len().div_ceil(TOKENS));
            let together = panels_together(widest, panels - panel);
            let cols = (out.cols() - panel * 8).min(together * 8);
            for tile in balanced(block.clone(), TOKENS) {
                let (t, p) = (tile.start, first_panel + panel);
                // SAFETY: the lengths were checked: the panels, the tokens and the tile of the
                // output exist; the set's features were detected.
                unsafe {
                    let to = product.out.add(t * product.out_stride + panel * 8);
                    match (together, tile.len()) {
                        (8, _) => tile_of::<8, 1>(&product, p, t, to, cols),
                        (4, 1) => tile_of::<4, 1>(&product, p, t, to, cols),
                        (4, _) => tile_of::<4, 2>(&product, p, t, to, cols),
                        (3, _) => tile_of::<3, 3>(&product, p, t, to, cols),
                        (2, 1) => tile_of::<2, 1>(&product, p, t, to, cols),
                        (2, 2) => tile_of::<2, 2>(&product, p, t, to, cols),
                        (2, 3) => tile_of::<2, 3>(&product, p, t, to, cols),
                        (2, 4) => tile_of::<2, 4>(&product, p, t, to, cols),
                        (2, 5) => tile_of::<2, 5>(&product, p, t, to, cols),
                        (2, _) => tile_of::<2, 6>(&product, p, t, to, cols),
                        (_, 1) => tile_of::<1, 1>(&product, p, t, to, cols),
                        (_, 2) => tile_of::<1, 2>(&product, p, t, to, cols),
                        (_, 3) => tile_of::<1, 3>(&product, p, t, to, cols),
                        (_, 4) => tile_of::<1, 4>(&product, p, t, to, cols),
                        (_, 5) => tile_of::<1, 5>(&product, p, t, to, cols),
                        (_, _) => tile_of::<1, 6>(&product, p, t, to, cols),
                    }
                }
            }
            panel += together;
        }
    }
}

/// How many panels share a pass over k, for tiles of up to `tokens` tokens: 8 to 12 sums.
fn panels_together(tokens: usize, panels: usize) -> usize {
    let most = match tokens {
        0..=1 => 8,
        2 => 4,
        3 => 3,
        _ => 2,
    };
    if panels >= most { most } else { 1 << panels.ilog2() }
}

/// `P` panels times `T` tokens from `token` on, to `cols` columns from `out` on.
///
/// # Safety
/// The panels and the tokens must exist in `product`, and `out` must be valid for `T` rows of
/// `cols` elements, more than `8 * (P - 1)` and at most `8 * P`.
#[target_feature(enable = "avx2,fma,f16c")]
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
        let mut sums = [[_mm256_setzero_ps(); P]; T];
        let weights: [_; P] = std::array::from_fn(|p| product.weights(panel + p));
        let ahead = *STREAM_AHEAD;
        for k in 0..product.k {
            if T > 1 {
                // Several tokens pass over each panel, long enough for the next ones to arrive:
                // these are asked for, one at each k by turns.
                let next = weights[k % P].wrapping_add(P * product.panel_stride + k * 8);
                _mm_prefetch::<_MM_HINT_T1>(next.cast());
            } else if k.is_multiple_of(LINE) {
                // The end of these panels is followed by the start of as many others.
                let mut next = (k + ahead / (16 * P)) * 8;
                if next >= product.k * 8 {
                    next = next - product.k * 8 + P * product.panel_stride;
                }
                for weights in weights {
                    _mm_prefetch::<_MM_HINT_T0>(weights.wrapping_add(next).cast());
                }
            }
            let weight = |p: usize| _mm256_cvtph_ps(_mm_loadu_si128(weights[p].add(k * 8).cast()));
            let token = |t: usize| _mm256_set1_ps(*x.add(t * product.x_stride + k));
            // 16 registers: the smaller side is kept in registers, the other passes through one.
            if P < T {
                let weights: [_; P] = std::array::from_fn(weight);
                for (t, sums) in sums.iter_mut().enumerate() {
                    let x = token(t);
                    for (sum, w) in sums.iter_mut().zip(weights) {
                        *sum = _mm256_fmadd_ps(w, x, *sum);
                    }
                }
            } else {
                let tokens: [_; T] = std::array::from_fn(token);
                for p in 0..P {
                    let w = weight(p);
                    for (sums, x) in sums.iter_mut().zip(tokens) {
                        sums[p] = _mm256_fmadd_ps(w, x, sums[p]);
                    }
                }
            }
        }
        for (t, sums) in sums.into_iter().enumerate() {
            for (p, sum) in sums.into_iter().enumerate() {
                store(out.add(t * product.out_stride + p * 8), sum, (cols - p * 8).min(8));
            }
        }
    }
}
