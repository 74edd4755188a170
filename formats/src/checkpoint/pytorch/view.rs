//! A tensor as a view of a storage: an offset and a stride for each dimension.

use super::super::stored::decode;
use super::{DType, TensorInfo};

/// Where the elements of a tensor lie. All of them are known to lie within the file.
pub(super) struct View {
    /// First byte of the tensor's first element in the file.
    pub(super) start: usize,
    /// Elements from one index to the next, for each dimension.
    pub(super) strides: Vec<usize>,
}

impl View {
    /// The bytes of the tensor, if its elements lie in order.
    pub(super) fn raw<'a>(&self, info: &TensorInfo, bytes: &'a [u8]) -> Option<&'a [u8]> {
        let mut expected = 1;
        for (&dim, &stride) in info.dims.iter().zip(&self.strides).rev() {
            // The stride of a single index is never taken.
            if dim > 1 && stride != expected {
                return None;
            }
            expected *= dim.max(1);
        }
        let len = info.n_rows() * info.row_len() * info.dtype.block_bytes();
        Some(&bytes[self.start..][..len])
    }

    /// Decodes rows that the tensor has.
    pub(super) fn read_rows(
        &self,
        info: &TensorInfo,
        bytes: &[u8],
        first_row: usize,
        out: &mut [f32],
    ) {
        if out.is_empty() {
            return;
        }
        let size = info.dtype.block_bytes();
        if let Some(raw) = self.raw(info, bytes) {
            return decode(info.dtype, &raw[first_row * info.row_len() * size..], out);
        }
        let stride = self.strides.last().copied().unwrap_or(1);
        for (row, out) in (first_row..).zip(out.chunks_exact_mut(info.row_len())) {
            let start = self.start + self.row_offset(info, row) * size;
            if stride == 1 {
                decode(info.dtype, &bytes[start..], out);
            } else {
                gather(info.dtype, &bytes[start..], stride, out);
            }
        }
    }

    /// Elements from the first of the tensor to the first of row `row`.
    fn row_offset(&self, info: &TensorInfo, mut row: usize) -> usize {
        let mut offset = 0;
        for (&dim, &stride) in info.dims.iter().zip(&self.strides).rev().skip(1) {
            offset += row % dim * stride;
            row /= dim;
        }
        offset
    }
}

/// Decodes elements that lie `stride` elements apart.
fn gather(dtype: DType, stored: &[u8], stride: usize, out: &mut [f32]) {
    let size = dtype.block_bytes();
    let mut element = 0;
    let mut piece = [0u8; 64 * 8];
    for out in out.chunks_mut(64) {
        for target in piece.chunks_exact_mut(size).take(out.len()) {
            target.copy_from_slice(&stored[element..element + size]);
            // May go beyond the file after the last element, where nothing is read any more.
            element = element.saturating_add(stride.saturating_mul(size));
        }
        decode(dtype, &piece, out);
    }
}
