//! Phi-1, 1.5 and 2: attention and MLP side by side behind one norm, biases everywhere, partly
//! rotated heads.

use kinglet_formats::checkpoint::Checkpoint;
use kinglet_formats::spec::{Activation, NormKind, QkNormScope};

use super::decoder::{Decoder, Defaults, LLAMA_DEFAULTS, Norms};
use super::{Family, FolderConfig, Mapping, Names, Table, find_prefix, llama, neox};
use crate::QuantizeError;
use crate::fields::Fields;
use crate::take::at;

pub(super) const FAMILY: Family = Family {
    name: "phi",
    architectures: &["PhiForCausalLM"],
    model_type: "phi",
    gguf: Some(("phi2", from_gguf)),
    from_config,
};

const DEFAULTS: Defaults = Defaults {
    vocab_size: Some(51_200),
    hidden_size: Some(2048),
    intermediate_size: Some(8192),
    n_layers: Some(24),
    n_heads: Some(32),
    partial_rotary: Some(0.5),
    norm: NormKind::Layer,
    norm_bias: true,
    eps_key: "layer_norm_eps",
    eps: 1e-5,
    activation: Activation::GeluTanh,
    gated: false,
    ..LLAMA_DEFAULTS
};

/// Besides Llama's names.
const IN_LAYER: Table = &[
    ("q_norm", at("self_attn.q_layernorm")),
    ("k_norm", at("self_attn.k_layernorm")),
    ("o_proj", at("self_attn.dense")),
    ("up_proj", at("mlp.fc1")),
    ("down_proj", at("mlp.fc2")),
];

const OUTSIDE: Table = &[
    ("embed_tokens", at("embed_tokens")),
    ("final_norm", at("final_layernorm")),
    ("lm_head", at("/lm_head")),
];

fn from_config(
    folder: &FolderConfig<'_>,
    checkpoint: &dyn Checkpoint,
) -> Result<Mapping, QuantizeError> {
    let config = &folder.config;
    let mut decoder = Decoder::from_config(config, checkpoint, &DEFAULTS)?;
    (decoder.qkv_bias, decoder.output_bias, decoder.mlp_bias) = (true, true, true);
    decoder.head_bias = true;
    decoder.norms = Norms::Shared;
    decoder.qk_norm = config.flag_or("qk_layernorm", false)?.then_some(QkNormScope::Head);
    let names = Names {
        stack: "decoder",
        prefix: find_prefix(checkpoint, &["model.", ""], "embed_tokens.weight"),
        layers: "layers.",
        in_layer: &[IN_LAYER, llama::IN_LAYER],
        outside: OUTSIDE,
        former_endings: &[],
    };
    let ignored: &[&str] = match decoder.tied {
        true => &["*rotary_emb.inv_freq", "lm_head.weight"],
        false => &["*rotary_emb.inv_freq"],
    };
    Ok(Mapping { ignored, ..decoder.mapping(FAMILY.name, names) })
}

fn from_gguf(fields: &Fields<'_>, checkpoint: &dyn Checkpoint) -> Result<Mapping, QuantizeError> {
    let mut decoder = Decoder::from_gguf(fields, checkpoint, &DEFAULTS)?;
    decoder.norms = Norms::Shared;
    let tables = &[neox::GGUF_IN_LAYER, llama::GGUF_IN_LAYER];
    Ok(llama::gguf_mapping(FAMILY.name, &decoder, tables))
}
