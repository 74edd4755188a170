//! Heads behind the pooling: the chain of dense layers, the output.

use super::{Workspace, pool};
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
    if let Some(query) = head.pool.as_ref().and_then(|pool| pool.query.as_ref()) {
        pool::behind_query(ctx, query, n, workspace);
    }
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
        BoundOutput::Vector { normalize, .. } => {
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

/// An error unless all `values` are finite. In integers, so that it costs next to nothing.
pub(crate) fn check_finite(what: &'static str, values: &[f32]) -> Result<(), Error> {
    let largest = values.iter().fold(0, |max: u32, x| max.max(x.abs().to_bits()));
    if largest < f32::INFINITY.to_bits() { Ok(()) } else { Err(Error::NotFinite { what }) }
}
