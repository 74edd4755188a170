//! What all families spell alike in `config.json`.

use kinglet_formats::checkpoint::Checkpoint;

use super::{Decoder, Defaults, LayerKind};
use crate::QuantizeError;
use crate::arch::{activation, layer_count, rope};
use crate::fields::Fields;

/// Most dimensions of a head: every layer has a list of their rotations.
const MAX_HEAD_DIM: usize = 1 << 16;

impl Decoder {
    /// Reads the keys that all families spell alike. Every layer gets full attention and the same
    /// rotation.
    pub(in crate::arch) fn from_config(
        config: &Fields<'_>,
        checkpoint: &dyn Checkpoint,
        defaults: &Defaults,
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
        if head_dim > MAX_HEAD_DIM {
            return Err(config.bad("head_dim", &head_dim, &format!("at most {MAX_HEAD_DIM}")));
        }
        let n_kv_heads =
            config.size_or("num_key_value_heads", defaults.n_kv_heads.unwrap_or(n_heads))?;
        check_groups(config, "num_key_value_heads", n_heads, n_kv_heads)?;
        let rope = rope::from_config(config, defaults, head_dim, "full_attention")?;
        let norm = defaults.norm(config.positive_float_or(defaults.eps_key, defaults.eps)?);
        Ok(Self {
            vocab_size: size("vocab_size", defaults.vocab_size)?,
            context_length: config.size_or("max_position_embeddings", defaults.context_length)?,
            hidden_size,
            intermediate_size: size("intermediate_size", defaults.intermediate_size)?,
            n_heads,
            n_kv_heads,
            activation: activation::from_config(
                config,
                defaults.activation_key,
                defaults.activation,
            )?,
            gated: defaults.gated,
            tied: config.flag_or("tie_word_embeddings", defaults.tied)? && !own_head(checkpoint)?,
            layers: vec![
                LayerKind { rope: Some(rope), sliding_window: None, dense: false };
                n_layers
            ],
            ..Self::plain(head_dim, norm)
        })
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
pub(in crate::arch) fn sliding_layers(
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

/// `total / parts`, which must be whole.
pub(in crate::arch) fn even_split(
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

/// An error unless the key/value heads divide the heads.
pub(in crate::arch) fn check_groups(
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
