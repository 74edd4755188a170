//! The model as data: what the quantizer writes down and the runtime executes.
//!
//! A [`ModelSpec`] describes a network in terms of blocks (attention, MLP, norms, positions,
//! heads), never by the name of an architecture. It is stored as JSON in the meta section of a
//! `.kinglet` file. Every type is closed: an unknown field or variant is a load error, because
//! ignoring one would compute something else than the checkpoint means.
//!
//! # Canonical tensor names
//!
//! | name | dims | when |
//! |---|---|---|
//! | `{stack}.embed_tokens.weight` | `[vocab_size, hidden_size]` | token input |
//! | `{stack}.embed_positions.weight` | `[max_positions, hidden_size]` | learned positions |
//! | `{stack}.embed_segments.weight` | `[n_segments, hidden_size]` | segments |
//! | `{stack}.embed_norm.{weight,bias}` | `[hidden_size]` | input norm |
//! | `{stack}.layers.{i}.attn_norm.{weight,bias}` | `[hidden_size]` | before attention (pre, sandwich) or after its residual (post) |
//! | `{stack}.layers.{i}.attn_post_norm.{weight,bias}` | `[hidden_size]` | sandwich: on the attention's output |
//! | `{stack}.layers.{i}.q_proj.{weight,bias}` | `[n_heads * head_dim, hidden_size]` | |
//! | `{stack}.layers.{i}.k_proj.{weight,bias}`, `v_proj` | `[n_kv_heads * head_dim, hidden_size]` | |
//! | `{stack}.layers.{i}.q_norm.weight`, `k_norm` | `[head_dim]` | q/k norm |
//! | `{stack}.layers.{i}.o_proj.{weight,bias}` | `[hidden_size, n_heads * head_dim]` | |
//! | `{stack}.layers.{i}.mlp_norm.{weight,bias}` | `[hidden_size]` | as `attn_norm` |
//! | `{stack}.layers.{i}.mlp_post_norm.{weight,bias}` | `[hidden_size]` | sandwich |
//! | `{stack}.layers.{i}.gate_proj.{weight,bias}` | `[intermediate_size, hidden_size]` | gated MLP |
//! | `{stack}.layers.{i}.up_proj.{weight,bias}` | `[intermediate_size, hidden_size]` | |
//! | `{stack}.layers.{i}.down_proj.{weight,bias}` | `[hidden_size, intermediate_size]` | |
//! | `{stack}.final_norm.{weight,bias}` | `[hidden_size]` | |
//! | `lm_head.{weight,bias}` | `[vocab_size, hidden_size]` | untied language-model head |
//!
//! Biases and norms are `f32` rows. Norm weights are stored ready to multiply: a family that
//! multiplies by `1 + w` has the one added by the quantizer. Rotary halves are stored in the
//! `Half` style wherever a row permutation can bring them there.

use serde::{Deserialize, Serialize};

mod validate;

pub use validate::SpecError;

/// A whole network: one or more stacks of layers and what is read off their output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSpec {
    /// How the stacks are joined.
    pub topology: Topology,
    /// The stacks; their order and number follow from `topology`.
    pub stacks: Vec<Stack>,
    /// What the model offers: at least one head.
    pub heads: Vec<Head>,
    /// Longest sequence the checkpoint was made for, in positions.
    pub context_length: usize,
}

/// How stacks are joined into a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Topology {
    /// One causal stack with a KV cache.
    Decoder,
    /// One bidirectional stack.
    Encoder,
    /// An encoder whose output the decoder attends to: `stacks = [encoder, decoder]`.
    EncoderDecoder,
    /// Two encoders projected into one space: `stacks = [text, image]`.
    TwoTowers,
}

/// A stack of transformer layers with its input and final norm.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stack {
    /// Prefix of the stack's tensor names: `decoder`, `encoder`, `text`, `image`.
    pub name: String,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// What enters the first layer.
    pub input: Input,
    /// The layers, first to last.
    pub layers: Vec<Layer>,
    /// Norm after the last layer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub final_norm: Option<Norm>,
}

