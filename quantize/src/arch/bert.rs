//! BERT encoders, as used for sentence embeddings.

use kinglet_formats::checkpoint::Checkpoint;
use kinglet_formats::spec::{
    AbsolutePositions, Activation, Attention, Head, Input, Layer, Mlp, ModelSpec, Norm, NormKind,
    NormPlacement, Pooling, Position, Stack, Topology,
};

use super::decoder::{even_split, inverse_sqrt};
use super::{
    Family, FolderConfig, Mapping, Names, SentenceConfig, Transforms, activation, dims_of,
    find_prefix, layer_count,
};
use crate::QuantizeError;
use crate::fields::Fields;

pub(super) const FAMILY: Family = Family {
    name: "bert",
    architectures: &["BertModel", "BertForMaskedLM", "BertForPreTraining"],
    gguf: "bert",
    from_config,
    from_gguf,
};

const IN_LAYER: &[(&str, &str)] = &[
    ("q_proj", "attention.self.query"),
    ("k_proj", "attention.self.key"),
    ("v_proj", "attention.self.value"),
    ("o_proj", "attention.output.dense"),
    ("attn_norm", "attention.output.LayerNorm"),
    ("up_proj", "intermediate.dense"),
    ("down_proj", "output.dense"),
    ("mlp_norm", "output.LayerNorm"),
];

const OUTSIDE: &[(&str, &str)] = &[
    ("embed_tokens", "embeddings.word_embeddings"),
    ("embed_positions", "embeddings.position_embeddings"),
    ("embed_segments", "embeddings.token_type_embeddings"),
    ("embed_norm", "embeddings.LayerNorm"),
];

const GGUF_IN_LAYER: &[(&str, &str)] = &[
    ("q_proj", "attn_q"),
    ("k_proj", "attn_k"),
    ("v_proj", "attn_v"),
    ("o_proj", "attn_output"),
    ("attn_norm", "attn_output_norm"),
    ("up_proj", "ffn_up"),
    ("down_proj", "ffn_down"),
    ("mlp_norm", "layer_output_norm"),
];

const GGUF_OUTSIDE: &[(&str, &str)] = &[
    ("embed_tokens", "token_embd"),
    ("embed_positions", "position_embd"),
    ("embed_segments", "token_types"),
    ("embed_norm", "token_embd_norm"),
];

/// Checkpoints converted from TensorFlow keep that library's names.
const FORMER_ENDINGS: &[(&str, &str)] =
    &[("LayerNorm.weight", "LayerNorm.gamma"), ("LayerNorm.bias", "LayerNorm.beta")];

/// A buffer, and the heads of pre-training, which an embedding does without.
const IGNORED: &[&str] = &["*embeddings.position_ids", "*pooler.*", "cls.*"];

/// What an encoder's layers have in common.
struct Encoder {
    vocab_size: usize,
    n_segments: usize,
    max_positions: usize,
    hidden_size: usize,
    intermediate_size: usize,
    n_layers: usize,
    n_heads: usize,
    head_dim: usize,
    norm_eps: f32,
    activation: Activation,
    pooling: Pooling,
    normalize: bool,
}

