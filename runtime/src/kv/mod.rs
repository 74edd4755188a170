//! Keys and values of past positions, in fp16 or int8, grown span by span.
//!
//! Both lie in the panels of the weight kernels, so that attention is two matrix products: keys
//! with positions as rows, values with dimensions as rows. A span holds [`SPAN`] positions of
//! every layer and head, the keys and values of a head side by side; a large maximum context
//! costs nothing until it is used.
//!
//! Recurrent units have no keys and values but a state, which is kept here too: as it is, and as a
//! step that has not ended leaves it.

mod fp16;
mod int8;

pub(crate) use fp16::HeadF16;
pub(crate) use int8::{HeadI8, key_group};

use std::collections::HashSet;
use std::fmt;
use std::ops::Range;
use std::str::FromStr;
use std::sync::Arc;

use bytemuck::{Pod, Zeroable};

use crate::error::Error;
use crate::kernels::Kernels;
use crate::limits::MAX_HEAD_DIM;
pub(crate) use crate::limits::SPAN;
use crate::team::Crew;

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
#[derive(Clone, Copy, Debug, Zeroable, Pod)]
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

/// Where keys and values of all layers lie in a span; the same for all sequences of a stack.
#[derive(Clone, Debug)]
pub(crate) struct KvLayout {
    kind: KvType,
    layers: Arc<[LayerPlace]>,
    /// Lines of a span.
    span_lines: usize,
    /// Values of the states of all recurrent units.
    state_len: usize,
}

/// A span, counted: sequences that begin alike share it, and copy it before they write.
type Span = Arc<Box<[Line]>>;

/// The keys and values of one sequence, or of the passing sequences of an encoder: a table of
/// spans.
#[derive(Clone, Debug)]
pub(crate) struct KvSequence {
    layout: KvLayout,
    spans: Vec<Span>,
    /// `[n_states][hidden_size]`, of all positions that have been computed.
    states: Vec<f32>,
    /// The same after the step that is being run.
    next_states: Vec<f32>,
}

/// One head in one span, to be read.
pub(crate) enum Head<'a> {
    F16(HeadF16<'a>),
    I8(HeadI8<'a>),
}

impl KvLayout {
    /// Layers of these shapes, side by side.
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
        Self { kind, layers, span_lines, state_len: 0 }
    }

    /// The same with `len` values of recurrent states.
    pub(crate) fn with_states(self, len: usize) -> Self {
        Self { state_len: len, ..self }
    }

    /// Layers in fp16 that all use the same memory, one after another: a bidirectional layer needs
    /// keys and values only while it runs.
    pub(crate) fn passing(shapes: impl IntoIterator<Item = KvShape>) -> Self {
        let kind = KvType::F16;
        let layers: Arc<[_]> =
            shapes.into_iter().map(|shape| LayerPlace::new(kind, shape, 0)).collect();
        let span_lines = layers.iter().map(|place| place.lines().end).max().unwrap_or(0);
        Self { kind, layers, span_lines, state_len: 0 }
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
        n_positions.div_ceil(SPAN).saturating_mul(self.span_bytes())
    }

    fn new_span(&self) -> Result<Box<[Line]>, Error> {
        // Zeroed by the system, page by page as it is touched.
        bytemuck::try_zeroed_slice_box(self.span_lines)
            .map_err(|()| Error::OutOfMemory { what: "the KV cache", bytes: self.span_bytes() })
    }
}

impl KvSequence {
    /// No positions yet.
    pub(crate) fn new(layout: KvLayout) -> Self {
        Self { layout, spans: Vec::new(), states: Vec::new(), next_states: Vec::new() }
    }

    /// Where everything lies.
    pub(crate) fn layout(&self) -> &KvLayout {
        &self.layout
    }

    /// How keys and values are kept.
    pub(crate) fn kind(&self) -> KvType {
        self.layout.kind
    }

    /// Bytes of its spans, shared ones included.
    pub(crate) fn bytes(&self) -> usize {
        self.spans.len() * self.layout.span_bytes()
    }

    /// Bytes of its spans without those in `seen`, to which they are added.
    pub(crate) fn count_bytes(&self, seen: &mut HashSet<usize>) -> usize {
        let new = self.spans.iter().filter(|span| seen.insert(Arc::as_ptr(span) as usize));
        new.count() * self.layout.span_bytes()
    }

    /// Makes room for `n_positions` positions of which those from `first` on will be written:
    /// spans among those that other sequences hold too are copied. Nothing has changed after an
    /// error, but for more room.
    pub(crate) fn reserve(
        &mut self,
        kernels: &Kernels,
        first: usize,
        n_positions: usize,
    ) -> Result<(), Error> {
        let state_len = self.layout.state_len;
        if self.states.len() < state_len {
            let bytes = state_len.saturating_mul(size_of::<f32>());
            for states in [&mut self.states, &mut self.next_states] {
                *states = bytemuck::try_zeroed_vec(state_len)
                    .map_err(|()| Error::OutOfMemory { what: "recurrent states", bytes })?;
            }
        }
        let n_spans = n_positions.div_ceil(SPAN);
        if n_spans > self.spans.len() {
            let more = n_spans - self.spans.len();
            let bytes = more.saturating_mul(size_of::<Span>());
            self.spans
                .try_reserve_exact(more)
                .map_err(|_| Error::OutOfMemory { what: "the KV cache", bytes })?;
        }
        for span in first / SPAN..n_spans.min(self.spans.len()) {
            if Arc::get_mut(&mut self.spans[span]).is_none() {
                let kept = first.saturating_sub(span * SPAN);
                self.spans[span] = Arc::new(self.copy_span(kernels, span, kept)?);
            }
        }
        while self.spans.len() < n_spans {
            self.spans.push(Arc::new(self.layout.new_span()?));
        }
        Ok(())
    }

