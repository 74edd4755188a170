//! Speech to text, as Whisper's authors decode it (arXiv:2212.04356): windows of 30 seconds, one after
//! another, each from where the one before could be cut. Models that read samples and tell no times hear
//! pieces, which end where it is quiet.

mod align;
mod decode;
mod dictator;
mod ear;
mod listener;
mod live;
mod options;
mod repetition;
mod rules;
mod segments;
mod times;
mod words;

use std::borrow::Cow;
use std::collections::VecDeque;

pub use live::{Heard, Transcriber};
pub use options::{AudioContext, Segment, TranscribeOptions, Transcript};
pub use words::Word;

use self::ear::Ear;
use self::listener::{Listener, Sound};
use super::session::CancelToken;
use crate::error::Error;
use crate::media::audio::{HOP, SAMPLE_RATE};
use crate::model::Model;

/// Samples that are loud or silent together: 20 ms.
const BLOCK: usize = SAMPLE_RATE / 50;

impl Model {
    /// Writes down what is said in `samples`, mono sound of 16,000 samples a second between -1 and 1.
    ///
    /// # Errors
    /// As [`Model::transcription`].
    pub fn transcribe(
        &self,
        samples: &[f32],
        options: &TranscribeOptions,
    ) -> Result<Transcript, Error> {
        let mut transcription = self.transcription(samples, options)?;
        let segments = transcription.by_ref().collect::<Result<Vec<_>, _>>()?;
        Ok(transcription.transcript(segments))
    }

    /// The same, segment by segment, as they are written. The sound may be lent or given away.
    ///
    /// # Errors
    /// If the model does not write down speech, an option is out of range, there is no sound, a sample
    /// is no finite number, or memory runs out.
    pub fn transcription<'a>(
        &self,
        samples: impl Into<Cow<'a, [f32]>>,
        options: &TranscribeOptions,
    ) -> Result<Transcription<'a>, Error> {
        let samples = samples.into();
        check(&samples)?;
        let mut ear = Ear::new(self, options)?;
        let loudest = ear.loudest(&samples);
        Ok(Transcription { ear, samples, loudest, seek: 0, ready: VecDeque::new() })
    }

    /// When the words of a known `text` are spoken in `samples`, which are no longer than a window of 30
    /// seconds: of the options, the language and whether the text is a translation count.
    ///
    /// # Errors
    /// As [`Model::transcription`], or if text or sound are longer than the model takes.
    pub fn align(
        &self,
        samples: &[f32],
        text: &str,
        options: &TranscribeOptions,
    ) -> Result<Vec<Word>, Error> {
        check(samples)?;
        Listener::new(self, options)?.align(samples, text)
    }
}

/// Whether no 20 ms are louder than `silence` decibels below full scale.
fn is_silent(samples: &[f32], silence: f32) -> bool {
    let least = 10f64.powf(f64::from(silence) / 10.0);
    let power = |block: &[f32]| block.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>();
    samples.chunks(BLOCK).all(|block| power(block) <= least * block.len() as f64)
}

fn check(samples: &[f32]) -> Result<(), Error> {
    if samples.is_empty() {
        return Err(Error::Empty { what: "the sound" });
    }
    match samples.iter().position(|sample| !sample.is_finite()) {
        None => Ok(()),
        Some(at) => Err(Error::NotANumber { what: "the sound", at }),
    }
}

/// Sound on its way to text: an iterator of segments.
///
/// It ends early when it is cancelled.
pub struct Transcription<'a> {
    ear: Ear,
    samples: Cow<'a, [f32]>,
    /// Largest logarithm of a power in all of it, where it matters.
    loudest: Option<f32>,
    /// Frame at which the next window or piece begins.
    seek: usize,
    ready: VecDeque<Segment>,
}

impl std::fmt::Debug for Transcription<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transcription").field("heard", &self.heard()).finish_non_exhaustive()
    }
}

impl Transcription<'_> {
    /// The code of the language that is spoken, once the first window has been heard; `None` for a model
    /// that knows one alone.
    pub fn language(&self) -> Option<&str> {
        self.ear.language()
    }

    /// Seconds of sound that have been heard.
    pub fn heard(&self) -> f64 {
        let seek = self.seek.min(self.sound().n_frames());
        let samples = (seek * HOP).min(self.samples.len());
        samples as f64 / SAMPLE_RATE as f64
    }

    /// Seconds of all of it.
    pub fn seconds(&self) -> f64 {
        self.samples.len() as f64 / SAMPLE_RATE as f64
    }

    /// Stops the work from another thread.
    pub fn cancel_token(&self) -> CancelToken {
        self.ear.cancel_token()
    }

    fn sound(&self) -> Sound<'_> {
        Sound { samples: &self.samples, loudest: self.loudest }
    }

    /// Segments as one transcript.
    fn transcript(&self, segments: Vec<Segment>) -> Transcript {
        let text: String = segments.iter().map(|segment| segment.text.as_str()).collect();
        Transcript {
            text: text.trim().to_owned(),
            language: self.language().map(str::to_owned),
            segments,
        }
    }
}

impl Iterator for Transcription<'_> {
    type Item = Result<Segment, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(segment) = self.ready.pop_front() {
                return Some(Ok(segment));
            }
            if self.seek >= self.sound().n_frames() {
                return None;
            }
            let sound = Sound { samples: &self.samples, loudest: self.loudest };
            match self.ear.hear(sound, self.seek) {
                Ok(Some((segments, next))) => {
                    self.ready.extend(segments);
                    self.seek = next;
                }
                Ok(None) => {
                    self.seek = usize::MAX;
                }
                Err(error) => {
                    self.seek = usize::MAX;
                    return Some(Err(error));
                }
            }
        }
    }
}
