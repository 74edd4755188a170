//! Whisper: an encoder of log-mel spectrograms and a decoder that reads it (arXiv:2212.04356).

use kinglet_formats::checkpoint::Checkpoint;
use kinglet_formats::spec::{
    AbsolutePositions, Activation, Attention, Block, Convolution, Head, Input, Layer, MixerKind,
    Mlp, ModelSpec, Norm, NormKind, SpectrogramInput, Stack, TokenInput,
};

use super::decoder::even_split;
use super::{
    Family, FolderConfig, Mapping, Names, Table, Transforms, activation, find_prefix, layer_count,
};
use crate::QuantizeError;
use crate::fields::Fields;
use crate::take::at;

pub(super) const FAMILY: Family = Family {
    name: "whisper",
    architectures: &["WhisperForConditionalGeneration"],
    model_type: "whisper",
    gguf: None,
    from_config,
};

const IN_LAYER: Table = &[
    ("attn_norm", at("self_attn_layer_norm")),
    ("q_proj", at("self_attn.q_proj")),
    ("k_proj", at("self_attn.k_proj")),
    ("v_proj", at("self_attn.v_proj")),
    ("o_proj", at("self_attn.out_proj")),
    ("cross_norm", at("encoder_attn_layer_norm")),
    ("cross_q_proj", at("encoder_attn.q_proj")),
    ("cross_k_proj", at("encoder_attn.k_proj")),
    ("cross_v_proj", at("encoder_attn.v_proj")),
    ("cross_o_proj", at("encoder_attn.out_proj")),
    ("mlp_norm", at("final_layer_norm")),
    ("up_proj", at("fc1")),
    ("down_proj", at("fc2")),
];

const OUTSIDE: Table = &[
    ("conv.0", at("conv1").over_time()),
    ("conv.1", at("conv2").over_time()),
    ("embed_tokens", at("embed_tokens")),
    ("embed_positions", at("embed_positions")),
    ("final_norm", at("layer_norm")),
];

/// CTranslate2's names, with dots.
const CT2_IN_LAYER: Table = &[
    ("attn_norm", at("self_attention.layer_norm")),
    ("q_proj", at("self_attention.linear_0").fused(QKV)),
    ("k_proj", at("self_attention.linear_0").fused(QKV)),
    ("v_proj", at("self_attention.linear_0").fused(QKV)),
    ("o_proj", at("self_attention.linear_1")),
    ("cross_norm", at("attention.layer_norm")),
    ("cross_q_proj", at("attention.linear_0")),
    ("cross_k_proj", at("attention.linear_1").fused(CROSS_KV)),
    ("cross_v_proj", at("attention.linear_1").fused(CROSS_KV)),
    ("cross_o_proj", at("attention.linear_2")),
    ("mlp_norm", at("ffn.layer_norm")),
    ("up_proj", at("ffn.linear_0")),
    ("down_proj", at("ffn.linear_1")),
];

const QKV: &[&str] = &["q_proj", "k_proj", "v_proj"];
const CROSS_KV: &[&str] = &["cross_k_proj", "cross_v_proj"];

const CT2_OUTSIDE: Table = &[
    ("conv.0", at("conv1").over_time()),
    ("conv.1", at("conv2").over_time()),
    ("embed_tokens", at("embeddings")),
    ("embed_positions", at("position_encodings.encodings").bare()),
    ("final_norm", at("layer_norm")),
];

/// A copy of the embeddings.
const IGNORED: &[&str] = &["proj_out.weight"];

/// The two convolutions: the second one halves the number of frames.
const CONVOLUTIONS: [Convolution; 2] =
    [Convolution { width: 3, step: 1 }, Convolution { width: 3, step: 2 }];

const NORM: Norm = Norm { kind: NormKind::Layer, eps: 1e-5, bias: true };

/// What is the same for both stacks.
struct Whisper {
    hidden_size: usize,
    activation: Activation,
    /// Whether keys have biases. They change nothing, but fused matrices store zeros for them.
    k_bias: bool,
}

fn from_config(
    folder: &FolderConfig<'_>,
    checkpoint: &dyn Checkpoint,
) -> Result<Mapping, QuantizeError> {
    let config = &folder.config;
    if config.flag_or("scale_embedding", false)? {
        return Err(config.unsupported("scale_embedding", "true", "false"));
    }
    let fused = checkpoint.find("decoder.layer_0.self_attention.linear_0.weight").is_some();
    let whisper = Whisper {
        hidden_size: config.size_or("d_model", 384)?,
        activation: activation::from_config(config, "activation_function", Activation::Gelu)?,
        k_bias: fused,
    };
    let encoder_input = Input::Spectrogram(SpectrogramInput {
        n_mels: config.size_or("num_mel_bins", 80)?,
        convolutions: CONVOLUTIONS.to_vec(),
        activation: whisper.activation,
        max_positions: config.size_or("max_source_positions", 1500)?,
    });
    let context_length = config.size_or("max_target_positions", 448)?;
    let decoder_input = Input::Tokens(TokenInput {
        vocab_size: config.size_or("vocab_size", 51_865)?,
        table_of: None,
        width: None,
        positions: AbsolutePositions::Learned { max_positions: context_length, offset: 0 },
        n_segments: 0,
        zero_start: false,
        scale: 1.0,
        norm: None,
    });
    let spec = ModelSpec {
        stacks: vec![
            whisper.stack(config, checkpoint, "encoder", encoder_input)?,
            whisper.stack(config, checkpoint, "decoder", decoder_input)?,
        ],
        heads: vec![Head::language_model(true)],
        context_length,
    };
    let prefix = find_prefix(checkpoint, &["model.", ""], "encoder.conv1.weight");
    let names = |stack| match fused {
        true => Names {
            stack,
            prefix: format!("{stack}."),
            layers: "layer_",
            in_layer: &[CT2_IN_LAYER],
            outside: CT2_OUTSIDE,
            former_endings: &[],
        },
        false => Names {
            stack,
            prefix: format!("{prefix}{stack}."),
            layers: "layers.",
            in_layer: &[IN_LAYER],
            outside: OUTSIDE,
            former_endings: &[],
        },
    };
    Ok(Mapping {
        family: FAMILY.name,
        spec,
        names: vec![names("encoder"), names("decoder")],
        transforms: Transforms::default(),
        ignored: IGNORED,
        max_tokens: None,
        images: Default::default(),
    })
}

impl Whisper {
    /// The stack called `name`, `encoder` or `decoder`, which reads the encoder.
    fn stack(
        &self,
        config: &Fields<'_>,
        checkpoint: &dyn Checkpoint,
        name: &str,
        input: Input,
    ) -> Result<Stack, QuantizeError> {
        let key = |rest: &str| format!("{name}_{rest}");
        let n_layers = layer_count(config, &key("layers"), checkpoint, None)?;
        let n_heads = config.size(&key("attention_heads"))?;
        let head_dim = even_split(config, &key("attention_heads"), self.hidden_size, n_heads)?;
        let reads = name == "decoder";
        let plain =
            Attention { k_bias: self.k_bias, ..Attention::plain(n_heads, head_dim).biased(true) };
        let own = Attention { causal: reads, ..plain.clone() };
        let other = Attention { memory: Some("encoder".to_owned()), ..plain };
        let mlp = Mlp {
            intermediate_size: config.size(&key("ffn_dim"))?,
            activation: self.activation,
            gated: false,
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
