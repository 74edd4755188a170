//! Perplexity and divergence.

#[cfg(not(target_family = "wasm"))]
use std::sync::mpsc::{channel, sync_channel};
#[cfg(not(target_family = "wasm"))]
use std::thread;

use super::Session;
#[cfg(not(target_family = "wasm"))]
use super::argmax;
use crate::error::Error;

/// Sums of a figure per token, such as its negative log-likelihood.
#[derive(Clone, Copy, Debug, Default)]
pub struct Likelihood {
    n: u64,
    sum: f64,
    sum_of_squares: f64,
}

impl Likelihood {
    fn add(&mut self, value: f64) {
        self.n += 1;
        self.sum += value;
        self.sum_of_squares += value * value;
    }

    /// Number of tokens.
    pub fn count(&self) -> u64 {
        self.n
    }

    /// Mean and its standard error.
    pub fn mean(&self) -> (f64, f64) {
        let n = self.n as f64;
        let mean = self.sum / n;
        let variance = (self.sum_of_squares / n - mean * mean).max(0.0);
        (mean, if self.n > 1 { (variance / (n - 1.0)).sqrt() } else { 0.0 })
    }

    /// Perplexity, the exponential of the mean, and its error.
    pub fn perplexity(&self) -> (f64, f64) {
        let (mean, error) = self.mean();
        (mean.exp(), mean.exp() * error)
    }
}

/// How well a model predicts a text, and how far its predictions are from another model's, chunk by
/// chunk of tokens. The convention is llama-perplexity's: the second half of each chunk is scored,
/// each token on all before it in the chunk.
///
/// ```no_run
/// # fn main() -> Result<(), kinglet::Error> {
/// let model = kinglet::Model::open("smollm2.kinglet")?;
/// let tokens = model.tokenizer().encode("a long text…", Default::default());
/// let (mut session, mut scores) = (model.session()?, kinglet::TextScores::default());
/// for chunk in tokens.chunks_exact(512) {
///     scores.add(&mut session, chunk)?;
/// }
/// println!("{}", scores.own.perplexity().0);
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct TextScores {
    /// Negative log-likelihood of the text's tokens.
    pub own: Likelihood,
    /// The same by the other model.
    pub base: Likelihood,
    /// Kullback-Leibler divergence of the model's predictions from the other's.
    pub divergence: Likelihood,
    /// The largest of these.
    pub largest_divergence: f64,
    same_top: u64,
}

impl TextScores {
    /// Scores a chunk of two or more tokens, in a session that is reset.
    ///
    /// # Errors
    /// As [`Session::score`].
    pub fn add(&mut self, session: &mut Session, chunk: &[u32]) -> Result<(), Error> {
        let scored = all_but_last(session, chunk)?;
        session.reset();
        session.score(scored, chunk.len() / 2, |i, logits| {
            self.own.add(log_sum_exp(logits) - f64::from(logits[chunk[i + 1] as usize]));
        })?;
        Ok(())
    }

    /// Scores a chunk by two models of the same vocabulary, `base` being the other. That one runs
    /// on a thread of its own and hands over one row of logits at a time: it computes while this
    /// thread waits, and the other way round.
    ///
    /// # Errors
    /// As [`Session::score`], or if the vocabularies differ in size.
    #[cfg(not(target_family = "wasm"))]
    pub fn add_both(
        &mut self,
        session: &mut Session,
        base: &mut Session,
        chunk: &[u32],
    ) -> Result<(), Error> {
        let (scored, first) = (all_but_last(session, chunk)?, chunk.len() / 2);
        if session.model().vocab_size() != base.model().vocab_size() {
            return Err(Error::InvalidOption {
                name: "the vocabulary of the model compared with",
                value: base.model().vocab_size().to_string(),
                range: "as large as the other's",
            });
        }
        session.reset();
        base.reset();
        let cancel = base.cancel_token();
        let (rows, received) = sync_channel::<Vec<f32>>(1);
        let (back, spare) = channel::<Vec<f32>>();
        thread::scope(|scope| {
            let worker = scope.spawn(move || {
                base.score(scored, first, |_, logits| {
                    let mut row = spare.try_recv().unwrap_or_default();
                    row.clear();
                    row.extend_from_slice(logits);
                    if rows.send(row).is_err() {
                        cancel.cancel();
                    }
                })
            });
            let mut row = received.recv().ok();
            let outcome = session.score(scored, first, |i, logits| {
                if let Some(base) = row.take() {
                    self.compare(&base, logits, chunk[i + 1] as usize);
                    // Nobody needs it once the base is done.
                    let _ = back.send(base);
                    row = received.recv().ok();
                }
            });
            drop(received);
            let base_outcome = worker.join().unwrap_or_else(|_| {
                Err(Error::WorkerPanicked { message: "while scoring by the base".to_owned() })
            });
            outcome?;
            base_outcome?;
            Ok(())
        })
    }