    /// A sequence with the first `n_positions` positions of this one: whole spans are shared, the
    /// last one is copied if it is not whole.
    pub(crate) fn fork(&self, kernels: &Kernels, n_positions: usize) -> Result<Self, Error> {
        let whole = n_positions / SPAN;
        let mut spans = Vec::with_capacity(n_positions.div_ceil(SPAN));
        spans.extend(self.spans[..whole].iter().cloned());
        if !n_positions.is_multiple_of(SPAN) {
            spans.push(Arc::new(self.copy_span(kernels, whole, n_positions % SPAN)?));
        }
        // Half a state cannot be handed on: whoever forks one takes all positions.
        let (states, next_states) = (self.states.clone(), self.states.clone());
        Ok(Self { layout: self.layout.clone(), spans, states, next_states })
    }

    /// The state of recurrent unit `unit`, `width` values, of the positions before a step, and where
    /// those after it go.
    pub(crate) fn state(&mut self, unit: usize, width: usize) -> (&[f32], &mut [f32]) {
        let range = unit * width..(unit + 1) * width;
        (&self.states[range.clone()], &mut self.next_states[range])
    }

    /// A step has ended: its states are those of all positions.
    pub(crate) fn commit(&mut self) {
        std::mem::swap(&mut self.states, &mut self.next_states);
    }

    /// Whether positions can be taken back: not those that a state has gone through.
    pub(crate) fn rewinds(&self) -> bool {
        self.layout.state_len == 0
    }

    /// States of no positions.
    pub(crate) fn reset_states(&mut self) {
        self.states.fill(0.0);
    }

    /// A copy of a span with zeros after its first `n` positions: what has been truncated is not
    /// handed on.
    fn copy_span(&self, kernels: &Kernels, span: usize, n: usize) -> Result<Box<[Line]>, Error> {
        let mut lines = self.layout.new_span()?;
        lines.copy_from_slice(&self.spans[span]);
        let zeros = [0.0; MAX_HEAD_DIM];
        for place in self.layout.layers.iter().filter(|_| n < SPAN) {
            let zeros = &zeros[..place.shape.head_dim];
            for data in lines[place.lines()].chunks_exact_mut(place.head_lines) {
                let mut writer = HeadWriter {
                    head: 0,
                    kind: self.layout.kind,
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
                _ => visit(bytemuck::cast_slice(&self.spans[span][..]))?,
            }
        }
        Ok(())
    }

    /// The bytes of all spans that no other sequence holds.
    pub(crate) fn spans_mut(&mut self) -> impl Iterator<Item = &mut [u8]> {
        let own = self.spans.iter_mut().filter_map(Arc::get_mut);
        own.map(|span| bytemuck::cast_slice_mut(&mut span[..]))
    }

    /// Head `head` of layer `layer` in span number `span`.
    pub(crate) fn head(&self, layer: usize, head: usize, span: usize) -> Head<'_> {
        let place = &self.layout.layers[layer];
        let first = place.first + head * place.head_lines;
        let data = bytemuck::cast_slice(&self.spans[span][first..first + place.head_lines]);
        match self.layout.kind {
            KvType::F16 => Head::F16(HeadF16::new(place.shape.head_dim, data)),
            KvType::Int8 => Head::I8(HeadI8::new(place.shape.head_dim, data)),
        }
    }

    /// Calls `work` for every head of layer `layer` in span number `span`, which has been reserved,
    /// in parallel unless there is `one` position to store.
    pub(crate) fn write_heads(
        &mut self,
        crew: &Crew<'_>,
        layer: usize,
        span: usize,
        one: bool,
        work: impl Fn(&mut HeadWriter<'_>) + Sync,
    ) {
        let place = self.layout.layers[layer];
        let heads_per_item = if one { place.shape.n_kv_heads } else { 1 };
        let Some(lines) = Arc::get_mut(&mut self.spans[span]) else {
            unreachable!("spans are reserved before they are written")
        };
        crew.rows(&mut lines[place.lines()], place.head_lines, heads_per_item, |first, heads| {
            for (i, lines) in heads.chunks_exact_mut(place.head_lines).enumerate() {
                work(&mut HeadWriter {
                    head: first + i,
                    kind: self.layout.kind,
                    head_dim: place.shape.head_dim,
                    data: bytemuck::cast_slice_mut(lines),
                });
            }
        });
    }
}

/// Keys and values of one head in one span, to be written.
pub(crate) struct HeadWriter<'a> {
    pub(crate) head: usize,
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