/// What enters the first layer of a stack.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Input {
    /// Token ids looked up in `embed_tokens`.
    Tokens {
        /// Rows of the embedding table.
        vocab_size: usize,
        /// Positions added to the embeddings (rotary positions belong to attention).
        #[serde(default, skip_serializing_if = "AbsolutePositions::is_none")]
        positions: AbsolutePositions,
        /// Rows of the segment (token type) table, 0 for none.
        #[serde(default, skip_serializing_if = "is_zero")]
        n_segments: usize,
        /// Factor on the token embeddings (Gemma: sqrt(hidden_size)).
        #[serde(default = "one", skip_serializing_if = "is_one")]
        scale: f32,
        /// Norm on the summed embeddings (BERT).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        norm: Option<Norm>,
    },
    /// Square image patches through a linear stem.
    Patches {
        /// Side of the square input image in pixels.
        image_size: usize,
        /// Side of a patch in pixels.
        patch_size: usize,
        /// Whether a learned class token leads the sequence.
        class_token: bool,
    },
    /// A log-mel spectrogram through a convolution stem.
    LogMel {
        /// Mel bands.
        n_mels: usize,
        /// Output frames of the stem.
        n_frames: usize,
    },
}

/// Positions added to the input embeddings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum AbsolutePositions {
    /// None.
    #[default]
    None,
    /// A table `embed_positions`, read at `position + offset` (RoBERTa: offset 2).
    Learned {
        /// Rows of the table.
        max_positions: usize,
        /// First row used.
        #[serde(default, skip_serializing_if = "is_zero")]
        offset: usize,
    },
    /// Computed sine and cosine waves.
    Sinusoidal {
        /// Longest sequence.
        max_positions: usize,
    },
}

impl AbsolutePositions {
    fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }
}

/// One transformer layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layer {
    /// Kind and epsilon of the layer's norms.
    pub norm: Norm,
    /// Where the norms sit.
    pub norm_placement: NormPlacement,
    /// Self-attention.
    pub attention: Attention,
    /// Attention to another stack's output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cross_attention: Option<Attention>,
    /// Feed-forward block.
    pub mlp: Mlp,
    /// Attention and MLP read the same normalised input and are added together (GPT-J, Phi).
    #[serde(default, skip_serializing_if = "is_false")]
    pub parallel: bool,
    /// A learned factor per channel on each block's output (DINOv2).
    #[serde(default, skip_serializing_if = "is_false")]
    pub layer_scale: bool,
    /// Index of the layer whose weights this one reuses (ALBERT).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shares_weights_of: Option<usize>,
}

/// A normalisation over the hidden dimension.
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

/// Where a layer's norms sit relative to its residual additions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NormPlacement {
    /// `x + block(norm(x))`
    Pre,
    /// `norm(x + block(x))`
    Post,
    /// `x + post_norm(block(norm(x)))`
    Sandwich,
}

/// An attention block.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attention {
    /// Query heads.
    pub n_heads: usize,
    /// Key/value heads; divides `n_heads`.
    pub n_kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Factor on the scores, usually `1 / sqrt(head_dim)`.
    pub scale: f32,
    /// Whether a position sees only itself and earlier ones.
    pub causal: bool,
    /// Number of positions seen, the own one included; `None` sees all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sliding_window: Option<usize>,
    /// Scores become `cap * tanh(score / cap)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub soft_cap: Option<f32>,
    /// Biases on q, k and v.
    #[serde(default, skip_serializing_if = "is_false")]
    pub qkv_bias: bool,
    /// Bias on the output projection.
    #[serde(default, skip_serializing_if = "is_false")]
    pub output_bias: bool,
    /// Norm over each head of q and k, before positions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qk_norm: Option<Norm>,
    /// How positions enter the scores.
    #[serde(default, skip_serializing_if = "Position::is_none")]
    pub position: Position,
}

/// How positions enter attention scores.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Position {
    /// Not at all (absolute positions, or none).
    #[default]
    None,
    /// Rotation of q and k (arXiv:2104.09864).
    Rope(Rope),
    /// A learned bias per bucket of relative distance (T5, MPNet).
    RelativeBuckets {
        /// Number of buckets.
        n_buckets: usize,
        /// Distance from which all positions share the last bucket.
        max_distance: usize,
    },
}

impl Position {
    fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }
}

