//! Some rows of a weight matrix, copied out of the file into panels of their own: where few of many are
//! wanted, and wanted often.

use half::f16;

use super::{Input, Ops};
use crate::error::Error;
use crate::kernels::{F16Panels, I4Panels, I8Panels, Kernels, PANEL_ROWS, TileMut};
use crate::memory::Room;
use crate::weights::{Matrix, Panels};

/// Bytes of a row in a line of an int8 or 4-bit panel.
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
    I4 { padded_k: usize, group: usize, data: Vec<u8>, scales: Vec<f16> },
    F16(Vec<f16>),
}

impl ChosenRows {
    /// The rows of `matrix` with these numbers, which exist and ascend.
    ///
    /// # Errors
    /// If memory runs out.
    pub(crate) fn new(ops: Ops<'_>, matrix: &Matrix, rows: Vec<u32>) -> Result<Self, Error> {
        let bias = matrix.bias.map(|bias| bias.values(ops.file));
        Self::of(matrix.panels(ops.file), bias, matrix.k, rows)
    }

    fn of(
        panels: Panels<'_>,
        bias: Option<&[f32]>,
        k: usize,
        rows: Vec<u32>,
    ) -> Result<Self, Error> {
        let n_panels = rows.len().div_ceil(PANEL_ROWS);
        let mut room = Room::real();
        let planes = match panels {
            Panels::I8(w) => {
                let panel = PANEL_ROWS * w.padded_k;
                let groups = if w.whole_row { 1 } else { w.padded_k / w.group };
                let mut data: Vec<i8> = room.zeroed(n_panels * panel)?;
                let mut scales: Vec<f16> = room.zeroed(n_panels * PANEL_ROWS * groups)?;
                for (to, &from) in rows.iter().enumerate() {
                    copy_lanes::<_, LINE_COLS>(w.data, from as usize, &mut data, to, panel);
                    let panel = PANEL_ROWS * groups;
                    copy_lanes::<_, 1>(w.scales, from as usize, &mut scales, to, panel);
                }
                let I8Panels { padded_k, group, whole_row, .. } = w;
                Planes::I8 { padded_k, group, whole_row, data, scales }
            }
            Panels::I4(w) => {
                let panel = PANEL_ROWS * w.padded_k / 2;
                let scales_panel = 2 * PANEL_ROWS * w.padded_k / w.group;
                let mut data: Vec<u8> = room.zeroed(n_panels * panel)?;
                let mut scales: Vec<f16> = room.zeroed(n_panels * scales_panel)?;
                for (to, &from) in rows.iter().enumerate() {
                    copy_lanes::<_, LINE_COLS>(w.data, from as usize, &mut data, to, panel);
                    copy_lanes::<_, 1>(w.scales, from as usize, &mut scales, to, scales_panel);
                }
                Planes::I4 { padded_k: w.padded_k, group: w.group, data, scales }
            }
            Panels::F16(w) => {
                let panel = PANEL_ROWS * w.k;
                let mut data: Vec<f16> = room.zeroed(n_panels * panel)?;
                for (to, &from) in rows.iter().enumerate() {
                    copy_lanes::<_, 1>(w.data, from as usize, &mut data, to, panel);
                }
                Planes::F16(data)
            }
        };
        let bias = bias.iter().flat_map(|all| rows.iter().map(|&row| all[row as usize])).collect();
        Ok(Self { rows, k, planes, bias })
    }

    /// The numbers of the rows.
    pub(crate) fn rows(&self) -> &[u32] {
        &self.rows
    }

    /// `out = input rows row .. row + m @ chosen rows^T + bias`, `[m][chosen]`, with the bits of the
    /// product with the whole matrix.
    pub(crate) fn multiply(
        &self,
        kernels: &Kernels,
        input: &Input<'_>,
        row: usize,
        out: &mut [f32],
    ) {
        let n = self.rows.len();
        let m = out.len() / n.max(1);
        if m == 0 {
            return;
        }
        let mut tile = TileMut::new(out, n);
        match &self.planes {
            &Planes::I8 { padded_k, group, whole_row, ref data, ref scales } => {
                let w = I8Panels { rows: n, padded_k, group, data, scales, whole_row };
                (kernels.gemm_i8)(&w, 0, &input.quantized(row, m), &mut tile);
            }
            &Planes::I4 { padded_k, group, ref data, ref scales } => {
                let w = I4Panels { rows: n, padded_k, group, data, scales };
                (kernels.gemm_i4)(&w, 0, &input.quantized(row, m), &mut tile);
            }
            Planes::F16(data) => {
                let panel_stride = PANEL_ROWS * self.k;
                let w = F16Panels { rows: n, k: self.k, panel_stride, data };
                (kernels.gemm_f16)(&w, 0, &input.floats(row, m), &mut tile);
            }
        }
        if !self.bias.is_empty() {
            out.chunks_exact_mut(n).for_each(|row| (kernels.add)(row, &self.bias));
        }
    }
}

