//! How a matrix product is cut into tiles.

use super::{F16Panels, FloatRows, I4Panels, I8Panels, QuantizedRows, TileMut};
use half::f16;
use std::ops::Range;

/// Activations of a block of tokens stay in the second-level cache while all panels pass by.
const BLOCK_BYTES: usize = 256 * 1024;

/// The planes of a product with integers as pointers; lengths were checked when it was made.
pub(super) struct IntProduct {
    data: *const i8,
    /// From panel to panel.
    pub(super) panel_bytes: usize,
    scales: *const f16,
    /// Elements from the scales of a panel to those of the next.
    panel_scales: usize,
    /// Groups of k.
    pub(super) groups: usize,
    /// Runs of 8 k in a group.
    pub(super) runs: usize,
    /// Elements from the scales of a group to those of the next: 0 when they are the row's, 16 when
    /// minima follow them.
    pub(super) scale_step: usize,
    pub(super) padded_k: usize,
    /// `[m][padded_k]`
    pub(super) q: *const i16,
    /// `[m][x_stride]`, sums behind the scales where they are needed
    pub(super) x_scales: *const f32,
    pub(super) x_stride: usize,
    /// `[m][out_stride]`
    pub(super) out: *mut f32,
    pub(super) out_stride: usize,
}

impl IntProduct {
    pub(super) fn i8(w: &I8Panels<'_>, x: &QuantizedRows<'_>, out: &mut TileMut<'_>) -> Self {
        let groups = w.padded_k / w.group;
        Self {
            data: w.data.as_ptr(),
            panel_bytes: 8 * w.padded_k,
            scales: w.scales.as_ptr(),
            panel_scales: if w.whole_row { 8 } else { 8 * groups },
            groups,
            runs: w.group / 8,
            scale_step: if w.whole_row { 0 } else { 8 },
            padded_k: w.padded_k,
            q: x.q.as_ptr(),
            x_scales: x.scales.as_ptr(),
            x_stride: x.stride,
            out: out.as_mut_ptr(),
            out_stride: out.stride(),
        }
    }

    pub(super) fn i4(w: &I4Panels<'_>, x: &QuantizedRows<'_>, out: &mut TileMut<'_>) -> Self {
        let groups = w.padded_k / w.group;
        Self {
            data: w.data.as_ptr().cast(),
            panel_bytes: 4 * w.padded_k,
            scales: w.scales.as_ptr(),
            panel_scales: 16 * groups,
            groups,
            runs: w.group / 8,
            scale_step: 16,
            padded_k: w.padded_k,
            q: x.q.as_ptr(),
            x_scales: x.scales.as_ptr(),
            x_stride: x.stride,
            out: out.as_mut_ptr(),
            out_stride: out.stride(),
        }
    }

    /// The lines of a panel.
    ///
    /// # Safety
    /// The panel must exist.
    #[inline]
    pub(super) unsafe fn weights(&self, panel: usize) -> *const i8 {
        // SAFETY: the panel lies inside the plane.
        unsafe { self.data.add(panel * self.panel_bytes) }
    }

    /// The scales of a panel, 8 a group or 8 in all; with minima, 16 a group.
    ///
    /// # Safety
    /// The panel must exist.
    #[inline]
    pub(super) unsafe fn weight_scales(&self, panel: usize) -> *const f16 {
        // SAFETY: the panel lies inside the plane.
        unsafe { self.scales.add(panel * self.panel_scales) }
    }

    /// Ranges of tokens whose activations stay in cache, multiples of `tile` tokens.
    pub(super) fn token_blocks(
        &self,
        m: usize,
        tile: usize,
    ) -> impl Iterator<Item = Range<usize>> + use<> {
        token_blocks(m, tile, self.padded_k * size_of::<i16>())
    }
}

/// The planes of an fp16 product as pointers; lengths were checked when it was made.
pub(super) struct F16Product {
    data: *const f16,
    /// Elements from panel to panel.
    pub(super) panel_stride: usize,
    pub(super) k: usize,
    /// `[m][x_stride]`
    pub(super) x: *const f32,
    pub(super) x_stride: usize,
    /// `[m][out_stride]`
    pub(super) out: *mut f32,
    pub(super) out_stride: usize,
}

impl F16Product {
    pub(super) fn new(w: &F16Panels<'_>, x: &FloatRows<'_>, out: &mut TileMut<'_>) -> Self {
        Self {
            data: w.data.as_ptr(),
            panel_stride: w.panel_stride,
            k: w.k,
            x: x.x.as_ptr(),
            x_stride: x.stride,
            out: out.as_mut_ptr(),
            out_stride: out.stride(),
        }
    }

    /// The values of a panel, `[k][8]`.
    ///
    /// # Safety
    /// The panel must exist.
    #[inline]
    pub(super) unsafe fn weights(&self, panel: usize) -> *const f16 {
        // SAFETY: the panel lies inside the plane.
        unsafe { self.data.add(panel * self.panel_stride) }
    }

    /// Ranges of tokens whose activations stay in cache, multiples of `tile` tokens.
    pub(super) fn token_blocks(
        &self,
        m: usize,
        tile: usize,
    ) -> impl Iterator<Item = Range<usize>> + use<> {
        token_blocks(m, tile, self.k * size_of::<f32>())
    }
}

fn token_blocks(m: usize, tile: usize, token_bytes: usize) -> impl Iterator<Item = Range<usize>> {
    let tiles = BLOCK_BYTES.checked_div(token_bytes.saturating_mul(tile)).unwrap_or(1).max(1);
    balanced(0..m.div_ceil(tile), tiles).map(move |t| t.start * tile..(t.end * tile).min(m))
}

/// Cuts a range into pieces of at most `limit` that differ by one at most: 9 in tiles of up to 8
/// is 5 and 4, not 8 and a lone 1 that would pass over the weights for little.
pub(super) fn balanced(range: Range<usize>, limit: usize) -> impl Iterator<Item = Range<usize>> {
    let len = range.len();
    let pieces = len.div_ceil(limit).max(1);
    let (short, longer) = (len / pieces, len % pieces);
    let mut start = range.start;
    (0..if len == 0 { 0 } else { pieces }).map(move |i| {
        let end = start + short + usize::from(i < longer);
        let piece = start..end;
        start = end;
        piece
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_balanced_and_complete() {
        for len in 0..100 {
            for limit in 1..14 {
                let pieces: Vec<_> = balanced(5..5 + len, limit).collect();
                assert_eq!(
                    pieces.iter().cloned().flatten().collect::<Vec<_>>(),
                    (5..5 + len).collect::<Vec<_>>()
                );
                let sizes = || pieces.iter().map(Range::len);
                assert!(sizes().all(|size| (1..=limit).contains(&size)));
                assert!(sizes().max().unwrap_or(1) - sizes().min().unwrap_or(1) <= 1);
            }
        }
    }

    #[test]
    fn blocks_cover_all_tokens() {
        for (m, bytes) in [(0, 100), (1, 0), (7, 0), (1000, 1152), (5, 1 << 30)] {
            let tokens: Vec<_> = token_blocks(m, 4, bytes).flatten().collect();
            assert_eq!(tokens, (0..m).collect::<Vec<_>>());
        }
    }
}
