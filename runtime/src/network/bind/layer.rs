//! Layers, blocks and mixers.

use kinglet_formats::spec::{
    Attention, Block, Experts, Gain, Layer, Mixer, MixerKind, Mlp, Position, QkNormScope, Rope,
    RopePairs,
};

use super::{Binder, Numbers, Place, unsupported};
use crate::error::Error;
use crate::limits::MAX_HEAD_DIM;
use crate::network::{
    BoundAttention, BoundBlock, BoundExperts, BoundGain, BoundLayer, BoundMixer, BoundMlp,
    BoundSsru, Buckets, Disentangled, DistanceBias, MixerWork, Projections, RopeTable,
    UpProjection,
};
use crate::ops::{ExpertWeights, PairedLinears};

impl Binder<'_> {
    pub(super) fn layer(
        &mut self,
        place: &Place,
        layer: &Layer,
        numbers: &mut Numbers,
    ) -> Result<BoundLayer, Error> {
        let blocks = layer.blocks.iter().map(|block| self.block(place, block, numbers));
        Ok(BoundLayer { blocks: blocks.collect::<Result<_, _>>()? })
    }

    pub(super) fn block(
        &mut self,
        place: &Place,
        block: &Block,
        numbers: &mut Numbers,
    ) -> Result<BoundBlock, Error> {
        let (prefix, name) = (&place.prefix, block.name());
        let mixers = block.mixers.iter().map(|mixer| self.mixer(place, mixer, numbers));
        let mixers = mixers.collect::<Result<_, _>>()?;
        let gain = match block.gain {
            Gain::One => BoundGain::One,
            Gain::Scalar { factor } => BoundGain::Scalar(factor),
            Gain::Vector => BoundGain::Vector(self.vector(&format!("{prefix}{name}_gain.weight"))?),
        };
        Ok(BoundBlock {
            pre: self.norm(prefix, &format!("{name}_norm"), block.pre)?,
            mixers,
            post: self.norm(prefix, &format!("{name}_post_norm"), block.post)?,
            gain,
            after: self.norm(prefix, &format!("{name}_after_norm"), block.after)?,
        })
    }

    pub(super) fn mixer(
        &mut self,
        place: &Place,
        mixer: &Mixer,
        numbers: &mut Numbers,
    ) -> Result<BoundMixer, Error> {
        let pre = self.norm(&place.prefix, &format!("{}_norm", mixer.kind.name()), mixer.pre)?;
        let work = match &mixer.kind {
            MixerKind::Attention(a) => {
                let number = match a.memory {
                    None => &mut numbers.own,
                    Some(_) => &mut numbers.other,
                };
                let kv_layer = Numbers::next(number);
                MixerWork::Attention(Box::new(self.attention(place, a, kv_layer)?))
            }
            MixerKind::Mlp(mlp) => MixerWork::Mlp(Box::new(self.mlp(&place.prefix, mlp)?)),
            MixerKind::Experts(experts) => {
                MixerWork::Experts(Box::new(self.experts(&place.prefix, experts)?))
            }
            MixerKind::Ssru => MixerWork::Ssru(Box::new(BoundSsru {
                projections: self.linears(&place.prefix, &["forget_proj", "cell_proj"])?,
                unit: Numbers::next(&mut numbers.states),
            })),
        };
        Ok(BoundMixer { pre, work })
    }

    pub(super) fn attention(
        &mut self,
        place: &Place,
        a: &Attention,
        kv_layer: usize,
    ) -> Result<BoundAttention, Error> {
        let prefix = &place.prefix;
        if a.head_dim > MAX_HEAD_DIM {
            return unsupported(format!("heads of {} ({prefix}q_proj)", a.head_dim));
        }
        let (projections, own) = match a.memory {
            None => (Projections::Own(self.linears(prefix, &["q_proj", "k_proj", "v_proj"])?), ""),
            Some(_) => {
                let q = self.linears(prefix, &["cross_q_proj"])?;
                let kv = self.linears(prefix, &["cross_k_proj", "cross_v_proj"])?;
                (Projections::Other { q, kv }, "cross_")
            }
        };
        let head_norm = |this: &Self, name: &str| {
            this.norm(prefix, &format!("{own}{name}"), a.qk_norm.map(|qk| qk.norm))
        };
        let (q_norm, k_norm) = (head_norm(self, "q_norm")?, head_norm(self, "k_norm")?);
        let (mut bias, mut disentangled) = (None, None);
        let rope = match &a.position {
            Position::None => None,
            Position::Rope(rope) => Some(self.rope(rope, a.head_dim)?),
            Position::RelativeBuckets { n_buckets, max_distance, two_way, by_layer } => {
                let of_stack = format!("{}.", self.spec.stacks[place.stack].name);
                let owner = if *by_layer { prefix } else { &of_stack };
                let table = self.vector(&format!("{owner}position_buckets.weight"))?;
                let buckets = Buckets::new(table, *n_buckets, *max_distance, *two_way);
                bias = Some(DistanceBias::Buckets(buckets));
                None
            }
            Position::Disentangled { n_buckets, max_distance } => {
                let tables =
                    [self.positions(prefix, "position_q")?, self.positions(prefix, "position_k")?];
                disentangled = Some(Disentangled::new(tables, *n_buckets, *max_distance));
                None
            }
            Position::LinearBias { slopes } => {
                bias = Some(DistanceBias::Linear { slopes: slopes.clone() });
                None
            }
        };
        Ok(BoundAttention {
            projections,
            q_norm,
            k_norm,
            qk_norm_scope: a.qk_norm.map_or(QkNormScope::Head, |qk| qk.scope),
            rope,
            disentangled,
            bias,
            o_proj: self.linears(prefix, &[&format!("{own}o_proj")])?,
            kv_layer,
            spec: a.clone(),
        })
    }

    pub(super) fn rope(&mut self, rope: &Rope, head_dim: usize) -> Result<usize, Error> {
        if let Some(known) = self.ropes.iter().position(|(r, _)| r == rope) {
            return Ok(known);
        }
        if rope.pairs == RopePairs::Adjacent {
            return unsupported("rotary positions over adjacent pairs");
        }
        if rope.dims == 0 || !rope.dims.is_multiple_of(2) || rope.dims > head_dim {
            return unsupported(format!("rotary positions over {} of {head_dim}", rope.dims));
        }
        let table = RopeTable::new(rope)?;
        self.ropes.push((rope.clone(), table));
        Ok(self.ropes.len() - 1)
    }

    pub(super) fn mlp(&mut self, prefix: &str, mlp: &Mlp) -> Result<BoundMlp, Error> {
        let up = if mlp.gated {
            let gate = self.matrix(&format!("{prefix}gate_proj"))?;
            let up = self.matrix(&format!("{prefix}up_proj"))?;
            self.same_groups(&[gate, up])?;
            UpProjection::Gated(PairedLinears::new(gate, up, self.n_threads))
        } else {
            UpProjection::Plain(self.linears(prefix, &["up_proj"])?)
        };
        let down_proj = self.linears(prefix, &["down_proj"])?;
        let output_gate = match mlp.output_gate {
            true => Some(self.linears(prefix, &["output_gate"])?),
            false => None,
        };
        Ok(BoundMlp { activation: mlp.activation, up, down_proj, output_gate })
    }

    pub(super) fn experts(
        &mut self,
        prefix: &str,
        experts: &Experts,
    ) -> Result<BoundExperts, Error> {
        let gate = self.matrix(&format!("{prefix}expert_gate_proj"))?;
        let up = self.matrix(&format!("{prefix}expert_up_proj"))?;
        let down = self.matrix(&format!("{prefix}expert_down_proj"))?;
        self.same_groups(&[gate, up])?;
        let Some(weights) = ExpertWeights::new(experts, gate, up, down) else {
            return unsupported(format!(
                "experts of {} and {} columns, which are no multiples of 8",
                experts.intermediate_size, gate.k
            ));
        };
        Ok(BoundExperts { router: self.linears(prefix, &["router"])?, weights })
    }
}
