//! Feed-forward blocks.

use serde::{Deserialize, Serialize};

use super::{is_false, is_true, yes};

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
    /// A bias on the last projection, where the others have none.
    #[serde(default, skip_serializing_if = "is_false")]
    pub output_bias: bool,
    /// Whether the result is multiplied by `sigmoid(g x)` of a learned row `g`: one number for each
    /// token (shared experts of Qwen 2). Such a block has no biases.
    #[serde(default, skip_serializing_if = "is_false")]
    pub output_gate: bool,
}

/// Feed-forward blocks of which each token passes through some:
/// `sum of weight_e * down_e(act(gate_e x) * up_e x)` over the `n_used` experts with the largest
/// router outputs (arXiv:2101.03961). Experts that every token passes through are an [`Mlp`] beside
/// them in the same block.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Experts {
    /// Number of experts.
    pub n_experts: usize,
    /// Experts for each token.
    pub n_used: usize,
    /// Width of an expert between its projections; a multiple of 8.
    pub intermediate_size: usize,
    /// Non-linearity.
    pub activation: Activation,
    /// Whether the chosen experts' weights, a softmax over all experts, are scaled to a sum of one.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub renormalize: bool,
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
    /// `tanh(x)`
    Tanh,
}
