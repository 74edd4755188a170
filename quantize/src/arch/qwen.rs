//! Qwen 2 and 3: Llama's shape with biases on q, k and v (2) or norms on q and k (3).

use kinglet_formats::checkpoint::Checkpoint;
use kinglet_formats::spec::QkNormScope;

use super::decoder::{Decoder, Defaults, LLAMA_DEFAULTS, sliding_layers};
use super::{Family, FolderConfig, llama};
use crate::QuantizeError;

pub(super) const QWEN2: Family = Family {
    name: "qwen2",
    architectures: &["Qwen2ForCausalLM", "Qwen2Model"],
    model_type: "qwen2",
    from_config: |folder, checkpoint| {
        let mut decoder = read_config(folder, checkpoint, &QWEN2_DEFAULTS)?;
        decoder.qkv_bias = true;
        Ok(llama::mapping("qwen2", &decoder, checkpoint))
    },
    gguf: Some(("qwen2", |fields, checkpoint| {
        let decoder = Decoder::from_gguf(fields, checkpoint, &QWEN2_DEFAULTS)?;
        Ok(llama::gguf_mapping("qwen2", &decoder, &[llama::GGUF_IN_LAYER]))
    })),
};

pub(super) const QWEN3: Family = Family {
    name: "qwen3",
    architectures: &["Qwen3ForCausalLM", "Qwen3Model"],
    model_type: "qwen3",
    from_config: |folder, checkpoint| {
        let mut decoder = read_config(folder, checkpoint, &QWEN3_DEFAULTS)?;
        decoder.qkv_bias = folder.config.flag_or("attention_bias", false)?;
        decoder.output_bias = decoder.qkv_bias;
        decoder.qk_norm = Some(QkNormScope::Head);
        Ok(llama::mapping("qwen3", &decoder, checkpoint))
    },
    gguf: Some(("qwen3", |fields, checkpoint| {
        let mut decoder = Decoder::from_gguf(fields, checkpoint, &QWEN3_DEFAULTS)?;
        decoder.qk_norm = Some(QkNormScope::Head);
        Ok(llama::gguf_mapping("qwen3", &decoder, &[llama::GGUF_IN_LAYER]))
    })),
};

const QWEN2_DEFAULTS: Defaults =
    Defaults { n_kv_heads: Some(32), context_length: 32_768, ..LLAMA_DEFAULTS };
const QWEN3_DEFAULTS: Defaults = Defaults { head_dim: Some(128), ..QWEN2_DEFAULTS };

fn read_config(
    folder: &FolderConfig<'_>,
    checkpoint: &dyn Checkpoint,
    defaults: &Defaults,
) -> Result<Decoder, QuantizeError> {
    let config = &folder.config;
    let mut decoder = Decoder::from_config(config, checkpoint, defaults)?;
    if config.flag_or("use_sliding_window", false)? {
        let window = config.size_or("sliding_window", 4096)?;
        // The first `max_window_layers` layers see everything, which may be none or all of them.
        let n_full = config.float_or("max_window_layers", 28.0)?;
        let sliding = sliding_layers(config, decoder.layers.len())?;
        for (i, layer) in decoder.layers.iter_mut().enumerate() {
            let slides = sliding.as_ref().map_or(i as f32 >= n_full, |sliding| sliding[i]);
            layer.sliding_window = slides.then_some(window);
        }
    }
    Ok(decoder)
}
