//! int8 and 4-bit weights times 16-bit activations for many tokens: weights are widened first.
//!
//! A stretch of k of a panel is extended to 16 bits into a buffer, pairs of k side by side for
//! all rows; then every tile of tokens passes over it. A pair of k of a token costs one splat, and
//! two products and two additions for 8 rows: no sums across lanes at the end of a group, and no
//! conversion of its scales.

use super::{convert, runs_of_line, sums};
use crate::kernels::product::{IntProduct, balanced};
use std::arch::wasm32::*;
use std::mem::MaybeUninit;
use std::ops::Range;

/// Tokens of a tile: 8 sums, 2 vectors of weights, 4 of activations and a product are what 15
/// registers hold. Were one sum in memory, every turn of the loop would wait for it.
pub(super) const TOKENS: usize = 4;

/// k of a stretch: 9 KiB of widened weights.
const STRETCH: usize = 576;
/// Least k of a group.
const LEAST_GROUP: usize = 32;

/// Widened weights `[k / 2][8 rows][2 k]`, scales and minima `[groups][8 rows]`.
struct Widened {
    weights: [MaybeUninit<[v128; 2]>; STRETCH / 2],
    scales: [MaybeUninit<[v128; 2]>; STRETCH / LEAST_GROUP],
    minima: [MaybeUninit<[v128; 2]>; STRETCH / LEAST_GROUP],
}

/// All `tokens` times the rows of `cols` columns of the output, from `first_panel` on.
///
/// # Safety
/// Panels, tokens and columns must exist in `product`.
pub(super) unsafe fn product<const FOUR: bool>(
    product: &IntProduct,
    first_panel: usize,
    tokens: Range<usize>,
    cols: usize,
) {
    let mut buffer = Widened {
        weights: [MaybeUninit::uninit(); STRETCH / 2],
        scales: [MaybeUninit::uninit(); STRETCH / LEAST_GROUP],
        minima: [MaybeUninit::uninit(); STRETCH / LEAST_GROUP],
    };
    let group = product.runs * 8;
    for col in (0..cols).step_by(8) {
        let panel = first_panel + col / 8;
        for groups in balanced(0..product.groups, (STRETCH / group).max(1)) {
            // SAFETY: as the caller promises.
            unsafe {
                widen::<FOUR>(product, panel, groups.clone(), &mut buffer);
                for tile in balanced(tokens.clone(), TOKENS) {
                    let out = product.out.add(tile.start * product.out_stride + col);
                    let (groups, cols, t) = (groups.clone(), (cols - col).min(8), tile.start);
                    match tile.len() {
                        1 => tile_of::<FOUR, 1>(product, groups, &buffer, t, out, cols),
                        2 => tile_of::<FOUR, 2>(product, groups, &buffer, t, out, cols),
                        3 => tile_of::<FOUR, 3>(product, groups, &buffer, t, out, cols),
                        _ => tile_of::<FOUR, 4>(product, groups, &buffer, t, out, cols),
                    }
                }
            }
        }
    }
}

/// Widens some groups of k of a panel, and their scales.
///
/// # Safety
/// The panel and the groups must exist in `product`; the groups must fit a stretch.
unsafe fn widen<const FOUR: bool>(
    product: &IntProduct,
    panel: usize,
    groups: Range<usize>,
    buffer: &mut Widened,
) {
    let n_runs = groups.len() * product.runs;
    assert!(n_runs * 8 <= STRETCH && groups.len() <= STRETCH / LEAST_GROUP);
    // SAFETY: the lines and scales lie in the panel.
    unsafe {
        let first = groups.start * product.runs / runs_of_line(FOUR);
        let line = product.weights(panel).add(first * 64);
        for (i, pairs) in buffer.weights.chunks_exact_mut(4).take(n_runs).enumerate() {
            let (line, run) = (line.add(i / runs_of_line(FOUR) * 64), i % runs_of_line(FOUR));
            let upper = pairs_of_rows::<FOUR>(line, run);
            let lower = pairs_of_rows::<FOUR>(line.add(32), run);
            for ((to, upper), lower) in pairs.iter_mut().zip(upper).zip(lower) {
                to.write([upper, lower]);
            }
        }
        let scales = product.weight_scales(panel);
        for (g, to) in groups.clone().zip(&mut buffer.scales) {
            to.write(convert::wide(v128_load(scales.add(g * product.scale_step).cast())));
        }
        if FOUR {
            for (g, to) in groups.zip(&mut buffer.minima) {
                to.write(convert::wide(v128_load(scales.add(g * product.scale_step + 8).cast())));
            }
        }
    }
}

