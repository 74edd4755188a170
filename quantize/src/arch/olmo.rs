//! OLMo 2, which norms what its blocks give and all of q and k together, and OLMoE, which has
//! experts.

use kinglet_formats::checkpoint::Checkpoint;
use kinglet_formats::spec::{Experts, QkNormScope};

use super::decoder::{Decoder, Defaults, LLAMA_DEFAULTS, Norms};
use super::{Family, FolderConfig, Table, experts, gemma3, llama};
use crate::QuantizeError;
use crate::fields::Fields;
use crate::take::at;

pub(super) const OLMO2: Family = Family {
    name: "olmo2",
    architectures: &["Olmo2ForCausalLM"],
    model_type: "olmo2",
    gguf: Some(("olmo2", |fields, checkpoint| {
        let mut decoder = read_gguf(fields, checkpoint)?;
        decoder.norms = Norms::Post;
        Ok(llama::gguf_mapping("olmo2", &decoder, &[gemma3::GGUF_IN_LAYER, llama::GGUF_IN_LAYER]))
    })),
    from_config: |folder, checkpoint| {
        let mut decoder = read_config(folder, checkpoint)?;
        decoder.norms = Norms::Post;
        Ok(llama::mapping_of("olmo2", &decoder, checkpoint, &[OLMO2_IN_LAYER, llama::IN_LAYER]))
    },
};

pub(super) const OLMOE: Family = Family {
    name: "olmoe",
    architectures: &["OlmoeForCausalLM"],
    model_type: "olmoe",
    gguf: Some(("olmoe", |fields, checkpoint| {
        let mut decoder = read_gguf(fields, checkpoint)?;
        decoder.experts = experts::from_gguf(fields, &decoder, false)?;
        let tables = &[experts::GGUF_IN_LAYER, llama::GGUF_IN_LAYER];
        Ok(llama::gguf_mapping("olmoe", &decoder, tables))
    })),
    from_config: |folder, checkpoint| {
        let config = &folder.config;
        if config.has("clip_qkv") {
            return Err(config.unsupported("clip_qkv", "a number", "null"));
        }
        let mut decoder = read_config(folder, checkpoint)?;
        decoder.experts = Some(Experts {
            n_experts: config.size_or("num_experts", 64)?,
            n_used: config.size_or("num_experts_per_tok", 8)?,
            intermediate_size: decoder.intermediate_size,
            activation: decoder.activation,
            renormalize: config.flag_or("norm_topk_prob", false)?,
        });
        Ok(llama::mapping_of("olmoe", &decoder, checkpoint, &[experts::IN_LAYER, llama::IN_LAYER]))
    },
};

const DEFAULTS: Defaults =
    Defaults { vocab_size: Some(50_304), context_length: 4096, eps: 1e-5, ..LLAMA_DEFAULTS };

/// Besides Llama's names.
const OLMO2_IN_LAYER: Table = &[
    ("attn_post_norm", at("post_attention_layernorm")),
    ("mlp_post_norm", at("post_feedforward_layernorm")),
];

fn read_config(
    folder: &FolderConfig<'_>,
    checkpoint: &dyn Checkpoint,
) -> Result<Decoder, QuantizeError> {
    let config = &folder.config;
    let mut decoder = Decoder::from_config(config, checkpoint, &DEFAULTS)?;
    decoder.qkv_bias = config.flag_or("attention_bias", false)?;
    decoder.output_bias = decoder.qkv_bias;
    decoder.qk_norm = Some(QkNormScope::Projection);
    Ok(decoder)
}

fn read_gguf(fields: &Fields<'_>, checkpoint: &dyn Checkpoint) -> Result<Decoder, QuantizeError> {
    let mut decoder = Decoder::from_gguf(fields, checkpoint, &DEFAULTS)?;
    decoder.qk_norm = Some(QkNormScope::Projection);
    Ok(decoder)
}
