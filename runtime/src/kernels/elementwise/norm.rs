//! Normalisation of one token's hidden state.

use super::{fma, reduce};

/// `x * weight / sqrt(mean(x^2) + eps)`
#[inline(always)]
pub(in crate::kernels) fn rms_norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    assert!(weight.len() == x.len() && out.len() == x.len(), "rms_norm: lengths differ");
    let squares = reduce(x, |sum, v| fma(v, v, sum));
    let factor = 1.0 / (squares / x.len() as f32 + eps).sqrt();
    for ((out, &x), &weight) in out.iter_mut().zip(x).zip(weight) {
        *out = x * factor * weight;
    }
}

/// `(x - mean) / sqrt(variance + eps) * weight + bias`; an empty bias is none.
///
/// The mean is subtracted before squaring: a single pass would cancel where the mean is large.
#[inline(always)]
pub(in crate::kernels) fn layer_norm(
    x: &[f32],
    weight: &[f32],
    bias: &[f32],
    eps: f32,
    out: &mut [f32],
) {
    assert!(weight.len() == x.len() && out.len() == x.len(), "layer_norm: lengths differ");
    assert!(bias.is_empty() || bias.len() == x.len(), "layer_norm: length of the bias");
    let n = x.len() as f32;
    let mean = reduce(x, |sum, v| sum + v) / n;
    let squares = reduce(x, |sum, v| fma(v - mean, v - mean, sum));
    let factor = 1.0 / (squares / n + eps).sqrt();
    if bias.is_empty() {
        for ((out, &x), &weight) in out.iter_mut().zip(x).zip(weight) {
            *out = (x - mean) * factor * weight;
        }
    } else {
        for (((out, &x), &weight), &bias) in out.iter_mut().zip(x).zip(weight).zip(bias) {
            *out = fma((x - mean) * factor, weight, bias);
        }
    }
}
