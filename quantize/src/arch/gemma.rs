//! Gemma 1, which CodeGemma is too, and Gemma 2: scaled embeddings and norms that multiply by
//! `1 + w`; the second has norms around its blocks, soft caps and alternating windows.

use kinglet_formats::checkpoint::Checkpoint;
use kinglet_formats::spec::Activation;

use super::decoder::{
    Decoder, Defaults, LLAMA_DEFAULTS, Norms, even_split, inverse_sqrt, sliding_layers,
};
use super::{Family, FolderConfig, Mapping, gemma3, llama};
use crate::QuantizeError;
use crate::fields::Fields;

pub(super) const GEMMA: Family = Family {
    name: "gemma",
    architectures: &["GemmaForCausalLM"],
    model_type: "gemma",
    gguf: Some(("gemma", |fields, checkpoint| {
        let mut decoder = Decoder::from_gguf(fields, checkpoint, &GEMMA_DEFAULTS)?;
        decoder.embedding_scale = gemma3::embedding_scale(&decoder);
        Ok(llama::gguf_mapping("gemma", &decoder, &[llama::GGUF_IN_LAYER]))
    })),
    from_config: |folder, checkpoint| {
        let mut decoder = read_config(&folder.config, checkpoint, &GEMMA_DEFAULTS)?;
        // Files say "gelu"; the network was trained with its approximation.
        decoder.activation = Activation::GeluTanh;
        Ok(gemma3::mapping("gemma", &decoder, checkpoint, &[llama::IN_LAYER]))
    },
};

pub(super) const GEMMA2: Family = Family {
    name: "gemma2",
    architectures: &["Gemma2ForCausalLM"],
    model_type: "gemma2",
    gguf: Some(("gemma2", gemma2_from_gguf)),
    from_config: gemma2_from_config,
};

/// Gemma 7B's.
const GEMMA_DEFAULTS: Defaults = Defaults {
    vocab_size: Some(256_000),
    hidden_size: Some(3072),
    intermediate_size: Some(24_576),
    n_layers: Some(28),
    n_heads: Some(16),
    n_kv_heads: Some(16),
    head_dim: Some(256),
    context_length: 8192,
    tied: true,
    activation: Activation::GeluTanh,
    ..LLAMA_DEFAULTS
};

/// Gemma 2 2B's.
const GEMMA2_DEFAULTS: Defaults = Defaults {
    hidden_size: Some(2304),
    intermediate_size: Some(9216),
    n_layers: Some(26),
    n_heads: Some(8),
    n_kv_heads: Some(4),
    activation_key: "hidden_activation",
    ..GEMMA_DEFAULTS
};

const ATTENTION_SOFT_CAP: f32 = 50.0;
const LOGIT_SOFT_CAP: f32 = 30.0;
const WINDOW: usize = 4096;

fn read_config(
    config: &Fields<'_>,
    checkpoint: &dyn Checkpoint,
    defaults: &Defaults,
) -> Result<Decoder, QuantizeError> {
    if config.flag_or("use_bidirectional_attention", false)? {
        return Err(config.unsupported("use_bidirectional_attention", "true", "false"));
    }
    let mut decoder = Decoder::from_config(config, checkpoint, defaults)?;
    decoder.qkv_bias = config.flag_or("attention_bias", false)?;
    decoder.output_bias = decoder.qkv_bias;
    decoder.embedding_scale = gemma3::embedding_scale(&decoder);
    Ok(decoder)
}

fn gemma2_from_config(
    folder: &FolderConfig<'_>,
    checkpoint: &dyn Checkpoint,
) -> Result<Mapping, QuantizeError> {
    let config = &folder.config;
    let mut decoder = read_config(config, checkpoint, &GEMMA2_DEFAULTS)?;
    decoder.norms = Norms::Both;
    decoder.attention_scale =
        inverse_sqrt(config.positive_float_or("query_pre_attn_scalar", 256.0)?);
    // An explicit null means none.
    let cap = |key: &str, usual: f32| match config.opt_float(key)? {
        None if !config.mentions(key) => Ok(Some(usual)),
        cap => Ok::<_, QuantizeError>(cap),
    };
    decoder.attention_soft_cap = cap("attn_logit_softcapping", ATTENTION_SOFT_CAP)?;
    decoder.logit_soft_cap = cap("final_logit_softcapping", LOGIT_SOFT_CAP)?;
    let window = config.size_or("sliding_window", WINDOW)?;
    let sliding = sliding_layers(config, decoder.layers.len())?;
    slide(&mut decoder, window, |i| sliding.as_ref().map_or(i % 2 == 0, |sliding| sliding[i]));
    let tables = &[gemma3::IN_LAYER, llama::IN_LAYER];
    Ok(gemma3::mapping(GEMMA2.name, &decoder, checkpoint, tables))
}

fn gemma2_from_gguf(
    fields: &Fields<'_>,
    checkpoint: &dyn Checkpoint,
) -> Result<Mapping, QuantizeError> {
    let mut decoder = Decoder::from_gguf(fields, checkpoint, &GEMMA2_DEFAULTS)?;
    decoder.norms = Norms::Both;
    decoder.embedding_scale = gemma3::embedding_scale(&decoder);
    decoder.attention_soft_cap =
        Some(fields.positive_float_or("attn_logit_softcapping", ATTENTION_SOFT_CAP)?);
    decoder.logit_soft_cap =
        Some(fields.positive_float_or("final_logit_softcapping", LOGIT_SOFT_CAP)?);
    // GGUF has no key for the score's scale: the 27B model, told by its depth, is the one whose
    // scale does not follow from the head's width.
    if decoder.layers.len() == 46 {
        let share =
            even_split(fields, "attention.head_count", decoder.hidden_size, decoder.n_heads)?;
        decoder.attention_scale = inverse_sqrt(share as f32);
    }
    let window = fields.size_or("attention.sliding_window", WINDOW)?;
    slide(&mut decoder, window, |i| i % 2 == 0);
    Ok(llama::gguf_mapping(GEMMA2.name, &decoder, &[gemma3::GGUF_IN_LAYER, llama::GGUF_IN_LAYER]))
}

fn slide(decoder: &mut Decoder, window: usize, slides: impl Fn(usize) -> bool) {
    for (i, layer) in decoder.layers.iter_mut().enumerate() {
        layer.sliding_window = slides(i).then_some(window);
    }
}
