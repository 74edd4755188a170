//! Attention of a batch over the KV cache, tiled, with an online softmax (arXiv:2205.14135).
//!
//! A work item is a block of query rows of one head over all they see; in decode, where there is
//! one token, it is the query heads of one kv head over a part of the positions, and the parts
//! are combined at the end. Parts depend on the number of positions only, so the result does not
//! depend on the number of threads.

mod hadamard;
mod spans;

pub(crate) use spans::AttentionScratch;

use std::ops::Range;

use kinglet_formats::spec::Attention;

use self::hadamard::hadamard;
use self::spans::Spans;
use super::batch::{Batch, QUERY_ROWS};
use super::{Scratch, norm_row};
use crate::error::Error;
use crate::kernels::{FloatRows, TileMut};
use crate::kv_cache::{KvCache, KvType, SPAN};
use crate::linear::Context;
use crate::memory::Room;
use crate::plan::{BoundLayer, Network};

/// Parts into which decode cuts the positions, at most.
const MAX_PARTS: usize = 16;

/// Largest head size the runtime takes.
pub(crate) const MAX_HEAD_DIM: usize = 512;

impl AttentionScratch {
    /// What one thread needs for any layer of `network`.
    pub(super) fn of(network: &Network, room: &mut Room) -> Result<Self, Error> {
        let attentions = || network.layers.iter().map(|layer| &layer.attention);
        let rows = attentions().map(|a| a.n_heads / a.n_kv_heads).max().unwrap_or(0);
        let head_dim = attentions().map(|a| a.head_dim).max().unwrap_or(0);
        Self::new(rows.max(QUERY_ROWS), head_dim, room)
    }
}

/// f32 values of decode's partial results.
pub(super) fn partials_len(network: &Network) -> usize {
    let heads = |a: &Attention| a.n_kv_heads * Part::len(a);
    MAX_PARTS * network.layers.iter().map(|layer| heads(&layer.attention)).max().unwrap_or(0)
}

/// Rotates and stores keys and values of the batch, then attends; reads `scratch.qkv`, writes
/// `scratch.attended`.
pub(super) fn run(
    ctx: &Context<'_>,
    batch: &Batch,
    index: usize,
    layer: &BoundLayer,
    cache: &mut KvCache,
    scratch: &mut Scratch,
) {
    prepare(ctx, batch, layer, cache.kind(), scratch);
    store(ctx, batch, index, layer, cache, scratch);
    if batch.len() == 1 {
        decode(ctx, batch, index, &layer.attention, cache, scratch);
    } else {
        prefill(ctx, batch, index, &layer.attention, cache, scratch);
    }
}

/// Normalises and rotates q and k in `qkv`, scales q, and spreads all three for int8.
fn prepare(
    ctx: &Context<'_>,
    batch: &Batch,
    layer: &BoundLayer,
    kind: KvType,
    scratch: &mut Scratch,
) {
    let ops = ctx.ops;
    let a = &layer.attention;
    let (q_width, kv_width) = (a.n_heads * a.head_dim, a.n_kv_heads * a.head_dim);
    let width = q_width + 2 * kv_width;
    let m = batch.len();
    let angles = layer.rope.map(|rope| &scratch.angles[rope][..]);
    let angles_len = angles.map_or(0, |angles| angles.len() / scratch.capacity);
    let qkv = &mut scratch.qkv[..m * width];
    ctx.crew.rows(qkv, width, super::ROWS_PER_ITEM, |first, qkv| {
        let mut normed = [0.0; MAX_HEAD_DIM];
        let normed = &mut normed[..a.head_dim];
        for (row, qkv) in (first..).zip(qkv.chunks_exact_mut(width)) {
            let (q, kv) = qkv.split_at_mut(q_width);
            let norms = [(&mut *q, layer.q_norm), (&mut kv[..kv_width], layer.k_norm)];
            for (heads, norm) in norms {
                for head in heads.chunks_exact_mut(a.head_dim) {
                    if let Some(norm) = &norm {
                        norm_row(ops, norm, head, normed);
                        head.copy_from_slice(normed);
                    }
                    if let Some(angles) = angles {
                        let (cos, sin) =
                            angles[row * angles_len..][..angles_len].split_at(angles_len / 2);
                        (ops.kernels.rotate_half)(&mut head[..angles_len], cos, sin);
                    }
                }
            }
            (ops.kernels.scale)(q, a.scale);
            if kind == KvType::Int8 {
                qkv.chunks_exact_mut(a.head_dim).for_each(hadamard);
            }
        }
    });
}

/// Puts the keys and values of `qkv` into the cache.
fn store(
    ctx: &Context<'_>,
    batch: &Batch,
    index: usize,
    layer: &BoundLayer,
    cache: &mut KvCache,
    scratch: &Scratch,
) {
    let kernels = ctx.ops.kernels;
    let a = &layer.attention;
    let (q_width, kv_width) = (a.n_heads * a.head_dim, a.n_kv_heads * a.head_dim);
    let width = q_width + 2 * kv_width;
    let first_slot = batch.slots.iter().min().map_or(0, |&slot| slot as usize);
    cache.write_heads(ctx.crew, index, first_slot..batch.n_slots, |writer| {
        let head = writer.head * a.head_dim..(writer.head + 1) * a.head_dim;
        for (&slot, qkv) in batch.slots.iter().zip(scratch.qkv.chunks_exact(width)) {
            if slot as usize / SPAN == writer.span {
                let (k, v) = qkv[q_width..].split_at(kv_width);
                writer.store(kernels, slot as usize, &k[head.clone()], &v[head.clone()]);
            }
        }
    });
}

