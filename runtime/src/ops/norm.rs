//! Norms of rows.

use kinglet_formats::spec::NormKind;

use super::{Context, Ops, ROWS_PER_ITEM};
use crate::weights::Vector;

/// A norm and its tensors.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BoundNorm {
    pub(crate) kind: NormKind,
    pub(crate) eps: f32,
    pub(crate) weight: Vector,
    pub(crate) bias: Option<Vector>,
}

/// `out = norm(x)` of one row.
pub(crate) fn norm_row(ops: Ops<'_>, norm: &BoundNorm, x: &[f32], out: &mut [f32]) {
    let weight = norm.weight.values(ops.file);
    match norm.kind {
        NormKind::Rms => (ops.kernels.rms_norm)(x, weight, norm.eps, out),
        NormKind::Layer => {
            let bias = norm.bias.map_or(&[][..], |bias| bias.values(ops.file));
            (ops.kernels.layer_norm)(x, weight, bias, norm.eps, out);
        }
    }
}

/// `out = norm(x)`, row by row of `[m][width]`.
pub(crate) fn apply_norm(
    ctx: &Context<'_>,
    norm: &BoundNorm,
    x: &[f32],
    out: &mut [f32],
    width: usize,
) {
    let ops = ctx.ops;
    ctx.crew.rows(out, width, ROWS_PER_ITEM, |first, out| {
        let x = x[first * width..].chunks_exact(width);
        for (x, out) in x.zip(out.chunks_exact_mut(width)) {
            norm_row(ops, norm, x, out);
        }
    });
}

/// `x += gain * norm(block)`, row by row of `[m][width]`; `normed` is overwritten.
pub(crate) fn add_normed(
    ctx: &Context<'_>,
    norm: Option<&BoundNorm>,
    gain: impl Fn(&mut [f32]) + Sync,
    block: &[f32],
    normed: &mut [f32],
    x: &mut [f32],
    width: usize,
) {
    let ops = ctx.ops;
    ctx.crew.row_pairs((x, width), (normed, width), ROWS_PER_ITEM, |first, x, normed| {
        let rows = x.chunks_exact_mut(width).zip(normed.chunks_exact_mut(width));
        for (block, (x, normed)) in block[first * width..].chunks_exact(width).zip(rows) {
            match norm {
                Some(norm) => norm_row(ops, norm, block, normed),
                None => normed.copy_from_slice(block),
            }
            gain(normed);
            (ops.kernels.add)(x, normed);
        }
    });
}
