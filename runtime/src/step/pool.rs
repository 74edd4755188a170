//! How the rows of a sequence or an image become one.

use kinglet_formats::spec::Pooling;

use super::Workspace;
use crate::network::{BoundPool, BoundQuery};
use crate::ops::{Context, Ops, norm_row};

/// What `pool` makes of rows of `hidden`, without the first `skipped`, of which there are more: `[width]`
/// numbers in `out`.
pub(crate) fn pool(
    ops: Ops<'_>,
    pool: &BoundPool,
    rows: &[f32],
    hidden: usize,
    skipped: usize,
    out: &mut [f32],
) {
    match &pool.query {
        Some(query) => attend(ops, query, &rows[skipped * hidden..], hidden, out),
        None => pool_plain(pool, rows, hidden, skipped, out),
    }
}

/// The same without a query.
fn pool_plain(pool: &BoundPool, rows: &[f32], hidden: usize, skipped: usize, out: &mut [f32]) {
    let rows = &rows[skipped * hidden..];
    let n = rows.len() / hidden;
    match pool.kind {
        Pooling::Cls | Pooling::Leading { .. } => out.copy_from_slice(&rows[..out.len()]),
        Pooling::Last => out.copy_from_slice(&rows[(n - 1) * hidden..]),
        Pooling::Mean => weigh(rows, out, |_| 1.0, n as f32),
        Pooling::MeanSqrtLen => weigh(rows, out, |_| 1.0, (n as f32).sqrt()),
        Pooling::WeightedMean => {
            // Rows that are left out count as places.
            let total = n as f64 * (n as f64 + 1.0) / 2.0 + (n * skipped) as f64;
            weigh(rows, out, |row| (skipped + row + 1) as f32, total as f32);
        }
        Pooling::Max => {
            out.copy_from_slice(&rows[..hidden]);
            for row in rows.chunks_exact(hidden).skip(1) {
                out.iter_mut().zip(row).for_each(|(max, &x)| *max = max.max(x));
            }
        }
        Pooling::ClsAndPatches => {
            let (cls, mean) = out.split_at_mut(hidden);
            cls.copy_from_slice(&rows[..hidden]);
            let patches = &rows[pool.n_leading * hidden..];
            weigh(patches, mean, |_| 1.0, (n - pool.n_leading) as f32);
        }
        // It has a query.
        Pooling::Attention(_) => {}
    }
}

/// `out = sum of weight(number of a row) * row / divisor`
fn weigh(rows: &[f32], out: &mut [f32], weight: impl Fn(usize) -> f32, divisor: f32) {
    out.fill(0.0);
    for (i, row) in rows.chunks_exact(out.len()).enumerate() {
        let weight = weight(i);
        out.iter_mut().zip(row).for_each(|(sum, x)| *sum += weight * x);
    }
    out.iter_mut().for_each(|sum| *sum /= divisor);
}

/// For each head the mean of the rows `[n][hidden]`, weighed by a softmax of its scores: `out`
/// `[n_heads][hidden]`.
fn attend(ops: Ops<'_>, query: &BoundQuery, rows: &[f32], hidden: usize, out: &mut [f32]) {
    let mut weights = vec![0.0; rows.len() / hidden];
    let heads = query.scores.values(ops.file).chunks_exact(hidden);
    for (scores, out) in heads.zip(out.chunks_exact_mut(hidden)) {
        for (weight, row) in weights.iter_mut().zip(rows.chunks_exact(hidden)) {
            *weight = dot(scores, row);
        }
        let (_, sum) = (ops.kernels.softmax_exp)(&mut weights);
        weigh(rows, out, |row| weights[row], sum);
    }
}

/// In eight sums, of which the order is the same on every machine.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let (a, a_rest) = a.as_chunks::<8>();
    let (b, b_rest) = b.as_chunks::<8>();
    let mut sums = [0.0; 8];
    for (a, b) in a.iter().zip(b) {
        sums.iter_mut().zip(a.iter().zip(b)).for_each(|(sum, (a, b))| *sum += a * b);
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}

