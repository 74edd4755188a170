//! When tokens were spoken: what chosen heads look at, smoothed, and the cheapest monotonic way through
//! it (dynamic time warping), as Whisper's authors tell it.

/// Frames of which the median is taken.
const MEDIAN_WIDTH: usize = 7;

/// Scores before the softmax, `[rows][heads][slots]`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scores<'a> {
    pub(super) values: &'a [f32],
    pub(super) n_heads: usize,
    pub(super) n_slots: usize,
}

impl Scores<'_> {
    fn n_rows(&self) -> usize {
        self.values.len() / (self.n_heads * self.n_slots).max(1)
    }

    /// How much each row attends to each of the first `n` slots, compared with the other rows: the mean
    /// over heads, `[rows][n]`.
    fn attended(&self, n: usize) -> Vec<f32> {
        let rows = self.n_rows();
        let mut mean = vec![0.0; rows * n];
        let mut weights = vec![0.0f32; rows * n];
        let mut smooth = vec![0.0; n];
        for head in 0..self.n_heads {
            for (row, out) in weights.chunks_exact_mut(n).enumerate() {
                let start = (row * self.n_heads + head) * self.n_slots;
                softmax(&self.values[start..start + n], out);
            }
            standardize(&mut weights, n);
            for (row, mean) in weights.chunks_exact(n).zip(mean.chunks_exact_mut(n)) {
                medians(row, &mut smooth);
                for (mean, x) in mean.iter_mut().zip(&smooth) {
                    *mean += x / self.n_heads as f32;
                }
            }
        }
        mean
    }

    /// For each row of `rows` the first of `n` slots at which it is spoken.
    pub(super) fn begins(&self, rows: std::ops::Range<usize>, n: usize) -> Vec<usize> {
        let n = n.min(self.n_slots);
        if n == 0 || rows.is_empty() || self.n_heads == 0 {
            return vec![0; rows.len()];
        }
        let attended = self.attended(n);
        warp(&attended[rows.start * n..rows.end * n], n)
    }
}

fn softmax(scores: &[f32], out: &mut [f32]) {
    let max = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for (out, score) in out.iter_mut().zip(scores) {
        *out = (score - max).exp();
        sum += *out;
    }
    out.iter_mut().for_each(|x| *x /= sum);
}

/// Each of the `n` columns less its mean, over its standard deviation.
fn standardize(weights: &mut [f32], n: usize) {
    let rows = (weights.len() / n) as f64;
    for column in 0..n {
        let values = || weights[column..].iter().step_by(n).map(|&x| f64::from(x));
        let mean = values().sum::<f64>() / rows;
        let deviation = (values().map(|x| (x - mean).powi(2)).sum::<f64>() / rows).sqrt();
        // A slot that all rows attend to alike says nothing.
        let scale = if deviation > 0.0 { 1.0 / deviation } else { 0.0 };
        for x in weights[column..].iter_mut().step_by(n) {
            *x = ((f64::from(*x) - mean) * scale) as f32;
        }
    }
}

/// The median around each value; beyond the ends lies the mirror image.
fn medians(row: &[f32], out: &mut [f32]) {
    const HALF: usize = MEDIAN_WIDTH / 2;
    let n = row.len();
    if n <= HALF {
        out.copy_from_slice(row);
        return;
    }
    let at = |i: isize| {
        let last = n as isize - 1;
        let inside = i.abs();
        row[if inside > last { 2 * last - inside } else { inside } as usize]
    };
    for (i, out) in out.iter_mut().enumerate() {
        let mut window = [0.0; MEDIAN_WIDTH];
        for (j, value) in window.iter_mut().enumerate() {
            *value = at(i as isize + j as isize - HALF as isize);
        }
        window.sort_unstable_by(f32::total_cmp);
        *out = window[HALF];
    }
}

/// A step of the way: to the next row and slot, the next row, the next slot.
const BOTH: u8 = 0;
const ROW: u8 = 1;
const SLOT: u8 = 2;

/// The way from the first row and slot to the last that gains most of `gain` `[rows][n]`: for each row
/// the slot at which the way comes to it.
fn warp(gain: &[f32], n: usize) -> Vec<usize> {
    let rows = gain.len() / n;
    let mut steps = vec![BOTH; rows * n];
    // Of the row before, shifted by one: nothing comes from outside.
    let mut above = vec![f32::INFINITY; n + 1];
    above[0] = 0.0;
    let mut costs = vec![f32::INFINITY; n + 1];
    for row in 0..rows {
        costs[0] = f32::INFINITY;
        for slot in 0..n {
            let (both, up, left) = (above[slot], above[slot + 1], costs[slot]);
            // Where two ways cost the same, the later slot goes on.
            let (cost, step) = if both < up && both < left {
                (both, BOTH)
            } else if up < both && up < left {
                (up, ROW)
            } else {
                (left, SLOT)
            };
            costs[slot + 1] = cost - gain[row * n + slot];
            steps[row * n + slot] = step;
        }
        std::mem::swap(&mut above, &mut costs);
    }
    let mut begins = vec![0; rows];
    let (mut row, mut slot) = (rows - 1, n - 1);
    loop {
        begins[row] = slot;
        // From the first row, and from the first slot, there is one way back.
        let step = match (row, slot) {
            (0, 0) => return begins,
            (0, _) => SLOT,
            (_, 0) => ROW,
            _ => steps[row * n + slot],
        };
        row -= usize::from(step != SLOT);
        slot -= usize::from(step != ROW);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_follows_what_is_gained() {
        // Three rows over six slots, each with its own two.
        let mut gain = vec![-0.1; 18];
        for (row, slots) in [(0, [0, 1]), (1, [2, 3]), (2, [4, 5])] {
            slots.iter().for_each(|slot| gain[row * 6 + slot] = 1.0);
        }
        assert_eq!(warp(&gain, 6), [0, 2, 4]);
        // Rows of which nothing is heard take no time.
        gain[6..12].fill(-0.1);
        let begins = warp(&gain, 6);
        assert!(begins[0] == 0 && begins[1] >= 2 && begins[2] >= 3, "{begins:?}");
        assert_eq!(warp(&[1.0; 4], 1), [0; 4]);
        assert_eq!(warp(&[1.0; 4], 4), [0]);
    }

    #[test]
    fn medians_mirror_the_ends() {
        let row = [9.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 0.0];
        let mut out = [0.0; 8];
        medians(&row, &mut out);
        // 3 2 1 [9] 1 2 3; … 4 5 6 [0] 6 5 4
        assert_eq!((out[0], out[3], out[7]), (2.0, 4.0, 5.0));
        let mut short = [0.0; 3];
        medians(&[3.0, 1.0, 2.0], &mut short);
        assert_eq!(short, [3.0, 1.0, 2.0]);
    }

    #[test]
    fn what_all_rows_attend_to_alike_says_nothing() {
        let mut weights = [1.0, 2.0, 1.0, 4.0];
        standardize(&mut weights, 2);
        assert_eq!(weights, [0.0, -1.0, 0.0, 1.0]);
    }
}
