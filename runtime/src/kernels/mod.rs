//! The arithmetic, one table of functions per instruction set.
//!
//! Every function of every set has the meaning given at its field in [`Kernels`]; integer
//! products equal the scalar ones bit for bit, and so do float ones wherever the machine has a
//! fused multiply-add, because each output element has one fixed order of operations.
//!
//! # Activations
//! The input of an int8 matrix product is quantized per token and group of k to 16 bits:
//! `x = scale * q`, `|q| <= ACTIVATION_MAX`. 16 bits cost next to nothing where weights must be
//! widened anyway, and the error of 8 bits would exceed that of the weights (docs/numerics.md).
//! How the 16 bytes of each run of 8 k hold their values is private to the kernel set.

#[cfg(target_arch = "aarch64")]
mod aarch64;
mod elementwise;
mod lengths;
#[cfg(any(
    target_arch = "x86_64",
    target_arch = "aarch64",
    all(target_arch = "wasm32", target_feature = "simd128")
))]
mod product;
mod scalar;
mod select;
mod tile;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod wasm;
#[cfg(target_arch = "x86_64")]
mod x86;

#[cfg(test)]
mod tests;

pub use select::{KernelError, available, by_name, select};
pub use tile::TileMut;

use half::f16;

/// Largest magnitude of a quantized activation: 127 * 256, so that a value splits into two signed
/// bytes, both within +-127 and +-128, on instruction sets with byte dot products.
pub const ACTIVATION_MAX: i16 = 32512;

/// Rows in a panel of the `r8k8` and `r8k1` layouts.
pub const PANEL_ROWS: usize = 8;

/// int8 weights `[rows, padded_k]` in `i8.r8k8` panels.
#[derive(Clone, Copy)]
pub struct I8Panels<'a> {
    /// Output features; the last panel may be padded.
    pub rows: usize,
    /// k, padded to a multiple of `group`.
    pub padded_k: usize,
    /// k per activation scale: 32, 64 or 128.
    pub group: usize,
    /// `[panel][padded_k / 8][8 rows][8 k]`
    pub data: &'a [i8],
    /// `[panel][group][8 rows]`, or `[panel][8 rows]` when one scale serves the whole row.
    pub scales: &'a [f16],
    /// One scale per row instead of one per group.
    pub whole_row: bool,
}

/// 4-bit weights `[rows, padded_k]` in `i4.r8k16` panels: `scale * q + minimum`, `q` from 0 to 15.
#[derive(Clone, Copy)]
pub struct I4Panels<'a> {
    /// Output features; the last panel may be padded.
    pub rows: usize,
    /// k, padded to a multiple of `group`.
    pub padded_k: usize,
    /// k per scale: 32, 64 or 128.
    pub group: usize,
    /// `[panel][padded_k / 16][8 rows][8 bytes]`; byte `i` has k `i` in its low half and k `8 + i` in
    /// its high one.
    pub data: &'a [u8],
    /// `[panel][group][scales, then minima][8 rows]`
    pub scales: &'a [f16],
}

/// fp16 weights `[rows, k]` in `f16.r8k1` panels, or keys and values in the same form.
#[derive(Clone, Copy)]
pub struct F16Panels<'a> {
    /// Output features; the last panel may be padded.
    pub rows: usize,
    /// Length of the products.
    pub k: usize,
    /// Elements from panel to panel, at least `8 * k`.
    pub panel_stride: usize,
    /// `[panel][k][8 rows]`
    pub data: &'a [f16],
}

/// Quantized activations of `m` tokens.
#[derive(Clone, Copy)]
pub struct QuantizedRows<'a> {
    /// Tokens.
    pub m: usize,
    /// Values per token.
    pub padded_k: usize,
    /// Values per scale.
    pub group: usize,
    /// `[m][padded_k]`, each run of 8 in the set's private form.
    pub q: &'a [i16],
    /// Scales from token to token: `padded_k / group`, or twice that where sums follow them.
    pub stride: usize,
    /// `[m][stride]`: a scale for each group, then the sum of each group's values, before they were
    /// quantized, where 4-bit weights ask for it.
    pub scales: &'a [f32],
}

