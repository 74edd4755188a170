//! Reads blocks of rows from a checkpoint and encodes them, in parallel over panels.

use half::f16;
use kinglet_formats::checkpoint::{Checkpoint, DType};
use kinglet_formats::layout::{
    BlockError, EncodeError, Layout, LayoutError, PANEL_ROWS, f16_r8k1, i4_r8k16, i8_r8k8,
    plane_lengths, u32_rows,
};
use rayon::prelude::*;

use crate::take::Take;
use crate::{Calibration, QuantizeError};

/// Weights that one task reads and encodes: 1 MiB as f32.
const TASK_WEIGHTS: usize = 1 << 18;
/// Tasks whose output is collected before it is written: 4 MiB as int8.
const BATCH_TASKS: usize = 16;

/// A tensor on its way into the file.
pub(crate) struct Job<'a> {
    pub(crate) checkpoint: &'a dyn Checkpoint,
    pub(crate) take: &'a Take,
    pub(crate) layout: Layout,
    pub(crate) group: u32,
    pub(crate) scale_search: bool,
    pub(crate) calibration: Option<&'a Calibration>,
    /// `None` stands for the calling thread.
    pub(crate) pool: Option<&'a rayon::ThreadPool>,
}

impl Job<'_> {
    /// Encodes the tensor, handing its bytes to `write` in file order, and returns what was lost.
    ///
    /// Pieces and sums are the same for any number of threads.
    pub(crate) fn run(
        &self,
        write: &mut dyn FnMut(&[u8]) -> Result<(), QuantizeError>,
    ) -> Result<f32, QuantizeError> {
        match self.layout {
            Layout::I8R8K8 => self.int8(write),
            Layout::I4R8K16 => self.four_bits(write),
            Layout::F16R8K1 => self.half(write),
            Layout::F32Rows => self.float(write),
            Layout::U32Rows => self.numbers(write),
            other => {
                let error = LayoutError::UnknownId { id: other.id() };
                Err(self.encode_error(error.into(), 0))
            }
        }
    }

    fn install<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        match self.pool {
            Some(pool) => pool.install(work),
            None => work(),
        }
    }

    fn int8(
        &self,
        write: &mut dyn FnMut(&[u8]) -> Result<(), QuantizeError>,
    ) -> Result<f32, QuantizeError> {
        let cols = self.take.shape().1;
        let lossless = self.group == 32 && self.take.whole_rows(self.checkpoint, DType::Q8_0);
        let transposed = self.take.transposed(self.checkpoint)?;
        self.panels(write, |first, n, data: &mut [i8], scales| {
            if lossless {
                return self.repack(&transposed, first, n, data, scales);
            }
            let x = self.read(&transposed, first, n)?;
            let encoded = match self.steps(first, n)? {
                Some(steps) => {
                    let group = self.group;
                    i8_r8k8::encode_panels_of_steps(&x, n, cols, group, &steps, data, scales)
                }
                None => {
                    let (group, search) = (self.group, self.scale_search);
                    i8_r8k8::encode_panels(&x, n, cols, group, search, data, scales)
                }
            };
            encoded.map_err(|error| self.encode_error(error, first))
        })
    }

    fn four_bits(
        &self,
        write: &mut dyn FnMut(&[u8]) -> Result<(), QuantizeError>,
    ) -> Result<f32, QuantizeError> {
        let cols = self.take.shape().1;
        let packed = match self.group {
            32 => packed_type(self.take, self.checkpoint),
            _ => None,
        };
        let name = &self.take.tensor.name;
        let weights = self.calibration.and_then(|calibration| calibration.weights(name, cols));
        let weights = weights.as_deref();
        let transposed = self.take.transposed(self.checkpoint)?;
        self.panels(write, |first, n, data: &mut [u8], scales| {
            let x = self.read(&transposed, first, n)?;
            let Some((packed, _)) = packed else {
                return i4_r8k16::encode_panels(&x, n, cols, self.group, weights, data, scales)
                    .map_err(|error| self.encode_error(error, first));
            };
            let blocks = self.stored_rows(first, n)?;
            i4_r8k16::pack_blocks(packed, &blocks, n, cols, data, scales)
                .map_err(|error| self.encode_error(error, first))?;
            // Against what the blocks stand for: the roundings of scales alone.
            let matrix = i4_r8k16::Matrix::new(n, cols, self.group, data, scales)
                .map_err(|error| self.encode_error(error.into(), first))?;
            let mut row = vec![0.0; cols];
            let mut error = BlockError::default();
            for (r, x) in x.chunks_exact(cols).enumerate() {
                matrix.row(r, &mut row);
                for (&x, &stored) in x.iter().zip(&row) {
                    error.sum_sq_error += f64::from(x - stored).powi(2);
                    error.sum_sq += f64::from(x).powi(2);
                }
            }
            Ok(error)
        })
    }

    /// Encodes all panels of a layout of integers and scales: `encode(first row, rows, data, scales)`.
    fn panels<T: bytemuck::Pod + Send>(
        &self,
        write: &mut dyn FnMut(&[u8]) -> Result<(), QuantizeError>,
        encode: impl Fn(usize, usize, &mut [T], &mut [f16]) -> Result<BlockError, QuantizeError> + Sync,
    ) -> Result<f32, QuantizeError> {
        let (rows, cols) = self.take.shape();
        let panel = self.planes(&[PANEL_ROWS as u64, cols as u64])?;
        let (panel_data, panel_scales) = (panel[0], panel[1] / 2);
        let task_panels = task_panels(cols);
        let batch_panels = task_panels * BATCH_TASKS;
        let n_panels = rows.div_ceil(PANEL_ROWS);
        let mut scales = vec![f16::ZERO; n_panels * panel_scales];
        let mut data = vec![T::zeroed(); n_panels.min(batch_panels) * panel_data];
        let mut error = BlockError::default();
        for (batch, scales) in scales.chunks_mut(batch_panels * panel_scales).enumerate() {
            let data = &mut data[..scales.len() / panel_scales * panel_data];
            let tasks = data
                .par_chunks_mut(task_panels * panel_data)
                .zip(scales.par_chunks_mut(task_panels * panel_scales))
                .enumerate();
            let encode = tasks.map(|(task, (data, scales))| {
                let first = (batch * batch_panels + task * task_panels) * PANEL_ROWS;
                let n = (data.len() / panel_data * PANEL_ROWS).min(rows - first);
                encode(first, n, data, scales)
            });
            sum(self.install(|| encode.collect()), &mut error)?;
            write(bytemuck::cast_slice(data))?;
        }
        write(bytemuck::cast_slice(&scales))?;
        Ok(error.relative())
    }

    /// The steps of canonical rows `first..first + n`, group by group, where all of them were quantized
    /// before.
    fn steps(&self, first: usize, n: usize) -> Result<Option<Vec<f32>>, QuantizeError> {
        if self.group == 32
            && let Some(dtype) = stepped_type(self.take, self.checkpoint)
        {
            let blocks = self.stored_rows(first, n)?;
            let blocks = blocks.chunks_exact(dtype.block_bytes());
            return Ok(blocks.map(|block| dtype.block_step(block)).collect());
        }
        let rows = (first..first + n).map(|row| self.take.stored_row(row));
        let steps = rows.map(|(piece, row)| match piece.transposed || self.take.plus_one {
            true => None,
            false => self.checkpoint.row_step(piece.source, row),
        });
        let Some(steps) = steps.collect::<Option<Vec<f32>>>() else { return Ok(None) };
        let n_groups = self.planes(&[1, self.take.shape().1 as u64])?[1] / (2 * PANEL_ROWS);
        Ok(Some(steps.into_iter().flat_map(|step| std::iter::repeat_n(step, n_groups)).collect()))
    }

    /// Takes over Q8_0 blocks as they are; blocks of another maker that do not fit are encoded.
    fn repack(
        &self,
        transposed: &[Vec<f32>],
        first: usize,
        n: usize,
        data: &mut [i8],
        scales: &mut [f16],
    ) -> Result<BlockError, QuantizeError> {
        let (_, cols) = self.take.shape();
        let blocks = self.stored_rows(first, n)?;
        match i8_r8k8::pack_q8_0(&blocks, n, cols, data, scales) {
            // Nothing is lost, and what is counts against all of the tensor's values.
            Ok(()) => {
                let x = self.read(transposed, first, n)?;
                let sum_sq = x.iter().map(|&x| f64::from(x).powi(2)).sum();
                Ok(BlockError { sum_sq_error: 0.0, sum_sq })
            }
            Err(EncodeError::NotSymmetric { .. }) => {
                let x = self.read(transposed, first, n)?;
                i8_r8k8::encode_panels(&x, n, cols, self.group, self.scale_search, data, scales)
                    .map_err(|error| self.encode_error(error, first))
            }
            Err(error) => Err(self.encode_error(error, first)),
        }
    }

    /// The bytes of canonical rows `first..first + n` as they are stored.
    fn stored_rows(&self, first: usize, n: usize) -> Result<Vec<u8>, QuantizeError> {
        let mut blocks = Vec::new();
        for row in first..first + n {
            let (piece, row) = self.take.stored_row(row);
            let raw = self.checkpoint.raw(piece.source)?;
            let row_bytes = raw.len() / self.checkpoint.tensors()[piece.source].n_rows();
            blocks.extend_from_slice(&raw[row * row_bytes..][..row_bytes]);
        }
        Ok(blocks)
    }

    fn half(
        &self,
        write: &mut dyn FnMut(&[u8]) -> Result<(), QuantizeError>,
    ) -> Result<f32, QuantizeError> {
        let (rows, cols) = self.take.shape();
        let panel_len = self.planes(&[PANEL_ROWS as u64, cols as u64])?[0] / 2;
        let task_panels = task_panels(cols);
        let batch_panels = task_panels * BATCH_TASKS;
        let n_panels = rows.div_ceil(PANEL_ROWS);
        let mut data = vec![f16::ZERO; n_panels.min(batch_panels) * panel_len];
        let transposed = self.take.transposed(self.checkpoint)?;
        let mut error = BlockError::default();
        for first_panel in (0..n_panels).step_by(batch_panels) {
            let data = &mut data[..(n_panels - first_panel).min(batch_panels) * panel_len];
            let encode =
                data.par_chunks_mut(task_panels * panel_len).enumerate().map(|(task, data)| {
                    let first = (first_panel + task * task_panels) * PANEL_ROWS;
                    let n = (data.len() / panel_len * PANEL_ROWS).min(rows - first);
                    let x = self.read(&transposed, first, n)?;
                    f16_r8k1::encode_panels(&x, n, cols, data)
                        .map_err(|error| self.encode_error(error, first))
                });
            sum(self.install(|| encode.collect()), &mut error)?;
            write(bytemuck::cast_slice(data))?;
        }
        Ok(error.relative())
    }

    fn float(
        &self,
        write: &mut dyn FnMut(&[u8]) -> Result<(), QuantizeError>,
    ) -> Result<f32, QuantizeError> {
        let (rows, cols) = self.take.shape();
        let x = self.read(&self.take.transposed(self.checkpoint)?, 0, rows)?;
        let bytes = kinglet_formats::layout::f32_rows::encode(&x, cols)
            .map_err(|error| self.encode_error(error, 0))?;
        write(bytes)?;
        Ok(0.0)
    }

    fn numbers(
        &self,
        write: &mut dyn FnMut(&[u8]) -> Result<(), QuantizeError>,
    ) -> Result<f32, QuantizeError> {
        let (rows, cols) = self.take.shape();
        let x = self.read(&[], 0, rows)?;
        let bytes = u32_rows::encode(&x, cols).map_err(|error| self.encode_error(error, 0))?;
        write(&bytes)?;
        Ok(0.0)
    }

    /// Canonical rows `first..first + n` as f32.
    fn read(
        &self,
        transposed: &[Vec<f32>],
        first: usize,
        n: usize,
    ) -> Result<Vec<f32>, QuantizeError> {
        let (_, cols) = self.take.shape();
        let mut x = vec![0.0; n * cols];
        self.take.read(self.checkpoint, transposed, first, &mut x)?;
        Ok(x)
    }

    fn planes(&self, dims: &[u64]) -> Result<Vec<usize>, QuantizeError> {
        let planes = plane_lengths(self.layout, dims, self.group)
            .map_err(|error| self.encode_error(error.into(), 0))?;
        planes.lengths().iter().map(|&n| usize::try_from(n)).collect::<Result<_, _>>().map_err(
            |_| {
                let error = LayoutError::Overflow { dims: dims.to_vec() };
                self.encode_error(error.into(), 0)
            },
        )
    }

    fn encode_error(&self, error: EncodeError, first_row: usize) -> QuantizeError {
        QuantizeError::Encode {
            tensor: self.checkpoint.tensors()[self.take.stored_row(first_row).0.source]
                .name
                .clone(),
            source: error.in_tensor_from(first_row),
        }
    }
}

