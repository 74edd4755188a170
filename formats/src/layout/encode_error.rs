//! What encoding a block of rows reports: the rounding error, or why it is impossible.

use std::ops::AddAssign;

use thiserror::Error;

use super::LayoutError;

/// Sums over encoded rows from which the relative error of a tensor follows.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BlockError {
    /// Sum of squared differences between the decoded and the original values.
    pub sum_sq_error: f64,
    /// Sum of squares of the original values.
    pub sum_sq: f64,
}

impl BlockError {
    /// RMS of the error over RMS of the values; 0 when nothing was lost.
    ///
    /// Blocks added in another order may differ in the last bits: add them in row order where
    /// the same bytes are wanted every time.
    pub fn relative(&self) -> f32 {
        if self.sum_sq_error == 0.0 || self.sum_sq == 0.0 {
            return 0.0;
        }
        (self.sum_sq_error / self.sum_sq).sqrt() as f32
    }
}

impl AddAssign for BlockError {
    fn add_assign(&mut self, other: Self) {
        self.sum_sq_error += other.sum_sq_error;
        self.sum_sq += other.sum_sq;
    }
}

/// Why a block of rows cannot be encoded.
///
/// Rows are counted from the start of the block: the caller knows which tensor and which of its
/// rows the block holds, see [`EncodeError::in_tensor_from`].
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// A value is NaN or infinite.
    #[error("the value at row {row}, column {col} is {value}")]
    NonFinite {
        /// Row of the value.
        row: usize,
        /// Column of the value.
        col: usize,
        /// The value.
        value: f32,
    },
    /// A value is too large for the scales of `i8.r8k8`.
    #[error(
        "the value {value} at row {row}, column {col} is beyond the range of int8 with f16 \
         scales (at most 8319008 = 127 * 65504)"
    )]
    ScaleOverflow {
        /// Row of the value.
        row: usize,
        /// Column of the value.
        col: usize,
        /// The value.
        value: f32,
    },
    /// A value is too large for `f16`.
    #[error(
        "the value {value} at row {row}, column {col} is beyond the range of f16 (at most 65504)"
    )]
    F16Overflow {
        /// Row of the value.
        row: usize,
        /// Column of the value.
        col: usize,
        /// The value.
        value: f32,
    },
    /// A block quantized elsewhere holds -128, which the symmetric layout excludes: such a tensor
    /// has to be decoded and quantized again.
    #[error("the int8 value at row {row}, column {col} is -128; -127 to 127 are possible")]
    NotSymmetric {
        /// Row of the value.
        row: usize,
        /// Column of the value.
        col: usize,
    },
    /// A value that is no whole number, or too large for one that is exact as `f32`.
    #[error("the value {value} at row {row}, column {col} is no whole number below 2^24")]
    NotWhole {
        /// Row of the value.
        row: usize,
        /// Column of the value.
        col: usize,
        /// The value.
        value: f32,
    },
    /// Lengths of arguments that do not belong together.
    #[error(transparent)]
    Layout(#[from] LayoutError),
}

impl EncodeError {
    /// The same error with rows counted from the start of the tensor, for a block that begins at
    /// `first_row` of it.
    #[must_use]
    pub fn in_tensor_from(mut self, first_row: usize) -> Self {
        match &mut self {
            Self::NonFinite { row, .. }
            | Self::ScaleOverflow { row, .. }
            | Self::F16Overflow { row, .. }
            | Self::NotWhole { row, .. }
            | Self::NotSymmetric { row, .. } => *row += first_row,
            Self::Layout(_) => {}
        }
        self
    }
}
