//! The `f16.r8k1` layout: panels of 8 rows interleaved per column, `[panel][k][8 rows]`.

use half::f16;
use half::slice::HalfFloatSliceExt;

use super::{BlockError, EncodeError, Flaw, Layout, LayoutError, PANEL_ROWS, check_length};

/// A borrowed matrix in this layout.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    /// Rows without padding.
    pub rows: usize,
    /// Columns.
    pub cols: usize,
    /// `[panel][cols][8 rows]`, rows beyond `rows` zero.
    pub data: &'a [f16],
}

impl<'a> Matrix<'a> {
    /// Wraps a plane whose length must follow from `rows` and `cols`.
    pub fn new(rows: usize, cols: usize, data: &'a [f16]) -> Result<Self, LayoutError> {
        check_length("f16 data", n_elements(rows, cols)?, data.len())?;
        Ok(Self { rows, cols, data })
    }

    /// Number of panels.
    pub fn n_panels(&self) -> usize {
        self.rows.div_ceil(PANEL_ROWS)
    }

    /// One panel: `[cols][8 rows]`.
    ///
    /// # Panics
    /// If there is no such panel.
    pub fn panel(&self, index: usize) -> &'a [f16] {
        let length = self.cols * PANEL_ROWS;
        &self.data[index * length..][..length]
    }

    /// Decodes row `r` into `out`.
    ///
    /// # Panics
    /// If there is no such row or `out` is not `cols` long.
    pub fn row(&self, r: usize, out: &mut [f32]) {
        assert!(r < self.rows, "row {r} of {}", self.rows);
        assert_eq!(out.len(), self.cols, "length of the output row");
        let lane = r % PANEL_ROWS;
        for (v, line) in out.iter_mut().zip(self.panel(r / PANEL_ROWS).chunks_exact(PANEL_ROWS)) {
            *v = line[lane].to_f32();
        }
    }

    /// The first thing in the plane that no writer of this layout produces.
    pub(crate) fn flaw(&self) -> Option<Flaw> {
        if !self.data.iter().all(|v| v.is_finite()) {
            return Some(Flaw("a value that is not finite"));
        }
        let pad_row = self.rows % PANEL_ROWS;
        if pad_row > 0 {
            let lines = self.panel(self.n_panels() - 1).chunks_exact(PANEL_ROWS);
            if lines.flat_map(|line| &line[pad_row..]).any(|v| v.to_bits() != 0) {
                return Some(Flaw("padding rows that are not zero"));
            }
        }
        None
    }
}

/// Elements of the plane of a matrix.
fn n_elements(rows: usize, cols: usize) -> Result<u64, LayoutError> {
    let planes = super::plane_lengths(Layout::F16R8K1, &[rows as u64, cols as u64], 0)?;
    Ok(planes.lengths()[0] / 2)
}

/// Encodes `n_rows` rows of `k` values, beginning at a panel's first row. A last panel that is
/// not full is padded with zeros. Values are rounded to the nearest `f16`, ties to even.
pub fn encode_panels(
    rows: &[f32],     // [n_rows, k]
    n_rows: usize,    //
    k: usize,         //
    data: &mut [f16], // [panel][k][8 rows]
) -> Result<BlockError, EncodeError> {
    check_length("f16 data", n_elements(n_rows, k)?, data.len())?;
    check_length("f32 rows", n_rows as u64 * k as u64, rows.len())?;

    let mut error = BlockError::default();
    let mut halves = vec![f16::ZERO; k];
    let panels = data.chunks_exact_mut(k * PANEL_ROWS);
    for (p, (panel, rows)) in panels.zip(rows.chunks(k * PANEL_ROWS)).enumerate() {
        if rows.len() < panel.len() {
            panel.fill(f16::ZERO);
        }
        for (r, row) in rows.chunks_exact(k).enumerate() {
            halves.convert_from_f32_slice(row);
            error += row_error(row, &halves)
                .map_err(|col| out_of_range(p * PANEL_ROWS + r, col, row[col]))?;
            for (line, &half) in panel.chunks_exact_mut(PANEL_ROWS).zip(&halves) {
                line[r] = half;
            }
        }
    }
    Ok(error)
}

