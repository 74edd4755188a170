//! Matrix products of a batch of tokens with weights in the file, tile by tile.

use std::ops::RangeInclusive;

use super::{Context, Input, Ops, WorkerScratch};
use crate::kernels::{PANEL_ROWS, TileMut};
use crate::team::{ColumnBlock, Columns};
use crate::weights::{Matrix, Panels};

/// Tokens in a tile of a batched product: as many as keep all threads busy, as some kernels prepare
/// the weights once for each tile.
pub(super) const TILE_TOKENS: [usize; 2] = [128, 64];
/// Tiles for each thread of a batched product, so that none waits long for the last.
const TILES_PER_THREAD: usize = 8;
/// Columns in a tile of a batched product.
pub(super) const TILE_COLS: usize = 64;
/// Work items of a product with few tokens, for each thread: long runs, as memory is read fastest
/// when each thread has a stream of its own, but more than one, for the one that comes late.
const ITEMS_PER_THREAD: usize = 2;
/// Weight bytes in a work item of a product with few tokens.
const ITEM_BYTES: RangeInclusive<usize> = 24 << 10..=384 << 10;
/// Panels in such an item, at most.
pub(super) const MAX_ITEM_PANELS: usize = 128;
/// Up to this many tokens, weights are cut finely, as reading them takes the time.
pub(super) const FEW_TOKENS: usize = 8;

/// Columns of `matrix` of which the weights have about `item_bytes`.
fn block_cols(matrix: &Matrix, item_bytes: usize) -> usize {
    let panel_bytes = matrix.bytes / matrix.rows.div_ceil(PANEL_ROWS).max(1);
    (item_bytes / panel_bytes.max(1)).clamp(1, MAX_ITEM_PANELS) * PANEL_ROWS
}

/// Matrices with the same input, computed in one region, outputs side by side.
#[derive(Clone, Debug)]
pub(crate) struct Linears {
    parts: Vec<Matrix>,
    few: Columns,
    many: Columns,
}

impl Linears {
    pub(crate) fn new(parts: Vec<Matrix>, n_threads: usize) -> Self {
        let bytes: usize = parts.iter().map(|p| p.bytes).sum();
        let item_bytes = bytes / (ITEMS_PER_THREAD * n_threads);
        let item_bytes = item_bytes.clamp(*ITEM_BYTES.start(), *ITEM_BYTES.end());
        let few: Vec<_> = parts.iter().map(|p| (p.rows, block_cols(p, item_bytes))).collect();
        let many: Vec<_> = parts.iter().map(|p| (p.rows, TILE_COLS)).collect();
        Self { few: Columns::new(&few), many: Columns::new(&many), parts }
    }

    /// Output columns in all.
    pub(crate) fn width(&self) -> usize {
        self.few.width()
    }

    /// Bytes of all weights.
    pub(crate) fn bytes(&self) -> usize {
        self.parts.iter().map(|p| p.bytes).sum()
    }

    pub(crate) fn parts(&self) -> &[Matrix] {
        &self.parts
    }

