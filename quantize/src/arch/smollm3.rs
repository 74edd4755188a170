//! SmolLM3: Llama's shape in which some layers know no positions.

use kinglet_formats::checkpoint::Checkpoint;

use super::decoder::{Decoder, Defaults, LLAMA_DEFAULTS, sliding_layers};
use super::{Family, FolderConfig, Mapping, llama};
use crate::QuantizeError;
use crate::fields::Fields;

pub(super) const FAMILY: Family = Family {
    name: "smollm3",
    architectures: &["SmolLM3ForCausalLM"],
    model_type: "smollm3",
    gguf: Some(("smollm3", from_gguf)),
    from_config,
};

const DEFAULTS: Defaults = Defaults {
    vocab_size: Some(128_256),
    hidden_size: Some(2048),
    intermediate_size: Some(11_008),
    n_layers: Some(36),
    n_heads: Some(16),
    n_kv_heads: Some(4),
    context_length: 32_768,
    tied: true,
    ..LLAMA_DEFAULTS
};

/// Every so many layers, one without positions.
const INTERVAL: usize = 4;

fn from_config(
    folder: &FolderConfig<'_>,
    checkpoint: &dyn Checkpoint,
) -> Result<Mapping, QuantizeError> {
    let config = &folder.config;
    let mut decoder = Decoder::from_config(config, checkpoint, &DEFAULTS)?;
    decoder.qkv_bias = config.flag_or("attention_bias", false)?;
    decoder.output_bias = decoder.qkv_bias;
    decoder.mlp_bias = config.flag_or("mlp_bias", false)?;
    let n = decoder.layers.len();
    let rotates = match config.opt_list("no_rope_layers")? {
        // Despite the name, 1 stands for layers that rotate.
        Some(list) if list.len() == n => {
            list.iter().map(|rotates| rotates.as_u64() != Some(0)).collect()
        }
        Some(list) => {
            let expected = format!("a number for each of the {n} layers");
            return Err(config.bad(
                "no_rope_layers",
                &format!("{} numbers", list.len()),
                &expected,
            ));
        }
        None => periodic(n, config.size_or("no_rope_layer_interval", INTERVAL)?),
    };
    if config.flag_or("use_sliding_window", false)? {
        let sliding = sliding_layers(config, n)?;
        let window = config.opt_size("sliding_window")?;
        for (i, layer) in decoder.layers.iter_mut().enumerate() {
            let slides = sliding.as_ref().map_or(!rotates[i], |sliding| sliding[i]);
            layer.sliding_window = window.filter(|_| slides);
        }
    }
    still(&mut decoder, &rotates);
    Ok(llama::mapping(FAMILY.name, &decoder, checkpoint))
}

fn from_gguf(fields: &Fields<'_>, checkpoint: &dyn Checkpoint) -> Result<Mapping, QuantizeError> {
    let mut decoder = Decoder::from_gguf(fields, checkpoint, &DEFAULTS)?;
    // GGUF has no key for the interval.
    let rotates = periodic(decoder.layers.len(), INTERVAL);
    still(&mut decoder, &rotates);
    let mut mapping = llama::gguf_mapping(FAMILY.name, &decoder, &[llama::GGUF_IN_LAYER]);
    mapping.transforms.adjacent_rope_rows = true;
    Ok(mapping)
}

fn periodic(n_layers: usize, interval: usize) -> Vec<bool> {
    (1..=n_layers).map(|i| i % interval != 0).collect()
}

/// Takes the rotation from layers that do not rotate.
fn still(decoder: &mut Decoder, rotates: &[bool]) {
    for (layer, _) in decoder.layers.iter_mut().zip(rotates).filter(|(_, rotates)| !**rotates) {
        layer.rope = None;
    }
}
