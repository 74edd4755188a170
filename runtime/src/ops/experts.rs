//! Experts: feed-forward blocks of which each row passes through a few (arXiv:2101.03961).
//!
//! Pairs of a row and one of its experts are sorted by expert, so that an expert's weights are
//! read once for all its rows; a region's items are tiles of one expert.

use bytemuck::Zeroable;
use kinglet_formats::spec::{Activation, Experts};

use super::product::multiply;
use super::{Context, QuantizeScratch, ROWS_PER_ITEM, WorkerScratch};
use crate::error::Error;
use crate::kernels::PANEL_ROWS;
use crate::memory::Room;
use crate::team::RowRuns;
use crate::weights::Matrix;

/// Rows of one expert in a tile.
const TILE_ROWS: usize = 32;
/// Columns in a tile, at most.
const TILE_COLS: usize = 128;

/// The matrices of all experts, one after another.
#[derive(Debug)]
pub(crate) struct ExpertWeights {
    pub(crate) n_experts: usize,
    /// Experts for each row.
    pub(crate) n_used: usize,
    activation: Activation,
    renormalize: bool,
    /// `[n_experts * inner, hidden]`
    gate: Matrix,
    up: Matrix,
    /// `[n_experts * hidden, inner]`
    down: Matrix,
}

impl ExpertWeights {
    /// `None` unless every expert begins in a panel of its own.
    pub(crate) fn new(experts: &Experts, gate: Matrix, up: Matrix, down: Matrix) -> Option<Self> {
        let begins = gate.k.is_multiple_of(PANEL_ROWS) && down.k.is_multiple_of(PANEL_ROWS);
        begins.then_some(Self {
            n_experts: experts.n_experts,
            n_used: experts.n_used,
            activation: experts.activation,
            renormalize: experts.renormalize,
            gate,
            up,
            down,
        })
    }

    /// Columns between an expert's projections.
    pub(crate) fn inner(&self) -> usize {
        self.down.k
    }

    /// Bytes of weights read for one row.
    pub(crate) fn bytes_used(&self) -> usize {
        (self.gate.bytes + self.up.bytes + self.down.bytes) / self.n_experts * self.n_used
    }

    /// Gives each row of `x` `[m][hidden]` to its experts, by the router's `logits`
    /// `[m][n_experts]`, which are overwritten; their weighted sum becomes `out` `[m][hidden]`, or
    /// is added to it.
    #[allow(clippy::too_many_arguments, reason = "buffers that a step owns one by one")]
    pub(crate) fn run(
        &self,
        ctx: &Context<'_>,
        x: &[f32],
        logits: &mut [f32],
        scratch: &mut ExpertRows,
        workers: &mut [WorkerScratch],
        out: &mut [f32],
        add: bool,
    ) {
        let ops = ctx.ops;
        let (hidden, inner) = (self.gate.k, self.inner());
        let m = x.len() / hidden;
        scratch.choose(self, logits, m);
        let n_pairs = m * self.n_used;
        let ExpertRows { pairs, runs, of_row, gathered, mid, quantized, .. } = scratch;
        let (gathered, mid) = (&mut gathered[..n_pairs * hidden], &mut mid[..n_pairs * inner]);
        let pairs = &pairs[..n_pairs];

        let copy = |pair: usize, row: &mut [f32]| {
            row.copy_from_slice(&x[pairs[pair].row as usize * hidden..][..hidden]);
        };
        let input = quantized.made_input(ctx, gathered, &[self.gate, self.up], copy);
        let block = tile_cols(inner);
        ctx.crew.row_tiles(workers, mid, (inner, block), runs, |worker, rows, column, mut tile| {
            let expert = pairs[rows.start].expert as usize;
            let panel = (expert * inner + column * block) / PANEL_ROWS;
            multiply(ops, &self.gate, panel, &input, rows.start, &mut tile);
            let mut up = worker.tile(tile.rows(), tile.cols());
            multiply(ops, &self.up, panel, &input, rows.start, &mut up);
            for r in 0..tile.rows() {
                (ops.kernels.activate)(self.activation, tile.row(r));
                (ops.kernels.mul)(tile.row(r), up.row(r));
            }
        });

        let input = quantized.input(ctx, mid, &[self.down]);
        let block = tile_cols(hidden);
        let results = gathered;
        let widths = (hidden, block);
        ctx.crew.row_tiles(workers, results, widths, runs, |_, rows, column, mut tile| {
            let expert = pairs[rows.start].expert as usize;
            let panel = (expert * hidden + column * block) / PANEL_ROWS;
            multiply(ops, &self.down, panel, &input, rows.start, &mut tile);
            for r in 0..tile.rows() {
                (ops.kernels.scale)(tile.row(r), pairs[rows.start + r].weight);
            }
        });

        let (results, of_row) = (&*results, &of_row[..n_pairs]);
        ctx.crew.rows(&mut out[..m * hidden], hidden, ROWS_PER_ITEM, |first, out| {
            for (row, out) in (first..).zip(out.chunks_exact_mut(hidden)) {
                if !add {
                    out.fill(0.0);
                }
                for &pair in &of_row[row * self.n_used..][..self.n_used] {
                    (ops.kernels.add)(out, &results[pair as usize * hidden..][..hidden]);
                }
            }
        });
    }
}

