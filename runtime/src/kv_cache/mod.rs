//! Keys and values of past positions, in fp16 or int8, grown span by span.
//!
//! Both lie in the panels of the weight kernels, so that attention is two matrix products: keys
//! with positions as rows, values with dimensions as rows. A span holds [`SPAN`] positions of
//! every layer and head, the keys and values of a head side by side; a large maximum context
//! costs nothing until it is used.

mod fp16;
mod int8;

pub(crate) use fp16::HeadF16;
pub(crate) use int8::{HeadI8, key_group};

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use bytemuck::{Pod, Zeroable};

use crate::error::Error;
use crate::forward::MAX_HEAD_DIM;
use crate::kernels::Kernels;
use crate::team::Crew;

/// Positions in a span.
pub(crate) const SPAN: usize = 128;

/// How a session keeps keys and values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KvType {
    /// Half precision.
    #[default]
    F16,
    /// 8-bit integers: half the memory and half the reading, for a small loss.
    Int8,
}

impl fmt::Display for KvType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F16 => "f16",
            Self::Int8 => "int8",
        })
    }
}

impl FromStr for KvType {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "f16" => Ok(Self::F16),
            "int8" => Ok(Self::Int8),
            _ => Err(Error::InvalidOption {
                name: "the type of keys and values",
                value: text.to_owned(),
                range: "f16 or int8",
            }),
        }
    }
}

/// Heads and head size of one layer's cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KvShape {
    pub(crate) n_kv_heads: usize,
    pub(crate) head_dim: usize,
}

/// A cache line: rows of panels begin on one.
#[derive(Clone, Copy, Zeroable, Pod)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// Where a layer's heads lie in a span.
#[derive(Clone, Copy, Debug)]
struct LayerPlace {
    shape: KvShape,
    /// Lines before the first head.
    first: usize,
    /// Lines of a head.
    head_lines: usize,
}

impl LayerPlace {
    fn new(kind: KvType, shape: KvShape, first: usize) -> Self {
        let bytes = match kind {
            KvType::F16 => fp16::head_bytes(shape.head_dim),
            KvType::Int8 => int8::head_bytes(shape.head_dim),
        };
        Self { shape, first, head_lines: bytes.div_ceil(size_of::<Line>()) }
    }

    fn lines(&self) -> Range<usize> {
        self.first..self.first + self.shape.n_kv_heads * self.head_lines
    }
}

/// The cache of one sequence (or of one layer of packed sequences in an encoder).
pub(crate) struct KvCache {
    kind: KvType,
    layers: Vec<LayerPlace>,
    /// Lines of a span.
    span_lines: usize,
    spans: Vec<Box<[Line]>>,
}

