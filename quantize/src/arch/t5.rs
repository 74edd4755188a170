//! T5, mT5 and UMT5: an encoder, a decoder that reads it, biases by bucket of distance, scores without a
//! scale. They differ in whether layers share the biases, and whether what makes logits is scaled.

use kinglet_formats::checkpoint::Checkpoint;
use kinglet_formats::spec::{
    AbsolutePositions, Activation, Attention, Block, Head, Input, Layer, MixerKind, Mlp, ModelSpec,
    Norm, NormKind, Output, Position, Stack, TokenInput,
};

use super::{
    Family, FolderConfig, Mapping, Names, Table, Transforms, activation, dims_of, layer_count,
};
use crate::QuantizeError;
use crate::fields::Fields;
use crate::take::at;

pub(super) const T5: Family = Family {
    name: "t5",
    architectures: &["T5ForConditionalGeneration"],
    model_type: "t5",
    gguf: Some(("t5", from_gguf)),
    from_config: |folder, checkpoint| from_config("t5", folder, checkpoint, PLAIN),
};

pub(super) const MT5: Family = Family {
    name: "mt5",
    architectures: &["MT5ForConditionalGeneration"],
    model_type: "mt5",
    gguf: None,
    from_config: |folder, checkpoint| {
        from_config("mt5", folder, checkpoint, Kind { never_scaled: true, ..MULTILINGUAL })
    },
};

pub(super) const UMT5: Family = Family {
    name: "umt5",
    architectures: &["UMT5ForConditionalGeneration"],
    model_type: "umt5",
    gguf: None,
    from_config: |folder, checkpoint| {
        from_config("umt5", folder, checkpoint, Kind { by_layer: true, ..MULTILINGUAL })
    },
};

/// In what families differ.
#[derive(Clone, Copy)]
struct Kind {
    /// Every layer has its table of buckets.
    by_layer: bool,
    /// What makes logits is not scaled, whatever a configuration says.
    never_scaled: bool,
    /// Defaults of the configuration: rows of the vocabulary, width and form of the feed-forward block,
    /// layers, heads.
    vocab_size: usize,
    d_ff: usize,
    form: &'static str,
    n_layers: usize,
    n_heads: usize,
}

const PLAIN: Kind = Kind {
    by_layer: false,
    never_scaled: false,
    vocab_size: 32_128,
    d_ff: 2048,
    form: "relu",
    n_layers: 6,
    n_heads: 8,
};
const MULTILINGUAL: Kind =
    Kind { vocab_size: 250_112, d_ff: 1024, form: "gated-gelu", n_layers: 8, n_heads: 6, ..PLAIN };

/// Distances have no end: no position is too far.
const CONTEXT_LENGTH: usize = 1 << 15;

const BUCKETS: &str = "block.0.layer.0.SelfAttention.relative_attention_bias";

const SELF_ATTENTION: Table = &[
    ("attn_norm", at("layer.0.layer_norm")),
    ("q_proj", at("layer.0.SelfAttention.q")),
    ("k_proj", at("layer.0.SelfAttention.k")),
    ("v_proj", at("layer.0.SelfAttention.v")),
    ("o_proj", at("layer.0.SelfAttention.o")),
    ("position_buckets", at("layer.0.SelfAttention.relative_attention_bias").transposed()),
];

const ENCODER_MLP: Table = &[
    ("mlp_norm", at("layer.1.layer_norm")),
    ("gate_proj", at("layer.1.DenseReluDense.wi_0")),
    ("up_proj", at("layer.1.DenseReluDense.wi_1")),
    ("down_proj", at("layer.1.DenseReluDense.wo")),
];

const CROSS_ATTENTION_AND_MLP: Table = &[
    ("cross_norm", at("layer.1.layer_norm")),
    ("cross_q_proj", at("layer.1.EncDecAttention.q")),
    ("cross_k_proj", at("layer.1.EncDecAttention.k")),
    ("cross_v_proj", at("layer.1.EncDecAttention.v")),
    ("cross_o_proj", at("layer.1.EncDecAttention.o")),
    ("mlp_norm", at("layer.2.layer_norm")),
    ("gate_proj", at("layer.2.DenseReluDense.wi_0")),
    ("up_proj", at("layer.2.DenseReluDense.wi_1")),
    ("down_proj", at("layer.2.DenseReluDense.wo")),
];

/// The first release's feed-forward block has no gate, and one projection where later ones have two.
const FORMER_ENDINGS: &[(&str, &str)] =
    &[("DenseReluDense.wi_1.weight", "DenseReluDense.wi.weight")];

const OUTSIDE: Table = &[
    ("embed_tokens", at("/shared")),
    ("position_buckets", at(BUCKETS).transposed()),
    ("final_norm", at("final_layer_norm")),
    ("lm_head", at("/lm_head")),
];

