//! What is asked of a scheduler, and what comes back.

use crate::error::Error;
use crate::task::generate::{FinishReason, GenerateOptions};

/// A text to generate.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Request {
    /// The prompt's tokens, at least one.
    pub prompt: Vec<u32>,
    /// How to go on from it.
    pub options: GenerateOptions,
    /// Tokens that end the answer besides the model's own.
    pub ends: Vec<u32>,
    /// How probable each token was, and the likeliest ones in its place, this many.
    pub logprobs: Option<usize>,
    /// Compute the whole prompt, even what is known of it.
    pub fresh: bool,
}

impl Request {
    /// To go on from `prompt`.
    pub fn new(prompt: Vec<u32>, options: GenerateOptions) -> Self {
        Self { prompt, options, ..Self::default() }
    }

    /// Asks for the probabilities of the tokens, and of the `n` likeliest in each place.
    pub fn logprobs(mut self, n: usize) -> Self {
        self.logprobs = Some(n);
        self
    }
}

/// Names a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub(super) u64);

/// What becomes of a request.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// The next token has been drawn.
    Token {
        /// Text that has become certain with it; empty while a character or a stop string is
        /// incomplete.
        text: &'a str,
        /// How probable it was, where that was asked for.
        logprobs: Option<TokenLogprobs>,
    },
    /// The answer is complete.
    Ended {
        /// The rest of its text.
        text: &'a str,
        /// Why.
        reason: FinishReason,
        /// What it took.
        usage: Usage,
    },
    /// It could not be computed.
    Failed(Error),
}

/// How probable a token was, before any setting of the sampler, and what else could have stood there.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenLogprobs {
    /// The token.
    pub token: u32,
    /// The natural logarithm of its probability.
    pub logprob: f32,
    /// The likeliest tokens and the logarithms of theirs, likeliest first.
    pub top: Vec<(u32, f32)>,
}

/// Tokens of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Of the prompt.
    pub prompt: usize,
    /// Of those, how many had been computed before.
    pub cached: usize,
    /// Of the answer.
    pub generated: usize,
}

impl TokenLogprobs {
    /// Of `token` in `logits`, with the `n` likeliest.
    pub(super) fn of(logits: &[f32], token: u32, n: usize) -> Self {
        let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = logits.iter().map(|x| f64::from(x - max).exp()).sum();
        let log_sum = f64::from(max) + sum.ln();
        let logprob = |logit: f32| (f64::from(logit) - log_sum) as f32;
        let mut order: Vec<(f32, u32)> = match n {
            0 => Vec::new(),
            _ => logits.iter().copied().zip(0..).collect(),
        };
        let better = |a: &(f32, u32), b: &(f32, u32)| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1));
        if n < order.len() {
            order.select_nth_unstable_by(n, better);
            order.truncate(n);
        }
        order.sort_unstable_by(better);
        let own = logits.get(token as usize).copied().unwrap_or(f32::NEG_INFINITY);
        let top = order.into_iter().map(|(logit, token)| (token, logprob(logit))).collect();
        Self { token, logprob: logprob(own), top }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logprobs_are_those_of_the_softmax() {
        let logits: Vec<f32> = [0.1f32, 0.2, 0.3, 0.4].iter().map(|p| p.ln() + 3.0).collect();
        let found = TokenLogprobs::of(&logits, 0, 2);
        assert!((found.logprob - 0.1f32.ln()).abs() < 1e-6);
        assert_eq!(found.top.iter().map(|(token, _)| *token).collect::<Vec<_>>(), [3, 2]);
        assert!((found.top[0].1 - 0.4f32.ln()).abs() < 1e-6);
        assert_eq!(TokenLogprobs::of(&logits, 1, 9).top.len(), 4);
        assert_eq!(TokenLogprobs::of(&logits, 1, 0).top, []);
    }
}
