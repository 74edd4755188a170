//! fp16 weights (and keys and values) times f32 activations.
//!
//! The 8 rows of a k from two panels fill one register; `vcvtph2ps` makes them floats once for a
//! tile of tokens, each of which costs a broadcast and a fused multiply-add. One output has one
//! chain of additions, so a tile spans enough panels and tokens to hide their latency.

use super::super::avx2::gemm_f16 as few_tokens;
use super::{load_pair, store};
use crate::kernels::x86::{F16Product, balanced};
use crate::kernels::{F16Panels, FloatRows, TileMut, lengths};
use std::arch::x86_64::*;

/// Tokens of the largest tile: with two pairs of panels 24 sums.
const TOKENS: usize = 12;

/// Up to as many tokens the joining of two panels costs more than wider registers gain.
const FEW_TOKENS: usize = 6;

pub(super) fn gemm_f16(
    w: &F16Panels<'_>,
    first_panel: usize,
    x: &FloatRows<'_>,
    out: &mut TileMut<'_>,
) {
    if x.m <= FEW_TOKENS {
        return few_tokens(w, first_panel, x, out);
    }
    lengths::gemm_f16(w, first_panel, x, out);
    let product = F16Product::new(w, x, out);
    let panels = out.cols().div_ceil(8);
    for block in product.token_blocks(x.m, TOKENS) {
        let mut panel = 0;
        while panel < panels {
            let pairs = if panels - panel > 2 { 2 } else { 1 };
            let cols = (out.cols() - panel * 8).min(pairs * 16);
            for tile in balanced(block.clone(), TOKENS) {
                let (t, p) = (tile.start, first_panel + panel);
                // SAFETY: the lengths were checked: the panels, the tokens and the tile of the
                // output exist; the set's features were detected.
                unsafe {
                    let to = product.out.add(t * product.out_stride + panel * 8);
                    if pairs == 2 {
                        any_tokens::<2>(&product, p, t, tile.len(), to, cols);
                    } else {
                        any_tokens::<1>(&product, p, t, tile.len(), to, cols);
                    }
                }
            }
            panel += pairs * 2;
        }
    }
}

/// Chooses the tile of up to [`TOKENS`] tokens.
///
/// # Safety
/// As for [`tile_of`].
unsafe fn any_tokens<const P: usize>(
    product: &F16Product,
    panel: usize,
    token: usize,
    tokens: usize,
    out: *mut f32,
    cols: usize,
) {
    // SAFETY: as the caller promises.
    unsafe {
        match tokens {
            1 => tile_of::<P, 1>(product, panel, token, out, cols),
            2 => tile_of::<P, 2>(product, panel, token, out, cols),
            3 => tile_of::<P, 3>(product, panel, token, out, cols),
            4 => tile_of::<P, 4>(product, panel, token, out, cols),
            5 => tile_of::<P, 5>(product, panel, token, out, cols),
            6 => tile_of::<P, 6>(product, panel, token, out, cols),
            7 => tile_of::<P, 7>(product, panel, token, out, cols),
            8 => tile_of::<P, 8>(product, panel, token, out, cols),
            9 => tile_of::<P, 9>(product, panel, token, out, cols),
            10 => tile_of::<P, 10>(product, panel, token, out, cols),
            11 => tile_of::<P, 11>(product, panel, token, out, cols),
            _ => tile_of::<P, 12>(product, panel, token, out, cols),
        }
    }
}

/// `P` pairs of panels times `T` tokens from `token` on, to `cols` columns from `out` on.
///
/// # Safety
/// The panels that `cols` reaches and the tokens must exist in `product`; `out` must be valid for
/// `T` rows of `cols` elements, more than `16 * (P - 1)` and at most `16 * P`.
#[target_feature(enable = "avx512f,avx512vl,avx2,fma,f16c")]
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
        let mut sums = [[_mm512_setzero_ps(); P]; T];
        let weights: [_; P] = std::array::from_fn(|p| {
            // A lone last panel is its own partner; the store leaves the copy out.
            let partner = if cols > p * 16 + 8 { 1 } else { 0 };
            (product.weights(panel + 2 * p), product.weights(panel + 2 * p + partner))
        });
        for k in 0..product.k {
            // Several tokens keep the processor too busy to run ahead of the memory: the panels
            // that come next are asked for, one at each k by turns.
            let next = product.panel_stride * (2 * P + k % (2 * P)) + k * 8;
            _mm_prefetch::<_MM_HINT_T1>(weights[0].0.wrapping_add(next).cast());
            let mut w = [_mm512_setzero_ps(); P];
            for (w, &(low, high)) in w.iter_mut().zip(&weights) {
                *w = load_pair(low.add(k * 8), high.add(k * 8));
            }
            for (t, sums) in sums.iter_mut().enumerate() {
                let x = _mm512_set1_ps(*x.add(t * product.x_stride + k));
                for (sum, w) in sums.iter_mut().zip(w) {
                    *sum = _mm512_fmadd_ps(w, x, *sum);
                }
            }
        }
        for (t, sums) in sums.into_iter().enumerate() {
            for (p, sum) in sums.into_iter().enumerate() {
                store(out.add(t * product.out_stride + p * 16), sum, cols - p * 16);
            }
        }
    }
}
