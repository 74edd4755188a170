//! Qwen 2 and 3 with experts: the first has an expert that every token passes through, weighted by
//! a gate of its own.

use kinglet_formats::checkpoint::Checkpoint;
use kinglet_formats::spec::{Experts, QkNormScope};

use super::decoder::{Decoder, Defaults, LLAMA_DEFAULTS, SharedExpert, sliding_layers};
use super::{Family, FolderConfig, Mapping, Table, experts, llama};
use crate::QuantizeError;
use crate::fields::Fields;
use crate::take::at;

pub(super) const QWEN2_MOE: Family = Family {
    name: "qwen2_moe",
    architectures: &["Qwen2MoeForCausalLM"],
    model_type: "qwen2_moe",
    gguf: Some(("qwen2moe", qwen2_from_gguf)),
    from_config: qwen2_from_config,
};

pub(super) const QWEN3_MOE: Family = Family {
    name: "qwen3_moe",
    architectures: &["Qwen3MoeForCausalLM"],
    model_type: "qwen3_moe",
    gguf: Some(("qwen3moe", |fields, checkpoint| {
        let mut decoder = Decoder::from_gguf(fields, checkpoint, &QWEN3_DEFAULTS)?;
        decoder.qk_norm = Some(QkNormScope::Head);
        decoder.experts = experts::from_gguf(fields, &decoder, true)?;
        let tables = &[experts::GGUF_IN_LAYER, llama::GGUF_IN_LAYER];
        Ok(llama::gguf_mapping("qwen3_moe", &decoder, tables))
    })),
    from_config: qwen3_from_config,
};

const QWEN2_DEFAULTS: Defaults = Defaults {
    vocab_size: Some(151_936),
    hidden_size: Some(2048),
    intermediate_size: Some(5632),
    n_layers: Some(24),
    n_heads: Some(16),
    n_kv_heads: Some(16),
    context_length: 32_768,
    ..LLAMA_DEFAULTS
};

const QWEN3_DEFAULTS: Defaults = Defaults {
    intermediate_size: Some(6144),
    n_heads: Some(32),
    n_kv_heads: Some(4),
    ..QWEN2_DEFAULTS
};

/// Besides Llama's names and those of experts.
const SHARED_IN_LAYER: Table = &[
    ("gate_proj", at("mlp.shared_expert.gate_proj")),
    ("gate_proj", at("mlp.gate_proj")),
    ("up_proj", at("mlp.shared_expert.up_proj")),
    ("up_proj", at("mlp.up_proj")),
    ("down_proj", at("mlp.shared_expert.down_proj")),
    ("down_proj", at("mlp.down_proj")),
    ("output_gate", at("mlp.shared_expert_gate")),
];

/// Besides Llama's names and those of experts.
const SHARED_GGUF_IN_LAYER: Table = &[
    ("gate_proj", at("ffn_gate_shexp")),
    ("up_proj", at("ffn_up_shexp")),
    ("down_proj", at("ffn_down_shexp")),
    ("output_gate", at("ffn_gate_inp_shexp")),
];

fn read_config(
    config: &Fields<'_>,
    checkpoint: &dyn Checkpoint,
    defaults: &Defaults,
    usual: [usize; 3],
) -> Result<Decoder, QuantizeError> {
    let mut decoder = Decoder::from_config(config, checkpoint, defaults)?;
    let [n_experts, n_used, inner] = usual;
    // Releases differ in the name of the key.
    let n_experts = config.size_or("num_local_experts", n_experts)?;
    decoder.experts = Some(Experts {
        n_experts: config.size_or("num_experts", n_experts)?,
        n_used: config.size_or("num_experts_per_tok", n_used)?,
        intermediate_size: config.size_or("moe_intermediate_size", inner)?,
        activation: decoder.activation,
        renormalize: config.flag_or("norm_topk_prob", false)?,
    });
    experts::dense_layers(config, &mut decoder)?;
    Ok(decoder)
}

fn qwen2_from_config(
    folder: &FolderConfig<'_>,
    checkpoint: &dyn Checkpoint,
) -> Result<Mapping, QuantizeError> {
    let config = &folder.config;
    let mut decoder = read_config(config, checkpoint, &QWEN2_DEFAULTS, [60, 4, 1408])?;
    decoder.qkv_bias = config.flag_or("qkv_bias", true)?;
    decoder.shared_expert = Some(SharedExpert {
        intermediate_size: config.size_or("shared_expert_intermediate_size", 5632)?,
        gated: true,
    });
    if config.flag_or("use_sliding_window", false)? {
        let window = config.size_or("sliding_window", 4096)?;
        // Every other one of the first `max_window_layers`.
        let n = config.float_or("max_window_layers", 28.0)?;
        let sliding = sliding_layers(config, decoder.layers.len())?;
        for (i, layer) in decoder.layers.iter_mut().enumerate() {
            let usual = i % 2 == 0 && (i as f32) < n;
            let slides = sliding.as_ref().map_or(usual, |sliding| sliding[i]);
            layer.sliding_window = slides.then_some(window);
        }
    }
    let tables = &[SHARED_IN_LAYER, experts::IN_LAYER, llama::IN_LAYER];
    Ok(llama::mapping_of(QWEN2_MOE.name, &decoder, checkpoint, tables))
}

fn qwen2_from_gguf(
    fields: &Fields<'_>,
    checkpoint: &dyn Checkpoint,
) -> Result<Mapping, QuantizeError> {
    let mut decoder = Decoder::from_gguf(fields, checkpoint, &QWEN2_DEFAULTS)?;
    decoder.experts = experts::from_gguf(fields, &decoder, false)?;
    // Without the key, the MLP's width is that of the shared expert.
    let intermediate_size =
        fields.size_or("expert_shared_feed_forward_length", decoder.intermediate_size)?;
    decoder.shared_expert = Some(SharedExpert { intermediate_size, gated: true });
    let tables = &[SHARED_GGUF_IN_LAYER, experts::GGUF_IN_LAYER, llama::GGUF_IN_LAYER];
    Ok(llama::gguf_mapping(QWEN2_MOE.name, &decoder, tables))
}

fn qwen3_from_config(
    folder: &FolderConfig<'_>,
    checkpoint: &dyn Checkpoint,
) -> Result<Mapping, QuantizeError> {
    let config = &folder.config;
    let mut decoder = read_config(config, checkpoint, &QWEN3_DEFAULTS, [128, 8, 768])?;
    decoder.qkv_bias = config.flag_or("attention_bias", false)?;
    decoder.output_bias = decoder.qkv_bias;
    decoder.qk_norm = Some(QkNormScope::Head);
    if config.flag_or("use_sliding_window", false)? {
        decoder.slide_all(Some(config.size_or("sliding_window", 4096)?));
    }
    let tables = &[experts::IN_LAYER, llama::IN_LAYER];
    Ok(llama::mapping_of(QWEN3_MOE.name, &decoder, checkpoint, tables))
}
