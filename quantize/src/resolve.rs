//! Finds every canonical tensor in a checkpoint and makes sure that nothing is left over.

use kinglet_formats::checkpoint::{Checkpoint, DType, TensorInfo};

use crate::arch::Mapping;
use crate::canonical::{self, Canonical, Use};
use crate::{QuantizeError, glob};

/// Names shown when tensors are left over.
const SHOWN: usize = 8;

/// A canonical tensor and where it comes from.
pub(crate) struct Resolved {
    pub(crate) canonical: Canonical,
    /// Number of the tensor in the checkpoint.
    pub(crate) source: usize,
    pub(crate) rows: RowOrder,
    /// One is added to every value.
    pub(crate) plus_one: bool,
}

/// Order of a tensor's rows in the checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RowOrder {
    /// The canonical one.
    AsStored,
    /// Within each head of `head_dim` rows, the two of a rotated pair lie side by side; the
    /// canonical order has all first ones, then all second ones.
    AdjacentPairs {
        /// Rows of a head, even.
        head_dim: usize,
    },
}

impl RowOrder {
    /// The stored row that becomes canonical row `row`.
    pub(crate) fn source_row(self, row: usize) -> usize {
        match self {
            Self::AsStored => row,
            Self::AdjacentPairs { head_dim } => {
                let (half, within) = (head_dim / 2, row % head_dim);
                row - within + 2 * (within % half) + within / half
            }
        }
    }
}

/// All tensors of the model in execution order, and the names of those that were ignored.
pub(crate) fn resolve(
    mapping: &Mapping,
    checkpoint: &dyn Checkpoint,
) -> Result<(Vec<Resolved>, Vec<String>), QuantizeError> {
    let infos = checkpoint.tensors();
    let mut used = vec![false; infos.len()];
    let mut resolved = Vec::new();
    for canonical in canonical::tensors(&mapping.spec)? {
        let source = find(mapping, checkpoint, &canonical)?;
        let info = &infos[source];
        check(info, &canonical)?;
        used[source] = true;
        let rows = match canonical.module {
            "q_proj" | "k_proj" if mapping.transforms.adjacent_rope_rows => {
                RowOrder::AdjacentPairs { head_dim: head_dim(mapping) }
            }
            _ => RowOrder::AsStored,
        };
        let plus_one = mapping.transforms.norm_plus_one
            && canonical.usage == Use::Vector
            && canonical.module.ends_with("norm")
            && canonical.part == "weight";
        resolved.push(Resolved { canonical, source, rows, plus_one });
    }
    let rest = || infos.iter().zip(&used).filter(|(_, used)| !**used).map(|(info, _)| &info.name);
    let is_ignored =
        |name: &&String| mapping.ignored.iter().any(|pattern| glob::matches(pattern, name));
    let unmapped = || rest().filter(|name| !is_ignored(name));
    if unmapped().next().is_some() {
        return Err(QuantizeError::UnmappedTensors {
            family: mapping.family,
            count: unmapped().count(),
            first: unmapped().take(SHOWN).cloned().collect(),
        });
    }
    Ok((resolved, rest().cloned().collect()))
}

fn find(
    mapping: &Mapping,
    checkpoint: &dyn Checkpoint,
    canonical: &Canonical,
) -> Result<usize, QuantizeError> {
    let name = mapping
        .names
        .source(canonical.layer, canonical.module, canonical.part)
        .unwrap_or_else(|| format!("counterpart of {}", canonical.module));
    let former = mapping.names.former_endings.iter().find_map(|(now, then)| {
        let stem = name.strip_suffix(now)?;
        checkpoint.find(&format!("{stem}{then}"))
    });
    checkpoint.find(&name).or(former).ok_or_else(|| QuantizeError::MissingTensor {
        canonical: canonical.name.clone(),
        looked_for: name,
    })
}

fn check(info: &TensorInfo, canonical: &Canonical) -> Result<(), QuantizeError> {
    if info.dims != canonical.dims {
        return Err(QuantizeError::Shape {
            name: info.name.clone(),
            found: info.dims.clone(),
            expected: canonical.dims.clone(),
        });
    }
    match info.dtype {
        DType::I64 | DType::I32 | DType::I16 | DType::I8 | DType::U8 | DType::Bool => {
            Err(QuantizeError::NotFloat { name: info.name.clone(), found: info.dtype.to_string() })
        }
        _ => Ok(()),
    }
}

/// Width of the heads of the first layer; families with permuted rows have one width.
fn head_dim(mapping: &Mapping) -> usize {
    let layer = mapping.spec.stacks.first().and_then(|stack| stack.layers.first());
    layer.map_or(2, |layer| layer.attention.head_dim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adjacent_pairs_by_hand() {
        let order = RowOrder::AdjacentPairs { head_dim: 6 };
        let rows: Vec<usize> = (0..12).map(|row| order.source_row(row)).collect();
        assert_eq!(rows, [0, 2, 4, 1, 3, 5, 6, 8, 10, 7, 9, 11]);
    }
}