/// Copies row `from` of one plane of panels to row `to` of another. A panel of `panel` elements has in
/// turns `WIDTH` elements of each of its rows, which is a constant so that no call is made for a few bytes.
fn copy_lanes<T: Copy, const WIDTH: usize>(
    source: &[T],
    from: usize,
    target: &mut [T],
    to: usize,
    panel: usize,
) {
    let of = |row: usize| (row / PANEL_ROWS * panel, row % PANEL_ROWS * WIDTH);
    let ((from, from_lane), (to, to_lane)) = (of(from), of(to));
    let lines = source[from..from + panel].chunks_exact(PANEL_ROWS * WIDTH);
    let targets = target[to..to + panel].chunks_exact_mut(PANEL_ROWS * WIDTH);
    for (line, target) in lines.zip(targets) {
        target[to_lane..to_lane + WIDTH].copy_from_slice(&line[from_lane..from_lane + WIDTH]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::available;

    const ROWS: usize = 43;
    const K: usize = 96;
    const GROUP: usize = 32;
    const M: usize = 3;

    /// Made-up integers.
    fn number(i: usize) -> i32 {
        (i as u32).wrapping_mul(2_654_435_761).rotate_left(7) as i32 >> 24
    }

    /// Each output has the bits that it has in the product with all rows.
    #[test]
    fn chosen_rows_give_the_bits_of_all() {
        let n_panels = ROWS.div_ceil(PANEL_ROWS);
        let len = n_panels * PANEL_ROWS * K;
        let data: Vec<i8> = (0..len).map(|i| number(i).max(-127) as i8).collect();
        let halves: Vec<f16> = (0..len).map(|i| f16::from_f32(number(i) as f32 / 64.0)).collect();
        let bias: Vec<f32> = (0..ROWS).map(|i| number(i + 5) as f32 / 3.0).collect();
        let x: Vec<f32> = (0..M * K).map(|i| number(i + 9) as f32 / 37.0).collect();
        let rows = vec![0, 1, 7, 8, 17, 30, 40, 42];
        for kernels in available() {
            const STRIDE: usize = 2 * K / GROUP;
            let (mut q, mut x_scales) = (vec![0; M * K], vec![0.0; M * STRIDE]);
            for t in 0..M {
                let x = &x[t * K..][..K];
                let (scales, sums) = x_scales[t * STRIDE..][..STRIDE].split_at_mut(K / GROUP);
                (kernels.quantize_row)(x, GROUP, &mut q[t * K..][..K], scales);
                (kernels.group_sums)(x, GROUP, sums);
            }
            let input = |group| Input {
                m: M,
                k: K,
                stride: K,
                x: &x,
                padded_k: K,
                group,
                q: &q,
                scale_stride: STRIDE,
                scales: &x_scales,
            };
            for whole_row in [false, true] {
                let n = n_panels * PANEL_ROWS * if whole_row { 1 } else { K / GROUP };
                let scales: Vec<f16> =
                    (0..n).map(|i| f16::from_f32(number(i + 3) as f32 / 999.0)).collect();
                let (data, scales) = (&data[..], &scales[..]);
                let w = I8Panels { rows: ROWS, padded_k: K, group: GROUP, data, scales, whole_row };
                let nibbles: &[u8] = bytemuck::cast_slice(&data[..data.len() / 2]);
                let (data, scales) = (nibbles, &halves[..n_panels * PANEL_ROWS * STRIDE]);
                let four = I4Panels { rows: ROWS, padded_k: K, group: GROUP, data, scales };
                let f = F16Panels { rows: ROWS, k: K, panel_stride: PANEL_ROWS * K, data: &halves };
                for panels in [Panels::I8(w), Panels::I4(four), Panels::F16(f)] {
                    let input = input(GROUP);
                    let mut all = vec![0.0; M * ROWS];
                    let mut tile = TileMut::new(&mut all, ROWS);
                    match panels {
                        Panels::I8(w) => {
                            (kernels.gemm_i8)(&w, 0, &input.quantized(0, M), &mut tile);
                        }
                        Panels::I4(w) => {
                            (kernels.gemm_i4)(&w, 0, &input.quantized(0, M), &mut tile);
                        }
                        Panels::F16(w) => {
                            (kernels.gemm_f16)(&w, 0, &input.floats(0, M), &mut tile);
                        }
                    }
                    all.chunks_exact_mut(ROWS).for_each(|row| (kernels.add)(row, &bias));
                    let chosen = ChosenRows::of(panels, Some(&bias), K, rows.clone()).unwrap();
                    // Two of the rows, from the second on.
                    let mut out = vec![0.0; 2 * rows.len()];
                    chosen.multiply(kernels, &input, 1, &mut out);
                    for (t, out) in out.chunks_exact(rows.len()).enumerate() {
                        for (&row, found) in rows.iter().zip(out) {
                            let expected = all[(t + 1) * ROWS + row as usize];
                            assert_eq!(found.to_bits(), expected.to_bits(), "{}", kernels.name);
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn lanes_go_where_they_belong() {
        // Two panels of two lines, two elements a row.
        let source: Vec<i8> = (0..64).collect();
        let mut target = vec![0; 32];
        copy_lanes::<_, 2>(&source, 9, &mut target, 1, 32);
        let expected = |at| match at {
            2 | 3 => 32 + at,
            18 | 19 => 32 + at,
            _ => 0,
        };
        assert_eq!(target, (0..32).map(expected).collect::<Vec<i8>>());
    }
}
