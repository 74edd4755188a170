//! Half precision: keys `[position / 8][head_dim][8]`, then values `[head_dim / 8][position][8]`.

use half::f16;

use super::SPAN;
use crate::kernels::{F16Panels, Kernels, PANEL_ROWS};
use crate::limits::MAX_HEAD_DIM;

/// Bytes of the keys and values of a head in one span.
pub(super) fn head_bytes(head_dim: usize) -> usize {
    SPAN * (head_dim + head_dim.next_multiple_of(PANEL_ROWS)) * size_of::<f16>()
}

/// One head in one span.
pub(crate) struct HeadF16<'a> {
    head_dim: usize,
    keys: &'a [f16],
    values: &'a [f16],
}

impl<'a> HeadF16<'a> {
    pub(super) fn new(head_dim: usize, data: &'a [u8]) -> Self {
        let data: &[f16] = bytemuck::cast_slice(data);
        let (keys, values) = data.split_at(SPAN * head_dim);
        Self { head_dim, keys, values }
    }

    /// Keys of positions `first .. first + n` of the span, `first` a multiple of 8:
    /// rows = positions, k = head_dim.
    pub(crate) fn keys(&self, first: usize, n: usize) -> F16Panels<'a> {
        debug_assert!(first.is_multiple_of(PANEL_ROWS) && first + n <= SPAN);
        F16Panels {
            rows: n,
            k: self.head_dim,
            panel_stride: PANEL_ROWS * self.head_dim,
            data: &self.keys[first * self.head_dim..],
        }
    }

    /// Values of the same positions: rows = head_dim, k = positions.
    pub(crate) fn values(&self, first: usize, n: usize) -> F16Panels<'a> {
        F16Panels {
            rows: self.head_dim,
            k: n,
            panel_stride: PANEL_ROWS * SPAN,
            data: &self.values[first * PANEL_ROWS..],
        }
    }
}

/// Stores a key and a value `[head_dim]` at position `at` of the span.
pub(super) fn store(
    kernels: &Kernels,
    head_dim: usize,
    data: &mut [u8],
    at: usize,
    key: &[f32],
    value: &[f32],
) {
    let mut rounded = [f16::ZERO; MAX_HEAD_DIM];
    let rounded = &mut rounded[..head_dim];
    let (keys, values) = bytemuck::cast_slice_mut::<u8, f16>(data).split_at_mut(SPAN * head_dim);

    (kernels.to_f16)(key, rounded);
    let (panel, row) = (at / PANEL_ROWS, at % PANEL_ROWS);
    let panel = &mut keys[panel * PANEL_ROWS * head_dim..][..PANEL_ROWS * head_dim];
    for (k, to) in rounded.iter().zip(panel.chunks_exact_mut(PANEL_ROWS)) {
        to[row] = *k;
    }

    (kernels.to_f16)(value, rounded);
    let panels = values.chunks_exact_mut(PANEL_ROWS * SPAN);
    for (block, panel) in rounded.chunks(PANEL_ROWS).zip(panels) {
        panel[at * PANEL_ROWS..][..block.len()].copy_from_slice(block);
    }
}
