//! ModernBERT: norms before blocks, rotary positions, a gated MLP, and layers that see their
//! neighbourhood between layers that see everything.

use kinglet_formats::checkpoint::Checkpoint;
use kinglet_formats::spec::{
    AbsolutePositions, Activation, Attention, Block, Dense, Input, Layer, MixerKind, Mlp,
    ModelSpec, Norm, NormKind, Pooling, Position, Rope, Stack, TokenInput,
};

use super::decoder::{Defaults, even_split, sliding_layers};
use super::task::{self, Before, TaskHeads};
use super::{
    Family, FolderConfig, Mapping, Names, Table, Transforms, activation, bert, dims_of,
    find_prefix, layer_count, rope,
};
use crate::QuantizeError;
use crate::fields::Fields;
use crate::take::at;

pub(super) const FAMILY: Family = Family {
    name: "modernbert",
    architectures: &[
        "ModernBertModel",
        "ModernBertForMaskedLM",
        "ModernBertForSequenceClassification",
        "ModernBertForTokenClassification",
        "ModernBertForQuestionAnswering",
    ],
    model_type: "modernbert",
    gguf: Some(("modern-bert", from_gguf)),
    from_config,
};

const GLOBAL_THETA: f32 = 160_000.0;
const LOCAL_THETA: f32 = 10_000.0;
/// Every third layer sees everything, the first one too.
const PATTERN: usize = 3;
/// Positions that the others see, half of them on each side.
const LOCAL_ATTENTION: usize = 128;

const QKV: &[&str] = &["q_proj", "k_proj", "v_proj"];
const GATE_UP: &[&str] = &["gate_proj", "up_proj"];

const IN_LAYER: Table = &[
    ("attn_norm", at("attn_norm")),
    ("q_proj", at("attn.Wqkv").fused(QKV)),
    ("k_proj", at("attn.Wqkv").fused(QKV)),
    ("v_proj", at("attn.Wqkv").fused(QKV)),
    ("o_proj", at("attn.Wo")),
    ("mlp_norm", at("mlp_norm")),
    ("gate_proj", at("mlp.Wi").fused(GATE_UP)),
    ("up_proj", at("mlp.Wi").fused(GATE_UP)),
    ("down_proj", at("mlp.Wo")),
];

const OUTSIDE: Table = &[
    ("embed_tokens", at("embeddings.tok_embeddings")),
    ("embed_norm", at("embeddings.norm")),
    ("final_norm", at("final_norm")),
];

const GGUF_IN_LAYER: Table = &[
    ("attn_norm", at("attn_norm")),
    ("q_proj", at("attn_qkv").fused(QKV)),
    ("k_proj", at("attn_qkv").fused(QKV)),
    ("v_proj", at("attn_qkv").fused(QKV)),
    ("o_proj", at("attn_output")),
    ("mlp_norm", at("ffn_norm")),
    ("gate_proj", at("ffn_up").fused(GATE_UP)),
    ("up_proj", at("ffn_up").fused(GATE_UP)),
    ("down_proj", at("ffn_down")),
];

const GGUF_OUTSIDE: Table = &[
    ("embed_tokens", at("token_embd")),
    ("embed_norm", at("token_embd_norm")),
    ("final_norm", at("output_norm")),
];

/// The head of pre-training, which an embedding does without.
const IGNORED: &[&str] = &["head.*", "decoder.*"];

/// The same layer stands before all heads.
const HEAD: Table = &[
    ("dense.0", at("/head.dense")),
    ("dense_norm.0", at("/head.norm")),
    ("dense.1", at("/classifier")),
    ("lm_head", at("/decoder")),
];

const HEADS: TaskHeads = TaskHeads {
    sequences: HEAD,
    sequence_activation: Activation::Gelu,
    tokens: HEAD,
    answers: HEAD,
    masks: HEAD,
    mask_activation: None,
    former_endings: &[],
    ignored: &["decoder.weight"],
};

