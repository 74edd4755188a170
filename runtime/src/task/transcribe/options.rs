//! How speech is written down, and what comes of it.

use super::Word;
use crate::error::Error;

/// How speech is written down.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TranscribeOptions {
    /// Code of the language that is spoken, such as `en`; `None` lets the model tell it by the first 30
    /// seconds.
    pub language: Option<String>,
    /// Write it down in English, whatever is spoken.
    pub translate: bool,
    /// Tell when each word was spoken; it takes a few hundredths of the time more.
    pub words: bool,
    /// What was said or written before: names and spellings to be followed.
    pub prompt: Option<String>,
    /// Let what was written before guide what is written next.
    pub condition_on_previous: bool,
    /// Temperatures to try, one after another, while an answer looks wrong; 0 always takes the
    /// likeliest token.
    pub temperatures: Vec<f32>,
    /// An answer is wrong whose text can be compressed by more than this factor: it repeats itself.
    pub most_repetition: f32,
    /// An answer is wrong whose tokens have a mean log-probability below this.
    pub least_logprob: f32,
    /// Nobody speaks in a window if the model says so with more than this probability, and its answer
    /// has a mean log-probability below the least.
    pub most_no_speech: f32,
    /// Windows in which no 20 ms are louder than this many decibels below full scale are silence, and
    /// not heard at all.
    pub silence: f32,
    /// How much of a window the encoder reads.
    pub audio_context: AudioContext,
    /// Start of the random sequence, for temperatures above 0.
    pub seed: u64,
}

/// How much the encoder reads of a window. Models were trained on whole ones: what is left out saves time,
/// and may cost words.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub enum AudioContext {
    /// All of it, with the silence that fills it up.
    #[default]
    Whole,
    /// Its sound, and some of the silence after it.
    Sound,
    /// Windows are cut to this many seconds, with the silence that fills them up.
    Seconds(f32),
}

impl Default for TranscribeOptions {
    fn default() -> Self {
        Self {
            language: None,
            translate: false,
            words: false,
            prompt: None,
            condition_on_previous: true,
            temperatures: vec![0.0, 0.2, 0.4, 0.6, 0.8, 1.0],
            most_repetition: 2.4,
            least_logprob: -1.0,
            most_no_speech: 0.6,
            silence: -70.0,
            audio_context: AudioContext::Whole,
            seed: 0,
        }
    }
}

impl TranscribeOptions {
    /// Sets the language that is spoken.
    pub fn language(mut self, code: impl Into<String>) -> Self {
        self.language = Some(code.into());
        self
    }

    /// Sets whether everything is written in English.
    pub fn translate(mut self, yes: bool) -> Self {
        self.translate = yes;
        self
    }

    /// Sets whether the times of words are told.
    pub fn words(mut self, yes: bool) -> Self {
        self.words = yes;
        self
    }

    /// Sets what was said before.
    pub fn prompt(mut self, text: impl Into<String>) -> Self {
        self.prompt = Some(text.into());
        self
    }

    /// Sets whether what was written guides what is written next.
    pub fn condition_on_previous(mut self, yes: bool) -> Self {
        self.condition_on_previous = yes;
        self
    }

    /// Sets how much of a window the encoder reads.
    pub fn audio_context(mut self, context: AudioContext) -> Self {
        self.audio_context = context;
        self
    }

    /// Sets the temperatures to try.
    pub fn temperatures(mut self, temperatures: impl Into<Vec<f32>>) -> Self {
        self.temperatures = temperatures.into();
        self
    }

    pub(super) fn check(&self) -> Result<(), Error> {
        let wrong = |name, value: String, range| Err(Error::InvalidOption { name, value, range });
        if self.temperatures.is_empty() {
            return wrong("the list of temperatures", "empty".to_owned(), "one number or more");
        }
        let bad = |t: &&f32| !(0.0..=10.0).contains(*t);
        if let Some(t) = self.temperatures.iter().find(bad) {
            return wrong("temperature", t.to_string(), "between 0 and 10");
        }
        if let AudioContext::Seconds(seconds) = self.audio_context
            && !(1.0..=30.0).contains(&seconds)
        {
            return wrong("audio context", seconds.to_string(), "between 1 and 30 seconds");
        }
        for (name, value) in [
            ("most_repetition", self.most_repetition),
            ("least_logprob", self.least_logprob),
            ("most_no_speech", self.most_no_speech),
            ("silence", self.silence),
        ] {
            if value.is_nan() {
                return wrong(name, value.to_string(), "a number");
            }
        }
        Ok(())
    }
}

/// What was said.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Transcript {
    /// All of it.
    pub text: String,
    /// Code of the language that was heard; `None` if nothing was, or the model knows one alone.
    pub language: Option<String>,
    /// Its parts, in the order of time.
    pub segments: Vec<Segment>,
}

impl Segment {
    /// The same some seconds later.
    pub(super) fn later(mut self, seconds: f64) -> Self {
        self.start += seconds;
        self.end += seconds;
        for word in &mut self.words {
            word.start += seconds;
            word.end += seconds;
        }
        self
    }
}

/// A sentence or a part of one.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Segment {
    /// When it begins, in seconds.
    pub start: f64,
    /// When it ends.
    pub end: f64,
    /// What is said, with the blank before it, if there is one.
    pub text: String,
    /// Its tokens, timestamps included.
    pub tokens: Vec<u32>,
    /// Its words with their times, if they were asked for.
    pub words: Vec<Word>,
    /// Mean log-probability of the answer that it is a part of.
    pub logprob: f32,
    /// How probable it is that nobody speaks.
    pub no_speech: f32,
    /// The temperature at which it was written.
    pub temperature: f32,
}