/// One row: parts of the positions in parallel, combined at the end.
fn decode(
    ctx: &Context<'_>,
    batch: &Batch,
    index: usize,
    a: &Attention,
    cache: &KvCache,
    scratch: &mut Scratch,
) {
    let kernels = ctx.ops.kernels;
    let heads_per_kv = a.n_heads / a.n_kv_heads;
    let visible = window(&batch.visible[0], batch.slots[0], a);
    let (first, n_spans) = (visible.start / SPAN, visible.end.div_ceil(SPAN));
    let spans_per_part = (n_spans - first).div_ceil(MAX_PARTS);
    let n_parts = (n_spans - first).div_ceil(spans_per_part);
    let part_len = Part::len(a);
    let Scratch { qkv, attended, partials, workers, .. } = scratch;
    let q = &qkv[..a.n_heads * a.head_dim];
    let partials = &mut partials[..a.n_kv_heads * n_parts * part_len];

    // [kv head][part]
    ctx.crew.rows_with(workers, partials, part_len, |worker, item, data| {
        let (kv_head, part) = (item / n_parts, item % n_parts);
        let start = (first + part * spans_per_part) * SPAN;
        let slots = start.max(visible.start)..visible.end.min(start + spans_per_part * SPAN);
        let q = &q[kv_head * heads_per_kv * a.head_dim..][..heads_per_kv * a.head_dim];
        let q = FloatRows { m: heads_per_kv, k: a.head_dim, stride: a.head_dim, x: q };
        let part = Part::of(a, data);
        let mut sums = TileMut::new(part.sums, a.head_dim);
        let spans = Spans { kernels, cache, index, kv_head, a };
        let (max, sum) = spans.attend(&q, |_| slots.clone(), &mut worker.attention, &mut sums);
        part.max.copy_from_slice(max);
        part.sum.copy_from_slice(sum);
    });

    for (kv_head, parts) in partials.chunks_exact_mut(n_parts * part_len).enumerate() {
        for h in 0..heads_per_kv {
            let out = &mut attended[(kv_head * heads_per_kv + h) * a.head_dim..][..a.head_dim];
            let max = parts
                .chunks_exact_mut(part_len)
                .map(|part| Part::of(a, part).max[h])
                .fold(f32::NEG_INFINITY, f32::max);
            let mut total = 0.0;
            out.fill(0.0);
            for part in parts.chunks_exact_mut(part_len) {
                let part = Part::of(a, part);
                let factor = (part.max[h] - max).exp();
                let sums = &mut part.sums[h * a.head_dim..][..a.head_dim];
                (kernels.scale)(sums, factor);
                (kernels.add)(out, sums);
                total += part.sum[h] * factor;
            }
            (kernels.scale)(out, 1.0 / total);
            if cache.kind() == KvType::Int8 {
                hadamard(out);
            }
        }
    }
}

/// Result of one kv head's query heads over one part of the positions.
struct Part<'a> {
    /// `[heads_per_kv][head_dim]`
    sums: &'a mut [f32],
    /// `[heads_per_kv]`
    max: &'a mut [f32],
    /// `[heads_per_kv]`
    sum: &'a mut [f32],
}

impl<'a> Part<'a> {
    fn len(a: &Attention) -> usize {
        // Whole cache lines, as neighbours are written by different threads.
        (a.n_heads / a.n_kv_heads * (a.head_dim + 2)).next_multiple_of(16)
    }

    fn of(a: &Attention, data: &'a mut [f32]) -> Self {
        let heads = a.n_heads / a.n_kv_heads;
        let (sums, rest) = data.split_at_mut(heads * a.head_dim);
        let (max, rest) = rest.split_at_mut(heads);
        Self { sums, max, sum: &mut rest[..heads] }
    }
}

/// Many rows: blocks of query rows in parallel.
fn prefill(
    ctx: &Context<'_>,
    batch: &Batch,
    index: usize,
    a: &Attention,
    cache: &KvCache,
    scratch: &mut Scratch,
) {
    let kernels = ctx.ops.kernels;
    let m = batch.len();
    let width = (a.n_heads + 2 * a.n_kv_heads) * a.head_dim;
    let heads_per_kv = a.n_heads / a.n_kv_heads;
    let Scratch { qkv, attended, workers, .. } = scratch;
    let attended = &mut attended[..m * a.n_heads * a.head_dim];
    let widths = (a.n_heads * a.head_dim, a.head_dim);
    let blocks = &batch.query_blocks;
    ctx.crew.row_tiles(workers, attended, widths, blocks, |worker, rows, head, mut out| {
        let q = FloatRows {
            m: rows.len(),
            k: a.head_dim,
            stride: width,
            x: &qkv[rows.start * width + head * a.head_dim..],
        };
        let visible =
            |r: usize| window(&batch.visible[rows.start + r], batch.slots[rows.start + r], a);
        let spans = Spans { kernels, cache, index, kv_head: head / heads_per_kv, a };
        let (_, sum) = spans.attend(&q, visible, &mut worker.attention, &mut out);
        for (r, &sum) in sum.iter().enumerate() {
            (kernels.scale)(out.row(r), 1.0 / sum);
            if cache.kind() == KvType::Int8 {
                hadamard(out.row(r));
            }
        }
    });
}

/// What a row sees of its sequence, cut to the sliding window. `slot` is the row's own.
fn window(visible: &Range<u32>, slot: u32, a: &Attention) -> Range<usize> {
    let start = match a.sliding_window {
        Some(window) => (slot as usize + 1).saturating_sub(window).max(visible.start as usize),
        None => visible.start as usize,
    };
    start..visible.end as usize
}

#[cfg(test)]
mod tests;