/// The network.
struct ModernBert {
    vocab_size: usize,
    context_length: usize,
    hidden_size: usize,
    norm: Norm,
    attention: Attention,
    mlp: Mlp,
    /// The rotations of layers that see everything, and of the others.
    ropes: [Rope; 2],
    /// Positions that a local layer sees on either side, the own one included.
    window: usize,
    /// Whether a layer is local.
    local: Vec<bool>,
}

fn from_config(
    folder: &FolderConfig<'_>,
    checkpoint: &dyn Checkpoint,
) -> Result<Mapping, QuantizeError> {
    let config = &folder.config;
    let hidden_size = config.size_or("hidden_size", 768)?;
    let n_heads = config.size_or("num_attention_heads", 12)?;
    let head_dim = even_split(config, "num_attention_heads", hidden_size, n_heads)?;
    let n_layers = layer_count(config, "num_hidden_layers", checkpoint, Some(22))?;
    let local = match sliding_layers(config, n_layers)? {
        Some(local) => local,
        None => {
            let every = config.size_or("global_attn_every_n_layers", PATTERN)?;
            (0..n_layers).map(|i| i % every != 0).collect()
        }
    };
    let eps = config.positive_float_or("norm_eps", 1e-5)?;
    let model = ModernBert {
        vocab_size: config.size_or("vocab_size", 50_368)?,
        context_length: config.size_or("max_position_embeddings", 8192)?,
        hidden_size,
        norm: Norm { kind: NormKind::Layer, eps, bias: config.flag_or("norm_bias", false)? },
        attention: Attention::plain(n_heads, head_dim)
            .biased(config.flag_or("attention_bias", false)?),
        mlp: Mlp {
            intermediate_size: config.size_or("intermediate_size", 1152)?,
            activation: activation::from_config(config, "hidden_activation", Activation::Gelu)?,
            gated: true,
            bias: config.flag_or("mlp_bias", false)?,
            output_bias: false,
            output_gate: false,
        },
        ropes: [
            rotation(config, "full_attention", "global_rope_theta", GLOBAL_THETA, head_dim)?,
            rotation(config, "sliding_attention", "local_rope_theta", LOCAL_THETA, head_dim)?,
        ],
        window: config.size_or("local_attention", LOCAL_ATTENTION)? / 2 + 1,
        local,
    };
    let mut mapping = Mapping {
        family: FAMILY.name,
        spec: model.spec(),
        names: vec![Names {
            stack: "encoder",
            prefix: find_prefix(checkpoint, &["", "model."], "embeddings.tok_embeddings.weight"),
            layers: "layers.",
            in_layer: &[IN_LAYER],
            outside: OUTSIDE,
            former_endings: &[],
        }],
        transforms: Transforms::default(),
        ignored: IGNORED,
        max_tokens: None,
        images: Default::default(),
    };
    let before = before_heads(config, &model)?;
    task::add_heads_behind(&mut mapping, folder, checkpoint, before, &HEADS)?;
    Ok(mapping)
}

/// `norm(act(W x))` stands before each head, of the first row or the mean of all.
fn before_heads(config: &Fields<'_>, model: &ModernBert) -> Result<Before, QuantizeError> {
    let dense = Dense {
        size: model.hidden_size,
        bias: config.flag_or("classifier_bias", false)?,
        activation: Some(activation::from_config(
            config,
            "classifier_activation",
            Activation::Gelu,
        )?),
        norm: Some(model.norm),
    };
    let pool = match config.opt_text("classifier_pooling")?.unwrap_or("cls") {
        "cls" => Pooling::Cls,
        "mean" => Pooling::Mean,
        other => return Err(config.unsupported("classifier_pooling", other, "cls, mean")),
    };
    Ok(Before {
        pool,
        sequences: vec![dense.clone()],
        rows: vec![dense.clone()],
        masks: vec![dense],
        mask_bias: config.flag_or("decoder_bias", true)?,
    })
}

