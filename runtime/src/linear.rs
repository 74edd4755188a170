//! Matrix products of a batch of tokens with weights in the file.

use std::ops::RangeInclusive;

use kinglet_formats::kinglet::{KingletFile, View};

use crate::error::Error;
use crate::forward::AttentionScratch;
use crate::kernels::{F16Panels, FloatRows, I8Panels, Kernels, PANEL_ROWS, QuantizedRows, TileMut};
use crate::memory::Room;
use crate::team::{ColumnBlock, Columns, Crew};

/// Tokens in a tile of a batched product: as many as keep all threads busy, as some kernels prepare
/// the weights once for each tile.
const TILE_TOKENS: [usize; 2] = [128, 64];
/// Tiles for each thread of a batched product, so that none waits long for the last.
const TILES_PER_THREAD: usize = 8;
/// Columns in a tile of a batched product.
const TILE_COLS: usize = 64;
/// Work items of a product with few tokens, for each thread: long runs, as memory is read fastest
/// when each thread has a stream of its own, but more than one, for the one that comes late.
const ITEMS_PER_THREAD: usize = 2;
/// Weight bytes in a work item of a product with few tokens.
const ITEM_BYTES: RangeInclusive<usize> = 24 << 10..=384 << 10;
/// Panels in such an item, at most.
const MAX_ITEM_PANELS: usize = 128;
/// Up to this many tokens, weights are cut finely, as reading them takes the time.
const FEW_TOKENS: usize = 8;

/// What the leader of a step needs at hand.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) crew: &'a Crew<'a>,
    pub(crate) ops: Ops<'a>,
}

/// What every thread of a step needs at hand.
#[derive(Clone, Copy)]
pub(crate) struct Ops<'a> {
    pub(crate) kernels: &'static Kernels,
    pub(crate) file: &'a KingletFile,
}

/// A weight matrix `[rows, k]` and its bias, by their places in the file's index.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Linear {
    pub(crate) rows: usize,
    pub(crate) k: usize,
    /// k per activation scale for int8 weights, `None` for fp16.
    pub(crate) group: Option<usize>,
    pub(crate) weight: usize,
    pub(crate) bias: Option<usize>,
    /// Bytes of the planes.
    pub(crate) bytes: usize,
}

/// The weights of a [`Linear`], borrowed from the file.
#[derive(Clone, Copy)]
pub(crate) enum Panels<'a> {
    I8(I8Panels<'a>),
    F16(F16Panels<'a>),
}

impl Linear {
    pub(crate) fn panels<'a>(&self, file: &'a KingletFile) -> Panels<'a> {
        match file.view(self.weight) {
            View::I8(m) => Panels::I8(I8Panels {
                rows: self.rows,
                padded_k: m.padded_k,
                group: self.group.unwrap_or(m.group),
                data: m.data,
                scales: m.scales,
                whole_row: m.group == m.padded_k && m.group != self.group.unwrap_or(m.group),
            }),
            View::F16(m) => Panels::F16(F16Panels {
                rows: self.rows,
                k: self.k,
                panel_stride: PANEL_ROWS * self.k,
                data: m.data,
            }),
            View::F32 { .. } => unreachable!("the plan admits int8 and fp16 matrices only"),
        }
    }

    /// Columns of which the weights have about `item_bytes`.
    fn block_cols(&self, item_bytes: usize) -> usize {
        let panel_bytes = self.bytes / self.rows.div_ceil(PANEL_ROWS).max(1);
        (item_bytes / panel_bytes.max(1)).clamp(1, MAX_ITEM_PANELS) * PANEL_ROWS
    }
}

/// f32 values of a norm, bias or small table in the file.
pub(crate) fn floats(file: &KingletFile, tensor: usize) -> &[f32] {
    match file.view(tensor) {
        View::F32 { data, .. } => data,
        _ => unreachable!("the plan admits f32 vectors only"),
    }
}

