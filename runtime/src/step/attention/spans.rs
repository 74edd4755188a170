//! One head's walk over the spans of the cache.

use std::ops::Range;

use kinglet_formats::spec::Attention;

use super::disentangled::PositionScores;
use crate::error::Error;
use crate::kernels::{FloatRows, Kernels, QuantizedRows, TileMut};
use crate::kv::{Head, KvSequence, KvType, SPAN, key_group};
use crate::memory::Room;
use crate::network::{BoundAttention, DistanceBias};
use crate::ops::Ops;

/// Where a walk begins is a multiple of this, counted from the sequence's first slot: softmax adds its
/// exponentials in that many lanes, and a row's bits do not depend on which rows are beside it.
const ALIGNMENT: usize = 32;

/// Buffers of one thread.
#[derive(Clone, Debug, Default)]
pub(crate) struct AttentionScratch {
    /// `[rows][positions of a span]`: scores, then softmax weights.
    scores: Vec<f32>,
    /// `[rows][head_dim]`: weighted values of one span.
    sums: Vec<f32>,
    /// `[rows]`: largest score so far.
    max: Vec<f32>,
    /// `[rows]`: sum of the exponentials so far.
    sum: Vec<f32>,
    /// `[rows]`: largest score in one span.
    span_max: Vec<f32>,
    /// Queries for int8 keys.
    queries: Quantized,
    /// Softmax weights for int8 values.
    weights: Quantized,
}

/// Rows in 16 bits, as int8 products take them.
#[derive(Clone, Debug, Default)]
struct Quantized {
    /// `[rows][padded_k]`
    q: Vec<i16>,
    /// `[rows][groups]`
    scales: Vec<f32>,
}

impl Quantized {
    fn new(rows: usize, padded_k: usize, groups: usize, room: &mut Room) -> Result<Self, Error> {
        Ok(Self { q: room.zeroed(rows * padded_k)?, scales: room.zeroed(rows * groups)? })
    }

    /// Quantizes `rows` rows of `k` values, `stride` apart in `x`.
    fn quantize(
        &mut self,
        kernels: &Kernels,
        x: &FloatRows<'_>,
        group: usize,
    ) -> QuantizedRows<'_> {
        let padded_k = x.k.next_multiple_of(group);
        let groups = padded_k / group;
        let q = &mut self.q[..x.m * padded_k];
        let scales = &mut self.scales[..x.m * groups];
        let rows = q.chunks_exact_mut(padded_k).zip(scales.chunks_exact_mut(groups));
        for ((q, scales), row) in rows.zip(x.x.chunks(x.stride)) {
            (kernels.quantize_row)(&row[..x.k], group, q, scales);
        }
        QuantizedRows { m: x.m, padded_k, group, q, stride: groups, scales }
    }
}

impl AttentionScratch {
    /// Room for `rows` rows of query heads of up to `head_dim`.
    pub(super) fn new(rows: usize, head_dim: usize, room: &mut Room) -> Result<Self, Error> {
        // In groups of any size `key_group` gives.
        let padded_k = head_dim.next_multiple_of(64);
        Ok(Self {
            scores: room.zeroed(rows * SPAN)?,
            sums: room.zeroed(rows * head_dim)?,
            max: room.zeroed(rows)?,
            sum: room.zeroed(rows)?,
            span_max: room.zeroed(rows)?,
            queries: Quantized::new(rows, padded_k, padded_k / 32, room)?,
            weights: Quantized::new(rows, SPAN, 1, room)?,
        })
    }
}

/// The keys and values of one kv head.
pub(super) struct Spans<'a> {
    pub(super) kernels: &'static Kernels,
    pub(super) memory: &'a KvSequence,
    /// Number of the layer in the memory.
    pub(super) layer: usize,
    pub(super) kv_head: usize,
    pub(super) a: &'a Attention,
    /// What positions add, of the sequence that begins at the slot.
    pub(super) positions: Option<PositionScores<'a>>,
    /// Its first slot.
    pub(super) first_slot: usize,
    /// Biases of distances and their table.
    pub(super) bias: Option<(&'a DistanceBias, &'a [f32])>,
}

/// A row of queries: the slots it sees, its head, its position in the sequence.
pub(super) struct Reader {
    pub(super) visible: Range<usize>,
    pub(super) head: usize,
    pub(super) position: usize,
}

impl<'a> Spans<'a> {
    /// Those of `kv_head` in `memory`, whose sequence begins at `first_slot`.
    pub(super) fn new(
        ops: Ops<'a>,
        memory: &'a KvSequence,
        attention: &'a BoundAttention,
        kv_head: usize,
        first_slot: usize,
    ) -> Self {
        let bias = attention.bias.as_ref();
        Self {
            kernels: ops.kernels,
            memory,
            layer: attention.kv_layer,
            kv_head,
            a: &attention.spec,
            positions: None,
            first_slot,
            bias: bias.map(|bias| (bias, bias.table(ops))),
        }
    }