/// The 4-bit type of GGUF in which all of a tensor is stored, if it can be taken over as it is.
pub(crate) fn packed_type(
    take: &Take,
    checkpoint: &dyn Checkpoint,
) -> Option<(i4_r8k16::Packed, DType)> {
    use i4_r8k16::Packed;
    [(Packed::Q4_0, DType::Q4_0), (Packed::Q4_1, DType::Q4_1), (Packed::Q4K, DType::Q4_K)]
        .into_iter()
        .find(|&(_, dtype)| take.whole_rows(checkpoint, dtype))
}

/// The type of GGUF in which all of a tensor is stored, if its values are a step for each 32 times
/// integers that int8 has.
fn stepped_type(take: &Take, checkpoint: &dyn Checkpoint) -> Option<DType> {
    [DType::Q5_0, DType::IQ4_NL, DType::MXFP4]
        .into_iter()
        .find(|&dtype| take.whole_rows(checkpoint, dtype))
}

/// Panels of one task: at least one, so that long rows still make progress.
fn task_panels(cols: usize) -> usize {
    (TASK_WEIGHTS / (PANEL_ROWS * cols)).max(1)
}

/// Adds up in row order; of several errors, the first row's is reported.
fn sum(
    results: Vec<Result<BlockError, QuantizeError>>,
    total: &mut BlockError,
) -> Result<(), QuantizeError> {
    for result in results {
        *total += result?;
    }
    Ok(())
}
