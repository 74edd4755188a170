//! Attention and how positions enter it.

use serde::{Deserialize, Serialize};

use super::{Norm, Rope, is_false};

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
    /// Name of the earlier stack whose output gives keys and values; the own sequence otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<String>,
    /// Whether a position sees only itself and earlier ones.
    #[serde(default, skip_serializing_if = "is_false")]
    pub causal: bool,
    /// Number of positions seen backwards, the own one included, and without `causal` as many
    /// forwards; `None` sees all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sliding_window: Option<usize>,
    /// Scores become `cap * tanh(score / cap)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub soft_cap: Option<f32>,
    /// Bias on the query projection.
    #[serde(default, skip_serializing_if = "is_false")]
    pub q_bias: bool,
    /// Bias on the key projection.
    #[serde(default, skip_serializing_if = "is_false")]
    pub k_bias: bool,
    /// Bias on the value projection.
    #[serde(default, skip_serializing_if = "is_false")]
    pub v_bias: bool,
    /// Bias on the output projection.
    #[serde(default, skip_serializing_if = "is_false")]
    pub output_bias: bool,
    /// Norm of q and k, before positions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qk_norm: Option<QkNorm>,
    /// How positions enter the scores.
    #[serde(default, skip_serializing_if = "Position::is_none")]
    pub position: Position,
}

impl Attention {
    /// Attention of `n_heads` heads of `head_dim` to all of the own sequence, with the usual scale.
    pub fn plain(n_heads: usize, head_dim: usize) -> Self {
        Self {
            n_heads,
            n_kv_heads: n_heads,
            head_dim,
            scale: (1.0 / (head_dim as f64).sqrt()) as f32,
            memory: None,
            causal: false,
            sliding_window: None,
            soft_cap: None,
            q_bias: false,
            k_bias: false,
            v_bias: false,
            output_bias: false,
            qk_norm: None,
            position: Position::None,
        }
    }

    /// The same with (or without) a bias on all four projections.
    pub fn biased(self, yes: bool) -> Self {
        Self { q_bias: yes, k_bias: yes, v_bias: yes, output_bias: yes, ..self }
    }

    /// Width of q and of the attention's output.
    pub fn q_width(&self) -> usize {
        self.n_heads * self.head_dim
    }

    /// Width of k and of v.
    pub fn kv_width(&self) -> usize {
        self.n_kv_heads * self.head_dim
    }
}

/// A norm of queries and keys.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QkNorm {
    /// The norm.
    pub norm: Norm,
    /// Over what.
    pub scope: QkNormScope,
}

/// What a norm of queries and keys runs over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QkNormScope {
    /// Each head by itself (Qwen 3, Gemma 3).
    Head,
    /// All heads together (OLMo 2).
    Projection,
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
    /// A learned number per head and bucket of relative distance, added to the scores
    /// (arXiv:1910.10683).
    RelativeBuckets {
        /// Number of buckets, even if `two_way`.
        n_buckets: usize,
        /// Distance from which all positions share the last bucket.
        max_distance: usize,
        /// Whether later positions have buckets of their own: half of them.
        two_way: bool,
        /// Whether each layer has its table (UMT5); otherwise all share the stack's.
        #[serde(default, skip_serializing_if = "is_false")]
        by_layer: bool,
    },
    /// A vector for each bucket of signed distance, met by queries and keys of each layer
    /// (arXiv:2006.03654): `q_i k_j + q_i a[b] + k_j c[b]`, times the scale, `b` the bucket of
    /// `i - j`. `a` and `c` are tables of each layer.
    Disentangled {
        /// Buckets on either side: half the rows of a head's tables. A multiple of 4.
        n_buckets: usize,
        /// Distance of which the logarithm ends the last bucket; half of the buckets hold one
        /// distance each.
        max_distance: usize,
    },
    /// The distance times a number below zero for each head, added to the scores
    /// (arXiv:2108.12409).
    LinearBias {
        /// `n_heads` factors, without their sign.
        slopes: Vec<f32>,
    },
}

impl Position {
    fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }
}
