//! int8 and 4-bit weights times 16-bit activations with strict instructions.
//!
//! Eight k of a row are widened to 16 bits by the load itself, one multiplication joins them with
//! the token's activations to four partial sums. Activations keep their natural order. Many tokens
//! go another way, see `widened`. Loops are not unrolled here: engines do it, while the compiler
//! would load ahead more than there are registers for.

use super::{convert, gemm_f16, quantize, runs_of_line, sums, widened};
use crate::kernels::product::IntProduct;
use crate::kernels::{
    I4Panels, I8Panels, Kernels, QuantizedRows, TileMut, elementwise, lengths, scalar,
};
use std::arch::wasm32::*;

/// The table.
pub(super) static KERNELS: Kernels = Kernels {
    name: "simd128",
    quantize_row,
    gemm_i8,
    gemm_i4,
    gemm_f16: gemm_f16::gemm_f16,
    rms_norm: elementwise::rms_norm,
    layer_norm: elementwise::layer_norm,
    softmax_exp: elementwise::softmax_exp,
    activate: elementwise::activate,
    mul: elementwise::mul,
    add: elementwise::add,
    scale_add: elementwise::scale_add,
    scale: elementwise::scale,
    rotate_half: elementwise::rotate_half,
    group_sums: elementwise::group_sums,
    recur: elementwise::recur,
    to_f16: scalar::KERNELS.to_f16,
};

/// From this many tokens on, weights are widened once for all of them.
const MANY_TOKENS: usize = 4;

fn quantize_row(x: &[f32], group: usize, q: &mut [i16], scales: &mut [f32]) {
    quantize::quantize_row(x, group, q, scales, |run| run);
}

fn gemm_i8(w: &I8Panels<'_>, first_panel: usize, x: &QuantizedRows<'_>, out: &mut TileMut<'_>) {
    lengths::gemm_i8(w, first_panel, x, out);
    all_tiles::<false>(&IntProduct::i8(w, x, out), first_panel, x.m, out.cols());
}

fn gemm_i4(w: &I4Panels<'_>, first_panel: usize, x: &QuantizedRows<'_>, out: &mut TileMut<'_>) {
    lengths::gemm_i4(w, first_panel, x, out);
    all_tiles::<true>(&IntProduct::i4(w, x, out), first_panel, x.m, out.cols());
}

/// All tiles of a product of which the lengths were checked.
fn all_tiles<const FOUR: bool>(product: &IntProduct, first_panel: usize, m: usize, cols: usize) {
    if m >= MANY_TOKENS {
        for tokens in product.token_blocks(m, widened::TOKENS) {
            // SAFETY: the lengths were checked, as below.
            unsafe { widened::product::<FOUR>(product, first_panel, tokens, cols) };
        }
        return;
    }
    for panel in 0..cols.div_ceil(8) {
        let cols = (cols - panel * 8).min(8);
        for t in 0..m {
            // SAFETY: the lengths were checked: the panel, the tokens and the tile of the output
            // exist.
            unsafe {
                let to = product.out.add(t * product.out_stride + panel * 8);
                one_token::<FOUR>(product, first_panel + panel, t, to, cols);
            }
        }
    }
}

/// One panel times one token: all 8 rows at once, so that the panel is read in order.
///
/// # Safety
/// The panel and the token must exist in `product`, and `out` must be valid for `cols <= 8`
/// elements.
unsafe fn one_token<const FOUR: bool>(
    product: &IntProduct,
    panel: usize,
    token: usize,
    out: *mut f32,
    cols: usize,
) {
    // SAFETY: all pointers stay inside the planes: `groups * runs` runs of 8 k (a line of 64 bytes
    // each, or two runs in one) and their scales, and as many of activations.
    unsafe {
        let mut line = product.weights(panel);
        let mut weight_scales = product.weight_scales(panel);
        let mut q = product.q.add(token * product.padded_k);
        let x_scales = product.x_scales.add(token * product.x_stride);
        let mut out_sums = [f32x4_splat(0.0); 2];
        for g in 0..product.groups {
            let mut dots = [i32x4_splat(0); 8];
            for _ in 0..product.runs / runs_of_line(FOUR) {
                for run in 0..runs_of_line(FOUR) {
                    let x = v128_load(q.cast());
                    for (r, dot) in dots.iter_mut().enumerate() {
                        let w = widened::row_of_run::<FOUR>(line.add(r * 8), run);
                        *dot = i32x4_add(*dot, i32x4_dot_i16x8(w, x));
                    }
                    q = q.add(8);
                }
                line = line.add(64);
            }
            let [a, b, c, d, e, f, g_, h] = dots;
            let rows = [sums::of_fours([a, b, c, d]), sums::of_fours([e, f, g_, h])];
            let x_scale = f32x4_splat(*x_scales.add(g));
            let scales = v128_load(weight_scales.cast());
            let scales = convert::wide(scales);
            for ((sum, dot), scale) in out_sums.iter_mut().zip(rows).zip(scales) {
                let scale = f32x4_mul(scale, x_scale);
                *sum = f32x4_add(*sum, f32x4_mul(f32x4_convert_i32x4(dot), scale));
            }
            if FOUR {
                let minima = convert::wide(v128_load(weight_scales.add(8).cast()));
                sums::add_minima(&mut out_sums, minima, *x_scales.add(product.groups + g));
            }
            weight_scales = weight_scales.add(product.scale_step);
        }
        sums::store(out, out_sums, cols);
    }
}
