//! NomicBERT: BERT with rotary positions, a gated MLP and no biases but those of its norms.

use kinglet_formats::checkpoint::Checkpoint;
use kinglet_formats::spec::{AbsolutePositions, Activation, Attention, Mlp, Position};

use super::decoder::{self, even_split};
use super::encoder::{BERT_DEFAULTS, Defaults, Encoder};
use super::{
    Family, FolderConfig, Mapping, Names, Table, Transforms, bert, find_prefix, layer_count, rope,
};
use crate::QuantizeError;
use crate::fields::Fields;
use crate::take::at;

pub(super) const FAMILY: Family = Family {
    name: "nomic-bert",
    architectures: &["NomicBertModel", "NomicBertForMaskedLM", "NomicBertForPreTraining"],
    model_type: "nomic_bert",
    gguf: Some(("nomic-bert", from_gguf)),
    from_config,
};

const DEFAULTS: Defaults = Defaults {
    vocab_size: Some(30_528),
    hidden_size: Some(768),
    intermediate_size: Some(3072),
    n_layers: Some(12),
    n_heads: Some(12),
    max_positions: 2048,
    activation: Activation::Silu,
    ..BERT_DEFAULTS
};
const THETA: f32 = 1000.0;

const QKV: &[&str] = &["q_proj", "k_proj", "v_proj"];

const IN_LAYER: Table = &[
    ("q_proj", at("attn.Wqkv").fused(QKV)),
    ("k_proj", at("attn.Wqkv").fused(QKV)),
    ("v_proj", at("attn.Wqkv").fused(QKV)),
    ("o_proj", at("attn.out_proj")),
    ("attn_after_norm", at("norm1")),
    ("up_proj", at("mlp.fc11")),
    ("gate_proj", at("mlp.fc12")),
    ("down_proj", at("mlp.fc2")),
    ("mlp_after_norm", at("norm2")),
];

const OUTSIDE: Table = &[
    ("embed_tokens", at("embeddings.word_embeddings")),
    ("embed_segments", at("embeddings.token_type_embeddings")),
    ("embed_norm", at("emb_ln")),
];

/// Besides BERT's names.
const GGUF_IN_LAYER: Table = &[
    ("q_proj", at("attn_qkv").fused(QKV)),
    ("k_proj", at("attn_qkv").fused(QKV)),
    ("v_proj", at("attn_qkv").fused(QKV)),
    ("gate_proj", at("ffn_gate")),
];

/// The head of pre-training, which an embedding does without.
const IGNORED: &[&str] = &["cls.*", "*pooler.*"];

fn from_config(
    folder: &FolderConfig<'_>,
    checkpoint: &dyn Checkpoint,
) -> Result<Mapping, QuantizeError> {
    let config = &folder.config;
    let mut encoder = match config.has("n_embd") {
        true => published(config, checkpoint)?,
        false => Encoder::from_config(config, checkpoint, &DEFAULTS)?,
    };
    let head_dim = encoder.attention.head_dim;
    let own_dim = config.size_or("head_dim", head_dim)?;
    if own_dim != head_dim {
        return Err(config.unsupported("head_dim", &own_dim, &head_dim.to_string()));
    }
    let theta = config.positive_float_or("rotary_emb_base", THETA)?;
    finish(
        &mut encoder,
        Position::Rope(rope::from_config(
            config,
            &decoder::Defaults::rotating(theta),
            head_dim,
            "full_attention",
        )?),
    );
    let prefix = find_prefix(checkpoint, &["", "bert.", "nomic_bert."], bert::WORDS);
    Ok(Mapping {
        family: FAMILY.name,
        spec: encoder.spec(),
        names: vec![Names {
            stack: "encoder",
            prefix,
            layers: "encoder.layers.",
            in_layer: &[IN_LAYER],
            outside: OUTSIDE,
            former_endings: &[],
        }],
        transforms: Transforms::default(),
        ignored: IGNORED,
        max_tokens: None,
        images: Default::default(),
    })
}

/// A configuration in the words of GPT-2, as the model's authors publish it.
fn published(config: &Fields<'_>, checkpoint: &dyn Checkpoint) -> Result<Encoder, QuantizeError> {
    for (key, supported) in [
        ("prenorm", false),
        ("use_rms_norm", false),
        ("parallel_block", false),
        ("causal", false),
        ("qkv_proj_bias", false),
        ("mlp_fc1_bias", false),
        ("mlp_fc2_bias", false),
        ("rotary_emb_interleaved", false),
    ] {
        if config.flag_or(key, supported)? != supported {
            return Err(config.unsupported(key, "true", "false"));
        }
    }
    for key in ["moe_every_n_layers", "num_experts"] {
        if let Some(n) = config.opt_float(key)?.filter(|&n| n > 0.0) {
            return Err(config.unsupported(key, &n, "models without experts"));
        }
    }
    let fraction = config.float_or("rotary_emb_fraction", 1.0)?;
    if fraction != 1.0 {
        return Err(config.unsupported("rotary_emb_fraction", &fraction, "1"));
    }
    let activation = match config.opt_text("activation_function")?.unwrap_or("swiglu") {
        "swiglu" => Activation::Silu,
        "geglu" => Activation::Gelu,
        other => {
            return Err(config.unsupported("activation_function", other, "swiglu, geglu"));
        }
    };
    let hidden_size = config.size("n_embd")?;
    let n_heads = config.size("n_head")?;
    let head_dim = even_split(config, "n_head", hidden_size, n_heads)?;
    // Frequencies change beyond the length of training.
    let context_length = config
        .size_or("max_trained_positions", DEFAULTS.max_positions)?
        .min(config.size_or("n_positions", usize::MAX)?);
    Ok(Encoder {
        vocab_size: config.size("vocab_size")?,
        width: None,
        n_segments: config.size_or("type_vocab_size", DEFAULTS.n_segments)?,
        positions: AbsolutePositions::None,
        context_length,
        hidden_size,
        n_layers: layer_count(config, "n_layer", checkpoint, None)?,
        norm_eps: config.positive_float_or("layer_norm_epsilon", DEFAULTS.norm_eps)?,
        attention: Attention::plain(n_heads, head_dim),
        mlp: gated(config.size_or("n_inner", 4 * hidden_size)?, activation),
        one_layer: false,
    })
}

fn from_gguf(fields: &Fields<'_>, checkpoint: &dyn Checkpoint) -> Result<Mapping, QuantizeError> {
    super::refuse_experts(fields)?;
    let mut encoder = bert::encoder_from_gguf(fields, checkpoint)?;
    encoder.mlp.activation = Activation::Silu;
    let head_dim = encoder.attention.head_dim;
    finish(
        &mut encoder,
        Position::Rope(rope::from_gguf(
            fields,
            checkpoint,
            &decoder::Defaults::rotating(THETA),
            head_dim,
        )?),
    );
    let in_layer = &[GGUF_IN_LAYER, bert::GGUF_IN_LAYER];
    Ok(bert::gguf_mapping(FAMILY.name, encoder.spec(), in_layer, bert::GGUF_OUTSIDE))
}

/// What every NomicBERT has.
fn finish(encoder: &mut Encoder, position: Position) {
    encoder.positions = AbsolutePositions::None;
    encoder.attention = Attention { position, ..encoder.attention.clone().biased(false) };
    encoder.mlp = gated(encoder.mlp.intermediate_size, encoder.mlp.activation);
}

fn gated(intermediate_size: usize, activation: Activation) -> Mlp {
    Mlp {
        intermediate_size,
        activation,
        gated: true,
        bias: false,
        output_bias: false,
        output_gate: false,
    }
}
