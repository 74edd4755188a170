//! int8 weights times 16-bit activations, without dot products.
//!
//! A register holds 2 rows x 8 k of a line. `sxtl` and `sxtl2` widen it to 16 bits, one row each,
//! once for a tile of tokens; `smlal` and `smlal2` then add a row's products with the 8
//! activations to the row's four 32-bit sums. Bytes times bytes would need as many
//! multiplications, one for each half of an activation, and `sadalp` besides.

use crate::kernels::aarch64::tile::{I8Tile, add_group, for_each_tile, load_scales, zero_sums};
use crate::kernels::product::I8Product;
use crate::kernels::{I8Panels, QuantizedRows, TileMut};
use std::arch::aarch64::*;

/// Tokens of a tile: 8 sums each leave 8 registers for weights and activations.
const TOKENS: usize = 3;

pub(super) fn gemm_i8(
    w: &I8Panels<'_>,
    first_panel: usize,
    x: &QuantizedRows<'_>,
    out: &mut TileMut<'_>,
) {
    for_each_tile(w, first_panel, x, out, TOKENS, |product, tile| {
        // SAFETY: the tile is one of `for_each_tile`; the set's features were detected.
        unsafe {
            match tile.tokens {
                1 => tile_of::<1>(product, tile),
                2 => tile_of::<2>(product, tile),
                _ => tile_of::<3>(product, tile),
            }
        }
    });
}

/// # Safety
/// `tile` must be one of `product`, with `T` tokens.
#[target_feature(enable = "neon")]
unsafe fn tile_of<const T: usize>(product: &I8Product, tile: &I8Tile) {
    // SAFETY: all pointers stay inside the planes: `groups * lines` lines of 64 bytes and their
    // scales, and as many runs of 8 activations for each token.
    unsafe {
        let mut line = product.weights(tile.panel);
        let mut scales = product.weight_scales(tile.panel);
        let mut q = product.q.add(tile.token * product.padded_k);
        let x_scales = product.x_scales.add(tile.token * product.groups);
        let mut sums = [zero_sums(); T];
        for g in 0..product.groups {
            let mut dots = [[vdupq_n_s32(0); 8]; T];
            for _ in 0..product.lines {
                let x: [_; T] = std::array::from_fn(|t| vld1q_s16(q.add(t * product.padded_k)));
                for pair in 0..4 {
                    let w = vld1q_s8(line.add(16 * pair));
                    let rows = [vmovl_s8(vget_low_s8(w)), vmovl_high_s8(w)];
                    for (dots, x) in dots.iter_mut().zip(x) {
                        for (row, w) in rows.into_iter().enumerate() {
                            let dot = &mut dots[2 * pair + row];
                            *dot = vmlal_s16(*dot, vget_low_s16(w), vget_low_s16(x));
                            *dot = vmlal_high_s16(*dot, w, x);
                        }
                    }
                }
                line = line.add(64);
                q = q.add(8);
            }
            let group_scales = load_scales(scales);
            scales = scales.add(product.scale_step);
            for (t, (sums, d)) in sums.iter_mut().zip(dots).enumerate() {
                let dots = [
                    vpaddq_s32(vpaddq_s32(d[0], d[1]), vpaddq_s32(d[2], d[3])),
                    vpaddq_s32(vpaddq_s32(d[4], d[5]), vpaddq_s32(d[6], d[7])),
                ];
                add_group(sums, dots, group_scales, *x_scales.add(t * product.groups + g));
            }
        }
        for (t, sums) in sums.into_iter().enumerate() {
            tile.store(product, t, sums);
        }
    }
}