/// Matrices with the same input, computed in one region, outputs side by side.
#[derive(Clone, Debug)]
pub(crate) struct Linears {
    parts: Vec<Linear>,
    few: Columns,
    many: Columns,
}

impl Linears {
    pub(crate) fn new(parts: Vec<Linear>, n_threads: usize) -> Self {
        let bytes: usize = parts.iter().map(|p| p.bytes).sum();
        let item_bytes = bytes / (ITEMS_PER_THREAD * n_threads);
        let item_bytes = item_bytes.clamp(*ITEM_BYTES.start(), *ITEM_BYTES.end());
        let few: Vec<_> = parts.iter().map(|p| (p.rows, p.block_cols(item_bytes))).collect();
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

    pub(crate) fn parts(&self) -> &[Linear] {
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
    second: Linear,
}

impl PairedLinears {
    pub(crate) fn new(first: Linear, second: Linear, n_threads: usize) -> Self {
        Self { first: Linears::new(vec![first], n_threads), second }
    }

    pub(crate) fn parts(&self) -> [Linear; 2] {
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
    part: &Linear,
    input: &Input<'_>,
    row: usize,
    block: &ColumnBlock,
    out: &mut TileMut<'_>,
) {
    let m = out.rows();
    let panel = block.part_col / PANEL_ROWS;
    match part.panels(ops.file) {
        Panels::I8(w) => (ops.kernels.gemm_i8)(&w, panel, &input.quantized(row, m), out),
        Panels::F16(w) => (ops.kernels.gemm_f16)(&w, panel, &input.floats(row, m), out),
    }
    if let Some(bias) = part.bias {
        let bias = &floats(ops.file, bias)[block.part_col..block.part_col + block.cols];
        for r in 0..m {
            (ops.kernels.add)(out.row(r), bias);
        }
    }
}

/// Scratch of one thread.
#[derive(Clone, Debug, Default)]
pub(crate) struct WorkerScratch {
    tile: Vec<f32>,
    pub(crate) attention: AttentionScratch,
}

impl WorkerScratch {
    /// Room for the largest tile of any product.
    pub(crate) fn new(attention: AttentionScratch, room: &mut Room) -> Result<Self, Error> {
        let few = FEW_TOKENS * MAX_ITEM_PANELS * PANEL_ROWS;
        let many = TILE_TOKENS[0] * TILE_COLS;
        Ok(Self { tile: room.zeroed(few.max(many))?, attention })
    }

    fn tile(&mut self, rows: usize, cols: usize) -> TileMut<'_> {
        TileMut::new(&mut self.tile[..rows * cols], cols)
    }
}

/// The input of a product, `[m][k]`, quantized where the weights call for it.
#[derive(Clone, Copy)]
pub(crate) struct Input<'a> {
    m: usize,
    k: usize,
    x: &'a [f32],
    padded_k: usize,
    group: usize,
    q: &'a [i16],
    scales: &'a [f32],
}

impl<'a> Input<'a> {
    fn quantized(&self, row: usize, m: usize) -> QuantizedRows<'a> {
        let n_groups = self.padded_k / self.group;
        QuantizedRows {
            m,
            padded_k: self.padded_k,
            group: self.group,
            q: &self.q[row * self.padded_k..(row + m) * self.padded_k],
            scales: &self.scales[row * n_groups..(row + m) * n_groups],
        }
    }

    fn floats(&self, row: usize, m: usize) -> FloatRows<'a> {
        FloatRows { m, k: self.k, stride: self.k, x: &self.x[row * self.k..(row + m) * self.k] }
    }
}

/// Room for a quantized input.
#[derive(Clone, Debug, Default)]
pub(crate) struct QuantizeScratch {
    q: Vec<i16>,
    scales: Vec<f32>,
}

