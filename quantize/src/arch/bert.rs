//! BERT encoders.

use kinglet_formats::checkpoint::Checkpoint;
use kinglet_formats::spec::{AbsolutePositions, Activation, Attention, ModelSpec};

use super::decoder::even_split;
use super::encoder::{BERT_DEFAULTS, Encoder, FORMER_ENDINGS, plain_mlp};
use super::task::{self, TaskHeads};
use super::{
    Family, FolderConfig, Mapping, Names, Table, Transforms, dims_of, find_prefix, layer_count,
};
use crate::QuantizeError;
use crate::fields::Fields;
use crate::take::at;

pub(super) const FAMILY: Family = Family {
    name: "bert",
    architectures: &[
        "BertModel",
        "BertForMaskedLM",
        "BertForPreTraining",
        "BertForSequenceClassification",
        "BertForTokenClassification",
        "BertForQuestionAnswering",
    ],
    model_type: "bert",
    gguf: Some(("bert", from_gguf)),
    from_config,
};

pub(super) const IN_LAYER: Table = &[
    ("q_proj", at("attention.self.query")),
    ("k_proj", at("attention.self.key")),
    ("v_proj", at("attention.self.value")),
    ("o_proj", at("attention.output.dense")),
    ("attn_after_norm", at("attention.output.LayerNorm")),
    ("up_proj", at("intermediate.dense")),
    ("down_proj", at("output.dense")),
    ("mlp_after_norm", at("output.LayerNorm")),
];

pub(super) const OUTSIDE: Table = &[
    ("embed_tokens", at("embeddings.word_embeddings")),
    ("embed_positions", at("embeddings.position_embeddings")),
    ("embed_segments", at("embeddings.token_type_embeddings")),
    ("embed_norm", at("embeddings.LayerNorm")),
];

pub(super) const GGUF_IN_LAYER: Table = &[
    ("q_proj", at("attn_q")),
    ("k_proj", at("attn_k")),
    ("v_proj", at("attn_v")),
    ("o_proj", at("attn_output")),
    ("attn_after_norm", at("attn_output_norm")),
    ("up_proj", at("ffn_up")),
    ("down_proj", at("ffn_down")),
    ("mlp_after_norm", at("layer_output_norm")),
];

pub(super) const GGUF_OUTSIDE: Table = &[
    ("embed_tokens", at("token_embd")),
    ("embed_positions", at("position_embd")),
    ("embed_segments", at("token_types")),
    ("embed_norm", at("token_embd_norm")),
];

/// What all checkpoints have, after a prefix.
pub(super) const WORDS: &str = "embeddings.word_embeddings.weight";

/// A buffer, and the heads of pre-training, which an embedding does without.
const IGNORED: &[&str] = &["*embeddings.position_ids", "*pooler.*", "cls.*"];

const HEADS: TaskHeads = TaskHeads {
    sequences: &[("dense.0", at("pooler.dense")), ("dense.1", at("/classifier"))],
    sequence_activation: Activation::Tanh,
    tokens: &[("dense.0", at("/classifier"))],
    answers: &[("dense.0", at("/qa_outputs"))],
    masks: &[
        ("dense.0", at("/cls.predictions.transform.dense")),
        ("dense_norm.0", at("/cls.predictions.transform.LayerNorm")),
        ("lm_head", at("/cls.predictions.decoder")),
    ],
    mask_activation: None,
    former_endings: &[
        ("LayerNorm.weight", "LayerNorm.gamma"),
        ("LayerNorm.bias", "LayerNorm.beta"),
        ("decoder.bias", "bias"),
    ],
    ignored: &[
        "*embeddings.position_ids",
        "*pooler.*",
        "cls.predictions.decoder.*",
        "cls.predictions.bias",
        "cls.seq_relationship.*",
    ],
};

