//! Llama 1 to 3, SmolLM, SmolLM2 and the many checkpoints of the same shape.

use kinglet_formats::checkpoint::Checkpoint;

use super::decoder::{Decoder, GGUF_OUTSIDE, LLAMA_DEFAULTS, OUTSIDE};
use super::{Family, FolderConfig, Mapping, Names, Table, experts, find_prefix};
use crate::QuantizeError;
use crate::fields::Fields;
use crate::take::at;

pub(super) const FAMILY: Family = Family {
    name: "llama",
    architectures: &["LlamaForCausalLM", "LlamaModel"],
    model_type: "llama",
    gguf: Some(("llama", from_gguf)),
    from_config,
};

/// Inside a layer, in Hugging Face checkpoints.
pub(super) const IN_LAYER: Table = &[
    ("attn_norm", at("input_layernorm")),
    ("q_proj", at("self_attn.q_proj")),
    ("k_proj", at("self_attn.k_proj")),
    ("v_proj", at("self_attn.v_proj")),
    ("q_norm", at("self_attn.q_norm")),
    ("k_norm", at("self_attn.k_norm")),
    ("o_proj", at("self_attn.o_proj")),
    ("mlp_norm", at("post_attention_layernorm")),
    ("gate_proj", at("mlp.gate_proj")),
    ("up_proj", at("mlp.up_proj")),
    ("down_proj", at("mlp.down_proj")),
];

/// Inside a layer, in GGUF files.
pub(super) const GGUF_IN_LAYER: Table = &[
    ("attn_norm", at("attn_norm")),
    ("q_proj", at("attn_q")),
    ("k_proj", at("attn_k")),
    ("v_proj", at("attn_v")),
    ("q_norm", at("attn_q_norm")),
    ("k_norm", at("attn_k_norm")),
    ("o_proj", at("attn_output")),
    ("mlp_norm", at("ffn_norm")),
    ("gate_proj", at("ffn_gate")),
    ("up_proj", at("ffn_up")),
    ("down_proj", at("ffn_down")),
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
    let mut decoder = Decoder::from_config(config, checkpoint, &LLAMA_DEFAULTS)?;
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
    mapping_of(family, decoder, checkpoint, &[IN_LAYER])
}

/// The same with other names inside a layer.
pub(super) fn mapping_of(
    family: &'static str,
    decoder: &Decoder,
    checkpoint: &dyn Checkpoint,
    in_layer: &'static [Table],
) -> Mapping {
    let names = Names {
        stack: "decoder",
        prefix: find_prefix(checkpoint, &["model.", ""], "embed_tokens.weight"),
        layers: "layers.",
        in_layer,
        outside: OUTSIDE,
        former_endings: &[],
    };
    let ignored = if decoder.tied { BUFFERS_AND_TIED_HEAD } else { BUFFERS };
    Mapping { ignored, ..decoder.mapping(family, names) }
}

fn from_gguf(fields: &Fields<'_>, checkpoint: &dyn Checkpoint) -> Result<Mapping, QuantizeError> {
    let mut decoder = Decoder::from_gguf(fields, checkpoint, &LLAMA_DEFAULTS)?;
    decoder.slide_all(gguf_window(fields)?);
    // Mixtral's files are called as Llama's.
    decoder.experts = experts::from_gguf(fields, &decoder, true)?;
    let mut mapping = gguf_mapping(FAMILY.name, &decoder, &[GGUF_IN_LAYER, experts::GGUF_IN_LAYER]);
    mapping.transforms.adjacent_rope_rows = true;
    Ok(mapping)
}

/// The window of all layers; writers put 0 for none.
pub(super) fn gguf_window(fields: &Fields<'_>) -> Result<Option<usize>, QuantizeError> {
    let key = "attention.sliding_window";
    match fields.opt_float(key) {
        Ok(Some(0.0)) => Ok(None),
        _ => fields.opt_size(key),
    }
}

/// The mapping of a GGUF file.
pub(super) fn gguf_mapping(
    family: &'static str,
    decoder: &Decoder,
    in_layer: &'static [Table],
) -> Mapping {
    let names = Names {
        stack: "decoder",
        prefix: String::new(),
        layers: "blk.",
        in_layer,
        outside: GGUF_OUTSIDE,
        former_endings: &[],
    };
    // Read into the spec.
    let ignored = &["rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight"];
    Mapping { ignored, ..decoder.mapping(family, names) }
}