fn from_config(
    folder: &FolderConfig<'_>,
    checkpoint: &dyn Checkpoint,
) -> Result<Mapping, QuantizeError> {
    let config = &folder.config;
    for key in ["is_decoder", "add_cross_attention"] {
        if config.flag_or(key, false)? {
            return Err(config.unsupported(key, "true", "false"));
        }
    }
    let positions = config.opt_text("position_embedding_type")?.unwrap_or("absolute");
    if positions != "absolute" {
        return Err(config.unsupported("position_embedding_type", positions, "absolute"));
    }
    let hidden_size = config.size("hidden_size")?;
    let n_heads = config.size("num_attention_heads")?;
    let (pooling, normalize) = match &folder.sentence {
        Some(sentence) => pooling(sentence, hidden_size)?,
        // What sentence-transformers makes of a plain encoder.
        None => (Pooling::Mean, false),
    };
    let encoder = Encoder {
        vocab_size: config.size("vocab_size")?,
        n_segments: config.size_or("type_vocab_size", 2)?,
        max_positions: config.size_or("max_position_embeddings", 512)?,
        hidden_size,
        intermediate_size: config.size("intermediate_size")?,
        n_layers: layer_count(config, "num_hidden_layers", checkpoint, None)?,
        n_heads,
        head_dim: even_split(config, "num_attention_heads", hidden_size, n_heads)?,
        norm_eps: config.positive_float_or("layer_norm_eps", 1e-12)?,
        activation: activation::from_config(config, "hidden_act", Activation::Gelu)?,
        pooling,
        normalize,
    };
    Ok(Mapping {
        family: FAMILY.name,
        spec: encoder.spec(),
        names: Names {
            prefix: find_embeddings(checkpoint),
            layers: "encoder.layer.",
            in_layer: IN_LAYER,
            outside: OUTSIDE,
            former_endings: FORMER_ENDINGS,
        },
        transforms: Transforms::default(),
        ignored: IGNORED,
        max_tokens: Some(folder.max_tokens.unwrap_or(usize::MAX).min(encoder.max_positions)),
    })
}

fn find_embeddings(checkpoint: &dyn Checkpoint) -> String {
    find_prefix(checkpoint, &["", "bert."], "embeddings.word_embeddings.weight")
}

fn from_gguf(fields: &Fields<'_>, checkpoint: &dyn Checkpoint) -> Result<Mapping, QuantizeError> {
    if fields.flag_or("attention.causal", false)? {
        return Err(fields.unsupported("attention.causal", "true", "false"));
    }
    let hidden_size = fields.size("embedding_length")?;
    let n_heads = fields.size("attention.head_count")?;
    let rows = |canonical: &str, name: &str| -> Result<usize, QuantizeError> {
        Ok(dims_of(checkpoint, canonical, name)?.first().copied().unwrap_or(0))
    };
    let n_segments = match checkpoint.find("token_types.weight") {
        Some(_) => rows("encoder.embed_segments.weight", "token_types.weight")?,
        None => 0,
    };
    let encoder = Encoder {
        vocab_size: rows("encoder.embed_tokens.weight", "token_embd.weight")?,
        n_segments,
        max_positions: rows("encoder.embed_positions.weight", "position_embd.weight")?,
        hidden_size,
        intermediate_size: fields.size("feed_forward_length")?,
        n_layers: layer_count(fields, "block_count", checkpoint, None)?,
        n_heads,
        head_dim: even_split(fields, "attention.head_count", hidden_size, n_heads)?,
        norm_eps: fields.positive_float("attention.layer_norm_epsilon")?,
        activation: Activation::Gelu,
        pooling: gguf_pooling(fields)?,
        // GGUF does not say; its users scale to length one unless told otherwise.
        normalize: true,
    };
    let context = fields.size_or("context_length", encoder.max_positions)?;
    Ok(Mapping {
        family: FAMILY.name,
        spec: encoder.spec(),
        names: Names {
            prefix: String::new(),
            layers: "blk.",
            in_layer: GGUF_IN_LAYER,
            outside: GGUF_OUTSIDE,
            former_endings: &[],
        },
        transforms: Transforms::default(),
        ignored: &["cls.*"],
        max_tokens: Some(context.min(encoder.max_positions)),
    })
}

fn gguf_pooling(fields: &Fields<'_>) -> Result<Pooling, QuantizeError> {
    // 0 stands for "none", which an embedding cannot be.
    match fields.float_or("pooling_type", 1.0)? {
        1.0 => Ok(Pooling::Mean),
        2.0 => Ok(Pooling::Cls),
        3.0 => Ok(Pooling::Last),
        other => Err(fields.unsupported("pooling_type", &other, "1 (mean), 2 (cls), 3 (last)")),
    }
}

