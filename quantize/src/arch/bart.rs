//! BART and its kin: an encoder and a decoder that reads it, with the names of Fairseq. They differ in
//! where norms stand and in positions.

use kinglet_formats::checkpoint::Checkpoint;
use kinglet_formats::spec::{
    AbsolutePositions, Activation, Attention, Block, Head, Input, Layer, MixerKind, Mlp, ModelSpec,
    Norm, NormKind, Output, Stack, TokenInput,
};

use super::{Family, FolderConfig, Mapping, Names, Table, Transforms, activation, layer_count};
use crate::QuantizeError;
use crate::fields::Fields;
use crate::take::at;

pub(super) const BART: Family = Family {
    name: "bart",
    architectures: &["BartForConditionalGeneration"],
    model_type: "bart",
    gguf: None,
    from_config: |folder, checkpoint| {
        from_config("bart", folder, checkpoint, Kind { embed_norm: true, ..PLAIN })
    },
};

pub(super) const MBART: Family = Family {
    name: "mbart",
    architectures: &["MBartForConditionalGeneration"],
    model_type: "mbart",
    gguf: None,
    from_config: |folder, checkpoint| {
        from_config("mbart", folder, checkpoint, Kind { embed_norm: true, pre_norm: true, ..PLAIN })
    },
};

pub(super) const M2M100: Family = Family {
    name: "m2m_100",
    architectures: &["M2M100ForConditionalGeneration"],
    model_type: "m2m_100",
    gguf: None,
    from_config: |folder, checkpoint| {
        // Places are counted from behind the one that is for padding.
        let offset = folder.config.count_or("pad_token_id", 1)? + 1;
        let waves = Some(Waves { offset, closed: true });
        from_config("m2m_100", folder, checkpoint, Kind { pre_norm: true, waves, ..PLAIN })
    },
};

pub(super) const MARIAN: Family = Family {
    name: "marian",
    architectures: &["MarianMTModel"],
    model_type: "marian",
    gguf: None,
    from_config: |folder, checkpoint| {
        let waves = Some(Waves { offset: 0, closed: false });
        from_config("marian", folder, checkpoint, Kind { waves, ..PLAIN })
    },
};

pub(super) const PEGASUS: Family = Family {
    name: "pegasus",
    architectures: &["PegasusForConditionalGeneration"],
    model_type: "pegasus",
    gguf: None,
    from_config: |folder, checkpoint| {
        let waves = Some(Waves { offset: 0, closed: false });
        from_config("pegasus", folder, checkpoint, Kind { pre_norm: true, waves, ..PLAIN })
    },
};

/// Rows of a table of learned positions before the first.
const LEARNED_OFFSET: usize = 2;
const EPS: f32 = 1e-5;

/// In what families differ.
struct Kind {
    /// Norms stand before each block, and one behind the last; behind each block otherwise.
    pre_norm: bool,
    /// Embeddings are normed.
    embed_norm: bool,
    /// Positions are computed; learned otherwise.
    waves: Option<Waves>,
}

struct Waves {
    offset: usize,
    closed: bool,
}

const PLAIN: Kind = Kind { pre_norm: false, embed_norm: false, waves: None };

const IN_LAYER: Table = &[
    ("attn_norm", at("self_attn_layer_norm")),
    ("attn_after_norm", at("self_attn_layer_norm")),
    ("q_proj", at("self_attn.q_proj")),
    ("k_proj", at("self_attn.k_proj")),
    ("v_proj", at("self_attn.v_proj")),
    ("o_proj", at("self_attn.out_proj")),
    ("cross_norm", at("encoder_attn_layer_norm")),
    ("cross_after_norm", at("encoder_attn_layer_norm")),
    ("cross_q_proj", at("encoder_attn.q_proj")),
    ("cross_k_proj", at("encoder_attn.k_proj")),
    ("cross_v_proj", at("encoder_attn.v_proj")),
    ("cross_o_proj", at("encoder_attn.out_proj")),
    ("mlp_norm", at("final_layer_norm")),
    ("mlp_after_norm", at("final_layer_norm")),
    ("up_proj", at("fc1")),
    ("down_proj", at("fc2")),
];

const OUTSIDE: Table = &[
    ("embed_tokens", at("/model.shared")),
    ("embed_tokens", at("embed_tokens")),
    ("embed_positions", at("embed_positions")),
    ("embed_norm", at("layernorm_embedding")),
    ("final_norm", at("layer_norm")),
    ("lm_head", at("/lm_head")),
    ("lm_head", at("/final_logits_bias").bare()),
];

/// Copies of the embeddings, and tables of computed positions.
const IGNORED: &[&str] =
    &["*.embed_tokens.weight", "model.shared.weight", "*.embed_positions.weight*"];
const IGNORED_IF_TIED: &[&str] = &[
    "*.embed_tokens.weight",
    "model.shared.weight",
    "*.embed_positions.weight*",
    "lm_head.weight",
];

