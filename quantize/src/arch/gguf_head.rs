//! What a GGUF file gives besides tokens: vectors of pooled rows, or the scores of a reranker.

use kinglet_formats::checkpoint::Checkpoint;
use kinglet_formats::spec::{Activation, Dense, Head, Norm, NormKind, Output, Pooling, Scores};

use super::{Mapping, Names, Table, modernbert};
use crate::QuantizeError;
use crate::fields::Fields;
use crate::take::at;

const POOLING: &str = "pooling_type";
/// The pooling type of rerankers and classifiers.
const RANK: f32 = 4.0;
/// How rerankers pool.
const RANK_POOLING: &str = "classifier.pooling_type";
const LABELS: &str = "classifier.output_labels";

/// The layers that sentence-transformers puts behind the pooling; either may be left out.
const DENSE: [&str; 2] = ["dense_2", "dense_3"];
const DENSE_NAMES: Table =
    &[("dense.0", at(DENSE[0])), ("dense.0", at(DENSE[1])), ("dense.1", at(DENSE[1]))];
/// A dense layer and the classifier behind it; either may be left out.
const RANK_NAMES: Table = &[
    ("dense.0", at("cls")),
    ("dense.0", at("cls.output")),
    ("dense_norm.0", at("cls.norm")),
    ("dense.1", at("cls.output")),
];

/// Gives a mapping the head that its file asks for: the file says how rows are pooled, or what it
/// holds has no head of its own.
pub(super) fn add(
    mapping: &mut Mapping,
    fields: &Fields<'_>,
    checkpoint: &dyn Checkpoint,
) -> Result<(), QuantizeError> {
    let supported = "1 (mean), 2 (cls), 3 (last), 4 (rank, of encoders)";
    let generates = !mapping.spec.heads.is_empty();
    // 0 stands for "none", which a vector cannot be.
    let (head, names) = match fields.opt_float(POOLING)? {
        None | Some(0.0) if generates => return Ok(()),
        None | Some(1.0) => vectors(Pooling::Mean, checkpoint),
        Some(2.0) => vectors(Pooling::Cls, checkpoint),
        Some(3.0) => vectors(Pooling::Last, checkpoint),
        Some(RANK) if !generates => {
            mapping.ignored = &[];
            (ranks(mapping.family, fields, checkpoint)?, RANK_NAMES)
        }
        Some(other) => return Err(fields.unsupported(POOLING, &other, supported)),
    };
    mapping.spec.heads = vec![head];
    mapping.names.push(Names {
        // Heads belong to no stack.
        stack: "",
        prefix: String::new(),
        layers: "",
        in_layer: &[],
        outside: names,
        former_endings: &[],
    });
    let context_length = mapping.spec.context_length;
    mapping.max_tokens = Some(fields.size_or("context_length", usize::MAX)?.min(context_length));
    Ok(())
}

/// Vectors. The file does not say whether they are scaled to length one; its users do that unless
/// told otherwise.
fn vectors(pooling: Pooling, checkpoint: &dyn Checkpoint) -> (Head, Table) {
    let dense = DENSE.iter().filter_map(|module| {
        let size = outputs(checkpoint, module)?;
        Some(Dense { bias: has(checkpoint, module, "bias"), ..Dense::plain(size) })
    });
    let head = Head { chain: dense.collect(), ..Head::embedding(pooling, true) };
    (head, DENSE_NAMES)
}

/// Scores of the labels of a text or pair. The file does not say how they are scaled: it is as for
/// other checkpoints that do not.
fn ranks(
    family: &str,
    fields: &Fields<'_>,
    checkpoint: &dyn Checkpoint,
) -> Result<Head, QuantizeError> {
    let is_modern = family == modernbert::FAMILY.name;
    let pool = match fields.opt_float(RANK_POOLING)? {
        Some(1.0) => Pooling::Mean,
        None | Some(2.0) => Pooling::Cls,
        Some(other) => {
            return Err(fields.unsupported(RANK_POOLING, &other, "1 (mean), 2 (cls)"));
        }
    };
    let mut chain = Vec::new();
    if let Some(size) = outputs(checkpoint, "cls") {
        let bias = has(checkpoint, "cls.norm", "bias");
        let eps = fields.positive_float("attention.layer_norm_epsilon")?;
        let norm = Norm { kind: NormKind::Layer, eps, bias };
        chain.push(Dense {
            size,
            bias: has(checkpoint, "cls", "bias"),
            activation: Some(if is_modern { Activation::Gelu } else { Activation::Tanh }),
            norm: has(checkpoint, "cls.norm", "weight").then_some(norm),
        });
    }
    if let Some(size) = outputs(checkpoint, "cls.output") {
        let bias = has(checkpoint, "cls.output", "bias");
        chain.push(Dense { bias, ..Dense::plain(size) });
    }
    let n_labels = n_labels(checkpoint)?;
    Ok(Head {
        stack: None,
        pool: Some(pool),
        chain,
        output: Output::Labels {
            scores: if n_labels == 1 { Scores::Sigmoid } else { Scores::Softmax },
        },
    })
}

/// Names of a file's labels, in the order of its outputs; none where it gives something else.
pub(crate) fn gguf_labels(
    fields: &Fields<'_>,
    checkpoint: &dyn Checkpoint,
) -> Result<Vec<String>, QuantizeError> {
    if fields.opt_float(POOLING)? != Some(RANK) {
        return Ok(Vec::new());
    }
    let n = n_labels(checkpoint)?;
    if !fields.has(LABELS) {
        return Ok((0..n).map(|i| format!("LABEL_{i}")).collect());
    }
    let names = fields.texts(LABELS)?;
    if names.len() != n {
        let expected = format!("{n} names, one for each output");
        return Err(fields.bad(LABELS, &names.join(", "), &expected));
    }
    Ok(names.into_iter().map(str::to_owned).collect())
}

fn n_labels(checkpoint: &dyn Checkpoint) -> Result<usize, QuantizeError> {
    let modules = ["cls.output", "cls"];
    modules.iter().find_map(|module| outputs(checkpoint, module)).ok_or_else(|| {
        QuantizeError::MissingTensor {
            canonical: "the classifier".to_owned(),
            looked_for: "cls.output.weight, cls.weight".to_owned(),
        }
    })
}

/// Outputs of a dense layer, if the file has it.
fn outputs(checkpoint: &dyn Checkpoint, module: &str) -> Option<usize> {
    let index = checkpoint.find(&format!("{module}.weight"))?;
    checkpoint.tensors()[index].dims.first().copied()
}

fn has(checkpoint: &dyn Checkpoint, module: &str, part: &str) -> bool {
    checkpoint.find(&format!("{module}.{part}")).is_some()
}
