//! Byte dot products (FEAT_DotProd): Cortex-A55 and A76, and most cores since 2018.
//!
//! Activations are `256 * high + low`, both signed bytes, 8 high ones and 8 low ones to a
//! register. A register of weights holds 2 rows x 8 k, so `sdot` multiplies row 0 by the high and
//! row 1 by the low bytes; a second `sdot`, with the halves of the activations swapped by `ext`,
//! does the rest. At the end of a group the sums over high bytes are shifted by 8 and all are joined.

use super::convert::{quantize_row, to_f16};
use super::neon;
use super::tile::{
    IntTile, add_group, add_minima, for_each_tile, load_scales, runs_of_line, two_rows, zero_sums,
};
use crate::kernels::product::IntProduct;
use crate::kernels::{I4Panels, I8Panels, Kernels, QuantizedRows, TileMut, lengths};
use std::arch::aarch64::*;
use std::arch::asm;

/// The table; to be handed out where `dotprod` was detected.
pub(super) static KERNELS: Kernels = Kernels {
    name: "dotprod",
    quantize_row: quantize_row::<true>,
    gemm_i8,
    gemm_i4,
    to_f16,
    ..neon::KERNELS
};

/// Tokens of a tile: 8 sums each leave 8 registers for weights and activations.
const TOKENS: usize = 3;

fn gemm_i8(w: &I8Panels<'_>, first_panel: usize, x: &QuantizedRows<'_>, out: &mut TileMut<'_>) {
    lengths::gemm_i8(w, first_panel, x, out);
    let size = (x.m, out.cols());
    all_tiles::<false>(&IntProduct::i8(w, x, out), first_panel, size);
}

fn gemm_i4(w: &I4Panels<'_>, first_panel: usize, x: &QuantizedRows<'_>, out: &mut TileMut<'_>) {
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
#[target_feature(enable = "neon,dotprod")]
unsafe fn tile_of<const FOUR: bool, const T: usize>(product: &IntProduct, tile: &IntTile) {
    // SAFETY: all pointers stay inside the planes: `groups * runs` runs of 8 k (a line of 64 bytes each,
    // or two runs in one) and their scales, and as many of 16 activation bytes for each token.
    unsafe {
        let mut line = product.weights(tile.panel);
        let mut scales = product.weight_scales(tile.panel);
        let mut q = product.q.add(tile.token * product.padded_k).cast::<i8>();
        let x_scales = product.x_scales.add(tile.token * product.x_stride);
        let high_low = vld1q_s32([8, 0, 8, 0].as_ptr());
        let low_high = vld1q_s32([0, 8, 0, 8].as_ptr());
        let mut sums = [zero_sums(); T];
        for g in 0..product.groups {
            let mut dots = [[[vdupq_n_s32(0); 2]; 4]; T];
            for _ in 0..product.runs / runs_of_line(FOUR) {
                for run in 0..runs_of_line(FOUR) {
                    let x: [_; T] = std::array::from_fn(|t| {
                        let x = vld1q_s8(q.add(t * 2 * product.padded_k));
                        [x, vextq_s8::<8>(x, x)]
                    });
                    for pair in 0..4 {
                        let w = two_rows::<FOUR>(line, run, pair);
                        for (dots, x) in dots.iter_mut().zip(x) {
                            for (dot, x) in dots[pair].iter_mut().zip(x) {
                                *dot = sdot(*dot, w, x);
                            }
                        }
                    }
                    q = q.add(16);
                }
                line = line.add(64);
            }
            let group_scales = load_scales(scales);
            let minima = if FOUR { load_scales(scales.add(8)) } else { zero_sums() };
            scales = scales.add(product.scale_step);
            for (t, (sums, d)) in sums.iter_mut().zip(dots).enumerate() {
                let dots: [_; 2] = std::array::from_fn(|half| {
                    let (first, second) = (d[2 * half], d[2 * half + 1]);
                    let straight = vshlq_s32(vpaddq_s32(first[0], second[0]), high_low);
                    let crossed = vshlq_s32(vpaddq_s32(first[1], second[1]), low_high);
                    vaddq_s32(straight, crossed)
                });
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
