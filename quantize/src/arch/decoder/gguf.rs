//! What all families spell alike in GGUF metadata, and what tensors tell by their presence.

use kinglet_formats::checkpoint::Checkpoint;
use kinglet_formats::spec::NormKind;

use super::{Decoder, Defaults, LayerKind, check_groups, even_split};
use crate::QuantizeError;
use crate::arch::{dims_of, layer_count, rope};
use crate::fields::Fields;

impl Decoder {
    /// Reads the keys that all families spell alike, and what GGUF tells by the presence of tensors.
    /// Every layer gets full attention and the same rotation.
    pub(in crate::arch) fn from_gguf(
        fields: &Fields<'_>,
        checkpoint: &dyn Checkpoint,
        defaults: &Defaults,
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
        let rope = rope::from_gguf(fields, checkpoint, defaults, head_dim)?;
        let eps = fields.positive_float(match defaults.norm {
            NormKind::Rms => "attention.layer_norm_rms_epsilon",
            NormKind::Layer => "attention.layer_norm_epsilon",
        })?;
        Ok(Self {
            vocab_size,
            context_length: fields.size("context_length")?,
            hidden_size,
            intermediate_size: fields.size("feed_forward_length")?,
            n_heads,
            n_kv_heads,
            activation: defaults.activation,
            gated: defaults.gated,
            qkv_bias: has("blk.0.attn_q.bias") || has("blk.0.attn_qkv.bias"),
            output_bias: has("blk.0.attn_output.bias"),
            mlp_bias: has("blk.0.ffn_up.bias"),
            tied: !has("output.weight"),
            head_bias: has("output.bias"),
            layers: vec![
                LayerKind { rope: Some(rope), sliding_window: None, dense: false };
                n_layers
            ],
            ..Self::plain(head_dim, defaults.norm(eps))
        })
    }
}
