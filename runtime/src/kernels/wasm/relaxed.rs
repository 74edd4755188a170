//! int8 weights times 16-bit activations with the relaxed dot product of bytes.
//!
//! An activation is two signed bytes, `256 * high + low`, and each weight meets both: the dot
//! product of the low bytes and that of the high ones are joined at the end of a group.
//!
//! What `i32x4.relaxed_dot_i8x16_i7x16_add_s` makes of a second operand of more than 7 bits is up
//! to the engine. Where there is one instruction for it, that takes the byte as signed (ARM
//! `sdot`) or as unsigned (x86 `vpdpbusd`) and does not saturate on the way. Both serve: the
//! second operand is the weight, raised by 128 for an unsigned multiplication, and the sums start
//! at minus 128 times the sum of the activations. Elsewhere the pairs saturate at 16 bits, and the
//! strict set is used: [`is_exact`] tries it out.

use super::{convert, quantize, simd128, sums};
use crate::kernels::product::{I8Product, balanced};
use crate::kernels::{I8Panels, Kernels, QuantizedRows, TileMut, lengths};
use std::arch::wasm32::*;
use std::hint::black_box;

/// The table. What is not a product of int8 weights is the strict set's.
pub(super) static KERNELS: Kernels =
    Kernels { name: "relaxed", quantize_row, gemm_i8, ..simd128::KERNELS };

/// Tokens of a tile: two registers of rows and two bytes of each activation are 12 of 15 sums.
const TOKENS: usize = 3;

/// How the engine takes the second operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Second {
    Signed,
    Unsigned,
}

/// What the engine's dot product gives for the largest bytes, if it is exact.
#[target_feature(enable = "relaxed-simd")]
fn probe() -> Option<Second> {
    // Not constants, which a compiler would fold by rules of its own.
    let bytes = |value: i8| i8x16_splat(black_box(value));
    let dot = |a, b| i32x4_extract_lane::<0>(dot(bytes(a), bytes(b), i32x4_splat(black_box(7))));
    let exact = |second: fn(i8) -> i32| {
        let values = [-128i8, -127, -64, -1, 0, 1, 64, 127];
        values
            .into_iter()
            .all(|a| values.into_iter().all(|b| dot(a, b) == 4 * i32::from(a) * second(b) + 7))
    };
    if exact(i32::from) {
        Some(Second::Signed)
    } else if exact(|b| i32::from(b as u8)) {
        Some(Second::Unsigned)
    } else {
        None
    }
}

/// Whether the engine's dot product can be used.
pub(super) fn is_exact() -> bool {
    probe().is_some()
}

/// Four products of `a` and `b` added to each lane of `sum`.
#[target_feature(enable = "relaxed-simd")]
#[inline]
fn dot(a: v128, b: v128, sum: v128) -> v128 {
    i32x4_relaxed_dot_i8x16_i7x16_add(a, b, sum)
}

/// A run of 8 is left as 8 low bytes and 8 high bytes; the low ones are signed, and what that
/// takes away is added to the high ones.
fn quantize_row(x: &[f32], group: usize, q: &mut [i16], scales: &mut [f32]) {
    quantize::quantize_row(x, group, q, scales, |run| {
        let low = i16x8_shr(i16x8_shl(run, 8), 8);
        let high = i16x8_shr(i16x8_sub(run, low), 8);
        i8x16_narrow_i16x8(low, high)
    });
}

/// Most groups of k for which a tile of tokens has room for its sums of activations.
const GROUPS: usize = 256;

#[target_feature(enable = "relaxed-simd")]
fn gemm_i8(w: &I8Panels<'_>, first_panel: usize, x: &QuantizedRows<'_>, out: &mut TileMut<'_>) {
    lengths::gemm_i8(w, first_panel, x, out);
    let product = I8Product::new(w, x, out);
    let second = Raised::new();
    let few_groups = product.groups <= GROUPS;
    let tokens_in_tile = if few_groups { TOKENS } else { 1 };
    for tokens in product.token_blocks(x.m, TOKENS) {
        for tile in balanced(tokens.clone(), tokens_in_tile) {
            let t = tile.start;
            // SAFETY: the lengths were checked: the panels, the tokens and the tile of the output
            // exist.
            unsafe {
                let to = product.out.add(t * product.out_stride);
                match tile.len() {
                    1 if few_groups => {
                        one_token::<true>(&product, second, first_panel, t, to, out.cols());
                    }
                    1 => one_token::<false>(&product, second, first_panel, t, to, out.cols()),
                    2 => tile_of::<2>(&product, second, first_panel, t, to, out.cols()),
                    _ => tile_of::<3>(&product, second, first_panel, t, to, out.cols()),
                }
            }
        }
    }
}

