//! Checkpoints whose names all carry the mark of how the model was trained: compiled, spread over
//! machines, or held by another module.

use std::collections::HashSet;
use std::path::Path;

use kinglet_formats::checkpoint::{Checkpoint, CheckpointError, Joined, TensorInfo, TensorProblem};

/// What a compiled module puts into the names of its parts.
const COMPILED: &str = "_orig_mod.";
/// What modules that hold a model put before all of its names.
const HOLDERS: [&str; 5] = ["module.", "inner.", "0.auto_model.", "auto_model.", MODEL];
const MODEL: &str = "model.";

/// The checkpoint under the names that its family knows.
pub(super) fn plain(
    folder: &Path,
    inner: Box<dyn Checkpoint>,
) -> Result<Box<dyn Checkpoint>, CheckpointError> {
    let uncompiled = |tensor: &TensorInfo| tensor.name.replace(COMPILED, "");
    let names: Vec<String> = inner.tensors().iter().map(uncompiled).collect();
    let mut cut = 0;
    for holder in HOLDERS {
        // Of the model inside, other names begin so too: only a doubled one is too many.
        let doubled = format!("{holder}{holder}");
        let is_doubled =
            holder != MODEL || names.iter().any(|name| name[cut..].starts_with(&doubled));
        if is_doubled && names.iter().all(|name| name[cut..].starts_with(holder)) {
            cut += holder.len();
        }
    }
    let is_same = names.iter().zip(inner.tensors()).all(|(name, tensor)| *name == tensor.name);
    let distinct: HashSet<&str> = names.iter().map(|name| &name[cut..]).collect();
    if is_same && cut == 0 || distinct.len() != names.len() {
        return Ok(inner);
    }
    let renamed = |_, tensor: &TensorInfo| Some(uncompiled(tensor).split_off(cut));
    let renamed = Joined::new(vec![inner], renamed).map_err(|tensor| CheckpointError::Tensor {
        file: folder.to_owned(),
        tensor,
        problem: TensorProblem::Duplicate,
    })?;
    Ok(Box::new(renamed))
}
