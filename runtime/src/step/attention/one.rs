//! A segment of one row: spans in parallel, added in order, as a block of rows adds them.

use std::ops::Range;

use kinglet_formats::spec::Attention;

use super::hadamard::hadamard;
use super::spans::{Reader, Spans, add_sum, add_values};
use super::{memory_of, visible};
use crate::kernels::{FloatRows, TileMut};
use crate::kv::{KvSequence, KvType, SPAN};
use crate::network::{BoundAttention, Network};
use crate::ops::Context;
use crate::step::Workspace;

/// Spans that threads share before they are added.
const ROUND: usize = 32;

/// f32 values of the partial results of any layer.
pub(crate) fn partials_len(network: &Network) -> usize {
    let attentions = network.stacks.iter().flat_map(|stack| stack.attentions());
    let heads = attentions.map(|a| a.spec.n_kv_heads * Part::len(&a.spec));
    (ROUND + 1) * heads.max().unwrap_or(0)
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
    let spans = visible.start / SPAN..visible.end.div_ceil(SPAN);
    let part_len = Part::len(a);
    let q = &qkv[row * attention.q_stride()..][..a.q_width()];
    let attended = &mut attended[row * a.q_width()..][..a.q_width()];
    let (totals, partials) = partials.split_at_mut(a.n_kv_heads * part_len);

    for round in rounds(&spans) {
        // [kv head][span]
        let partials = &mut partials[..a.n_kv_heads * round.len() * part_len];
        ctx.crew.rows_with(workers, partials, part_len, |worker, item, data| {
            let (kv_head, span) = (item / round.len(), round.start + item % round.len());
            let seen = visible.start.max(span * SPAN)..visible.end.min((span + 1) * SPAN);
            let q = &q[kv_head * heads_per_kv * a.head_dim..][..heads_per_kv * a.head_dim];
            let q = FloatRows { m: heads_per_kv, k: a.head_dim, stride: a.head_dim, x: q };
            let part = Part::of(a, data);
            let mut sums = TileMut::new(part.sums, a.head_dim);
            let spans = Spans::new(ops, memory, attention, kv_head, slots.start);
            let reader = |h: usize| Reader {
                visible: seen.clone(),
                head: kv_head * heads_per_kv + h,
                position,
            };
            let (max, sum) = spans.attend(&q, reader, worker, &mut sums);
            part.max.copy_from_slice(max);
            part.sum.copy_from_slice(sum);
        });
        let parts = partials.chunks_exact_mut(round.len() * part_len);
        for (total, parts) in totals.chunks_exact_mut(part_len).zip(parts) {
            for (i, part) in parts.chunks_exact_mut(part_len).enumerate() {
                if round.start + i == spans.start {
                    total.copy_from_slice(part);
                    continue;
                }
                let (total, part) = (Part::of(a, total), Part::of(a, part));
                for h in 0..heads_per_kv {
                    let head = h * a.head_dim..(h + 1) * a.head_dim;
                    let (out, sums) = (&mut total.sums[head.clone()], &mut part.sums[head]);
                    add_sum(&mut total.sum[h], total.max[h], part.sum[h], part.max[h]);
                    add_values(kernels, out, &mut total.max[h], sums, part.max[h]);
                }
            }
        }
    }
    let heads = attended.chunks_exact_mut(heads_per_kv * a.head_dim);
    for (out, total) in heads.zip(totals.chunks_exact_mut(part_len)) {
        let total = Part::of(a, total);
        out.copy_from_slice(total.sums);
        for (out, &sum) in out.chunks_exact_mut(a.head_dim).zip(&*total.sum) {
            (kernels.scale)(out, 1.0 / sum);
            if memory.kind() == KvType::Int8 {
                hadamard(out);
            }
        }
    }
}

/// `spans` in runs of [`ROUND`].
fn rounds(spans: &Range<usize>) -> impl Iterator<Item = Range<usize>> + use<> {
    let end = spans.end;
    spans.clone().step_by(ROUND).map(move |first| first..end.min(first + ROUND))
}

/// Result of one kv head's query heads over some of the positions.
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
