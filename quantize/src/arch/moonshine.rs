//! Moonshine: an encoder of samples of sound and a decoder that reads it (arXiv:2410.15608).

use kinglet_formats::checkpoint::Checkpoint;
use kinglet_formats::kinglet::Dictation;
use kinglet_formats::spec::{
    AbsolutePositions, Activation, Attention, Block, Head, Input, Layer, MixerKind, Mlp, ModelSpec,
    Norm, NormKind, Position, Rope, SampleConvolution, SampleInput, Stack, TokenInput,
};

use super::decoder::{Defaults, LLAMA_DEFAULTS, even_split};
use super::{
    Family, FolderConfig, Mapping, Names, Table, Transforms, activation, find_prefix, layer_count,
    rope,
};
use crate::QuantizeError;
use crate::fields::Fields;
use crate::take::at;

pub(super) const FAMILY: Family = Family {
    name: "moonshine",
    architectures: &["MoonshineForConditionalGeneration"],
    model_type: "moonshine",
    gguf: None,
    from_config,
};

const ATTENTION: Table = &[
    ("attn_norm", at("input_layernorm")),
    ("q_proj", at("self_attn.q_proj")),
    ("k_proj", at("self_attn.k_proj")),
    ("v_proj", at("self_attn.v_proj")),
    ("o_proj", at("self_attn.o_proj")),
    ("down_proj", at("mlp.fc2")),
];

const IN_ENCODER: Table =
    &[("mlp_norm", at("post_attention_layernorm")), ("up_proj", at("mlp.fc1"))];

const IN_DECODER: Table = &[
    ("cross_norm", at("post_attention_layernorm")),
    ("cross_q_proj", at("encoder_attn.q_proj")),
    ("cross_k_proj", at("encoder_attn.k_proj")),
    ("cross_v_proj", at("encoder_attn.v_proj")),
    ("cross_o_proj", at("encoder_attn.o_proj")),
    ("mlp_norm", at("final_layernorm")),
    ("up_proj", at("mlp.fc1").fused(UP_GATE)),
    ("gate_proj", at("mlp.fc1").fused(UP_GATE)),
];

/// The half that passes through the activation is the second one.
const UP_GATE: &[&str] = &["up_proj", "gate_proj"];

const OUTSIDE: Table = &[
    ("conv.0", at("conv1").over_time()),
    ("conv.1", at("conv2").over_time()),
    ("conv.2", at("conv3").over_time()),
    ("conv_norm", at("groupnorm")),
    ("embed_tokens", at("embed_tokens")),
    ("final_norm", at("layer_norm")),
    ("final_norm", at("norm")),
    ("lm_head", at("/proj_out")),
];

/// A copy of the embeddings.
const TIED: &[&str] = &["proj_out.weight"];

const NORM: Norm = Norm { kind: NormKind::Layer, eps: 1e-5, bias: false };

const DEFAULTS: Defaults = Defaults { partial_rotary: Some(0.9), ..LLAMA_DEFAULTS };

const SAMPLE_RATE: usize = 16_000;
/// The longest sound that the models were trained on.
const MOST_SECONDS: usize = 30;
/// No configuration has it: the authors cut answers so, which otherwise go on and on after some sounds.
const TOKENS_PER_SECOND: f32 = 6.5;

/// What is the same for both stacks.
struct Moonshine {
    hidden_size: usize,
    intermediate_size: usize,
    rope: Rope,
    attention: Attention,
}