struct Bart<'a> {
    config: &'a Fields<'a>,
    kind: Kind,
    hidden_size: usize,
    max_positions: usize,
    activation: Activation,
    scale: f32,
    norm: Norm,
}

fn from_config(
    family: &'static str,
    folder: &FolderConfig<'_>,
    checkpoint: &dyn Checkpoint,
    kind: Kind,
) -> Result<Mapping, QuantizeError> {
    let config = &folder.config;
    let tied = config.flag_or("tie_word_embeddings", true)?;
    let hidden_size = config.size("d_model")?;
    let scaled = config.flag_or("scale_embedding", false)?;
    let bart = Bart {
        config,
        hidden_size,
        max_positions: config.size_or("max_position_embeddings", 1024)?,
        activation: activation::from_config(config, "activation_function", Activation::Gelu)?,
        scale: if scaled { (hidden_size as f32).sqrt() } else { 1.0 },
        norm: Norm { kind: NormKind::Layer, eps: EPS, bias: true },
        kind,
    };
    let vocab_size = config.size("vocab_size")?;
    let one_table = config.flag_or("share_encoder_decoder_embeddings", true)?;
    let decoder_vocab = match one_table {
        true => vocab_size,
        false => config.size_or("decoder_vocab_size", vocab_size)?,
    };
    let encoder = bart.stack("encoder", checkpoint, vocab_size, None, None)?;
    let table = one_table.then_some("encoder");
    let decoder = bart.stack("decoder", checkpoint, decoder_vocab, table, Some("encoder"))?;
    let bias = checkpoint.find(LOGITS_BIAS).is_some();
    let names = |stack, outside| Names {
        stack,
        prefix: format!("model.{stack}."),
        layers: "layers.",
        in_layer: &[IN_LAYER],
        outside,
        former_endings: &[],
    };
    Ok(Mapping {
        family,
        spec: ModelSpec {
            context_length: bart.max_positions,
            stacks: vec![encoder, decoder],
            heads: vec![Head {
                output: Output::Logits { tied, bias, scale: 1.0, soft_cap: None, shortlist: None },
                ..Head::language_model(tied)
            }],
        },
        names: vec![names("encoder", OUTSIDE), names("decoder", OUTSIDE)],
        transforms: Transforms::default(),
        ignored: if tied { IGNORED_IF_TIED } else { IGNORED },
        max_tokens: None,
        images: Default::default(),
    })
}

const LOGITS_BIAS: &str = "final_logits_bias";

impl Bart<'_> {
    fn stack(
        &self,
        name: &str,
        checkpoint: &dyn Checkpoint,
        vocab_size: usize,
        table_of: Option<&str>,
        memory: Option<&str>,
    ) -> Result<Stack, QuantizeError> {
        let size = |key: &str| self.config.size(&format!("{name}_{key}"));
        let n_layers = layer_count(self.config, &format!("{name}_layers"), checkpoint, None)?;
        let n_heads = size("attention_heads")?;
        let plain = Attention::plain(n_heads, self.hidden_size / n_heads).biased(true);
        let own = Attention { causal: memory.is_some(), ..plain.clone() };
        let other = memory.map(|name| Attention { memory: Some(name.to_owned()), ..plain });
        let mlp = Mlp {
            intermediate_size: size("ffn_dim")?,
            activation: self.activation,
            gated: false,
            bias: true,
            output_bias: false,
            output_gate: false,
        };
        let mixers = [
            Some(MixerKind::Attention(own)),
            other.map(MixerKind::Attention),
            Some(MixerKind::Mlp(mlp)),
        ];
        let norm = Some(self.norm);
        let block = |kind| match self.kind.pre_norm {
            true => Block { pre: norm, ..Block::of(kind) },
            false => Block { after: norm, ..Block::of(kind) },
        };
        let blocks = mixers.into_iter().flatten().map(block).collect();
        let max_positions = self.max_positions;
        Ok(Stack {
            name: name.to_owned(),
            hidden_size: self.hidden_size,
            input: Input::Tokens(TokenInput {
                vocab_size,
                table_of: table_of.map(str::to_owned),
                width: None,
                positions: match self.kind.waves {
                    Some(Waves { offset, closed }) => {
                        AbsolutePositions::Sinusoidal { max_positions, offset, closed }
                    }
                    None => AbsolutePositions::Learned {
                        max_positions: max_positions + LEARNED_OFFSET,
                        offset: LEARNED_OFFSET,
                    },
                },
                n_segments: 0,
                zero_start: false,
                scale: self.scale,
                norm: norm.filter(|_| self.kind.embed_norm),
            }),
            layers: vec![Layer { blocks, weights_of: None }; n_layers],
            final_norm: norm.filter(|_| self.kind.pre_norm),
        })
    }
}
