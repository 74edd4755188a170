//! Llama 1 to 3, SmolLM, SmolLM2 and the many checkpoints of the same shape.

use kinglet_formats::checkpoint::Checkpoint;
use kinglet_formats::spec::Activation;

use super::decoder::{Decoder, GGUF_OUTSIDE, LLAMA_DEFAULTS, OUTSIDE};
use super::{Family, FolderConfig, Mapping, Names, Transforms, find_prefix, rope};
use crate::QuantizeError;
use crate::fields::Fields;

pub(super) const FAMILY: Family = Family {
    name: "llama",
    architectures: &["LlamaForCausalLM"],
    gguf: "llama",
    from_config,
    from_gguf,
};

/// Inside a layer, in Hugging Face checkpoints.
pub(super) const IN_LAYER: &[(&str, &str)] = &[
    ("attn_norm", "input_layernorm"),
    ("q_proj", "self_attn.q_proj"),
    ("k_proj", "self_attn.k_proj"),
    ("v_proj", "self_attn.v_proj"),
    ("q_norm", "self_attn.q_norm"),
    ("k_norm", "self_attn.k_norm"),
    ("o_proj", "self_attn.o_proj"),
    ("mlp_norm", "post_attention_layernorm"),
    ("gate_proj", "mlp.gate_proj"),
    ("up_proj", "mlp.up_proj"),
    ("down_proj", "mlp.down_proj"),
];

/// Inside a layer, in GGUF files.
pub(super) const GGUF_IN_LAYER: &[(&str, &str)] = &[
    ("attn_norm", "attn_norm"),
    ("q_proj", "attn_q"),
    ("k_proj", "attn_k"),
    ("v_proj", "attn_v"),
    ("q_norm", "attn_q_norm"),
    ("k_norm", "attn_k_norm"),
    ("o_proj", "attn_output"),
    ("mlp_norm", "ffn_norm"),
    ("gate_proj", "ffn_gate"),
    ("up_proj", "ffn_up"),
    ("down_proj", "ffn_down"),
];

/// Buffers that old releases saved and everyone computes.
const BUFFERS: &[&str] = &["*rotary_emb.inv_freq", "*self_attn.masked_bias"];
/// The same, and a copy of the embeddings that some checkpoints store beside them.
const BUFFERS_AND_TIED_HEAD: &[&str] =
    &["*rotary_emb.inv_freq", "*self_attn.masked_bias", "*lm_head.weight"];

fn from_config(
    folder: &FolderConfig<'_>,
    checkpoint: &dyn Checkpoint,
) -> Result<Mapping, QuantizeError> {
    let config = &folder.config;
    let mut decoder = Decoder::from_config(config, checkpoint, &LLAMA_DEFAULTS, |head_dim| {
        rope::from_config(config, LLAMA_DEFAULTS.rope_theta, head_dim, "full_attention")
    })?;
    decoder.qkv_bias = config.flag_or("attention_bias", false)?;
    decoder.output_bias = decoder.qkv_bias;
    decoder.mlp_bias = config.flag_or("mlp_bias", false)?;
    Ok(mapping(FAMILY.name, &decoder, checkpoint))
}

/// The mapping of a Hugging Face checkpoint with Llama's tensor names.
pub(super) fn mapping(
    family: &'static str,
    decoder: &Decoder,
    checkpoint: &dyn Checkpoint,
) -> Mapping {
    Mapping {
        family,
        spec: decoder.spec(),
        names: Names {
            prefix: find_prefix(checkpoint, &["model.", ""], "embed_tokens.weight"),
            layers: "layers.",
            in_layer: IN_LAYER,
            outside: OUTSIDE,
            former_endings: &[],
        },
        transforms: Transforms::default(),
        ignored: if decoder.tied { BUFFERS_AND_TIED_HEAD } else { BUFFERS },
        max_tokens: None,
    }
}

fn from_gguf(fields: &Fields<'_>, checkpoint: &dyn Checkpoint) -> Result<Mapping, QuantizeError> {
    let mut decoder = Decoder::from_gguf(fields, checkpoint, Activation::Silu, |head_dim| {
        rope::from_gguf(fields, checkpoint, LLAMA_DEFAULTS.rope_theta, head_dim)
    })?;
    let window = fields.opt_size("attention.sliding_window")?;
    decoder.slide_all(window);
    let mut mapping = gguf_mapping(FAMILY.name, &decoder, GGUF_IN_LAYER);
    mapping.transforms.adjacent_rope_rows = true;
    Ok(mapping)
}

/// The mapping of a GGUF file.
pub(super) fn gguf_mapping(
    family: &'static str,
    decoder: &Decoder,
    in_layer: &'static [(&'static str, &'static str)],
) -> Mapping {
    Mapping {
        family,
        spec: decoder.spec(),
        names: Names {
            prefix: String::new(),
            layers: "blk.",
            in_layer,
            outside: GGUF_OUTSIDE,
            former_endings: &[],
        },
        transforms: Transforms::default(),
        // Read into the spec.
        ignored: &["rope_freqs.weight"],
        max_tokens: None,
    }
}
