//! Mirostat: as many tokens are kept as hold the surprise of the text at a level (arXiv:2007.14966).

use super::candidates::Candidates;
use super::options::{Mirostat, MirostatVersion};

/// Ranks from which it is estimated how fast probabilities fall.
const RANKS: usize = 100;

/// The level, and what is learned of it from token to token.
#[derive(Clone, Debug)]
pub(super) struct Level {
    options: Mirostat,
    /// Most surprise that a token may have, in bits.
    mu: f64,
}

impl Level {
    pub(super) fn new(options: Mirostat) -> Self {
        Self { options, mu: 2.0 * f64::from(options.tau) }
    }

    /// Leaves out what would be too surprising.
    pub(super) fn keep(&self, candidates: &mut Candidates, vocab_size: usize) {
        match self.options.version {
            MirostatVersion::One => {
                let exponent = candidates.zipf_exponent(RANKS);
                let above = exponent - 1.0;
                let tokens = above * self.mu.exp2() / (1.0 - (vocab_size as f64).powf(-above));
                let k = tokens.powf(1.0 / exponent);
                candidates.top_k((k as usize).max(1));
            }
            MirostatVersion::Two => candidates.surprise_at_most(self.mu),
        }
    }

    /// Takes note of the probability that the chosen token had.
    pub(super) fn learn(&mut self, probability: f64) {
        let error = -probability.log2() - f64::from(self.options.tau);
        self.mu -= f64::from(self.options.eta) * error;
    }
}
