//! The tokens still in play, and the stages that leave some of them out.

use super::options::{DynamicTemperature, Xtc};
use super::random::SplitMix64;
use super::{LANES, argmax, max};

/// `(logit, token)`.
pub(super) type Candidate = (f32, u32);

/// Likeliest first; equal ones by id, so that the order is total.
fn likelier(a: &Candidate, b: &Candidate) -> std::cmp::Ordering {
    b.0.total_cmp(&a.0).then(a.1.cmp(&b.1))
}

#[derive(Clone, Debug)]
pub(super) struct Candidates {
    list: Vec<Candidate>,
    sorted: bool,
}

impl Candidates {
    /// With room for so many.
    pub(super) fn with_capacity(n: usize) -> Result<Self, std::collections::TryReserveError> {
        let mut list = Vec::new();
        list.try_reserve_exact(n)?;
        Ok(Self { list, sorted: false })
    }

    /// Takes all of the vocabulary.
    pub(super) fn take_all(&mut self, logits: &[f32]) {
        self.sorted = false;
        self.list.clear();
        self.list.extend(logits.iter().copied().zip(0..));
        self.leave_out_forbidden(logits);
    }

    /// Takes the `k` likeliest of the vocabulary: one pass with a growing threshold, as most runs
    /// of logits fail one comparison.
    pub(super) fn take_top_k(&mut self, logits: &[f32], k: usize) {
        self.sorted = false;
        self.list.clear();
        let room = (4 * k).max(64);
        let mut threshold = f32::NEG_INFINITY;
        for (run, first) in logits.chunks(LANES).zip((0..).step_by(LANES)) {
            if max(run) < threshold {
                continue;
            }
            for candidate in run.iter().copied().zip(first..) {
                if candidate.0 >= threshold {
                    self.list.push(candidate);
                }
            }
            if self.list.len() >= room {
                self.top_k(k);
                threshold = self.list[k - 1].0;
            }
        }
        self.top_k(k);
        self.leave_out_forbidden(logits);
    }

