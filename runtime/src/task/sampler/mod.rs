//! Choosing the next token from logits.

mod candidates;
mod dry;
mod mirostat;
mod options;
mod random;
#[cfg(test)]
mod tests;

use candidates::Candidates;
use dry::{Breakers, Repetitions};
use mirostat::Level;
pub use options::{
    Dry, DynamicTemperature, Mirostat, MirostatVersion, SamplerExtras, SamplerOptions,
    SamplerStage, Xtc,
};
use random::SplitMix64;

use crate::error::Error;
use crate::model::Model;

/// Draws tokens; allocates only when created.
#[derive(Clone, Debug)]
pub struct Sampler {
    options: SamplerOptions,
    random: SplitMix64,
    candidates: Candidates,
    breakers: Breakers,
    repetitions: Repetitions,
    level: Option<Level>,
    /// `(logit, token)` of the tokens whose logits are changed for a moment.
    changed: Vec<(f32, u32)>,
    /// The recent tokens in the order of their ids.
    recent: Vec<u32>,
}

impl Sampler {
    /// A sampler for a vocabulary of `vocab_size` tokens. It knows nothing of texts, so that
    /// [`Dry::breakers`] end nothing; [`Sampler::for_model`] does.
    ///
    /// # Errors
    /// If an option is outside its range.
    pub fn new(options: SamplerOptions, vocab_size: usize) -> Result<Self, Error> {
        options.check()?;
        let room = if options.is_greedy() { 0 } else { vocab_size + LANES };
        let bytes = room.saturating_mul(size_of::<(f32, u32)>());
        let candidates = Candidates::with_capacity(room)
            .map_err(|_| Error::OutOfMemory { what: "the candidates of a sampler", bytes })?;
        Ok(Self {
            random: SplitMix64(options.seed),
            candidates,
            breakers: Breakers::default(),
            repetitions: Repetitions::default(),
            level: options.extras.mirostat.map(Level::new),
            changed: Vec::with_capacity(64),
            recent: Vec::with_capacity(64),
            options,
        })
    }

    /// A sampler for the vocabulary of `model`.
    ///
    /// # Errors
    /// If an option is outside its range.
    pub fn for_model(options: SamplerOptions, model: &Model) -> Result<Self, Error> {
        let breakers = Breakers::of(&options.extras.dry, model.tokenizer());
        Ok(Self { breakers, ..Self::new(options, model.vocab_size())? })
    }

    /// The next token after `recent` tokens. `logits` are as they were afterwards.
    pub fn sample(&mut self, logits: &mut [f32], recent: &[u32]) -> u32 {
        self.add_biases(logits);
        let token = if self.options.is_greedy() {
            if self.level.is_none() {
                self.penalize_logits(logits, recent);
            }
            argmax(logits)
        } else {
            self.keep(logits, recent);
            let (token, probability) = self.candidates.draw(&mut self.random);
            if let Some(level) = &mut self.level {
                level.learn(probability);
            }
            token
        };
        self.restore(logits);
        token
    }

    /// What [`Sampler::sample`] would draw from: `(token, probability)`, likeliest first.
    pub fn distribution(&mut self, logits: &mut [f32], recent: &[u32]) -> Vec<(u32, f32)> {
        self.add_biases(logits);
        self.keep(logits, recent);
        self.restore(logits);
        self.candidates.distribution()
    }

    /// Leaves the candidates that may be drawn, with the logits that they then have.
    fn keep(&mut self, logits: &mut [f32], recent: &[u32]) {
        let SamplerOptions { top_k, top_p, min_p, temperature, .. } = self.options;
        if let Some(level) = &self.level {
            self.candidates.take_all(logits);
            self.candidates.temperature(temperature);
            return level.keep(&mut self.candidates, logits.len());
        }
        // While no token has been left out, logits are changed where they are.
        let mut taken = false;
        for index in 0..self.options.extras.order.len() {
            let extras = &self.options.extras;
            let stage = extras.order[index];
            let active = match stage {
                SamplerStage::Penalties | SamplerStage::Dry => {
                    match taken {
                        false => self.penalize(stage, logits, recent),
                        true => self.penalize_candidates(stage, recent),
                    }
                    continue;
                }
                SamplerStage::TopK => {
                    if !taken && (1..logits.len()).contains(&top_k) {
                        self.candidates.take_top_k(logits, top_k);
                        taken = true;
                        continue;
                    }
                    top_k > 0
                }
                SamplerStage::TopNSigma => extras.top_n_sigma > 0.0,
                SamplerStage::TypicalP => extras.typical_p < 1.0,
                SamplerStage::TopP => top_p < 1.0,
                SamplerStage::MinP => min_p > 0.0,
                SamplerStage::Xtc => extras.xtc.probability > 0.0,
                SamplerStage::Temperature => true,
            };
            if !active {
                continue;
            }
            if !taken {
                self.candidates.take_all(logits);
                taken = true;
            }
            let candidates = &mut self.candidates;
            match stage {
                SamplerStage::Penalties | SamplerStage::Dry => {}
                SamplerStage::TopNSigma => candidates.top_n_sigma(extras.top_n_sigma),
                SamplerStage::TopK => candidates.top_k(top_k),
                SamplerStage::TypicalP => candidates.typical_p(extras.typical_p),
                SamplerStage::TopP => candidates.top_p(top_p),
                SamplerStage::MinP => candidates.min_p(min_p),
                SamplerStage::Xtc => candidates.xtc(extras.xtc, &mut self.random),
                SamplerStage::Temperature => {
                    let dynamic = extras.dynamic_temperature;
                    candidates.temperature(match dynamic.range > 0.0 {
                        true => candidates.dynamic_temperature(temperature, dynamic),
                        false => temperature,
                    });
                }
            }
        }
        if !taken {
            self.candidates.take_all(logits);
        }
    }

