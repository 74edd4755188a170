//! Mixtral: Mistral's shape with experts. GGUF files call it `llama`.

use kinglet_formats::checkpoint::Checkpoint;
use kinglet_formats::spec::Experts;

use super::decoder::{Decoder, Defaults, LLAMA_DEFAULTS};
use super::{Family, FolderConfig, Mapping, Table, experts, llama};
use crate::QuantizeError;
use crate::take::at;

pub(super) const FAMILY: Family = Family {
    name: "mixtral",
    architectures: &["MixtralForCausalLM"],
    model_type: "mixtral",
    gguf: None,
    from_config,
};

const DEFAULTS: Defaults = Defaults {
    vocab_size: Some(32_000),
    hidden_size: Some(4096),
    intermediate_size: Some(14_336),
    n_layers: Some(32),
    n_heads: Some(32),
    n_kv_heads: Some(8),
    context_length: 4096 * 32,
    rope_theta: 1_000_000.0,
    eps: 1e-5,
    ..LLAMA_DEFAULTS
};

/// Besides Llama's names and those of other experts, which newer releases write.
const IN_LAYER: Table = &[
    ("router", at("block_sparse_moe.gate")),
    ("router", at("mlp.gate")),
    ("expert_gate_proj", at("block_sparse_moe.experts.{e}.w1")),
    ("expert_gate_proj", at("mlp.experts.gate_up_proj").bare().fused(experts::GATE_UP).per_group()),
    ("expert_up_proj", at("block_sparse_moe.experts.{e}.w3")),
    ("expert_up_proj", at("mlp.experts.gate_up_proj").bare().fused(experts::GATE_UP).per_group()),
    ("expert_down_proj", at("block_sparse_moe.experts.{e}.w2")),
    ("expert_down_proj", at("mlp.experts.down_proj").bare()),
];

fn from_config(
    folder: &FolderConfig<'_>,
    checkpoint: &dyn Checkpoint,
) -> Result<Mapping, QuantizeError> {
    let config = &folder.config;
    let mut decoder = Decoder::from_config(config, checkpoint, &DEFAULTS)?;
    decoder.slide_all(config.opt_size("sliding_window")?);
    decoder.experts = Some(Experts {
        n_experts: config.size_or("num_local_experts", 8)?,
        n_used: config.size_or("num_experts_per_tok", 2)?,
        intermediate_size: decoder.intermediate_size,
        activation: decoder.activation,
        renormalize: true,
    });
    Ok(llama::mapping_of(FAMILY.name, &decoder, checkpoint, &[IN_LAYER, llama::IN_LAYER]))
}
