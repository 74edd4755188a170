//! int8 and 4-bit weights times 16-bit activations for many tokens: weights are widened first.
//!
//! A stretch of k of two panels is extended to 16 bits into a buffer that stays in the
//! first-level cache, pairs of k side by side for all rows; then every tile of tokens passes over
//! it. A pair of k of a token costs one 4-byte broadcast, and two products (`vpmaddwd`) and two
//! additions for 16 rows: no shifts, and no sums across lanes at the end of a group.

use super::line::{load, store, swap_middle_pairs, widened_run};
use crate::kernels::x86::{IntProduct, balanced};
use std::arch::x86_64::*;
use std::mem::MaybeUninit;
use std::ops::Range;

/// Tokens of a tile: 12 sums, 2 registers of weights, a broadcast and its product.
const TOKENS: usize = 6;

/// k of a stretch; with two panels 18 KiB of widened weights, a good half of a first-level cache.
const STRETCH: usize = 576;

/// Widened weights `[k / 2][P panels][8 rows][2 k]`, pairs of k in the order of the activations.
#[repr(align(64))]
struct Widened([MaybeUninit<i16>; STRETCH * 16]);

/// All `tokens` times the rows of `cols` columns of the output, from `first_panel` on.
///
/// # Safety
/// Panels, tokens and columns must exist in `product`.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn product<const FOUR: bool>(
    product: &IntProduct,
    first_panel: usize,
    tokens: Range<usize>,
    cols: usize,
) {
    let mut buffer = Widened([MaybeUninit::uninit(); STRETCH * 16]);
    let group = product.runs * 8;
    for col in (0..cols).step_by(16) {
        let panel = first_panel + col / 8;
        for groups in balanced(0..product.groups, (STRETCH / group).max(1)) {
            // SAFETY: as the caller promises.
            unsafe {
                if cols - col > 8 {
                    widen::<FOUR, 2>(product, panel, groups.clone(), &mut buffer);
                    stretch::<FOUR, 2>(product, panel, &groups, &buffer, &tokens, col, cols);
                } else {
                    widen::<FOUR, 1>(product, panel, groups.clone(), &mut buffer);
                    stretch::<FOUR, 1>(product, panel, &groups, &buffer, &tokens, col, cols);
                }
            }
        }
    }
}

/// Widens some groups of k of `P` panels.
///
/// # Safety
/// Panels and groups must exist in `product`; the groups must fit a stretch.
#[target_feature(enable = "avx2")]
unsafe fn widen<const FOUR: bool, const P: usize>(
    product: &IntProduct,
    panel: usize,
    groups: Range<usize>,
    buffer: &mut Widened,
) {
    assert!(groups.len() * product.runs * 8 <= STRETCH);
    // SAFETY: the lines lie in the panels, and 4 pairs of k for each of them in the buffer.
    unsafe {
        for p in 0..P {
            let runs_of_line = if FOUR { 2 } else { 1 };
            let first = groups.start * product.runs / runs_of_line;
            let mut line = product.weights(panel + p).add(first * 64);
            let mut to = buffer.0.as_mut_ptr().cast::<__m256i>().add(p);
            for _ in 0..groups.len() * product.runs / runs_of_line {
                for run in 0..runs_of_line {
                    let [even_low, even_high, odd_low, odd_high] = widened_run::<FOUR>(line, run);
                    let pairs = [
                        pair_of_rows::<0b10_00_10_00>(even_low, even_high),
                        pair_of_rows::<0b11_01_11_01>(even_low, even_high),
                        pair_of_rows::<0b10_00_10_00>(odd_low, odd_high),
                        pair_of_rows::<0b11_01_11_01>(odd_low, odd_high),
                    ];
                    for pair in pairs {
                        to.write(pair);
                        to = to.add(P);
                    }
                }
                line = line.add(64);
            }
        }
    }
}

/// One pair of k of each row, rows in order.
#[target_feature(enable = "avx2")]
#[inline]
fn pair_of_rows<const PAIR: i32>(low: __m256i, high: __m256i) -> __m256i {
    let pairs = _mm256_shuffle_ps::<PAIR>(_mm256_castsi256_ps(low), _mm256_castsi256_ps(high));
    _mm256_castps_si256(swap_middle_pairs(pairs))
}

