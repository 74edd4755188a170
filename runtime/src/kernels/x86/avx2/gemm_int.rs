//! int8 and 4-bit weights times 16-bit activations, with AVX2 and with AVX-VNNI.
//!
//! A run of 8 rows x 8 k is two registers. Its even and odd k are sign-extended to 16 bits by
//! shifts (`vpsllw`, `vpsraw`), once for a tile of tokens; each token then costs two 8-byte
//! broadcasts and four products of pairs: `vpmaddwd` and `vpaddd`, or `vpdpwssd`, which does both.
//! At the end of a group `vphaddd` joins the two partial sums of each row, and the group is scaled
//! into the f32 sums. Many tokens go another way with AVX2, see `widened`.

use super::line::{store, swap_middle_pairs, widened_run};
use super::widened;
use crate::kernels::x86::{IntProduct, STREAM_AHEAD, balanced};
use crate::kernels::{I4Panels, I8Panels, QuantizedRows, TileMut, lengths};
use std::arch::asm;
use std::arch::x86_64::*;

/// Tokens of a tile with AVX2: 8 sums and 4 registers of weights leave room for the activations
/// and their products.
const TOKENS: usize = 4;

/// Tokens of a tile with AVX-VNNI, which needs no room for products.
const TOKENS_VNNI: usize = 5;

/// From this many tokens on, weights are widened once for all of them.
const MANY_TOKENS: usize = 12;

/// The product with int8 weights; `VNNI` where the machine has `avxvnni`.
pub(in crate::kernels::x86) fn gemm_i8<const VNNI: bool>(
    w: &I8Panels<'_>,
    first_panel: usize,
    x: &QuantizedRows<'_>,
    out: &mut TileMut<'_>,
) {
    lengths::gemm_i8(w, first_panel, x, out);
    all_tiles::<VNNI, false>(&IntProduct::i8(w, x, out), first_panel, x.m, out.cols());
}

/// The product with 4-bit weights; `VNNI` where the machine has `avxvnni`.
pub(in crate::kernels::x86) fn gemm_i4<const VNNI: bool>(
    w: &I4Panels<'_>,
    first_panel: usize,
    x: &QuantizedRows<'_>,
    out: &mut TileMut<'_>,
) {
    lengths::gemm_i4(w, first_panel, x, out);
    all_tiles::<VNNI, true>(&IntProduct::i4(w, x, out), first_panel, x.m, out.cols());
}

/// All tiles of a product of which the lengths were checked.
fn all_tiles<const VNNI: bool, const FOUR: bool>(
    product: &IntProduct,
    first_panel: usize,
    m: usize,
    cols: usize,
) {
    let panels = cols.div_ceil(8);
    let most = if VNNI { TOKENS_VNNI } else { TOKENS };
    if !VNNI && m >= MANY_TOKENS {
        for tokens in product.token_blocks(m, most) {
            // SAFETY: the lengths were checked, as below.
            unsafe { widened::product::<FOUR>(product, first_panel, tokens, cols) };
        }
        return;
    }
    for tokens in product.token_blocks(m, most) {
        for panel in 0..panels {
            let cols = (cols - panel * 8).min(8);
            for tile in balanced(tokens.clone(), most) {
                let (t, p) = (tile.start, first_panel + panel);
                // SAFETY: the lengths were checked: the panel, the tokens and the tile of the
                // output exist; the set's features were detected.
                unsafe {
                    let to = product.out.add(t * product.out_stride + panel * 8);
                    match tile.len() {
                        1 => tile_of::<VNNI, FOUR, 1>(product, p, t, to, cols),
                        2 => tile_of::<VNNI, FOUR, 2>(product, p, t, to, cols),
                        3 => tile_of::<VNNI, FOUR, 3>(product, p, t, to, cols),
                        4 => tile_of::<VNNI, FOUR, 4>(product, p, t, to, cols),
                        _ => tile_of::<VNNI, FOUR, 5>(product, p, t, to, cols),
                    }
                }
            }
        }
    }
}