/// How a sentence-transformers folder turns token vectors into one, and whether it scales that.
fn pooling(
    sentence: &SentenceConfig<'_>,
    hidden_size: usize,
) -> Result<(Pooling, bool), QuantizeError> {
    let config = &sentence.pooling;
    let normalize = match sentence.modules.as_slice() {
        ["Transformer", "Pooling"] => false,
        ["Transformer", "Pooling", "Normalize"] => true,
        other => {
            return Err(QuantizeError::UnsupportedOption {
                file: "modules.json".to_owned(),
                option: "modules".to_owned(),
                found: other.join(", "),
                supported: "Transformer, Pooling and, optionally, Normalize".to_owned(),
            });
        }
    };
    for key in ["word_embedding_dimension", "embedding_dimension"] {
        let width = config.size_or(key, hidden_size)?;
        if width != hidden_size {
            return Err(config.bad(key, &width, &format!("the hidden size, {hidden_size}")));
        }
    }
    let chosen = pooling_modes(config)?;
    let supported = "one of mean, cls, lasttoken, max";
    let pooling = match chosen.as_slice() {
        ["mean" | "mean_tokens"] => Pooling::Mean,
        ["cls" | "cls_token"] => Pooling::Cls,
        ["lasttoken"] => Pooling::Last,
        ["max" | "max_tokens"] => Pooling::Max,
        [] => return Err(config.unsupported("pooling_mode", "none", supported)),
        other => return Err(config.unsupported("pooling_mode", &other.join(", "), supported)),
    };
    Ok((pooling, normalize))
}

/// The modes that are on: `pooling_mode` names them, older files have a flag for each.
fn pooling_modes<'a>(config: &Fields<'a>) -> Result<Vec<&'a str>, QuantizeError> {
    if config.has("pooling_mode") {
        return config.texts("pooling_mode");
    }
    let known = [
        "mean_tokens",
        "cls_token",
        "lasttoken",
        "max_tokens",
        "mean_sqrt_len_tokens",
        "weightedmean_tokens",
    ];
    let mut chosen = Vec::new();
    for mode in known {
        if config.flag_or(&format!("pooling_mode_{mode}"), false)? {
            chosen.push(mode);
        }
    }
    Ok(chosen)
}

impl Encoder {
    fn spec(&self) -> ModelSpec {
        let norm = Norm { kind: NormKind::Layer, eps: self.norm_eps, bias: true };
        let layer = Layer {
            norm,
            norm_placement: NormPlacement::Post,
            attention: Attention {
                n_heads: self.n_heads,
                n_kv_heads: self.n_heads,
                head_dim: self.head_dim,
                scale: inverse_sqrt(self.head_dim as f32),
                causal: false,
                sliding_window: None,
                soft_cap: None,
                qkv_bias: true,
                output_bias: true,
                qk_norm: None,
                position: Position::None,
            },
            cross_attention: None,
            mlp: Mlp {
                intermediate_size: self.intermediate_size,
                activation: self.activation,
                gated: false,
                bias: true,
            },
            parallel: false,
            layer_scale: false,
            shares_weights_of: None,
        };
        ModelSpec {
            topology: Topology::Encoder,
            stacks: vec![Stack {
                name: "encoder".to_owned(),
                hidden_size: self.hidden_size,
                input: Input::Tokens {
                    vocab_size: self.vocab_size,
                    positions: AbsolutePositions::Learned {
                        max_positions: self.max_positions,
                        offset: 0,
                    },
                    n_segments: self.n_segments,
                    scale: 1.0,
                    norm: Some(norm),
                },
                layers: vec![layer; self.n_layers],
                final_norm: None,
            }],
            heads: vec![Head::Embedding { pooling: self.pooling, normalize: self.normalize }],
            context_length: self.max_positions,
        }
    }
}
