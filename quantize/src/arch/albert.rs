//! ALBERT: BERT's shape with narrow embeddings and one layer's weights used by all.

use kinglet_formats::checkpoint::Checkpoint;
use kinglet_formats::spec::Activation;

use super::encoder::{Defaults, Encoder, FORMER_ENDINGS};
use super::task::{self, TaskHeads};
use super::{Family, FolderConfig, Mapping, Names, Table, Transforms, bert, find_prefix};
use crate::QuantizeError;
use crate::take::at;

pub(super) const FAMILY: Family = Family {
    name: "albert",
    architectures: &[
        "AlbertModel",
        "AlbertForMaskedLM",
        "AlbertForPreTraining",
        "AlbertForSequenceClassification",
        "AlbertForTokenClassification",
        "AlbertForQuestionAnswering",
    ],
    model_type: "albert",
    gguf: None,
    from_config,
};

const DEFAULTS: Defaults = Defaults {
    vocab_size: Some(30_000),
    hidden_size: Some(4096),
    intermediate_size: Some(16_384),
    n_layers: Some(12),
    n_heads: Some(64),
    max_positions: 512,
    n_segments: 2,
    norm_eps: 1e-12,
    activation: Activation::GeluTanh,
    position_type: "absolute",
};

const IN_LAYER: Table = &[
    ("q_proj", at("albert_layers.0.attention.query")),
    ("k_proj", at("albert_layers.0.attention.key")),
    ("v_proj", at("albert_layers.0.attention.value")),
    ("o_proj", at("albert_layers.0.attention.dense")),
    ("attn_after_norm", at("albert_layers.0.attention.LayerNorm")),
    ("up_proj", at("albert_layers.0.ffn")),
    ("down_proj", at("albert_layers.0.ffn_output")),
    ("mlp_after_norm", at("albert_layers.0.full_layer_layer_norm")),
];

const OUTSIDE: Table = &[
    ("embed_tokens", at("embeddings.word_embeddings")),
    ("embed_positions", at("embeddings.position_embeddings")),
    ("embed_segments", at("embeddings.token_type_embeddings")),
    ("embed_norm", at("embeddings.LayerNorm")),
    ("embed_proj", at("encoder.embedding_hidden_mapping_in")),
];

/// A buffer, and the heads of pre-training, which an embedding does without.
const IGNORED: &[&str] =
    &["*embeddings.position_ids", "*pooler.*", "predictions.*", "sop_classifier.*"];

const HEADS: TaskHeads = TaskHeads {
    sequences: &[("dense.0", at("pooler")), ("dense.1", at("/classifier"))],
    sequence_activation: Activation::Tanh,
    tokens: &[("dense.0", at("/classifier"))],
    answers: &[("dense.0", at("/qa_outputs"))],
    masks: &[
        ("dense.0", at("/predictions.dense")),
        ("dense_norm.0", at("/predictions.LayerNorm")),
        ("lm_head", at("/predictions.decoder")),
    ],
    mask_activation: None,
    former_endings: &[("decoder.bias", "bias")],
    ignored: &[
        "*embeddings.position_ids",
        "*pooler.*",
        "predictions.decoder.*",
        "predictions.bias",
        "sop_classifier.*",
    ],
};

fn from_config(
    folder: &FolderConfig<'_>,
    checkpoint: &dyn Checkpoint,
) -> Result<Mapping, QuantizeError> {
    let config = &folder.config;
    for key in ["num_hidden_groups", "inner_group_num"] {
        let n = config.size_or(key, 1)?;
        if n != 1 {
            return Err(config.unsupported(key, &n, "1"));
        }
    }
    let mut encoder = Encoder::from_config(config, checkpoint, &DEFAULTS)?;
    encoder.width = Some(config.size_or("embedding_size", 128)?);
    encoder.one_layer = true;
    let mut mapping = Mapping {
        family: FAMILY.name,
        spec: encoder.spec(),
        names: vec![Names {
            stack: "encoder",
            prefix: find_prefix(checkpoint, &["", "albert."], bert::WORDS),
            layers: "encoder.albert_layer_groups.",
            in_layer: &[IN_LAYER],
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