/// Error sums of one row, or the column of the first value that has no finite `f16`.
fn row_error(row: &[f32], halves: &[f16]) -> Result<BlockError, usize> {
    if let Some(col) = halves.iter().position(|half| !half.is_finite()) {
        return Err(col);
    }
    // A few sums in a fixed order: quick, and the same bits on every machine.
    let (mut sum_sq_error, mut sum_sq) = ([0.0f64; 4], [0.0f64; 4]);
    for (values, halves) in row.chunks(4).zip(halves.chunks(4)) {
        for (lane, (&value, half)) in values.iter().zip(halves).enumerate() {
            let (value, half) = (f64::from(value), f64::from(half.to_f32()));
            sum_sq[lane] += value * value;
            sum_sq_error[lane] += (value - half) * (value - half);
        }
    }
    Ok(BlockError { sum_sq_error: sum_sq_error.iter().sum(), sum_sq: sum_sq.iter().sum() })
}

fn out_of_range(row: usize, col: usize, value: f32) -> EncodeError {
    if value.is_finite() {
        EncodeError::F16Overflow { row, col, value }
    } else {
        EncodeError::NonFinite { row, col, value }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encode(rows: &[f32], n_rows: usize, k: usize) -> (Vec<f16>, BlockError) {
        let mut data = vec![f16::MAX; n_elements(n_rows, k).unwrap() as usize];
        let error = encode_panels(rows, n_rows, k, &mut data).unwrap();
        (data, error)
    }

    proptest! {
        #[test]
        fn ragged_shapes_round_trip(n_rows in 1usize..30, k in 1usize..40, seed: u32) {
            let rows: Vec<f32> = (0..n_rows * k)
                .map(|i| f16::from_bits((i as u32).wrapping_mul(seed) as u16 & 0xbbff).to_f32())
                .collect();
            let (data, error) = encode(&rows, n_rows, k);
            prop_assert_eq!(error.sum_sq_error, 0.0);
            let matrix = Matrix::new(n_rows, k, &data).unwrap();
            let mut out = vec![0.0; k];
            for (r, row) in rows.chunks_exact(k).enumerate() {
                matrix.row(r, &mut out);
                prop_assert!(out.iter().zip(row).all(|(a, b)| a.to_bits() == b.to_bits()));
            }
            for (i, half) in data.iter().enumerate() {
                let row = i / (8 * k) * 8 + i % 8;
                prop_assert!(row < n_rows || half.to_bits() == 0);
            }
        }
    }

    #[test]
    fn position_of_a_value() {
        let rows: Vec<f32> = (0..9 * 3).map(|i| i as f32).collect();
        let (data, _) = encode(&rows, 9, 3);
        // Row 8, column 2: panel 1, third line, lane 0.
        assert_eq!(data[3 * 8 + 2 * 8].to_f32(), 26.0);
        assert_eq!(Matrix::new(9, 3, &data).unwrap().panel(1)[16].to_f32(), 26.0);
    }

    #[test]
    fn rounding_error_is_reported() {
        let (_, error) = encode(&[1.0 + 1.0 / 4096.0, -1.0], 1, 2);
        let expected = (1.0f64 / 4096.0) / (1.0 + (1.0f64 + 1.0 / 4096.0).powi(2)).sqrt();
        assert!((f64::from(error.relative()) / expected - 1.0).abs() < 1e-6);
    }

    #[test]
    fn values_without_an_f16_are_errors() {
        let mut rows = vec![1.0f32; 10 * 4];
        let mut data = vec![f16::ZERO; 16 * 4];
        rows[9 * 4 + 3] = 65519.0;
        assert!(encode_panels(&rows, 10, 4, &mut data).is_ok(), "rounds to 65504");
        rows[9 * 4 + 3] = -65520.0;
        let err = encode_panels(&rows, 10, 4, &mut data).unwrap_err();
        assert!(matches!(err, EncodeError::F16Overflow { row: 9, col: 3, .. }), "{err}");
        rows[5] = f32::NAN;
        let err = encode_panels(&rows, 10, 4, &mut data).unwrap_err();
        assert!(matches!(err, EncodeError::NonFinite { row: 1, col: 1, .. }), "{err}");
    }

    #[test]
    fn lengths_are_checked() {
        assert!(encode_panels(&[0.0; 8], 2, 4, &mut [f16::ZERO; 31]).is_err());
        assert!(encode_panels(&[0.0; 7], 2, 4, &mut [f16::ZERO; 32]).is_err());
        assert!(Matrix::new(2, 4, &[f16::ZERO; 31]).is_err());
        assert!(Matrix::new(usize::MAX, usize::MAX, &[]).is_err());
        assert!(Matrix::new(0, 4, &[]).is_err());
    }
}
