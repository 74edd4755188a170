//! Inputs of matrix products, quantized where the weights call for it.

use super::Context;
use super::product::FEW_TOKENS;
use crate::error::Error;
use crate::kernels::{FloatRows, Kernels, QuantizedRows};
use crate::memory::Room;
use crate::weights::Matrix;

/// How an input is quantized.
#[derive(Clone, Copy)]
struct Quantized {
    /// Values that share a scale.
    group: usize,
    /// Whether the sum of each group is wanted.
    sums: bool,
}

impl Quantized {
    /// What `parts`, which share an input, want; `None` if all are fp16. That their groups agree is
    /// checked when they are bound.
    fn of(parts: &[Matrix]) -> Option<Self> {
        let group = parts.iter().find_map(|part| part.group)?;
        Some(Self { group, sums: parts.iter().any(|part| part.minima) })
    }

    /// Scales of a row of `k` values, with the sums behind them.
    fn stride(self, k: usize) -> usize {
        k.div_ceil(self.group) * if self.sums { 2 } else { 1 }
    }

    /// Quantizes a row of `k` values: `q` `[padded_k]`, `scales` `[stride]`.
    fn row(self, kernels: &Kernels, x: &[f32], q: &mut [i16], scales: &mut [f32]) {
        let (scales, sums) = scales.split_at_mut(x.len().div_ceil(self.group));
        (kernels.quantize_row)(x, self.group, q, scales);
        if self.sums {
            (kernels.group_sums)(x, self.group, sums);
        }
    }
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
    /// Scales from row to row.
    pub(super) scale_stride: usize,
    pub(super) scales: &'a [f32],
}

impl<'a> Input<'a> {
    pub(super) fn quantized(&self, row: usize, m: usize) -> QuantizedRows<'a> {
        let (padded_k, stride) = (self.padded_k, self.scale_stride);
        QuantizedRows {
            m,
            padded_k,
            group: self.group,
            q: &self.q[row * padded_k..(row + m) * padded_k],
            stride,
            scales: &self.scales[row * stride..(row + m) * stride],
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
    /// Room for `m` tokens of up to `k` values in groups of 32 or more, with scales and sums.
    pub(crate) fn new(m: usize, k: usize, room: &mut Room) -> Result<Self, Error> {
        let q = room.zeroed(m.saturating_mul(k.next_multiple_of(128)))?;
        Ok(Self { q, scales: room.zeroed(m.saturating_mul(2 * k.div_ceil(32)))? })
    }

    /// Quantizes `x` `[m][k]` if any of `parts` has int8 or 4-bit weights.
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
        let (k, quantized) = (parts[0].k, Quantized::of(parts));
        let kernels = ctx.ops.kernels;
        let m = if x.len() < k { 0 } else { (x.len() - k) / stride + 1 };
        if let Some(quantized) = quantized {
            let (q, scales) = self.planes(m, k, quantized);
            ctx.crew.row_pairs(q, scales, rows_per_item(m), |first, q, scales| {
                let out = rows(q, k.next_multiple_of(quantized.group));
                let out = out.zip(rows(scales, quantized.stride(k)));
                for (row, (q, scales)) in (first..).zip(out) {
                    quantized.row(kernels, &x[row * stride..][..k], q, scales);
                }
            });
        }
        self.made(ctx, x, (m, k, stride), parts)
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
        let (k, quantized) = (parts[0].k, Quantized::of(parts));
        let kernels = ctx.ops.kernels;
        let m = x.len() / k;
        if let Some(quantized) = quantized {
            let (q, scales) = self.planes(m, k, quantized);
            ctx.crew.row_triples(
                (&mut *x, k),
                q,
                scales,
                rows_per_item(m),
                |first, x, q, scales| {
                    let out = rows(q, k.next_multiple_of(quantized.group));
                    let out = out.zip(rows(scales, quantized.stride(k)));
                    for (row, (x, (q, scales))) in (first..).zip(rows(x, k).zip(out)) {
                        make(row, x);
                        quantized.row(kernels, x, q, scales);
                    }
                },
            );
        } else {
            ctx.crew.rows(&mut *x, k, rows_per_item(m), |first, x| {
                (first..).zip(rows(x, k)).for_each(|(row, x)| make(row, x));
            });
        }
        self.made(ctx, x, (m, k, k), parts)
    }

    /// Integers and scales of `m` rows of `k` values, with the lengths of their rows.
    fn planes(
        &mut self,
        m: usize,
        k: usize,
        quantized: Quantized,
    ) -> (Plane<'_, i16>, Plane<'_, f32>) {
        let (padded_k, stride) = (k.next_multiple_of(quantized.group), quantized.stride(k));
        ((&mut self.q[..m * padded_k], padded_k), (&mut self.scales[..m * stride], stride))
    }

    /// The input, once it is quantized as `parts` want it.
    fn made<'a>(
        &'a self,
        ctx: &Context<'_>,
        x: &'a [f32],
        (m, k, stride): (usize, usize, usize),
        parts: &[Matrix],
    ) -> Input<'a> {
        if let Some(moments) = ctx.ops.moments {
            moments.add(parts, x, (m, k, stride));
        }
        let quantized = Quantized::of(parts);
        let (q, scales): (&[_], &[_]) =
            if quantized.is_some() { (&self.q, &self.scales) } else { (&[], &[]) };
        let group = quantized.map_or(k, |quantized| quantized.group);
        let scale_stride = quantized.map_or(0, |quantized| quantized.stride(k));
        let padded_k = k.next_multiple_of(group);
        Input { m, k, stride, x, padded_k, group, q, scale_stride, scales }
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
