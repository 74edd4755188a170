//! int8 and 4-bit weights times 16-bit activations with the relaxed dot product of bytes.
//!
//! An activation is two signed bytes, `256 * high + low`, and each weight meets both: the dot
//! product of the low bytes and that of the high ones are joined at the end of a group.
//!
//! What `i32x4.relaxed_dot_i8x16_i7x16_add_s` makes of a second operand of more than 7 bits is up
//! to the engine. Where there is one instruction for it, that takes the byte as signed (ARM
//! `sdot`) or as unsigned (x86 `vpdpbusd`) and does not saturate on the way. Both serve: the
//! second operand is the weight, raised by 128 for an unsigned multiplication, and the sums start
//! at minus 128 times the sum of the activations. Elsewhere the pairs saturate at 16 bits, and the
//! strict set is used: [`is_exact`] tries it out. 4-bit weights, 0 to 15, are the same either way.

use super::{convert, quantize, runs_of_line, simd128, sums};
use crate::kernels::product::{IntProduct, balanced};
use crate::kernels::{I4Panels, I8Panels, Kernels, QuantizedRows, TileMut, lengths};
use std::arch::wasm32::*;
use std::hint::black_box;

/// The table. What is not a product of integers is the strict set's.
pub(super) static KERNELS: Kernels =
    Kernels { name: "relaxed", quantize_row, gemm_i8, gemm_i4, ..simd128::KERNELS };

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
    let cols = out.cols();
    all_tiles::<false>(&IntProduct::i8(w, x, out), Raised::new(), first_panel, x.m, cols);
}

#[target_feature(enable = "relaxed-simd")]
fn gemm_i4(w: &I4Panels<'_>, first_panel: usize, x: &QuantizedRows<'_>, out: &mut TileMut<'_>) {
    lengths::gemm_i4(w, first_panel, x, out);
    let cols = out.cols();
    all_tiles::<true>(&IntProduct::i4(w, x, out), Raised::NOT, first_panel, x.m, cols);
}