/// One panel times `T` tokens from `token` on, to `cols` columns from `out` on.
///
/// # Safety
/// The panel and the tokens must exist in `product`, and `out` must be valid for `T` rows of
/// `cols <= 8` elements. `VNNI` needs a machine with `avxvnni`.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn tile_of<const VNNI: bool, const FOUR: bool, const T: usize>(
    product: &IntProduct,
    panel: usize,
    token: usize,
    out: *mut f32,
    cols: usize,
) {
    // SAFETY: all pointers stay inside the planes: `groups * runs` runs of 8 k (a line of 64 bytes each, or
    // two runs in one) and their scales, and as many of activations for each token.
    unsafe {
        let mut line = product.weights(panel);
        let mut weight_scales = product.weight_scales(panel);
        let mut q = product.q.add(token * product.padded_k);
        // Several tokens pass over each panel, long enough for the next one to arrive.
        let ahead = if T == 1 { *STREAM_AHEAD } else { product.panel_bytes };
        let x_scales = product.x_scales.add(token * product.x_stride);
        let mut sums = [_mm256_setzero_ps(); T];
        for g in 0..product.groups {
            let mut dots = [[_mm256_setzero_si256(); 2]; T];
            let runs_of_line = if FOUR { 2 } else { 1 };
            for _ in 0..product.runs / runs_of_line {
                if T == 1 {
                    _mm_prefetch::<_MM_HINT_T0>(line.wrapping_add(ahead));
                } else {
                    _mm_prefetch::<_MM_HINT_T1>(line.wrapping_add(ahead));
                }
                for run in 0..runs_of_line {
                    let [even_low, even_high, odd_low, odd_high] = widened_run::<FOUR>(line, run);
                    for (t, dot) in dots.iter_mut().enumerate() {
                        let run = q.add(t * product.padded_k);
                        let even = _mm256_set1_epi64x(run.cast::<i64>().read_unaligned());
                        let odd = _mm256_set1_epi64x(run.add(4).cast::<i64>().read_unaligned());
                        dot[0] = add_products::<VNNI>(dot[0], even_low, even);
                        dot[1] = add_products::<VNNI>(dot[1], even_high, even);
                        dot[0] = add_products::<VNNI>(dot[0], odd_low, odd);
                        dot[1] = add_products::<VNNI>(dot[1], odd_high, odd);
                    }
                    q = q.add(8);
                }
                line = line.add(64);
            }
            // `vphaddd` leaves the rows as 0 1 4 5 2 3 6 7; the scales are brought to that order,
            // and the sums back from it at the end.
            let scales = _mm256_cvtph_ps(_mm_loadu_si128(weight_scales.cast()));
            let scales = swap_middle_pairs(scales);
            let minima = match FOUR {
                true => _mm256_cvtph_ps(_mm_loadu_si128(weight_scales.add(8).cast())),
                false => _mm256_setzero_ps(),
            };
            let minima = swap_middle_pairs(minima);
            weight_scales = weight_scales.add(product.scale_step);
            for (t, (sum, dot)) in sums.iter_mut().zip(&dots).enumerate() {
                let x_scale = _mm256_set1_ps(*x_scales.add(t * product.x_stride + g));
                let dot = _mm256_cvtepi32_ps(_mm256_hadd_epi32(dot[0], dot[1]));
                *sum = _mm256_add_ps(*sum, _mm256_mul_ps(dot, _mm256_mul_ps(scales, x_scale)));
                if FOUR {
                    let x_sum = *x_scales.add(t * product.x_stride + product.groups + g);
                    *sum = _mm256_fmadd_ps(minima, _mm256_set1_ps(x_sum), *sum);
                }
            }
        }
        for (t, sum) in sums.into_iter().enumerate() {
            store(out.add(t * product.out_stride), swap_middle_pairs(sum), cols);
        }
    }
}

/// Adds the products of two 16-bit pairs to each 32-bit sum. In assembly with VNNI, as the
/// compiler would turn intrinsics of a chain into `vpmaddwd` and `vpaddd`: shorter for the chain,
/// slower for the tile.
///
/// # Safety
/// `VNNI` needs a machine with `avxvnni`.
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn add_products<const VNNI: bool>(mut sum: __m256i, a: __m256i, b: __m256i) -> __m256i {
    if !VNNI {
        return _mm256_add_epi32(sum, _mm256_madd_epi16(a, b));
    }
    // SAFETY: a computation on registers; the caller promises the feature.
    unsafe {
        asm!(
            "{{vex}} vpdpwssd {sum}, {a}, {b}",
            sum = inout(ymm_reg) sum,
            a = in(ymm_reg) a,
            b = in(ymm_reg) b,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sum
}