    #[cfg(not(target_family = "wasm"))]
    fn compare(&mut self, base: &[f32], own: &[f32], token: usize) {
        let (base_sum, own_sum) = (log_sum_exp(base), log_sum_exp(own));
        self.base.add(base_sum - f64::from(base[token]));
        self.own.add(own_sum - f64::from(own[token]));
        let kl: f64 = base
            .iter()
            .zip(own)
            .map(|(&b, &o)| {
                let (b, o) = (f64::from(b) - base_sum, f64::from(o) - own_sum);
                b.exp() * (b - o)
            })
            .sum();
        self.divergence.add(kl);
        self.largest_divergence = self.largest_divergence.max(kl);
        self.same_top += u64::from(argmax(base) == argmax(own));
    }

    /// Share of tokens that both models think likeliest.
    pub fn same_top(&self) -> f64 {
        self.same_top as f64 / self.divergence.n.max(1) as f64
    }
}

/// What is fed of a chunk: its last token is only expected, and must be one too.
fn all_but_last<'a>(session: &Session, chunk: &'a [u32]) -> Result<&'a [u32], Error> {
    let vocab_size = session.model().vocab_size();
    match chunk.split_last() {
        Some((&id, _)) if id as usize >= vocab_size => {
            Err(Error::TokenOutOfRange { id, vocab_size })
        }
        Some((_, scored)) => Ok(scored),
        None => Err(Error::Empty { what: "the chunk to score" }),
    }
}

/// log(sum(exp(x))), safe for any size of `x`.
fn log_sum_exp(logits: &[f32]) -> f64 {
    let max = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    max + logits.iter().map(|&x| (f64::from(x) - max).exp()).sum::<f64>().ln()
}

#[cfg(all(test, not(target_family = "wasm")))]
mod tests {
    use super::*;

    #[test]
    fn likelihood_of_a_uniform_guess() {
        let mut scores = TextScores::default();
        for token in 0..4 {
            scores.compare(&[1.0; 4], &[1000.0; 4], token);
        }
        assert!((scores.own.perplexity().0 - 4.0).abs() < 1e-9);
        assert!((scores.base.perplexity().0 - 4.0).abs() < 1e-9);
        assert!(scores.divergence.mean().0.abs() < 1e-9);
        assert_eq!(scores.same_top(), 1.0);
    }

    #[test]
    fn divergence_is_that_of_the_definition() {
        // p = (1/2, 1/4, 1/4) from q = (1/4, 1/4, 1/2): ln 2 / 2 - ln 2 / 4.
        let logits = |p: [f32; 3]| p.map(f32::ln);
        let mut scores = TextScores::default();
        scores.compare(&logits([0.5, 0.25, 0.25]), &logits([0.25, 0.25, 0.5]), 0);
        assert!((scores.divergence.mean().0 - 0.25 * 2f64.ln()).abs() < 1e-6);
        assert_eq!(scores.same_top(), 0.0);
        assert!((scores.base.perplexity().0 - 2.0).abs() < 1e-6);
        assert!((scores.own.perplexity().0 - 4.0).abs() < 1e-6);
    }

    #[test]
    fn the_error_is_the_standard_error_of_the_mean() {
        let mut likelihood = Likelihood::default();
        [1.0, 2.0, 3.0].into_iter().for_each(|x| likelihood.add(x));
        let (mean, error) = likelihood.mean();
        assert_eq!(mean, 2.0);
        assert!((error - (2.0f64 / 3.0 / 2.0).sqrt()).abs() < 1e-12);
    }
}
