//! Biases by relative distance: learned ones by its bucket (arXiv:1910.10683, section 2.1), or
//! linear ones (arXiv:2108.12409).

use crate::ops::Ops;
use crate::weights::Vector;

/// What is added to attention scores.
#[derive(Clone, Debug)]
pub(crate) enum DistanceBias {
    Buckets(Buckets),
    /// The distance is subtracted, times a number for each head.
    Linear {
        slopes: Vec<f32>,
    },
}

impl DistanceBias {
    /// The learned biases, `[n_heads][n_buckets]`, where there are some.
    pub(crate) fn table<'a>(&self, ops: Ops<'a>) -> &'a [f32] {
        match self {
            Self::Buckets(buckets) => buckets.table.values(ops.file),
            Self::Linear { .. } => &[],
        }
    }

    /// Adds the biases of head `head` to the scores of the keys at `first ..`, as `query` sees them.
    pub(crate) fn add(
        &self,
        table: &[f32],
        head: usize,
        query: usize,
        first: usize,
        scores: &mut [f32],
    ) {
        match self {
            Self::Buckets(buckets) => buckets.add(table, head, query, first, scores),
            Self::Linear { slopes } => {
                for (key, score) in (first..).zip(scores) {
                    *score -= slopes[head] * key.abs_diff(query) as f32;
                }
            }
        }
    }
}

/// The table of a stack and which bucket a distance falls into.
#[derive(Clone, Debug)]
pub(crate) struct Buckets {
    /// `[n_heads][n_buckets]`
    table: Vector,
    n_buckets: usize,
    /// `[max_distance + 1]` bucket of each distance backwards; the last one stands for all beyond.
    by_distance: Vec<u16>,
    /// Where the buckets of later positions begin, if they have some of their own.
    ahead: Option<u16>,
}

impl Buckets {
    pub(crate) fn new(table: Vector, n_buckets: usize, max_distance: usize, two_way: bool) -> Self {
        let n = if two_way { n_buckets / 2 } else { n_buckets };
        let exact = n / 2;
        // Half of the buckets hold one distance each, the others grow by a constant factor.
        let bucket = |distance: usize| {
            if distance < exact {
                return distance;
            }
            let steps = (distance as f32 / exact as f32).ln()
                / ((max_distance as f64 / exact as f64).ln() as f32)
                * (n - exact) as f32;
            (exact + steps as usize).min(n - 1)
        };
        let by_distance = (0..=max_distance).map(|d| bucket(d) as u16).collect();
        Self { table, n_buckets, by_distance, ahead: two_way.then_some(n as u16) }
    }

    /// As [`DistanceBias::add`].
    fn add(&self, table: &[f32], head: usize, query: usize, first: usize, scores: &mut [f32]) {
        let biases = &table[head * self.n_buckets..][..self.n_buckets];
        let last = self.by_distance.len() - 1;
        for (key, score) in (first..).zip(scores) {
            let bucket = self.by_distance[key.abs_diff(query).min(last)];
            let ahead = if key > query { self.ahead.unwrap_or(0) } else { 0 };
            *score += biases[usize::from(bucket + ahead)];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The reference's buckets for 32 buckets up to 128, by its own code.
    #[test]
    fn distances_fall_where_the_reference_puts_them() {
        let one_way = Buckets::new(Vector { tensor: 0 }, 32, 128, false);
        let cases =
            [(0, 0), (15, 15), (16, 16), (20, 17), (40, 23), (64, 26), (127, 31), (128, 31)];
        for (distance, bucket) in cases {
            assert_eq!(one_way.by_distance[distance], bucket, "{distance}");
        }
        let two_way = Buckets::new(Vector { tensor: 0 }, 32, 128, true);
        let cases = [(0, 0), (7, 7), (8, 8), (16, 10), (32, 12), (64, 14), (91, 15), (128, 15)];
        for (distance, bucket) in cases {
            assert_eq!(two_way.by_distance[distance], bucket, "{distance}");
        }
        assert_eq!(two_way.ahead, Some(16));
    }

    #[test]
    fn later_keys_have_buckets_of_their_own() {
        let buckets = Buckets::new(Vector { tensor: 0 }, 4, 3, true);
        let table = [0.0, 1.0, 2.0, 3.0, 10.0, 11.0, 12.0, 13.0];
        let mut scores = [0.0; 5];
        buckets.add(&table, 1, 2, 0, &mut scores);
        assert_eq!(scores, [11.0, 11.0, 10.0, 13.0, 13.0]);
    }

    #[test]
    fn linear_biases_fall_on_both_sides() {
        let bias = DistanceBias::Linear { slopes: vec![1.0, 0.5] };
        let mut scores = [3.0; 4];
        bias.add(&[], 1, 2, 1, &mut scores);
        assert_eq!(scores, [2.5, 3.0, 2.5, 2.0]);
    }
}