/// All tiles of a product of which the lengths were checked.
#[target_feature(enable = "relaxed-simd")]
fn all_tiles<const FOUR: bool>(
    product: &IntProduct,
    second: Raised,
    first_panel: usize,
    m: usize,
    cols: usize,
) {
    let few_groups = product.groups <= GROUPS;
    let tokens_in_tile = if few_groups { TOKENS } else { 1 };
    for tokens in product.token_blocks(m, TOKENS) {
        for tile in balanced(tokens.clone(), tokens_in_tile) {
            let t = tile.start;
            // SAFETY: the lengths were checked: the panels, the tokens and the tile of the output
            // exist.
            unsafe {
                let to = product.out.add(t * product.out_stride);
                match tile.len() {
                    1 if few_groups => {
                        one_token::<FOUR, true>(product, second, first_panel, t, to, cols);
                    }
                    1 => one_token::<FOUR, false>(product, second, first_panel, t, to, cols),
                    2 => tile_of::<FOUR, 2>(product, second, first_panel, t, to, cols),
                    _ => tile_of::<FOUR, 3>(product, second, first_panel, t, to, cols),
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
    /// Weights that are the second operand as they are.
    const NOT: Self = Self { mask: i8x16(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0), by: 0 };

    fn new() -> Self {
        match probe() {
            Some(Second::Unsigned) => Self { mask: i8x16_splat(-128), by: 128 },
            _ => Self::NOT,
        }
    }
}

/// Rows `2 * pair` and `2 * pair + 1` of a run of 8 k, as second operand. A line of int8 is one run, a
/// line of 4-bit weights two: the low and the high halves of its bytes.
///
/// # Safety
/// The line of the run must be valid, `pair < 4`.
#[inline(always)]
unsafe fn two_rows<const FOUR: bool>(
    lines: *const i8,
    run: usize,
    pair: usize,
    raised: Raised,
) -> v128 {
    let line = run / runs_of_line(FOUR);
    // SAFETY: the caller's promise.
    let bytes = unsafe { v128_load(lines.add(line * 64 + pair * 16).cast()) };
    match (FOUR, run % 2) {
        (false, _) => v128_xor(bytes, raised.mask),
        (true, 0) => v128_and(bytes, u8x16_splat(15)),
        (true, _) => u8x16_shr(bytes, 4),
    }
}

/// Runs in the body of the inner loop; a group has a multiple of them.
const UNROLL: usize = 4;

/// Panels from `first_panel` on times one token, to `cols` columns from `out` on. The sums of
/// activations are computed once, or again for each panel where there is no room for them.
///
/// # Safety
/// The panels and the token must exist in `product`, with at most [`GROUPS`] groups if they are
/// `FEW_GROUPS`, and `out` must be valid for `cols` elements.
#[target_feature(enable = "relaxed-simd")]
unsafe fn one_token<const FOUR: bool, const FEW_GROUPS: bool>(
    product: &IntProduct,
    raised: Raised,
    first_panel: usize,
    token: usize,
    out: *mut f32,
    cols: usize,
) {
    // SAFETY: all pointers stay inside the planes: `groups * runs` runs of 8 k (a line of 64 bytes
    // each, or two runs in one) and their scales, and as many of activations.
    unsafe {
        let mut added_once = [0; GROUPS];
        if FEW_GROUPS {
            added(product, raised, token, &mut added_once);
        }
        for panel in 0..cols.div_ceil(8) {
            let mut line = product.weights(first_panel + panel);
            let mut weight_scales = product.weight_scales(first_panel + panel);
            let mut q = product.q.add(token * product.padded_k);
            let x_scales = product.x_scales.add(token * product.x_stride);
            let mut out_sums = [f32x4_splat(0.0); 2];
            for g in 0..product.groups {
                let mut low = [i32x4_splat(0); 4];
                let mut high = [i32x4_splat(0); 4];
                let mut x_sums = i32x4_splat(0);
                for _ in 0..product.runs / UNROLL {
                    for u in 0..UNROLL {
                        let q = q.add(u * 8);
                        if !FEW_GROUPS {
                            x_sums = dot(v128_load(q.cast()), i8x16_splat(1), x_sums);
                        }
                        let x_low = v128_load64_splat(q.cast());
                        let x_high = v128_load64_splat(q.add(4).cast());
                        for r in 0..4 {
                            let w = two_rows::<FOUR>(line, u, r, raised);
                            low[r] = dot(x_low, w, low[r]);
                            high[r] = dot(x_high, w, high[r]);
                        }
                    }
                    line = line.add(UNROLL / runs_of_line(FOUR) * 64);
                    q = q.add(UNROLL * 8);
                }
                let added = if FEW_GROUPS { added_once[g] } else { raised.by * total(x_sums) };
                let added = i32x4_splat(added);
                let dots: [v128; 4] = std::array::from_fn(|r| joined(low[r], high[r]));
                let rows = [sums::of_pairs(dots[0], dots[1]), sums::of_pairs(dots[2], dots[3])];
                let x_scale = f32x4_splat(*x_scales.add(g));
                let scales = convert::wide(v128_load(weight_scales.cast()));
                for ((sum, row), scale) in out_sums.iter_mut().zip(rows).zip(scales) {
                    let dot = f32x4_convert_i32x4(i32x4_sub(row, added));
                    *sum = f32x4_add(*sum, f32x4_mul(dot, f32x4_mul(scale, x_scale)));
                }
                if FOUR {
                    let minima = convert::wide(v128_load(weight_scales.add(8).cast()));
                    sums::add_minima(&mut out_sums, minima, *x_scales.add(product.groups + g));
                }
                weight_scales = weight_scales.add(product.scale_step);
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
unsafe fn tile_of<const FOUR: bool, const T: usize>(
    product: &IntProduct,
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
                let x_scales = product.x_scales.add(token * product.x_stride);
                for g in 0..product.groups {
                    let mut low = [[i32x4_splat(0); 2]; T];
                    let mut high = [[i32x4_splat(0); 2]; T];
                    for _ in 0..product.runs / runs_of_line(FOUR) {
                        for run in 0..runs_of_line(FOUR) {
                            let w: [v128; 2] =
                                std::array::from_fn(|r| two_rows::<FOUR>(line, run, r, raised));
                            for t in 0..T {
                                let q = q.add(t * product.padded_k);
                                let x_low = v128_load64_splat(q.cast());
                                let x_high = v128_load64_splat(q.add(4).cast());
                                for r in 0..2 {
                                    low[t][r] = dot(x_low, w[r], low[t][r]);
                                    high[t][r] = dot(x_high, w[r], high[t][r]);
                                }
                            }
                            q = q.add(8);
                        }
                        line = line.add(64);
                    }
                    let [scales, _] = convert::wide(v128_load64_zero(weight_scales.cast()));
                    let minima = match FOUR {
                        true => convert::wide(v128_load64_zero(weight_scales.add(8).cast()))[0],
                        false => f32x4_splat(0.0),
                    };
                    weight_scales = weight_scales.add(product.scale_step);
                    for t in 0..T {
                        let rows = sums::of_pairs(
                            joined(low[t][0], high[t][0]),
                            joined(low[t][1], high[t][1]),
                        );
                        let row = i32x4_sub(rows, i32x4_splat(added_once[t][g]));
                        let x_scale = f32x4_splat(*x_scales.add(t * product.x_stride + g));
                        let scale = f32x4_mul(scales, x_scale);
                        let scaled = f32x4_mul(f32x4_convert_i32x4(row), scale);
                        let mut sum = f32x4_add(halves[t][half], scaled);
                        if FOUR {
                            let x_sum = *x_scales.add(t * product.x_stride + product.groups + g);
                            sum = f32x4_add(f32x4_mul(minima, f32x4_splat(x_sum)), sum);
                        }
                        halves[t][half] = sum;
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
unsafe fn added(product: &IntProduct, raised: Raised, token: usize, out: &mut [i32; GROUPS]) {
    // SAFETY: the token has `groups * runs` runs of 8 activations.
    unsafe {
        let mut q = product.q.add(token * product.padded_k);
        for out in out.iter_mut().take(product.groups) {
            let mut x_sums = i32x4_splat(0);
            for _ in 0..product.runs {
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
