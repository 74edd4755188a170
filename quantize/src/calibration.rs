//! What goes into the matrices of a model when it is used: errors weigh as much as their inputs.

use std::collections::BTreeMap;
use std::sync::Arc;

/// The mean square of each column of every matrix's input, as [`kinglet`'s
/// `Model::input_moments`](https://docs.rs/kinglet) gives it for some text. Clones share it.
#[derive(Clone, Debug)]
pub struct Calibration {
    name: String,
    moments: Arc<BTreeMap<String, Vec<f32>>>,
}

impl Calibration {
    /// Mean squares `[k]` by the canonical name of the matrix; `name` says where they are from, for the
    /// record in the file.
    pub fn new(name: impl Into<String>, moments: BTreeMap<String, Vec<f32>>) -> Self {
        Self { name: name.into(), moments: Arc::new(moments) }
    }

    /// Where it is from.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What an error in each of the `k` columns of a matrix weighs; nothing if it was not used. Columns
    /// that were hardly used weigh a little, so that they are not lost altogether.
    pub(crate) fn weights(&self, matrix: &str, k: usize) -> Option<Vec<f32>> {
        let moments = self.moments.get(matrix)?;
        let mean = moments.iter().map(|&m| f64::from(m)).sum::<f64>() / moments.len() as f64;
        let usable = moments.len() == k && mean.is_finite() && mean > 0.0;
        // Their scale means nothing, so that they need not be near the limits of f32.
        usable.then(|| moments.iter().map(|&m| (f64::from(m) / mean) as f32 + 0.01).collect())
    }
}

/// Equal where it is the same one.
impl PartialEq for Calibration {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && Arc::ptr_eq(&self.moments, &other.moments)
    }
}

impl Eq for Calibration {}
