//! Models of Marian itself, in its own binary: those of Firefox Translations. Post-norm, waves as
//! positions, and a decoder with recurrent units or attention.

use kinglet_formats::checkpoint::Checkpoint;
use kinglet_formats::spec::{
    AbsolutePositions, Activation, Attention, Block, Head, Input, Layer, MixerKind, Mlp, ModelSpec,
    Norm, NormKind, Output, Shortlist, Stack, TokenInput,
};

use super::{Family, FolderConfig, Mapping, Names, Table, Transforms, layer_count};
use crate::QuantizeError;
use crate::fields::Fields;
use crate::take::at;

pub(super) const FAMILY: Family = Family {
    name: "Marian",
    architectures: &["MarianBinary"],
    model_type: "marian-binary",
    gguf: None,
    from_config,
};

/// Under which key the configuration says how many frequent words a shortlist has.
pub(crate) const FREQUENT_WORDS: &str = "shortlist-frequent";

/// Positions are computed and have no end; models have been trained on sentences.
const CONTEXT_LENGTH: usize = 1024;

const IN_LAYER: Table = &[
    ("q_proj", at("self.q")),
    ("k_proj", at("self.k")),
    ("v_proj", at("self.v")),
    ("o_proj", at("self.o")),
    ("attn_after_norm", at("self.norm")),
    ("forget_proj", at("rnn.f")),
    ("cell_proj", at("rnn.cell")),
    ("ssru_after_norm", at("rnn.norm")),
    ("cross_q_proj", at("context.q")),
    ("cross_k_proj", at("context.k")),
    ("cross_v_proj", at("context.v")),
    ("cross_o_proj", at("context.o")),
    ("cross_after_norm", at("context.norm")),
    ("up_proj", at("ffn.1")),
    ("down_proj", at("ffn.2")),
    ("mlp_after_norm", at("ffn.norm")),
];

const OUTSIDE: Table = &[("embed_tokens", at("/embed")), ("lm_head", at("/logits"))];

fn from_config(
    folder: &FolderConfig<'_>,
    checkpoint: &dyn Checkpoint,
) -> Result<Mapping, QuantizeError> {
    let config = &folder.config;
    for (key, expected) in [
        ("type", "transformer"),
        ("transformer-preprocess", ""),
        ("transformer-postprocess", "dan"),
        ("transformer-postprocess-top", ""),
    ] {
        let found = config.opt_text(key)?.unwrap_or_default();
        if found != expected {
            return Err(config.unsupported(key, found, &format!("{expected:?}")));
        }
    }
    for (key, expected) in [
        ("tied-embeddings-all", true),
        ("transformer-train-position-embeddings", false),
        ("transformer-no-projection", false),
        ("output-omit-bias", false),
    ] {
        let found = config.flag_or(key, expected)?;
        if found != expected {
            return Err(config.unsupported(key, &found, &expected.to_string()));
        }
    }
    let depth = config.size_or("transformer-ffn-depth", 2)?;
    if depth != 2 {
        return Err(config.unsupported("transformer-ffn-depth", &depth, "2"));
    }
    let ssru = match config.opt_text("transformer-decoder-autoreg")?.unwrap_or("self-attention") {
        "self-attention" => false,
        "rnn" => match config.opt_text("dec-cell")?.unwrap_or_default() {
            "ssru" => true,
            other => return Err(config.unsupported("dec-cell", other, "ssru")),
        },
        other => {
            let supported = "self-attention, rnn";
            return Err(config.unsupported("transformer-decoder-autoreg", other, supported));
        }
    };
    let marian = Marian {
        vocab_size: vocab_size(config)?,
        hidden_size: config.size("dim-emb")?,
        n_heads: config.size("transformer-heads")?,
        activation: match config.opt_text("transformer-ffn-activation")?.unwrap_or("swish") {
            "relu" => Activation::Relu,
            "swish" => Activation::Silu,
            "gelu" => Activation::QuickGelu,
            other => {
                let supported = "relu, swish, gelu";
                return Err(config.unsupported("transformer-ffn-activation", other, supported));
            }
        },
        ssru,
    };
    let ffn = config.size("transformer-dim-ffn")?;
    let decoder_ffn = match config.count_or("transformer-decoder-dim-ffn", 0)? {
        0 => ffn,
        own => own,
    };
    let n_encoder = layer_count(config, "enc-depth", checkpoint, None)?;
    let n_decoder = layer_count(config, "dec-depth", checkpoint, None)?;
    let names = |stack: &'static str| Names {
        stack,
        prefix: format!("{stack}."),
        layers: "layers.",
        in_layer: &[IN_LAYER],
        outside: OUTSIDE,
        former_endings: &[],
    };
    Ok(Mapping {
        family: FAMILY.name,
        spec: ModelSpec {
            stacks: vec![
                marian.stack("encoder", n_encoder, ffn, None),
                marian.stack("decoder", n_decoder, decoder_ffn, Some("encoder")),
            ],
            heads: vec![Head {
                output: Output::Logits {
                    tied: true,
                    bias: true,
                    scale: 1.0,
                    soft_cap: None,
                    shortlist: shortlist(config, checkpoint)?,
                },
                ..Head::language_model(true)
            }],
            context_length: CONTEXT_LENGTH,
        },
        names: vec![names("encoder"), names("decoder")],
        transforms: Transforms::default(),
        ignored: &[],
        max_tokens: None,
        images: Default::default(),
    })
}

