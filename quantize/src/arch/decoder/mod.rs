//! The decoder that nearly all families are variations of: grouped attention with rotary positions
//! and a feed-forward part, with norms before, after, or both, one after the other or side by side.

mod config;
mod gguf;

use kinglet_formats::spec::{
    AbsolutePositions, Activation, Attention, Block, Experts, Gain, Head, Input, Layer, Mixer,
    MixerKind, Mlp, ModelSpec, Norm, NormKind, Output, Position, QkNorm, QkNormScope, Rope, Stack,
    TokenInput,
};

pub(super) use config::{check_groups, even_split, sliding_layers};

use super::{Mapping, Names, Table, Transforms};
use crate::take::at;

/// Tensors of a decoder outside its layers, in GGUF files.
pub(super) const GGUF_OUTSIDE: Table = &[
    ("embed_tokens", at("token_embd")),
    ("final_norm", at("output_norm")),
    ("lm_head", at("output")),
];

/// Tensors of a decoder outside its layers, in Hugging Face checkpoints.
pub(super) const OUTSIDE: Table = &[
    ("embed_tokens", at("embed_tokens")),
    ("final_norm", at("norm")),
    ("lm_head", at("/lm_head")),
];

/// Everything a decoder's layers have in common, and what they do not.
pub(super) struct Decoder {
    pub(super) vocab_size: usize,
    pub(super) context_length: usize,
    pub(super) hidden_size: usize,
    /// Width of the MLP, in layers that have one of their own.
    pub(super) intermediate_size: usize,
    pub(super) n_heads: usize,
    pub(super) n_kv_heads: usize,
    pub(super) head_dim: usize,
    /// Every norm of the network.
    pub(super) norm: Norm,
    pub(super) activation: Activation,
    pub(super) gated: bool,
    pub(super) qkv_bias: bool,
    pub(super) output_bias: bool,
    pub(super) mlp_bias: bool,
    pub(super) qk_norm: Option<QkNormScope>,
    pub(super) norms: Norms,
    /// In place of the MLP, in layers that are not dense.
    pub(super) experts: Option<Experts>,
    /// Beside the experts.
    pub(super) shared_expert: Option<SharedExpert>,
    pub(super) tied: bool,
    pub(super) head_bias: bool,
    pub(super) embedding_scale: f32,
    pub(super) attention_scale: f32,
    pub(super) attention_soft_cap: Option<f32>,
    /// Factor on what each block adds.
    pub(super) residual_scale: f32,
    pub(super) logit_scale: f32,
    pub(super) logit_soft_cap: Option<f32>,
    /// Whether a position sees only itself and earlier ones.
    pub(super) causal: bool,
    /// What differs from layer to layer.
    pub(super) layers: Vec<LayerKind>,
}

/// Where the norms of a layer sit, and whether its parts follow one another.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Norms {
    /// On the input of attention, then on that of the feed-forward part.
    Pre,
    /// On their outputs.
    Post,
    /// On both.
    Both,
    /// Attention and feed-forward part read one normed input, side by side.
    Shared,
    /// Side by side, each with a norm of the input.
    Each,
}

/// An expert that every token passes through.
#[derive(Clone, Copy)]
pub(super) struct SharedExpert {
    pub(super) intermediate_size: usize,
    /// Whether a learned number per token weights it.
    pub(super) gated: bool,
}

/// What differs from layer to layer.
#[derive(Clone)]
pub(super) struct LayerKind {
    /// `None` where attention knows no positions.
    pub(super) rope: Option<Rope>,
    pub(super) sliding_window: Option<usize>,
    /// An MLP, though other layers have experts.
    pub(super) dense: bool,
}

/// What a family assumes where a configuration is silent, and how it spells some keys.
pub(super) struct Defaults {
    pub(super) vocab_size: Option<usize>,
    pub(super) hidden_size: Option<usize>,
    pub(super) intermediate_size: Option<usize>,
    pub(super) n_layers: Option<usize>,
    pub(super) n_heads: Option<usize>,
    /// `None`: as many as query heads.
    pub(super) n_kv_heads: Option<usize>,
    /// `None`: `hidden_size / n_heads`.
    pub(super) head_dim: Option<usize>,
    pub(super) context_length: usize,
    pub(super) rope_theta: f32,
    /// Part of a head that is rotated; `None` where a configuration has no say in it.
    pub(super) partial_rotary: Option<f32>,
    pub(super) tied: bool,
    pub(super) norm: NormKind,
    pub(super) norm_bias: bool,
    pub(super) eps_key: &'static str,
    pub(super) eps: f32,
    pub(super) activation_key: &'static str,
    pub(super) activation: Activation,
    pub(super) gated: bool,
}

/// Llama's, which most families share.
pub(super) const LLAMA_DEFAULTS: Defaults = Defaults {
    vocab_size: None,
    hidden_size: None,
    intermediate_size: None,
    n_layers: None,
    n_heads: None,
    n_kv_heads: None,
    head_dim: None,
    context_length: 2048,
    rope_theta: 10_000.0,
    partial_rotary: None,
    tied: false,
    norm: NormKind::Rms,
    norm_bias: false,
    eps_key: "rms_norm_eps",
    eps: 1e-6,
    activation_key: "hidden_act",
    activation: Activation::Silu,
    gated: true,
};

impl Defaults {
    /// Llama's with another base of rotations.
    pub(super) const fn rotating(theta: f32) -> Self {
        Self { rope_theta: theta, ..LLAMA_DEFAULTS }
    }

