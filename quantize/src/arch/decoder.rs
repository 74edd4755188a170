//! The decoder that most families are variations of: pre-norm or sandwich RMS norms, rotary
//! grouped attention, gated MLP.

use kinglet_formats::checkpoint::Checkpoint;
use kinglet_formats::spec::{
    AbsolutePositions, Activation, Attention, Head, Input, Layer, Mlp, ModelSpec, Norm, NormKind,
    NormPlacement, Position, Rope, Stack, Topology,
};

use super::{activation, dims_of, layer_count};
use crate::QuantizeError;
use crate::fields::Fields;

/// Tensors of a decoder outside its layers, in GGUF files.
pub(super) const GGUF_OUTSIDE: &[(&str, &str)] =
    &[("embed_tokens", "token_embd"), ("final_norm", "output_norm"), ("lm_head", "output")];

/// Tensors of a decoder outside its layers, in Hugging Face checkpoints.
pub(super) const OUTSIDE: &[(&str, &str)] =
    &[("embed_tokens", "embed_tokens"), ("final_norm", "norm"), ("lm_head", "/lm_head")];

/// Everything a decoder's layers have in common, and what they do not.
pub(super) struct Decoder {
    pub(super) vocab_size: usize,
    pub(super) context_length: usize,
    pub(super) hidden_size: usize,
    pub(super) intermediate_size: usize,
    pub(super) n_heads: usize,
    pub(super) n_kv_heads: usize,
    pub(super) head_dim: usize,
    pub(super) norm_eps: f32,
    pub(super) activation: Activation,
    pub(super) qkv_bias: bool,
    pub(super) output_bias: bool,
    pub(super) mlp_bias: bool,
    pub(super) qk_norm: bool,
    pub(super) sandwich: bool,
    pub(super) tied: bool,
    pub(super) embedding_scale: f32,
    pub(super) attention_scale: f32,
    pub(super) logit_soft_cap: Option<f32>,
    /// What differs from layer to layer.
    pub(super) layers: Vec<LayerKind>,
}

/// What differs from layer to layer.
#[derive(Clone)]
pub(super) struct LayerKind {
    pub(super) rope: Rope,
    pub(super) sliding_window: Option<usize>,
}

/// What a family assumes where `config.json` is silent.
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
    pub(super) tied: bool,
    pub(super) activation_key: &'static str,
    pub(super) activation: Activation,
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
    tied: false,
    activation_key: "hidden_act",
    activation: Activation::Silu,
};

impl Decoder {
    /// Reads the keys that all families spell alike. Every layer gets full attention with `rope`.
    pub(super) fn from_config(
        config: &Fields<'_>,
        checkpoint: &dyn Checkpoint,
        defaults: &Defaults,
        rope: impl FnOnce(usize) -> Result<Rope, QuantizeError>,
    ) -> Result<Self, QuantizeError> {
        let size = |key: &str, default: Option<usize>| match default {
            Some(default) => config.size_or(key, default),
            None => config.size(key),
        };
        let hidden_size = size("hidden_size", defaults.hidden_size)?;
        let n_heads = size("num_attention_heads", defaults.n_heads)?;
        let n_layers = layer_count(config, "num_hidden_layers", checkpoint, defaults.n_layers)?;
        let head_dim = match (config.opt_size("head_dim")?, defaults.head_dim) {
            (Some(head_dim), _) | (None, Some(head_dim)) => head_dim,
            (None, None) => even_split(config, "num_attention_heads", hidden_size, n_heads)?,
        };
        let n_kv_heads =
            config.size_or("num_key_value_heads", defaults.n_kv_heads.unwrap_or(n_heads))?;
        check_groups(config, "num_key_value_heads", n_heads, n_kv_heads)?;
        let rope = rope(head_dim)?;
        Ok(Self {
            vocab_size: size("vocab_size", defaults.vocab_size)?,
            context_length: config.size_or("max_position_embeddings", defaults.context_length)?,
            hidden_size,
            intermediate_size: size("intermediate_size", defaults.intermediate_size)?,
            n_heads,
            n_kv_heads,
            head_dim,
            norm_eps: config.positive_float_or("rms_norm_eps", 1e-6)?,
            activation: activation::from_config(
                config,
                defaults.activation_key,
                defaults.activation,
            )?,
            tied: config.flag_or("tie_word_embeddings", defaults.tied)? && !own_head(checkpoint)?,
            layers: vec![LayerKind { rope, sliding_window: None }; n_layers],
            ..Self::plain(head_dim)
        })
    }

