//! What is read off a network's output: pool, chain of dense layers, output.

use serde::{Deserialize, Serialize};

use super::{Activation, Norm, is_false, is_one, one};

/// Something a model offers: `output(chain(pool(rows of a stack)))`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// Name of the stack it reads; the last one otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack: Option<String>,
    /// How rows become one; every row stands for itself otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<Pooling>,
    /// Dense layers, one after another.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chain: Vec<Dense>,
    /// What comes out.
    pub output: Output,
}

impl Head {
    /// Next-token logits of the last stack.
    pub fn language_model(tied: bool) -> Self {
        let output =
            Output::Logits { tied, bias: false, scale: 1.0, soft_cap: None, shortlist: None };
        Self { stack: None, pool: None, chain: Vec::new(), output }
    }

    /// Inputs of its chain, for a stack of width `hidden_size`.
    pub fn inputs(&self, hidden_size: usize) -> usize {
        self.pool.map_or(hidden_size, |pool| pool.width(hidden_size))
    }

    /// Outputs of its chain, 0 where that is empty.
    pub fn chain_size(&self) -> usize {
        self.chain.last().map_or(0, |dense| dense.size)
    }

    /// One vector per sequence of the last stack.
    pub fn embedding(pooling: Pooling, normalize: bool) -> Self {
        let output = Output::Vector { normalize, similarity: None };
        Self { stack: None, pool: Some(pooling), chain: Vec::new(), output }
    }
}

/// A dense layer of a head: `norm(act(W x + b))`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dense {
    /// Outputs.
    pub size: usize,
    /// Whether a bias vector is added.
    #[serde(default, skip_serializing_if = "is_false")]
    pub bias: bool,
    /// Non-linearity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activation: Option<Activation>,
    /// Norm on its output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub norm: Option<Norm>,
}

impl Dense {
    /// `W x + b`.
    pub fn plain(size: usize) -> Self {
        Self { size, bias: true, activation: None, norm: None }
    }
}

/// What a head gives.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Output {
    /// A logit for each token of the stack's vocabulary.
    Logits {
        /// Whether the token embedding is the output matrix.
        tied: bool,
        /// Whether a bias vector is added.
        #[serde(default, skip_serializing_if = "is_false")]
        bias: bool,
        /// Factor on the logits (T5: `1 / sqrt(hidden_size)`; Granite).
        #[serde(default = "one", skip_serializing_if = "is_one")]
        scale: f32,
        /// Logits become `cap * tanh(logit / cap)`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        soft_cap: Option<f32>,
        /// Which words may answer a source, where it is given with the model.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        shortlist: Option<Shortlist>,
    },
    /// What the chain gives.
    Vector {
        /// Whether it is scaled to length one.
        normalize: bool,
        /// How it is compared with the vectors of another stack's head, of texts with images, if it
        /// was trained to be.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        similarity: Option<Similarity>,
    },
    /// A logit for each label, of which the meta section has the names: of a sequence where its rows
    /// are pooled, of each row otherwise. The chain gives them.
    Labels {
        /// How logits become scores.
        scores: Scores,
    },
    /// Two logits for each row, that an answer begins and that it ends there. The chain gives them.
    Span,
}

/// For each token of a source the tokens that may answer it, in two tensors: `shortlist.offsets`
/// `[vocab_size + 1]`, where the list of each begins, and `shortlist.words` `[n_words]`. Besides these may
/// answer: the first of the vocabulary, the source's own, and the first of those that are left until all
/// are a multiple of 8.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shortlist {
    /// How many of the vocabulary's first tokens may always answer.
    pub n_frequent: usize,
    /// Tokens in all lists together.
    pub n_words: usize,
}

/// How the logits of labels become scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scores {
    /// One label is right: `exp(x_i) / sum of exp(x)`.
    Softmax,
    /// Each label is right or not: `1 / (1 + exp(-x))`.
    Sigmoid,
    /// The logits themselves: quantities, not probabilities.
    Raw,
}

/// What the vectors of two stacks say of each other: `scale * cosine + bias` is the logit of their
/// belonging together.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Similarity {
    /// Factor on the cosine.
    pub scale: f32,
    /// Added to it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub bias: f32,
    /// How the logits of one vector with several others become scores: these compete (CLIP), or
    /// each is judged by itself (SigLIP).
    pub scores: Scores,
}

/// How rows become one per sequence.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Pooling {
    /// Mean over all rows.
    Mean,
    /// The first row.
    Cls,
    /// The last row.
    Last,
    /// Maximum over all rows, per dimension.
    Max,
    /// Sum over all rows, divided by the square root of their number.
    MeanSqrtLen,
    /// Mean in which the first row counts once, the second twice and so on.
    WeightedMean,
    /// The first rows, one behind another (DeiT: class and distillation).
    Leading {
        /// How many.
        rows: usize,
    },
    /// The first row, and behind it the mean of an image's patches (DINOv2).
    ClsAndPatches,
    /// Attention of a learned query to all rows (SigLIP).
    Attention(AttentionPool),
}

/// Rows become one by the attention of a learned query and a feed-forward block behind it.
///
/// The query is the same for everything that is read, so that it meets the keys' projection once, when
/// a model is converted: for each head one row of scores, `a = softmax(rows * scores_h)` over the rows.
/// Then `y = o_proj(concat(v_proj_h(sum of a_i * row_i)))`, and `y + down_proj(act(up_proj(norm(y))))`
/// comes out.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttentionPool {
    /// Heads; they divide the stack's width.
    pub n_heads: usize,
    /// Norm before the feed-forward block.
    pub norm: Norm,
    /// Width between its projections.
    pub intermediate_size: usize,
    /// Its non-linearity.
    pub activation: Activation,
}

impl Pooling {
    /// Columns of what it makes of rows of `hidden_size`.
    pub fn width(&self, hidden_size: usize) -> usize {
        match self {
            Self::Leading { rows } => rows.saturating_mul(hidden_size),
            Self::ClsAndPatches => hidden_size.saturating_mul(2),
            _ => hidden_size,
        }
    }
}

fn is_zero(x: &f32) -> bool {
    *x == 0.0
}