    fn norm(&self, eps: f32) -> Norm {
        Norm { kind: self.norm, eps, bias: self.norm_bias }
    }
}

impl Decoder {
    /// No biases, no caps, the usual scales. Sizes are the caller's.
    fn plain(head_dim: usize, norm: Norm) -> Self {
        Self {
            vocab_size: 0,
            context_length: 0,
            hidden_size: 0,
            intermediate_size: 0,
            n_heads: 0,
            n_kv_heads: 0,
            head_dim,
            norm,
            activation: Activation::Silu,
            gated: true,
            qkv_bias: false,
            output_bias: false,
            mlp_bias: false,
            qk_norm: None,
            norms: Norms::Pre,
            experts: None,
            shared_expert: None,
            tied: false,
            head_bias: false,
            embedding_scale: 1.0,
            attention_scale: inverse_sqrt(head_dim as f32),
            attention_soft_cap: None,
            residual_scale: 1.0,
            logit_scale: 1.0,
            logit_soft_cap: None,
            causal: true,
            layers: Vec::new(),
        }
    }

    /// The network in terms of blocks.
    pub(super) fn spec(&self) -> ModelSpec {
        let output = Output::Logits {
            tied: self.tied,
            bias: self.head_bias,
            scale: self.logit_scale,
            soft_cap: self.logit_soft_cap,
            shortlist: None,
        };
        ModelSpec {
            stacks: vec![Stack {
                name: "decoder".to_owned(),
                hidden_size: self.hidden_size,
                input: Input::Tokens(TokenInput {
                    vocab_size: self.vocab_size,
                    table_of: None,
                    width: None,
                    positions: AbsolutePositions::None,
                    n_segments: 0,
                    zero_start: false,
                    scale: self.embedding_scale,
                    norm: None,
                }),
                layers: self.layers.iter().map(|kind| self.layer(kind)).collect(),
                final_norm: Some(self.norm),
            }],
            heads: vec![Head { output, ..Head::language_model(self.tied) }],
            context_length: self.context_length,
        }
    }

    fn layer(&self, kind: &LayerKind) -> Layer {
        let attention = MixerKind::Attention(self.attention(kind));
        let mut parts = vec![attention];
        parts.extend(self.feed_forward(kind));
        let blocks = match self.norms {
            Norms::Shared | Norms::Each => vec![self.block(parts)],
            _ => {
                let feed_forward = parts.split_off(1);
                vec![self.block(parts), self.block(feed_forward)]
            }
        };
        Layer { blocks, weights_of: None }
    }

    fn block(&self, kinds: Vec<MixerKind>) -> Block {
        let norm = |wanted: bool| wanted.then_some(self.norm);
        let own = norm(self.norms == Norms::Each);
        Block {
            pre: norm(matches!(self.norms, Norms::Pre | Norms::Both | Norms::Shared)),
            mixers: kinds.into_iter().map(|kind| Mixer { pre: own, kind }).collect(),
            post: norm(matches!(self.norms, Norms::Post | Norms::Both)),
            gain: match self.residual_scale {
                1.0 => Gain::One,
                factor => Gain::Scalar { factor },
            },
            after: None,
        }
    }

    fn attention(&self, kind: &LayerKind) -> Attention {
        Attention {
            n_kv_heads: self.n_kv_heads,
            scale: self.attention_scale,
            causal: self.causal,
            // A window that covers the whole context hides nothing.
            sliding_window: kind.sliding_window.filter(|&n| n < self.context_length),
            soft_cap: self.attention_soft_cap,
            q_bias: self.qkv_bias,
            k_bias: self.qkv_bias,
            v_bias: self.qkv_bias,
            output_bias: self.output_bias,
            qk_norm: self.qk_norm.map(|scope| QkNorm { norm: self.norm, scope }),
            position: kind.rope.clone().map_or(Position::None, Position::Rope),
            ..Attention::plain(self.n_heads, self.head_dim)
        }
    }

    /// An MLP, or experts and what stands beside them.
    fn feed_forward(&self, kind: &LayerKind) -> Vec<MixerKind> {
        let mlp = |intermediate_size, output_gate| {
            MixerKind::Mlp(Mlp {
                intermediate_size,
                activation: self.activation,
                gated: self.gated,
                bias: self.mlp_bias,
                output_bias: false,
                output_gate,
            })
        };
        let Some(experts) = self.experts.as_ref().filter(|_| !kind.dense) else {
            return vec![mlp(self.intermediate_size, false)];
        };
        let shared = self.shared_expert.map(|shared| mlp(shared.intermediate_size, shared.gated));
        [MixerKind::Experts(experts.clone())].into_iter().chain(shared).collect()
    }

    /// Gives every layer the same sliding window.
    pub(super) fn slide_all(&mut self, window: Option<usize>) {
        for layer in &mut self.layers {
            layer.sliding_window = window;
        }
    }

    /// The mapping of a checkpoint with these names.
    pub(super) fn mapping(&self, family: &'static str, names: Names) -> Mapping {
        Mapping {
            family,
            spec: self.spec(),
            names: vec![names],
            transforms: Transforms::default(),
            ignored: &[],
            max_tokens: None,
            images: Default::default(),
        }
    }
}

/// `1 / sqrt(x)`, rounded once.
pub(super) fn inverse_sqrt(x: f32) -> f32 {
    (1.0 / f64::from(x).sqrt()) as f32
}