    /// What is forbidden is not drawn, however the last one is rounded.
    fn leave_out_forbidden(&mut self, logits: &[f32]) {
        self.list.retain(|candidate| candidate.0 > f32::NEG_INFINITY);
        if self.list.is_empty() {
            self.list.push((0.0, argmax(logits)));
        }
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Candidate> {
        self.sorted = false;
        self.list.iter_mut()
    }

    fn sort(&mut self) {
        if !self.sorted {
            self.list.sort_unstable_by(likelier);
            self.sorted = true;
        }
    }

    fn largest(&self) -> f32 {
        match self.sorted {
            true => self.list[0].0,
            false => self.list.iter().fold(f32::NEG_INFINITY, |most, c| most.max(c.0)),
        }
    }

    /// Keeps the `k` likeliest, of which the last one is the least likely.
    pub(super) fn top_k(&mut self, k: usize) {
        if self.list.len() > k {
            if !self.sorted {
                self.list.select_nth_unstable_by(k - 1, likelier);
            }
            self.list.truncate(k);
        }
    }

    pub(super) fn top_p(&mut self, p: f32) {
        self.sort();
        let max = self.list[0].0;
        let total: f64 = self.list.iter().map(|c| f64::from((c.0 - max).exp())).sum();
        let goal = f64::from(p) * total;
        let mut sum = 0.0;
        let kept = self.list.iter().position(|c| {
            sum += f64::from((c.0 - max).exp());
            sum >= goal
        });
        self.list.truncate(kept.map_or(self.list.len(), |last| last + 1));
    }

    pub(super) fn min_p(&mut self, p: f32) {
        let least = self.largest() + p.ln();
        self.list.retain(|c| c.0 >= least);
    }

    pub(super) fn top_n_sigma(&mut self, n: f32) {
        let count = self.list.len() as f64;
        let mean = self.list.iter().map(|c| f64::from(c.0)).sum::<f64>() / count;
        let squares = self.list.iter().map(|c| (f64::from(c.0) - mean).powi(2)).sum::<f64>();
        let least = f64::from(self.largest()) - f64::from(n) * (squares / count).sqrt();
        self.list.retain(|c| f64::from(c.0) >= least);
    }

    pub(super) fn typical_p(&mut self, p: f32) {
        let (max, total) = self.softmax();
        let surprise = |c: &Candidate| total.ln() - f64::from(c.0 - max);
        let entropy: f64 = self.list.iter().map(|c| (-surprise(c)).exp() * surprise(c)).sum();
        let distance = |c: &Candidate| (surprise(c) - entropy).abs();
        // Among equally typical ones the likelier first.
        self.list.sort_unstable_by(|a, b| {
            distance(a).total_cmp(&distance(b)).then_with(|| likelier(a, b))
        });
        let mut sum = 0.0;
        let kept = self.list.iter().position(|c| {
            sum += (-surprise(c)).exp();
            sum > f64::from(p)
        });
        self.list.truncate(kept.map_or(self.list.len(), |last| last + 1));
        self.sorted = false;
    }

    pub(super) fn xtc(&mut self, xtc: Xtc, random: &mut SplitMix64) {
        if self.list.len() < 2 || xtc.threshold > 0.5 || random.unit() >= f64::from(xtc.probability)
        {
            return;
        }
        self.sort();
        let (max, total) = self.softmax();
        let likely =
            |c: &Candidate| f64::from((c.0 - max).exp()) >= f64::from(xtc.threshold) * total;
        let n_likely = self.list.partition_point(likely);
        self.list.drain(..n_likely.saturating_sub(1));
    }

    /// Divides logits, the largest of which becomes 0. At 0, the largest is all that stays.
    pub(super) fn temperature(&mut self, temperature: f32) {
        if temperature == 0.0 {
            self.sort();
            self.list.truncate(1);
            return;
        }
        let max = self.largest();
        for (logit, _) in &mut self.list {
            *logit = (*logit - max) / temperature;
        }
    }

    /// The temperature for these candidates: the higher, the closer they are to equal chances.
    pub(super) fn dynamic_temperature(&self, middle: f32, dynamic: DynamicTemperature) -> f32 {
        if self.list.len() < 2 {
            return 1.0;
        }
        let (max, total) = self.softmax();
        let surprise = |c: &Candidate| total.ln() - f64::from(c.0 - max);
        let entropy: f64 = self.list.iter().map(|c| (-surprise(c)).exp() * surprise(c)).sum();
        let share = (entropy / (self.list.len() as f64).ln()) as f32;
        let least = (middle - dynamic.range).max(0.0);
        least + (middle + dynamic.range - least) * share.powf(dynamic.exponent)
    }

    /// Keeps the likeliest ones whose surprise is at most `mu` bits, one at least.
    pub(super) fn surprise_at_most(&mut self, mu: f64) {
        self.sort();
        let (max, total) = self.softmax();
        let bits = |c: &Candidate| total.log2() - f64::from(c.0 - max) * std::f64::consts::LOG2_E;
        let kept = self.list.partition_point(|c| bits(c) <= mu);
        self.list.truncate(kept.max(1));
    }

    /// How fast probabilities fall with the rank: the exponent of Zipf's law, from the first
    /// `n` ranks.
    pub(super) fn zipf_exponent(&mut self, n: usize) -> f64 {
        self.sort();
        let (mut products, mut squares) = (0.0, 0.0);
        for (rank, pair) in (1..n).zip(self.list.windows(2)) {
            let ranks = ((rank + 1) as f64 / rank as f64).ln();
            products += ranks * f64::from(pair[0].0 - pair[1].0);
            squares += ranks * ranks;
        }
        products / squares
    }

    /// The largest logit, and the sum of `exp(logit - largest)`.
    fn softmax(&self) -> (f32, f64) {
        let max = self.largest();
        (max, self.list.iter().map(|c| f64::from((c.0 - max).exp())).sum())
    }

    /// Draws a token; also its probability among these.
    pub(super) fn draw(&mut self, random: &mut SplitMix64) -> (u32, f64) {
        self.sort();
        let (max, total) = self.softmax();
        let mut rest = random.unit() * total;
        for &(logit, token) in &self.list {
            let weight = f64::from((logit - max).exp());
            rest -= weight;
            if rest < 0.0 {
                return (token, weight / total);
            }
        }
        let (logit, token) = self.list[self.list.len() - 1];
        (token, f64::from((logit - max).exp()) / total)
    }

    /// `(token, probability)`, likeliest first.
    pub(super) fn distribution(&mut self) -> Vec<(u32, f32)> {
        self.sort();
        let (max, total) = self.softmax();
        let share = |c: &Candidate| (c.1, (f64::from((c.0 - max).exp()) / total) as f32);
        self.list.iter().map(share).collect()
    }
}
