//! The `i4.r8k16` layout: 4-bit integers with an `f16` scale and an `f16` minimum per group of columns.
//!
//! A panel is 8 rows, a line 8 rows x 16 consecutive columns in 64 bytes: byte `i` of a row has column `i`
//! in its low half and column `8 + i` in its high one, so that a mask and a shift give two runs of 8
//! columns. The lines of a panel run along the columns. `x = scale * q + minimum` with `q` in 0 to 15.

use half::f16;

use super::{
    BlockError, EncodeError, Flaw, Layout, LayoutError, PANEL_ROWS, check_length, i4_groups,
    plane_lengths,
};

mod fit;
mod pack;

pub use pack::{Packed, pack_blocks};

/// Columns of a line.
pub const LINE_COLS: usize = 16;

/// Bytes of a line.
pub const LINE: usize = PANEL_ROWS * LINE_COLS / 2;

/// Elements of a group's scales and minima: `[scales, then minima][8 rows]`.
const GROUP_SCALES: usize = 2 * PANEL_ROWS;

/// A borrowed matrix in this layout.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    /// Rows without padding.
    pub rows: usize,
    /// Columns without padding.
    pub cols: usize,
    /// Columns with padding to whole groups.
    pub padded_k: usize,
    /// Columns that share a scale and a minimum.
    pub group: usize,
    /// `[panel][padded_k / 16][8 rows][8 bytes]`, zero beyond `rows` and `cols`.
    pub data: &'a [u8],
    /// `[panel][padded_k / group][scales, then minima][8 rows]`, zero beyond `rows`.
    pub scales: &'a [f16],
}

impl<'a> Matrix<'a> {
    /// Wraps planes whose lengths must follow from `rows`, `cols` and `group`.
    pub fn new(
        rows: usize,
        cols: usize,
        group: u32,
        data: &'a [u8],
        scales: &'a [f16],
    ) -> Result<Self, LayoutError> {
        let (group, padded_k) = shape(rows, cols, group, data.len(), scales.len())?;
        Ok(Self { rows, cols, padded_k, group, data, scales })
    }

    /// Number of panels.
    pub fn n_panels(&self) -> usize {
        self.rows.div_ceil(PANEL_ROWS)
    }

    /// Lines `[padded_k / 16][8 rows][8 bytes]` and scales and minima `[padded_k / group][2][8 rows]`
    /// of a panel.
    ///
    /// # Panics
    /// If there is no such panel.
    pub fn panel(&self, index: usize) -> (&'a [u8], &'a [f16]) {
        let n_data = self.padded_k * PANEL_ROWS / 2;
        let n_scales = self.padded_k / self.group * GROUP_SCALES;
        (&self.data[index * n_data..][..n_data], &self.scales[index * n_scales..][..n_scales])
    }

    /// Decodes row `r` into `out`.
    ///
    /// # Panics
    /// If there is no such row or `out` is not `cols` long.
    pub fn row(&self, r: usize, out: &mut [f32]) {
        assert!(r < self.rows, "row {r} of {}", self.rows);
        assert_eq!(out.len(), self.cols, "length of the output row");
        let (lines, scales) = self.panel(r / PANEL_ROWS);
        let lane = r % PANEL_ROWS;
        let lines = lines.chunks_exact(self.group * PANEL_ROWS / 2);
        let groups = out.chunks_mut(self.group).zip(lines);
        for ((out, lines), scales) in groups.zip(scales.chunks_exact(GROUP_SCALES)) {
            let (scale, minimum) = (scales[lane].to_f32(), scales[PANEL_ROWS + lane].to_f32());
            for (out, line) in out.chunks_mut(LINE_COLS).zip(lines.chunks_exact(LINE)) {
                let bytes = &line[lane * 8..][..8];
                let integers = bytes.iter().map(|b| b & 15).chain(bytes.iter().map(|b| b >> 4));
                for (v, q) in out.iter_mut().zip(integers) {
                    *v = scale * f32::from(q) + minimum;
                }
            }
        }
    }

    /// The first thing in the planes that no writer of this layout produces.
    pub(crate) fn flaw(&self) -> Option<Flaw> {
        if !self.scales.iter().all(|s| s.is_finite()) {
            return Some(Flaw("a scale or a minimum that is not finite"));
        }
        let pad_row = self.rows % PANEL_ROWS;
        if pad_row > 0 {
            let (lines, scales) = self.panel(self.n_panels() - 1);
            let mut bytes = lines.chunks_exact(LINE).flat_map(|line| &line[pad_row * 8..]);
            let mut scales = scales.chunks_exact(PANEL_ROWS).flat_map(|s| &s[pad_row..]);
            if bytes.any(|&b| b != 0) || scales.any(|s| s.to_bits() != 0) {
                return Some(Flaw("padding rows that are not zero"));
            }
        }
        // Only lines from the one that holds the last column on have padding columns.
        let (pad_line, pad_col) = (self.cols / LINE_COLS, self.cols % LINE_COLS);
        for panel in self.data.chunks_exact(self.padded_k * PANEL_ROWS / 2) {
            for (i, line) in panel.chunks_exact(LINE).skip(pad_line).enumerate() {
                let first = if i == 0 { pad_col } else { 0 };
                let padding = |(i, &byte): (usize, &u8)| {
                    (i % 8 >= first && byte & 15 != 0) || (i % 8 + 8 >= first && byte >> 4 != 0)
                };
                if line.iter().enumerate().any(padding) {
                    return Some(Flaw("padding columns that are not zero"));
                }
            }
        }
        None
    }
}

