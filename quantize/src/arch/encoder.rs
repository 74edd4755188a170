//! The encoder that most families are variations of: embeddings with a norm, then blocks of
//! attention and MLP with a LayerNorm after each.

use kinglet_formats::checkpoint::Checkpoint;
use kinglet_formats::spec::{
    AbsolutePositions, Activation, Attention, Block, Input, Layer, MixerKind, Mlp, ModelSpec, Norm,
    NormKind, Stack, TokenInput,
};

use super::decoder::even_split;
use super::{activation, layer_count};
use crate::QuantizeError;
use crate::fields::Fields;

/// Checkpoints converted from TensorFlow keep that library's names.
pub(super) const FORMER_ENDINGS: &[(&str, &str)] =
    &[("LayerNorm.weight", "LayerNorm.gamma"), ("LayerNorm.bias", "LayerNorm.beta")];

/// Everything an encoder's layers have in common.
pub(super) struct Encoder {
    pub(super) vocab_size: usize,
    /// Width of the tables, where it is not the layers'.
    pub(super) width: Option<usize>,
    pub(super) n_segments: usize,
    pub(super) positions: AbsolutePositions,
    /// Longest text, special tokens included.
    pub(super) context_length: usize,
    pub(super) hidden_size: usize,
    pub(super) n_layers: usize,
    pub(super) norm_eps: f32,
    pub(super) attention: Attention,
    pub(super) mlp: Mlp,
    /// Whether all layers use the weights of the first.
    pub(super) one_layer: bool,
}

/// What a family assumes where `config.json` is silent; `None`: it is never silent.
pub(super) struct Defaults {
    pub(super) vocab_size: Option<usize>,
    pub(super) hidden_size: Option<usize>,
    pub(super) intermediate_size: Option<usize>,
    pub(super) n_layers: Option<usize>,
    pub(super) n_heads: Option<usize>,
    pub(super) max_positions: usize,
    pub(super) n_segments: usize,
    pub(super) norm_eps: f32,
    pub(super) activation: Activation,
    /// The one value of `position_embedding_type` that the family has.
    pub(super) position_type: &'static str,
}

/// BERT's, which most families share.
pub(super) const BERT_DEFAULTS: Defaults = Defaults {
    vocab_size: None,
    hidden_size: None,
    intermediate_size: None,
    n_layers: None,
    n_heads: None,
    max_positions: 512,
    n_segments: 2,
    norm_eps: 1e-12,
    activation: Activation::Gelu,
    position_type: "absolute",
};

impl Encoder {
    /// Reads the keys that most families spell alike. Positions are learned, from the first row of
    /// their table on.
    pub(super) fn from_config(
        config: &Fields<'_>,
        checkpoint: &dyn Checkpoint,
        defaults: &Defaults,
    ) -> Result<Self, QuantizeError> {
        for key in ["is_decoder", "add_cross_attention"] {
            if config.flag_or(key, false)? {
                return Err(config.unsupported(key, "true", "false"));
            }
        }
        let (key, supported) = ("position_embedding_type", defaults.position_type);
        let positions = config.opt_text(key)?.unwrap_or(supported);
        if positions != supported {
            return Err(config.unsupported(key, positions, supported));
        }
        let size = |key: &str, default: Option<usize>| match default {
            Some(default) => config.size_or(key, default),
            None => config.size(key),
        };
        let hidden_size = size("hidden_size", defaults.hidden_size)?;
        let n_heads = size("num_attention_heads", defaults.n_heads)?;
        let head_dim = even_split(config, "num_attention_heads", hidden_size, n_heads)?;
        let max_positions = config.size_or("max_position_embeddings", defaults.max_positions)?;
        Ok(Self {
            vocab_size: size("vocab_size", defaults.vocab_size)?,
            width: None,
            n_segments: config.count_or("type_vocab_size", defaults.n_segments)?,
            positions: AbsolutePositions::Learned { max_positions, offset: 0 },
            context_length: max_positions,
            hidden_size,
            n_layers: layer_count(config, "num_hidden_layers", checkpoint, defaults.n_layers)?,
            norm_eps: config.positive_float_or("layer_norm_eps", defaults.norm_eps)?,
            attention: Attention::plain(n_heads, head_dim).biased(true),
            mlp: plain_mlp(
                size("intermediate_size", defaults.intermediate_size)?,
                activation::from_config(config, "hidden_act", defaults.activation)?,
            ),
            one_layer: false,
        })
    }

    /// Positions are counted from row `offset` of their table on.
    pub(super) fn skip_positions(
        &mut self,
        config: &Fields<'_>,
        offset: usize,
    ) -> Result<(), QuantizeError> {
        let AbsolutePositions::Learned { max_positions, offset: first } = &mut self.positions
        else {
            return Ok(());
        };
        if *max_positions <= offset {
            let expected = format!("more than the {offset} rows that are not used");
            return Err(config.bad("max_position_embeddings", max_positions, &expected));
        }
        *first = offset;
        self.context_length = *max_positions - offset;
        Ok(())
    }

    /// The network in terms of blocks. What it is for, its heads, is said elsewhere.
    pub(super) fn spec(&self) -> ModelSpec {
        let norm = Norm { kind: NormKind::Layer, eps: self.norm_eps, bias: true };
        let block = |kind| Block { after: Some(norm), ..Block::of(kind) };
        let blocks = vec![
            block(MixerKind::Attention(self.attention.clone())),
            block(MixerKind::Mlp(self.mlp.clone())),
        ];
        let layer = |i: usize| Layer {
            blocks: blocks.clone(),
            weights_of: (self.one_layer && i > 0).then_some(0),
        };
        ModelSpec {
            stacks: vec![Stack {
                name: "encoder".to_owned(),
                hidden_size: self.hidden_size,
                input: Input::Tokens(TokenInput {
                    vocab_size: self.vocab_size,
                    table_of: None,
                    width: self.width,
                    positions: self.positions,
                    n_segments: self.n_segments,
                    zero_start: false,
                    scale: 1.0,
                    norm: Some(norm),
                }),
                layers: (0..self.n_layers).map(layer).collect(),
                final_norm: None,
            }],
            heads: Vec::new(),
            context_length: self.context_length,
        }
    }
}

/// An MLP of two projections with biases.
pub(super) fn plain_mlp(intermediate_size: usize, activation: Activation) -> Mlp {
    Mlp {
        intermediate_size,
        activation,
        gated: false,
        bias: true,
        output_bias: false,
        output_gate: false,
    }
}
