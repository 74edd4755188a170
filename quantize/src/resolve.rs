//! Finds every canonical tensor in a checkpoint and makes sure that nothing is left over.

use kinglet_formats::checkpoint::{Checkpoint, DType, TensorInfo};
use kinglet_formats::spec::{MixerKind, Position, TensorSpec, TensorUse};

use crate::mapping::{Mapping, Names};
use crate::overlay::required;
use crate::take::{Origin, Piece, RowOrder, Rows, Take, at, fits};
use crate::{QuantizeError, glob};

/// Names shown when tensors are left over.
const SHOWN: usize = 8;

/// All tensors of the model in execution order, and the names of those that were ignored. The spec has
/// been validated: sizes multiply in the list of tensors.
pub(crate) fn resolve(
    mapping: &Mapping,
    checkpoint: &dyn Checkpoint,
) -> Result<(Vec<Take>, Vec<String>), QuantizeError> {
    let infos = checkpoint.tensors();
    let mut used = vec![false; infos.len()];
    let tensors = mapping.spec.tensors();
    let mut takes = Vec::with_capacity(tensors.len());
    for tensor in &tensors {
        let names = names_of(mapping, tensor);
        // What stands behind a model, and what it implies, is called by the canonical name.
        let added = tensor.stack.is_empty()
            || tensor.module.starts_with("position_")
            || mapping.transforms.made.iter().any(|made| made.name == tensor.name);
        let own = added && checkpoint.find(&tensor.name).is_some();
        let from = match own {
            true => Some(at("")),
            false => names.and_then(|names| origin(mapping, names, checkpoint, tensor)),
        };
        let transposed = from.is_some_and(|from| from.transposed) && tensor.dims.len() == 2;
        let over_time = from.is_some_and(|from| from.over_time) && tensor.dims.len() == 2;
        let stored = match own {
            true => vec![tensor.name.clone()],
            false => stored_names(mapping, names, from, tensor),
        };
        let mut piece = tensor.clone();
        piece.dims[0] /= stored.len();
        let (rows, total_rows) = match &from {
            Some(from) => fused_rows(mapping, &tensors, &piece, from),
            None => (whole(piece.dims[0]), 0),
        };
        let mut pieces = Vec::with_capacity(stored.len());
        for name in stored {
            let source = find(names, checkpoint, tensor, name)?;
            check(&infos[source], &piece, from.as_ref(), total_rows)?;
            used[source] = true;
            pieces.push(Piece { source, rows, transposed, over_time });
        }
        let order = match tensor.module.as_str() {
            "q_proj" | "k_proj" if mapping.transforms.adjacent_rope_rows => pairs(mapping),
            _ => RowOrder::AsStored,
        };
        let plus_one = mapping.transforms.norm_plus_one
            && tensor.usage == TensorUse::Vector
            && tensor.module.ends_with("norm")
            && tensor.part == "weight";
        takes.push(Take { tensor: tensor.clone(), pieces, order, plus_one });
    }
    let rest = || infos.iter().zip(&used).filter(|(_, used)| !**used).map(|(info, _)| &info.name);
    // Who asks for vectors does without a head of logits.
    let without_logits = mapping.spec.logits_head().is_none().then_some(&"*lm_head.*");
    let ignored = || mapping.ignored.iter().chain(without_logits);
    let is_ignored = |name: &&String| ignored().any(|pattern| glob::matches(pattern, name));
    let unmapped = || rest().filter(|name| !is_ignored(name));
    if unmapped().next().is_some() {
        return Err(QuantizeError::UnmappedTensors {
            family: mapping.family,
            count: unmapped().count(),
            first: unmapped().take(SHOWN).cloned().collect(),
        });
    }
    Ok((takes, rest().cloned().collect()))
}

/// The names of the tensor's stack; heads are found with the last one's.
fn names_of<'a>(mapping: &'a Mapping, tensor: &TensorSpec) -> Option<&'a Names> {
    let own = mapping.names.iter().find(|names| names.stack == tensor.stack);
    own.or(mapping.names.last())
}

/// Where a checkpoint keeps `tensor`: of several places that the family knows, the first that is
/// there.
fn origin(
    mapping: &Mapping,
    names: &Names,
    checkpoint: &dyn Checkpoint,
    tensor: &TensorSpec,
) -> Option<Origin> {
    let places = names.places(tensor);
    let is_there = |from: &&Origin| {
        let stored = stored_names(mapping, Some(names), Some(**from), tensor);
        stored.first().is_some_and(|name| checkpoint.find(name).is_some())
    };
    places.iter().find(is_there).or(places.first()).copied()
}

/// All `n` rows.
fn whole(n: usize) -> Rows {
    Rows { first: 0, run: n.max(1), stride: n.max(1) }
}

