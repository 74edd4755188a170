//! Keys and values of past positions, in fp16, grown span by span.
//!
//! Both lie in the panels of [`F16Panels`], so that attention is the weight kernel: keys with
//! positions as rows, `[position / 8][head_dim][8]`, values with dimensions as rows,
//! `[head_dim / 8][position][8]`. A span holds [`SPAN`] positions of every layer and head; a large
//! maximum context costs nothing until it is used.

use std::ops::Range;

use half::f16;

use crate::error::Error;
use crate::kernels::F16Panels;
use crate::team::Crew;

/// Positions in a span.
pub(crate) const SPAN: usize = 256;

/// Heads and head size of one layer's cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KvShape {
    pub(crate) n_kv_heads: usize,
    pub(crate) head_dim: usize,
}

impl KvShape {
    fn key_len(self) -> usize {
        SPAN * self.head_dim
    }

    fn value_len(self) -> usize {
        SPAN * self.head_dim.next_multiple_of(8)
    }

    fn head_len(self) -> usize {
        self.key_len() + self.value_len()
    }

    fn layer_len(self) -> usize {
        self.n_kv_heads * self.head_len()
    }
}

/// The cache of one sequence (or of one layer of packed sequences in an encoder).
pub(crate) struct KvCache {
    layers: Vec<(KvShape, usize)>,
    span_len: usize,
    spans: Vec<Box<[f16]>>,
}

impl KvCache {
    /// An empty cache for layers of these shapes.
    pub(crate) fn new(shapes: impl IntoIterator<Item = KvShape>) -> Self {
        let mut span_len = 0;
        let layers = shapes
            .into_iter()
            .map(|shape| {
                let offset = span_len;
                span_len += shape.layer_len();
                (shape, offset)
            })
            .collect();
        Self { layers, span_len, spans: Vec::new() }
    }

    /// A cache whose layers all use the same memory, one after another.
    pub(crate) fn shared(shapes: impl IntoIterator<Item = KvShape>) -> Self {
        let layers: Vec<_> = shapes.into_iter().map(|shape| (shape, 0)).collect();
        let span_len = layers.iter().map(|(shape, _)| shape.layer_len()).max().unwrap_or(0);
        Self { layers, span_len, spans: Vec::new() }
    }

    /// Bytes of one position over all layers.
    pub(crate) fn bytes_per_position(&self) -> usize {
        self.span_len / SPAN * size_of::<f16>()
    }

    /// Bytes of room for `n_positions` positions.
    pub(crate) fn bytes_for(&self, n_positions: usize) -> usize {
        n_positions.div_ceil(SPAN) * self.span_len * size_of::<f16>()
    }

    /// Bytes allocated now.
    pub(crate) fn bytes(&self) -> usize {
        self.spans.len() * self.span_len * size_of::<f16>()
    }

    /// Makes room for `n_positions` positions.
    pub(crate) fn reserve(&mut self, n_positions: usize) -> Result<(), Error> {
        let n_spans = n_positions.div_ceil(SPAN);
        let out_of_memory = |bytes| Error::OutOfMemory { what: "the KV cache", bytes };
        if n_spans > self.spans.len() {
            let more = n_spans - self.spans.len();
            self.spans.try_reserve_exact(more).map_err(|_| out_of_memory(more * 24))?;
        }
        while self.spans.len() < n_spans {
            // Zeroed by the system, page by page as it is touched.
            let span = bytemuck::try_zeroed_slice_box(self.span_len)
                .map_err(|()| out_of_memory(self.span_len * size_of::<f16>()))?;
            self.spans.push(span);
        }
        Ok(())
    }

    /// Keys of `head` in positions `first .. first + n` (inside one span, `first` a multiple
    /// of 8): rows = positions, k = head_dim.
    pub(crate) fn keys(&self, layer: usize, head: usize, first: usize, n: usize) -> F16Panels<'_> {
        let (shape, offset) = self.layers[layer];
        let in_span = first % SPAN;
        debug_assert!(in_span.is_multiple_of(8) && in_span + n <= SPAN);
        let start = offset + head * shape.head_len() + in_span * shape.head_dim;
        let len = n.next_multiple_of(8) * shape.head_dim;
        F16Panels {
            rows: n,
            k: shape.head_dim,
            panel_stride: 8 * shape.head_dim,
            data: &self.spans[first / SPAN][start..start + len],
        }
    }

    /// Values of `head` in the same positions: rows = head_dim, k = positions.
    pub(crate) fn values(
        &self,
        layer: usize,
        head: usize,
        first: usize,
        n: usize,
    ) -> F16Panels<'_> {
        let (shape, offset) = self.layers[layer];
        let in_span = first % SPAN;
        let start = offset + head * shape.head_len() + shape.key_len();
        let data = &self.spans[first / SPAN][start..start + shape.value_len()];
        F16Panels { rows: shape.head_dim, k: n, panel_stride: 8 * SPAN, data: &data[in_span * 8..] }
    }

    /// Calls `work` for every head of layer `layer` in the spans of slots `first .. end`, in
    /// parallel where there is more than a token to store.
    pub(crate) fn write_heads(
        &mut self,
        crew: &Crew<'_>,
        layer: usize,
        slots: Range<usize>,
        work: impl Fn(&mut HeadWriter<'_>) + Sync,
    ) {
        let (shape, offset) = self.layers[layer];
        for span in slots.start / SPAN..slots.end.div_ceil(SPAN) {
            let heads = &mut self.spans[span][offset..offset + shape.layer_len()];
            let heads_per_item = if slots.len() == 1 { shape.n_kv_heads } else { 1 };
            crew.rows(heads, shape.head_len(), heads_per_item, |first, heads| {
                for (i, data) in heads.chunks_exact_mut(shape.head_len()).enumerate() {
                    let (keys, values) = data.split_at_mut(shape.key_len());
                    work(&mut HeadWriter {
                        head: first + i,
                        span,
                        head_dim: shape.head_dim,
                        keys,
                        values,
                    });
                }
            });
        }
    }
}

/// Keys and values of one head in one span.
pub(crate) struct HeadWriter<'a> {
    pub(crate) head: usize,
    pub(crate) span: usize,
    head_dim: usize,
    keys: &'a mut [f16],
    values: &'a mut [f16],
}

impl HeadWriter<'_> {
    /// Stores a key and a value `[head_dim]` at `slot`, which lies in this span.
    pub(crate) fn store(&mut self, slot: usize, key: &[f16], value: &[f16]) {
        let at = slot % SPAN;
        let panel = at / 8 * 8 * self.head_dim + at % 8;
        let keys = &mut self.keys[panel..];
        for (k, to) in key.iter().zip(keys.iter_mut().step_by(8)) {
            *to = *k;
        }
        for (block, panel) in value.chunks(8).zip(self.values.chunks_exact_mut(8 * SPAN)) {
            panel[at * 8..at * 8 + block.len()].copy_from_slice(block);
        }
    }
}