/// The group and the padded columns of planes of these lengths.
fn shape(
    rows: usize,
    cols: usize,
    group: u32,
    n_data: usize,
    n_scales: usize,
) -> Result<(usize, usize), LayoutError> {
    let planes = plane_lengths(Layout::I4R8K16, &[rows as u64, cols as u64], group)?;
    check_length("4-bit data", planes.lengths()[0], n_data)?;
    check_length("4-bit scales and minima", planes.lengths()[1] / 2, n_scales)?;
    // The buffers are that large, so both numbers fit.
    let (group, padded_k) = i4_groups(cols as u64, group)?;
    Ok((group as usize, padded_k as usize))
}

/// Quantizes `n_rows` rows of `k` values, beginning at a panel's first row. A last panel that is
/// not full is padded with zeros.
///
/// Per group, several lines through the values are fitted by least squares of `weights[col]` times the
/// squared error, each to integers of a slightly different step; the one with the least error, after
/// scale and minimum are rounded to `f16`, is kept.
pub fn encode_panels(
    rows: &[f32],            // [n_rows, k]
    n_rows: usize,           //
    k: usize,                //
    group: u32,              // 32, 64 or 128
    weights: Option<&[f32]>, // [k], not negative; all 1 where there are none
    data: &mut [u8],         // [panel][padded_k / 16][8 rows][8 bytes]
    scales: &mut [f16],      // [panel][padded_k / group][2][8 rows]
) -> Result<BlockError, EncodeError> {
    let (group, padded_k) = shape(n_rows, k, group, data.len(), scales.len())?;
    check_length("f32 rows", n_rows as u64 * k as u64, rows.len())?;
    if let Some(weights) = weights {
        check_length("weights of columns", k as u64, weights.len())?;
    }

    data.fill(0);
    scales.fill(f16::ZERO);
    let mut error = BlockError::default();
    let mut padded = vec![0.0f32; padded_k];
    // Padding columns weigh nothing, and their integers are written as zeros.
    let mut padded_weights = vec![0.0f32; padded_k];
    match weights {
        Some(weights) => padded_weights[..k].copy_from_slice(weights),
        None => padded_weights[..k].fill(1.0),
    }
    let mut q = vec![0u8; group];
    let panels = data.chunks_exact_mut(padded_k * PANEL_ROWS / 2);
    let panels = panels.zip(scales.chunks_exact_mut(padded_k / group * GROUP_SCALES));
    for (p, ((lines, scales), rows)) in panels.zip(rows.chunks(k * PANEL_ROWS)).enumerate() {
        for (r, row) in rows.chunks_exact(k).enumerate() {
            padded[..k].copy_from_slice(row);
            let groups = padded.chunks_exact(group).zip(padded_weights.chunks_exact(group));
            let planes = lines.chunks_exact_mut(group * PANEL_ROWS / 2);
            let planes = planes.zip(scales.chunks_exact_mut(GROUP_SCALES));
            for (g, ((x, weights), (lines, scales))) in groups.zip(planes).enumerate() {
                let n = group.min(k - g * group);
                let fit = fit::fit(&x[..n], &weights[..n], &mut q[..n]).map_err(|col| {
                    EncodeError::NonFinite {
                        row: p * PANEL_ROWS + r,
                        col: g * group + col,
                        value: x[col],
                    }
                })?;
                scales[r] = fit.scale;
                scales[PANEL_ROWS + r] = fit.minimum;
                q[n..].fill(0);
                put(&q, r, lines);
                error += fit.error(&x[..n], &q[..n]);
            }
        }
    }
    Ok(error)
}

/// Writes the integers of a group of row `r` of a panel into the panel's lines.
fn put(q: &[u8], r: usize, lines: &mut [u8]) {
    for (q, line) in q.chunks_exact(LINE_COLS).zip(lines.chunks_exact_mut(LINE)) {
        let (low, high) = q.split_at(8);
        for ((byte, &low), &high) in line[r * 8..][..8].iter_mut().zip(low).zip(high) {
            *byte = low | high << 4;
        }
    }
}

#[cfg(test)]
mod tests;
