//! Phi-3, Phi-3.5 and Phi-4-mini: Llama's shape with fused projections, and LongRoPE.

use kinglet_formats::checkpoint::Checkpoint;

use super::decoder::{Decoder, Defaults, LLAMA_DEFAULTS};
use super::{Family, FolderConfig, Mapping, Table, llama};
use crate::QuantizeError;
use crate::fields::Fields;
use crate::take::at;

pub(super) const FAMILY: Family = Family {
    name: "phi3",
    architectures: &["Phi3ForCausalLM"],
    model_type: "phi3",
    gguf: Some(("phi3", from_gguf)),
    from_config,
};

const DEFAULTS: Defaults = Defaults {
    vocab_size: Some(32_064),
    hidden_size: Some(3072),
    intermediate_size: Some(8192),
    n_layers: Some(32),
    n_heads: Some(32),
    context_length: 4096,
    partial_rotary: Some(1.0),
    eps: 1e-5,
    ..LLAMA_DEFAULTS
};

/// Rows of the fused projections.
const QKV: &[&str] = &["q_proj", "k_proj", "v_proj"];
const GATE_UP: &[&str] = &["gate_proj", "up_proj"];

/// Besides Llama's names.
const IN_LAYER: Table = &[
    ("q_proj", at("self_attn.qkv_proj").fused(QKV)),
    ("k_proj", at("self_attn.qkv_proj").fused(QKV)),
    ("v_proj", at("self_attn.qkv_proj").fused(QKV)),
    ("gate_proj", at("mlp.gate_up_proj").fused(GATE_UP)),
    ("up_proj", at("mlp.gate_up_proj").fused(GATE_UP)),
];

/// Besides Llama's names; some converters take the fused projections apart.
const GGUF_IN_LAYER: Table = &[
    ("q_proj", at("attn_qkv").fused(QKV)),
    ("q_proj", at("attn_q")),
    ("k_proj", at("attn_qkv").fused(QKV)),
    ("k_proj", at("attn_k")),
    ("v_proj", at("attn_qkv").fused(QKV)),
    ("v_proj", at("attn_v")),
    ("gate_proj", at("ffn_up").fused(GATE_UP)),
    ("up_proj", at("ffn_up").fused(GATE_UP)),
];

fn from_config(
    folder: &FolderConfig<'_>,
    checkpoint: &dyn Checkpoint,
) -> Result<Mapping, QuantizeError> {
    let mut decoder = Decoder::from_config(&folder.config, checkpoint, &DEFAULTS)?;
    decoder.slide_all(folder.config.opt_size("sliding_window")?);
    let tables = &[IN_LAYER, llama::IN_LAYER];
    Ok(llama::mapping_of(FAMILY.name, &decoder, checkpoint, tables))
}

fn from_gguf(fields: &Fields<'_>, checkpoint: &dyn Checkpoint) -> Result<Mapping, QuantizeError> {
    let mut decoder = Decoder::from_gguf(fields, checkpoint, &DEFAULTS)?;
    decoder.slide_all(llama::gguf_window(fields)?);
    Ok(llama::gguf_mapping(FAMILY.name, &decoder, &[GGUF_IN_LAYER, llama::GGUF_IN_LAYER]))
}
