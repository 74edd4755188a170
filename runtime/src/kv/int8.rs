//! 8-bit integers in the panels of the int8 weight kernel.
//!
//! Keys `[position / 8][padded head_dim / 8][8 positions][8 k]` have an f16 scale per position and
//! group of k, as weights do, so that scores are the kernel's own product. Values
//! `[head_dim / 8][position / 8][8 dimensions][8 positions]` have k = positions; a kernel's scales
//! belong to rows, so theirs, one f32 per position, are multiplied into the softmax weights before
//! these are quantized in their turn.

use half::f16;

use super::SPAN;
use crate::kernels::{I8Panels, PANEL_ROWS};
use crate::limits::MAX_HEAD_DIM;

/// Largest magnitude of a quantized key or value.
const Q_MAX: f32 = 127.0;

/// k per scale of keys.
pub(crate) fn key_group(head_dim: usize) -> usize {
    if head_dim.is_multiple_of(64) { 64 } else { 32 }
}

/// The planes of a head in one span, in bytes.
#[derive(Clone, Copy)]
struct Layout {
    head_dim: usize,
    group: usize,
    keys: usize,
    values: usize,
    key_scales: usize,
    value_scales: usize,
}

impl Layout {
    fn new(head_dim: usize) -> Self {
        let group = key_group(head_dim);
        let groups = head_dim.div_ceil(group);
        Self {
            head_dim,
            group,
            keys: SPAN * groups * group,
            values: SPAN * head_dim.next_multiple_of(PANEL_ROWS),
            key_scales: SPAN * groups * size_of::<f16>(),
            value_scales: SPAN * size_of::<f32>(),
        }
    }

    fn padded_k(&self) -> usize {
        self.keys / SPAN
    }

    fn groups(&self) -> usize {
        self.padded_k() / self.group
    }
}

/// Bytes of the keys and values of a head in one span.
pub(super) fn head_bytes(head_dim: usize) -> usize {
    let layout = Layout::new(head_dim);
    layout.keys + layout.values + layout.key_scales + layout.value_scales
}

/// One head in one span.
pub(crate) struct HeadI8<'a> {
    layout: Layout,
    keys: &'a [i8],
    values: &'a [i8],
    /// `[position / 8][group][8]`
    key_scales: &'a [f16],
    /// `[position]`
    value_scales: &'a [f32],
}

impl<'a> HeadI8<'a> {
    pub(super) fn new(head_dim: usize, data: &'a [u8]) -> Self {
        let layout = Layout::new(head_dim);
        let (keys, data) = data.split_at(layout.keys);
        let (values, data) = data.split_at(layout.values);
        let (key_scales, data) = data.split_at(layout.key_scales);
        Self {
            layout,
            keys: bytemuck::cast_slice(keys),
            values: bytemuck::cast_slice(values),
            key_scales: bytemuck::cast_slice(key_scales),
            value_scales: bytemuck::cast_slice(&data[..layout.value_scales]),
        }
    }

    /// Keys of positions `first .. first + n` of the span, `first` a multiple of 8:
    /// rows = positions, k = head_dim.
    pub(crate) fn keys(&self, first: usize, n: usize) -> I8Panels<'a> {
        debug_assert!(first.is_multiple_of(PANEL_ROWS) && first + n <= SPAN);
        I8Panels {
            rows: n,
            padded_k: self.layout.padded_k(),
            group: self.layout.group,
            data: &self.keys[first * self.layout.padded_k()..],
            scales: &self.key_scales[first * self.layout.groups()..],
            whole_row: false,
        }
    }

    /// Values of the whole span, without their scales: rows = head_dim, k = positions.
    pub(crate) fn values(&self) -> I8Panels<'a> {
        static ONES: [f16; MAX_HEAD_DIM] = [f16::ONE; MAX_HEAD_DIM];
        I8Panels {
            rows: self.layout.head_dim,
            padded_k: SPAN,
            group: SPAN,
            data: self.values,
            scales: &ONES,
            whole_row: true,
        }
    }

    /// Scales of the values of positions `first .. first + n`.
    pub(crate) fn value_scales(&self, first: usize, n: usize) -> &'a [f32] {
        &self.value_scales[first..first + n]
    }
}

