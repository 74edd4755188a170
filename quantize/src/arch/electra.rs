//! ELECTRA: BERT with embeddings of a width of their own.

use kinglet_formats::checkpoint::Checkpoint;
use kinglet_formats::spec::Activation;

use super::encoder::{BERT_DEFAULTS, Defaults, Encoder, FORMER_ENDINGS};
use super::task::{self, TaskHeads};
use super::{Family, FolderConfig, Mapping, Names, Table, Transforms, bert, find_prefix};
use crate::QuantizeError;
use crate::take::at;

pub(super) const FAMILY: Family = Family {
    name: "electra",
    architectures: &[
        "ElectraModel",
        "ElectraForPreTraining",
        "ElectraForMaskedLM",
        "ElectraForSequenceClassification",
        "ElectraForTokenClassification",
        "ElectraForQuestionAnswering",
    ],
    model_type: "electra",
    gguf: None,
    from_config,
};

const DEFAULTS: Defaults = Defaults {
    vocab_size: Some(30_522),
    hidden_size: Some(256),
    intermediate_size: Some(1024),
    n_layers: Some(12),
    n_heads: Some(4),
    ..BERT_DEFAULTS
};

const OUTSIDE: Table = &[
    ("embed_tokens", at("embeddings.word_embeddings")),
    ("embed_positions", at("embeddings.position_embeddings")),
    ("embed_segments", at("embeddings.token_type_embeddings")),
    ("embed_norm", at("embeddings.LayerNorm")),
    ("embed_proj", at("embeddings_project")),
];

/// A buffer, and the heads of pre-training, which an embedding does without.
const IGNORED: &[&str] = &[
    "*embeddings.position_ids",
    "discriminator_predictions.*",
    "generator_predictions.*",
    "generator_lm_head.*",
];

const HEADS: TaskHeads = TaskHeads {
    sequences: &[("dense.0", at("/classifier.dense")), ("dense.1", at("/classifier.out_proj"))],
    sequence_activation: Activation::Gelu,
    tokens: &[("dense.0", at("/classifier"))],
    answers: &[("dense.0", at("/qa_outputs"))],
    masks: &[
        ("dense.0", at("/generator_predictions.dense")),
        ("dense_norm.0", at("/generator_predictions.LayerNorm")),
        ("lm_head", at("/generator_lm_head")),
    ],
    mask_activation: Some(Activation::Gelu),
    former_endings: FORMER_ENDINGS,
    ignored: &[
        "*embeddings.position_ids",
        "discriminator_predictions.*",
        "generator_lm_head.weight",
    ],
};

fn from_config(
    folder: &FolderConfig<'_>,
    checkpoint: &dyn Checkpoint,
) -> Result<Mapping, QuantizeError> {
    let config = &folder.config;
    let mut encoder = Encoder::from_config(config, checkpoint, &DEFAULTS)?;
    // Embeddings as wide as the layers are not projected.
    let width = config.size_or("embedding_size", 128)?;
    encoder.width = (width != encoder.hidden_size).then_some(width);
    let mut mapping = Mapping {
        family: FAMILY.name,
        spec: encoder.spec(),
        names: vec![Names {
            stack: "encoder",
            prefix: find_prefix(checkpoint, &["", "electra."], bert::WORDS),
            layers: "encoder.layer.",
            in_layer: &[bert::IN_LAYER],
            outside: OUTSIDE,
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
