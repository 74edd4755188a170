//! The weights of a model and of the modules behind it, each in a file of its own, as one checkpoint.

use std::path::Path;

use kinglet_formats::checkpoint::{Checkpoint, CheckpointError, Joined, TensorInfo, TensorProblem};

/// `model` and, under the names that the first head's chain has for them, the tensors of the `dense`
/// layers behind it, which `modules` lists.
pub(super) fn with_dense(
    modules: &Path,
    model: Box<dyn Checkpoint>,
    dense: Vec<Box<dyn Checkpoint>>,
) -> Result<Box<dyn Checkpoint>, CheckpointError> {
    if dense.is_empty() {
        return Ok(model);
    }
    let name = |part: usize, tensor: &TensorInfo| {
        Some(match (part.checked_sub(1), tensor.name.strip_prefix("linear.")) {
            (None, _) => tensor.name.clone(),
            (Some(layer), Some(own)) => format!("heads.0.dense.{layer}.{own}"),
            (Some(layer), None) => format!("dense.{layer}.{}", tensor.name),
        })
    };
    let joined = Joined::new(std::iter::once(model).chain(dense).collect(), name);
    let joined = joined.map_err(|tensor| CheckpointError::Tensor {
        file: modules.to_owned(),
        tensor,
        problem: TensorProblem::Duplicate,
    })?;
    Ok(Box::new(joined))
}
