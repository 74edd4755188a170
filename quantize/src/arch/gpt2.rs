//! GPT-2 and the checkpoints of its shape: learned positions, LayerNorms with biases, fused and
//! transposed projections.

use kinglet_formats::checkpoint::Checkpoint;
use kinglet_formats::spec::{
    AbsolutePositions, Activation, Attention, Block, Head, Input, Layer, MixerKind, Mlp, ModelSpec,
    Norm, NormKind, Stack, TokenInput,
};

use super::decoder::even_split;
use super::{
    Family, FolderConfig, Mapping, Names, Table, Transforms, activation, dims_of, find_prefix,
    layer_count,
};
use crate::QuantizeError;
use crate::fields::Fields;
use crate::take::at;

pub(super) const FAMILY: Family = Family {
    name: "gpt2",
    architectures: &["GPT2LMHeadModel"],
    model_type: "gpt2",
    gguf: Some(("gpt2", from_gguf)),
    from_config,
};

/// Rows of the fused projection.
const QKV: &[&str] = &["q_proj", "k_proj", "v_proj"];

const IN_LAYER: Table = &[
    ("attn_norm", at("ln_1")),
    ("q_proj", at("attn.c_attn").transposed().fused(QKV)),
    ("k_proj", at("attn.c_attn").transposed().fused(QKV)),
    ("v_proj", at("attn.c_attn").transposed().fused(QKV)),
    ("o_proj", at("attn.c_proj").transposed()),
    ("mlp_norm", at("ln_2")),
    ("up_proj", at("mlp.c_fc").transposed()),
    ("down_proj", at("mlp.c_proj").transposed()),
];

const OUTSIDE: Table = &[
    ("embed_tokens", at("wte")),
    ("embed_positions", at("wpe")),
    ("final_norm", at("ln_f")),
    ("lm_head", at("/lm_head")),
];

/// The converter of GGUF files transposes what it finds.
const GGUF_IN_LAYER: Table = &[
    ("attn_norm", at("attn_norm")),
    ("q_proj", at("attn_qkv").fused(QKV)),
    ("k_proj", at("attn_qkv").fused(QKV)),
    ("v_proj", at("attn_qkv").fused(QKV)),
    ("o_proj", at("attn_output")),
    ("mlp_norm", at("ffn_norm")),
    ("up_proj", at("ffn_up")),
    ("down_proj", at("ffn_down")),
];

const GGUF_OUTSIDE: Table = &[
    ("embed_tokens", at("token_embd")),
    ("embed_positions", at("position_embd")),
    ("final_norm", at("output_norm")),
    ("lm_head", at("output")),
];

/// Causal masks that old releases saved, and copies of the embeddings.
const BUFFERS: &[&str] = &["*attn.bias", "*attn.masked_bias"];
const BUFFERS_AND_TIED_HEAD: &[&str] =
    &["*attn.bias", "*attn.masked_bias", "lm_head.weight", "output.weight"];

struct Gpt2 {
    vocab_size: usize,
    max_positions: usize,
    hidden_size: usize,
    intermediate_size: usize,
    n_layers: usize,
    n_heads: usize,
    head_dim: usize,
    norm_eps: f32,
    activation: Activation,
    tied: bool,
}

