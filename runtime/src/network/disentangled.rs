//! Positions that queries and keys meet beside one another (arXiv:2006.03654).

use crate::weights::Matrix;

/// The tables of a layer, and which of their rows a distance means.
#[derive(Clone, Debug)]
pub(crate) struct Disentangled {
    /// `[n_heads * 2 n_buckets, head_dim]` fp16: what keys meet.
    pub(crate) queries: Matrix,
    /// The same: what queries meet.
    pub(crate) keys: Matrix,
    n_buckets: usize,
    /// `[max_distance + 1]` bucket of each distance; beyond it is the last one.
    by_distance: Vec<u16>,
}

impl Disentangled {
    pub(crate) fn new([queries, keys]: [Matrix; 2], n_buckets: usize, max_distance: usize) -> Self {
        let bucket = |distance| bucket(distance, n_buckets, max_distance);
        let by_distance = (0..=max_distance).map(|d| bucket(d) as u16).collect();
        Self { queries, keys, n_buckets, by_distance }
    }

    /// Rows of a head in either table.
    pub(crate) fn rows(&self) -> usize {
        2 * self.n_buckets
    }

    /// The row for a query and a key at these positions.
    pub(crate) fn row(&self, query: usize, key: usize) -> usize {
        let known = self.by_distance.get(query.abs_diff(key));
        let bucket = known.map_or(self.n_buckets, |&bucket| usize::from(bucket));
        match key > query {
            true => self.n_buckets - bucket,
            false => (self.n_buckets + bucket).min(self.rows() - 1),
        }
    }
}

/// The bucket of a distance, at most `n_buckets`.
fn bucket(distance: usize, n_buckets: usize, max_distance: usize) -> usize {
    let exact = n_buckets / 2;
    if distance <= exact {
        return distance;
    }
    let ratio = (distance as f32 / exact as f32).ln()
        / (((max_distance - 1) as f64 / exact as f64) as f32).ln();
    let steps = (ratio * (exact - 1) as f32).ceil() as usize;
    (exact + steps).min(n_buckets)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By the reference's own code.
    #[test]
    fn distances_fall_where_the_reference_puts_them() {
        for (distance, expected) in
            [(0, 0), (4, 4), (5, 5), (6, 5), (7, 6), (9, 6), (12, 7), (15, 7), (16, 8), (30, 8)]
        {
            assert_eq!(bucket(distance, 8, 16), expected, "{distance}");
        }
        for (distance, expected) in BUCKETS_OF_512 {
            assert_eq!(bucket(distance, 256, 512), expected, "{distance}");
        }
    }

    const BUCKETS_OF_512: [(usize, usize); 8] = [
        (128, 128),
        (129, 129),
        (131, 131),
        (200, 169),
        (256, 192),
        (300, 207),
        (400, 233),
        (511, 255),
    ];

    #[test]
    fn rows_run_from_ahead_to_behind() {
        let matrix =
            Matrix { rows: 0, k: 0, group: None, minima: false, tensor: 0, bias: None, bytes: 0 };
        let positions = Disentangled::new([matrix, matrix], 8, 16);
        assert_eq!(positions.row(5, 5), 8);
        assert_eq!((positions.row(5, 3), positions.row(3, 5)), (10, 6));
        assert_eq!((positions.row(39, 0), positions.row(0, 39)), (15, 0));
    }
}