fn from_config(
    folder: &FolderConfig<'_>,
    checkpoint: &dyn Checkpoint,
) -> Result<Mapping, QuantizeError> {
    let config = &folder.config;
    let hidden_size = config.size_or("hidden_size", 288)?;
    let n_heads = heads(config)?;
    let head_dim = even_split(config, "decoder_num_attention_heads", hidden_size, n_heads)?;
    let biased = config.flag_or("attention_bias", false)?;
    let model = Moonshine {
        hidden_size,
        intermediate_size: config.size_or("intermediate_size", 1152)?,
        rope: rope::from_config(config, &DEFAULTS, head_dim, "full_attention")?,
        attention: Attention {
            output_bias: false,
            ..Attention::plain(n_heads, head_dim).biased(biased)
        },
    };
    let context_length = config.size_or("max_position_embeddings", 512)?;
    let decoder_input = Input::Tokens(TokenInput {
        vocab_size: config.size_or("vocab_size", 32_768)?,
        table_of: None,
        width: None,
        positions: AbsolutePositions::None,
        n_segments: 0,
        zero_start: false,
        scale: 1.0,
        norm: None,
    });
    let tied = config.flag_or("tie_word_embeddings", true)?;
    let spec = ModelSpec {
        stacks: vec![
            model.stack(config, checkpoint, "encoder", samples(hidden_size))?,
            model.stack(config, checkpoint, "decoder", decoder_input)?,
        ],
        heads: vec![Head::language_model(tied)],
        context_length,
    };
    let prefix = find_prefix(checkpoint, &["model.", ""], "encoder.conv1.weight");
    let names = |stack: &'static str, in_layer: &'static [Table]| Names {
        stack,
        prefix: format!("{prefix}{stack}."),
        layers: "layers.",
        in_layer,
        outside: OUTSIDE,
        former_endings: &[],
    };
    Ok(Mapping {
        family: FAMILY.name,
        spec,
        names: vec![
            names("encoder", &[IN_ENCODER, ATTENTION]),
            names("decoder", &[IN_DECODER, ATTENTION]),
        ],
        transforms: Transforms { adjacent_rope_rows: true, ..Transforms::default() },
        ignored: if tied { TIED } else { &[] },
        max_tokens: None,
        images: Default::default(),
    })
}

/// How answers are begun, and how long they may be.
pub(crate) fn dictation(config: &Fields<'_>) -> Result<Dictation, QuantizeError> {
    let start = config.count_or("decoder_start_token_id", 1)?;
    let start = u32::try_from(start)
        .map_err(|_| config.bad("decoder_start_token_id", &start, "a token"))?;
    Ok(Dictation { start, tokens_per_second: TOKENS_PER_SECOND })
}

/// Three convolutions, of which the last makes a row of 384 samples.
fn samples(hidden_size: usize) -> Input {
    let convolution = |width, step, channels, bias, activation| SampleConvolution {
        width,
        step,
        channels,
        bias,
        activation,
    };
    Input::Samples(SampleInput {
        sample_rate: SAMPLE_RATE,
        max_samples: MOST_SECONDS * SAMPLE_RATE,
        convolutions: vec![
            convolution(127, 64, hidden_size, false, Activation::Tanh),
            convolution(7, 3, 2 * hidden_size, true, Activation::Gelu),
            convolution(3, 2, hidden_size, true, Activation::Gelu),
        ],
        norm: Norm { bias: true, ..NORM },
    })
}

/// The number of heads, of which there is one everywhere: the reference's rotations and projections of both
/// stacks go by it.
fn heads(config: &Fields<'_>) -> Result<usize, QuantizeError> {
    let n_heads = config.size_or("decoder_num_attention_heads", 8)?;
    for key in [
        "encoder_num_attention_heads",
        "encoder_num_key_value_heads",
        "decoder_num_key_value_heads",
    ] {
        let found = config.opt_size(key)?.unwrap_or(n_heads);
        if found != n_heads {
            return Err(config.unsupported(key, &found, &n_heads.to_string()));
        }
    }
    Ok(n_heads)
}

impl Moonshine {
    /// The stack called `name`, `encoder` or `decoder`, which reads the encoder.
    fn stack(
        &self,
        config: &Fields<'_>,
        checkpoint: &dyn Checkpoint,
        name: &str,
        input: Input,
    ) -> Result<Stack, QuantizeError> {
        let reads = name == "decoder";
        let n_layers =
            layer_count(config, &format!("{name}_num_hidden_layers"), checkpoint, Some(6))?;
        let usual = if reads { Activation::Silu } else { Activation::Gelu };
        let own = Attention {
            causal: reads,
            position: Position::Rope(self.rope.clone()),
            ..self.attention.clone()
        };
        let other = Attention { memory: Some("encoder".to_owned()), ..self.attention.clone() };
        let mlp = Mlp {
            intermediate_size: self.intermediate_size,
            activation: activation::from_config(config, &format!("{name}_hidden_act"), usual)?,
            gated: reads,
            bias: true,
            output_bias: false,
            output_gate: false,
        };
        let mixers = [
            Some(MixerKind::Attention(own)),
            reads.then_some(MixerKind::Attention(other)),
            Some(MixerKind::Mlp(mlp)),
        ];
        let block = |kind| Block { pre: Some(NORM), ..Block::of(kind) };
        let blocks = mixers.into_iter().flatten().map(block).collect();
        Ok(Stack {
            name: name.to_owned(),
            hidden_size: self.hidden_size,
            input,
            layers: vec![Layer { blocks, weights_of: None }; n_layers],
            final_norm: Some(NORM),
        })
    }
}
