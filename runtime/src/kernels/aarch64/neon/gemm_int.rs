//! int8 and 4-bit weights times 16-bit activations, without dot products.
//!
//! A register holds 2 rows x 8 k of a line. `sxtl` and `sxtl2` widen it to 16 bits, one row each,
//! once for a tile of tokens; `smlal` and `smlal2` then add a row's products with the 8
//! activations to the row's four 32-bit sums. Bytes times bytes would need as many
//! multiplications, one for each half of an activation, and `sadalp` besides.

use crate::kernels::aarch64::tile::{
    IntTile, add_group, add_minima, for_each_tile, load_scales, runs_of_line, two_rows, zero_sums,
};
use crate::kernels::product::IntProduct;
use crate::kernels::{I4Panels, I8Panels, QuantizedRows, TileMut, lengths};
use std::arch::aarch64::*;

/// Tokens of a tile: 8 sums each leave 8 registers for weights and activations.
const TOKENS: usize = 3;

pub(super) fn gemm_i8(
    w: &I8Panels<'_>,
    first_panel: usize,
    x: &QuantizedRows<'_>,
    out: &mut TileMut<'_>,
) {
    lengths::gemm_i8(w, first_panel, x, out);
    let size = (x.m, out.cols());
    all_tiles::<false>(&IntProduct::i8(w, x, out), first_panel, size);
}

pub(super) fn gemm_i4(
    w: &I4Panels<'_>,
    first_panel: usize,
    x: &QuantizedRows<'_>,
    out: &mut TileMut<'_>,
) {
    lengths::gemm_i4(w, first_panel, x, out);
    let size = (x.m, out.cols());
    all_tiles::<true>(&IntProduct::i4(w, x, out), first_panel, size);
}

/// Tokens and columns `size` of a product of which the lengths were checked.
fn all_tiles<const FOUR: bool>(product: &IntProduct, first_panel: usize, size: (usize, usize)) {
    for_each_tile(product, first_panel, size, TOKENS, |tile| {
        // SAFETY: the tile is one of `for_each_tile`; the set's features were detected.
        unsafe {
            match tile.tokens {
                1 => tile_of::<FOUR, 1>(product, tile),
                2 => tile_of::<FOUR, 2>(product, tile),
                _ => tile_of::<FOUR, 3>(product, tile),
            }
        }
    });
}

/// # Safety
/// `tile` must be one of `product`, with `T` tokens.
#[target_feature(enable = "neon")]
unsafe fn tile_of<const FOUR: bool, const T: usize>(product: &IntProduct, tile: &IntTile) {
    // SAFETY: all pointers stay inside the planes: `groups * runs` runs of 8 k (a line of 64 bytes each,
    // or two runs in one) and their scales, and as many of 8 activations for each token.
    unsafe {
        let mut line = product.weights(tile.panel);
        let mut scales = product.weight_scales(tile.panel);
        let mut q = product.q.add(tile.token * product.padded_k);
        let x_scales = product.x_scales.add(tile.token * product.x_stride);
        let mut sums = [zero_sums(); T];
        for g in 0..product.groups {
            let mut dots = [[vdupq_n_s32(0); 8]; T];
            for _ in 0..product.runs / runs_of_line(FOUR) {
                for run in 0..runs_of_line(FOUR) {
                    let x: [_; T] = std::array::from_fn(|t| vld1q_s16(q.add(t * product.padded_k)));
                    for pair in 0..4 {
                        let w = two_rows::<FOUR>(line, run, pair);
                        let rows = [vmovl_s8(vget_low_s8(w)), vmovl_high_s8(w)];
                        for (dots, x) in dots.iter_mut().zip(x) {
                            for (row, w) in rows.into_iter().enumerate() {
                                let dot = &mut dots[2 * pair + row];
                                *dot = vmlal_s16(*dot, vget_low_s16(w), vget_low_s16(x));
                                *dot = vmlal_high_s16(*dot, w, x);
                            }
                        }
                    }
                    q = q.add(8);
                }
                line = line.add(64);
            }
            let group_scales = load_scales(scales);
            let minima = if FOUR { load_scales(scales.add(8)) } else { zero_sums() };
            scales = scales.add(product.scale_step);
            for (t, (sums, d)) in sums.iter_mut().zip(dots).enumerate() {
                let dots = [
                    vpaddq_s32(vpaddq_s32(d[0], d[1]), vpaddq_s32(d[2], d[3])),
                    vpaddq_s32(vpaddq_s32(d[4], d[5]), vpaddq_s32(d[6], d[7])),
                ];
                add_group(sums, dots, group_scales, *x_scales.add(t * product.x_stride + g));
                if FOUR {
                    let x_sum = *x_scales.add(t * product.x_stride + product.groups + g);
                    add_minima(sums, minima, x_sum);
                }
            }
        }
        for (t, sums) in sums.into_iter().enumerate() {
            tile.store(product, t, sums);
        }
    }
}
