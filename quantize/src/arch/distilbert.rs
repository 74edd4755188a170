//! DistilBERT: BERT without segments, under other names.

use kinglet_formats::checkpoint::Checkpoint;
use kinglet_formats::spec::{AbsolutePositions, Activation, Attention};

use super::decoder::even_split;
use super::encoder::{Encoder, FORMER_ENDINGS, plain_mlp};
use super::task::{self, TaskHeads};
use super::{
    Family, FolderConfig, Mapping, Names, Table, Transforms, activation, bert, find_prefix,
    layer_count,
};
use crate::QuantizeError;
use crate::take::at;

pub(super) const FAMILY: Family = Family {
    name: "distilbert",
    architectures: &[
        "DistilBertModel",
        "DistilBertForMaskedLM",
        "DistilBertForSequenceClassification",
        "DistilBertForTokenClassification",
        "DistilBertForQuestionAnswering",
    ],
    model_type: "distilbert",
    gguf: None,
    from_config,
};

const IN_LAYER: Table = &[
    ("q_proj", at("attention.q_lin")),
    ("k_proj", at("attention.k_lin")),
    ("v_proj", at("attention.v_lin")),
    ("o_proj", at("attention.out_lin")),
    ("attn_after_norm", at("sa_layer_norm")),
    ("up_proj", at("ffn.lin1")),
    ("down_proj", at("ffn.lin2")),
    ("mlp_after_norm", at("output_layer_norm")),
];

/// A buffer, and the head of pre-training, which an embedding does without.
const IGNORED: &[&str] = &["*embeddings.position_ids", "vocab_*"];

const HEADS: TaskHeads = TaskHeads {
    sequences: &[("dense.0", at("/pre_classifier")), ("dense.1", at("/classifier"))],
    sequence_activation: Activation::Relu,
    tokens: &[("dense.0", at("/classifier"))],
    answers: &[("dense.0", at("/qa_outputs"))],
    masks: &[
        ("dense.0", at("/vocab_transform")),
        ("dense_norm.0", at("/vocab_layer_norm")),
        ("lm_head", at("/vocab_projector")),
    ],
    mask_activation: None,
    former_endings: &[],
    ignored: &["*embeddings.position_ids", "vocab_projector.weight"],
};

fn from_config(
    folder: &FolderConfig<'_>,
    checkpoint: &dyn Checkpoint,
) -> Result<Mapping, QuantizeError> {
    let config = &folder.config;
    let hidden_size = config.size_or("dim", 768)?;
    let n_heads = config.size_or("n_heads", 12)?;
    let head_dim = even_split(config, "n_heads", hidden_size, n_heads)?;
    let max_positions = config.size_or("max_position_embeddings", 512)?;
    let encoder = Encoder {
        vocab_size: config.size_or("vocab_size", 30_522)?,
        width: None,
        n_segments: 0,
        // Sines too are stored (`sinusoidal_pos_embds`).
        positions: AbsolutePositions::Learned { max_positions, offset: 0 },
        context_length: max_positions,
        hidden_size,
        n_layers: layer_count(config, "n_layers", checkpoint, Some(6))?,
        norm_eps: 1e-12,
        attention: Attention::plain(n_heads, head_dim).biased(true),
        mlp: plain_mlp(
            config.size_or("hidden_dim", 3072)?,
            activation::from_config(config, "activation", Activation::Gelu)?,
        ),
        one_layer: false,
    };
    let mut mapping = Mapping {
        family: FAMILY.name,
        spec: encoder.spec(),
        names: vec![Names {
            stack: "encoder",
            prefix: find_prefix(checkpoint, &["", "distilbert."], bert::WORDS),
            layers: "transformer.layer.",
            in_layer: &[IN_LAYER],
            outside: bert::OUTSIDE,
            former_endings: FORMER_ENDINGS,
        }],
        transforms: Transforms::default(),
        ignored: IGNORED,
        max_tokens: None,
        images: Default::default(),
    };
    task::add_heads(&mut mapping, folder, checkpoint, &encoder, &HEADS)?;
    Ok(mapping)
}
