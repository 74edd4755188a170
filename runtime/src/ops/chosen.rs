//! Some rows of a weight matrix, copied out of the file into panels of their own: where few of many are
//! wanted, and wanted often.

use half::f16;

use super::{Input, Ops};
use crate::error::Error;
use crate::kernels::{F16Panels, I8Panels, PANEL_ROWS, TileMut};
use crate::memory::Room;
use crate::weights::{Matrix, Panels};

/// Bytes of a row in a line of an int8 panel.
const LINE_COLS: usize = 8;

/// Chosen rows of a matrix, with their biases.
#[derive(Clone, Debug)]
pub(crate) struct ChosenRows {
    /// Which rows, ascending.
    rows: Vec<u32>,
    k: usize,
    planes: Planes,
    /// `[rows]`, or nothing.
    bias: Vec<f32>,
}

#[derive(Clone, Debug)]
enum Planes {
    I8 { padded_k: usize, group: usize, whole_row: bool, data: Vec<i8>, scales: Vec<f16> },
    F16(Vec<f16>),
}

impl ChosenRows {
    /// The rows of `matrix` with these numbers, which exist and ascend.
    ///
    /// # Errors
    /// If memory runs out.
    pub(crate) fn new(ops: Ops<'_>, matrix: &Matrix, rows: Vec<u32>) -> Result<Self, Error> {
        let n_panels = rows.len().div_ceil(PANEL_ROWS);
        let mut room = Room::real();
        let planes = match matrix.panels(ops.file) {
            Panels::I8(w) => {
                let panel = PANEL_ROWS * w.padded_k;
                let groups = if w.whole_row { 1 } else { w.padded_k / w.group };
                let mut data: Vec<i8> = room.zeroed(n_panels * panel)?;
                let mut scales: Vec<f16> = room.zeroed(n_panels * PANEL_ROWS * groups)?;
                for (to, &from) in rows.iter().enumerate() {
                    copy_lanes(w.data, from as usize, &mut data, to, (panel, LINE_COLS));
                    let panel = PANEL_ROWS * groups;
                    copy_lanes(w.scales, from as usize, &mut scales, to, (panel, 1));
                }
                let I8Panels { padded_k, group, whole_row, .. } = w;
                Planes::I8 { padded_k, group, whole_row, data, scales }
            }
            Panels::F16(w) => {
                let panel = PANEL_ROWS * w.k;
                let mut data: Vec<f16> = room.zeroed(n_panels * panel)?;
                for (to, &from) in rows.iter().enumerate() {
                    copy_lanes(w.data, from as usize, &mut data, to, (panel, 1));
                }
                Planes::F16(data)
            }
        };
        let bias = matrix.bias.map(|bias| bias.values(ops.file));
        let bias = bias.iter().flat_map(|all| rows.iter().map(|&row| all[row as usize])).collect();
        Ok(Self { rows, k: matrix.k, planes, bias })
    }

    /// The numbers of the rows.
    pub(crate) fn rows(&self) -> &[u32] {
        &self.rows
    }

    /// `out = input rows row .. row + m @ chosen rows^T + bias`, `[m][chosen]`, with the bits of the
    /// product with the whole matrix.
    pub(crate) fn multiply(&self, ops: Ops<'_>, input: &Input<'_>, row: usize, out: &mut [f32]) {
        let n = self.rows.len();
        let m = out.len() / n.max(1);
        if m == 0 {
            return;
        }
        let mut tile = TileMut::new(out, n);
        match &self.planes {
            &Planes::I8 { padded_k, group, whole_row, ref data, ref scales } => {
                let w = I8Panels { rows: n, padded_k, group, data, scales, whole_row };
                (ops.kernels.gemm_i8)(&w, 0, &input.quantized(row, m), &mut tile);
            }
            Planes::F16(data) => {
                let panel_stride = PANEL_ROWS * self.k;
                let w = F16Panels { rows: n, k: self.k, panel_stride, data };
                (ops.kernels.gemm_f16)(&w, 0, &input.floats(row, m), &mut tile);
            }
        }
        if !self.bias.is_empty() {
            out.chunks_exact_mut(n).for_each(|row| (ops.kernels.add)(row, &self.bias));
        }
    }
}

/// Copies row `from` of one plane of panels to row `to` of another. A panel of `panel` elements has in
/// turns `width` elements of each of its rows.
fn copy_lanes<T: Copy>(
    source: &[T],
    from: usize,
    target: &mut [T],
    to: usize,
    (panel, width): (usize, usize),
) {
    let of = |row: usize| (row / PANEL_ROWS * panel, row % PANEL_ROWS * width);
    let ((from, from_lane), (to, to_lane)) = (of(from), of(to));
    let lines = source[from..from + panel].chunks_exact(PANEL_ROWS * width);
    let targets = target[to..to + panel].chunks_exact_mut(PANEL_ROWS * width);
    for (line, target) in lines.zip(targets) {
        target[to_lane..to_lane + width].copy_from_slice(&line[from_lane..from_lane + width]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_go_where_they_belong() {
        // Two panels of two lines, two elements a row.
        let source: Vec<i8> = (0..64).collect();
        let mut target = vec![0; 32];
        copy_lanes(&source, 9, &mut target, 1, (32, 2));
        let expected = |at| match at {
            2 | 3 => 32 + at,
            18 | 19 => 32 + at,
            _ => 0,
        };
        assert_eq!(target, (0..32).map(expected).collect::<Vec<i8>>());
    }
}
