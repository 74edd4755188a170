//! GPT-NeoX and Pythia: attention and MLP side by side, each with a norm of its own, and partly
//! rotated heads.

use kinglet_formats::checkpoint::Checkpoint;
use kinglet_formats::spec::{Activation, NormKind};

use super::decoder::{Decoder, Defaults, LLAMA_DEFAULTS, Norms};
use super::{Family, FolderConfig, Mapping, Names, Table, find_prefix, llama};
use crate::QuantizeError;
use crate::fields::Fields;
use crate::take::at;

pub(super) const FAMILY: Family = Family {
    name: "gpt_neox",
    architectures: &["GPTNeoXForCausalLM"],
    model_type: "gpt_neox",
    gguf: Some(("gptneox", from_gguf)),
    from_config,
};

const DEFAULTS: Defaults = Defaults {
    vocab_size: Some(50_432),
    hidden_size: Some(6144),
    intermediate_size: Some(24_576),
    n_layers: Some(44),
    n_heads: Some(64),
    partial_rotary: Some(0.25),
    norm: NormKind::Layer,
    norm_bias: true,
    eps_key: "layer_norm_eps",
    eps: 1e-5,
    activation: Activation::Gelu,
    gated: false,
    ..LLAMA_DEFAULTS
};

/// Rows of the fused projection: once for each head in folders, once in all in GGUF files.
const QKV: &[&str] = &["q_proj", "k_proj", "v_proj"];

const IN_LAYER: Table = &[
    ("attn_norm", at("input_layernorm")),
    ("q_proj", at("attention.query_key_value").fused(QKV).per_group()),
    ("k_proj", at("attention.query_key_value").fused(QKV).per_group()),
    ("v_proj", at("attention.query_key_value").fused(QKV).per_group()),
    ("o_proj", at("attention.dense")),
    ("mlp_norm", at("post_attention_layernorm")),
    ("up_proj", at("mlp.dense_h_to_4h")),
    ("down_proj", at("mlp.dense_4h_to_h")),
];

const OUTSIDE: Table = &[
    ("embed_tokens", at("embed_in")),
    ("final_norm", at("final_layer_norm")),
    ("lm_head", at("/embed_out")),
];

/// Besides Llama's names.
pub(super) const GGUF_IN_LAYER: Table = &[
    ("q_proj", at("attn_qkv").fused(QKV)),
    ("q_proj", at("attn_q")),
    ("k_proj", at("attn_qkv").fused(QKV)),
    ("k_proj", at("attn_k")),
    ("v_proj", at("attn_qkv").fused(QKV)),
    ("v_proj", at("attn_v")),
];

/// Masks and frequencies that old releases saved.
const BUFFERS: &[&str] = &["*attention.bias", "*attention.masked_bias", "*rotary_emb.inv_freq"];

fn from_config(
    folder: &FolderConfig<'_>,
    checkpoint: &dyn Checkpoint,
) -> Result<Mapping, QuantizeError> {
    let config = &folder.config;
    let mut decoder = Decoder::from_config(config, checkpoint, &DEFAULTS)?;
    decoder.qkv_bias = config.flag_or("attention_bias", true)?;
    decoder.output_bias = decoder.qkv_bias;
    decoder.mlp_bias = true;
    decoder.norms = norms(config.flag_or("use_parallel_residual", true)?);
    let names = Names {
        stack: "decoder",
        prefix: find_prefix(checkpoint, &["gpt_neox.", ""], "embed_in.weight"),
        layers: "layers.",
        in_layer: &[IN_LAYER],
        outside: OUTSIDE,
        former_endings: &[],
    };
    Ok(Mapping { ignored: BUFFERS, ..decoder.mapping(FAMILY.name, names) })
}

fn from_gguf(fields: &Fields<'_>, checkpoint: &dyn Checkpoint) -> Result<Mapping, QuantizeError> {
    let mut decoder = Decoder::from_gguf(fields, checkpoint, &DEFAULTS)?;
    decoder.norms = norms(fields.flag_or("use_parallel_residual", true)?);
    Ok(llama::gguf_mapping(FAMILY.name, &decoder, &[GGUF_IN_LAYER, llama::GGUF_IN_LAYER]))
}

fn norms(parallel: bool) -> Norms {
    if parallel { Norms::Each } else { Norms::Pre }
}