/// Columns in a tile: a divisor of `width`, which is a multiple of 8.
fn tile_cols(width: usize) -> usize {
    let sizes = (1..=TILE_COLS / PANEL_ROWS).rev().map(|panels| panels * PANEL_ROWS);
    sizes.into_iter().find(|&cols| width.is_multiple_of(cols)).unwrap_or(PANEL_ROWS)
}

/// A row and one of its experts.
#[derive(Clone, Copy, Debug, Zeroable)]
#[repr(C)]
struct Pair {
    expert: u32,
    row: u32,
    weight: f32,
}

/// Buffers for rows at their experts.
#[derive(Debug, Default)]
pub(crate) struct ExpertRows {
    /// Sorted by expert, then row.
    pairs: Vec<Pair>,
    /// Tiles of pairs of one expert.
    runs: RowRuns,
    /// `[m][n_used]` pairs of each row.
    of_row: Vec<u32>,
    /// `[m]` pairs of each row found so far.
    next: Vec<u32>,
    /// `[pairs][hidden]`
    gathered: Vec<f32>,
    /// `[pairs][inner]`
    mid: Vec<f32>,
    quantized: QuantizeScratch,
}

impl ExpertRows {
    /// Room for `m` rows with `n_used` experts each.
    pub(crate) fn new(
        m: usize,
        n_experts: usize,
        n_used: usize,
        hidden: usize,
        inner: usize,
        room: &mut Room,
    ) -> Result<Self, Error> {
        let n = m.saturating_mul(n_used);
        if n == 0 {
            return Ok(Self::default());
        }
        Ok(Self {
            pairs: room.zeroed(n)?,
            runs: RowRuns::with_capacity(n_experts + n / TILE_ROWS + 1),
            of_row: room.zeroed(n)?,
            next: room.zeroed(m)?,
            gathered: room.zeroed(n.saturating_mul(hidden))?,
            mid: room.zeroed(n.saturating_mul(inner))?,
            quantized: QuantizeScratch::new(n, hidden.max(inner), room)?,
        })
    }

    /// Softmax over all experts, then the largest `n_used` of each row; of equal ones the first.
    fn choose(&mut self, experts: &ExpertWeights, logits: &mut [f32], m: usize) {
        let (n, k) = (experts.n_experts, experts.n_used);
        let pairs = &mut self.pairs[..m * k];
        for (row, (logits, pairs)) in
            logits[..m * n].chunks_exact_mut(n).zip(pairs.chunks_exact_mut(k)).enumerate()
        {
            let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            logits.iter_mut().for_each(|x| *x = (*x - max).exp());
            let sum: f32 = logits.iter().sum();
            let mut used = 0.0;
            for pair in pairs.iter_mut() {
                let mut best = 0;
                for (i, &x) in logits.iter().enumerate() {
                    if x > logits[best] || logits[best].is_nan() {
                        best = i;
                    }
                }
                *pair = Pair { expert: best as u32, row: row as u32, weight: logits[best] / sum };
                used += pair.weight;
                logits[best] = f32::NEG_INFINITY;
            }
            if experts.renormalize {
                pairs.iter_mut().for_each(|pair| pair.weight /= used);
            }
        }
        pairs.sort_unstable_by_key(|pair| (pair.expert, pair.row));
        self.runs.clear();
        for same in pairs.chunk_by(|a, b| a.expert == b.expert) {
            self.runs.extend(same.len(), TILE_ROWS);
        }
        // Experts ascend, and so do the pairs of each row.
        let (of_row, next) = (&mut self.of_row[..m * k], &mut self.next[..m]);
        next.fill(0);
        for (i, pair) in (0..).zip(&*pairs) {
            let row = pair.row as usize;
            of_row[row * k + next[row] as usize] = i;
            next[row] += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_divide_the_width() {
        for (width, cols) in [(8, 8), (64, 64), (176, 88), (1024, 128), (2048, 128), (1096, 8)] {
            assert_eq!(tile_cols(width), cols);
        }
    }
}
