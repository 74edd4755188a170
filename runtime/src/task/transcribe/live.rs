//! Speech that is written down while it is spoken: what has not been written for good is heard again as
//! more of it comes, and words on which two hearings agree stay.

use super::listener::{Listener, Sound};
use super::segments::{Part, cut};
use super::{Segment, TranscribeOptions};
use crate::error::Error;
use crate::media::audio::{HOP, SAMPLE_RATE};
use crate::model::Model;
use crate::task::session::CancelToken;

/// Samples of new sound after which it is heard again.
const NEWS: usize = SAMPLE_RATE;
/// Seconds that follow a segment which is over.
const PAUSE: f64 = 0.5;
/// Frames before a window is full at which all of it is written for good.
const MARGIN: usize = 200;
/// Samples in which nobody speaks that are kept, and after how many the others are not.
const QUIET: (usize, usize) = (SAMPLE_RATE, 5 * SAMPLE_RATE);
/// Samples of a timestamp's step: 20 ms.
const STEP: usize = SAMPLE_RATE / 50;

impl Model {
    /// Begins to write down speech that is still being spoken.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), kinglet::Error> {
    /// # fn microphone() -> impl Iterator<Item = Vec<f32>> { std::iter::empty() }
    /// let model = kinglet::Model::open("whisper-tiny.en.kinglet")?;
    /// let mut transcriber = model.transcriber(&Default::default())?;
    /// for samples in microphone() {
    ///     let heard = transcriber.push(&samples)?;
    ///     heard.segments.iter().for_each(|segment| println!("{}", segment.text));
    /// }
    /// println!("{:?}", transcriber.finish()?.segments);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// If the model does not write down speech, an option is out of range, or memory runs out.
    pub fn transcriber(&self, options: &TranscribeOptions) -> Result<Transcriber, Error> {
        Ok(Transcriber {
            listener: Listener::new(self, options)?,
            samples: Vec::new(),
            origin: 0,
            heard: 0,
            agreed: Vec::new(),
            last: Vec::new(),
        })
    }
}

/// Speech on its way to text, as it is spoken.
///
/// A word stays once two hearings in a row have it, a second of sound or more apart; a segment is over when
/// its end is heard, or its window of 30 seconds is full. So a word waits for the hearing after the next
/// one, and never for more than a window. Every hearing takes as long as that of a whole window, whatever
/// has come, unless [`AudioContext::Sound`](super::AudioContext) is asked for: on machines that are slow,
/// push more at a time.
pub struct Transcriber {
    listener: Listener,
    /// What is not written down for good.
    samples: Vec<f32>,
    /// Samples before those.
    origin: usize,
    /// How many of them have been heard.
    heard: usize,
    /// What is known of the answer to them.
    agreed: Vec<u32>,
    /// The answer to them when they were heard last.
    last: Vec<u32>,
}

impl std::fmt::Debug for Transcriber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transcriber").field("seconds", &self.seconds()).finish_non_exhaustive()
    }
}

/// What is known after some more sound.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Heard {
    /// Segments that are over since the last time.
    pub segments: Vec<Segment>,
    /// Words after those segments that stay as they are.
    pub stable: String,
    /// Words after them that may change.
    pub tentative: String,
}

impl Transcriber {
    /// Takes more sound, mono, 16,000 samples a second, and hears all that is not written down for good if a
    /// second or more of it is new.
    ///
    /// # Errors
    /// If a sample is no finite number, which leaves everything as it was, or a computation fails.
    pub fn push(&mut self, samples: &[f32]) -> Result<Heard, Error> {
        if let Some(at) = samples.iter().position(|sample| !sample.is_finite()) {
            return Err(Error::NotANumber { what: "the sound", at });
        }
        self.samples.extend_from_slice(samples);
        let mut segments = Vec::new();
        if self.samples.len() - self.heard >= NEWS {
            self.listen(false, &mut segments)?;
        }
        Ok(self.known(segments))
    }

    /// Writes down what is left, and begins anew.
    ///
    /// # Errors
    /// If a computation fails.
    pub fn finish(&mut self) -> Result<Heard, Error> {
        let mut segments = Vec::new();
        self.listen(true, &mut segments)?;
        Ok(self.known(segments))
    }

    /// The code of the language that is spoken, once something has been heard.
    pub fn language(&self) -> Option<&str> {
        self.listener.language()
    }

    /// Seconds of sound that have come.
    pub fn seconds(&self) -> f64 {
        (self.origin + self.samples.len()) as f64 / SAMPLE_RATE as f64
    }

    /// Stops the work from another thread; nothing more is heard after that.
    pub fn cancel_token(&self) -> CancelToken {
        self.listener.cancel_token()
    }

    fn known(&self, segments: Vec<Segment>) -> Heard {
        let stable = self.listener.text(&self.agreed);
        let mut all = self.listener.text(&self.last);
        let tentative = if all.starts_with(&stable) { all.split_off(stable.len()) } else { all };
        Heard { segments, stable, tentative }
    }

