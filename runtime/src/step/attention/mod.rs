//! Attention of a step's rows over keys and values, tiled, with an online softmax
//! (arXiv:2205.14135).
//!
//! A work item is a block of query rows of one head over all they see; for a segment of one row it
//! is the query heads of one kv head over a part of the positions, and the parts are combined at
//! the end. Parts depend on the number of positions only, so the result depends neither on the
//! number of threads nor on the other segments.

mod disentangled;
mod hadamard;
mod one;
mod prepare;
mod spans;
mod watch;

pub(super) use one::partials_len;
pub(crate) use spans::AttentionScratch;
pub(crate) use watch::Watch;

use std::ops::Range;

use self::disentangled::PositionScores;
use self::hadamard::hadamard;
use self::spans::{Reader, Spans};
use super::batch::{QUERY_ROWS, Segment};
use super::{Batch, Workspace};
use crate::error::Error;
use crate::kernels::FloatRows;
use crate::kv::{KvSequence, KvType};
use crate::memory::Room;
use crate::network::{BoundAttention, Projections, Sizes};
use crate::ops::Context;

impl AttentionScratch {
    /// What one thread needs for any layer.
    pub(super) fn of(sizes: &Sizes, room: &mut Room) -> Result<Self, Error> {
        Self::new(sizes.heads_per_kv.max(QUERY_ROWS), sizes.head_dim, room)
    }
}

/// Rotates and stores keys and values of the batch, then attends; reads `workspace.qkv`, writes
/// `workspace.attended`.
pub(super) fn run(
    ctx: &Context<'_>,
    attention: &BoundAttention,
    memories: &mut [&mut KvSequence],
    workspace: &mut Workspace,
) {
    prepare::run(ctx, attention, memories, workspace);
    disentangled::run(ctx, attention, workspace);
    if let Projections::Own(_) = attention.projections {
        store(ctx, attention, memories, workspace);
    }
    let memories = &*memories;
    for s in 0..workspace.batch.segments.len() {
        if workspace.batch.segments[s].rows.len() == 1 {
            one::run(ctx, attention, memories, workspace, s);
        }
    }
    if !workspace.batch.query_blocks.is_empty() {
        blocks(ctx, attention, memories, workspace);
    }
    if attention.crosses() && workspace.batch.watch.is_some() {
        watch::run(ctx, attention, memories, workspace);
    }
}

/// Puts the keys and values of `qkv` into the memories.
fn store(
    ctx: &Context<'_>,
    attention: &BoundAttention,
    memories: &mut [&mut KvSequence],
    workspace: &Workspace,
) {
    let kernels = ctx.ops.kernels;
    let a = &attention.spec;
    let (q_width, kv_width) = (a.q_width(), a.kv_width());
    let width = q_width + 2 * kv_width;
    let Workspace { batch, qkv, .. } = workspace;
    for write in &batch.writes {
        let one = write.rows.len() == 1;
        let memory = &mut *memories[write.memory];
        memory.write_heads(ctx.crew, attention.kv_layer, write.span, one, |writer| {
            let head = writer.head * a.head_dim..(writer.head + 1) * a.head_dim;
            for row in write.rows.clone() {
                let (k, v) = qkv[row * width + q_width..][..2 * kv_width].split_at(kv_width);
                let slot = batch.slots[row] as usize;
                writer.store(kernels, slot, &k[head.clone()], &v[head.clone()]);
            }
        });
    }
}

/// Puts ready keys and values `[m][k | v]` into slots `0 .. m` of a memory.
pub(crate) fn store_other(
    ctx: &Context<'_>,
    attention: &BoundAttention,
    memory: &mut KvSequence,
    kv: &mut [f32],
) {
    let kernels = ctx.ops.kernels;
    let a = &attention.spec;
    let kv_width = a.kv_width();
    prepare::keys_of_other(ctx, attention, memory.kind(), kv);
    let m = kv.len() / (2 * kv_width);
    for span in 0..m.div_ceil(crate::kv::SPAN) {
        let slots = span * crate::kv::SPAN..m.min((span + 1) * crate::kv::SPAN);
        memory.write_heads(ctx.crew, attention.kv_layer, span, false, |writer| {
            let head = writer.head * a.head_dim..(writer.head + 1) * a.head_dim;
            for slot in slots.clone() {
                let (k, v) = kv[slot * 2 * kv_width..][..2 * kv_width].split_at(kv_width);
                writer.store(kernels, slot, &k[head.clone()], &v[head.clone()]);
            }
        });
    }
}

/// The memory that a segment reads, and its slots there.
fn memory_of<'a>(
    attention: &BoundAttention,
    segment: &Segment,
    memories: &'a [&mut KvSequence],
) -> (&'a KvSequence, Range<usize>) {
    match &segment.other {
        Some(other) if attention.crosses() => (&*memories[other.memory], other.slots.clone()),
        _ => (&*memories[segment.memory], segment.slots.clone()),
    }
}

/// What the row at `slot` sees of the slots of its memory.
fn visible(attention: &BoundAttention, slots: &Range<usize>, slot: usize) -> Range<usize> {
    let a = &attention.spec;
    if attention.crosses() {
        return slots.clone();
    }
    let window = a.sliding_window.unwrap_or(usize::MAX);
    let start = (slot + 1).saturating_sub(window).max(slots.start);
    let ahead = if a.causal { 1 } else { window };
    start..slot.saturating_add(ahead).min(slots.end)
}

/// Segments of several rows: blocks of query rows in parallel.
fn blocks(
    ctx: &Context<'_>,
    attention: &BoundAttention,
    memories: &[&mut KvSequence],
    workspace: &mut Workspace,
) {
    let ops = ctx.ops;
    let kernels = ops.kernels;
    let a = &attention.spec;
    let stride = attention.q_stride();
    let heads_per_kv = a.n_heads / a.n_kv_heads;
    let Workspace { batch, qkv, attended, of_queries, of_keys, attention: workers, .. } = workspace;
    let batch: &Batch = batch;
    let m = batch.len();
    let attended = &mut attended[..m * a.q_width()];
    let widths = (a.q_width(), a.head_dim);
    let runs = &batch.query_blocks;
    ctx.crew.row_tiles(workers, attended, widths, runs, |worker, rows, head, mut out| {
        let q = FloatRows {
            m: rows.len(),
            k: a.head_dim,
            stride,
            x: &qkv[rows.start * stride + head * a.head_dim..],
        };
        let segment = batch.segment_of(rows.start);
        let (memory, slots) = memory_of(attention, segment, memories);
        let reader = |r: usize| {
            let slot = batch.slots[rows.start + r] as usize;
            let position = slot - segment.slots.start;
            Reader { visible: visible(attention, &slots, slot), head, position }
        };
        let first_row = segment.rows.start;
        let scores = PositionScores::of(attention, (of_queries, of_keys), first_row);
        let spans = Spans::new(ops, memory, attention, head / heads_per_kv, slots.start);
        let spans = Spans { positions: scores, ..spans };
        let (_, sum) = spans.attend(&q, reader, worker, &mut out);
        for (r, &sum) in sum.iter().enumerate() {
            (kernels.scale)(out.row(r), 1.0 / sum);
            if memory.kind() == KvType::Int8 {
                hadamard(out.row(r));
            }
        }
    });
}

#[cfg(test)]
mod tests;