/// The shortlist among the tensors, if there is one; the configuration counts its frequent words.
fn shortlist(
    config: &Fields<'_>,
    checkpoint: &dyn Checkpoint,
) -> Result<Option<Shortlist>, QuantizeError> {
    let Some(words) = checkpoint.find("shortlist.words") else { return Ok(None) };
    Ok(Some(Shortlist {
        n_frequent: config.count_or(FREQUENT_WORDS, 0)?,
        n_words: checkpoint.tensors()[words].row_len(),
    }))
}

/// Both vocabularies are one.
fn vocab_size(config: &Fields<'_>) -> Result<usize, QuantizeError> {
    let sizes: Option<Vec<u64>> = config
        .opt_list("dim-vocabs")?
        .and_then(|list| list.iter().map(|size| size.as_u64()).collect());
    match sizes.as_deref() {
        Some([first, rest @ ..]) if rest.iter().all(|size| size == first) => Ok(*first as usize),
        Some(several) => {
            Err(config.unsupported("dim-vocabs", &format!("{several:?}"), "one for both languages"))
        }
        None => Err(config.missing("dim-vocabs")),
    }
}

struct Marian {
    vocab_size: usize,
    hidden_size: usize,
    n_heads: usize,
    activation: Activation,
    /// The decoder has recurrent units in place of attention to itself.
    ssru: bool,
}

impl Marian {
    fn stack(&self, name: &str, n_layers: usize, ffn: usize, memory: Option<&str>) -> Stack {
        let norm = Norm { kind: NormKind::Layer, eps: 1e-6, bias: true };
        let head_dim = self.hidden_size / self.n_heads.max(1);
        let plain = Attention::plain(self.n_heads, head_dim).biased(true);
        let own = Attention { causal: memory.is_some(), ..plain.clone() };
        let other = memory.map(|name| Attention { memory: Some(name.to_owned()), ..plain });
        let mlp = Mlp {
            intermediate_size: ffn,
            activation: self.activation,
            gated: false,
            bias: true,
            output_bias: false,
            output_gate: false,
        };
        let mixers = [
            Some(match self.ssru && memory.is_some() {
                true => MixerKind::Ssru,
                false => MixerKind::Attention(own),
            }),
            other.map(MixerKind::Attention),
            Some(MixerKind::Mlp(mlp)),
        ];
        let block = |kind| Block { after: Some(norm), ..Block::of(kind) };
        let blocks = mixers.into_iter().flatten().map(block).collect();
        Stack {
            name: name.to_owned(),
            hidden_size: self.hidden_size,
            input: Input::Tokens(TokenInput {
                vocab_size: self.vocab_size,
                table_of: memory.map(str::to_owned),
                width: None,
                positions: AbsolutePositions::Sinusoidal {
                    max_positions: CONTEXT_LENGTH,
                    offset: 0,
                    closed: true,
                },
                n_segments: 0,
                zero_start: memory.is_some(),
                scale: (self.hidden_size as f32).sqrt(),
                norm: None,
            }),
            layers: vec![Layer { blocks, weights_of: None }; n_layers],
            final_norm: None,
        }
    }
}