/// One head in one span, to be read.
pub(crate) enum Head<'a> {
    F16(HeadF16<'a>),
    I8(HeadI8<'a>),
}

impl KvCache {
    /// An empty cache for layers of these shapes.
    pub(crate) fn new(kind: KvType, shapes: impl IntoIterator<Item = KvShape>) -> Self {
        let mut span_lines = 0;
        let layers = shapes
            .into_iter()
            .map(|shape| {
                let place = LayerPlace::new(kind, shape, span_lines);
                span_lines = place.lines().end;
                place
            })
            .collect();
        Self { kind, layers, span_lines, spans: Vec::new() }
    }

    /// A cache in fp16 whose layers all use the same memory, one after another.
    pub(crate) fn shared(shapes: impl IntoIterator<Item = KvShape>) -> Self {
        let kind = KvType::F16;
        let layers: Vec<_> =
            shapes.into_iter().map(|shape| LayerPlace::new(kind, shape, 0)).collect();
        let span_lines = layers.iter().map(|place| place.lines().end).max().unwrap_or(0);
        Self { kind, layers, span_lines, spans: Vec::new() }
    }

    /// How keys and values are kept.
    pub(crate) fn kind(&self) -> KvType {
        self.kind
    }

    fn span_bytes(&self) -> usize {
        self.span_lines * size_of::<Line>()
    }

    /// Bytes of one position over all layers.
    pub(crate) fn bytes_per_position(&self) -> usize {
        self.span_bytes() / SPAN
    }

    /// Bytes of room for `n_positions` positions.
    pub(crate) fn bytes_for(&self, n_positions: usize) -> usize {
        n_positions.div_ceil(SPAN) * self.span_bytes()
    }

    /// Bytes allocated now.
    pub(crate) fn bytes(&self) -> usize {
        self.spans.len() * self.span_bytes()
    }

    /// Makes room for `n_positions` positions.
    pub(crate) fn reserve(&mut self, n_positions: usize) -> Result<(), Error> {
        let n_spans = n_positions.div_ceil(SPAN);
        if n_spans > self.spans.len() {
            let more = n_spans - self.spans.len();
            let bytes = more * size_of::<Box<[Line]>>();
            self.spans
                .try_reserve_exact(more)
                .map_err(|_| Error::OutOfMemory { what: "the KV cache", bytes })?;
        }
        while self.spans.len() < n_spans {
            self.spans.push(self.new_span()?);
        }
        Ok(())
    }

    fn new_span(&self) -> Result<Box<[Line]>, Error> {
        // Zeroed by the system, page by page as it is touched.
        bytemuck::try_zeroed_slice_box(self.span_lines)
            .map_err(|()| Error::OutOfMemory { what: "the KV cache", bytes: self.span_bytes() })
    }

    /// A cache of its own with the first `n_positions` positions of this one.
    pub(crate) fn fork(&self, kernels: &Kernels, n_positions: usize) -> Result<Self, Error> {
        let mut spans = Vec::with_capacity(n_positions.div_ceil(SPAN));
        for span in 0..n_positions.div_ceil(SPAN) {
            spans.push(self.copy_span(kernels, span, n_positions - span * SPAN)?);
        }
        let layers = self.layers.clone();
        Ok(Self { kind: self.kind, layers, span_lines: self.span_lines, spans })
    }

    /// A copy of a span with zeros after its first `n` positions: what has been truncated is not
    /// handed on.
    fn copy_span(&self, kernels: &Kernels, span: usize, n: usize) -> Result<Box<[Line]>, Error> {
        let mut lines = self.new_span()?;
        lines.copy_from_slice(&self.spans[span]);
        let zeros = [0.0; MAX_HEAD_DIM];
        for place in self.layers.iter().filter(|_| n < SPAN) {
            let zeros = &zeros[..place.shape.head_dim];
            for data in lines[place.lines()].chunks_exact_mut(place.head_lines) {
                let mut writer = HeadWriter {
                    head: 0,
                    span,
                    kind: self.kind,
                    head_dim: place.shape.head_dim,
                    data: bytemuck::cast_slice_mut(data),
                };
                (n..SPAN).for_each(|at| writer.store(kernels, at, zeros, zeros));
            }
        }
        Ok(lines)
    }

    /// Calls `visit` with the bytes of all spans that hold the first `n_positions` positions.
    pub(crate) fn for_each_span<E: From<Error>>(
        &self,
        kernels: &Kernels,
        n_positions: usize,
        mut visit: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        for span in 0..n_positions.div_ceil(SPAN) {
            match n_positions - span * SPAN {
                n if n < SPAN => visit(bytemuck::cast_slice(&self.copy_span(kernels, span, n)?))?,
                _ => visit(bytemuck::cast_slice(&self.spans[span]))?,
            }
        }
        Ok(())
    }

    /// The bytes of all spans.
    pub(crate) fn spans_mut(&mut self) -> impl Iterator<Item = &mut [u8]> {
        self.spans.iter_mut().map(|span| bytemuck::cast_slice_mut(span))
    }

    /// Head `head` of layer `layer` in span number `span`.
    pub(crate) fn head(&self, layer: usize, head: usize, span: usize) -> Head<'_> {
        let place = &self.layers[layer];
        let first = place.first + head * place.head_lines;
        let data = bytemuck::cast_slice(&self.spans[span][first..first + place.head_lines]);
        match self.kind {
            KvType::F16 => Head::F16(HeadF16::new(place.shape.head_dim, data)),
            KvType::Int8 => Head::I8(HeadI8::new(place.shape.head_dim, data)),
        }
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
        let place = self.layers[layer];
        let heads_per_item = if slots.len() == 1 { place.shape.n_kv_heads } else { 1 };
        for span in slots.start / SPAN..slots.end.div_ceil(SPAN) {
            let heads = &mut self.spans[span][place.lines()];
            crew.rows(heads, place.head_lines, heads_per_item, |first, heads| {
                for (i, lines) in heads.chunks_exact_mut(place.head_lines).enumerate() {
                    work(&mut HeadWriter {
                        head: first + i,
                        span,
                        kind: self.kind,
                        head_dim: place.shape.head_dim,
                        data: bytemuck::cast_slice_mut(lines),
                    });
                }
            });
        }
    }
}

/// Keys and values of one head in one span, to be written.
pub(crate) struct HeadWriter<'a> {
    pub(crate) head: usize,
    pub(crate) span: usize,
    kind: KvType,
    head_dim: usize,
    data: &'a mut [u8],
}

impl HeadWriter<'_> {
    /// Stores a key and a value `[head_dim]` at `slot`, which lies in this span.
    pub(crate) fn store(&mut self, kernels: &Kernels, slot: usize, key: &[f32], value: &[f32]) {
        let at = slot % SPAN;
        match self.kind {
            KvType::F16 => fp16::store(kernels, self.head_dim, self.data, at, key, value),
            KvType::Int8 => int8::store(self.head_dim, self.data, at, key, value),
        }
    }
}

#[cfg(test)]
mod tests;
