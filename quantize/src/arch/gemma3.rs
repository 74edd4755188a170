//! Gemma 3, text only: sandwich norms, norms on q and k, scaled embeddings, and sliding layers
//! with a rotary base of their own between full ones.

use kinglet_formats::checkpoint::Checkpoint;
use kinglet_formats::spec::{Activation, QkNormScope, Rope};

use super::decoder::{
    Decoder, Defaults, LLAMA_DEFAULTS, Norms, OUTSIDE, even_split, inverse_sqrt, sliding_layers,
};
use super::{Family, FolderConfig, Mapping, Names, Table, Transforms, find_prefix, llama, rope};
use crate::QuantizeError;
use crate::fields::Fields;
use crate::take::at;

pub(super) const FAMILY: Family = Family {
    name: "gemma3",
    architectures: &["Gemma3ForCausalLM", "Gemma3ForConditionalGeneration", "Gemma3TextModel"],
    model_type: "gemma3_text",
    gguf: Some(("gemma3", from_gguf)),
    from_config,
};

/// EmbeddingGemma, which reads in both directions. Its folders are Gemma 3's.
pub(super) const EMBEDDING: Family = Family {
    name: "embeddinggemma",
    architectures: &[],
    model_type: "gemma-embedding",
    gguf: Some(("gemma-embedding", embedding_from_gguf)),
    from_config,
};

/// Published configurations leave out what equals the 4B model's.
const DEFAULTS: Defaults = Defaults {
    vocab_size: Some(262_208),
    hidden_size: Some(2304),
    intermediate_size: Some(9216),
    n_layers: Some(26),
    n_heads: Some(8),
    n_kv_heads: Some(4),
    head_dim: Some(256),
    context_length: 131_072,
    rope_theta: 1_000_000.0,
    tied: true,
    activation_key: "hidden_activation",
    activation: Activation::GeluTanh,
    ..LLAMA_DEFAULTS
};
const LOCAL_ROPE_THETA: f32 = 10_000.0;
/// One full layer after five sliding ones.
const PATTERN: usize = 6;

/// Besides Llama's names.
pub(super) const IN_LAYER: Table = &[
    ("attn_post_norm", at("post_attention_layernorm")),
    ("mlp_norm", at("pre_feedforward_layernorm")),
    ("mlp_post_norm", at("post_feedforward_layernorm")),
];

/// Besides Llama's names.
pub(super) const GGUF_IN_LAYER: Table =
    &[("attn_post_norm", at("post_attention_norm")), ("mlp_post_norm", at("post_ffw_norm"))];

fn from_config(
    folder: &FolderConfig<'_>,
    checkpoint: &dyn Checkpoint,
) -> Result<Mapping, QuantizeError> {
    // The text half of a model that also sees.
    let nested = folder.config.nested("text_config")?;
    let config = nested.as_ref().unwrap_or(&folder.config);
    let mut decoder = Decoder::from_config(config, checkpoint, &DEFAULTS)?;
    let local = local_rope(config, decoder.head_dim)?;
    let window = config.size_or("sliding_window", 4096)?;
    decoder.causal = !config.flag_or("use_bidirectional_attention", false)?;
    if !decoder.causal && folder.sentence.is_none() {
        let supported = "false, or a folder of sentence-transformers";
        return Err(config.unsupported("use_bidirectional_attention", "true", supported));
    }
    let window = both_sides(window, decoder.causal);
    let n_layers = decoder.layers.len();
    let sliding = match sliding_layers(config, n_layers)? {
        Some(sliding) => sliding,
        None => {
            let pattern = match config.opt_size("sliding_window_pattern")? {
                Some(pattern) => pattern,
                None => config.size_or("_sliding_window_pattern", PATTERN)?,
            };
            periodic(n_layers, pattern)
        }
    };
    slide(&mut decoder, &sliding, &local, window);
    decoder.qkv_bias = config.flag_or("attention_bias", false)?;
    decoder.output_bias = decoder.qkv_bias;
    decoder.attention_scale =
        inverse_sqrt(config.positive_float_or("query_pre_attn_scalar", 256.0)?);
    // `attn_logit_softcapping` is Gemma 2's: its successor's network does not read it.
    decoder.logit_soft_cap = config.opt_float("final_logit_softcapping")?;
    finish(&mut decoder);
    Ok(mapping(FAMILY.name, &decoder, checkpoint, &[IN_LAYER, llama::IN_LAYER]))
}

/// The mapping of a Hugging Face checkpoint of any Gemma, alone or as half of one that also sees.
pub(super) fn mapping(
    family: &'static str,
    decoder: &Decoder,
    checkpoint: &dyn Checkpoint,
    in_layer: &'static [Table],
) -> Mapping {
    let prefixes = ["model.", "language_model.model.", "model.language_model.", ""];
    let names = Names {
        stack: "decoder",
        prefix: find_prefix(checkpoint, &prefixes, "embed_tokens.weight"),
        layers: "layers.",
        in_layer,
        outside: OUTSIDE,
        former_endings: &[],
    };
    Mapping {
        transforms: Transforms { norm_plus_one: true, ..Transforms::default() },
        ignored: if decoder.tied {
            &[
                "*rotary_emb*.inv_freq",
                "*vision_tower.*",
                "*multi_modal_projector.*",
                "*lm_head.weight",
            ]
        } else {
            &["*rotary_emb*.inv_freq", "*vision_tower.*", "*multi_modal_projector.*"]
        },
        ..decoder.mapping(family, names)
    }
}

