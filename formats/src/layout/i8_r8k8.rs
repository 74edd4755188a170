//! The `i8.r8k8` layout: symmetric 8-bit integers with one `f16` scale per group of columns.
//!
//! A panel is 8 rows, a line 8 rows x 8 consecutive columns in 64 bytes; the lines of a panel run
//! along the columns. `x = scale * q` with `q` in -127 to 127.

mod q8_0;

use half::f16;

use super::{
    BlockError, EncodeError, Flaw, Layout, LayoutError, PANEL_ROWS, check_length, i8_groups,
    plane_lengths,
};

pub use q8_0::{Q8_0_BLOCK, pack_q8_0};

/// Columns of a line.
pub const LINE_COLS: usize = 8;

/// Bytes of a line.
pub const LINE: usize = PANEL_ROWS * LINE_COLS;

/// Largest magnitude of a stored integer.
const Q_MAX: f32 = 127.0;

/// A borrowed matrix in this layout.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    /// Rows without padding.
    pub rows: usize,
    /// Columns without padding.
    pub cols: usize,
    /// Columns with padding to whole groups.
    pub padded_k: usize,
    /// Columns that share a scale; `padded_k` where a whole row does.
    pub group: usize,
    /// `[panel][padded_k / 8][8 rows][8 columns]`, zero beyond `rows` and `cols`.
    pub data: &'a [i8],
    /// `[panel][padded_k / group][8 rows]`, zero beyond `rows`.
    pub scales: &'a [f16],
}

impl<'a> Matrix<'a> {
    /// Wraps planes whose lengths must follow from `rows`, `cols` and `group` (0: whole row).
    pub fn new(
        rows: usize,
        cols: usize,
        group: u32,
        data: &'a [i8],
        scales: &'a [f16],
    ) -> Result<Self, LayoutError> {
        let shape = Shape::checked(rows, cols, group, data.len(), scales.len())?;
        Ok(Self { rows, cols, padded_k: shape.padded_k, group: shape.group, data, scales })
    }

    /// Number of panels.
    pub fn n_panels(&self) -> usize {
        self.rows.div_ceil(PANEL_ROWS)
    }

    /// Number of groups of a row.
    pub fn n_groups(&self) -> usize {
        self.padded_k / self.group
    }

    /// Lines `[padded_k / 8][8 rows][8 columns]` and scales `[padded_k / group][8 rows]` of a
    /// panel.
    ///
    /// # Panics
    /// If there is no such panel.
    pub fn panel(&self, index: usize) -> (&'a [i8], &'a [f16]) {
        let (n_data, n_scales) = (self.padded_k * PANEL_ROWS, self.n_groups() * PANEL_ROWS);
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
        let groups = out.chunks_mut(self.group).zip(lines.chunks_exact(self.group * PANEL_ROWS));
        for ((out, lines), scales) in groups.zip(scales.chunks_exact(PANEL_ROWS)) {
            let scale = scales[lane].to_f32();
            for (out, line) in out.chunks_mut(LINE_COLS).zip(lines.chunks_exact(LINE)) {
                for (v, &q) in out.iter_mut().zip(&line[lane * LINE_COLS..][..LINE_COLS]) {
                    *v = scale * f32::from(q);
                }
            }
        }
    }

    /// The first thing in the planes that no writer of this layout produces.
    pub(crate) fn flaw(&self) -> Option<Flaw> {
        if self.data.contains(&i8::MIN) {
            return Some(Flaw("the integer -128"));
        }
        if !self.scales.iter().all(|s| s.is_finite()) {
            return Some(Flaw("a scale that is not finite"));
        }
        let pad_row = self.rows % PANEL_ROWS;
        if pad_row > 0 {
            let (lines, scales) = self.panel(self.n_panels() - 1);
            let lines = lines.chunks_exact(LINE).flat_map(|l| &l[pad_row * LINE_COLS..]);
            let mut scales = scales.chunks_exact(PANEL_ROWS).flat_map(|s| &s[pad_row..]);
            if lines.into_iter().any(|&q| q != 0) || scales.any(|s| s.to_bits() != 0) {
                return Some(Flaw("padding rows that are not zero"));
            }
        }
        // Only lines from the one that holds the last column on have padding columns.
        let (pad_line, pad_col) = (self.cols / LINE_COLS, self.cols % LINE_COLS);
        for panel in self.data.chunks_exact(self.padded_k * PANEL_ROWS) {
            for (i, line) in panel.chunks_exact(LINE).skip(pad_line).enumerate() {
                let first = if i == 0 { pad_col } else { 0 };
                if line.chunks_exact(LINE_COLS).any(|row| row[first..].iter().any(|&q| q != 0)) {
                    return Some(Flaw("padding columns that are not zero"));
                }
            }
        }
        None
    }
}

/// Sizes that follow from the shape of a block.
struct Shape {
    padded_k: usize,
    group: usize,
}

