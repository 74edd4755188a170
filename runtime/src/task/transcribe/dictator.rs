//! Speech to plain text by models that read samples of sound: one piece after another, which end where it is
//! quiet.

use kinglet_formats::kinglet::Dictation;

use super::{AudioContext, Segment, TranscribeOptions, is_silent};
use crate::error::Error;
use crate::media::audio::{HOP, SAMPLE_RATE};
use crate::model::Model;
use crate::network::{BoundInput, BoundSamples};
use crate::task::sampler::argmax;
use crate::task::session::{CancelToken, Session};

/// Frames of which the power is compared where a piece may end: a quarter of a second.
const PAUSE: usize = SAMPLE_RATE / 4 / HOP;
/// Seconds of a frame.
const FRAME: f64 = HOP as f64 / SAMPLE_RATE as f64;

/// Listens to pieces of sound and writes them down.
pub(super) struct Dictator {
    session: Session,
    dictation: Dictation,
    /// Tokens that end an answer.
    ends: Vec<u32>,
    /// Fewest samples that the model takes.
    least: usize,
    /// Frames of the longest piece.
    longest: usize,
    silence: f32,
    probabilities: Vec<f32>,
}

impl Dictator {
    pub(super) fn new(
        model: &Model,
        dictation: &Dictation,
        options: &TranscribeOptions,
    ) -> Result<Self, Error> {
        options.check()?;
        check(options)?;
        let network = &model.runner().network;
        let BoundInput::Samples(BoundSamples { spec, .. }) = &network.stacks[network.entry()].input
        else {
            return Err(model.wrong_task("write down speech"));
        };
        if spec.sample_rate != SAMPLE_RATE {
            let what = format!("sound of {} samples a second", spec.sample_rate);
            return Err(Error::Unsupported { what });
        }
        Ok(Self {
            session: model.session()?,
            dictation: dictation.clone(),
            ends: model.meta().generation.eos.clone(),
            least: spec.least_samples(),
            longest: (spec.max_samples / HOP).max(1),
            silence: options.silence,
            probabilities: vec![0.0; model.vocab_size()],
        })
    }

    pub(super) fn cancel_token(&self) -> CancelToken {
        self.session.cancel_token()
    }

    /// What is said from frame `seek` on to the end of a piece, and the frame after that. `None` if
    /// cancelled.
    pub(super) fn hear(
        &mut self,
        samples: &[f32],
        seek: usize,
    ) -> Result<Option<(Vec<Segment>, usize)>, Error> {
        let rest = &samples[seek * HOP..];
        let n_frames = piece(rest, self.longest);
        let next = seek + n_frames;
        let heard = &rest[..rest.len().min(n_frames * HOP)];
        if is_silent(heard, self.silence) {
            return Ok(Some((Vec::new(), next)));
        }
        let seconds = heard.len() as f64 / SAMPLE_RATE as f64;
        let Some((tokens, logprob)) = self.answer(heard)? else { return Ok(None) };
        let text = self.session.model().tokenizer().decode(&tokens, true);
        if text.trim().is_empty() {
            return Ok(Some((Vec::new(), next)));
        }
        let start = seek as f64 * FRAME;
        let segment = Segment {
            start,
            end: start + seconds,
            text: format!(" {}", text.trim()),
            tokens,
            words: Vec::new(),
            logprob,
            no_speech: 0.0,
            temperature: 0.0,
        };
        Ok(Some((vec![segment], next)))
    }