fn from_config(
    folder: &FolderConfig<'_>,
    checkpoint: &dyn Checkpoint,
) -> Result<Mapping, QuantizeError> {
    let config = &folder.config;
    for (key, usual) in [
        ("scale_attn_weights", true),
        ("scale_attn_by_inverse_layer_idx", false),
        ("add_cross_attention", false),
    ] {
        if config.flag_or(key, usual)? != usual {
            return Err(config.unsupported(key, &!usual, &usual.to_string()));
        }
    }
    let hidden_size = config.size_or("n_embd", 768)?;
    let n_heads = config.size_or("n_head", 12)?;
    let gpt2 = Gpt2 {
        vocab_size: config.size_or("vocab_size", 50_257)?,
        max_positions: config.size_or("n_positions", 1024)?,
        hidden_size,
        intermediate_size: config.size_or("n_inner", 4 * hidden_size)?,
        n_layers: layer_count(config, "n_layer", checkpoint, Some(12))?,
        n_heads,
        head_dim: even_split(config, "n_head", hidden_size, n_heads)?,
        norm_eps: config.positive_float_or("layer_norm_epsilon", 1e-5)?,
        activation: activation::from_config(config, "activation_function", Activation::GeluTanh)?,
        tied: config.flag_or("tie_word_embeddings", true)?,
    };
    let prefix = find_prefix(checkpoint, &["transformer.", ""], "wte.weight");
    Ok(gpt2.mapping(prefix, "h.", &[IN_LAYER], OUTSIDE))
}

fn from_gguf(fields: &Fields<'_>, checkpoint: &dyn Checkpoint) -> Result<Mapping, QuantizeError> {
    let hidden_size = fields.size("embedding_length")?;
    let n_heads = fields.size("attention.head_count")?;
    let dims = dims_of(checkpoint, "decoder.embed_tokens.weight", "token_embd.weight")?;
    let gpt2 = Gpt2 {
        vocab_size: dims.first().copied().unwrap_or(0),
        max_positions: fields.size("context_length")?,
        hidden_size,
        intermediate_size: fields.size("feed_forward_length")?,
        n_layers: layer_count(fields, "block_count", checkpoint, None)?,
        n_heads,
        head_dim: even_split(fields, "attention.head_count", hidden_size, n_heads)?,
        norm_eps: fields.positive_float("attention.layer_norm_epsilon")?,
        activation: Activation::GeluTanh,
        tied: checkpoint.find("output.weight").is_none(),
    };
    Ok(gpt2.mapping(String::new(), "blk.", &[GGUF_IN_LAYER], GGUF_OUTSIDE))
}

impl Gpt2 {
    fn mapping(
        &self,
        prefix: String,
        layers: &'static str,
        in_layer: &'static [Table],
        outside: Table,
    ) -> Mapping {
        let stack = "decoder";
        let former_endings = &[];
        Mapping {
            family: FAMILY.name,
            spec: self.spec(),
            names: vec![Names { stack, prefix, layers, in_layer, outside, former_endings }],
            transforms: Transforms::default(),
            ignored: if self.tied { BUFFERS_AND_TIED_HEAD } else { BUFFERS },
            max_tokens: None,
            images: Default::default(),
        }
    }

    fn spec(&self) -> ModelSpec {
        let norm = Norm { kind: NormKind::Layer, eps: self.norm_eps, bias: true };
        let block = |kind| Block { pre: Some(norm), ..Block::of(kind) };
        let attention = Attention { causal: true, ..Attention::plain(self.n_heads, self.head_dim) };
        let mlp = Mlp {
            intermediate_size: self.intermediate_size,
            activation: self.activation,
            gated: false,
            bias: true,
            output_bias: false,
            output_gate: false,
        };
        let blocks =
            vec![block(MixerKind::Attention(attention.biased(true))), block(MixerKind::Mlp(mlp))];
        ModelSpec {
            stacks: vec![Stack {
                name: "decoder".to_owned(),
                hidden_size: self.hidden_size,
                input: Input::Tokens(TokenInput {
                    vocab_size: self.vocab_size,
                    table_of: None,
                    width: None,
                    positions: AbsolutePositions::Learned {
                        max_positions: self.max_positions,
                        offset: 0,
                    },
                    n_segments: 0,
                    zero_start: false,
                    scale: 1.0,
                    norm: None,
                }),
                layers: vec![Layer { blocks, weights_of: None }; self.n_layers],
                final_norm: Some(norm),
            }],
            heads: vec![Head::language_model(self.tied)],
            context_length: self.max_positions,
        }
    }
}
