//! Attention of a batch over the KV cache, tiled, with an online softmax (arXiv:2205.14135).
//!
//! Scores and weighted sums are products with the cache's panels. A work item is a block of query
//! rows of one kv head's query heads; in decode, where there is one row, it is one kv head and a
//! part of the positions, and the parts are combined at the end. Parts have a fixed length, so
//! the result does not depend on the number of threads.

use kinglet_formats::spec::Attention;

use super::batch::{Batch, QUERY_ROWS};
use super::{Scratch, norm_row};
use crate::kernels::{FloatRows, Kernels, TileMut};
use crate::kv_cache::{KvCache, SPAN};
use crate::linear::Context;
use crate::plan::{BoundLayer, Network};

/// Positions in one work item of decode.
const PART: usize = 64;

/// f32 values that one thread needs: scores, a tile of sums, and a maximum and sum per row.
pub(super) fn scratch_len(network: &Network) -> usize {
    let head_dim = network.layers.iter().map(|l| l.attention.head_dim).max().unwrap_or(0);
    QUERY_ROWS * (SPAN + head_dim + 2)
}

/// f32 values of decode's partial results over `n_positions`.
pub(super) fn partials_len(network: &Network, n_positions: usize) -> usize {
    let per_part = network
        .layers
        .iter()
        .map(|l| l.attention.n_kv_heads * Part::len(&l.attention))
        .max()
        .unwrap_or(0);
    // One part more, as a sliding window need not start at a part's edge.
    (n_positions.div_ceil(PART) + 1) * per_part
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
    prepare(ctx, batch, layer, scratch);
    store(ctx, batch, index, layer, cache, scratch);
    if batch.len() == 1 {
        decode(ctx, batch, index, &layer.attention, cache, scratch);
    } else {
        prefill(ctx, batch, index, &layer.attention, cache, scratch);
    }
}

/// Normalises, rotates and scales q, k in `qkv`; leaves k and v in fp16 in `kv`.
fn prepare(ctx: &Context<'_>, batch: &Batch, layer: &BoundLayer, scratch: &mut Scratch) {
    let ops = ctx.ops;
    let a = &layer.attention;
    let (q_width, kv_width) = (a.n_heads * a.head_dim, a.n_kv_heads * a.head_dim);
    let width = q_width + 2 * kv_width;
    let m = batch.len();
    let angles = layer.rope.map(|rope| &scratch.angles[rope][..]);
    let angles_len = angles.map_or(0, |angles| angles.len() / scratch.capacity);
    let qkv = (&mut scratch.qkv[..m * width], width);
    let kv = (&mut scratch.kv[..m * 2 * kv_width], 2 * kv_width);
    ctx.crew.row_pairs(qkv, kv, super::ROWS_PER_ITEM, |first, qkv, kv| {
        let mut normed = [0.0; MAX_HEAD_DIM];
        let normed = &mut normed[..a.head_dim];
        let rows = qkv.chunks_exact_mut(width).zip(kv.chunks_exact_mut(2 * kv_width));
        for (row, (qkv, kv)) in (first..).zip(rows) {
            let (q, kv_f32) = qkv.split_at_mut(q_width);
            let (k, v) = kv_f32.split_at_mut(kv_width);
            let norms = [(&mut *q, layer.q_norm), (&mut *k, layer.k_norm)];
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
            let (k16, v16) = kv.split_at_mut(kv_width);
            (ops.kernels.to_f16)(k, k16);
            (ops.kernels.to_f16)(v, v16);
        }
    });
}

/// Largest head size the runtime takes.
pub(crate) const MAX_HEAD_DIM: usize = 512;

