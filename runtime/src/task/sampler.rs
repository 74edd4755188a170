//! Choosing the next token from logits.

use crate::error::Error;

/// Settings of the sampler, in the order in which they act.
#[derive(Clone, Debug, PartialEq)]
pub struct SamplerOptions {
    /// Divides (multiplies, if negative) the logits of recent tokens; 1 is off.
    pub repeat_penalty: f32,
    /// How many recent tokens count as repeated.
    pub repeat_last_n: usize,
    /// Taken from the logits of tokens that are among the recent ones; 0 is off.
    pub presence_penalty: f32,
    /// Taken from the logits of recent tokens as often as they are among them; 0 is off.
    pub frequency_penalty: f32,
    /// Added to the logits of these tokens; `-inf` forbids one.
    pub logit_bias: Vec<(u32, f32)>,
    /// Keep the `k` likeliest tokens; 0 keeps all.
    pub top_k: usize,
    /// Keep the likeliest tokens that together reach this probability; 1 keeps all.
    pub top_p: f32,
    /// Keep tokens at least this fraction as likely as the likeliest; 0 keeps all.
    pub min_p: f32,
    /// Logits are divided by this; 0 always takes the likeliest token.
    pub temperature: f32,
    /// Start of the random sequence.
    pub seed: u64,
}

impl Default for SamplerOptions {
    fn default() -> Self {
        Self {
            repeat_penalty: 1.0,
            repeat_last_n: 64,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            logit_bias: Vec::new(),
            top_k: 40,
            top_p: 0.95,
            min_p: 0.05,
            temperature: 0.8,
            seed: 0,
        }
    }
}

/// Draws tokens; allocates only when created.
#[derive(Clone, Debug)]
pub struct Sampler {
    options: SamplerOptions,
    random: SplitMix64,
    /// `(logit or probability, token)` of the tokens still in play.
    candidates: Vec<(f32, u32)>,
    /// `(logit, token)` of the tokens whose logits are changed for a moment.
    changed: Vec<(f32, u32)>,
    /// The recent tokens in the order of their ids.
    recent: Vec<u32>,
}

impl Sampler {
    /// A sampler for a vocabulary of `vocab_size` tokens.
    ///
    /// # Errors
    /// If an option is outside its range.
    pub fn new(options: SamplerOptions, vocab_size: usize) -> Result<Self, Error> {
        let checks = [
            ("temperature", options.temperature, options.temperature >= 0.0, "0 or more"),
            ("top_p", options.top_p, (0.0..=1.0).contains(&options.top_p), "between 0 and 1"),
            ("min_p", options.min_p, (0.0..=1.0).contains(&options.min_p), "between 0 and 1"),
            ("repeat_penalty", options.repeat_penalty, options.repeat_penalty > 0.0, "above 0"),
            ("presence_penalty", options.presence_penalty, true, "a finite number"),
            ("frequency_penalty", options.frequency_penalty, true, "a finite number"),
        ];
        for (name, value, good, range) in checks {
            if !good || !value.is_finite() {
                return Err(Error::InvalidOption { name, value: value.to_string(), range });
            }
        }
        if let Some((_, bias)) = options.logit_bias.iter().find(|(_, bias)| bias.is_nan()) {
            return Err(Error::InvalidOption {
                name: "logit_bias",
                value: bias.to_string(),
                range: "a number",
            });
        }
        let room = if options.temperature == 0.0 { 0 } else { vocab_size };
        let random = SplitMix64(options.seed);
        let mut candidates = Vec::new();
        let bytes = (room + LANES).saturating_mul(size_of::<(f32, u32)>());
        candidates
            .try_reserve_exact(room + LANES)
            .map_err(|_| Error::OutOfMemory { what: "the candidates of a sampler", bytes })?;
        Ok(Self {
            options,
            random,
            candidates,
            changed: Vec::with_capacity(64),
            recent: Vec::with_capacity(64),
        })
    }

    /// The next token after `recent` tokens. `logits` are as they were afterwards.
    pub fn sample(&mut self, logits: &mut [f32], recent: &[u32]) -> u32 {
        self.penalize(logits, recent);
        let token = self.choose(logits);
        // The last change first, as a token may have been changed twice.
        for (logit, token) in self.changed.drain(..).rev() {
            logits[token as usize] = logit;
        }
        token
    }

    fn choose(&mut self, logits: &[f32]) -> u32 {
        if self.options.temperature == 0.0 {
            return argmax(logits);
        }
        self.candidates.clear();
        match self.options.top_k {
            k if k == 0 || k >= logits.len() => {
                self.candidates.extend(logits.iter().copied().zip(0..))
            }
            k => self.keep_top_k(logits, k),
        }
        // Likeliest first; equal ones by id, so that the order is total.
        self.candidates.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        // What is forbidden is not drawn, however the last one is rounded.
        let possible = self.candidates.partition_point(|c| c.0 > f32::NEG_INFINITY);
        self.candidates.truncate(possible.max(1));
        self.keep_top_p();
        self.keep_min_p();
        self.draw()
    }

