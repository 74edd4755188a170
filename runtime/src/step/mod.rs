//! One step of a stack: rows of one sequence or of several through all its layers.

mod attention;
mod batch;
mod head;
mod input;
mod mixer;
mod pool;
mod samples;
mod workspace;

pub(crate) use attention::Watch;
pub(crate) use batch::{Batch, Other};
pub(crate) use head::Chosen;
pub(crate) use pool::pool;
pub(crate) use workspace::Workspace;

use kinglet_formats::kinglet::KingletFile;

use crate::error::Error;
use crate::kernels::Kernels;
use crate::kv::KvSequence;
use crate::network::{
    BoundBlock, BoundGain, BoundHead, BoundInput, BoundStack, Network, Projections,
};
use crate::ops::{BoundNorm, Context, Moments, Ops, add_normed, apply_norm};
use crate::team::{Crew, Team};

/// Everything a step works on. The rows are those of the workspace's batch.
pub(crate) struct Step<'a, 'm> {
    pub(crate) file: &'a KingletFile,
    pub(crate) network: &'a Network,
    pub(crate) stack: &'a BoundStack,
    pub(crate) kernels: &'static Kernels,
    pub(crate) team: &'a Team,
    pub(crate) moments: Option<&'a Moments>,
    /// Keys and values, as segments name them by number. Rooms for the rows' own have been reserved.
    pub(crate) memories: &'a mut [&'m mut KvSequence],
    pub(crate) workspace: &'a mut Workspace,
}

