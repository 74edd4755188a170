//! Heads: pooling, the chain of dense layers, the output.

use kinglet_formats::spec::Pooling;

use super::Workspace;
use crate::error::Error;
use crate::network::{BoundHead, BoundOutput};
use crate::ops::{ChosenRows, Context, norm_row};

/// Chosen rows of the matrix of logits for rows of a step from a number on, and where in the output what
/// they give ends.
pub(crate) type Chosen<'a> = (&'a [(usize, &'a ChosenRows)], &'a [usize]);

/// What `head` makes of the `n` rows at the start of the workspace's `block`; of its logits those that are
/// `chosen`.
pub(super) fn run(
    ctx: &Context<'_>,
    head: &BoundHead,
    n: usize,
    chosen: Option<Chosen<'_>>,
    workspace: &mut Workspace,
    out: &mut [f32],
) -> Result<(), Error> {
    let kernels = ctx.ops.kernels;
    let Workspace { block, mlp, quantized, workers, .. } = workspace;
    // The chain goes to and fro between two buffers.
    let (mut from, mut to) = (block, mlp);
    for dense in &head.chain {
        let (k, width) = (dense.linears.parts()[0].k, dense.linears.width());
        let input = quantized.input(ctx, &from[..n * k], dense.linears.parts());
        dense.linears.apply(ctx, &input, workers, &mut to[..n * width]);
        for row in to[..n * width].chunks_exact_mut(width) {
            if let Some(activation) = dense.activation {
                (kernels.activate)(activation, row);
            }
            if let Some(norm) = &dense.norm {
                norm_row(ctx.ops, norm, row, &mut from[..width]);
                row.copy_from_slice(&from[..width]);
            }
        }
        std::mem::swap(&mut from, &mut to);
    }
    match &head.output {
        BoundOutput::Logits { linears, scale, soft_cap, .. } => {
            let k = linears.parts()[0].k;
            let input = quantized.input(ctx, &from[..n * k], linears.parts());
            match chosen {
                None => linears.apply(ctx, &input, workers, out),
                Some((rows, ends)) => ctx.crew.pieces(out, ends, |i, out| {
                    let (first, chosen) = rows[i];
                    chosen.multiply(kernels, &input, first, out);
                }),
            }
            if *scale != 1.0 {
                (kernels.scale)(out, *scale);
            }
            if let Some(cap) = *soft_cap {
                out.iter_mut().for_each(|x| *x = cap * (*x / cap).tanh());
            }
            check_finite("logits", out)
        }
        BoundOutput::Vector { normalize } => {
            out.copy_from_slice(&from[..out.len()]);
            if *normalize {
                out.chunks_exact_mut(head.width).for_each(scale_to_one);
            }
            check_finite("vectors", out)
        }
        BoundOutput::Labels { .. } | BoundOutput::Span => {
            out.copy_from_slice(&from[..out.len()]);
            check_finite("logits", out)
        }
    }
}

/// Scales a vector to length one. Zero vectors stay zero, as with PyTorch's `normalize`.
fn scale_to_one(vector: &mut [f32]) {
    let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    let scale = 1.0 / length.max(1e-12);
    vector.iter_mut().for_each(|x| *x *= scale);
}

/// One row of `width` for all `rows` but the first `skipped`, into `out`. There are more.
pub(crate) fn pool(pooling: Pooling, rows: &[f32], width: usize, skipped: usize, out: &mut [f32]) {
    let rows = &rows[skipped * width..];
    let n = rows.len() / width;
    match pooling {
        Pooling::Cls => out.copy_from_slice(&rows[..width]),
        Pooling::Last => out.copy_from_slice(&rows[(n - 1) * width..]),
        Pooling::Mean => weigh(rows, width, out, |_| 1.0, n as f32),
        Pooling::MeanSqrtLen => weigh(rows, width, out, |_| 1.0, (n as f32).sqrt()),
        Pooling::WeightedMean => {
            // Rows that are left out count as places.
            let total = n as f64 * (n as f64 + 1.0) / 2.0 + (n * skipped) as f64;
            weigh(rows, width, out, |row| (skipped + row + 1) as f32, total as f32);
        }
        Pooling::Max => {
            out.copy_from_slice(&rows[..width]);
            for row in rows.chunks_exact(width).skip(1) {
                out.iter_mut().zip(row).for_each(|(max, &x)| *max = max.max(x));
            }
        }
    }
}

/// `out = sum of weight(number of a row) * row / divisor`
fn weigh(rows: &[f32], width: usize, out: &mut [f32], weight: impl Fn(usize) -> f32, divisor: f32) {
    out.fill(0.0);
    for (i, row) in rows.chunks_exact(width).enumerate() {
        let weight = weight(i);
        out.iter_mut().zip(row).for_each(|(sum, x)| *sum += weight * x);
    }
    out.iter_mut().for_each(|sum| *sum /= divisor);
}

/// An error unless all `values` are finite. In integers, so that it costs next to nothing.
pub(crate) fn check_finite(what: &'static str, values: &[f32]) -> Result<(), Error> {
    let largest = values.iter().fold(0, |max: u32, x| max.max(x.abs().to_bits()));
    if largest < f32::INFINITY.to_bits() { Ok(()) } else { Err(Error::NotFinite { what }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pooling_by_hand() {
        let rows = [1.0, -2.0, 3.0, 4.0, 2.0, 1.0];
        let pooled_from = |skipped, pooling| {
            let mut out = [f32::NAN; 2];
            pool(pooling, &rows, 2, skipped, &mut out);
            out
        };
        let pooled = |pooling| pooled_from(0, pooling);
        assert_eq!(pooled(Pooling::Cls), [1.0, -2.0]);
        assert_eq!(pooled(Pooling::Last), [2.0, 1.0]);
        assert_eq!(pooled(Pooling::Mean), [2.0, 1.0]);
        assert_eq!(pooled(Pooling::Max), [3.0, 4.0]);
        assert_eq!(pooled(Pooling::MeanSqrtLen), [6.0 / 3f32.sqrt(), 3.0 / 3f32.sqrt()]);
        assert_eq!(pooled(Pooling::WeightedMean), [13.0 / 6.0, 9.0 / 6.0]);
        assert_eq!(pooled_from(1, Pooling::Cls), [3.0, 4.0]);
        assert_eq!(pooled_from(1, Pooling::Mean), [2.5, 2.5]);
        assert_eq!(pooled_from(1, Pooling::WeightedMean), [12.0 / 5.0, 11.0 / 5.0]);
        assert_eq!(pooled_from(2, Pooling::Max), [2.0, 1.0]);
    }
}