    /// The likeliest tokens, one after another, and their mean log-probability. `None` if cancelled.
    fn answer(&mut self, samples: &[f32]) -> Result<Option<(Vec<u32>, f32)>, Error> {
        let heard = match samples.len() < self.least {
            true => {
                let mut longer = samples.to_vec();
                longer.resize(self.least, 0.0);
                self.session.listen(&longer)?
            }
            false => self.session.listen(samples)?,
        };
        if !heard || !self.session.go_on(&[self.dictation.start])? {
            return Ok(None);
        }
        let most = self.most_tokens(samples.len());
        let (mut tokens, mut logprobs) = (Vec::new(), 0.0);
        loop {
            let logits = self.session.logits();
            let token = argmax(logits);
            self.probabilities.copy_from_slice(logits);
            let kernels = self.session.model().runner().kernels;
            let (max, sum) = (kernels.softmax_exp)(&mut self.probabilities);
            logprobs += logits[token as usize] - max - sum.ln();
            if self.ends.contains(&token) {
                break;
            }
            tokens.push(token);
            if tokens.len() == most {
                break;
            }
            if !self.session.go_on(&[token])? {
                return Ok(None);
            }
        }
        let logprob = logprobs / (tokens.len() + 1) as f32;
        Ok(Some((tokens, logprob)))
    }

    /// Most tokens of an answer to so many samples, one at least.
    fn most_tokens(&self, n_samples: usize) -> usize {
        let seconds = n_samples as f64 / SAMPLE_RATE as f64;
        let all = (seconds * f64::from(self.dictation.tokens_per_second)) as usize;
        // The one that begins it is among them.
        all.min(self.session.context_length()).saturating_sub(1).max(1)
    }
}

/// Refuses what such a model cannot do.
fn check(options: &TranscribeOptions) -> Result<(), Error> {
    let TranscribeOptions { language, translate, words, prompt, audio_context, .. } = options;
    let wrong = [
        (language.is_some(), "choose a language", "it knows one alone"),
        (*translate, "translate speech", "it knows one language alone"),
        (*words, "tell when words are spoken", "it tells no times"),
        (prompt.is_some(), "follow what was said before", "it hears sound alone"),
        (
            *audio_context != AudioContext::Whole,
            "cut its audio context",
            "it hears sound alone as it is",
        ),
    ];
    match wrong.into_iter().find(|(is, ..)| *is) {
        None => Ok(()),
        Some((_, task, reason)) => Err(Error::WrongTask { task, reason: reason.to_owned() }),
    }
}

/// Frames of the next piece of `samples`, `longest` at most: to their end, or to the middle of the quietest
/// moment of its second half.
fn piece(samples: &[f32], longest: usize) -> usize {
    let n_frames = samples.len().div_ceil(HOP);
    if n_frames <= longest {
        return n_frames;
    }
    let power = |frame: &[f32]| frame.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>();
    let powers: Vec<f64> = samples[..longest * HOP].chunks(HOP).map(power).collect();
    let first = longest / 2;
    let moments = powers[first..].windows(PAUSE.min(longest - first)).enumerate();
    let of = |moment: &[f64]| moment.iter().sum::<f64>();
    // The latest of several that are equally quiet.
    let quietest = moments.rev().min_by(|(_, a), (_, b)| of(a).total_cmp(&of(b)));
    quietest.map_or(longest, |(at, moment)| first + at + moment.len() / 2).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_end_where_it_is_quiet() {
        let mut samples = vec![0.5; 100 * HOP];
        assert_eq!(piece(&samples, 100), 100);
        assert_eq!(piece(&samples[..99 * HOP + 1], 100), 100);
        assert_eq!(piece(&[0.1], 100), 1);
        // A pause of a quarter of a second from frame 60 on, and a shorter one.
        samples.resize(300 * HOP, 0.5);
        samples[80 * HOP..90 * HOP].fill(0.0);
        samples[52 * HOP..77 * HOP].fill(0.0);
        assert_eq!(piece(&samples, 100), 52 + PAUSE / 2);
        // Where all is alike, as late as may be.
        assert_eq!(piece(&vec![0.5; 300 * HOP], 100), 100 - PAUSE + PAUSE / 2);
        assert_eq!(piece(&vec![0.5; 300 * HOP], 1), 1);
    }
}
