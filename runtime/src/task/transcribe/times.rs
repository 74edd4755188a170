//! When the tokens of an answer were spoken: the decoder reads them once more, and its alignment heads
//! tell where in the sound it looks.

use kinglet_formats::kinglet::Speech;

use super::align::Scores;
use super::words::{Spelled, Word};
use crate::error::Error;
use crate::task::session::Session;

/// Heads that are taken of a model that does not name those that follow the sound, at most.
const MOST_HEADS: usize = 32;
/// Seconds of a row of the encoder.
const ROW: f64 = 0.02;

/// Times and probabilities of tokens.
pub(super) struct TokenTimes {
    /// Of each token its first row of the encoder, and that at which the last one ends.
    begins: Vec<usize>,
    probabilities: Vec<f32>,
}

/// Those of `tokens`, text that answers what begins with `begin`; the sound takes the first `n_rows`
/// rows of the encoder. `None` if cancelled.
pub(super) fn token_times(
    session: &mut Session,
    speech: &Speech,
    begin: &[u32],
    tokens: &[u32],
    n_rows: usize,
) -> Result<Option<TokenTimes>, Error> {
    let heads = heads(session, speech);
    let all = [begin, &[speech.no_timestamps], tokens, &[speech.end]].concat();
    // The token that stands before another one predicts it.
    let first = begin.len();
    let mut probabilities = Vec::with_capacity(tokens.len());
    let n_text = speech.end as usize;
    let mut visit = |row: usize, logits: &[f32]| {
        if let Some(&token) = tokens.get(row - first) {
            let text = &logits[..n_text.min(logits.len())];
            let max = text.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let sum: f32 = text.iter().map(|x| (x - max).exp()).sum();
            probabilities.push((text[token as usize] - max).exp() / sum);
        }
    };
    let Some(scores) = session.watch(&all, &heads, first, &mut visit)? else { return Ok(None) };
    let n_slots = scores.len() / (all.len() * heads.len()).max(1);
    let scores = Scores { values: &scores, n_heads: heads.len(), n_slots };
    let begins = scores.begins(first..all.len() - 1, n_rows);
    Ok(Some(TokenTimes { begins, probabilities }))
}

/// The heads that follow the sound, as the model's files name them; otherwise those of the last half of its
/// layers, which its authors take too.
fn heads(session: &Session, speech: &Speech) -> Vec<(usize, usize)> {
    let layers = session.heads_on_source();
    let is_one = |&(layer, head): &(usize, usize)| layers.get(layer).is_some_and(|&n| head < n);
    let named: Vec<_> = speech.alignment_heads.iter().copied().filter(is_one).collect();
    if !named.is_empty() {
        return named;
    }
    let last_half = (layers.len() / 2..layers.len()).rev();
    let all = last_half.flat_map(|layer| (0..layers[layer]).map(move |head| (layer, head)));
    all.take(MOST_HEADS).collect()
}

impl TokenTimes {
    /// Words; times begin at `offset` seconds.
    pub(super) fn words(&self, spelled: Vec<Spelled>, offset: f64) -> Vec<Word> {
        let seconds = |token: usize| offset + self.begins[token] as f64 * ROW;
        let word = |Spelled { text, tokens }: Spelled| {
            let n = tokens.len();
            let probability = self.probabilities[tokens.clone()].iter().sum::<f32>() / n as f32;
            let (start, end) = (seconds(tokens.start), seconds(tokens.end));
            Word { start, end, text, probability }
        };
        spelled.into_iter().map(word).collect()
    }
}
