//! Tensors that lie row after row in the bytes of one file: what safetensors and GGUF have in common.

use std::path::PathBuf;

use super::error::{CheckpointError, TensorProblem};
use super::{Checkpoint, DType, TensorInfo, gguf, plain};
use crate::map::Bytes;

/// Checked tensors and the bytes they lie in.
pub(crate) struct Stored {
    bytes: Bytes,
    infos: Vec<TensorInfo>,
    /// First byte of each tensor.
    starts: Vec<usize>,
    /// Tensor numbers in the order of their names.
    by_name: ByName,
}

/// A tensor as a file's header describes it, not yet checked.
pub(crate) struct Claim {
    pub(crate) info: TensorInfo,
    /// First byte, counted from the beginning of the file.
    pub(crate) start: u64,
}

impl Stored {
    /// Checks that every tensor lies within the file, has a name of its own and shares no bytes.
    pub(crate) fn check(
        file: PathBuf,
        bytes: Bytes,
        claims: Vec<Claim>,
    ) -> Result<Self, CheckpointError> {
        let mut infos = Vec::with_capacity(claims.len());
        let mut starts = Vec::with_capacity(claims.len());
        let mut ends = Vec::with_capacity(claims.len());
        let refuse = |info: &TensorInfo, problem| CheckpointError::Tensor {
            file: file.clone(),
            tensor: info.name.as_str().into(),
            problem,
        };
        for Claim { info, start } in claims {
            let expected = byte_len(&info.dims, info.dtype).map_err(|p| refuse(&info, p))?;
            let available = (bytes.len() as u64).saturating_sub(start);
            if start > bytes.len() as u64 || expected as u64 > available {
                let problem = TensorProblem::BeyondEnd {
                    dims: info.dims.clone(),
                    dtype: info.dtype,
                    expected,
                    start,
                    available,
                };
                return Err(refuse(&info, problem));
            }
            // Within the file, so both fit a usize.
            let start = start as usize;
            infos.push(info);
            starts.push(start);
            ends.push(start + expected);
        }

        let by_name =
            ByName::new(&infos).map_err(|twice| refuse(&infos[twice], TensorProblem::Duplicate))?;

        let mut by_start: Vec<usize> = (0..infos.len()).filter(|&i| starts[i] < ends[i]).collect();
        by_start.sort_by_key(|&i| starts[i]);
        for pair in by_start.windows(2) {
            if ends[pair[0]] > starts[pair[1]] {
                let other = infos[pair[0]].name.as_str().into();
                return Err(refuse(&infos[pair[1]], TensorProblem::Overlap { other }));
            }
        }
        Ok(Self { bytes, infos, starts, by_name })
    }
}

impl Checkpoint for Stored {
    fn tensors(&self) -> &[TensorInfo] {
        &self.infos
    }

    fn read_rows(
        &self,
        index: usize,
        first_row: usize,
        out: &mut [f32],
    ) -> Result<(), CheckpointError> {
        let raw = self.raw(index)?;
        let info = &self.infos[index];
        info.check_rows(first_row, out.len())?;
        let row_bytes = info.row_len() / info.dtype.block_len() * info.dtype.block_bytes();
        decode(info.dtype, &raw[first_row * row_bytes..], out);
        Ok(())
    }

    fn raw(&self, index: usize) -> Result<&[u8], CheckpointError> {
        let info = tensor(&self.infos, index)?;
        let blocks = info.n_rows() * (info.row_len() / info.dtype.block_len());
        Ok(&self.bytes[self.starts[index]..][..blocks * info.dtype.block_bytes()])
    }

    fn find(&self, name: &str) -> Option<usize> {
        self.by_name.find(&self.infos, name)
    }
}

/// Tensor numbers in the order of their names.
pub(crate) struct ByName(Vec<usize>);

