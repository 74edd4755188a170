//! Mistral: Llama's shape with a sliding window. GGUF files call it `llama`.

use kinglet_formats::checkpoint::Checkpoint;

use super::decoder::{Decoder, Defaults, LLAMA_DEFAULTS, sliding_layers};
use super::{Family, FolderConfig, Mapping, llama};
use crate::QuantizeError;

pub(super) const FAMILY: Family = Family {
    name: "mistral",
    architectures: &["MistralForCausalLM", "MistralModel"],
    model_type: "mistral",
    gguf: None,
    from_config,
};

const DEFAULTS: Defaults =
    Defaults { n_kv_heads: Some(8), context_length: 4096 * 32, ..LLAMA_DEFAULTS };

fn from_config(
    folder: &FolderConfig<'_>,
    checkpoint: &dyn Checkpoint,
) -> Result<Mapping, QuantizeError> {
    let config = &folder.config;
    let mut decoder = Decoder::from_config(config, checkpoint, &DEFAULTS)?;
    // An explicit null means full attention; silence means the window of the first release.
    let window = match config.opt_size("sliding_window")? {
        None if !config.mentions("sliding_window") => Some(4096),
        window => window,
    };
    decoder.slide_all(window);
    // Ministral: some layers see everything.
    if let Some(sliding) = sliding_layers(config, decoder.layers.len())? {
        for (layer, _) in decoder.layers.iter_mut().zip(sliding).filter(|(_, slides)| !slides) {
            layer.sliding_window = None;
        }
    }
    Ok(llama::mapping(FAMILY.name, &decoder, checkpoint))
}