impl Shape {
    fn checked(
        rows: usize,
        cols: usize,
        group: u32,
        n_data: usize,
        n_scales: usize,
    ) -> Result<Self, LayoutError> {
        let planes = plane_lengths(Layout::I8R8K8, &[rows as u64, cols as u64], group)?;
        check_length("int8 data", planes.lengths()[0], n_data)?;
        check_length("int8 scales", planes.lengths()[1] / 2, n_scales)?;
        // The buffers are that large, so both numbers fit.
        let (group, padded_k) = i8_groups(cols as u64, group)?;
        Ok(Self { padded_k: padded_k as usize, group: group as usize })
    }
}

/// Quantizes `n_rows` rows of `k` values, beginning at a panel's first row. A last panel that is
/// not full is padded with zeros.
///
/// Per group: `scale = absmax / 127`, rounded to `f16` first, then `q = round(x / scale)`, ties to
/// even, clamped to ±127. Where rounding has made the scale so small that the clamp would cost more
/// than half a step (only among the subnormal `f16` numbers), the next larger scale is taken, so
/// `|x - scale * q|` is at most `scale / 2`. With `scale_search`, 16 other scales around and above
/// that one are tried (99.6 % and 100.4 % to 106 % of it) and the one with the least squared error
/// is kept, the first in a tie. A group of zeros, or of numbers that all round to zero, has the
/// scale zero.
pub fn encode_panels(
    rows: &[f32],       // [n_rows, k]
    n_rows: usize,      //
    k: usize,           //
    group: u32,         // 32, 64, 128, or 0 for a whole row
    scale_search: bool, //
    data: &mut [i8],    // [panel][padded_k / 8][8 rows][8 columns]
    scales: &mut [f16], // [panel][padded_k / group][8 rows]
) -> Result<BlockError, EncodeError> {
    encode_scaled(rows, n_rows, k, group, data, scales, |_, x| group_scale(x, scale_search))
}

/// The same for rows that were quantized before: all values of a group are multiples of its step, at
/// most 127 times it. The integers are those of then; only the step is rounded, to `f16`. A group whose
/// step `f16` does not have is quantized as any other.
pub fn encode_panels_of_steps(
    rows: &[f32],       // [n_rows, k]
    n_rows: usize,      //
    k: usize,           //
    group: u32,         // 32, 64, 128, or 0 for a whole row
    steps: &[f32],      // [n_rows][groups of a row]
    data: &mut [i8],    // [panel][padded_k / 8][8 rows][8 columns]
    scales: &mut [f16], // [panel][padded_k / group][8 rows]
) -> Result<BlockError, EncodeError> {
    let shape = Shape::checked(n_rows, k, group, data.len(), scales.len())?;
    let n_groups = shape.padded_k / shape.group;
    check_length("steps", n_rows as u64 * n_groups as u64, steps.len())?;
    encode_scaled(rows, n_rows, k, group, data, scales, |(row, group), x| {
        let exact = steps[row * n_groups + group];
        let (step, absmax) = (f16::from_f32(exact), absmax(x)?);
        let usable = step.is_normal() || step.to_f32() == exact;
        match usable && absmax <= (Q_MAX + 0.5) * step.to_f32().abs() {
            true => Ok(step),
            false => group_scale(x, false),
        }
    })
}

/// Quantizes every group by the scale that `scale` has for it, given its row's number and its own there,
/// and the values.
fn encode_scaled(
    rows: &[f32],
    n_rows: usize,
    k: usize,
    group: u32,
    data: &mut [i8],
    scales: &mut [f16],
    scale: impl Fn((usize, usize), &[f32]) -> Result<f16, f32>,
) -> Result<BlockError, EncodeError> {
    let Shape { padded_k, group } = Shape::checked(n_rows, k, group, data.len(), scales.len())?;
    check_length("f32 rows", n_rows as u64 * k as u64, rows.len())?;

    let mut error = BlockError::default();
    let mut padded_row = vec![0.0f32; padded_k];
    let panels = data.chunks_exact_mut(padded_k * PANEL_ROWS);
    let panels = panels.zip(scales.chunks_exact_mut(padded_k / group * PANEL_ROWS));
    for (p, ((lines, scales), rows)) in panels.zip(rows.chunks(k * PANEL_ROWS)).enumerate() {
        if rows.len() < k * PANEL_ROWS {
            lines.fill(0);
            scales.fill(f16::ZERO);
        }
        for (r, row) in rows.chunks_exact(k).enumerate() {
            padded_row[..k].copy_from_slice(row);
            let groups = padded_row.chunks_exact(group);
            let lines = lines.chunks_exact_mut(group * PANEL_ROWS);
            for (g, ((x, lines), scales)) in
                groups.zip(lines).zip(scales.chunks_exact_mut(PANEL_ROWS)).enumerate()
            {
                let scale = scale((p * PANEL_ROWS + r, g), x).map_err(|value| {
                    // Rare, so the column is looked for only now.
                    let col = row.iter().position(|v| v.to_bits() == value.to_bits());
                    let (row, col) = (p * PANEL_ROWS + r, col.unwrap_or(g * group));
                    if value.is_finite() {
                        EncodeError::ScaleOverflow { row, col, value }
                    } else {
                        EncodeError::NonFinite { row, col, value }
                    }
                })?;
                scales[r] = scale;
                quantize_group(x, scale.to_f32(), r, lines);
                error.sum_sq_error += squared_error(x, scale.to_f32());
                error.sum_sq += squared_error(x, 0.0);
            }
        }
    }
    Ok(error)
}