/// The heads' means at the start of the workspace's `block`, `[n][n_heads][hidden]`, become the pooled rows
/// `[n][hidden]` there. The residual stream is overwritten: nobody reads it after the pooling.
pub(super) fn behind_query(
    ctx: &Context<'_>,
    query: &BoundQuery,
    n: usize,
    workspace: &mut Workspace,
) {
    let ops = ctx.ops;
    let hidden = query.o_proj.width();
    let (n_heads, head_dim) = (query.n_heads, hidden / query.n_heads);
    let Workspace { x, block, mlp, quantized, workers, .. } = workspace;
    let (x, len) = (&mut x[..n * hidden], n * n_heads * hidden);

    // Of the values of a head's mean, its own part counts.
    let input = quantized.input(ctx, &block[..len], query.v_proj.parts());
    query.v_proj.apply(ctx, &input, workers, &mut mlp[..len]);
    let means = mlp[..len].chunks_exact(hidden).zip((0..n_heads).cycle());
    for (out, (values, head)) in x.chunks_exact_mut(head_dim).zip(means) {
        out.copy_from_slice(&values[head * head_dim..][..head_dim]);
    }
    let y = &mut block[..n * hidden];
    let input = quantized.input(ctx, x, query.o_proj.parts());
    query.o_proj.apply(ctx, &input, workers, y);

    for (y, normed) in y.chunks_exact(hidden).zip(x.chunks_exact_mut(hidden)) {
        norm_row(ops, &query.norm, y, normed);
    }
    let between = &mut mlp[..n * query.up_proj.width()];
    let input = quantized.input(ctx, x, query.up_proj.parts());
    query.up_proj.apply(ctx, &input, workers, between);
    (ops.kernels.activate)(query.activation, between);
    let input = quantized.input(ctx, between, query.down_proj.parts());
    query.down_proj.apply(ctx, &input, workers, x);
    (ops.kernels.add)(y, x);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pooling_by_hand() {
        let rows = [1.0, -2.0, 3.0, 4.0, 2.0, 1.0];
        let pooled_from = |skipped, kind: Pooling| {
            let width = kind.width(2);
            let mut out = vec![f32::NAN; width];
            let bound = BoundPool { kind, width, n_leading: 1, query: None };
            pool_plain(&bound, &rows, 2, skipped, &mut out);
            out
        };
        let pooled = |kind| pooled_from(0, kind);
        assert_eq!(pooled(Pooling::Cls), [1.0, -2.0]);
        assert_eq!(pooled(Pooling::Last), [2.0, 1.0]);
        assert_eq!(pooled(Pooling::Mean), [2.0, 1.0]);
        assert_eq!(pooled(Pooling::Max), [3.0, 4.0]);
        assert_eq!(pooled(Pooling::MeanSqrtLen), [6.0 / 3f32.sqrt(), 3.0 / 3f32.sqrt()]);
        assert_eq!(pooled(Pooling::WeightedMean), [13.0 / 6.0, 9.0 / 6.0]);
        assert_eq!(pooled(Pooling::Leading { rows: 2 }), [1.0, -2.0, 3.0, 4.0]);
        assert_eq!(pooled(Pooling::ClsAndPatches), [1.0, -2.0, 2.5, 2.5]);
        assert_eq!(pooled_from(1, Pooling::Cls), [3.0, 4.0]);
        assert_eq!(pooled_from(1, Pooling::Mean), [2.5, 2.5]);
        assert_eq!(pooled_from(1, Pooling::WeightedMean), [12.0 / 5.0, 11.0 / 5.0]);
        assert_eq!(pooled_from(2, Pooling::Max), [2.0, 1.0]);
    }

    #[test]
    fn products_of_any_length() {
        let (a, b): (Vec<f32>, Vec<f32>) = (0..11).map(|i| (i as f32, 2.0 - i as f32)).unzip();
        assert_eq!(dot(&a, &b), (0..11).map(|i| i * (2 - i)).sum::<i32>() as f32);
    }
}
