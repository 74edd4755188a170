//! Values of 8 bits (floats or integers) times a scale: one for all, one a row, or one a block.

use kinglet_formats::checkpoint::{Checkpoint, CheckpointError};

use crate::QuantizeError;
use crate::overlay::Make;

/// Rows and columns of a block where nothing says it.
const BLOCK: [usize; 2] = [128, 128];

/// A matrix and its scales.
pub(in crate::source) struct Scaled {
    weight: usize,
    /// `[rows / block rows][columns / block columns]`, rounded up.
    scales: Vec<f32>,
    scale_columns: usize,
    block: [usize; 2],
    row_len: usize,
}

impl Scaled {
    /// Opens tensor number `weight`, called `{module}weight`, if it has scales, which tools call
    /// `weight_scale` or `weight_scale_inv`. Scales multiply under either name.
    pub(super) fn open(
        inner: &dyn Checkpoint,
        weight: usize,
        module: &str,
        block: Option<[usize; 2]>,
    ) -> Result<Option<(Self, Vec<usize>)>, QuantizeError> {
        let names = ["weight_scale", "weight_scale_inv"];
        let find = |name: &str| inner.find(&format!("{module}{name}"));
        let Some(scale) = names.into_iter().find_map(find) else { return Ok(None) };
        let (info, scale_info) = (&inner.tensors()[weight], &inner.tensors()[scale]);
        let (rows, row_len) = (info.n_rows(), info.row_len());
        let whole = [rows.max(1), row_len.max(1)];
        let block = match *scale_info.dims.as_slice() {
            [] | [1] | [1, 1] => whole,
            [n] | [n, 1] if n == rows => [1, whole[1]],
            [_, _] => block.unwrap_or(BLOCK),
            _ => return Err(QuantizeError::shape(scale_info, vec![rows, 1])),
        };
        let expected = [rows.div_ceil(block[0]), row_len.div_ceil(block[1])];
        let n_scales = scale_info.n_rows() * scale_info.row_len();
        let fits = n_scales == expected[0] * expected[1]
            && (scale_info.dims.len() < 2 || scale_info.dims == expected);
        if !fits {
            return Err(QuantizeError::shape(scale_info, expected.to_vec()));
        }
        // Fewer than the file has bytes.
        let mut scales = vec![0.0; n_scales];
        inner.read_rows(scale, 0, &mut scales)?;
        let scaled = Self { weight, scales, scale_columns: expected[1], block, row_len };
        Ok(Some((scaled, vec![weight, scale])))
    }
}

impl Scaled {
    /// Integers of tensor number `weight` that tensor number `divisors` divides: all by one number, or
    /// as many rows by each.
    pub(in crate::source) fn divided(
        inner: &dyn Checkpoint,
        weight: usize,
        divisors: usize,
    ) -> Result<Self, QuantizeError> {
        let (info, divisor_info) = (&inner.tensors()[weight], &inner.tensors()[divisors]);
        let (rows, row_len) = (info.n_rows(), info.row_len());
        let n = divisor_info.n_rows() * divisor_info.row_len();
        if n == 0 || !rows.is_multiple_of(n) {
            return Err(QuantizeError::shape(divisor_info, vec![rows]));
        }
        let mut scales = vec![0.0; n];
        inner.read_rows(divisors, 0, &mut scales)?;
        scales.iter_mut().for_each(|scale| *scale = 1.0 / *scale);
        let block = [(rows / n).max(1), row_len.max(1)];
        Ok(Self { weight, scales, scale_columns: 1, block, row_len })
    }
}

impl Make for Scaled {
    fn read_rows(
        &self,
        inner: &dyn Checkpoint,
        first_row: usize,
        out: &mut [f32],
    ) -> Result<(), CheckpointError> {
        inner.read_rows(self.weight, first_row, out)?;
        let [block_rows, block_columns] = self.block;
        for (row, values) in (first_row..).zip(out.chunks_mut(self.row_len.max(1))) {
            let scales = &self.scales[row / block_rows * self.scale_columns..];
            for (values, scale) in values.chunks_mut(block_columns).zip(scales) {
                values.iter_mut().for_each(|value| *value *= scale);
            }
        }
        Ok(())
    }
}