/// What makes weights the second operand.
#[derive(Clone, Copy)]
struct Raised {
    /// Exclusive or with each weight: adds 128, or 0.
    mask: v128,
    /// What it adds.
    by: i32,
}

impl Raised {
    fn new() -> Self {
        match probe() {
            Some(Second::Unsigned) => Self { mask: i8x16_splat(-128), by: 128 },
            _ => Self { mask: i8x16_splat(0), by: 0 },
        }
    }
}

/// Lines in the body of the inner loop; a group has a multiple of them.
const UNROLL: usize = 4;

/// Panels from `first_panel` on times one token, to `cols` columns from `out` on. The sums of
/// activations are computed once, or again for each panel where there is no room for them.
///
/// # Safety
/// The panels and the token must exist in `product`, with at most [`GROUPS`] groups if they are
/// `FEW_GROUPS`, and `out` must be valid for `cols` elements.
#[target_feature(enable = "relaxed-simd")]
unsafe fn one_token<const FEW_GROUPS: bool>(
    product: &I8Product,
    raised: Raised,
    first_panel: usize,
    token: usize,
    out: *mut f32,
    cols: usize,
) {
    // SAFETY: all pointers stay inside the planes: `groups * lines` lines of 64 bytes and their
    // scales, and as many runs of 8 activations.
    unsafe {
        let mut added_once = [0; GROUPS];
        if FEW_GROUPS {
            added(product, raised, token, &mut added_once);
        }
        for panel in 0..cols.div_ceil(8) {
            let mut line = product.weights(first_panel + panel);
            let mut weight_scales = product.weight_scales(first_panel + panel);
            let mut q = product.q.add(token * product.padded_k);
            let x_scales = product.x_scales.add(token * product.groups);
            let mut out_sums = [f32x4_splat(0.0); 2];
            for g in 0..product.groups {
                let mut low = [i32x4_splat(0); 4];
                let mut high = [i32x4_splat(0); 4];
                let mut x_sums = i32x4_splat(0);
                for _ in 0..product.lines / UNROLL {
                    for u in 0..UNROLL {
                        let q = q.add(u * 8);
                        if !FEW_GROUPS {
                            x_sums = dot(v128_load(q.cast()), i8x16_splat(1), x_sums);
                        }
                        let x_low = v128_load64_splat(q.cast());
                        let x_high = v128_load64_splat(q.add(4).cast());
                        for r in 0..4 {
                            let w = v128_load(line.add(u * 64 + r * 16).cast());
                            let w = v128_xor(w, raised.mask);
                            low[r] = dot(x_low, w, low[r]);
                            high[r] = dot(x_high, w, high[r]);
                        }
                    }
                    line = line.add(UNROLL * 64);
                    q = q.add(UNROLL * 8);
                }
                let added = if FEW_GROUPS { added_once[g] } else { raised.by * total(x_sums) };
                let added = i32x4_splat(added);
                let dots: [v128; 4] = std::array::from_fn(|r| joined(low[r], high[r]));
                let rows = [sums::of_pairs(dots[0], dots[1]), sums::of_pairs(dots[2], dots[3])];
                let x_scale = f32x4_splat(*x_scales.add(g));
                let scales = v128_load(weight_scales.cast());
                weight_scales = weight_scales.add(product.scale_step);
                let scales = convert::wide(scales);
                for ((sum, row), scale) in out_sums.iter_mut().zip(rows).zip(scales) {
                    let dot = f32x4_convert_i32x4(i32x4_sub(row, added));
                    *sum = f32x4_add(*sum, f32x4_mul(dot, f32x4_mul(scale, x_scale)));
                }
            }
            sums::store(out.add(panel * 8), out_sums, (cols - panel * 8).min(8));
        }
    }
}

