//! How large what goes into each matrix is, column by column: what a quantizer weighs errors with.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::weights::Matrix;

/// Sums of squares of the inputs of matrices.
#[derive(Debug, Default)]
pub(crate) struct Moments(Mutex<BTreeMap<usize, Sums>>);

#[derive(Debug, Default)]
struct Sums {
    rows: u64,
    /// `[k]`
    squares: Vec<f64>,
}

impl Moments {
    /// Adds `m` rows of `k` values, `stride` apart in `x`, which all of `parts` read.
    pub(super) fn add(&self, parts: &[Matrix], x: &[f32], (m, k, stride): (usize, usize, usize)) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for part in parts {
            let sums = all.entry(part.tensor).or_default();
            sums.squares.resize(k, 0.0);
            sums.rows += m as u64;
            for row in 0..m {
                for (sum, &x) in sums.squares.iter_mut().zip(&x[row * stride..][..k]) {
                    *sum += f64::from(x) * f64::from(x);
                }
            }
        }
    }

    /// The mean square of each column `[k]`, by the matrix's place in the file's index.
    pub(crate) fn means(&self) -> BTreeMap<usize, Vec<f32>> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mean = |sums: &Sums| {
            sums.squares.iter().map(|&sum| (sum / sums.rows.max(1) as f64) as f32).collect()
        };
        all.iter().map(|(&tensor, sums)| (tensor, mean(sums))).collect()
    }
}