impl QuantizeScratch {
    /// Room for `m` tokens of up to `k` values in groups of 32 or more.
    pub(crate) fn new(m: usize, k: usize, room: &mut Room) -> Result<Self, Error> {
        let q = room.zeroed(m * k.next_multiple_of(128))?;
        Ok(Self { q, scales: room.zeroed(m * k.div_ceil(32))? })
    }

    /// Quantizes `x` `[m][k]` if any of `parts` has int8 weights.
    pub(crate) fn input<'a>(
        &'a mut self,
        ctx: &Context<'_>,
        x: &'a [f32],
        parts: &[Linear],
    ) -> Input<'a> {
        let (k, group) = (parts[0].k, parts.iter().find_map(|p| p.group));
        let kernels = ctx.ops.kernels;
        if let Some(group) = group {
            let (q, scales) = self.planes(x.len() / k, k, group);
            ctx.crew.row_pairs(q, scales, rows_per_item(x.len() / k), |first, q, scales| {
                let x = x[first * k..].chunks_exact(k);
                let out = rows(q, k.next_multiple_of(group)).zip(rows(scales, k.div_ceil(group)));
                for (x, (q, scales)) in x.zip(out) {
                    (kernels.quantize_row)(x, group, q, scales);
                }
            });
        }
        self.made(x, k, group)
    }

    /// The same for rows that are made first: `make(row, x)` writes each into `x` `[m][k]`, and it
    /// is quantized while it lies in the nearest cache.
    pub(crate) fn made_input<'a>(
        &'a mut self,
        ctx: &Context<'_>,
        x: &'a mut [f32],
        parts: &[Linear],
        make: impl Fn(usize, &mut [f32]) + Sync,
    ) -> Input<'a> {
        let (k, group) = (parts[0].k, parts.iter().find_map(|p| p.group));
        let kernels = ctx.ops.kernels;
        let m = x.len() / k;
        if let Some(group) = group {
            let (q, scales) = self.planes(m, k, group);
            ctx.crew.row_triples(
                (&mut *x, k),
                q,
                scales,
                rows_per_item(m),
                |first, x, q, scales| {
                    let out =
                        rows(q, k.next_multiple_of(group)).zip(rows(scales, k.div_ceil(group)));
                    for (row, (x, (q, scales))) in (first..).zip(rows(x, k).zip(out)) {
                        make(row, x);
                        (kernels.quantize_row)(x, group, q, scales);
                    }
                },
            );
        } else {
            ctx.crew.rows(&mut *x, k, rows_per_item(m), |first, x| {
                (first..).zip(rows(x, k)).for_each(|(row, x)| make(row, x));
            });
        }
        self.made(x, k, group)
    }

    /// Integers and scales of `m` rows of `k` values, with the lengths of their rows.
    fn planes(&mut self, m: usize, k: usize, group: usize) -> (Plane<'_, i16>, Plane<'_, f32>) {
        let (padded_k, n_groups) = (k.next_multiple_of(group), k.div_ceil(group));
        ((&mut self.q[..m * padded_k], padded_k), (&mut self.scales[..m * n_groups], n_groups))
    }

    /// The input, once it is quantized if `group` says so.
    fn made<'a>(&'a self, x: &'a [f32], k: usize, group: Option<usize>) -> Input<'a> {
        let (q, scales): (&[_], &[_]) =
            if group.is_some() { (&self.q, &self.scales) } else { (&[], &[]) };
        let group = group.unwrap_or(k);
        Input { m: x.len() / k, k, x, padded_k: k.next_multiple_of(group), group, q, scales }
    }
}

/// A matrix and the length of its rows.
type Plane<'a, T> = (&'a mut [T], usize);

fn rows<T>(plane: &mut [T], row_len: usize) -> std::slice::ChunksExactMut<'_, T> {
    plane.chunks_exact_mut(row_len)
}

/// Rows that a thread makes or quantizes at a time; the leader alone if there are few.
fn rows_per_item(m: usize) -> usize {
    if m <= FEW_TOKENS { m.max(1) } else { 16 }
}
