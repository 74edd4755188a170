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

    /// Outputs of its chain, 0 where that is empty.
    pub fn chain_size(&self) -> usize {
        self.chain.last().map_or(0, |dense| dense.size)
    }

    /// One vector per sequence of the last stack.
    pub fn embedding(pooling: Pooling, normalize: bool) -> Self {
        let output = Output::Vector { normalize };
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

/// How rows become one per sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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
}
