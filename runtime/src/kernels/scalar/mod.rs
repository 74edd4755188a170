//! Plain Rust without vector instructions: the fallback, and the oracle of every other set.
//!
//! The matrix products are written as the contract states them, apart from the vector ones; the
//! elementwise functions are the shared ones without target features.

use super::elementwise::{self, fma};
use super::lengths;
use super::{
    ACTIVATION_MAX, F16Panels, FloatRows, I4Panels, I8Panels, Kernels, PANEL_ROWS, QuantizedRows,
    TileMut,
};
use half::f16;

/// The table.
pub(super) static KERNELS: Kernels = Kernels {
    name: "scalar",
    quantize_row,
    gemm_i8,
    gemm_i4,
    gemm_f16,
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
    to_f16,
};

/// This set's private order of values is the natural one.
fn quantize_row(x: &[f32], group: usize, q: &mut [i16], scales: &mut [f32]) {
    lengths::quantize_row(x, group, q, scales);
    let mut rest = x;
    for (q, scale) in q.chunks_exact_mut(group).zip(scales) {
        let (x, after) = rest.split_at(group.min(rest.len()));
        rest = after;
        *scale = quantize_group(x, q);
    }
}

/// Quantizes one group; `q` may be longer than `x`. Gives the scale.
fn quantize_group(x: &[f32], q: &mut [i16]) -> f32 {
    q.fill(0);
    // As integers, magnitudes order like floats, with NaN above everything.
    let max = x.iter().map(|v| v.abs().to_bits()).max().unwrap_or(0);
    let max = f32::from_bits(max);
    if !max.is_finite() {
        return f32::NAN;
    }
    let limit = f32::from(ACTIVATION_MAX);
    let factor = limit / max;
    if !factor.is_finite() {
        return 0.0;
    }
    for (q, &x) in q.iter_mut().zip(x) {
        *q = (x * factor).round_ties_even() as i16;
    }
    max / limit
}

fn gemm_i8(w: &I8Panels<'_>, first_panel: usize, x: &QuantizedRows<'_>, out: &mut TileMut<'_>) {
    lengths::gemm_i8(w, first_panel, x, out);
    let groups = w.padded_k / w.group;
    for t in 0..x.m {
        let q = &x.q[t * w.padded_k..][..w.padded_k];
        for (column, out) in out.row(t).iter_mut().enumerate() {
            let (panel, row) = (first_panel + column / PANEL_ROWS, column % PANEL_ROWS);
            let mut sum = 0.0f32;
            for (g, q) in q.chunks_exact(w.group).enumerate() {
                let run = &w.data[(panel * w.padded_k + g * w.group) * PANEL_ROWS..];
                let mut dot = 0i32;
                for (line, q) in run.chunks_exact(PANEL_ROWS * 8).zip(q.chunks_exact(8)) {
                    for (&weight, &q) in line[row * 8..][..8].iter().zip(q) {
                        dot += i32::from(weight) * i32::from(q);
                    }
                }
                let scale = if w.whole_row { panel } else { panel * groups + g };
                let scale = w.scales[scale * PANEL_ROWS + row].to_f32();
                sum += dot as f32 * (scale * x.scales[t * x.stride + g]);
            }
            *out = sum;
        }
    }
}

fn gemm_i4(w: &I4Panels<'_>, first_panel: usize, x: &QuantizedRows<'_>, out: &mut TileMut<'_>) {
    lengths::gemm_i4(w, first_panel, x, out);
    let groups = w.padded_k / w.group;
    for t in 0..x.m {
        let q = &x.q[t * w.padded_k..][..w.padded_k];
        let (x_scales, x_sums) = x.scales[t * x.stride..].split_at(groups);
        for (column, out) in out.row(t).iter_mut().enumerate() {
            let (panel, row) = (first_panel + column / PANEL_ROWS, column % PANEL_ROWS);
            let mut sum = 0.0f32;
            for (g, q) in q.chunks_exact(w.group).enumerate() {
                let lines = &w.data[(panel * w.padded_k + g * w.group) * PANEL_ROWS / 2..];
                let mut dot = 0i32;
                for (line, q) in lines.chunks_exact(PANEL_ROWS * 8).zip(q.chunks_exact(16)) {
                    for (i, &pair) in line[row * 8..][..8].iter().enumerate() {
                        dot += i32::from(pair & 15) * i32::from(q[i]);
                        dot += i32::from(pair >> 4) * i32::from(q[8 + i]);
                    }
                }
                let scales = &w.scales[(panel * groups + g) * 2 * PANEL_ROWS..];
                let (scale, minimum) = (scales[row].to_f32(), scales[PANEL_ROWS + row].to_f32());
                sum += dot as f32 * (scale * x_scales[g]);
                sum = fma(minimum, x_sums[g], sum);
            }
            *out = sum;
        }
    }
}

fn gemm_f16(w: &F16Panels<'_>, first_panel: usize, x: &FloatRows<'_>, out: &mut TileMut<'_>) {
    lengths::gemm_f16(w, first_panel, x, out);
    for t in 0..x.m {
        let x = &x.x[t * x.stride..][..x.k];
        for (column, out) in out.row(t).iter_mut().enumerate() {
            let (panel, row) = (first_panel + column / PANEL_ROWS, column % PANEL_ROWS);
            let w = &w.data[panel * w.panel_stride..];
            let mut sum = 0.0f32;
            for (k, &x) in x.iter().enumerate() {
                sum = fma(w[k * PANEL_ROWS + row].to_f32(), x, sum);
            }
            *out = sum;
        }
    }
}

fn to_f16(x: &[f32], out: &mut [f16]) {
    lengths::to_f16(x, out);
    for (out, &x) in out.iter_mut().zip(x) {
        *out = f16::from_f32(x);
    }
}