    fn add_biases(&mut self, logits: &mut [f32]) {
        for &(token, bias) in &self.options.logit_bias {
            if let Some(logit) = logits.get_mut(token as usize) {
                self.changed.push((*logit, token));
                *logit += bias;
            }
        }
    }

    /// Makes all logits again what they were.
    fn restore(&mut self, logits: &mut [f32]) {
        // The last change first, as a token may have been changed twice.
        for (logit, token) in self.changed.drain(..).rev() {
            logits[token as usize] = logit;
        }
    }

    /// The stages that change logits, in their order.
    fn penalize_logits(&mut self, logits: &mut [f32], recent: &[u32]) {
        for index in 0..self.options.extras.order.len() {
            let stage = self.options.extras.order[index];
            if stage.penalizes() {
                self.penalize(stage, logits, recent);
            }
        }
    }

    fn penalize(&mut self, stage: SamplerStage, logits: &mut [f32], recent: &[u32]) {
        let Self { options, breakers, repetitions, changed, .. } = self;
        let mut change = |token: u32, change: &dyn Fn(f32) -> f32| {
            if let Some(logit) = logits.get_mut(token as usize) {
                changed.push((*logit, token));
                *logit = change(*logit);
            }
        };
        if stage == SamplerStage::Dry && options.extras.dry.multiplier > 0.0 {
            for (token, penalty) in repetitions.penalties(&options.extras.dry, breakers, recent) {
                change(token, &|logit| logit - penalty);
            }
        }
        if stage == SamplerStage::Penalties && options.penalizes() {
            in_order(&mut self.recent, recent, options.repeat_last_n);
            for same in self.recent.chunk_by(|a, b| a == b) {
                change(same[0], &|logit| options.penalized(logit, same.len()));
            }
        }
    }

    /// The same where tokens have been left out.
    fn penalize_candidates(&mut self, stage: SamplerStage, recent: &[u32]) {
        let Self { options, breakers, repetitions, .. } = self;
        if stage == SamplerStage::Dry && options.extras.dry.multiplier > 0.0 {
            for (token, penalty) in repetitions.penalties(&options.extras.dry, breakers, recent) {
                if let Some(candidate) = self.candidates.iter_mut().find(|c| c.1 == token) {
                    candidate.0 -= penalty;
                }
            }
        }
        if stage == SamplerStage::Penalties && options.penalizes() {
            in_order(&mut self.recent, recent, options.repeat_last_n);
            for (logit, token) in self.candidates.iter_mut() {
                let from = self.recent.partition_point(|other| other < token);
                let times = self.recent[from..].partition_point(|other| other == token);
                if times > 0 {
                    *logit = options.penalized(*logit, times);
                }
            }
        }
    }
}

impl SamplerOptions {
    fn penalizes(&self) -> bool {
        (self.repeat_penalty, self.presence_penalty, self.frequency_penalty) != (1.0, 0.0, 0.0)
    }

    /// The logit of a token that is among the recent ones so often.
    fn penalized(&self, logit: f32, times: usize) -> f32 {
        let less =
            if logit > 0.0 { logit / self.repeat_penalty } else { logit * self.repeat_penalty };
        less - times as f32 * self.frequency_penalty - self.presence_penalty
    }
}

/// Fills `sorted` with the last `n` of `recent`, so that a long window costs no more than its length.
fn in_order(sorted: &mut Vec<u32>, recent: &[u32], n: usize) {
    sorted.clear();
    sorted.extend_from_slice(&recent[recent.len().saturating_sub(n)..]);
    sorted.sort_unstable();
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
