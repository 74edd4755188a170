//! StableLM: Llama's shape with LayerNorms and partly rotated heads, side by side behind one norm
//! in the 12B model.

use kinglet_formats::checkpoint::Checkpoint;
use kinglet_formats::spec::NormKind;

use super::decoder::{Decoder, Defaults, LLAMA_DEFAULTS, Norms};
use super::{Family, FolderConfig, Mapping, llama};
use crate::QuantizeError;
use crate::fields::Fields;

pub(super) const FAMILY: Family = Family {
    name: "stablelm",
    architectures: &["StableLmForCausalLM"],
    model_type: "stablelm",
    gguf: Some(("stablelm", from_gguf)),
    from_config,
};

const DEFAULTS: Defaults = Defaults {
    vocab_size: Some(50_304),
    hidden_size: Some(2560),
    intermediate_size: Some(6912),
    n_layers: Some(32),
    n_heads: Some(32),
    n_kv_heads: Some(32),
    context_length: 4096,
    partial_rotary: Some(0.25),
    norm: NormKind::Layer,
    norm_bias: true,
    eps_key: "layer_norm_eps",
    eps: 1e-5,
    ..LLAMA_DEFAULTS
};

fn from_config(
    folder: &FolderConfig<'_>,
    checkpoint: &dyn Checkpoint,
) -> Result<Mapping, QuantizeError> {
    let config = &folder.config;
    if config.flag_or("qk_layernorm", false)? {
        return Err(config.unsupported("qk_layernorm", "true", "false"));
    }
    let mut decoder = Decoder::from_config(config, checkpoint, &DEFAULTS)?;
    decoder.qkv_bias = config.flag_or("use_qkv_bias", false)?;
    decoder.norms = norms(config.flag_or("use_parallel_residual", false)?);
    Ok(llama::mapping(FAMILY.name, &decoder, checkpoint))
}

fn from_gguf(fields: &Fields<'_>, checkpoint: &dyn Checkpoint) -> Result<Mapping, QuantizeError> {
    let mut decoder = Decoder::from_gguf(fields, checkpoint, &DEFAULTS)?;
    decoder.norms = norms(checkpoint.find("blk.0.ffn_norm.weight").is_none());
    Ok(llama::gguf_mapping(FAMILY.name, &decoder, &[llama::GGUF_IN_LAYER]))
}

fn norms(parallel: bool) -> Norms {
    if parallel { Norms::Shared } else { Norms::Pre }
}
