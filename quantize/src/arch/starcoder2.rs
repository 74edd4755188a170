//! StarCoder 2: LayerNorms, biases everywhere, a plain MLP.

use kinglet_formats::checkpoint::Checkpoint;
use kinglet_formats::spec::{Activation, NormKind};

use super::decoder::{Decoder, Defaults, LLAMA_DEFAULTS};
use super::{Family, FolderConfig, Mapping, Table, llama};
use crate::QuantizeError;
use crate::take::at;

pub(super) const FAMILY: Family = Family {
    name: "starcoder2",
    architectures: &["Starcoder2ForCausalLM"],
    model_type: "starcoder2",
    gguf: Some(("starcoder2", |fields, checkpoint| {
        let mut decoder = Decoder::from_gguf(fields, checkpoint, &DEFAULTS)?;
        decoder.slide_all(llama::gguf_window(fields)?);
        Ok(llama::gguf_mapping("starcoder2", &decoder, &[llama::GGUF_IN_LAYER]))
    })),
    from_config,
};

const DEFAULTS: Defaults = Defaults {
    vocab_size: Some(49_152),
    hidden_size: Some(3072),
    intermediate_size: Some(12_288),
    n_layers: Some(30),
    n_heads: Some(24),
    n_kv_heads: Some(2),
    context_length: 4096,
    tied: true,
    norm: NormKind::Layer,
    norm_bias: true,
    eps_key: "norm_epsilon",
    eps: 1e-5,
    activation: Activation::GeluTanh,
    gated: false,
    ..LLAMA_DEFAULTS
};

/// Besides Llama's names.
const IN_LAYER: Table = &[("up_proj", at("mlp.c_fc")), ("down_proj", at("mlp.c_proj"))];

fn from_config(
    folder: &FolderConfig<'_>,
    checkpoint: &dyn Checkpoint,
) -> Result<Mapping, QuantizeError> {
    let config = &folder.config;
    let mut decoder = Decoder::from_config(config, checkpoint, &DEFAULTS)?;
    decoder.slide_all(config.opt_size("sliding_window")?);
    let bias = config.flag_or("use_bias", true)?;
    (decoder.qkv_bias, decoder.output_bias, decoder.mlp_bias) = (bias, bias, bias);
    Ok(llama::mapping_of(FAMILY.name, &decoder, checkpoint, &[IN_LAYER, llama::IN_LAYER]))
}