    /// Hears window after window; all of it is written for good if it is the `last` time.
    fn listen(&mut self, last: bool, segments: &mut Vec<Segment>) -> Result<(), Error> {
        while !self.samples.is_empty() {
            let window = self.listener.window() * HOP;
            let n = self.samples.len().min(window);
            let full = n + MARGIN.min(self.listener.window() / 4) * HOP >= window;
            let going_on = self.hear(n, last || full, segments)?;
            self.heard = self.samples.len();
            // What is more than a window, or the last of all, is heard at once.
            if !going_on || !(last || self.samples.len() >= window) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Hears the first `n` samples; `finally` all that is heard is written down for good. `false` if
    /// cancelled.
    fn hear(
        &mut self,
        n: usize,
        finally: bool,
        segments: &mut Vec<Segment>,
    ) -> Result<bool, Error> {
        if self.listener.is_silent(&self.samples[..n]) {
            self.take(n, &[], 0);
            return Ok(true);
        }
        let n_frames = n.div_ceil(HOP).min(self.listener.window());
        let sound = Sound { samples: &self.samples[..n], loudest: None };
        if !self.listener.open(sound, 0)? {
            return Ok(false);
        }
        let seed = (self.origin / HOP) as u64;
        let Some(answer) = self.listener.answer(self.agreed.clone(), seed, !finally)? else {
            return Ok(false);
        };
        if self.agreed.is_empty() && self.listener.is_silence(&answer) {
            let (kept, most) = QUIET;
            match n {
                _ if finally => self.take(n, &[], 0),
                n if n > most => self.take((n - kept) / STEP * STEP, &[], 0),
                _ => self.last.clear(),
            }
            return Ok(true);
        }
        let (mut parts, advance) = cut(self.listener.speech(), &answer.tokens, n_frames);
        let end;
        if finally {
            end = (advance * HOP).min(n);
        } else {
            let trusted = if self.listener.looks_wrong(&answer) {
                self.agreed.len()
            } else {
                self.agreement(&answer.tokens)
            };
            let seconds = n as f64 / SAMPLE_RATE as f64;
            let over = |part: &&Part| is_over(part, trusted, &answer.tokens, seconds);
            parts.truncate(parts.iter().take_while(over).count());
            let Some(part) = parts.last() else {
                self.agreed = answer.tokens[..trusted].to_vec();
                self.last = answer.tokens;
                return Ok(true);
            };
            end = ((part.end * 50.0).round() as usize * STEP).min(n);
        }
        let n_tokens = parts.last().map_or(0, |part| part.tokens.end);
        let Some(found) = self.listener.segments(&answer, parts, 0, n_frames)? else {
            return Ok(false);
        };
        let offset = self.origin as f64 / SAMPLE_RATE as f64;
        segments.extend(found.into_iter().map(|segment| segment.later(offset)));
        match finally {
            true => self.take(end, &[], 0),
            false => {
                let trusted = self.agreement(&answer.tokens).saturating_sub(n_tokens);
                self.take(end, &answer.tokens[n_tokens..], trusted);
            }
        }
        Ok(true)
    }

    /// The first `n` samples are done; `rest` has been written of the others, of which `trusted` tokens are
    /// known.
    fn take(&mut self, n: usize, rest: &[u32], trusted: usize) {
        self.samples.drain(..n);
        self.origin += n;
        let speech = self.listener.speech();
        let steps = (n / STEP) as u32;
        let earlier = |&token: &u32| match token {
            text if text < speech.first_timestamp => text,
            time => time.saturating_sub(steps).max(speech.first_timestamp),
        };
        self.last = rest.iter().map(earlier).collect();
        self.agreed = self.last[..trusted].to_vec();
    }

    /// How many tokens of an answer this hearing and the last one agree on, to the end of a word. Times may
    /// differ.
    fn agreement(&self, tokens: &[u32]) -> usize {
        let first = self.listener.speech().first_timestamp;
        let is_time = |token: u32| token >= first;
        let same = |(a, b): &(&u32, &u32)| a == b || (is_time(**a) && is_time(**b));
        let common = tokens.iter().zip(&self.last).take_while(same).count();
        // The end of a segment is where it is only when something follows.
        let mut end = common;
        if end == tokens.len() {
            while end > 0 && is_time(tokens[end - 1]) {
                end -= 1;
            }
        }
        // A word that one of them ends otherwise is none yet.
        let text: Vec<u32> = tokens.iter().copied().filter(|&token| !is_time(token)).collect();
        let n_text = tokens[..end].iter().filter(|&&token| !is_time(token)).count();
        let words = self.listener.spelled(&text);
        let ends = words.iter().map(|word| word.tokens.end);
        let whole = ends.take_while(|&end| end <= n_text).last().unwrap_or(0);
        let mut drop = n_text - whole;
        while drop > 0 {
            end -= 1;
            drop -= usize::from(!is_time(tokens[end]));
        }
        end.max(self.agreed.len()).min(tokens.len())
    }
}

/// Whether a part of an answer is over: its words are trusted, and so is its end, or a pause follows.
fn is_over(part: &Part, trusted: usize, tokens: &[u32], seconds: f64) -> bool {
    let end = part.tokens.end;
    // Timestamps are the greatest of tokens.
    let ended = end >= 2 && tokens[end - 1] > tokens[end - 2] && part.end > part.start;
    let by_pause = trusted + 1 >= end && part.end + PAUSE <= seconds;
    ended && (trusted >= end && end < tokens.len() || by_pause)
}
