//! Heads of encoders: what a checkpoint was trained for, by the name of its architecture.

use kinglet_formats::checkpoint::Checkpoint;
use kinglet_formats::spec::{Activation, Dense, Head, Norm, NormKind, Output, Pooling, Scores};

use super::encoder::Encoder;
use super::{FolderConfig, Mapping, Names, Table, sentence};
use crate::QuantizeError;
use crate::fields::Fields;

/// Most labels of a classifier whose configuration only counts them.
const MAX_UNNAMED: usize = 1 << 16;

/// How a family's checkpoints spell the heads of their tasks. Names are those of the modules of a
/// head; a leading `/` keeps the encoder's prefix away.
pub(super) struct TaskHeads {
    /// Of sequences: `dense.0` of the first row, and the classifier `dense.1`.
    pub(super) sequences: Table,
    /// Between these two.
    pub(super) sequence_activation: Activation,
    /// Of tokens: the classifier `dense.0`.
    pub(super) tokens: Table,
    /// Of answers: `dense.0`, which gives first and last token.
    pub(super) answers: Table,
    /// Of masked tokens: `dense.0`, `dense_norm.0`, and what else `lm_head` has than the embeddings.
    pub(super) masks: Table,
    /// After `dense.0` of masked tokens, where it is not that of the layers.
    pub(super) mask_activation: Option<Activation>,
    /// Endings under which some releases keep tensors: (now, then).
    pub(super) former_endings: &'static [(&'static str, &'static str)],
    /// Patterns of tensors that may be left over beside these heads.
    pub(super) ignored: &'static [&'static str],
}

/// The dense layers before the last one of each head.
pub(super) struct Before {
    /// How the rows of a sequence become one.
    pub(super) pool: Pooling,
    pub(super) sequences: Vec<Dense>,
    /// Of the heads of tokens and of answers.
    pub(super) rows: Vec<Dense>,
    pub(super) masks: Vec<Dense>,
    /// Whether logits of masked tokens have a bias.
    pub(super) mask_bias: bool,
}

/// What a checkpoint was trained for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Task {
    Sequences,
    Tokens,
    Answers,
    Masks,
}

impl Task {
    /// The task of an architecture with a head of its own.
    fn of(folder: &FolderConfig<'_>) -> Result<Option<Self>, QuantizeError> {
        let names = folder.config.opt_list("architectures")?.unwrap_or_default();
        Ok(names.iter().filter_map(|name| name.as_str()).find_map(|name| {
            let (_, task) = name.split_once("For")?;
            Some(match task {
                "SequenceClassification" => Self::Sequences,
                "TokenClassification" => Self::Tokens,
                "QuestionAnswering" => Self::Answers,
                "MaskedLM" | "PreTraining" => Self::Masks,
                _ => return None,
            })
        }))
    }
}

/// Gives the encoder of `mapping` the head it was trained with, unless it is used for vectors: a
/// folder of sentence-transformers, or weights without the head.
pub(super) fn add_heads(
    mapping: &mut Mapping,
    folder: &FolderConfig<'_>,
    checkpoint: &dyn Checkpoint,
    encoder: &Encoder,
    heads: &TaskHeads,
) -> Result<(), QuantizeError> {
    let first =
        Dense { activation: Some(heads.sequence_activation), ..Dense::plain(encoder.hidden_size) };
    let transform = Dense {
        activation: heads.mask_activation.or(Some(encoder.mlp.activation)),
        norm: Some(Norm { kind: NormKind::Layer, eps: encoder.norm_eps, bias: true }),
        ..Dense::plain(encoder.width.unwrap_or(encoder.hidden_size))
    };
    let before = Before {
        pool: Pooling::Cls,
        sequences: vec![first],
        rows: Vec::new(),
        masks: vec![transform],
        mask_bias: true,
    };
    add_heads_behind(mapping, folder, checkpoint, before, heads)
}

