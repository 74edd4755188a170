//! Positions that queries and keys meet beside one another: their products with all rows of the
//! tables, then one of each for every pair.

use super::super::Workspace;
use crate::kernels::{FloatRows, PANEL_ROWS};
use crate::network::{BoundAttention, Disentangled};
use crate::ops::Context;
use crate::weights::Panels;

/// Products of all queries (which have their scale) and keys with the tables, into the workspace.
/// A sequence of one row has none: whatever is added to its only score changes nothing.
pub(super) fn run(ctx: &Context<'_>, attention: &BoundAttention, workspace: &mut Workspace) {
    let Some(positions) = &attention.disentangled else { return };
    let kernels = ctx.ops.kernels;
    let a = &attention.spec;
    let (stride, rows) = (attention.q_stride(), positions.rows());
    let width = a.n_heads * rows;
    let Workspace { batch, qkv, of_queries, of_keys, attention: workers, .. } = workspace;
    let m = batch.len();
    for (table, first, scale, out) in
        [(positions.keys, 0, 1.0, of_queries), (positions.queries, a.q_width(), a.scale, of_keys)]
    {
        let Panels::F16(panels) = table.panels(ctx.ops.file) else { return };
        let out = &mut out[..m * width];
        ctx.crew.row_tiles(
            workers,
            out,
            (width, rows),
            &batch.query_blocks,
            |_, run, head, mut out| {
                let x = &qkv[run.start * stride + first + head * a.head_dim..];
                let x = FloatRows { m: run.len(), k: a.head_dim, stride, x };
                (kernels.gemm_f16)(&panels, head * rows / PANEL_ROWS, &x, &mut out);
                if scale != 1.0 {
                    (0..out.rows()).for_each(|r| (kernels.scale)(out.row(r), scale));
                }
            },
        );
    }
}

/// What a sequence's scores of one head get from positions.
#[derive(Clone, Copy)]
pub(super) struct PositionScores<'a> {
    positions: &'a Disentangled,
    /// `[rows of the sequence][n_heads * 2 n_buckets]`, of the first row on.
    of_queries: &'a [f32],
    of_keys: &'a [f32],
    width: usize,
}

impl<'a> PositionScores<'a> {
    /// Those of the sequence whose first row in the batch is `first_row`.
    pub(super) fn of(
        attention: &'a BoundAttention,
        (of_queries, of_keys): (&'a [f32], &'a [f32]),
        first_row: usize,
    ) -> Option<Self> {
        let positions = attention.disentangled.as_ref()?;
        let width = attention.spec.n_heads * positions.rows();
        let start = first_row * width;
        Some(Self {
            positions,
            of_queries: &of_queries[start..],
            of_keys: &of_keys[start..],
            width,
        })
    }

    /// Adds to the scores of the keys at `first ..`, as `query` sees them.
    pub(super) fn add(&self, head: usize, query: usize, first: usize, scores: &mut [f32]) {
        let start = head * self.positions.rows();
        let of_query = &self.of_queries[query * self.width + start..];
        for (key, score) in (first..).zip(scores) {
            let row = self.positions.row(query, key);
            *score += of_query[row] + self.of_keys[key * self.width + start + row];
        }
    }
}
