//! A segment of one row: parts of the positions in parallel, combined at the end.

use kinglet_formats::spec::Attention;

use super::hadamard::hadamard;
use super::spans::{Reader, Spans};
use super::{memory_of, visible};
use crate::kernels::{FloatRows, TileMut};
use crate::kv::{KvSequence, KvType, SPAN};
use crate::network::{BoundAttention, Network};
use crate::ops::Context;
use crate::step::Workspace;

/// Parts into which the positions are cut, at most.
const MAX_PARTS: usize = 16;

/// f32 values of the partial results of any layer.
pub(crate) fn partials_len(network: &Network) -> usize {
    let attentions = network.stacks.iter().flat_map(|stack| stack.attentions());
    let heads = attentions.map(|a| a.spec.n_kv_heads * Part::len(&a.spec));
    MAX_PARTS * heads.max().unwrap_or(0)
}

/// Attention of the one row of segment number `s`.
pub(super) fn run(
    ctx: &Context<'_>,
    attention: &BoundAttention,
    memories: &[&mut KvSequence],
    workspace: &mut Workspace,
    s: usize,
) {
    let ops = ctx.ops;
    let kernels = ops.kernels;
    let a = &attention.spec;
    let heads_per_kv = a.n_heads / a.n_kv_heads;
    let Workspace { batch, qkv, attended, partials, attention: workers, .. } = workspace;
    let segment = &batch.segments[s];
    let row = segment.rows.start;
    let slot = batch.slots[row] as usize;
    let position = slot - segment.slots.start;
    let (memory, slots) = memory_of(attention, segment, memories);
    let visible = visible(attention, &slots, slot);
    let (first, n_spans) = (visible.start / SPAN, visible.end.div_ceil(SPAN));
    let spans_per_part = (n_spans - first).div_ceil(MAX_PARTS);
    let n_parts = (n_spans - first).div_ceil(spans_per_part);
    let part_len = Part::len(a);
    let q = &qkv[row * attention.q_stride()..][..a.q_width()];
    let attended = &mut attended[row * a.q_width()..][..a.q_width()];
    let partials = &mut partials[..a.n_kv_heads * n_parts * part_len];

    // [kv head][part]
    ctx.crew.rows_with(workers, partials, part_len, |worker, item, data| {
        let (kv_head, part) = (item / n_parts, item % n_parts);
        let start = (first + part * spans_per_part) * SPAN;
        let seen = start.max(visible.start)..visible.end.min(start + spans_per_part * SPAN);
        let q = &q[kv_head * heads_per_kv * a.head_dim..][..heads_per_kv * a.head_dim];
        let q = FloatRows { m: heads_per_kv, k: a.head_dim, stride: a.head_dim, x: q };
        let part = Part::of(a, data);
        let mut sums = TileMut::new(part.sums, a.head_dim);
        let spans = Spans::new(ops, memory, attention, kv_head, slots.start);
        let reader =
            |h: usize| Reader { visible: seen.clone(), head: kv_head * heads_per_kv + h, position };
        let (max, sum) = spans.attend(&q, reader, worker, &mut sums);
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
            if memory.kind() == KvType::Int8 {
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
