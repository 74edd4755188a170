//! Command R (Cohere): attention and MLP side by side behind one LayerNorm, scaled logits; the
//! second generation rotates in sliding layers only.

use kinglet_formats::checkpoint::Checkpoint;
use kinglet_formats::spec::NormKind;

use super::decoder::{Decoder, Defaults, LLAMA_DEFAULTS, Norms, sliding_layers};
use super::{Family, Mapping, llama};
use crate::QuantizeError;
use crate::fields::Fields;

pub(super) const COHERE: Family = Family {
    name: "cohere",
    architectures: &["CohereForCausalLM"],
    model_type: "cohere",
    gguf: Some(("command-r", |fields, checkpoint| {
        let decoder = read_gguf(fields, checkpoint)?;
        Ok(in_pairs(llama::gguf_mapping("cohere", &decoder, &[llama::GGUF_IN_LAYER])))
    })),
    from_config: |folder, checkpoint| {
        let decoder = read_config(&folder.config, checkpoint)?;
        Ok(in_pairs(llama::mapping("cohere", &decoder, checkpoint)))
    },
};

pub(super) const COHERE2: Family = Family {
    name: "cohere2",
    architectures: &["Cohere2ForCausalLM"],
    model_type: "cohere2",
    gguf: Some(("cohere2", |fields, checkpoint| {
        let mut decoder = read_gguf(fields, checkpoint)?;
        let sliding = periodic(decoder.layers.len(), PATTERN);
        slide(&mut decoder, &sliding, fields.size("attention.sliding_window")?);
        Ok(in_pairs(llama::gguf_mapping("cohere2", &decoder, &[llama::GGUF_IN_LAYER])))
    })),
    from_config: |folder, checkpoint| {
        let config = &folder.config;
        let mut decoder = read_config(config, checkpoint)?;
        let n = decoder.layers.len();
        let sliding = match sliding_layers(config, n)? {
            Some(sliding) => sliding,
            None => periodic(n, config.size_or("sliding_window_pattern", PATTERN)?),
        };
        slide(&mut decoder, &sliding, config.size_or("sliding_window", 4096)?);
        Ok(in_pairs(llama::mapping("cohere2", &decoder, checkpoint)))
    },
};

const DEFAULTS: Defaults = Defaults {
    vocab_size: Some(256_000),
    hidden_size: Some(8192),
    intermediate_size: Some(22_528),
    n_layers: Some(40),
    n_heads: Some(64),
    context_length: 8192,
    tied: true,
    norm: NormKind::Layer,
    eps_key: "layer_norm_eps",
    eps: 1e-5,
    ..LLAMA_DEFAULTS
};

/// One full layer after three sliding ones.
const PATTERN: usize = 4;

fn read_config(config: &Fields<'_>, checkpoint: &dyn Checkpoint) -> Result<Decoder, QuantizeError> {
    if config.flag_or("use_qk_norm", false)? {
        return Err(config.unsupported("use_qk_norm", "true", "false"));
    }
    let mut decoder = Decoder::from_config(config, checkpoint, &DEFAULTS)?;
    decoder.qkv_bias = config.flag_or("attention_bias", false)?;
    decoder.output_bias = decoder.qkv_bias;
    decoder.norms = Norms::Shared;
    decoder.logit_scale = config.positive_float_or("logit_scale", 0.0625)?;
    Ok(decoder)
}

fn read_gguf(fields: &Fields<'_>, checkpoint: &dyn Checkpoint) -> Result<Decoder, QuantizeError> {
    let mut decoder = Decoder::from_gguf(fields, checkpoint, &DEFAULTS)?;
    decoder.norms = Norms::Shared;
    decoder.logit_scale = fields.positive_float_or("logit_scale", 0.0625)?;
    Ok(decoder)
}

/// Both kinds of checkpoints rotate neighbouring pairs.
fn in_pairs(mut mapping: Mapping) -> Mapping {
    mapping.transforms.adjacent_rope_rows = true;
    mapping
}

fn periodic(n_layers: usize, pattern: usize) -> Vec<bool> {
    (1..=n_layers).map(|i| i % pattern != 0).collect()
}

/// Sliding layers have a window, the others no positions.
fn slide(decoder: &mut Decoder, sliding: &[bool], window: usize) {
    for (layer, &slides) in decoder.layers.iter_mut().zip(sliding) {
        layer.sliding_window = slides.then_some(window);
        layer.rope = layer.rope.take().filter(|_| slides);
    }
}