fn from_gguf(fields: &Fields<'_>, checkpoint: &dyn Checkpoint) -> Result<Mapping, QuantizeError> {
    gguf_mapping(FAMILY.name, fields, checkpoint, true)
}

fn embedding_from_gguf(
    fields: &Fields<'_>,
    checkpoint: &dyn Checkpoint,
) -> Result<Mapping, QuantizeError> {
    let mut mapping = gguf_mapping(EMBEDDING.name, fields, checkpoint, false)?;
    // No token follows one that is known already.
    mapping.spec.heads.clear();
    Ok(mapping)
}

fn gguf_mapping(
    family: &'static str,
    fields: &Fields<'_>,
    checkpoint: &dyn Checkpoint,
    causal: bool,
) -> Result<Mapping, QuantizeError> {
    let mut decoder = Decoder::from_gguf(fields, checkpoint, &DEFAULTS)?;
    let n_layers = decoder.layers.len();
    let theta = fields.positive_float_or("rope.freq_base_swa", LOCAL_ROPE_THETA)?;
    let local = rope::plain(theta, decoder.head_dim);
    decoder.causal = causal;
    let window = both_sides(fields.size("attention.sliding_window")?, causal);
    let sliding = gguf_sliding_layers(fields, n_layers)?;
    slide(&mut decoder, &sliding, &local, window);
    // GGUF has no key for the score's scale: the 27B model, told by its depth, is the one whose
    // scale does not follow from the head's width.
    if n_layers == 62 {
        let share =
            even_split(fields, "attention.head_count", decoder.hidden_size, decoder.n_heads)?;
        decoder.attention_scale = inverse_sqrt(share as f32);
    }
    decoder.logit_soft_cap = fields.opt_float("final_logit_softcapping")?.filter(|&cap| cap != 0.0);
    finish(&mut decoder);
    Ok(llama::gguf_mapping(family, &decoder, &[GGUF_IN_LAYER, llama::GGUF_IN_LAYER]))
}

/// Positions seen on a side, the own one included: in both directions, half of a window lies on each.
fn both_sides(window: usize, causal: bool) -> usize {
    if causal { window } else { window / 2 + 1 }
}

/// What every Gemma 3 has.
fn finish(decoder: &mut Decoder) {
    decoder.qk_norm = Some(QkNormScope::Head);
    decoder.norms = Norms::Both;
    decoder.embedding_scale = embedding_scale(decoder);
}

/// Every Gemma's factor on embeddings.
pub(super) fn embedding_scale(decoder: &Decoder) -> f32 {
    (decoder.hidden_size as f64).sqrt() as f32
}

/// The rotation of sliding layers, which no context extension changes.
fn local_rope(config: &Fields<'_>, head_dim: usize) -> Result<Rope, QuantizeError> {
    let kind = "sliding_attention";
    match config.nested("rope_parameters")? {
        Some(parameters) if parameters.has(kind) => {
            let defaults = Defaults { rope_theta: LOCAL_ROPE_THETA, ..DEFAULTS };
            rope::from_config(config, &defaults, head_dim, kind)
        }
        _ => {
            let theta = config.positive_float_or("rope_local_base_freq", LOCAL_ROPE_THETA)?;
            Ok(rope::plain(theta, head_dim))
        }
    }
}

/// Every `pattern`-th layer is full, the others slide.
fn periodic(n_layers: usize, pattern: usize) -> Vec<bool> {
    (1..=n_layers).map(|i| i % pattern != 0).collect()
}

/// GGUF gives the pattern as a period, as a flag per layer, or not at all.
fn gguf_sliding_layers(fields: &Fields<'_>, n_layers: usize) -> Result<Vec<bool>, QuantizeError> {
    let key = "attention.sliding_window_pattern";
    let Ok(Some(list)) = fields.opt_list(key) else {
        return Ok(periodic(n_layers, fields.size_or(key, PATTERN)?));
    };
    let flags: Option<Vec<bool>> = list.iter().map(|flag| flag.as_bool()).collect();
    flags.filter(|flags| flags.len() == n_layers).ok_or_else(|| {
        let expected = format!("a flag for each of the {n_layers} layers");
        fields.bad(key, &format!("a list of {}", list.len()), &expected)
    })
}

fn slide(decoder: &mut Decoder, sliding: &[bool], local: &Rope, window: usize) {
    for (layer, _) in decoder.layers.iter_mut().zip(sliding).filter(|(_, slides)| **slides) {
        layer.rope = Some(local.clone());
        layer.sliding_window = Some(window);
    }
}
