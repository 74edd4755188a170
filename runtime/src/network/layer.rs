//! Layers bound to their tensors.

use kinglet_formats::spec::{Activation, Attention, QkNormScope};

use crate::kv::KvShape;
use crate::ops::{BoundNorm, ExpertWeights, Linears, PairedLinears};
use crate::weights::Vector;

/// A layer and its tensors.
#[derive(Debug)]
pub(crate) struct BoundLayer {
    pub(crate) blocks: Vec<BoundBlock>,
}

/// A residual block: `x' = after(x + gain * post(sum of mixers(pre(x))))`.
#[derive(Debug)]
pub(crate) struct BoundBlock {
    pub(crate) pre: Option<BoundNorm>,
    pub(crate) mixers: Vec<BoundMixer>,
    pub(crate) post: Option<BoundNorm>,
    pub(crate) gain: BoundGain,
    pub(crate) after: Option<BoundNorm>,
}

/// Factor on what a block adds.
#[derive(Clone, Copy, Debug)]
pub(crate) enum BoundGain {
    One,
    Scalar(f32),
    Vector(Vector),
}

/// One of the things a block computes.
#[derive(Debug)]
pub(crate) struct BoundMixer {
    pub(crate) pre: Option<BoundNorm>,
    pub(crate) work: MixerWork,
}

/// What a mixer computes.
#[derive(Debug)]
pub(crate) enum MixerWork {
    Attention(Box<BoundAttention>),
    Mlp(Box<BoundMlp>),
    Experts(Box<BoundExperts>),
    Ssru(Box<BoundSsru>),
}

/// Attention and its tensors.
#[derive(Debug)]
pub(crate) struct BoundAttention {
    pub(crate) spec: Attention,
    pub(crate) projections: Projections,
    pub(crate) q_norm: Option<BoundNorm>,
    pub(crate) k_norm: Option<BoundNorm>,
    pub(crate) qk_norm_scope: QkNormScope,
    /// Index into the network's rotations.
    pub(crate) rope: Option<usize>,
    /// Positions that queries and keys meet.
    pub(crate) disentangled: Option<super::Disentangled>,
    /// Biases of relative distances.
    pub(crate) bias: Option<super::DistanceBias>,
    pub(crate) o_proj: Linears,
    /// Number of its keys and values in the memory it reads.
    pub(crate) kv_layer: usize,
}

/// The matrices that make queries, keys and values.
#[derive(Debug)]
pub(crate) enum Projections {
    /// All three, side by side, from the own rows.
    Own(Linears),
    /// Queries from the own rows; keys and values, side by side, from those of another stack.
    Other { q: Linears, kv: Linears },
}

impl BoundAttention {
    pub(crate) fn kv_shape(&self) -> KvShape {
        KvShape { n_kv_heads: self.spec.n_kv_heads, head_dim: self.spec.head_dim }
    }

    /// Whether it reads another stack's output.
    pub(crate) fn crosses(&self) -> bool {
        matches!(self.projections, Projections::Other { .. })
    }

    /// Columns of the rows in which queries lie.
    pub(crate) fn q_stride(&self) -> usize {
        match &self.projections {
            Projections::Own(qkv) => qkv.width(),
            Projections::Other { q, .. } => q.width(),
        }
    }

    fn bytes(&self) -> usize {
        let inputs = match &self.projections {
            Projections::Own(qkv) => qkv.bytes(),
            // Keys and values are computed once.
            Projections::Other { q, .. } => q.bytes(),
        };
        let positions = self.disentangled.as_ref().map_or(0, |d| d.queries.bytes + d.keys.bytes);
        inputs + positions + self.o_proj.bytes()
    }
}

/// A feed-forward block and its tensors.
#[derive(Debug)]
pub(crate) struct BoundMlp {
    pub(crate) activation: Activation,
    pub(crate) up: UpProjection,
    pub(crate) down_proj: Linears,
    /// `[1]` logit of a gate on the result.
    pub(crate) output_gate: Option<Linears>,
}

impl BoundMlp {
    /// Columns between the projections.
    pub(crate) fn width(&self) -> usize {
        self.down_proj.parts()[0].k
    }

    fn bytes(&self) -> usize {
        let up = match &self.up {
            UpProjection::Gated(pair) => pair.parts().iter().map(|p| p.bytes).sum(),
            UpProjection::Plain(linears) => linears.bytes(),
        };
        up + self.down_proj.bytes() + self.output_gate.as_ref().map_or(0, Linears::bytes)
    }
}

/// First half of an MLP.
#[derive(Debug)]
pub(crate) enum UpProjection {
    /// `act(gate x) * up x`
    Gated(PairedLinears),
    /// `act(up x)`
    Plain(Linears),
}

/// A recurrent unit and its tensors.
#[derive(Debug)]
pub(crate) struct BoundSsru {
    /// `[forget | cell]` of the stack's width each.
    pub(crate) projections: Linears,
    /// Number of its state among those of a sequence.
    pub(crate) unit: usize,
}

/// Experts and their router.
#[derive(Debug)]
pub(crate) struct BoundExperts {
    /// `[n_experts]` logits.
    pub(crate) router: Linears,
    pub(crate) weights: ExpertWeights,
}

impl BoundLayer {
    /// Bytes of weights read for one token.
    pub(super) fn bytes(&self) -> usize {
        let mixers = self.blocks.iter().flat_map(|block| &block.mixers);
        mixers
            .map(|mixer| match &mixer.work {
                MixerWork::Attention(attention) => attention.bytes(),
                MixerWork::Mlp(mlp) => mlp.bytes(),
                MixerWork::Experts(experts) => {
                    experts.router.bytes() + experts.weights.bytes_used()
                }
                MixerWork::Ssru(unit) => unit.projections.bytes(),
            })
            .sum()
    }
}
