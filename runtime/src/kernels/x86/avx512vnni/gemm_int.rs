//! int8 and 4-bit weights times 16-bit activations.
//!
//! A line of 8 rows x 8 k is one register. Its even and odd k are sign-extended to 16 bits by
//! shifts, once for a tile of up to 8 tokens; each token then costs two 8-byte broadcasts, shared
//! by two panels, and two `vpdpwssd` a panel. At the end of a group two `vpermt2d` and an addition
//! join the two partial sums of each row, for both panels at once. A line of 4-bit weights is two
//! such runs of 8 k; masks take the place of sign extension.

use super::{load_pair, store};
use crate::kernels::x86::{IntProduct, STREAM_AHEAD, balanced};
use crate::kernels::{I4Panels, I8Panels, QuantizedRows, TileMut, lengths};
use std::arch::asm;
use std::arch::x86_64::*;

/// Tokens of a tile: with two panels 16 integer and 8 float sums, and 4 registers of weights.
const TOKENS: usize = 8;

pub(super) fn gemm_i8(
    w: &I8Panels<'_>,
    first_panel: usize,
    x: &QuantizedRows<'_>,
    out: &mut TileMut<'_>,
) {
    lengths::gemm_i8(w, first_panel, x, out);
    all_tiles::<false>(&IntProduct::i8(w, x, out), first_panel, x.m, out.cols());
}

pub(super) fn gemm_i4(
    w: &I4Panels<'_>,
    first_panel: usize,
    x: &QuantizedRows<'_>,
    out: &mut TileMut<'_>,
) {
    lengths::gemm_i4(w, first_panel, x, out);
    all_tiles::<true>(&IntProduct::i4(w, x, out), first_panel, x.m, out.cols());
}

/// All tiles of a product of which the lengths were checked.
fn all_tiles<const FOUR: bool>(product: &IntProduct, first_panel: usize, m: usize, cols: usize) {
    let panels = cols.div_ceil(8);
    for block in product.token_blocks(m, TOKENS) {
        // One token reads panel after panel, a single stream of memory.
        let together = if m == 1 { 1 } else { 2 };
        for panel in (0..panels).step_by(together) {
            let pair = together == 2 && panel + 1 < panels;
            let cols = (cols - panel * 8).min(together * 8);
            for tile in balanced(block.clone(), TOKENS) {
                let (t, p) = (tile.start, first_panel + panel);
                // SAFETY: the lengths were checked: the panels, the tokens and the tile of the
                // output exist; the set's features were detected.
                unsafe {
                    let to = product.out.add(t * product.out_stride + panel * 8);
                    if pair {
                        any_tokens::<FOUR, 2>(product, p, t, tile.len(), to, cols);
                    } else {
                        any_tokens::<FOUR, 1>(product, p, t, tile.len(), to, cols);
                    }
                }
            }
        }
    }
}

/// Chooses the tile of up to [`TOKENS`] tokens.
///
/// # Safety
/// As for [`tile_of`].
unsafe fn any_tokens<const FOUR: bool, const P: usize>(
    product: &IntProduct,
    panel: usize,
    token: usize,
    tokens: usize,
    out: *mut f32,
    cols: usize,
) {
    // SAFETY: as the caller promises.
    unsafe {
        match tokens {
            1 => tile_of::<FOUR, P, 1>(product, panel, token, out, cols),
            2 => tile_of::<FOUR, P, 2>(product, panel, token, out, cols),
            3 => tile_of::<FOUR, P, 3>(product, panel, token, out, cols),
            4 => tile_of::<FOUR, P, 4>(product, panel, token, out, cols),
            5 => tile_of::<FOUR, P, 5>(product, panel, token, out, cols),
            6 => tile_of::<FOUR, P, 6>(product, panel, token, out, cols),
            7 => tile_of::<FOUR, P, 7>(product, panel, token, out, cols),
            _ => tile_of::<FOUR, P, 8>(product, panel, token, out, cols),
        }
    }
}