fn from_config(
    folder: &FolderConfig<'_>,
    checkpoint: &dyn Checkpoint,
) -> Result<Mapping, QuantizeError> {
    let encoder = Encoder::from_config(&folder.config, checkpoint, &BERT_DEFAULTS)?;
    let prefix = find_prefix(checkpoint, &["", "bert."], WORDS);
    let mut mapping = mapping(FAMILY.name, &encoder, prefix, IGNORED);
    task::add_heads(&mut mapping, folder, checkpoint, &encoder, &HEADS)?;
    Ok(mapping)
}

/// The mapping of a Hugging Face checkpoint with BERT's tensor names.
pub(super) fn mapping(
    family: &'static str,
    encoder: &Encoder,
    prefix: String,
    ignored: &'static [&'static str],
) -> Mapping {
    Mapping {
        family,
        spec: encoder.spec(),
        names: vec![Names {
            stack: "encoder",
            prefix,
            layers: "encoder.layer.",
            in_layer: &[IN_LAYER],
            outside: OUTSIDE,
            former_endings: FORMER_ENDINGS,
        }],
        transforms: Transforms::default(),
        ignored,
        max_tokens: None,
        images: Default::default(),
    }
}

fn from_gguf(fields: &Fields<'_>, checkpoint: &dyn Checkpoint) -> Result<Mapping, QuantizeError> {
    let mut encoder = encoder_from_gguf(fields, checkpoint)?;
    let name = "position_embd.weight";
    let max_positions = gguf_rows(checkpoint, "encoder.embed_positions.weight", name)?;
    encoder.positions = AbsolutePositions::Learned { max_positions, offset: 0 };
    encoder.context_length = max_positions;
    Ok(gguf_mapping(FAMILY.name, encoder.spec(), &[GGUF_IN_LAYER], GGUF_OUTSIDE))
}

/// An encoder without absolute positions, by the keys of a GGUF file.
pub(super) fn encoder_from_gguf(
    fields: &Fields<'_>,
    checkpoint: &dyn Checkpoint,
) -> Result<Encoder, QuantizeError> {
    if fields.flag_or("attention.causal", false)? {
        return Err(fields.unsupported("attention.causal", "true", "false"));
    }
    let hidden_size = fields.size("embedding_length")?;
    let n_heads = fields.size("attention.head_count")?;
    let head_dim = even_split(fields, "attention.head_count", hidden_size, n_heads)?;
    let segments = "token_types.weight";
    let n_segments = match checkpoint.find(segments) {
        Some(_) => gguf_rows(checkpoint, "encoder.embed_segments.weight", segments)?,
        None => 0,
    };
    Ok(Encoder {
        vocab_size: gguf_rows(checkpoint, "encoder.embed_tokens.weight", "token_embd.weight")?,
        width: None,
        n_segments,
        positions: AbsolutePositions::None,
        context_length: fields.size("context_length")?,
        hidden_size,
        n_layers: layer_count(fields, "block_count", checkpoint, None)?,
        norm_eps: fields.positive_float("attention.layer_norm_epsilon")?,
        attention: Attention::plain(n_heads, head_dim).biased(true),
        mlp: plain_mlp(fields.size("feed_forward_length")?, Activation::Gelu),
        one_layer: false,
    })
}

/// Rows of a tensor of a GGUF file.
fn gguf_rows(
    checkpoint: &dyn Checkpoint,
    canonical: &str,
    name: &str,
) -> Result<usize, QuantizeError> {
    Ok(dims_of(checkpoint, canonical, name)?.first().copied().unwrap_or(0))
}

/// The mapping of an encoder's GGUF file.
pub(super) fn gguf_mapping(
    family: &'static str,
    spec: ModelSpec,
    in_layer: &'static [Table],
    outside: Table,
) -> Mapping {
    Mapping {
        family,
        spec,
        names: vec![Names {
            stack: "encoder",
            prefix: String::new(),
            layers: "blk.",
            in_layer,
            outside,
            former_endings: &[],
        }],
        transforms: Transforms::default(),
        ignored: &["cls.*"],
        max_tokens: None,
        images: Default::default(),
    }
}