    /// Reads the keys that all families spell alike, and what GGUF tells by the presence of tensors.
    pub(super) fn from_gguf(
        fields: &Fields<'_>,
        checkpoint: &dyn Checkpoint,
        activation: Activation,
        rope: impl FnOnce(usize) -> Result<Rope, QuantizeError>,
    ) -> Result<Self, QuantizeError> {
        let hidden_size = fields.size("embedding_length")?;
        let n_heads = fields.size("attention.head_count")?;
        let n_layers = layer_count(fields, "block_count", checkpoint, None)?;
        let head_dim = match fields.opt_size("attention.key_length")? {
            Some(head_dim) => head_dim,
            None => even_split(fields, "attention.head_count", hidden_size, n_heads)?,
        };
        let value_dim = fields.size_or("attention.value_length", head_dim)?;
        if value_dim != head_dim {
            let supported = format!("attention.key_length, {head_dim}");
            return Err(fields.unsupported("attention.value_length", &value_dim, &supported));
        }
        let n_kv_heads = fields.size_or("attention.head_count_kv", n_heads)?;
        check_groups(fields, "attention.head_count_kv", n_heads, n_kv_heads)?;
        let vocab_size =
            match dims_of(checkpoint, "decoder.embed_tokens.weight", "token_embd.weight")? {
                [rows, _] => *rows,
                other => {
                    return Err(QuantizeError::Shape {
                        name: "token_embd.weight".to_owned(),
                        found: other.to_vec(),
                        expected: vec![fields.size_or("vocab_size", 1)?, hidden_size],
                    });
                }
            };
        let has = |name: &str| checkpoint.find(name).is_some();
        let rope = rope(head_dim)?;
        Ok(Self {
            vocab_size,
            context_length: fields.size("context_length")?,
            hidden_size,
            intermediate_size: fields.size("feed_forward_length")?,
            n_heads,
            n_kv_heads,
            head_dim,
            norm_eps: fields.positive_float("attention.layer_norm_rms_epsilon")?,
            activation,
            qkv_bias: has("blk.0.attn_q.bias"),
            output_bias: has("blk.0.attn_output.bias"),
            mlp_bias: has("blk.0.ffn_up.bias"),
            tied: !has("output.weight"),
            layers: vec![LayerKind { rope, sliding_window: None }; n_layers],
            ..Self::plain(head_dim)
        })
    }

    /// No biases, no caps, the usual scales. Sizes are the caller's.
    fn plain(head_dim: usize) -> Self {
        Self {
            vocab_size: 0,
            context_length: 0,
            hidden_size: 0,
            intermediate_size: 0,
            n_heads: 0,
            n_kv_heads: 0,
            head_dim,
            norm_eps: 0.0,
            activation: Activation::Silu,
            qkv_bias: false,
            output_bias: false,
            mlp_bias: false,
            qk_norm: false,
            sandwich: false,
            tied: false,
            embedding_scale: 1.0,
            attention_scale: inverse_sqrt(head_dim as f32),
            logit_soft_cap: None,
            layers: Vec::new(),
        }
    }

