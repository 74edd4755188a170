//! One window of sound to tokens, at one temperature or at several.

use kinglet_formats::kinglet::Speech;

use super::{TranscribeOptions, repetition, rules};
use crate::error::Error;
use crate::model::Model;
use crate::task::sampler::{Sampler, SamplerOptions, argmax};
use crate::task::session::Session;

/// An answer of the model.
pub(super) struct Answer {
    /// Text and timestamps, without the token that ends it.
    pub(super) tokens: Vec<u32>,
    /// How many of them it was told to begin with.
    n_given: usize,
    /// Of each token that follows, and of the one that ends it, if it was ended.
    logprobs: Vec<f32>,
    /// Probability that nobody speaks.
    pub(super) no_speech: f32,
    pub(super) temperature: f32,
    /// Factor by which its text can be compressed.
    repetition: f32,
}

impl Answer {
    /// Mean log-probability of its tokens.
    pub(super) fn logprob(&self) -> f32 {
        let n = self.tokens.len() - self.n_given;
        self.logprobs.iter().sum::<f32>() / (n + 1) as f32
    }

    /// Whether nobody speaks: the model says so, and it is not sure of what it wrote.
    pub(super) fn is_silence(&self, options: &TranscribeOptions) -> bool {
        self.no_speech > options.most_no_speech && self.logprob() <= options.least_logprob
    }

    /// Whether it repeats itself, or the model is not sure of it.
    pub(super) fn looks_wrong(&self, options: &TranscribeOptions) -> bool {
        let wrong =
            self.repetition > options.most_repetition || self.logprob() < options.least_logprob;
        wrong && !self.is_silence(options)
    }
}

/// What asks for an answer.
pub(super) struct Prompt {
    /// What was written before, and what begins an answer.
    pub(super) tokens: Vec<u32>,
    /// Where the token stands that begins it.
    pub(super) start: usize,
    /// What is known already of the answer.
    pub(super) given: Vec<u32>,
}

/// Writes answers; has the buffers that this takes.
pub(super) struct Writer {
    speech: Speech,
    logits: Vec<f32>,
    probabilities: Vec<f32>,
}

impl Writer {
    pub(super) fn new(model: &Model, speech: Speech) -> Self {
        let n = model.vocab_size();
        Self { speech, logits: vec![0.0; n], probabilities: vec![0.0; n] }
    }

    /// The answer at the first of `n` temperatures that gives one that does not look wrong, or at the last.
    /// The session has heard the window. `None` if cancelled.
    pub(super) fn answer(
        &mut self,
        session: &mut Session,
        prompt: &Prompt,
        options: &TranscribeOptions,
        n: usize,
        seed: u64,
    ) -> Result<Option<Answer>, Error> {
        let mut last = None;
        for &temperature in options.temperatures.iter().take(n) {
            let answer = self.at_temperature(session, prompt, temperature, seed)?;
            let Some(answer) = answer else { return Ok(None) };
            let wrong = answer.looks_wrong(options);
            last = Some(answer);
            if !wrong {
                break;
            }
        }
        Ok(last)
    }

    fn at_temperature(
        &mut self,
        session: &mut Session,
        prompt: &Prompt,
        temperature: f32,
        seed: u64,
    ) -> Result<Option<Answer>, Error> {
        let model = session.model().clone();
        let kernels = model.runner().kernels;
        let sampler_options = SamplerOptions {
            temperature,
            seed,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            ..SamplerOptions::default()
        };
        let mut sampler = Sampler::new(sampler_options, model.vocab_size())?;
        session.reset();
        let (begin, rest) = prompt.tokens.split_at(prompt.start + 1);
        if !session.go_on(begin)? {
            return Ok(None);
        }
        let no_speech = self.no_speech(session);
        let rest = [rest, &prompt.given].concat();
        if !rest.is_empty() && !session.go_on(&rest)? {
            return Ok(None);
        }
        let (mut tokens, mut logprobs) = (prompt.given.clone(), Vec::new());
        let n_given = tokens.len();
        // Half of the context is for an answer, as half is for what was written before.
        let most = session.context_length() / 2;
        loop {
            self.logits.copy_from_slice(session.logits());
            let Self { speech, logits, probabilities } = self;
            let (max, sum) = rules::apply(kernels, speech, &tokens, logits, probabilities);
            // Rules that leave nothing end the answer.
            if max == f32::NEG_INFINITY {
                break;
            }
            let token = match temperature {
                0.0 => argmax(logits),
                _ => sampler.sample(logits, &[]),
            };
            logprobs.push(logits[token as usize] - max - sum.ln());
            if token == self.speech.end {
                break;
            }
            tokens.push(token);
            if tokens.len() >= most || session.position() == session.context_length() {
                break;
            }
            if !session.go_on(&[token])? {
                return Ok(None);
            }
        }
        let text: Vec<u32> =
            tokens.iter().copied().filter(|&token| token < self.speech.end).collect();
        let text = model.tokenizer().decode(&text, true);
        let repetition = repetition::of(text.trim());
        Ok(Some(Answer { tokens, n_given, logprobs, no_speech, temperature, repetition }))
    }

    /// Probability of silence after the token that begins an answer.
    fn no_speech(&mut self, session: &Session) -> f32 {
        let Some(token) = self.speech.no_speech else { return 0.0 };
        self.probabilities.copy_from_slice(session.logits());
        let kernels = session.model().runner().kernels;
        let (_, sum) = (kernels.softmax_exp)(&mut self.probabilities);
        self.probabilities[token as usize] / sum
    }

    /// The number of the language that is most probably spoken. The session has heard the window.
    /// `None` if cancelled.
    pub(super) fn language(&mut self, session: &mut Session) -> Result<Option<usize>, Error> {
        session.reset();
        if !session.go_on(&[self.speech.start])? {
            return Ok(None);
        }
        let logits = session.logits();
        let of = |i: &usize| logits[self.speech.languages[*i].token as usize];
        Ok((0..self.speech.languages.len()).max_by(|a, b| of(a).total_cmp(&of(b))))
    }
}