/// Panels from `first_panel` on times `T` tokens from `token` on, to `cols` columns from `out` on,
/// four rows at a time.
///
/// # Safety
/// The panels and the tokens must exist in `product`, with at most [`GROUPS`] groups, and `out`
/// must be valid for `T` rows of `cols` elements.
#[target_feature(enable = "relaxed-simd")]
unsafe fn tile_of<const T: usize>(
    product: &I8Product,
    raised: Raised,
    first_panel: usize,
    token: usize,
    out: *mut f32,
    cols: usize,
) {
    // SAFETY: as for one token.
    unsafe {
        let mut added_once = [[0; GROUPS]; T];
        for (t, added_once) in added_once.iter_mut().enumerate() {
            added(product, raised, token + t, added_once);
        }
        let x = product.q.add(token * product.padded_k);
        for panel in 0..cols.div_ceil(8) {
            let mut halves = [[f32x4_splat(0.0); 2]; T];
            for half in 0..2 {
                let mut line = product.weights(first_panel + panel).add(half * 32);
                let mut weight_scales = product.weight_scales(first_panel + panel).add(half * 4);
                let mut q = x;
                let x_scales = product.x_scales.add(token * product.groups);
                for g in 0..product.groups {
                    let mut low = [[i32x4_splat(0); 2]; T];
                    let mut high = [[i32x4_splat(0); 2]; T];
                    for _ in 0..product.lines {
                        let w: [v128; 2] = std::array::from_fn(|r| {
                            v128_xor(v128_load(line.add(r * 16).cast()), raised.mask)
                        });
                        for t in 0..T {
                            let q = q.add(t * product.padded_k);
                            let x_low = v128_load64_splat(q.cast());
                            let x_high = v128_load64_splat(q.add(4).cast());
                            for r in 0..2 {
                                low[t][r] = dot(x_low, w[r], low[t][r]);
                                high[t][r] = dot(x_high, w[r], high[t][r]);
                            }
                        }
                        line = line.add(64);
                        q = q.add(8);
                    }
                    let [scales, _] = convert::wide(v128_load64_zero(weight_scales.cast()));
                    weight_scales = weight_scales.add(product.scale_step);
                    for t in 0..T {
                        let rows = sums::of_pairs(
                            joined(low[t][0], high[t][0]),
                            joined(low[t][1], high[t][1]),
                        );
                        let row = i32x4_sub(rows, i32x4_splat(added_once[t][g]));
                        let x_scale = f32x4_splat(*x_scales.add(t * product.groups + g));
                        let scale = f32x4_mul(scales, x_scale);
                        let scaled = f32x4_mul(f32x4_convert_i32x4(row), scale);
                        halves[t][half] = f32x4_add(halves[t][half], scaled);
                    }
                }
            }
            for (t, halves) in halves.into_iter().enumerate() {
                let to = out.add(t * product.out_stride + panel * 8);
                sums::store(to, halves, (cols - panel * 8).min(8));
            }
        }
    }
}

/// What the raised weights add to the dot products of a token, group by group.
///
/// # Safety
/// The token must exist in `product`.
#[target_feature(enable = "relaxed-simd")]
unsafe fn added(product: &I8Product, raised: Raised, token: usize, out: &mut [i32; GROUPS]) {
    // SAFETY: the token has `groups * lines` runs of 8 activations.
    unsafe {
        let mut q = product.q.add(token * product.padded_k);
        for out in out.iter_mut().take(product.groups) {
            let mut x_sums = i32x4_splat(0);
            for _ in 0..product.lines {
                x_sums = dot(v128_load(q.cast()), i8x16_splat(1), x_sums);
                q = q.add(8);
            }
            *out = raised.by * total(x_sums);
        }
    }
}

/// The dot products of both bytes as one.
#[inline(always)]
fn joined(low: v128, high: v128) -> v128 {
    i32x4_add(low, i32x4_shl(high, 8))
}

/// The sum of activations from the lanes `[low low high high]`.
#[inline(always)]
fn total(x_sums: v128) -> i32 {
    let low = i32x4_extract_lane::<0>(x_sums) + i32x4_extract_lane::<1>(x_sums);
    let high = i32x4_extract_lane::<2>(x_sums) + i32x4_extract_lane::<3>(x_sums);
    low + (high << 8)
}