/// Float activations of `m` tokens.
#[derive(Clone, Copy)]
pub struct FloatRows<'a> {
    /// Tokens.
    pub m: usize,
    /// Values per token.
    pub k: usize,
    /// Elements from token to token: fewer than `k` where tokens overlap.
    pub stride: usize,
    /// `[m][stride]`, and what the last token has beyond its stride
    pub x: &'a [f32],
}

/// The functions of one instruction set.
///
/// All are safe to call: they check lengths once, and a table can only be had on a machine that
/// can execute it.
#[allow(clippy::type_complexity, reason = "the signatures are the contract")]
pub struct Kernels {
    /// Rust's name of the target feature, or `scalar`.
    pub name: &'static str,
    /// `quantize_row(x [k], group, q [padded_k], scales [padded_k / group])`: per group
    /// `scale = max|x| / ACTIVATION_MAX`, `q = round_half_even(x * (ACTIVATION_MAX / max|x|))`;
    /// a group of zeros (or so small that the factor overflows) has scale 0, and one with a NaN or
    /// an infinity scale NaN, both with zeros for q. k beyond `x` is zero.
    pub quantize_row: fn(&[f32], usize, &mut [i16], &mut [f32]),
    /// `gemm_i8(w, first_panel, x, out)`: rows `8 * first_panel ..` of `w`, as many as `out` has
    /// columns (a multiple of 8, or up to the last row of `w`), times the tokens of `x`.
    /// `out[t][r] = sum over groups g, in order, of f32(dot_i32) * (f32(w_scale) * x_scale)`,
    /// multiplied and added without fusing, starting from 0.
    pub gemm_i8: fn(&I8Panels<'_>, usize, &QuantizedRows<'_>, &mut TileMut<'_>),
    /// `gemm_i4(w, first_panel, x, out)`: the same for 4-bit weights, with the sums of `x`. Each
    /// group's `minimum * x_sum` is added after its product, fused.
    pub gemm_i4: fn(&I4Panels<'_>, usize, &QuantizedRows<'_>, &mut TileMut<'_>),
    /// `gemm_f16(w, first_panel, x, out)`: the same for fp16 weights and float activations.
    /// `out[t][r] = fma(w[r][k], x[t][k], ..)` over k in order, starting from 0.
    pub gemm_f16: fn(&F16Panels<'_>, usize, &FloatRows<'_>, &mut TileMut<'_>),
    /// `rms_norm(x, weight, eps, out)`: `x * weight / sqrt(mean(x^2) + eps)`.
    pub rms_norm: fn(&[f32], &[f32], f32, &mut [f32]),
    /// `layer_norm(x, weight, bias, eps, out)`; an empty bias is none.
    pub layer_norm: fn(&[f32], &[f32], &[f32], f32, &mut [f32]),
    /// `softmax_exp(scores) -> (max, sum)`: replaces each score by `exp(score - max)`.
    /// `-inf` scores become 0; a row of nothing else gives `(-inf, 0)` and zeros.
    pub softmax_exp: fn(&mut [f32]) -> (f32, f32),
    /// `activate(kind, x)` in place.
    pub activate: fn(kinglet_formats::spec::Activation, &mut [f32]),
    /// `mul(x, y)`: `x *= y`.
    pub mul: fn(&mut [f32], &[f32]),
    /// `add(x, y)`: `x += y`.
    pub add: fn(&mut [f32], &[f32]),
    /// `scale_add(x, factor, y)`: `x = x * factor + y` (fused).
    pub scale_add: fn(&mut [f32], f32, &[f32]),
    /// `scale(x, factor)`: `x *= factor`.
    pub scale: fn(&mut [f32], f32),
    /// `rotate_half(x [dims], cos [dims / 2], sin [dims / 2])`: rotates the pairs
    /// `(i, i + dims / 2)` in place.
    pub rotate_half: fn(&mut [f32], &[f32], &[f32]),
    /// `group_sums(x [k], group, sums)`: the sum of each group, the last one may be shorter.
    pub group_sums: fn(&[f32], usize, &mut [f32]),
    /// `recur(forget, cell, state)`, all of one length: `f = sigmoid(forget)`,
    /// `state = f * state + (1 - f) * cell`, and `cell` becomes `max(state, 0)`.
    pub recur: fn(&[f32], &mut [f32], &mut [f32]),
    /// `to_f16(x, out)`: round to nearest even, overflow to infinity.
    pub to_f16: fn(&[f32], &mut [f16]),
}
