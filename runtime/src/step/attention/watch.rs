//! What heads look at: their scores of another stack's rows, for whoever asks.

use super::memory_of;
use crate::kernels::{FloatRows, TileMut};
use crate::kv::{Head, KvSequence, SPAN};
use crate::network::BoundAttention;
use crate::ops::Context;
use crate::step::Workspace;

/// Heads that are watched while a sequence reads another stack's rows, all of which it sees.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watch {
    /// Number of a layer among those that read the other stack, and of a head there.
    pub(crate) heads: Vec<(usize, usize)>,
    /// `[m][heads][slots]` scores before the softmax, of the rows of one step.
    pub(crate) scores: Vec<f32>,
}

/// Writes down the scores of the layer's heads that are watched, in batches of one segment whose keys
/// are kept in fp16. The leader does it alone: it is done once for an answer.
pub(super) fn run(
    ctx: &Context<'_>,
    attention: &BoundAttention,
    memories: &[&mut KvSequence],
    workspace: &mut Workspace,
) {
    let kernels = ctx.ops.kernels;
    let a = &attention.spec;
    let Workspace { batch, qkv, .. } = workspace;
    let m = batch.len();
    let (Some(watch), [segment]) = (&mut batch.watch, &batch.segments[..]) else { return };
    let (memory, slots) = memory_of(attention, segment, memories);
    let stride = watch.heads.len() * slots.len();
    watch.scores.resize(m * stride, 0.0);
    for (i, &(layer, head)) in watch.heads.iter().enumerate() {
        if layer != attention.kv_layer || head >= a.n_heads {
            continue;
        }
        let x = &qkv[head * a.head_dim..];
        let q = FloatRows { m, k: a.head_dim, stride: attention.q_stride(), x };
        let kv_head = head / (a.n_heads / a.n_kv_heads);
        let mut tile = TileMut::new(&mut watch.scores, stride);
        for span in 0..slots.end.div_ceil(SPAN) {
            let n = SPAN.min(slots.end - span * SPAN);
            let Head::F16(keys) = memory.head(layer, kv_head, span) else { continue };
            let mut out = tile.part(0, m, i * slots.len() + span * SPAN, n);
            (kernels.gemm_f16)(&keys.keys(0, n), 0, &q, &mut out);
        }
    }
}