/// The rotation of a type of layer: in `rope_parameters`, or by the key of older files.
fn rotation(
    config: &Fields<'_>,
    kind: &str,
    older_key: &str,
    default: f32,
    head_dim: usize,
) -> Result<Rope, QuantizeError> {
    let theta = config.positive_float_or(older_key, default)?;
    match config.nested("rope_parameters")? {
        Some(parameters) if parameters.has(kind) => {
            rope::from_config(config, &Defaults::rotating(theta), head_dim, kind)
        }
        _ if config.has("rope_scaling") => {
            Err(config.unsupported("rope_scaling", "an object", "null"))
        }
        _ => Ok(rope::plain(theta, head_dim)),
    }
}

fn from_gguf(fields: &Fields<'_>, checkpoint: &dyn Checkpoint) -> Result<Mapping, QuantizeError> {
    let hidden_size = fields.size("embedding_length")?;
    let n_heads = fields.size("attention.head_count")?;
    let head_dim = even_split(fields, "attention.head_count", hidden_size, n_heads)?;
    let n_layers = layer_count(fields, "block_count", checkpoint, None)?;
    let dims = dims_of(checkpoint, "encoder.embed_tokens.weight", "token_embd.weight")?;
    let pattern = fields.size_or("attention.sliding_window_pattern", PATTERN)?;
    let has = |name: &str| checkpoint.find(name).is_some();
    let model = ModernBert {
        vocab_size: dims.first().copied().unwrap_or(0),
        context_length: fields.size("context_length")?,
        hidden_size,
        norm: Norm {
            kind: NormKind::Layer,
            eps: fields.positive_float("attention.layer_norm_epsilon")?,
            bias: has("output_norm.bias"),
        },
        attention: Attention::plain(n_heads, head_dim).biased(has("blk.0.attn_qkv.bias")),
        mlp: Mlp {
            intermediate_size: fields.size("feed_forward_length")?,
            activation: activation::from_config(fields, "hidden_activation", Activation::Gelu)?,
            gated: true,
            bias: has("blk.0.ffn_up.bias"),
            output_bias: false,
            output_gate: false,
        },
        ropes: [
            rope::from_gguf(fields, checkpoint, &Defaults::rotating(GLOBAL_THETA), head_dim)?,
            rope::plain(fields.positive_float_or("rope.freq_base_swa", LOCAL_THETA)?, head_dim),
        ],
        window: fields.size_or("attention.sliding_window", LOCAL_ATTENTION)? / 2 + 1,
        local: (0..n_layers).map(|i| i % pattern != 0).collect(),
    };
    Ok(bert::gguf_mapping(FAMILY.name, model.spec(), &[GGUF_IN_LAYER], GGUF_OUTSIDE))
}

impl ModernBert {
    fn layer(&self, i: usize, local: bool) -> Layer {
        let attention = Attention {
            position: Position::Rope(self.ropes[usize::from(local)].clone()),
            sliding_window: local.then_some(self.window).filter(|&n| n < self.context_length),
            ..self.attention.clone()
        };
        let blocks = vec![
            // What enters the first layer has its norm already.
            Block {
                pre: (i > 0).then_some(self.norm),
                ..Block::of(MixerKind::Attention(attention))
            },
            Block { pre: Some(self.norm), ..Block::of(MixerKind::Mlp(self.mlp.clone())) },
        ];
        Layer { blocks, weights_of: None }
    }

    fn spec(&self) -> ModelSpec {
        let layers = self.local.iter().enumerate();
        ModelSpec {
            stacks: vec![Stack {
                name: "encoder".to_owned(),
                hidden_size: self.hidden_size,
                input: Input::Tokens(TokenInput {
                    vocab_size: self.vocab_size,
                    table_of: None,
                    width: None,
                    positions: AbsolutePositions::None,
                    n_segments: 0,
                    zero_start: false,
                    scale: 1.0,
                    norm: Some(self.norm),
                }),
                layers: layers.map(|(i, &local)| self.layer(i, local)).collect(),
                final_norm: Some(self.norm),
            }],
            heads: Vec::new(),
            context_length: self.context_length,
        }
    }
}
