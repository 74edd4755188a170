//! Granite: Llama's shape with factors on embeddings, scores, blocks and logits; and the same with
//! experts.

use kinglet_formats::checkpoint::Checkpoint;
use kinglet_formats::spec::Experts;

use super::decoder::{Decoder, Defaults, LLAMA_DEFAULTS};
use super::{Family, Mapping, Table, experts, llama};
use crate::QuantizeError;
use crate::fields::Fields;
use crate::take::at;

pub(super) const GRANITE: Family = Family {
    name: "granite",
    architectures: &["GraniteForCausalLM"],
    model_type: "granite",
    gguf: Some(("granite", |fields, checkpoint| from_gguf("granite", fields, checkpoint))),
    from_config: |folder, checkpoint| {
        let decoder = read_config(&folder.config, checkpoint)?;
        Ok(llama::mapping("granite", &decoder, checkpoint))
    },
};

pub(super) const GRANITE_MOE: Family = Family {
    name: "granitemoe",
    architectures: &["GraniteMoeForCausalLM"],
    model_type: "granitemoe",
    gguf: Some(("granitemoe", |fields, checkpoint| from_gguf("granitemoe", fields, checkpoint))),
    from_config: |folder, checkpoint| {
        let config = &folder.config;
        let mut decoder = read_config(config, checkpoint)?;
        decoder.experts = Some(Experts {
            n_experts: config.size_or("num_local_experts", 8)?,
            n_used: config.size_or("num_experts_per_tok", 2)?,
            intermediate_size: decoder.intermediate_size,
            activation: decoder.activation,
            // A softmax over the chosen ones alone is the same.
            renormalize: true,
        });
        let tables = &[MOE_IN_LAYER, llama::IN_LAYER];
        Ok(llama::mapping_of("granitemoe", &decoder, checkpoint, tables))
    },
};

const DEFAULTS: Defaults = Defaults {
    vocab_size: Some(32_000),
    hidden_size: Some(4096),
    intermediate_size: Some(11_008),
    n_layers: Some(32),
    n_heads: Some(32),
    ..LLAMA_DEFAULTS
};

/// Besides Llama's names: both halves of all experts in one tensor.
const MOE_IN_LAYER: Table = &[
    ("router", at("block_sparse_moe.router.layer")),
    ("expert_gate_proj", at("block_sparse_moe.input_linear").fused(experts::GATE_UP).per_group()),
    ("expert_up_proj", at("block_sparse_moe.input_linear").fused(experts::GATE_UP).per_group()),
    ("expert_down_proj", at("block_sparse_moe.output_linear")),
];

fn read_config(config: &Fields<'_>, checkpoint: &dyn Checkpoint) -> Result<Decoder, QuantizeError> {
    let mut decoder = Decoder::from_config(config, checkpoint, &DEFAULTS)?;
    decoder.qkv_bias = config.flag_or("attention_bias", false)?;
    decoder.output_bias = decoder.qkv_bias;
    decoder.mlp_bias = config.flag_or("mlp_bias", false)?;
    decoder.embedding_scale = config.positive_float_or("embedding_multiplier", 1.0)?;
    // In place of what follows from the head's width.
    decoder.attention_scale = config.positive_float_or("attention_multiplier", 1.0)?;
    decoder.residual_scale = config.positive_float_or("residual_multiplier", 1.0)?;
    decoder.logit_scale = 1.0 / config.positive_float_or("logits_scaling", 1.0)?;
    Ok(decoder)
}

fn from_gguf(
    family: &'static str,
    fields: &Fields<'_>,
    checkpoint: &dyn Checkpoint,
) -> Result<Mapping, QuantizeError> {
    let mut decoder = Decoder::from_gguf(fields, checkpoint, &DEFAULTS)?;
    decoder.embedding_scale = fields.positive_float_or("embedding_scale", 1.0)?;
    decoder.attention_scale =
        fields.positive_float_or("attention.scale", decoder.attention_scale)?;
    decoder.residual_scale = fields.positive_float_or("residual_scale", 1.0)?;
    // It divides.
    decoder.logit_scale = 1.0 / fields.positive_float_or("logit_scale", 1.0)?;
    if !fields.flag_or("rope.scaling.finetuned", true)? {
        decoder.layers.iter_mut().for_each(|layer| layer.rope = None);
    }
    decoder.experts = experts::from_gguf(fields, &decoder, true)?;
    let tables = &[experts::GGUF_IN_LAYER, llama::GGUF_IN_LAYER];
    let mut mapping = llama::gguf_mapping(family, &decoder, tables);
    mapping.transforms.adjacent_rope_rows = true;
    Ok(mapping)
}