/// What a block reads.
enum Source<'n> {
    /// The residual stream.
    Stream,
    /// The residual stream, which is the norm of what stands in its place.
    Pending(&'n BoundNorm),
    /// The norm of the residual stream.
    Norm(&'n BoundNorm),
    /// What an earlier mixer of the block read.
    Kept,
}

/// Where a mixer's output goes.
#[derive(Clone, Copy)]
enum Target {
    /// Added to the residual stream.
    Stream,
    /// The first of a sum.
    Sum,
    /// Added to a sum.
    SumMore,
}

impl Step<'_, '_> {
    /// Runs the batch through all layers and the final norm and stores its keys and values, then
    /// calls `finish` with the rows.
    ///
    /// `keep_going` is asked between layers; `false` ends the step early and gives `None`.
    ///
    /// # Errors
    /// If a token is outside the vocabulary, a computation panics, or `finish` fails.
    pub(crate) fn run<R>(
        &mut self,
        keep_going: &dyn Fn() -> bool,
        finish: impl FnOnce(&mut Rows<'_, '_>) -> Result<R, Error>,
    ) -> Result<Option<R>, Error> {
        if let BoundInput::Tokens(tokens) = &self.stack.input {
            let vocab_size = tokens.n_known;
            let batch = &self.workspace.batch;
            if let Some(&id) = batch.tokens.iter().find(|&&id| id as usize >= vocab_size) {
                return Err(Error::TokenOutOfRange { id, vocab_size });
            }
        }
        let team = self.team;
        let result = team.enter(|crew| {
            let ops = Ops { kernels: self.kernels, file: self.file, moments: self.moments };
            let ctx = Context { crew, ops };
            if !self.layers(&ctx, keep_going) {
                return Ok(None);
            }
            let hidden_size = self.stack.hidden_size;
            finish(&mut Rows { ctx: &ctx, hidden_size, workspace: self.workspace }).map(Some)
        });
        result?
    }

    /// Whether all layers were run.
    fn layers(&mut self, ctx: &Context<'_>, keep_going: &dyn Fn() -> bool) -> bool {
        let stack = self.stack;
        self.embed(ctx);
        self.angles();
        // A norm after a block is applied by whoever reads the residual stream next, who may
        // quantize each row while it lies in the nearest cache.
        let mut pending = None;
        for layer in &stack.layers {
            if !keep_going() {
                return false;
            }
            for block in &layer.blocks {
                self.block(ctx, block, pending);
                pending = block.after.as_ref();
            }
        }
        for norm in [pending, stack.final_norm.as_ref()].into_iter().flatten() {
            self.norm_stream(ctx, norm);
        }
        true
    }

    /// The residual stream becomes its norm.
    fn norm_stream(&mut self, ctx: &Context<'_>, norm: &BoundNorm) {
        let hidden = self.stack.hidden_size;
        let Workspace { batch, x, block, .. } = &mut *self.workspace;
        let len = batch.len() * hidden;
        apply_norm(ctx, norm, &x[..len], &mut block[..len], hidden);
        std::mem::swap(x, block);
    }

    /// `x' = x + gain * post(sum of mixers(pre(x)))`
    fn block(&mut self, ctx: &Context<'_>, block: &BoundBlock, pending: Option<&BoundNorm>) {
        let own_pre = block.pre.is_some() || block.mixers.iter().any(|mixer| mixer.pre.is_some());
        let mut pending = pending;
        if own_pre && let Some(norm) = pending.take() {
            self.norm_stream(ctx, norm);
        }
        let one = block.mixers.len() == 1;
        let direct = one && block.post.is_none() && matches!(block.gain, BoundGain::One);
        for (i, mixer) in block.mixers.iter().enumerate() {
            let source = match (&mixer.pre, &block.pre, pending.take()) {
                (Some(norm), ..) => Source::Norm(norm),
                (None, Some(norm), _) if i == 0 => Source::Norm(norm),
                (None, Some(_), _) => Source::Kept,
                (None, None, Some(norm)) => Source::Pending(norm),
                (None, None, None) => Source::Stream,
            };
            let target = match (direct, i) {
                (true, _) => Target::Stream,
                (false, 0) => Target::Sum,
                (false, _) => Target::SumMore,
            };
            self.mixer(ctx, mixer, source, target);
        }
        if !direct {
            self.add_sum(ctx, block);
        }
    }

    /// Adds the sum of a block's mixers to the residual stream.
    fn add_sum(&mut self, ctx: &Context<'_>, block: &BoundBlock) {
        let ops = ctx.ops;
        let hidden = self.stack.hidden_size;
        let Workspace { batch, x, block: normed, sum, .. } = &mut *self.workspace;
        let len = batch.len() * hidden;
        let gain = |row: &mut [f32]| match block.gain {
            BoundGain::One => {}
            BoundGain::Scalar(factor) => (ops.kernels.scale)(row, factor),
            BoundGain::Vector(gain) => (ops.kernels.mul)(row, gain.values(ops.file)),
        };
        let (x, normed) = (&mut x[..len], &mut normed[..len]);
        add_normed(ctx, block.post.as_ref(), gain, &sum[..len], normed, x, hidden);
    }
}

/// The rows of a step that has been run.
pub(crate) struct Rows<'a, 'c> {
    ctx: &'a Context<'c>,
    hidden_size: usize,
    workspace: &'a mut Workspace,
}

impl Rows<'_, '_> {
    /// The batch.
    pub(crate) fn batch(&self) -> &Batch {
        &self.workspace.batch
    }

    /// What computes with the model's tensors.
    pub(crate) fn ops(&self) -> Ops<'_> {
        self.ctx.ops
    }

    /// `[m][hidden_size]` final hidden states.
    pub(crate) fn hidden(&self) -> &[f32] {
        &self.workspace.x[..self.workspace.batch.len() * self.hidden_size]
    }

    /// Makes keys and values of all rows for a stack that reads them, and puts those of each sequence
    /// into its memory, where room for them has been reserved.
    pub(crate) fn store_for(&mut self, reader: &BoundStack, memories: &mut [KvSequence]) {
        let Workspace { batch, x, qkv, quantized, workers, .. } = &mut *self.workspace;
        let m = batch.len();
        for attention in reader.attentions() {
            let Projections::Other { kv, .. } = &attention.projections else { continue };
            let input = quantized.input(self.ctx, &x[..m * self.hidden_size], kv.parts());
            let out = &mut qkv[..m * kv.width()];
            kv.apply(self.ctx, &input, workers, out);
            let width = kv.width();
            for (segment, memory) in batch.segments.iter().zip(&mut *memories) {
                let own = &mut out[segment.rows.start * width..segment.rows.end * width];
                attention::store_other(self.ctx, attention, memory, own);
            }
        }
    }

    /// What `head` makes of single rows, `[rows][width]`.
    pub(crate) fn head(
        &mut self,
        head: &BoundHead,
        rows: impl ExactSizeIterator<Item = usize>,
        out: &mut [f32],
    ) -> Result<(), Error> {
        self.chosen(head, rows, None, out)
    }

    /// The same; where some of the outputs are `chosen`, those of each run of rows one after another.
    pub(crate) fn chosen(
        &mut self,
        head: &BoundHead,
        rows: impl ExactSizeIterator<Item = usize>,
        chosen: Option<Chosen<'_>>,
        out: &mut [f32],
    ) -> Result<(), Error> {
        let hidden = self.hidden_size;
        let Workspace { x, block, .. } = &mut *self.workspace;
        let n = rows.len();
        for (to, row) in rows.enumerate() {
            block[to * hidden..][..hidden].copy_from_slice(&x[row * hidden..][..hidden]);
        }
        head::run(self.ctx, head, n, chosen, self.workspace, out)
    }
}

/// What `head` makes of ready rows `[n][inputs]`, `[n][width]`; at most as many as fit a step.
pub(crate) fn apply_head(
    crew: &Crew<'_>,
    ops: Ops<'_>,
    head: &BoundHead,
    rows: &[f32],
    n: usize,
    workspace: &mut Workspace,
    out: &mut [f32],
) -> Result<(), Error> {
    workspace.block[..rows.len()].copy_from_slice(rows);
    head::run(&Context { crew, ops }, head, n, None, workspace, out)
}
