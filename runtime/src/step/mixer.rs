//! What a block computes: attention, feed-forward, experts.

use super::{Source, Step, Target, Workspace, attention};
use crate::network::{
    BoundAttention, BoundExperts, BoundMixer, BoundMlp, BoundSsru, MixerWork, Projections,
    UpProjection,
};
use crate::ops::{
    Context, Input, Linears, QuantizeScratch, ROWS_PER_ITEM, WorkerScratch, norm_row,
};
use crate::weights::Matrix;

impl Step<'_, '_> {
    /// Computes a mixer of what `source` says and adds its output to `target`.
    pub(super) fn mixer(
        &mut self,
        ctx: &Context<'_>,
        mixer: &BoundMixer,
        source: Source<'_>,
        target: Target,
    ) {
        match &mixer.work {
            MixerWork::Attention(attention) => self.attention(ctx, attention, source, target),
            MixerWork::Mlp(mlp) => self.mlp(ctx, mlp, source, target),
            MixerWork::Experts(experts) => self.experts(ctx, experts, source, target),
            MixerWork::Ssru(unit) => self.recurrent(ctx, unit, source, target),
        }
    }

    fn attention(
        &mut self,
        ctx: &Context<'_>,
        attention: &BoundAttention,
        source: Source<'_>,
        target: Target,
    ) {
        let hidden = self.stack.hidden_size;
        let Workspace { batch, x, block, qkv, quantized, workers, .. } = &mut *self.workspace;
        let m = batch.len();
        let (Projections::Own(first) | Projections::Other { q: first, .. }) =
            &attention.projections;
        let input = read(ctx, source, x, block, m * hidden, quantized, first.parts());
        first.apply(ctx, &input, workers, &mut qkv[..m * first.width()]);

        attention::run(ctx, attention, self.memories, self.workspace);

        let Workspace { x, sum, attended, quantized, workers, .. } = &mut *self.workspace;
        let o_proj = &attention.o_proj;
        let width = attention.spec.q_width();
        let input = quantized.input(ctx, &attended[..m * width], o_proj.parts());
        write(ctx, o_proj, &input, workers, target, (&mut x[..m * hidden], &mut sum[..m * hidden]));
    }

    fn mlp(&mut self, ctx: &Context<'_>, mlp: &BoundMlp, source: Source<'_>, target: Target) {
        let ops = ctx.ops;
        let hidden = self.stack.hidden_size;
        let Workspace { batch, x, block, sum, mlp: between, router, quantized, workers, .. } =
            &mut *self.workspace;
        let m = batch.len();
        let between = &mut between[..m * mlp.width()];
        let gate = mlp.output_gate.as_ref().map(|gate| (gate, &mut router[..m]));
        match &mlp.up {
            UpProjection::Gated(pair) => {
                let input = read(ctx, source, x, block, m * hidden, quantized, &pair.parts());
                pair.apply(ctx, &input, workers, between, |gate, up| {
                    (ops.kernels.activate)(mlp.activation, gate);
                    (ops.kernels.mul)(gate, up);
                });
                gate_rows(ctx, gate, &input, workers, between);
            }
            UpProjection::Plain(up) => {
                let input = read(ctx, source, x, block, m * hidden, quantized, up.parts());
                up.apply_then(ctx, &input, workers, between, |out| {
                    for r in 0..out.rows() {
                        (ops.kernels.activate)(mlp.activation, out.row(r));
                    }
                });
                gate_rows(ctx, gate, &input, workers, between);
            }
        }
        let down = &mlp.down_proj;
        let input = quantized.input(ctx, between, down.parts());
        write(ctx, down, &input, workers, target, (&mut x[..m * hidden], &mut sum[..m * hidden]));
    }

    fn experts(
        &mut self,
        ctx: &Context<'_>,
        bound: &BoundExperts,
        source: Source<'_>,
        target: Target,
    ) {
        let hidden = self.stack.hidden_size;
        let Workspace { batch, x, block, sum, router, experts, quantized, workers, .. } =
            &mut *self.workspace;
        let len = batch.len() * hidden;
        let logits = &mut router[..batch.len() * bound.router.width()];
        let from_stream = matches!(source, Source::Stream | Source::Pending(_));
        let input = read(ctx, source, x, block, len, quantized, bound.router.parts());
        bound.router.apply(ctx, &input, workers, logits);
        if from_stream {
            // The stream may be the target.
            block[..len].copy_from_slice(&x[..len]);
        }
        let (out, add) = match target {
            Target::Stream => (x, true),
            Target::Sum => (sum, false),
            Target::SumMore => (sum, true),
        };
        bound.weights.run(ctx, &block[..len], logits, experts, workers, &mut out[..len], add);
    }
}