const GGUF_IN_LAYER: Table = &[
    ("attn_norm", at("attn_norm")),
    ("q_proj", at("attn_q")),
    ("k_proj", at("attn_k")),
    ("v_proj", at("attn_v")),
    ("o_proj", at("attn_o")),
    ("position_buckets", at("attn_rel_b").transposed()),
    ("cross_norm", at("cross_attn_norm")),
    ("cross_q_proj", at("cross_attn_q")),
    ("cross_k_proj", at("cross_attn_k")),
    ("cross_v_proj", at("cross_attn_v")),
    ("cross_o_proj", at("cross_attn_o")),
    ("mlp_norm", at("ffn_norm")),
    ("gate_proj", at("ffn_gate")),
    ("up_proj", at("ffn_up")),
    ("down_proj", at("ffn_down")),
];

const GGUF_OUTSIDE: Table = &[
    ("embed_tokens", at("/token_embd")),
    ("position_buckets", at("blk.0.attn_rel_b").transposed()),
    ("final_norm", at("output_norm")),
    ("lm_head", at("/output")),
];

/// Copies of the embeddings, and a table that old releases saved and nothing reads.
const IGNORED: &[&str] =
    &["*.embed_tokens.weight", "*EncDecAttention.relative_attention_bias.weight"];
const IGNORED_IF_TIED: &[&str] =
    &["*.embed_tokens.weight", "*EncDecAttention.relative_attention_bias.weight", "lm_head.weight"];

struct Sizes {
    vocab_size: usize,
    hidden_size: usize,
    n_heads: usize,
    head_dim: usize,
    n_buckets: usize,
    max_distance: usize,
    norm: Norm,
    mlp: Mlp,
    tied: bool,
    scaled: bool,
    by_layer: bool,
}

fn from_config(
    family: &'static str,
    folder: &FolderConfig<'_>,
    checkpoint: &dyn Checkpoint,
    kind: Kind,
) -> Result<Mapping, QuantizeError> {
    let config = &folder.config;
    let said = config.flag_or("tie_word_embeddings", true)?;
    let scaled = !kind.never_scaled && config.flag_or("scale_decoder_outputs", said)?;
    // Newer files say that all models are tied; those with weights of their own are not scaled.
    let tied = checkpoint.find("lm_head.weight").is_none() || said && scaled;
    let n_encoder = layer_count(config, "num_layers", checkpoint, Some(kind.n_layers))?;
    let n_decoder = layer_count(config, "num_decoder_layers", checkpoint, Some(n_encoder))?;
    let t5 = Sizes {
        vocab_size: config.size_or("vocab_size", kind.vocab_size)?,
        hidden_size: config.size_or("d_model", 512)?,
        n_heads: config.size_or("num_heads", kind.n_heads)?,
        head_dim: config.size_or("d_kv", 64)?,
        n_buckets: config.size_or("relative_attention_num_buckets", 32)?,
        max_distance: config.size_or("relative_attention_max_distance", 128)?,
        norm: Norm {
            kind: NormKind::Rms,
            eps: config.positive_float_or("layer_norm_epsilon", 1e-6)?,
            bias: false,
        },
        mlp: mlp(config, kind)?,
        tied,
        scaled,
        by_layer: kind.by_layer,
    };
    let names = |stack, in_layer| Names {
        stack,
        prefix: format!("{stack}."),
        layers: "block.",
        in_layer,
        outside: OUTSIDE,
        former_endings: FORMER_ENDINGS,
    };
    Ok(Mapping {
        family,
        spec: t5.spec(n_encoder, n_decoder),
        names: vec![
            names("encoder", &[SELF_ATTENTION, ENCODER_MLP]),
            names("decoder", &[SELF_ATTENTION, CROSS_ATTENTION_AND_MLP]),
        ],
        transforms: Transforms::default(),
        ignored: if tied { IGNORED_IF_TIED } else { IGNORED },
        max_tokens: None,
        images: Default::default(),
    })
}