fn store(
    ctx: &Context<'_>,
    batch: &Batch,
    index: usize,
    layer: &BoundLayer,
    cache: &mut KvCache,
    scratch: &Scratch,
) {
    let a = &layer.attention;
    let kv_width = a.n_kv_heads * a.head_dim;
    let first_slot = batch.slots.iter().min().map_or(0, |&slot| slot as usize);
    cache.write_heads(ctx.crew, index, first_slot..batch.n_slots, |writer| {
        let head = writer.head * a.head_dim..(writer.head + 1) * a.head_dim;
        for (&slot, kv) in batch.slots.iter().zip(scratch.kv.chunks_exact(2 * kv_width)) {
            if slot as usize / SPAN == writer.span {
                let (k, v) = kv.split_at(kv_width);
                writer.store(slot as usize, &k[head.clone()], &v[head.clone()]);
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
    let ops = ctx.ops;
    let heads_per_kv = a.n_heads / a.n_kv_heads;
    let visible = window(&batch.visible[0], batch.slots[0], a);
    let first_part = visible.start / PART;
    let n_parts = visible.end.div_ceil(PART) - first_part;
    let part_len = Part::len(a);
    let Scratch { qkv, attended, partials, .. } = scratch;
    let q = &qkv[..a.n_heads * a.head_dim];
    let partials = &mut partials[..a.n_kv_heads * n_parts * part_len];

    // [kv head][part]
    ctx.crew.rows(partials, part_len, 1, |item, data| {
        let (kv_head, part) = (item / n_parts, first_part + item % n_parts);
        let start = part * PART;
        let end = visible.end.min(start + PART);
        let Part { scores, sums, max, sum } = Part::of(a, data);
        let q = &q[kv_head * heads_per_kv * a.head_dim..][..heads_per_kv * a.head_dim];
        let q = FloatRows { m: heads_per_kv, k: a.head_dim, stride: a.head_dim, x: q };
        let keys = cache.keys(index, kv_head, start, end - start);
        let n = end - start;
        (ops.kernels.gemm_f16)(&keys, 0, &q, &mut TileMut::new(&mut scores[..heads_per_kv * n], n));
        for (h, scores) in scores.chunks_exact_mut(n).take(heads_per_kv).enumerate() {
            cap_scores(scores, a.soft_cap);
            scores[..visible.start.saturating_sub(start)].fill(f32::NEG_INFINITY);
            (max[h], sum[h]) = (ops.kernels.softmax_exp)(scores);
        }
        let weights =
            FloatRows { m: heads_per_kv, k: n, stride: n, x: &scores[..heads_per_kv * n] };
        let values = cache.values(index, kv_head, start, n);
        (ops.kernels.gemm_f16)(&values, 0, &weights, &mut TileMut::new(sums, a.head_dim));
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
                (ops.kernels.scale)(sums, factor);
                (ops.kernels.add)(out, sums);
                total += part.sum[h] * factor;
            }
            (ops.kernels.scale)(out, 1.0 / total);
        }
    }
}

/// Result of one kv head's query heads over one part of the positions.
struct Part<'a> {
    /// `[heads_per_kv][PART]`
    scores: &'a mut [f32],
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
        (a.n_heads / a.n_kv_heads * (PART + a.head_dim + 2)).next_multiple_of(16)
    }

    fn of(a: &Attention, data: &'a mut [f32]) -> Self {
        let heads = a.n_heads / a.n_kv_heads;
        let (scores, rest) = data.split_at_mut(heads * PART);
        let (sums, rest) = rest.split_at_mut(heads * a.head_dim);
        let (max, rest) = rest.split_at_mut(heads);
        Self { scores, sums, max, sum: &mut rest[..heads] }
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
    let ops = ctx.ops;
    let m = batch.len();
    let width = (a.n_heads + 2 * a.n_kv_heads) * a.head_dim;
    let heads_per_kv = a.n_heads / a.n_kv_heads;
    let Scratch { qkv, attended, workers, .. } = scratch;
    let attended = &mut attended[..m * a.n_heads * a.head_dim];
    let widths = (a.n_heads * a.head_dim, heads_per_kv * a.head_dim);
    let blocks = &batch.query_blocks;
    ctx.crew.row_tiles(workers, attended, widths, blocks, |worker, rows, kv_head, mut out| {
        for h in 0..heads_per_kv {
            let head = kv_head * heads_per_kv + h;
            let n_rows = rows.len();
            let q = FloatRows {
                m: n_rows,
                k: a.head_dim,
                stride: width,
                x: &qkv[rows.start * width + head * a.head_dim..],
            };
            let mut out = out.part(0, n_rows, h * a.head_dim, a.head_dim);
            let visible = |row: usize| window(&batch.visible[row], batch.slots[row], a);
            let spans = Spans { kernels: ops.kernels, cache, index, kv_head, a };
            spans.attend(&q, |r| visible(rows.start + r), &mut worker.attention, &mut out);
        }
    });
}

/// Walks the spans of the cache for one head and a block of rows.
struct Spans<'a> {
    kernels: &'static Kernels,
    cache: &'a KvCache,
    index: usize,
    kv_head: usize,
    a: &'a Attention,
}

impl Spans<'_> {
    /// `out[r] = softmax(q[r] . keys) . values` over the slots that row `r` sees.
    fn attend(
        &self,
        q: &FloatRows<'_>,
        visible: impl Fn(usize) -> std::ops::Range<usize>,
        scratch: &mut [f32],
        out: &mut TileMut<'_>,
    ) {
        let Self { kernels, cache, index, kv_head, a } = *self;
        let rows = q.m;
        let (scores, rest) = scratch.split_at_mut(QUERY_ROWS * SPAN);
        let (sums, rest) = rest.split_at_mut(QUERY_ROWS * a.head_dim);
        let (max, sum) = rest.split_at_mut(QUERY_ROWS);
        let (max, sum) = (&mut max[..rows], &mut sum[..rows]);
        max.fill(f32::NEG_INFINITY);
        sum.fill(0.0);
        let start = (0..rows).map(|r| visible(r).start).min().unwrap_or(0) / 8 * 8;
        let end = (0..rows).map(|r| visible(r).end).max().unwrap_or(0);

        let mut first = start;
        while first < end {
            let n = (end - first).min(SPAN - first % SPAN);
            let keys = cache.keys(index, kv_head, first, n);
            let mut tile = TileMut::new(&mut scores[..rows * n], n);
            (kernels.gemm_f16)(&keys, 0, q, &mut tile);
            let mut span_max = [f32::NEG_INFINITY; QUERY_ROWS];
            for (r, scores) in scores.chunks_exact_mut(n).take(rows).enumerate() {
                let seen = visible(r);
                let from = seen.start.clamp(first, first + n) - first;
                let to = seen.end.clamp(first, first + n) - first;
                cap_scores(&mut scores[from..to], a.soft_cap);
                scores[..from].fill(f32::NEG_INFINITY);
                scores[to.max(from)..].fill(f32::NEG_INFINITY);
                let (m, s) = (kernels.softmax_exp)(scores);
                span_max[r] = m;
                let new_max = max[r].max(m);
                if new_max > f32::NEG_INFINITY {
                    sum[r] = sum[r] * (max[r] - new_max).exp() + s * (m - new_max).exp();
                }
            }
            let weights = FloatRows { m: rows, k: n, stride: n, x: &scores[..rows * n] };
            let values = cache.values(index, kv_head, first, n);
            if first == start {
                (kernels.gemm_f16)(&values, 0, &weights, out);
                max.copy_from_slice(&span_max[..rows]);
            } else {
                let sums = &mut sums[..rows * a.head_dim];
                (kernels.gemm_f16)(&values, 0, &weights, &mut TileMut::new(sums, a.head_dim));
                for (r, sums) in sums.chunks_exact_mut(a.head_dim).enumerate() {
                    let new_max = max[r].max(span_max[r]);
                    if new_max > f32::NEG_INFINITY {
                        (kernels.scale)(sums, (span_max[r] - new_max).exp());
                        (kernels.scale_add)(out.row(r), (max[r] - new_max).exp(), sums);
                    }
                    max[r] = new_max;
                }
            }
            first += n;
        }
        for (r, &sum) in sum.iter().enumerate() {
            (kernels.scale)(out.row(r), 1.0 / sum);
        }
    }
}

/// What a row sees of its sequence, cut to the sliding window. `slot` is the row's own.
fn window(visible: &std::ops::Range<u32>, slot: u32, a: &Attention) -> std::ops::Range<usize> {
    let start = match a.sliding_window {
        Some(window) => (slot as usize + 1).saturating_sub(window).max(visible.start as usize),
        None => visible.start as usize,
    };
    start..visible.end as usize
}

fn cap_scores(scores: &mut [f32], soft_cap: Option<f32>) {
    if let Some(cap) = soft_cap {
        scores.iter_mut().for_each(|x| *x = cap * (*x / cap).tanh());
    }
}