/// All tokens times a widened stretch.
///
/// # Safety
/// As for [`product`]; `buffer` must hold these groups of these panels.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn stretch<const FOUR: bool, const P: usize>(
    product: &IntProduct,
    panel: usize,
    groups: &Range<usize>,
    buffer: &Widened,
    tokens: &Range<usize>,
    col: usize,
    cols: usize,
) {
    let cols = (cols - col).min(8 * P);
    let lines = groups.len() * product.runs / if FOUR { 2 } else { 1 };
    let mut asked = 0;
    for tile in balanced(tokens.clone(), TOKENS) {
        // SAFETY: as the caller promises.
        unsafe {
            // Meanwhile the weights of the next stretch arrive.
            let due = lines * (tile.end - tokens.start) / tokens.len();
            for p in 0..P {
                let next = next_stretch::<FOUR, P>(product, panel, groups, p);
                for line in asked..due {
                    _mm_prefetch::<_MM_HINT_T0>(next.wrapping_add(line * 64));
                }
            }
            asked = due;
            let out = product.out.add(tile.start * product.out_stride + col);
            let (groups, t) = (groups.clone(), tile.start);
            match tile.len() {
                1 => tile_of::<FOUR, P, 1>(product, panel, groups, buffer, t, out, cols),
                2 => tile_of::<FOUR, P, 2>(product, panel, groups, buffer, t, out, cols),
                3 => tile_of::<FOUR, P, 3>(product, panel, groups, buffer, t, out, cols),
                4 => tile_of::<FOUR, P, 4>(product, panel, groups, buffer, t, out, cols),
                5 => tile_of::<FOUR, P, 5>(product, panel, groups, buffer, t, out, cols),
                _ => tile_of::<FOUR, P, 6>(product, panel, groups, buffer, t, out, cols),
            }
        }
    }
}

/// Where the lines of panel `panel + p` continue after `groups`: there or, at its end, `P` panels
/// on. It may lie behind the plane: for prefetches only.
///
/// # Safety
/// The panels must exist.
#[target_feature(enable = "avx2")]
unsafe fn next_stretch<const FOUR: bool, const P: usize>(
    product: &IntProduct,
    panel: usize,
    groups: &Range<usize>,
    p: usize,
) -> *const i8 {
    // SAFETY: as the caller promises.
    let start = unsafe { product.weights(panel + p) };
    if groups.end < product.groups {
        start.wrapping_add(groups.end * product.runs * if FOUR { 32 } else { 64 })
    } else {
        start.wrapping_add(P * product.panel_bytes)
    }
}

/// Adds the products of some groups of k to `T` rows of `cols` sums at `out`; the first group
/// starts them.
///
/// # Safety
/// As for [`stretch`]; `out` must be valid for `T` rows of `cols` elements, more than
/// `8 * (P - 1)` and at most `8 * P`.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn tile_of<const FOUR: bool, const P: usize, const T: usize>(
    product: &IntProduct,
    panel: usize,
    groups: Range<usize>,
    buffer: &Widened,
    token: usize,
    out: *mut f32,
    cols: usize,
) {
    // SAFETY: all pointers stay inside the planes, the buffer and the output.
    unsafe {
        let mut w = buffer.0.as_ptr().cast::<__m256i>();
        let mut q = product.q.add(token * product.padded_k + groups.start * product.runs * 8);
        let x_scales = product.x_scales.add(token * product.x_stride);
        let mut sums = [[_mm256_setzero_ps(); P]; T];
        if groups.start > 0 {
            for (t, sums) in sums.iter_mut().enumerate() {
                for (p, sum) in sums.iter_mut().enumerate() {
                    let from = out.add(t * product.out_stride + p * 8);
                    *sum = load(from, (cols - p * 8).min(8));
                }
            }
        }
        for g in groups {
            let mut dots = [[_mm256_setzero_si256(); P]; T];
            // One pair a turn: of more, the compiler would add up the products first, for which
            // there are no registers.
            for _ in 0..product.runs * 4 {
                let pairs: [_; P] = std::array::from_fn(|p| w.add(p).read());
                for (t, dots) in dots.iter_mut().enumerate() {
                    let x = q.add(t * product.padded_k).cast::<i32>().read_unaligned();
                    let x = _mm256_set1_epi32(x);
                    for (dot, w) in dots.iter_mut().zip(pairs) {
                        *dot = _mm256_add_epi32(*dot, _mm256_madd_epi16(w, x));
                    }
                }
                w = w.add(P);
                q = q.add(2);
            }
            let scales: [_; P] = std::array::from_fn(|p| {
                let scales = product.weight_scales(panel + p).add(g * product.scale_step);
                _mm256_cvtph_ps(_mm_loadu_si128(scales.cast()))
            });
            for (t, (sums, dots)) in sums.iter_mut().zip(&dots).enumerate() {
                let x_scale = _mm256_set1_ps(*x_scales.add(t * product.x_stride + g));
                for ((sum, dot), scales) in sums.iter_mut().zip(dots).zip(scales) {
                    let scale = _mm256_mul_ps(scales, x_scale);
                    *sum = _mm256_add_ps(*sum, _mm256_mul_ps(_mm256_cvtepi32_ps(*dot), scale));
                }
            }
            if FOUR {
                let minima: [_; P] = std::array::from_fn(|p| {
                    let minima = product.weight_scales(panel + p).add(g * product.scale_step + 8);
                    _mm256_cvtph_ps(_mm_loadu_si128(minima.cast()))
                });
                for (t, sums) in sums.iter_mut().enumerate() {
                    let x_sum = *x_scales.add(t * product.x_stride + product.groups + g);
                    for (sum, minima) in sums.iter_mut().zip(minima) {
                        *sum = _mm256_fmadd_ps(minima, _mm256_set1_ps(x_sum), *sum);
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
