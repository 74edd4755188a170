//! Typed handles of a file's tensors: bound once, read where they lie in the map.

use kinglet_formats::kinglet::{KingletFile, View};

use crate::kernels::{F16Panels, I4Panels, I8Panels, PANEL_ROWS};

/// A weight matrix `[rows, k]` and its bias, by their places in the file's index.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Matrix {
    pub(crate) rows: usize,
    pub(crate) k: usize,
    /// k per activation scale for int8 and 4-bit weights, `None` for fp16.
    pub(crate) group: Option<usize>,
    /// Whether the weights have minima, which meet the sums of activations.
    pub(crate) minima: bool,
    pub(crate) tensor: usize,
    pub(crate) bias: Option<Vector>,
    /// Bytes of the planes.
    pub(crate) bytes: usize,
}

/// The weights of a [`Matrix`], borrowed from the file.
#[derive(Clone, Copy)]
pub(crate) enum Panels<'a> {
    I8(I8Panels<'a>),
    I4(I4Panels<'a>),
    F16(F16Panels<'a>),
}

impl Matrix {
    pub(crate) fn panels<'a>(&self, file: &'a KingletFile) -> Panels<'a> {
        match file.view(self.tensor) {
            View::I8(m) => Panels::I8(I8Panels {
                rows: self.rows,
                padded_k: m.padded_k,
                group: self.group.unwrap_or(m.group),
                data: m.data,
                scales: m.scales,
                whole_row: m.group == m.padded_k && m.group != self.group.unwrap_or(m.group),
            }),
            View::I4(m) => Panels::I4(I4Panels {
                rows: self.rows,
                padded_k: m.padded_k,
                group: m.group,
                data: m.data,
                scales: m.scales,
            }),
            View::F16(m) => Panels::F16(F16Panels {
                rows: self.rows,
                k: self.k,
                panel_stride: PANEL_ROWS * self.k,
                data: m.data,
            }),
            View::F32 { .. } | View::U32 { .. } => {
                unreachable!("only int8, 4-bit and fp16 matrices are bound")
            }
        }
    }
}

/// f32 values of a norm, a bias or a small table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Vector {
    pub(crate) tensor: usize,
}

impl Vector {
    pub(crate) fn values(self, file: &KingletFile) -> &[f32] {
        match file.view(self.tensor) {
            View::F32 { data, .. } => data,
            _ => unreachable!("only f32 vectors are bound"),
        }
    }
}

/// Numbers that count or name something.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Numbers {
    pub(crate) tensor: usize,
}

impl Numbers {
    pub(crate) fn values(self, file: &KingletFile) -> &[u32] {
        match file.view(self.tensor) {
            View::U32 { data } => data,
            _ => unreachable!("only u32 numbers are bound"),
        }
    }
}

/// A matrix `[rows, width]` that is looked up by rows, in any layout of values.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Table {
    pub(crate) tensor: usize,
}

impl Table {
    /// Row `row`, as wide as `out`.
    pub(crate) fn row(self, file: &KingletFile, row: usize, out: &mut [f32]) {
        match file.view(self.tensor) {
            View::I8(m) => m.row(row, out),
            View::I4(m) => m.row(row, out),
            View::F16(m) => m.row(row, out),
            View::F32 { data, .. } => {
                let start = row * out.len();
                out.copy_from_slice(&data[start..start + out.len()]);
            }
            View::U32 { .. } => unreachable!("only tables of values are bound"),
        }
    }
}