/// The same where other layers stand before the last one.
pub(super) fn add_heads_behind(
    mapping: &mut Mapping,
    folder: &FolderConfig<'_>,
    checkpoint: &dyn Checkpoint,
    before: Before,
    heads: &TaskHeads,
) -> Result<(), QuantizeError> {
    let (Some(task), None) = (Task::of(folder)?, &folder.sentence) else { return Ok(()) };
    let config = &folder.config;
    let (table, head) = match task {
        Task::Sequences => {
            let scores = scores(config)?;
            let pool = Some(before.pool);
            (heads.sequences, labelled(config, pool, before.sequences, scores)?)
        }
        Task::Tokens => (heads.tokens, labelled(config, None, before.rows, Scores::Softmax)?),
        Task::Answers => (heads.answers, span(before.rows)),
        Task::Masks => (heads.masks, masks(config, before.masks, before.mask_bias)?),
    };
    let names = Names {
        // Heads belong to no stack.
        stack: "",
        prefix: mapping.names.last().map_or_else(String::new, |names| names.prefix.clone()),
        layers: "",
        in_layer: &[],
        outside: table,
        former_endings: heads.former_endings,
    };
    if task == Task::Masks {
        // Weights of an encoder alone may keep the name of what they were trained with.
        let has_transform = names.outside.iter().any(|(module, from)| {
            *module == "dense.0"
                && checkpoint
                    .find(&format!("{}.weight", from.name.trim_start_matches('/')))
                    .is_some()
        });
        if !has_transform {
            return Ok(());
        }
        // Such an encoder is used for vectors too.
        mapping.spec.heads = vec![head, Head::embedding(Pooling::Mean, false)];
    } else {
        mapping.spec.heads = vec![head];
    }
    mapping.names.push(names);
    mapping.ignored = heads.ignored;
    sentence::limit(mapping, folder);
    Ok(())
}

/// A classifier behind dense layers.
fn labelled(
    config: &Fields<'_>,
    pool: Option<Pooling>,
    mut chain: Vec<Dense>,
    scores: Scores,
) -> Result<Head, QuantizeError> {
    chain.push(Dense::plain(labels(config)?.len()));
    Ok(Head { stack: None, pool, chain, output: Output::Labels { scores } })
}

fn span(mut chain: Vec<Dense>) -> Head {
    chain.push(Dense::plain(2));
    Head { stack: None, pool: None, chain, output: Output::Span }
}

/// The logits of what the chain gives.
fn masks(config: &Fields<'_>, chain: Vec<Dense>, bias: bool) -> Result<Head, QuantizeError> {
    let tied = config.flag_or("tie_word_embeddings", true)?;
    let output = Output::Logits { tied, bias, scale: 1.0, soft_cap: None, shortlist: None };
    Ok(Head { stack: None, pool: None, chain, output })
}

/// How a classifier's logits become scores, as the reference's pipelines decide. With one label,
/// sentence-transformers may say otherwise.
pub(super) fn scores(config: &Fields<'_>) -> Result<Scores, QuantizeError> {
    let one = labels(config)?.len() == 1;
    if one && let Some(scores) = stated_scores(config)? {
        return Ok(scores);
    }
    Ok(match config.opt_text("problem_type")? {
        Some("regression") => Scores::Raw,
        Some("multi_label_classification") => Scores::Sigmoid,
        _ if one => Scores::Sigmoid,
        Some("single_label_classification") | None => Scores::Softmax,
        Some(other) => {
            let supported =
                "regression, single_label_classification, multi_label_classification, null";
            return Err(config.unsupported("problem_type", other, supported));
        }
    })
}

/// The activation of a cross-encoder, by the name of a Python class.
fn stated_scores(config: &Fields<'_>) -> Result<Option<Scores>, QuantizeError> {
    let nested = config.nested("sentence_transformers")?;
    let nested = nested.as_ref().map(|fields| (fields, "activation_fn"));
    let former = (config, "sbert_ce_default_activation_function");
    for (fields, key) in nested.into_iter().chain([former]) {
        let Some(name) = fields.opt_text(key)? else { continue };
        return match name.rsplit('.').next() {
            Some("Identity") => Ok(Some(Scores::Raw)),
            Some("Sigmoid") => Ok(Some(Scores::Sigmoid)),
            _ => Err(fields.unsupported(key, name, "Identity or Sigmoid")),
        };
    }
    Ok(None)
}

/// Names of a classifier's labels, in the order of its outputs.
pub(crate) fn labels(config: &Fields<'_>) -> Result<Vec<String>, QuantizeError> {
    let Some(names) = config.nested("id2label")? else {
        // The reference's default is two.
        let n = config.size_or("num_labels", 2)?;
        if n > MAX_UNNAMED {
            return Err(config.bad("num_labels", &n, &format!("at most {MAX_UNNAMED}")));
        }
        return Ok((0..n).map(|i| format!("LABEL_{i}")).collect());
    };
    let n = names.len();
    if n == 0 {
        return Err(config.bad("id2label", "empty", "a name for each label"));
    }
    (0..n).map(|i| names.text(&i.to_string()).map(str::to_owned)).collect()
}

#[cfg(test)]
#[path = "task_tests.rs"]
mod tests;
