//! How to generate.

use crate::model::Model;
use crate::task::form::Form;
use crate::task::sampler::{SamplerExtras, SamplerOptions};

/// How to generate. What is `None` follows the model file, or else [`SamplerOptions::default`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GenerateOptions {
    /// Most tokens to generate; `None` goes on to the end of the context.
    pub max_tokens: Option<usize>,
    /// See [`SamplerOptions::temperature`]; 0 is greedy.
    pub temperature: Option<f32>,
    /// See [`SamplerOptions::top_k`].
    pub top_k: Option<usize>,
    /// See [`SamplerOptions::top_p`].
    pub top_p: Option<f32>,
    /// See [`SamplerOptions::min_p`].
    pub min_p: Option<f32>,
    /// See [`SamplerOptions::repeat_penalty`].
    pub repeat_penalty: Option<f32>,
    /// See [`SamplerOptions::repeat_last_n`].
    pub repeat_last_n: Option<usize>,
    /// See [`SamplerOptions::presence_penalty`].
    pub presence_penalty: Option<f32>,
    /// See [`SamplerOptions::frequency_penalty`].
    pub frequency_penalty: Option<f32>,
    /// See [`SamplerOptions::logit_bias`].
    pub logit_bias: Vec<(u32, f32)>,
    /// See [`SamplerOptions::seed`].
    pub seed: Option<u64>,
    /// See [`SamplerOptions::extras`].
    pub extras: SamplerExtras,
    /// Most tokens that are guessed, where the text says what it has said before, and computed in one
    /// step; 0 is off, `None` up to 8. The answer is the same, it only comes sooner.
    pub lookup: Option<usize>,
    /// Texts that end the answer; they are not part of it.
    pub stop: Vec<String>,
    /// Go on after an end-of-text token.
    pub ignore_eos: bool,
    /// What the answer must look like.
    pub form: Option<Form>,
}

impl GenerateOptions {
    /// Always the likeliest token.
    pub fn greedy() -> Self {
        Self { temperature: Some(0.0), ..Self::default() }
    }

    /// Sets the most tokens to generate.
    pub fn max_tokens(mut self, n: usize) -> Self {
        self.max_tokens = Some(n);
        self
    }

    pub(super) fn sampler(&self, model: &Model) -> SamplerOptions {
        let own = SamplerOptions::default();
        let file = &model.meta().generation;
        SamplerOptions {
            temperature: self.temperature.or(file.temperature).unwrap_or(own.temperature),
            top_k: self.top_k.or(file.top_k.map(|k| k as usize)).unwrap_or(own.top_k),
            top_p: self.top_p.or(file.top_p).unwrap_or(own.top_p),
            min_p: self.min_p.or(file.min_p).unwrap_or(own.min_p),
            repeat_penalty: self
                .repeat_penalty
                .or(file.repeat_penalty)
                .unwrap_or(own.repeat_penalty),
            repeat_last_n: self.repeat_last_n.unwrap_or(own.repeat_last_n),
            presence_penalty: self.presence_penalty.unwrap_or(own.presence_penalty),
            frequency_penalty: self.frequency_penalty.unwrap_or(own.frequency_penalty),
            logit_bias: self.logit_bias.clone(),
            seed: self.seed.unwrap_or(own.seed),
            extras: self.extras.clone(),
        }
    }
}
