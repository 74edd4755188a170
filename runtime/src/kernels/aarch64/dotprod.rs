//! Byte dot products (FEAT_DotProd): Cortex-A55 and A76, and most cores since 2018.
//!
//! Activations are `256 * high + low`, both signed bytes, 8 high ones and 8 low ones to a
//! register. A register of weights holds 2 rows x 8 k, so `sdot` multiplies row 0 by the high and
//! row 1 by the low bytes; a second `sdot`, with the halves of the activations swapped by `ext`,
//! does the rest. At the end of a group the sums over high bytes are shifted by 8 and all are joined.

use super::convert::{quantize_row, to_f16};
use super::neon;
use super::tile::{I8Tile, add_group, for_each_tile, load_scales, zero_sums};
use crate::kernels::product::I8Product;
use crate::kernels::{I8Panels, Kernels, QuantizedRows, TileMut};
use std::arch::aarch64::*;
use std::arch::asm;

/// The table; to be handed out where `dotprod` was detected.
pub(super) static KERNELS: Kernels = Kernels {
    name: "dotprod",
    quantize_row: quantize_row::<true>,
    gemm_i8,
    to_f16,
    ..neon::KERNELS
};

/// Tokens of a tile: 8 sums each leave 8 registers for weights and activations.
const TOKENS: usize = 3;

fn gemm_i8(w: &I8Panels<'_>, first_panel: usize, x: &QuantizedRows<'_>, out: &mut TileMut<'_>) {
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
#[target_feature(enable = "neon,dotprod")]
unsafe fn tile_of<const T: usize>(product: &I8Product, tile: &I8Tile) {
    // SAFETY: all pointers stay inside the planes: `groups * lines` lines of 64 bytes and their
    // scales, and as many runs of 16 activation bytes for each token.
    unsafe {
        let mut line = product.weights(tile.panel);
        let mut scales = product.weight_scales(tile.panel);
        let mut q = product.q.add(tile.token * product.padded_k).cast::<i8>();
        let x_scales = product.x_scales.add(tile.token * product.groups);
        let high_low = vld1q_s32([8, 0, 8, 0].as_ptr());
        let low_high = vld1q_s32([0, 8, 0, 8].as_ptr());
        let mut sums = [zero_sums(); T];
        for g in 0..product.groups {
            let mut dots = [[[vdupq_n_s32(0); 2]; 4]; T];
            for _ in 0..product.lines {
                let x: [_; T] = std::array::from_fn(|t| {
                    let x = vld1q_s8(q.add(t * 2 * product.padded_k));
                    [x, vextq_s8::<8>(x, x)]
                });
                for pair in 0..4 {
                    let w = vld1q_s8(line.add(16 * pair));
                    for (dots, x) in dots.iter_mut().zip(x) {
                        for (dot, x) in dots[pair].iter_mut().zip(x) {
                            *dot = sdot(*dot, w, x);
                        }
                    }
                }
                line = line.add(64);
                q = q.add(16);
            }
            let group_scales = load_scales(scales);
            scales = scales.add(product.scale_step);
            for (t, (sums, d)) in sums.iter_mut().zip(dots).enumerate() {
                let dots: [_; 2] = std::array::from_fn(|half| {
                    let (first, second) = (d[2 * half], d[2 * half + 1]);
                    let straight = vshlq_s32(vpaddq_s32(first[0], second[0]), high_low);
                    let crossed = vshlq_s32(vpaddq_s32(first[1], second[1]), low_high);
                    vaddq_s32(straight, crossed)
                });
                add_group(sums, dots, group_scales, *x_scales.add(t * product.groups + g));
            }
        }
        for (t, sums) in sums.into_iter().enumerate() {
            tile.store(product, t, sums);
        }
    }
}

/// Adds to each of four sums the products of four pairs of bytes.
#[target_feature(enable = "neon,dotprod")]
#[inline]
fn sdot(mut sum: int32x4_t, w: int8x16_t, x: int8x16_t) -> int32x4_t {
    // SAFETY: registers only; the feature is this function's.
    unsafe {
        asm!(
            "sdot {sum:v}.4s, {w:v}.16b, {x:v}.16b",
            sum = inout(vreg) sum, w = in(vreg) w, x = in(vreg) x,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sum
}