    /// The network in terms of blocks.
    pub(super) fn spec(&self) -> ModelSpec {
        let norm = Norm { kind: NormKind::Rms, eps: self.norm_eps, bias: false };
        let layer = |kind: &LayerKind| Layer {
            norm,
            norm_placement: if self.sandwich {
                NormPlacement::Sandwich
            } else {
                NormPlacement::Pre
            },
            attention: Attention {
                n_heads: self.n_heads,
                n_kv_heads: self.n_kv_heads,
                head_dim: self.head_dim,
                scale: self.attention_scale,
                causal: true,
                // A window that covers the whole context hides nothing.
                sliding_window: kind.sliding_window.filter(|&n| n < self.context_length),
                soft_cap: None,
                qkv_bias: self.qkv_bias,
                output_bias: self.output_bias,
                qk_norm: self.qk_norm.then_some(norm),
                position: Position::Rope(kind.rope.clone()),
            },
            cross_attention: None,
            mlp: Mlp {
                intermediate_size: self.intermediate_size,
                activation: self.activation,
                gated: true,
                bias: self.mlp_bias,
            },
            parallel: false,
            layer_scale: false,
            shares_weights_of: None,
        };
        ModelSpec {
            topology: Topology::Decoder,
            stacks: vec![Stack {
                name: "decoder".to_owned(),
                hidden_size: self.hidden_size,
                input: Input::Tokens {
                    vocab_size: self.vocab_size,
                    positions: AbsolutePositions::None,
                    n_segments: 0,
                    scale: self.embedding_scale,
                    norm: None,
                },
                layers: self.layers.iter().map(layer).collect(),
                final_norm: Some(norm),
            }],
            heads: vec![Head::LanguageModel {
                tied: self.tied,
                bias: false,
                soft_cap: self.logit_soft_cap,
            }],
            context_length: self.context_length,
        }
    }

    /// Gives every layer the same sliding window.
    pub(super) fn slide_all(&mut self, window: Option<usize>) {
        for layer in &mut self.layers {
            layer.sliding_window = window;
        }
    }
}

/// Whether the checkpoint stores a head that differs from the embeddings. The reference then uses
/// it, even if the configuration ties the two.
fn own_head(checkpoint: &dyn Checkpoint) -> Result<bool, QuantizeError> {
    let tensors = checkpoint.tensors();
    let find = |ending| tensors.iter().position(|tensor| tensor.name.ends_with(ending));
    let (Some(head), Some(embeddings)) = (find("lm_head.weight"), find("embed_tokens.weight"))
    else {
        return Ok(false);
    };
    Ok(tensors[head].dims != tensors[embeddings].dims
        || checkpoint.raw(head)? != checkpoint.raw(embeddings)?)
}

/// Reads `layer_types`: for each layer whether its attention slides. `None` when the key is absent.
pub(super) fn sliding_layers(
    config: &Fields<'_>,
    n_layers: usize,
) -> Result<Option<Vec<bool>>, QuantizeError> {
    let Some(list) = config.opt_list("layer_types")? else { return Ok(None) };
    if list.len() != n_layers {
        let expected = format!("one type for each of the {n_layers} layers");
        return Err(config.bad("layer_types", &format!("{} types", list.len()), &expected));
    }
    list.iter()
        .map(|kind| match kind.as_str() {
            Some("sliding_attention") => Ok(true),
            Some("full_attention") => Ok(false),
            _ => Err(config.unsupported("layer_types", kind, "sliding_attention, full_attention")),
        })
        .collect::<Result<_, _>>()
        .map(Some)
}

/// `1 / sqrt(x)`, rounded once.
pub(super) fn inverse_sqrt(x: f32) -> f32 {
    (1.0 / f64::from(x).sqrt()) as f32
}

/// `total / parts`, which must be whole.
pub(super) fn even_split(
    fields: &Fields<'_>,
    key: &str,
    total: usize,
    parts: usize,
) -> Result<usize, QuantizeError> {
    if total.is_multiple_of(parts) {
        Ok(total / parts)
    } else {
        Err(fields.bad(key, &parts, &format!("a divisor of the hidden size, {total}")))
    }
}

fn check_groups(
    fields: &Fields<'_>,
    key: &str,
    n_heads: usize,
    n_kv_heads: usize,
) -> Result<(), QuantizeError> {
    if n_heads.is_multiple_of(n_kv_heads) {
        Ok(())
    } else {
        Err(fields.bad(key, &n_kv_heads, &format!("a divisor of the {n_heads} heads")))
    }
}