/// A row of a run of 8 k of a line, in 16 bits. A line of int8 is one run, a line of 4-bit weights two:
/// the low and the high halves of its bytes.
///
/// # Safety
/// `row` must be valid for 8 bytes.
#[inline(always)]
pub(super) unsafe fn row_of_run<const FOUR: bool>(row: *const i8, run: usize) -> v128 {
    // SAFETY: the caller's promise.
    unsafe {
        match (FOUR, run) {
            (false, _) => i16x8_load_extend_i8x8(row),
            (true, 0) => v128_and(u16x8_load_extend_u8x8(row.cast()), u16x8_splat(15)),
            (true, _) => u16x8_shr(u16x8_load_extend_u8x8(row.cast()), 4),
        }
    }
}

/// Four pairs of k of four rows of a run: pair by pair, a lane for each row.
///
/// # Safety
/// `rows` must be valid for 32 bytes.
#[inline(always)]
unsafe fn pairs_of_rows<const FOUR: bool>(rows: *const i8, run: usize) -> [v128; 4] {
    // SAFETY: the caller's promise.
    let [a, b, c, d] = std::array::from_fn(|r| unsafe { row_of_run::<FOUR>(rows.add(r * 8), run) });
    let (ab, cd) = (i32x4_shuffle::<0, 4, 1, 5>(a, b), i32x4_shuffle::<0, 4, 1, 5>(c, d));
    let (ab_, cd_) = (i32x4_shuffle::<2, 6, 3, 7>(a, b), i32x4_shuffle::<2, 6, 3, 7>(c, d));
    [
        i64x2_shuffle::<0, 2>(ab, cd),
        i64x2_shuffle::<1, 3>(ab, cd),
        i64x2_shuffle::<0, 2>(ab_, cd_),
        i64x2_shuffle::<1, 3>(ab_, cd_),
    ]
}

/// Adds the products of some groups of k to `T` rows of `cols` sums at `out`; the first group
/// starts them.
///
/// # Safety
/// As for [`product`]; `buffer` must hold these groups, and `out` be valid for `T` rows of
/// `cols <= 8` elements.
unsafe fn tile_of<const FOUR: bool, const T: usize>(
    product: &IntProduct,
    groups: Range<usize>,
    buffer: &Widened,
    token: usize,
    out: *mut f32,
    cols: usize,
) {
    // SAFETY: all pointers stay inside the planes, the buffer and the output.
    unsafe {
        let mut w = buffer.weights.as_ptr().cast::<[v128; 2]>();
        let mut q = product.q.add(token * product.padded_k + groups.start * product.runs * 8);
        let x_scales = product.x_scales.add(token * product.x_stride);
        let mut sums = [[f32x4_splat(0.0); 2]; T];
        if groups.start > 0 {
            for (t, sums) in sums.iter_mut().enumerate() {
                *sums = sums::load(out.add(t * product.out_stride), cols);
            }
        }
        for (g, (scales, minima)) in groups.zip(buffer.scales.iter().zip(&buffer.minima)) {
            let mut dots = [[i32x4_splat(0); 2]; T];
            for _ in 0..product.runs * 4 {
                let [upper, lower] = w.read();
                for (t, [u, l]) in dots.iter_mut().enumerate() {
                    let x = v128_load32_splat(q.add(t * product.padded_k).cast());
                    *u = i32x4_add(*u, i32x4_dot_i16x8(upper, x));
                    *l = i32x4_add(*l, i32x4_dot_i16x8(lower, x));
                }
                w = w.add(1);
                q = q.add(2);
            }
            let scales = scales.assume_init();
            for (t, (sums, dots)) in sums.iter_mut().zip(dots).enumerate() {
                let x_scale = f32x4_splat(*x_scales.add(t * product.x_stride + g));
                for ((sum, dot), scale) in sums.iter_mut().zip(dots).zip(scales) {
                    let scale = f32x4_mul(scale, x_scale);
                    *sum = f32x4_add(*sum, f32x4_mul(f32x4_convert_i32x4(dot), scale));
                }
                if FOUR {
                    let x_sum = *x_scales.add(t * product.x_stride + product.groups + g);
                    sums::add_minima(sums, minima.assume_init(), x_sum);
                }
            }
        }
        for (t, sums) in sums.into_iter().enumerate() {
            sums::store(out.add(t * product.out_stride), sums, cols);
        }
    }
}