    /// `out[r] = exp(q[r] . keys - max[r]) . values` over the slots that row `r` sees; gives
    /// `max` and the sum of the exponentials, both `[rows]`.
    pub(super) fn attend<'s>(
        &self,
        q: &FloatRows<'_>,
        reader: impl Fn(usize) -> Reader,
        scratch: &'s mut AttentionScratch,
        out: &mut TileMut<'_>,
    ) -> (&'s [f32], &'s [f32]) {
        let Self { kernels, a, .. } = *self;
        let rows = q.m;
        let AttentionScratch { scores, sums, max, sum, span_max, queries, weights } = scratch;
        let scores = &mut scores[..rows * SPAN];
        let (max, sum, span_max) = (&mut max[..rows], &mut sum[..rows], &mut span_max[..rows]);
        max.fill(f32::NEG_INFINITY);
        sum.fill(0.0);
        let queries = match self.memory.kind() {
            KvType::F16 => None,
            KvType::Int8 => Some(queries.quantize(kernels, q, key_group(a.head_dim))),
        };
        let start = (0..rows).map(|r| reader(r).visible.start).min().unwrap_or(0);
        let start = start - (start - self.first_slot) % ALIGNMENT;
        let end = (0..rows).map(|r| reader(r).visible.end).max().unwrap_or(0);

        let mut slot = start;
        while slot < end {
            let first = slot % SPAN;
            let n = (end - slot).min(SPAN - first);
            let head = self.memory.head(self.layer, self.kv_head, slot / SPAN);

            let mut tile = TileMut::new(scores, SPAN);
            let mut tile = tile.part(0, rows, first, n);
            match (&head, &queries) {
                (Head::I8(head), Some(q)) => {
                    (kernels.gemm_i8)(&head.keys(first, n), 0, q, &mut tile);
                }
                (Head::F16(head), _) => {
                    (kernels.gemm_f16)(&head.keys(first, n), 0, q, &mut tile);
                }
                (Head::I8(_), None) => unreachable!("int8 caches have quantized queries"),
            }
            for (r, row) in scores.chunks_exact_mut(SPAN).enumerate() {
                let row = &mut row[first..first + n];
                let Reader { visible: seen, head, position } = reader(r);
                let from = seen.start.clamp(slot, slot + n) - slot;
                let to = seen.end.clamp(slot + from, slot + n) - slot;
                cap_scores(&mut row[from..to], a.soft_cap);
                if from < to {
                    let key = slot + from - self.first_slot;
                    if let Some((bias, table)) = self.bias {
                        bias.add(table, head, position, key, &mut row[from..to]);
                    }
                    if let Some(positions) = &self.positions {
                        positions.add(head, position, key, &mut row[from..to]);
                    }
                }
                row[..from].fill(f32::NEG_INFINITY);
                row[to..].fill(f32::NEG_INFINITY);
                let (m, s) = (kernels.softmax_exp)(row);
                span_max[r] = m;
                add_sum(&mut sum[r], max[r], s, m);
            }

            if slot == start {
                self.weigh(&head, scores, first, n, weights, out);
                max.copy_from_slice(span_max);
            } else {
                let sums = &mut sums[..rows * a.head_dim];
                let mut tile = TileMut::new(sums, a.head_dim);
                self.weigh(&head, scores, first, n, weights, &mut tile);
                for (r, sums) in sums.chunks_exact_mut(a.head_dim).enumerate() {
                    add_values(kernels, out.row(r), &mut max[r], sums, span_max[r]);
                }
            }
            slot += n;
        }
        (max, sum)
    }

    /// `out[r] = sum over the positions first .. first + n of a span of scores[r] * value`.
    fn weigh(
        &self,
        head: &Head<'_>,
        scores: &mut [f32],
        first: usize,
        n: usize,
        weights: &mut Quantized,
        out: &mut TileMut<'_>,
    ) {
        let kernels = self.kernels;
        let m = out.rows();
        match head {
            Head::F16(head) => {
                let weights = FloatRows { m, k: n, stride: SPAN, x: &scores[first..] };
                (kernels.gemm_f16)(&head.values(first, n), 0, &weights, out);
            }
            Head::I8(head) => {
                for row in scores.chunks_exact_mut(SPAN) {
                    row[..first].fill(0.0);
                    (kernels.mul)(&mut row[first..first + n], head.value_scales(first, n));
                    row[first + n..].fill(0.0);
                }
                let scores = FloatRows { m, k: SPAN, stride: SPAN, x: scores };
                let weights = weights.quantize(kernels, &scores, SPAN);
                (kernels.gemm_i8)(&head.values(), 0, &weights, out);
            }
        }
    }
}

/// Adds the sum of a further span's exponentials, whose largest score is `span_max`, to that of the
/// spans before it.
pub(super) fn add_sum(sum: &mut f32, max: f32, span_sum: f32, span_max: f32) {
    let new_max = max.max(span_max);
    if new_max > f32::NEG_INFINITY {
        *sum = *sum * (max - new_max).exp() + span_sum * (span_max - new_max).exp();
    }
}

/// Adds a further span's weighted values `sums`, whose largest score is `span_max`, to those of the
/// spans before it, and makes `max` the largest of all.
pub(super) fn add_values(
    kernels: &Kernels,
    out: &mut [f32],
    max: &mut f32,
    sums: &mut [f32],
    span_max: f32,
) {
    let new_max = max.max(span_max);
    if new_max > f32::NEG_INFINITY {
        (kernels.scale)(sums, (span_max - new_max).exp());
        (kernels.scale_add)(out, (*max - new_max).exp(), sums);
    }
    *max = new_max;
}

fn cap_scores(scores: &mut [f32], soft_cap: Option<f32>) {
    if let Some(cap) = soft_cap {
        scores.iter_mut().for_each(|x| *x = cap * (*x / cap).tanh());
    }
}