    /// Computes `out = finish(input @ weights^T + bias)`, `out` `[m][width]`, tile by tile.
    pub(crate) fn apply_then(
        &self,
        ctx: &Context<'_>,
        input: &Input<'_>,
        scratch: &mut [WorkerScratch],
        out: &mut [f32],
        finish: impl Fn(&mut TileMut<'_>) + Sync,
    ) {
        let ops = ctx.ops;
        let (columns, tile_tokens) = self.tiling(input.m, ctx.crew.n_threads());
        ctx.crew.tiles(scratch, out, tile_tokens, columns, |_, row, block, mut out| {
            product(ops, &self.parts[block.part], input, row, block, &mut out);
            finish(&mut out);
        });
    }

    /// Computes `out = input @ weights^T + bias`, `out` `[m][width]`.
    pub(crate) fn apply(
        &self,
        ctx: &Context<'_>,
        input: &Input<'_>,
        scratch: &mut [WorkerScratch],
        out: &mut [f32],
    ) {
        self.apply_then(ctx, input, scratch, out, |_| {});
    }

    /// Computes `out += input @ weights^T + bias`.
    pub(crate) fn accumulate(
        &self,
        ctx: &Context<'_>,
        input: &Input<'_>,
        scratch: &mut [WorkerScratch],
        out: &mut [f32],
    ) {
        let ops = ctx.ops;
        let (columns, tile_tokens) = self.tiling(input.m, ctx.crew.n_threads());
        ctx.crew.tiles(scratch, out, tile_tokens, columns, |scratch, row, block, mut out| {
            let mut tile = scratch.tile(out.rows(), out.cols());
            product(ops, &self.parts[block.part], input, row, block, &mut tile);
            for r in 0..out.rows() {
                (ops.kernels.add)(out.row(r), tile.row(r));
            }
        });
    }

    /// Blocks of columns and tokens in a tile for `m` tokens.
    fn tiling(&self, m: usize, n_threads: usize) -> (&Columns, usize) {
        if m <= FEW_TOKENS {
            return (&self.few, m.max(1));
        }
        let [large, small] = TILE_TOKENS;
        let n_tiles = m.div_ceil(large) * self.many.n_blocks();
        let tokens = if n_tiles >= TILES_PER_THREAD * n_threads { large } else { small };
        (&self.many, tokens)
    }
}

/// Two matrices of the same shape and input, `combine(first, second)` being the output.
#[derive(Clone, Debug)]
pub(crate) struct PairedLinears {
    first: Linears,
    second: Matrix,
}

impl PairedLinears {
    pub(crate) fn new(first: Matrix, second: Matrix, n_threads: usize) -> Self {
        Self { first: Linears::new(vec![first], n_threads), second }
    }

    pub(crate) fn parts(&self) -> [Matrix; 2] {
        [self.first.parts[0], self.second]
    }

    /// `out = combine(first(input), second(input))`, row by row of a tile.
    pub(crate) fn apply(
        &self,
        ctx: &Context<'_>,
        input: &Input<'_>,
        scratch: &mut [WorkerScratch],
        out: &mut [f32],
        combine: impl Fn(&mut [f32], &[f32]) + Sync,
    ) {
        let ops = ctx.ops;
        let (columns, tile_tokens) = self.first.tiling(input.m, ctx.crew.n_threads());
        ctx.crew.tiles(scratch, out, tile_tokens, columns, |scratch, row, block, mut out| {
            product(ops, &self.first.parts[0], input, row, block, &mut out);
            let mut tile = scratch.tile(out.rows(), out.cols());
            product(ops, &self.second, input, row, block, &mut tile);
            for r in 0..out.rows() {
                combine(out.row(r), tile.row(r));
            }
        });
    }
}

/// Products and bias of one tile: tokens from `row` on, columns of `block`.
fn product(
    ops: Ops<'_>,
    part: &Matrix,
    input: &Input<'_>,
    row: usize,
    block: &ColumnBlock,
    out: &mut TileMut<'_>,
) {
    let m = out.rows();
    multiply(ops, part, block.part_col / PANEL_ROWS, input, row, out);
    if let Some(bias) = part.bias {
        let bias = &bias.values(ops.file)[block.part_col..block.part_col + block.cols];
        for r in 0..m {
            (ops.kernels.add)(out.row(r), bias);
        }
    }
}

/// `out = input rows row .. @ weight rows 8 * panel ..^T`, as many of both as `out` has.
pub(super) fn multiply(
    ops: Ops<'_>,
    matrix: &Matrix,
    panel: usize,
    input: &Input<'_>,
    row: usize,
    out: &mut TileMut<'_>,
) {
    let m = out.rows();
    match matrix.panels(ops.file) {
        Panels::I8(w) => (ops.kernels.gemm_i8)(&w, panel, &input.quantized(row, m), out),
        Panels::I4(w) => (ops.kernels.gemm_i4)(&w, panel, &input.quantized(row, m), out),
        Panels::F16(w) => (ops.kernels.gemm_f16)(&w, panel, &input.floats(row, m), out),
    }
}
