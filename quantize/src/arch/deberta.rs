//! DeBERTa 2 and 3: BERT whose queries and keys meet positions beside one another.

use kinglet_formats::checkpoint::Checkpoint;
use kinglet_formats::spec::{AbsolutePositions, Activation, Position};

use super::encoder::{BERT_DEFAULTS, Defaults, Encoder, FORMER_ENDINGS};
use super::task::{self, TaskHeads};
use super::{
    Family, FolderConfig, Mapping, Names, PositionProducts, Table, Transforms, activation, bert,
    find_prefix,
};
use crate::QuantizeError;
use crate::fields::Fields;
use crate::take::at;

pub(super) const FAMILY: Family = Family {
    name: "deberta-v2",
    architectures: &[
        "DebertaV2Model",
        "DebertaV2ForMaskedLM",
        "DebertaV2ForSequenceClassification",
        "DebertaV2ForTokenClassification",
        "DebertaV2ForQuestionAnswering",
    ],
    model_type: "deberta-v2",
    gguf: None,
    from_config,
};

const DEFAULTS: Defaults = Defaults { n_segments: 0, norm_eps: 1e-7, ..BERT_DEFAULTS };

const IN_LAYER: Table = &[
    ("q_proj", at("attention.self.query_proj")),
    ("k_proj", at("attention.self.key_proj")),
    ("v_proj", at("attention.self.value_proj")),
];

const HEADS: TaskHeads = TaskHeads {
    sequences: &[("dense.0", at("/pooler.dense")), ("dense.1", at("/classifier"))],
    sequence_activation: Activation::Gelu,
    tokens: &[("dense.0", at("/classifier"))],
    answers: &[("dense.0", at("/qa_outputs"))],
    masks: &[
        ("dense.0", at("/cls.predictions.transform.dense")),
        ("dense_norm.0", at("/cls.predictions.transform.LayerNorm")),
        ("lm_head", at("/cls.predictions.decoder")),
    ],
    mask_activation: None,
    former_endings: &[("decoder.bias", "bias")],
    ignored: &["*embeddings.position_ids", "cls.predictions.decoder.*", "cls.predictions.bias"],
};

/// A buffer, and the heads of pre-training, which an embedding does without.
const IGNORED: &[&str] =
    &["*embeddings.position_ids", "pooler.*", "cls.*", "lm_predictions.*", "mask_predictions.*"];

fn from_config(
    folder: &FolderConfig<'_>,
    checkpoint: &dyn Checkpoint,
) -> Result<Mapping, QuantizeError> {
    let config = &folder.config;
    check(config)?;
    let mut encoder = Encoder::from_config(config, checkpoint, &DEFAULTS)?;
    if !config.flag_or("position_biased_input", true)? {
        encoder.positions = AbsolutePositions::None;
    }
    // -1 stands for the length of the longest text.
    let max_distance = match config.float_or("max_relative_positions", -1.0)? {
        n if n >= 1.0 => config.size("max_relative_positions")?,
        _ => encoder.context_length,
    };
    let n_buckets = config.size("position_buckets")?;
    encoder.attention.position = Position::Disentangled { n_buckets, max_distance };
    // Three products make a score.
    let head_dim = encoder.attention.head_dim;
    encoder.attention.scale = (1.0 / (3.0 * head_dim as f64).sqrt()) as f32;
    let norm = config.opt_text("norm_rel_ebd")?.unwrap_or("none");
    let products = PositionProducts {
        table: "encoder.rel_embeddings",
        norm: norm.contains("layer_norm").then_some(("encoder.LayerNorm", encoder.norm_eps)),
        projections: ["attention.self.query_proj", "attention.self.key_proj"],
        rows: 2 * n_buckets,
        n_heads: encoder.attention.n_heads,
        n_layers: encoder.n_layers,
    };
    let mut mapping = Mapping {
        family: FAMILY.name,
        spec: encoder.spec(),
        names: vec![Names {
            stack: "encoder",
            prefix: find_prefix(checkpoint, &["", "deberta."], bert::WORDS),
            layers: "encoder.layer.",
            in_layer: &[IN_LAYER, bert::IN_LAYER],
            outside: bert::OUTSIDE,
            former_endings: FORMER_ENDINGS,
        }],
        transforms: Transforms { position_products: Some(products), ..Transforms::default() },
        ignored: IGNORED,
        max_tokens: None,
        images: Default::default(),
    };
    task::add_heads(&mut mapping, folder, checkpoint, &encoder, &HEADS)?;
    Ok(mapping)
}

/// Refuses what published checkpoints of the family do not have.
fn check(config: &Fields<'_>) -> Result<(), QuantizeError> {
    for (key, default) in [("relative_attention", false), ("share_att_key", false)] {
        if !config.flag_or(key, default)? {
            return Err(config.unsupported(key, "false", "true"));
        }
    }
    let kinds: Vec<&str> =
        config.texts("pos_att_type")?.into_iter().flat_map(|kinds| kinds.split('|')).collect();
    if !(kinds.contains(&"c2p") && kinds.contains(&"p2c")) {
        return Err(config.unsupported("pos_att_type", &kinds.join("|"), "p2c|c2p"));
    }
    if let Some(size) = config.opt_float("conv_kernel_size")?.filter(|&size| size > 0.0) {
        return Err(config.unsupported("conv_kernel_size", &size, "0"));
    }
    for key in ["embedding_size", "attention_head_size"] {
        if config.has(key) {
            let size = config.size(key)?;
            let usual = match key {
                "embedding_size" => config.size("hidden_size")?,
                _ => config.size("hidden_size")? / config.size("num_attention_heads")?,
            };
            if size != usual {
                return Err(config.unsupported(key, &size, &usual.to_string()));
            }
        }
    }
    let pooler = activation::from_config(config, "pooler_hidden_act", Activation::Gelu)?;
    if pooler != Activation::Gelu {
        let name = config.text("pooler_hidden_act")?;
        return Err(config.unsupported("pooler_hidden_act", name, "gelu"));
    }
    Ok(())
}
