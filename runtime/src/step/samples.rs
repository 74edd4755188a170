//! Samples of sound through their stem.

use super::{Step, Workspace};
use crate::kernels::TileMut;
use crate::network::BoundSamples;
use crate::ops::{BoundNorm, Context, ROWS_PER_ITEM};

impl Step<'_, '_> {
    /// The samples of one sound through the convolutions, of which the last one makes the rows.
    pub(super) fn embed_samples(&mut self, ctx: &Context<'_>, samples: &BoundSamples) {
        let kernels = ctx.ops.kernels;
        let Workspace { batch, x, frames, quantized, workers, capacity, .. } = &mut *self.workspace;
        let n_rows = batch.len();
        let [made, read] = frames;
        let (mut made, mut read) = (made, read);
        let (mut places, mut channels) = (batch.frames.len(), 1);
        let last = samples.convolutions.len() - 1;
        for (j, (spec, linears)) in
            samples.spec.convolutions.iter().zip(&samples.convolutions).enumerate()
        {
            let seen = if j == 0 { &batch.frames[..] } else { &read[..places * channels] };
            let stride = spec.step * channels;
            let n = spec.places(places);
            let out = match j {
                j if j == last => &mut x[..n_rows * spec.channels],
                _ => &mut made[..n * spec.channels],
            };
            let activate = |out: &mut TileMut<'_>| {
                for r in 0..out.rows() {
                    (kernels.activate)(spec.activation, out.row(r));
                }
            };
            // As many places at a time as there is room for.
            for (part, out) in out.chunks_mut(*capacity * spec.channels).enumerate() {
                let rows = out.len() / spec.channels;
                let seen = &seen[part * *capacity * stride..];
                let seen = &seen[..(rows - 1) * stride + spec.width * channels];
                let input = quantized.overlapping(ctx, seen, stride, linears.parts());
                linears.apply_then(ctx, &input, workers, out, activate);
            }
            if j == 0 {
                norm_of_all(ctx, &samples.norm, out, spec.channels);
            }
            (places, channels) = (n, spec.channels);
            std::mem::swap(&mut read, &mut made);
        }
    }
}

/// Norm of all values together, with a weight and a bias for each of the `width` channels.
fn norm_of_all(ctx: &Context<'_>, norm: &BoundNorm, values: &mut [f32], width: usize) {
    let ops = ctx.ops;
    let n = values.len() as f64;
    // The leader adds them up, in their order.
    let mean = values.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
    let variance = values.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / n;
    let scale = 1.0 / (variance + f64::from(norm.eps)).sqrt();
    let weight = norm.weight.values(ops.file);
    let bias = norm.bias.map_or(&[][..], |bias| bias.values(ops.file));
    ctx.crew.rows(values, width, ROWS_PER_ITEM, |_, rows| {
        for row in rows.chunks_exact_mut(width) {
            for x in row.iter_mut() {
                *x = ((f64::from(*x) - mean) * scale) as f32;
            }
            (ops.kernels.mul)(row, weight);
            if !bias.is_empty() {
                (ops.kernels.add)(row, bias);
            }
        }
    });
}