impl Step<'_, '_> {
    /// The rows of a segment go through their state one after another; it is a few thousand values
    /// for each, which the leader does alone.
    fn recurrent(
        &mut self,
        ctx: &Context<'_>,
        unit: &BoundSsru,
        source: Source<'_>,
        target: Target,
    ) {
        let kernels = ctx.ops.kernels;
        let hidden = self.stack.hidden_size;
        let Workspace { batch, x, block, sum, qkv, quantized, workers, .. } = &mut *self.workspace;
        let m = batch.len();
        let input = read(ctx, source, x, block, m * hidden, quantized, unit.projections.parts());
        let qkv = &mut qkv[..m * 2 * hidden];
        unit.projections.apply(ctx, &input, workers, qkv);
        for segment in &batch.segments {
            let memory = &mut *self.memories[segment.memory];
            let (before, state) = memory.state(unit.unit, hidden);
            state.copy_from_slice(before);
            for row in segment.rows.clone() {
                let (forget, cell) = qkv[row * 2 * hidden..][..2 * hidden].split_at_mut(hidden);
                (kernels.recur)(forget, cell, state);
                let at = row * hidden..(row + 1) * hidden;
                match target {
                    Target::Stream => (kernels.add)(&mut x[at], cell),
                    Target::Sum => sum[at].copy_from_slice(cell),
                    Target::SumMore => (kernels.add)(&mut sum[at], cell),
                }
            }
        }
    }
}

/// Multiplies each row of `between` by the sigmoid of its gate's logit, if there is a gate: the same
/// as multiplying the result, as no bias follows.
fn gate_rows(
    ctx: &Context<'_>,
    gate: Option<(&Linears, &mut [f32])>,
    input: &Input<'_>,
    workers: &mut [WorkerScratch],
    between: &mut [f32],
) {
    let Some((gate, logits)) = gate else { return };
    gate.apply(ctx, input, workers, logits);
    let width = between.len() / logits.len();
    ctx.crew.rows(between, width, ROWS_PER_ITEM, |first, rows| {
        for (logit, row) in logits[first..].iter().zip(rows.chunks_exact_mut(width)) {
            (ctx.ops.kernels.scale)(row, 1.0 / (1.0 + (-logit).exp()));
        }
    });
}

/// The input of matrices that read what `source` says of the first `len` values.
fn read<'a>(
    ctx: &Context<'_>,
    source: Source<'_>,
    x: &'a mut Vec<f32>,
    block: &'a mut Vec<f32>,
    len: usize,
    quantized: &'a mut QuantizeScratch,
    parts: &[Matrix],
) -> Input<'a> {
    let ops = ctx.ops;
    let hidden = parts[0].k;
    match source {
        Source::Stream => quantized.input(ctx, &x[..len], parts),
        Source::Kept => quantized.input(ctx, &block[..len], parts),
        Source::Norm(norm) => {
            let make = |row: usize, out: &mut [f32]| {
                norm_row(ops, norm, &x[row * hidden..][..hidden], out);
            };
            quantized.made_input(ctx, &mut block[..len], parts, make)
        }
        Source::Pending(norm) => {
            std::mem::swap(x, block);
            let make = |row: usize, out: &mut [f32]| {
                norm_row(ops, norm, &block[row * hidden..][..hidden], out);
            };
            quantized.made_input(ctx, &mut x[..len], parts, make)
        }
    }
}

/// Writes a product to its target, `[m][hidden_size]` each.
fn write(
    ctx: &Context<'_>,
    linears: &Linears,
    input: &Input<'_>,
    workers: &mut [WorkerScratch],
    target: Target,
    (x, sum): (&mut [f32], &mut [f32]),
) {
    match target {
        Target::Stream => linears.accumulate(ctx, input, workers, x),
        Target::Sum => linears.apply(ctx, input, workers, sum),
        Target::SumMore => linears.accumulate(ctx, input, workers, sum),
    }
}