/// Scales tried by a search, in thousandths of `absmax / 127`.
///
/// A scale changed by half a percent moves most values to other places between two steps, so each
/// of these is a new draw of all rounding errors, and the best of several draws is well below their
/// mean. Larger scales cost only their wider steps (2 % in squared error per percent), whereas
/// below 99.6 % the clamp cuts the largest value, which costs more than a draw can win.
const SEARCHED: [u16; 16] =
    [996, 1004, 1008, 1012, 1016, 1020, 1024, 1028, 1032, 1036, 1040, 1044, 1048, 1052, 1056, 1060];

/// Largest `absmax / scale` that a search accepts: 127.5 with room for the rounding of the scale.
const CLAMPED: f32 = 127.6;

/// The scale of a group, or the value that prevents one.
fn group_scale(x: &[f32], search: bool) -> Result<f16, f32> {
    let absmax = absmax(x)?;
    let mut best = f16::from_f32(absmax / Q_MAX);
    if !best.is_finite() {
        return Err(x.iter().copied().find(|v| v.abs() == absmax).unwrap_or(absmax));
    }
    if absmax > (Q_MAX + 0.5) * best.to_f32() {
        best = f16::from_bits(best.to_bits() + 1);
        if absmax <= 0.5 * best.to_f32() {
            // Half a step or less: every integer would be zero.
            return Ok(f16::ZERO);
        }
    }
    if search && best != f16::ZERO {
        let mut least = squared_error(x, best.to_f32());
        for per_mille in SEARCHED {
            let scale = f16::from_f32(absmax * (f32::from(per_mille) / 1000.0) / Q_MAX);
            if !scale.is_finite() || absmax > CLAMPED * scale.to_f32() {
                continue;
            }
            let error = squared_error(x, scale.to_f32());
            if error < least {
                (best, least) = (scale, error);
            }
        }
    }
    Ok(best)
}

/// Largest magnitude in `x` (a multiple of 8 values), or a value that is not finite.
fn absmax(x: &[f32]) -> Result<f32, f32> {
    // Without their sign bit, floats order like integers, NaN above infinity above the rest: one
    // pass finds the maximum and everything that is not finite.
    let mut max = [0i32; 8];
    for line in x.chunks_exact(8) {
        for (max, v) in max.iter_mut().zip(line) {
            *max = (*max).max((v.to_bits() & 0x7fff_ffff) as i32);
        }
    }
    let absmax = f32::from_bits(max.into_iter().fold(0, i32::max) as u32);
    if absmax.is_finite() {
        Ok(absmax)
    } else {
        Err(x.iter().copied().find(|v| !v.is_finite()).unwrap_or(absmax))
    }
}

/// 1.5 * 2^23: adding it to a small number rounds that to an integer, ties to even, which then
/// stands in the low bits of the sum. Unlike `round`, it vectorises on every target.
const ROUND: f32 = 12_582_912.0;

fn clamp(v: f32) -> f32 {
    // Not `f32::clamp`: this form is one `min` and one `max` instruction.
    let v = if v < Q_MAX { v } else { Q_MAX };
    if v > -Q_MAX { v } else { -Q_MAX }
}

/// Squared error of quantizing `x` with `scale`; with scale zero, the sum of squares of `x`.
fn squared_error(x: &[f32], scale: f32) -> f64 {
    let per_scale = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    let mut total = 0.0;
    for block in x.chunks(128) {
        // Eight sums in a fixed order: the same bits on every machine.
        let mut sums = [0.0f32; 8];
        for line in block.chunks_exact(8) {
            for (sum, &v) in sums.iter_mut().zip(line) {
                let q = (clamp(v * per_scale) + ROUND) - ROUND;
                let difference = v - q * scale;
                *sum += difference * difference;
            }
        }
        let [a, b, c, d, e, f, g, h] = sums;
        total += f64::from(((a + e) + (b + f)) + ((c + g) + (d + h)));
    }
    total
}

/// Writes the integers of a group of row `r` of a panel into the panel's lines.
fn quantize_group(x: &[f32], scale: f32, r: usize, lines: &mut [i8]) {
    // A zero scale stands for a group of zeros: any divisor that gives zeros will do.
    let divisor = if scale == 0.0 { f32::MAX } else { scale };
    for (x, line) in x.chunks_exact(LINE_COLS).zip(lines.chunks_exact_mut(LINE)) {
        for (q, &v) in line[r * LINE_COLS..][..LINE_COLS].iter_mut().zip(x) {
            *q = (clamp(v / divisor) + ROUND).to_bits() as i8;
        }
    }
}

#[cfg(test)]
mod tests;