/// Rotary position embedding.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rope {
    /// Base of the frequencies.
    pub theta: f32,
    /// Leading dimensions of each head that are rotated (all, or fewer for partial rotary).
    pub dims: usize,
    /// Which dimensions form a pair.
    #[serde(default, skip_serializing_if = "RopePairs::is_half")]
    pub pairs: RopePairs,
    /// Change of the frequencies for long contexts.
    #[serde(default, skip_serializing_if = "RopeScaling::is_none")]
    pub scaling: RopeScaling,
}

/// Which dimensions of a head a rotation pairs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RopePairs {
    /// `(i, i + dims / 2)`
    #[default]
    Half,
    /// `(2 i, 2 i + 1)`
    Adjacent,
}

impl RopePairs {
    fn is_half(&self) -> bool {
        *self == Self::Half
    }
}

/// Change of the rotary frequencies for long contexts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum RopeScaling {
    /// None.
    #[default]
    None,
    /// Positions divided by `factor`.
    Linear {
        /// Divisor.
        factor: f32,
    },
    /// Llama 3: low frequencies divided by `factor`, high ones kept, a ramp between.
    Llama3 {
        /// Divisor of the low frequencies.
        factor: f32,
        /// Wavelengths above `original_context_length / low_freq_factor` are scaled.
        low_freq_factor: f32,
        /// Wavelengths below `original_context_length / high_freq_factor` are kept.
        high_freq_factor: f32,
        /// Context length before extension.
        original_context_length: usize,
    },
    /// YaRN (arXiv:2309.00071).
    Yarn {
        /// Extension factor.
        factor: f32,
        /// Context length before extension.
        original_context_length: usize,
        /// Rotations above which a dimension is kept.
        beta_fast: f32,
        /// Rotations below which a dimension is interpolated.
        beta_slow: f32,
        /// Factor on q and k.
        attention_factor: f32,
    },
    /// One divisor per frequency (LongRoPE, Llama 3 factors in GGUF files).
    PerFrequency {
        /// `dims / 2` divisors.
        factors: Vec<f32>,
        /// Factor on q and k.
        attention_factor: f32,
    },
}

impl RopeScaling {
    fn is_none(&self) -> bool {
        *self == Self::None
    }
}

/// A feed-forward block: `down(act(up x))`, or gated `down(act(gate x) * up x)`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mlp {
    /// Width between the projections.
    pub intermediate_size: usize,
    /// Non-linearity.
    pub activation: Activation,
    /// Whether a gate projection exists.
    pub gated: bool,
    /// Biases on all projections of the block.
    #[serde(default, skip_serializing_if = "is_false")]
    pub bias: bool,
}

/// A non-linearity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `x * sigmoid(x)`
    Silu,
    /// `x * Phi(x)` with the error function.
    Gelu,
    /// `x * Phi(x)` with the tanh approximation.
    GeluTanh,
    /// `x * sigmoid(1.702 x)`
    QuickGelu,
    /// `max(x, 0)`
    Relu,
}

/// What is read off the network's output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Head {
    /// Next-token logits.
    LanguageModel {
        /// Whether the token embedding is the output matrix.
        tied: bool,
        /// Whether a bias vector is added.
        #[serde(default, skip_serializing_if = "is_false")]
        bias: bool,
        /// Logits become `cap * tanh(logit / cap)`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        soft_cap: Option<f32>,
    },
    /// One vector per text.
    Embedding {
        /// How token vectors become one.
        pooling: Pooling,
        /// Whether the result is scaled to length one.
        normalize: bool,
    },
    /// Logits at masked positions.
    MaskedLanguageModel,
    /// One label per text.
    SequenceClassification,
    /// One label per token.
    TokenClassification,
    /// Start and end of an answer.
    Span,
    /// A projection into a space shared with another tower.
    Projection {
        /// Width of the shared space.
        size: usize,
    },
}

/// How token vectors become one vector per text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pooling {
    /// Mean over all tokens.
    Mean,
    /// The first token.
    Cls,
    /// The last token.
    Last,
    /// Maximum over all tokens, per dimension.
    Max,
}

fn is_zero(n: &usize) -> bool {
    *n == 0
}

fn is_false(b: &bool) -> bool {
    !*b
}

fn one() -> f32 {
    1.0
}

fn is_one(x: &f32) -> bool {
    *x == 1.0
}
