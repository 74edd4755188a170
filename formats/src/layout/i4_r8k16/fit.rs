//! A scale and a minimum for a group of values.

use half::f16;

use super::BlockError;

/// The largest integer.
const Q_MAX: f32 = 15.0;

/// 1.5 * 2^23: adding it to a small number rounds that to an integer, ties to even.
const ROUND: f32 = 12_582_912.0;

/// Steps that are tried, in hundredths of a fifteenth of the range: a changed step moves most values to
/// other places between two integers, so each is a new draw of all rounding errors. Smaller ones cut
/// the ends, which pays where these stand alone.
const TRIED: [f32; 16] =
    [64., 70., 75., 80., 84., 88., 91., 94., 96., 98., 100., 102., 104., 106., 108., 110.];

/// `x = scale * q + minimum`
#[derive(Clone, Copy, Debug)]
pub(super) struct Fit {
    pub(super) scale: f16,
    pub(super) minimum: f16,
}

impl Fit {
    /// What is lost of `x`.
    pub(super) fn error(&self, x: &[f32], q: &[u8]) -> BlockError {
        let (scale, minimum) = (self.scale.to_f32(), self.minimum.to_f32());
        let mut sums = BlockError::default();
        for (&x, &q) in x.iter().zip(q) {
            let difference = f64::from(x - (scale * f32::from(q) + minimum));
            sums.sum_sq_error += difference * difference;
            sums.sum_sq += f64::from(x) * f64::from(x);
        }
        sums
    }
}

/// Fits `x` with errors weighted by `weights`, and writes the integers; or the place of a value that
/// is not finite or beyond `f16`.
pub(super) fn fit(x: &[f32], weights: &[f32], q: &mut [u8]) -> Result<Fit, usize> {
    let largest = f16::MAX.to_f32();
    if let Some(at) = x.iter().position(|v| !v.is_finite() || v.abs() > largest) {
        return Err(at);
    }
    let low = x.iter().copied().fold(f32::INFINITY, f32::min);
    let high = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut best = (Fit { scale: f16::ZERO, minimum: f16::from_f32(low) }, f32::INFINITY);
    if high > low {
        let middle = 0.5 * (low + high);
        for tried in TRIED {
            let step = (high - low) / Q_MAX * (tried / 100.0);
            // The integers of a step about the middle of the range.
            let start = middle - 0.5 * Q_MAX * step;
            let Some((scale, minimum)) = line(x, weights, start, step) else { continue };
            let fit = Fit { scale: f16::from_f32(scale), minimum: f16::from_f32(minimum) };
            let error = rounded_error(x, weights, &fit);
            if error < best.1 {
                best = (fit, error);
            }
        }
    }
    let (scale, minimum) = (best.0.scale.to_f32(), best.0.minimum.to_f32());
    let per_scale = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    for (q, &x) in q.iter_mut().zip(x) {
        *q = nearest(x, minimum, per_scale) as u8;
    }
    Ok(best.0)
}

/// The nearest integer, as a float.
#[inline(always)]
fn nearest(x: f32, minimum: f32, per_scale: f32) -> f32 {
    let v = (x - minimum) * per_scale;
    let v = if v < Q_MAX { v } else { Q_MAX };
    let v = if v > 0.0 { v } else { 0.0 };
    (v + ROUND) - ROUND
}

/// Sums of a loop are kept in lanes, in a fixed order: quick, and the same bits on every machine.
const LANES: usize = 8;

fn total(lanes: [f32; LANES]) -> f32 {
    let [a, b, c, d, e, f, g, h] = lanes;
    ((a + e) + (b + f)) + ((c + g) + (d + h))
}

/// Scale and minimum of the least weighted squares for the integers that `step` from `start` on gives;
/// none if all integers are the same.
fn line(x: &[f32], weights: &[f32], start: f32, step: f32) -> Option<(f32, f32)> {
    let per_step = 1.0 / step;
    if !per_step.is_finite() {
        return None;
    }
    let [mut w, mut wq, mut wqq, mut wx, mut wqx] = [[0.0f32; LANES]; 5];
    for (x, weights) in x.chunks(LANES).zip(weights.chunks(LANES)) {
        for (i, (&x, &weight)) in x.iter().zip(weights).enumerate() {
            let q = nearest(x, start, per_step);
            // About the start, which keeps the sums small.
            let x = x - start;
            w[i] += weight;
            wq[i] += weight * q;
            wqq[i] += weight * q * q;
            wx[i] += weight * x;
            wqx[i] += weight * q * x;
        }
    }
    let [w, wq, wqq, wx, wqx] = [w, wq, wqq, wx, wqx].map(total);
    let determinant = w * wqq - wq * wq;
    if determinant <= 1e-6 * w * wqq {
        return None;
    }
    let scale = (w * wqx - wq * wx) / determinant;
    let minimum = (wqq * wx - wq * wqx) / determinant + start;
    (scale.is_finite() && minimum.is_finite()).then_some((scale, minimum))
}

/// Weighted squared error of the nearest integers.
fn rounded_error(x: &[f32], weights: &[f32], fit: &Fit) -> f32 {
    let (scale, minimum) = (fit.scale.to_f32(), fit.minimum.to_f32());
    if scale == 0.0 || !scale.is_finite() || !minimum.is_finite() {
        return f32::INFINITY;
    }
    let per_scale = 1.0 / scale;
    let mut sums = [0.0f32; LANES];
    for (x, weights) in x.chunks(LANES).zip(weights.chunks(LANES)) {
        for (i, (&x, &weight)) in x.iter().zip(weights).enumerate() {
            let difference = x - (scale * nearest(x, minimum, per_scale) + minimum);
            sums[i] += weight * difference * difference;
        }
    }
    total(sums)
}
