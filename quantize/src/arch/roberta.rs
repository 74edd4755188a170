//! RoBERTa, XLM-RoBERTa and CamemBERT: BERT whose positions begin behind that of padding.

use kinglet_formats::checkpoint::Checkpoint;
use kinglet_formats::spec::Activation;

use super::encoder::{BERT_DEFAULTS, Encoder};
use super::task::{self, TaskHeads};
use super::{Family, FolderConfig, Mapping, bert, find_prefix};
use crate::QuantizeError;
use crate::take::at;

pub(super) const ROBERTA: Family = Family {
    name: "roberta",
    architectures: &[
        "RobertaModel",
        "RobertaForMaskedLM",
        "RobertaForSequenceClassification",
        "RobertaForTokenClassification",
        "RobertaForQuestionAnswering",
    ],
    model_type: "roberta",
    gguf: None,
    from_config: |folder, checkpoint| from_config("roberta", folder, checkpoint),
};

pub(super) const XLM_ROBERTA: Family = Family {
    name: "xlm-roberta",
    architectures: &[
        "XLMRobertaModel",
        "XLMRobertaForMaskedLM",
        "XLMRobertaForSequenceClassification",
        "XLMRobertaForTokenClassification",
        "XLMRobertaForQuestionAnswering",
    ],
    model_type: "xlm-roberta",
    gguf: None,
    from_config: |folder, checkpoint| from_config("xlm-roberta", folder, checkpoint),
};

pub(super) const CAMEMBERT: Family = Family {
    name: "camembert",
    architectures: &[
        "CamembertModel",
        "CamembertForMaskedLM",
        "CamembertForSequenceClassification",
        "CamembertForTokenClassification",
        "CamembertForQuestionAnswering",
    ],
    model_type: "camembert",
    gguf: None,
    from_config: |folder, checkpoint| from_config("camembert", folder, checkpoint),
};

/// A buffer, and the heads of pre-training, which an embedding does without.
const IGNORED: &[&str] = &["*embeddings.position_ids", "*pooler.*", "lm_head.*"];

/// MPNet has them too.
pub(super) const HEADS: TaskHeads = TaskHeads {
    sequences: &[("dense.0", at("/classifier.dense")), ("dense.1", at("/classifier.out_proj"))],
    sequence_activation: Activation::Tanh,
    tokens: &[("dense.0", at("/classifier"))],
    answers: &[("dense.0", at("/qa_outputs"))],
    masks: &[
        ("dense.0", at("/lm_head.dense")),
        ("dense_norm.0", at("/lm_head.layer_norm")),
        ("lm_head", at("/lm_head.decoder")),
    ],
    mask_activation: Some(Activation::Gelu),
    former_endings: &[("decoder.bias", "bias")],
    ignored: &["*embeddings.position_ids", "*pooler.*", "lm_head.decoder.*", "lm_head.bias"],
};

fn from_config(
    family: &'static str,
    folder: &FolderConfig<'_>,
    checkpoint: &dyn Checkpoint,
) -> Result<Mapping, QuantizeError> {
    let config = &folder.config;
    let mut encoder = Encoder::from_config(config, checkpoint, &BERT_DEFAULTS)?;
    let padding = config.token_ids("pad_token_id")?.first().copied().unwrap_or(1);
    encoder.skip_positions(config, (padding as usize).saturating_add(1))?;
    let prefix = find_prefix(checkpoint, &["", "roberta."], bert::WORDS);
    let mut mapping = bert::mapping(family, &encoder, prefix, IGNORED);
    task::add_heads(&mut mapping, folder, checkpoint, &encoder, &HEADS)?;
    Ok(mapping)
}
