//! Inputs of matrix products, quantized where the weights call for it.

use super::Context;
use super::product::FEW_TOKENS;
use crate::error::Error;
use crate::kernels::{FloatRows, QuantizedRows};
use crate::memory::Room;
use crate::weights::Matrix;

/// k per activation scale of matrices that share an input; `None` if all are fp16. That they agree
/// is checked when they are bound.
fn group_of(parts: &[Matrix]) -> Option<usize> {
    parts.iter().find_map(|part| part.group)
}

/// The input of a product, `[m][k]`, quantized where the weights call for it.
#[derive(Clone, Copy)]
pub(crate) struct Input<'a> {
    pub(super) m: usize,
    pub(super) k: usize,
    /// Values from row to row: fewer than `k` where rows overlap.
    pub(super) stride: usize,
    pub(super) x: &'a [f32],
    pub(super) padded_k: usize,
    pub(super) group: usize,
    pub(super) q: &'a [i16],
    pub(super) scales: &'a [f32],
}

impl<'a> Input<'a> {
    pub(super) fn quantized(&self, row: usize, m: usize) -> QuantizedRows<'a> {
        let n_groups = self.padded_k / self.group;
        QuantizedRows {
            m,
            padded_k: self.padded_k,
            group: self.group,
            q: &self.q[row * self.padded_k..(row + m) * self.padded_k],
            scales: &self.scales[row * n_groups..(row + m) * n_groups],
        }
    }

    pub(super) fn floats(&self, row: usize, m: usize) -> FloatRows<'a> {
        let Self { k, stride, .. } = *self;
        let len = (m - 1) * stride + k;
        FloatRows { m, k, stride, x: &self.x[row * stride..][..len] }
    }
}

/// Room for a quantized input.
#[derive(Clone, Debug, Default)]
pub(crate) struct QuantizeScratch {
    q: Vec<i16>,
    scales: Vec<f32>,
}

impl QuantizeScratch {
    /// Room for `m` tokens of up to `k` values in groups of 32 or more.
    pub(crate) fn new(m: usize, k: usize, room: &mut Room) -> Result<Self, Error> {
        let q = room.zeroed(m.saturating_mul(k.next_multiple_of(128)))?;
        Ok(Self { q, scales: room.zeroed(m.saturating_mul(k.div_ceil(32)))? })
    }

    /// Quantizes `x` `[m][k]` if any of `parts` has int8 weights.
    pub(crate) fn input<'a>(
        &'a mut self,
        ctx: &Context<'_>,
        x: &'a [f32],
        parts: &[Matrix],
    ) -> Input<'a> {
        self.overlapping(ctx, x, parts[0].k, parts)
    }

    /// The same for rows that begin `stride` values after one another, so that they may overlap: what a
    /// convolution sees at one place after the other.
    pub(crate) fn overlapping<'a>(
        &'a mut self,
        ctx: &Context<'_>,
        x: &'a [f32],
        stride: usize,
        parts: &[Matrix],
    ) -> Input<'a> {
        let (k, group) = (parts[0].k, group_of(parts));
        let kernels = ctx.ops.kernels;
        let m = if x.len() < k { 0 } else { (x.len() - k) / stride + 1 };
        if let Some(group) = group {
            let (q, scales) = self.planes(m, k, group);
            ctx.crew.row_pairs(q, scales, rows_per_item(m), |first, q, scales| {
                let out = rows(q, k.next_multiple_of(group)).zip(rows(scales, k.div_ceil(group)));
                for (row, (q, scales)) in (first..).zip(out) {
                    (kernels.quantize_row)(&x[row * stride..][..k], group, q, scales);
                }
            });
        }
        self.made(x, (m, k, stride), group)
    }

    /// The same for rows that are made first: `make(row, x)` writes each into `x` `[m][k]`, and it
    /// is quantized while it lies in the nearest cache.
    pub(crate) fn made_input<'a>(
        &'a mut self,
        ctx: &Context<'_>,
        x: &'a mut [f32],
        parts: &[Matrix],
        make: impl Fn(usize, &mut [f32]) + Sync,
    ) -> Input<'a> {
        let (k, group) = (parts[0].k, group_of(parts));
        let kernels = ctx.ops.kernels;
        let m = x.len() / k;
        if let Some(group) = group {
            let (q, scales) = self.planes(m, k, group);
            ctx.crew.row_triples(
                (&mut *x, k),
                q,
                scales,
                rows_per_item(m),
                |first, x, q, scales| {
                    let out =
                        rows(q, k.next_multiple_of(group)).zip(rows(scales, k.div_ceil(group)));
                    for (row, (x, (q, scales))) in (first..).zip(rows(x, k).zip(out)) {
                        make(row, x);
                        (kernels.quantize_row)(x, group, q, scales);
                    }
                },
            );
        } else {
            ctx.crew.rows(&mut *x, k, rows_per_item(m), |first, x| {
                (first..).zip(rows(x, k)).for_each(|(row, x)| make(row, x));
            });
        }
        self.made(x, (m, k, k), group)
    }

    /// Integers and scales of `m` rows of `k` values, with the lengths of their rows.
    fn planes(&mut self, m: usize, k: usize, group: usize) -> (Plane<'_, i16>, Plane<'_, f32>) {
        let (padded_k, n_groups) = (k.next_multiple_of(group), k.div_ceil(group));
        ((&mut self.q[..m * padded_k], padded_k), (&mut self.scales[..m * n_groups], n_groups))
    }

    /// The input, once it is quantized if `group` says so.
    fn made<'a>(
        &'a self,
        x: &'a [f32],
        (m, k, stride): (usize, usize, usize),
        group: Option<usize>,
    ) -> Input<'a> {
        let (q, scales): (&[_], &[_]) =
            if group.is_some() { (&self.q, &self.scales) } else { (&[], &[]) };
        let group = group.unwrap_or(k);
        Input { m, k, stride, x, padded_k: k.next_multiple_of(group), group, q, scales }
    }
}

/// A matrix and the length of its rows.
type Plane<'a, T> = (&'a mut [T], usize);

fn rows<T>(plane: &mut [T], row_len: usize) -> std::slice::ChunksExactMut<'_, T> {
    plane.chunks_exact_mut(row_len)
}

/// Rows that a thread makes or quantizes at a time; the leader alone if there are few.
fn rows_per_item(m: usize) -> usize {
    if m <= FEW_TOKENS { m.max(1) } else { 16 }
}