/// GGUF does not name the activation: it is relu, and gelu where there is a gate.
fn from_gguf(fields: &Fields<'_>, checkpoint: &dyn Checkpoint) -> Result<Mapping, QuantizeError> {
    let tied = checkpoint.find("output.weight").is_none();
    let gated = checkpoint.find("enc.blk.0.ffn_gate.weight").is_some();
    let n_encoder = layer_count(fields, "block_count", checkpoint, None)?;
    let n_decoder = layer_count(fields, "decoder_block_count", checkpoint, Some(n_encoder))?;
    let rows = |stack: &str, name: &str| -> Result<usize, QuantizeError> {
        let dims = dims_of(checkpoint, &format!("encoder.{stack}.weight"), name)?;
        Ok(dims.first().copied().unwrap_or(0))
    };
    let intermediate_size = fields.size("feed_forward_length")?;
    let activation = if gated { Activation::GeluTanh } else { Activation::Relu };
    let t5 = Sizes {
        vocab_size: rows("embed_tokens", "token_embd.weight")?,
        hidden_size: fields.size("embedding_length")?,
        n_heads: fields.size("attention.head_count")?,
        head_dim: fields.size("attention.key_length")?,
        n_buckets: fields.size("attention.relative_buckets_count")?,
        max_distance: 128,
        norm: Norm {
            kind: NormKind::Rms,
            eps: fields.positive_float("attention.layer_norm_rms_epsilon")?,
            bias: false,
        },
        mlp: Mlp {
            intermediate_size,
            activation,
            gated,
            bias: false,
            output_bias: false,
            output_gate: false,
        },
        tied,
        scaled: tied,
        by_layer: checkpoint.find("enc.blk.1.attn_rel_b.weight").is_some(),
    };
    let names = |stack, prefix: &str| Names {
        stack,
        prefix: prefix.to_owned(),
        layers: "blk.",
        in_layer: &[GGUF_IN_LAYER],
        outside: GGUF_OUTSIDE,
        former_endings: &[],
    };
    Ok(Mapping {
        family: T5.name,
        spec: t5.spec(n_encoder, n_decoder),
        names: vec![names("encoder", "enc."), names("decoder", "dec.")],
        transforms: Transforms::default(),
        ignored: &["*.cross_attn_rel_b.weight"],
        max_tokens: None,
        images: Default::default(),
    })
}

/// The feed-forward block: `relu`, or `gated-ACTIVATION`, where `gated-gelu` means the tanh form.
fn mlp(config: &Fields<'_>, kind: Kind) -> Result<Mlp, QuantizeError> {
    let form = config.opt_text("feed_forward_proj")?.unwrap_or(kind.form);
    let gated = form.starts_with("gated-");
    let activation = match form.strip_prefix("gated-").unwrap_or(form) {
        "gelu" if gated => Activation::GeluTanh,
        "silu" if gated => Activation::Silu,
        "relu" => Activation::Relu,
        _ if config.has("dense_act_fn") => {
            activation::from_config(config, "dense_act_fn", Activation::Relu)?
        }
        _ => {
            let supported = "relu, gated-gelu, gated-silu, gated-relu";
            return Err(config.unsupported("feed_forward_proj", form, supported));
        }
    };
    let intermediate_size = config.size_or("d_ff", kind.d_ff)?;
    Ok(Mlp {
        intermediate_size,
        activation,
        gated,
        bias: false,
        output_bias: false,
        output_gate: false,
    })
}

impl Sizes {
    fn stack(&self, name: &str, n_layers: usize, memory: Option<&str>) -> Stack {
        let block = |kind| Block { pre: Some(self.norm), ..Block::of(kind) };
        let plain = Attention { scale: 1.0, ..Attention::plain(self.n_heads, self.head_dim) };
        let own = Attention {
            causal: memory.is_some(),
            position: Position::RelativeBuckets {
                n_buckets: self.n_buckets,
                max_distance: self.max_distance,
                two_way: memory.is_none(),
                by_layer: self.by_layer,
            },
            ..plain.clone()
        };
        let other = memory.map(|name| Attention { memory: Some(name.to_owned()), ..plain });
        let mixers = [
            Some(MixerKind::Attention(own)),
            other.map(MixerKind::Attention),
            Some(MixerKind::Mlp(self.mlp.clone())),
        ];
        let blocks = mixers.into_iter().flatten().map(block).collect();
        Stack {
            name: name.to_owned(),
            hidden_size: self.hidden_size,
            input: Input::Tokens(TokenInput {
                vocab_size: self.vocab_size,
                table_of: memory.map(str::to_owned),
                width: None,
                positions: AbsolutePositions::None,
                n_segments: 0,
                zero_start: false,
                scale: 1.0,
                norm: None,
            }),
            layers: vec![Layer { blocks, weights_of: None }; n_layers],
            final_norm: Some(self.norm),
        }
    }

    fn spec(&self, n_encoder: usize, n_decoder: usize) -> ModelSpec {
        let scale =
            if self.scaled { super::decoder::inverse_sqrt(self.hidden_size as f32) } else { 1.0 };
        ModelSpec {
            stacks: vec![
                self.stack("encoder", n_encoder, None),
                self.stack("decoder", n_decoder, Some("encoder")),
            ],
            heads: vec![Head {
                output: Output::Logits {
                    tied: self.tied,
                    bias: false,
                    scale,
                    soft_cap: None,
                    shortlist: None,
                },
                ..Head::language_model(self.tied)
            }],
            context_length: CONTEXT_LENGTH,
        }
    }
}
