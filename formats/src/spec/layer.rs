//! A layer as a list of residual blocks.

use serde::{Deserialize, Serialize};

use super::{Attention, Experts, Mlp, is_false};

/// One transformer layer: residual blocks, first to last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layer {
    /// The blocks.
    pub blocks: Vec<Block>,
    /// Number of the earlier layer whose weights this one uses (ALBERT).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights_of: Option<usize>,
}

/// A residual block: `x' = after(x + gain * post(sum of mixers(pre(x))))`, where what is absent
/// changes nothing.
///
/// | family | how it is said |
/// |---|---|
/// | Llama, GPT-2, T5, ViT | `pre` |
/// | BERT, ALBERT | `after` |
/// | Gemma 2 and 3 | `pre` and `post` |
/// | OLMo 2 | `post` |
/// | Phi | one `pre`, two mixers |
/// | GPT-NeoX | two mixers, a `pre` each |
/// | Granite, DINOv2 | `gain` |
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Block {
    /// Norm on the block's input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pre: Option<Norm>,
    /// What is computed, side by side, and added.
    pub mixers: Vec<Mixer>,
    /// Norm on what the mixers give, before it is added to the residual stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub post: Option<Norm>,
    /// Factor on what is added.
    #[serde(default, skip_serializing_if = "Gain::is_one")]
    pub gain: Gain,
    /// Norm on the sum, which becomes the residual stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Norm>,
}

impl Block {
    /// A block of one mixer and no norms.
    pub fn of(kind: MixerKind) -> Self {
        Self {
            pre: None,
            mixers: vec![Mixer { pre: None, kind }],
            post: None,
            gain: Gain::One,
            after: None,
        }
    }

    /// The name that the block's norms begin with: that of its first mixer.
    pub fn name(&self) -> &'static str {
        self.mixers.first().map_or("block", |mixer| mixer.kind.name())
    }
}

/// Factor on what a block adds to the residual stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Gain {
    /// None.
    #[default]
    One,
    /// The same for all channels (Granite's residual multiplier).
    Scalar {
        /// The factor.
        factor: f32,
    },
    /// A learned one per channel (layer scale).
    Vector,
}

impl Gain {
    fn is_one(&self) -> bool {
        *self == Self::One
    }
}

/// One of the things a block computes from its input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mixer {
    /// Norm on the input of this mixer alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pre: Option<Norm>,
    /// What it is.
    pub kind: MixerKind,
}

/// What a mixer computes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MixerKind {
    /// Attention to the own sequence or to another stack's output.
    Attention(Attention),
    /// A feed-forward network.
    Mlp(Mlp),
    /// Several feed-forward networks, of which a router chooses some for each token.
    Experts(Experts),
    /// A simpler simple recurrent unit (Kim et al. 2019, "From Research to Production and Back"):
    /// `f = sigmoid(F x + b)`, `c' = f c + (1 - f) C x`, and `max(c', 0)` comes out. `c` is a state of
    /// the sequence, as wide as the stack.
    Ssru,
}

impl MixerKind {
    /// What the names of its norms begin with.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Attention(attention) if attention.memory.is_some() => "cross",
            Self::Attention(_) => "attn",
            Self::Mlp(_) | Self::Experts(_) => "mlp",
            Self::Ssru => "ssru",
        }
    }

    /// Whether it is several networks of which a router chooses.
    pub fn is_experts(&self) -> bool {
        matches!(self, Self::Experts(_))
    }
}

/// A normalisation of vectors.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Norm {
    /// Which statistic it divides by.
    pub kind: NormKind,
    /// Added to the variance or mean square before the root.
    pub eps: f32,
    /// Whether a bias vector is added.
    #[serde(default, skip_serializing_if = "is_false")]
    pub bias: bool,
}

/// Which statistic a norm divides by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NormKind {
    /// Root mean square (arXiv:1910.07467).
    Rms,
    /// Mean and variance (arXiv:1607.06450).
    Layer,
}