    fn penalize(&mut self, logits: &mut [f32], recent: &[u32]) {
        let SamplerOptions { repeat_penalty, presence_penalty, frequency_penalty, .. } =
            self.options;
        for &(token, bias) in &self.options.logit_bias {
            if let Some(logit) = logits.get_mut(token as usize) {
                self.changed.push((*logit, token));
                *logit += bias;
            }
        }
        if (repeat_penalty, presence_penalty, frequency_penalty) == (1.0, 0.0, 0.0) {
            return;
        }
        let recent = &recent[recent.len().saturating_sub(self.options.repeat_last_n)..];
        // In order, so that a long window costs no more than its length.
        self.recent.clear();
        self.recent.extend_from_slice(recent);
        self.recent.sort_unstable();
        for same in self.recent.chunk_by(|a, b| a == b) {
            let (token, times) = (same[0], same.len() as f32);
            if let Some(logit) = logits.get_mut(token as usize) {
                self.changed.push((*logit, token));
                let less =
                    if *logit > 0.0 { *logit / repeat_penalty } else { *logit * repeat_penalty };
                *logit = less - times * frequency_penalty - presence_penalty;
            }
        }
    }

    /// One pass with a growing threshold: most runs of logits fail one comparison.
    fn keep_top_k(&mut self, logits: &[f32], k: usize) {
        let room = (4 * k).max(64);
        let mut threshold = f32::NEG_INFINITY;
        for (run, first) in logits.chunks(LANES).zip((0..).step_by(LANES)) {
            if max(run) < threshold {
                continue;
            }
            for candidate in run.iter().copied().zip(first..) {
                if candidate.0 >= threshold {
                    self.candidates.push(candidate);
                }
            }
            if self.candidates.len() >= room {
                threshold = self.cut(k);
            }
        }
        if self.candidates.len() > k {
            self.cut(k);
        }
    }

    /// Keeps the `k` best candidates and returns the least of their logits.
    fn cut(&mut self, k: usize) -> f32 {
        self.candidates
            .select_nth_unstable_by(k - 1, |a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        self.candidates.truncate(k);
        self.candidates[k - 1].0
    }

    fn keep_top_p(&mut self) {
        if self.options.top_p >= 1.0 {
            return;
        }
        let max = self.candidates[0].0;
        let total: f64 = self.candidates.iter().map(|c| f64::from((c.0 - max).exp())).sum();
        let goal = f64::from(self.options.top_p) * total;
        let mut sum = 0.0;
        let kept = self.candidates.iter().position(|c| {
            sum += f64::from((c.0 - max).exp());
            sum >= goal
        });
        self.candidates.truncate(kept.map_or(self.candidates.len(), |last| last + 1));
    }

    fn keep_min_p(&mut self) {
        if self.options.min_p > 0.0 {
            let least = self.candidates[0].0 + self.options.min_p.ln();
            self.candidates.retain(|c| c.0 >= least);
        }
    }

    fn draw(&mut self) -> u32 {
        let max = self.candidates[0].0;
        let mut total = 0.0;
        for (weight, _) in &mut self.candidates {
            *weight = ((*weight - max) / self.options.temperature).exp();
            total += f64::from(*weight);
        }
        let mut rest = self.random.unit() * total;
        for &(weight, token) in &self.candidates {
            rest -= f64::from(weight);
            if rest < 0.0 {
                return token;
            }
        }
        self.candidates[self.candidates.len() - 1].1
    }
}

/// Values compared at a time.
const LANES: usize = 16;

/// Index of the largest value, the first of equals; NaN is never the largest.
pub fn argmax(values: &[f32]) -> u32 {
    let largest = max(values);
    values.iter().position(|&value| value == largest).unwrap_or(0) as u32
}

/// The largest value, in a form that the compiler makes vectors of.
fn max(values: &[f32]) -> f32 {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (runs, rest) = values.as_chunks::<LANES>();
    for run in runs {
        for (lane, &value) in lanes.iter_mut().zip(run) {
            *lane = larger(*lane, value);
        }
    }
    lanes.iter().chain(rest).copied().fold(f32::NEG_INFINITY, larger)
}

/// Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (2014).
#[derive(Clone, Debug)]
struct SplitMix64(u64);

impl SplitMix64 {
    /// Uniform in `[0, 1)`.
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampler(options: SamplerOptions) -> Sampler {
        Sampler::new(options, 100).unwrap()
    }

    fn open() -> SamplerOptions {
        SamplerOptions { top_k: 0, top_p: 1.0, min_p: 0.0, temperature: 1.0, ..Default::default() }
    }

    fn counts(options: SamplerOptions, logits: &[f32]) -> Vec<usize> {
        let mut sampler = sampler(options);
        let mut counts = vec![0; logits.len()];
        for _ in 0..10_000 {
            counts[sampler.sample(&mut logits.to_vec(), &[]) as usize] += 1;
        }
        counts
    }

