//! Queries and keys before they meet: norms, rotations, scale.

use kinglet_formats::spec::QkNormScope;

use super::hadamard::hadamard;
use crate::kv::{KvSequence, KvType};
use crate::limits::MAX_HEAD_DIM;
use crate::network::{BoundAttention, Projections};
use crate::ops::{BoundNorm, Context, Ops, ROWS_PER_ITEM, norm_row};
use crate::step::Workspace;

/// Normalises and rotates q and k in `qkv`, scales q, and spreads all three for int8.
pub(super) fn run(
    ctx: &Context<'_>,
    attention: &BoundAttention,
    memories: &[&mut KvSequence],
    workspace: &mut Workspace,
) {
    let ops = ctx.ops;
    let a = &attention.spec;
    let (q_width, kv_width) = (a.q_width(), a.kv_width());
    let width = attention.q_stride();
    let Workspace { batch, qkv, attended, angles, capacity, .. } = workspace;
    let m = batch.len();
    let angles = attention.rope.map(|rope| &angles[rope][..]);
    let angles_len = angles.map_or(0, |angles| angles.len() / *capacity);
    // All memories of a step keep their keys and values alike.
    let spread = match (&attention.projections, batch.segments.first()) {
        (Projections::Other { .. }, Some(segment)) => segment.other.as_ref().map(|o| o.memory),
        (_, segment) => segment.map(|segment| segment.memory),
    };
    let spread = spread.is_some_and(|memory| memories[memory].kind() == KvType::Int8);
    let own = matches!(attention.projections, Projections::Own(_));
    let qkv = &mut qkv[..m * width];
    // What will be attended is room for what is normed.
    let tmp = &mut attended[..m * q_width];
    ctx.crew.row_pairs((qkv, width), (tmp, q_width), ROWS_PER_ITEM, |first, qkv, tmp| {
        let rows = qkv.chunks_exact_mut(width).zip(tmp.chunks_exact_mut(q_width));
        for (row, (qkv, tmp)) in (first..).zip(rows) {
            let (q, kv) = qkv.split_at_mut(q_width);
            norm_heads(ops, attention, attention.q_norm.as_ref(), q, tmp);
            if own {
                norm_heads(ops, attention, attention.k_norm.as_ref(), &mut kv[..kv_width], tmp);
            }
            if let Some(angles) = angles {
                let (cos, sin) = angles[row * angles_len..][..angles_len].split_at(angles_len / 2);
                let k = if own { &mut kv[..kv_width] } else { &mut [] };
                for heads in [&mut *q, k] {
                    for head in heads.chunks_exact_mut(a.head_dim) {
                        (ops.kernels.rotate_half)(&mut head[..angles_len], cos, sin);
                    }
                }
            }
            (ops.kernels.scale)(q, a.scale);
            if spread {
                qkv.chunks_exact_mut(a.head_dim).for_each(hadamard);
            }
        }
    });
}

/// The same for keys and values `[m][k | v]` made of another stack's rows.
pub(super) fn keys_of_other(
    ctx: &Context<'_>,
    attention: &BoundAttention,
    kind: KvType,
    kv: &mut [f32],
) {
    let ops = ctx.ops;
    let a = &attention.spec;
    let kv_width = a.kv_width();
    ctx.crew.rows(kv, 2 * kv_width, ROWS_PER_ITEM, |_, kv| {
        let mut tmp = [0.0; MAX_HEAD_DIM];
        for kv in kv.chunks_exact_mut(2 * kv_width) {
            if attention.qk_norm_scope == QkNormScope::Head {
                let norm = attention.k_norm.as_ref();
                norm_heads(ops, attention, norm, &mut kv[..kv_width], &mut tmp);
            }
            if kind == KvType::Int8 {
                kv.chunks_exact_mut(a.head_dim).for_each(hadamard);
            }
        }
    });
}

/// Norms queries or keys of one row, head by head or all together; `tmp` is overwritten.
fn norm_heads(
    ops: Ops<'_>,
    attention: &BoundAttention,
    norm: Option<&BoundNorm>,
    heads: &mut [f32],
    tmp: &mut [f32],
) {
    let Some(norm) = norm else { return };
    let width = match attention.qk_norm_scope {
        QkNormScope::Head => attention.spec.head_dim,
        QkNormScope::Projection => heads.len(),
    };
    let tmp = &mut tmp[..width];
    for head in heads.chunks_exact_mut(width) {
        norm_row(ops, norm, head, tmp);
        head.copy_from_slice(tmp);
    }
}