/// Stores a key and a value `[head_dim]` at position `at` of the span.
pub(super) fn store(head_dim: usize, data: &mut [u8], at: usize, key: &[f32], value: &[f32]) {
    let layout = Layout::new(head_dim);
    let (keys, data) = data.split_at_mut(layout.keys);
    let (values, data) = data.split_at_mut(layout.values);
    let (key_scales, data) = data.split_at_mut(layout.key_scales);
    let keys: &mut [i8] = bytemuck::cast_slice_mut(keys);
    let values: &mut [i8] = bytemuck::cast_slice_mut(values);
    let key_scales: &mut [f16] = bytemuck::cast_slice_mut(key_scales);
    let value_scales: &mut [f32] = bytemuck::cast_slice_mut(&mut data[..layout.value_scales]);
    let (panel, row) = (at / PANEL_ROWS, at % PANEL_ROWS);

    let mut quantized = [0i8; 64];
    let (groups, padded_k) = (layout.groups(), layout.padded_k());
    let panel_keys = &mut keys[panel * PANEL_ROWS * padded_k..][..PANEL_ROWS * padded_k];
    let panel_scales = &mut key_scales[panel * PANEL_ROWS * groups..][..PANEL_ROWS * groups];
    let lines = panel_keys.chunks_exact_mut(PANEL_ROWS * layout.group);
    let scales = panel_scales.chunks_exact_mut(PANEL_ROWS);
    for (x, (lines, scales)) in key.chunks(layout.group).zip(lines.zip(scales)) {
        scales[row] = f16::from_f32(scale_of(x));
        quantize(x, scales[row].to_f32(), &mut quantized);
        for (run, line) in quantized.chunks_exact(8).zip(lines.chunks_exact_mut(64)) {
            line[row * 8..row * 8 + 8].copy_from_slice(run);
        }
    }

    value_scales[at] = scale_of(value);
    for (x, panels) in value.chunks(quantized.len()).zip(values.chunks_mut(quantized.len() * SPAN))
    {
        quantize(x, value_scales[at], &mut quantized);
        let panels = panels.chunks_exact_mut(PANEL_ROWS * SPAN);
        for (run, panel) in quantized.chunks_exact(PANEL_ROWS).zip(panels) {
            let line = &mut panel[at / 8 * 64..][..64];
            for (q, dimension) in run.iter().zip(line.chunks_exact_mut(8)) {
                dimension[at % 8] = *q;
            }
        }
    }
}

/// The scale at which the largest of `x` becomes [`Q_MAX`]; NaN if one is no finite number.
fn scale_of(x: &[f32]) -> f32 {
    // As integers, magnitudes order like floats, with NaN above everything.
    let max = x.iter().fold(0, |max: u32, x| max.max(x.abs().to_bits()));
    let max = f32::from_bits(max);
    if max.is_finite() { max / Q_MAX } else { f32::NAN }
}

/// `q = round(x / scale)`; zeros after the end of `x`, or where the scale is zero or NaN.
fn quantize(x: &[f32], scale: f32, q: &mut [i8; 64]) {
    /// Added to a small number, leaves its nearest integer in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    let factor = if scale > 0.0 { 1.0 / scale } else { 0.0 };
    let factor = if factor.is_finite() { factor } else { 0.0 };
    *q = [0; 64];
    for (q, &x) in q.iter_mut().zip(x) {
        // Rounding the scale to f16 can carry the largest past the end of the range.
        *q = ((x * factor).clamp(-Q_MAX, Q_MAX) + ROUND).to_bits() as i8;
    }
}