/// The rows of `tensor` in the stored tensor it is a part of, and that one's number of rows.
fn fused_rows(
    mapping: &Mapping,
    tensors: &[TensorSpec],
    tensor: &TensorSpec,
    from: &Origin,
) -> (Rows, usize) {
    let (mut first, mut total) = (0, 0);
    for module in from.fused {
        let same = |other: &&TensorSpec| {
            other.stack == tensor.stack
                && other.layer == tensor.layer
                && other.module == *module
                && other.part == tensor.part
        };
        if *module == tensor.module {
            first = total;
        }
        total += tensors.iter().find(same).map_or(0, |other| other.dims[0]);
    }
    let own = tensor.dims[0];
    if !from.per_group {
        return (Rows { first, ..whole(own) }, total);
    }
    let n = groups(mapping, tensor);
    (Rows { first: first / n, run: (own / n).max(1), stride: total / n }, total)
}

/// The groups of rows in which a module is stored: experts, or key/value heads.
fn groups(mapping: &Mapping, tensor: &TensorSpec) -> usize {
    let stack = mapping.spec.stack(&tensor.stack).map(|(_, stack)| stack);
    let layer = stack.zip(tensor.layer).and_then(|(stack, i)| stack.layers.get(i));
    let mixers = layer.into_iter().flat_map(|layer| &layer.blocks).flat_map(|block| &block.mixers);
    let expert = tensor.module.starts_with("expert_");
    let mut groups = mixers.filter_map(|mixer| match &mixer.kind {
        MixerKind::Experts(experts) if expert => Some(experts.n_experts),
        MixerKind::Attention(attention) if !expert => Some(attention.n_kv_heads),
        _ => None,
    });
    groups.next().unwrap_or(1)
}

/// Names of the stored tensors that a canonical one is made of: one, or one for each expert.
fn stored_names(
    mapping: &Mapping,
    names: Option<&Names>,
    from: Option<Origin>,
    tensor: &TensorSpec,
) -> Vec<String> {
    let (Some(names), Some(from)) = (names, from) else {
        return vec![format!("counterpart of {}", tensor.module)];
    };
    let name = names.stored(&from, tensor);
    if !from.name.contains("{e}") {
        return vec![name];
    }
    let experts = mapping.spec.stacks.iter().flat_map(|stack| &stack.layers);
    let experts = experts.flat_map(|layer| &layer.blocks).flat_map(|block| &block.mixers);
    let n = experts.filter_map(|mixer| match &mixer.kind {
        MixerKind::Experts(experts) => Some(experts.n_experts),
        _ => None,
    });
    (0..n.max().unwrap_or(1)).map(|e| name.replace("{e}", &e.to_string())).collect()
}

fn find(
    names: Option<&Names>,
    checkpoint: &dyn Checkpoint,
    tensor: &TensorSpec,
    name: String,
) -> Result<usize, QuantizeError> {
    if let Some(index) = checkpoint.find(&name) {
        return Ok(index);
    }
    let former = names.iter().flat_map(|names| names.former_endings).find_map(|(now, then)| {
        let stem = name.strip_suffix(now)?;
        checkpoint.find(&format!("{stem}{then}"))
    });
    former.map_or_else(|| required(checkpoint, &tensor.name, name), Ok)
}

fn check(
    info: &TensorInfo,
    piece: &TensorSpec,
    from: Option<&Origin>,
    total_rows: usize,
) -> Result<(), QuantizeError> {
    let Some(from) = from else { return Err(QuantizeError::shape(info, piece.dims.clone())) };
    if !fits(&info.dims, piece, from, total_rows) {
        let mut expected = piece.dims.clone();
        if !from.fused.is_empty() {
            expected[0] = total_rows;
        }
        if from.transposed {
            expected.reverse();
        }
        return Err(QuantizeError::shape(info, expected));
    }
    match info.dtype {
        DType::I64 | DType::I32 | DType::I16 | DType::I8 | DType::U8 | DType::Bool => {
            Err(QuantizeError::NotFloat { name: info.name.clone(), found: info.dtype.to_string() })
        }
        _ => Ok(()),
    }
}

/// Rotated pairs side by side, as in the first layer that rotates: families with permuted rows
/// have one kind of heads, and permute those of layers without positions as well.
fn pairs(mapping: &Mapping) -> RowOrder {
    let attentions = mapping.spec.stacks.iter().flat_map(|stack| stack.attentions());
    let mut rotations = attentions.filter_map(|attention| match &attention.position {
        Position::Rope(rope) => {
            Some(RowOrder::AdjacentPairs { head_dim: attention.head_dim, dims: rope.dims })
        }
        _ => None,
    });
    rotations.next().unwrap_or(RowOrder::AsStored)
}