    #[test]
    fn draws_follow_the_softmax() {
        let logits: Vec<f32> = [0.1f32, 0.2, 0.3, 0.4].iter().map(|p| p.ln()).collect();
        for (count, p) in counts(open(), &logits).into_iter().zip([0.1, 0.2, 0.3, 0.4]) {
            // Four standard deviations of a binomial are below 200.
            assert!((count as f64 - 10_000.0 * p).abs() < 200.0, "{count} for {p}");
        }
    }

    #[test]
    fn filters_keep_what_they_should() {
        let logits: Vec<f32> = [0.1f32, 0.2, 0.3, 0.4].iter().map(|p| p.ln()).collect();
        let kept =
            |options| -> Vec<bool> { counts(options, &logits).iter().map(|&c| c > 0).collect() };
        assert_eq!(kept(SamplerOptions { top_k: 2, ..open() }), [false, false, true, true]);
        assert_eq!(kept(SamplerOptions { top_p: 0.65, ..open() }), [false, false, true, true]);
        assert_eq!(kept(SamplerOptions { top_p: 0.75, ..open() }), [false, true, true, true]);
        assert_eq!(kept(SamplerOptions { min_p: 0.6, ..open() }), [false, false, true, true]);
        assert_eq!(
            kept(SamplerOptions { temperature: 0.0, ..open() }),
            [false, false, false, true]
        );
    }

    #[test]
    fn top_k_finds_the_best_of_many() {
        let logits: Vec<f32> = (0..5000).map(|i| ((i * 7919) % 5000) as f32).collect();
        let mut s = Sampler::new(SamplerOptions { top_k: 3, ..open() }, 5000).unwrap();
        s.sample(&mut logits.clone(), &[]);
        let mut sorted = logits.clone();
        sorted.sort_by(|a, b| b.total_cmp(a));
        for _ in 0..100 {
            let token = s.sample(&mut logits.clone(), &[]);
            assert!(sorted[..3].contains(&logits[token as usize]));
        }
    }

    #[test]
    fn repeated_tokens_are_penalized_once() {
        let options =
            SamplerOptions { repeat_penalty: 2.0, temperature: 0.0, ..Default::default() };
        let mut logits = vec![1.5, 2.0, -1.0];
        // 2 becomes 1, once, and the model's logits are left as they were.
        assert_eq!(sampler(options).sample(&mut logits, &[1, 1, 2]), 0);
        assert_eq!(logits, [1.5, 2.0, -1.0]);
        let options =
            SamplerOptions { repeat_penalty: 1.3, temperature: 0.0, ..Default::default() };
        assert_eq!(sampler(options).sample(&mut logits, &[1, 1, 2]), 1);
    }

    #[test]
    fn biases_and_penalties_of_presence_and_frequency() {
        let greedy = SamplerOptions { temperature: 0.0, ..Default::default() };
        let mut logits = vec![1.0, 2.0, 3.0];
        let mut first = |options| sampler(options).sample(&mut logits, &[2, 2, 1]);
        let presence_penalty = 1.5;
        assert_eq!(first(SamplerOptions { presence_penalty, ..greedy.clone() }), 2);
        // 3 - 2 * 1.5, 2 - 1.5: the first token is left.
        let frequency_penalty = 1.5;
        assert_eq!(first(SamplerOptions { frequency_penalty, ..greedy.clone() }), 0);
        let logit_bias = vec![(2, f32::NEG_INFINITY), (0, 5.0), (0, -4.5), (7, 100.0)];
        assert_eq!(first(SamplerOptions { logit_bias, ..greedy }), 1);
        assert_eq!(logits, [1.0, 2.0, 3.0]);
    }

    #[test]
    fn argmax_finds_the_first_of_the_largest() {
        for n in [1, 15, 16, 17, 100] {
            for best in 0..n {
                let mut values: Vec<f32> = (0..n).map(|i| -((i * 31 % 7) as f32)).collect();
                values[best] = 5.0;
                values[n - 1] = if best < n - 1 { 5.0 } else { values[n - 1] };
                assert_eq!(argmax(&values), best as u32);
            }
        }
        assert_eq!(argmax(&[f32::NAN, 1.0, f32::NAN]), 1);
        assert_eq!(argmax(&[f32::NAN]), 0);
    }

    #[test]
    fn same_seed_same_tokens() {
        let logits: Vec<f32> = (0..100).map(|i| (i % 10) as f32 / 3.0).collect();
        let draw = |seed| -> Vec<u32> {
            let mut s = sampler(SamplerOptions { seed, ..open() });
            (0..50).map(|_| s.sample(&mut logits.clone(), &[])).collect()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }

    #[test]
    fn odd_options_are_refused_by_name() {
        for (options, name) in [
            (SamplerOptions { temperature: -1.0, ..open() }, "temperature"),
            (SamplerOptions { temperature: f32::NAN, ..open() }, "temperature"),
            (SamplerOptions { top_p: 1.5, ..open() }, "top_p"),
            (SamplerOptions { repeat_penalty: 0.0, ..open() }, "repeat_penalty"),
        ] {
            let error = Sampler::new(options, 10).unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
        }
    }
}