impl ByName {
    /// Fails with the number of a tensor whose name another tensor has too.
    pub(crate) fn new(infos: &[TensorInfo]) -> Result<Self, usize> {
        let mut order: Vec<usize> = (0..infos.len()).collect();
        order.sort_by(|&a, &b| infos[a].name.cmp(&infos[b].name));
        match order.windows(2).find(|w| infos[w[0]].name == infos[w[1]].name) {
            Some(pair) => Err(pair[1]),
            None => Ok(Self(order)),
        }
    }

    pub(crate) fn find(&self, infos: &[TensorInfo], name: &str) -> Option<usize> {
        let place = self.0.binary_search_by(|&i| infos[i].name.as_str().cmp(name));
        place.ok().map(|place| self.0[place])
    }
}

/// Tensor number `index`.
pub(crate) fn tensor(infos: &[TensorInfo], index: usize) -> Result<&TensorInfo, CheckpointError> {
    infos.get(index).ok_or(CheckpointError::NoSuchTensor { index, count: infos.len() })
}

/// Bytes of a tensor. Also assures that no partial product of the dimensions overflows.
pub(crate) fn byte_len(dims: &[usize], dtype: DType) -> Result<usize, TensorProblem> {
    let too_large = || TensorProblem::TooLarge { dims: dims.to_vec() };
    // A zero among the dimensions must not hide an overflow of the others.
    let product = dims
        .iter()
        .try_fold(1usize, |product, &dim| product.checked_mul(dim.max(1)))
        .filter(|&n| n <= isize::MAX as usize / 8)
        .ok_or_else(too_large)?;
    let row_len = dims.last().copied().unwrap_or(1);
    let block_len = dtype.block_len();
    if !row_len.is_multiple_of(block_len) {
        return Err(TensorProblem::RaggedRow { row_len, dtype, block_len });
    }
    if dims.contains(&0) {
        return Ok(0);
    }
    // At most 8 bytes an element, so this cannot overflow.
    Ok(product / block_len * dtype.block_bytes())
}

/// Decodes `out.len()` elements from the beginning of `stored`, which holds at least as many.
pub(crate) fn decode(dtype: DType, stored: &[u8], out: &mut [f32]) {
    match dtype.block_len() {
        1 => plain::decode(dtype, stored, out),
        _ => gguf::decode_blocks(dtype, stored, out),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(dims: &[usize], dtype: DType) -> TensorInfo {
        TensorInfo { name: "t".into(), dims: dims.to_vec(), dtype }
    }

    #[test]
    fn sizes_are_checked_for_overflow_even_beside_a_zero() {
        assert_eq!(byte_len(&[], DType::F32), Ok(4));
        assert_eq!(byte_len(&[3, 64], DType::Q4_0), Ok(3 * 2 * 18));
        assert_eq!(byte_len(&[3, 0], DType::Q4_0), Ok(0));
        let huge = [usize::MAX / 2, 3, 0];
        assert!(matches!(byte_len(&huge, DType::I8), Err(TensorProblem::TooLarge { .. })));
        assert!(matches!(
            byte_len(&[2, 33], DType::Q8_0),
            Err(TensorProblem::RaggedRow { row_len: 33, .. })
        ));
    }

    #[test]
    fn only_whole_rows_that_exist_can_be_read() {
        let matrix = info(&[4, 8], DType::F32);
        for (first_row, len) in [(0, 32), (3, 8), (4, 0), (0, 0)] {
            matrix.check_rows(first_row, len).unwrap();
        }
        for (first_row, len) in [(0, 40), (3, 16), (5, 0), (0, 7), (usize::MAX, 8)] {
            assert!(matches!(
                matrix.check_rows(first_row, len),
                Err(CheckpointError::NoSuchRows { .. })
            ));
        }
        info(&[4, 0], DType::F32).check_rows(0, 0).unwrap();
        assert!(info(&[4, 0], DType::F32).check_rows(0, 1).is_err());
    }
}