/// `P` panels (1 or 2) times `T` tokens from `token` on, to `cols` columns from `out` on.
///
/// # Safety
/// The panels and the tokens must exist in `product`, and `out` must be valid for `T` rows of
/// `cols <= 8 * P` elements.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
unsafe fn tile_of<const FOUR: bool, const P: usize, const T: usize>(
    product: &IntProduct,
    panel: usize,
    token: usize,
    out: *mut f32,
    cols: usize,
) {
    // SAFETY: all pointers stay inside the planes: `groups * runs` runs of 8 k (a line of 64 bytes each, or
    // two runs in one) and their scales for each panel, and as many of activations for each token.
    unsafe {
        let mut lines: [_; P] = std::array::from_fn(|p| product.weights(panel + p));
        let last = panel + P - 1;
        let mut weight_scales = [product.weight_scales(panel), product.weight_scales(last)];
        let mut q = product.q.add(token * product.padded_k);
        // Several tokens pass over each panel, long enough for the next ones to arrive.
        let ahead = if T == 1 { *STREAM_AHEAD } else { P * product.panel_bytes };
        let x_scales = product.x_scales.add(token * product.x_stride);
        let evens = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
        let odds = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
        let mut sums = [_mm512_setzero_ps(); T];
        for g in 0..product.groups {
            let mut dots = [[_mm512_setzero_si512(); P]; T];
            let runs_of_line = if FOUR { 2 } else { 1 };
            for _ in 0..product.runs / runs_of_line {
                let mut line = [_mm512_setzero_si512(); P];
                for p in 0..P {
                    if T == 1 {
                        _mm_prefetch::<_MM_HINT_T0>(lines[p].wrapping_add(ahead));
                    } else {
                        _mm_prefetch::<_MM_HINT_T1>(lines[p].wrapping_add(ahead));
                    }
                    line[p] = _mm512_loadu_si512(lines[p].cast());
                    lines[p] = lines[p].add(64);
                }
                for run in 0..runs_of_line {
                    let halves = line.map(|line| even_odd::<FOUR>(line, run));
                    for (t, dots) in dots.iter_mut().enumerate() {
                        let run = q.add(t * product.padded_k);
                        let q_even = _mm512_set1_epi64(run.cast::<i64>().read_unaligned());
                        let q_odd = _mm512_set1_epi64(run.add(4).cast::<i64>().read_unaligned());
                        for p in 0..P {
                            dots[p] = dot_pairs(dots[p], halves[p][0], q_even);
                        }
                        for p in 0..P {
                            dots[p] = dot_pairs(dots[p], halves[p][1], q_odd);
                        }
                    }
                    q = q.add(8);
                }
            }
            let scales = load_pair(weight_scales[0], weight_scales[1]);
            let minima = match FOUR {
                true => load_pair(weight_scales[0].add(8), weight_scales[1].add(8)),
                false => _mm512_setzero_ps(),
            };
            weight_scales = weight_scales.map(|scales| scales.add(product.scale_step));
            for (t, (sum, dots)) in sums.iter_mut().zip(&dots).enumerate() {
                let x_scale = _mm512_set1_ps(*x_scales.add(t * product.x_stride + g));
                let dot = _mm512_add_epi32(
                    _mm512_permutex2var_epi32(dots[0], evens, dots[P - 1]),
                    _mm512_permutex2var_epi32(dots[0], odds, dots[P - 1]),
                );
                let scaled = _mm512_mul_ps(_mm512_cvtepi32_ps(dot), _mm512_mul_ps(scales, x_scale));
                *sum = _mm512_add_ps(*sum, scaled);
                if FOUR {
                    let x_sum = *x_scales.add(t * product.x_stride + product.groups + g);
                    *sum = _mm512_fmadd_ps(minima, _mm512_set1_ps(x_sum), *sum);
                }
            }
        }
        for (t, sum) in sums.into_iter().enumerate() {
            store(out.add(t * product.out_stride), sum, cols);
        }
    }
}

/// The even and the odd k of a run of a line, in 16 bits.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn even_odd<const FOUR: bool>(line: __m512i, run: usize) -> [__m512i; 2] {
    let low = _mm512_set1_epi16(15);
    match (FOUR, run) {
        (false, _) => {
            [_mm512_srai_epi16::<8>(_mm512_slli_epi16::<8>(line)), _mm512_srai_epi16::<8>(line)]
        }
        (true, 0) => {
            [_mm512_and_si512(line, low), _mm512_and_si512(_mm512_srli_epi16::<8>(line), low)]
        }
        (true, _) => {
            [_mm512_and_si512(_mm512_srli_epi16::<4>(line), low), _mm512_srli_epi16::<12>(line)]
        }
    }
}

/// `vpdpwssd`: adds the products of two 16-bit pairs to each 32-bit sum. The compiler would turn
/// every second intrinsic of a chain into `vpmaddwd` and `vpaddd`, which is shorter for the chain
/// and slower for the tile.
#[target_feature(enable = "avx512f,avx512vnni")]
#[inline]
fn dot_pairs(mut sum: __m512i, a: __m512i, b: __m512i) -> __m512i {
    // SAFETY: a computation on registers; the feature is enabled.
    unsafe {
        asm!(
            "vpdpwssd {sum}, {a}, {b}",
            sum = inout(zmm_reg) sum,
            a = in(zmm_reg) a,
            b = in(zmm_reg) b,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sum
}
