//! Speech to text, a segment at a time.

use js_sys::{Array, Error, Object};
use kinglet::{Heard, Segment, Task, TranscribeOptions, Word};
use wasm_bindgen::prelude::wasm_bindgen;

use crate::{Model, error, object, options};

#[wasm_bindgen(typescript_custom_section)]
const TYPES: &str = r#"
/** A word; times in seconds. */
export interface Word { start: number; end: number; word: string; probability: number }
/** A sentence or a part of one; its words if they are asked for. */
export interface Segment {
  start: number;
  end: number;
  text: string;
  words?: Word[];
  logprob: number;
  noSpeech: number;
}
/** What is known of speech that is going on. */
export interface Heard { segments: Segment[]; stable: string; tentative: string }

/** The language that is spoken, whether it is written in English, and what times are told. */
export interface TranscribeOptions {
  language?: string;
  task?: "transcribe" | "translate";
  timestamps?: "segment" | "word";
}
"#;

#[wasm_bindgen]
extern "C" {
    /// `TranscribeOptions` or `undefined`.
    #[wasm_bindgen(typescript_type = "TranscribeOptions | undefined | null")]
    pub type JsTranscribeOptions;
}

/// A sound on its way to text: call `next` until it gives `undefined`, then `free`.
#[wasm_bindgen]
pub struct Transcription {
    transcription: kinglet::Transcription<'static>,
    words: bool,
}

/// Speech that is written down while it is spoken: `push` sound until it ends, then `finish` and `free`.
#[wasm_bindgen]
pub struct Transcriber {
    transcriber: kinglet::Transcriber,
    words: bool,
}

#[wasm_bindgen]
impl Model {
    /// Begins to write down `samples`, mono sound of 16,000 samples a second.
    pub fn transcribe(
        &self,
        samples: Vec<f32>,
        options: JsTranscribeOptions,
    ) -> Result<Transcription, Error> {
        self.check(Task::Transcribe)?;
        let how = read(&options)?;
        let transcription = self.runtime().transcription(samples, &how).map_err(error::from)?;
        Ok(Transcription { transcription, words: how.words })
    }

    /// Begins to write down speech that is still being spoken.
    pub fn transcriber(&self, options: JsTranscribeOptions) -> Result<Transcriber, Error> {
        self.check(Task::Transcribe)?;
        let how = read(&options)?;
        let transcriber = self.runtime().transcriber(&how).map_err(error::from)?;
        Ok(Transcriber { transcriber, words: how.words })
    }
}

#[wasm_bindgen]
impl Transcription {
    /// The next segment, `undefined` at the end.
    #[allow(clippy::should_implement_trait, reason = "the name is JavaScript's")]
    #[wasm_bindgen(unchecked_return_type = "Segment | undefined")]
    pub fn next(&mut self) -> Result<Option<Object>, Error> {
        let segment = self.transcription.next().transpose().map_err(error::from)?;
        Ok(segment.map(|segment| object_of(segment, self.words)))
    }

    /// The code of the language that is spoken, once the first 30 seconds have been heard.
    #[wasm_bindgen(getter)]
    pub fn language(&self) -> Option<String> {
        self.transcription.language().map(str::to_owned)
    }

    /// Seconds that have been heard.
    #[wasm_bindgen(getter)]
    pub fn heard(&self) -> f64 {
        self.transcription.heard()
    }

    /// Seconds of all of it.
    #[wasm_bindgen(getter)]
    pub fn seconds(&self) -> f64 {
        self.transcription.seconds()
    }
}

#[wasm_bindgen]
impl Transcriber {
    /// Takes more sound, mono, 16,000 samples a second. Hears it, which takes as long as 30 seconds take, if
    /// a second or more is new.
    #[wasm_bindgen(unchecked_return_type = "Heard")]
    pub fn push(&mut self, samples: &[f32]) -> Result<Object, Error> {
        let heard = self.transcriber.push(samples).map_err(error::from)?;
        Ok(self.object(heard))
    }

    /// Writes down what is left, and begins anew.
    #[wasm_bindgen(unchecked_return_type = "Heard")]
    pub fn finish(&mut self) -> Result<Object, Error> {
        let heard = self.transcriber.finish().map_err(error::from)?;
        Ok(self.object(heard))
    }

    /// The code of the language that is spoken, once something has been heard.
    #[wasm_bindgen(getter)]
    pub fn language(&self) -> Option<String> {
        self.transcriber.language().map(str::to_owned)
    }

    fn object(&self, Heard { segments, stable, tentative, .. }: Heard) -> Object {
        let segments = segments.into_iter().map(|segment| object_of(segment, self.words));
        object::of([
            ("segments", segments.collect::<Array>().into()),
            ("stable", stable.into()),
            ("tentative", tentative.into()),
        ])
    }
}

fn read(options: &JsTranscribeOptions) -> Result<TranscribeOptions, Error> {
    options::check(options)?;
    let mut how = TranscribeOptions::default();
    how.language = options::text(options, "language")?.filter(|code| code != "auto");
    how.translate = match options::text(options, "task")?.as_deref() {
        None | Some("transcribe") => false,
        Some("translate") => true,
        Some(_) => return Err(options::invalid("task", "transcribe or translate")),
    };
    how.words = match options::text(options, "timestamps")?.as_deref() {
        None | Some("segment") => false,
        Some("word") => true,
        Some(_) => return Err(options::invalid("timestamps", "segment or word")),
    };
    Ok(how)
}

fn object_of(segment: Segment, with_words: bool) -> Object {
    let Segment { start, end, text, words, logprob, no_speech, .. } = segment;
    let object = object::of([
        ("start", rounded(start).into()),
        ("end", rounded(end).into()),
        ("text", text.into()),
        ("logprob", logprob.into()),
        ("noSpeech", no_speech.into()),
    ]);
    if with_words {
        object::set(&object, "words", words.into_iter().map(word).collect::<Array>());
    }
    object
}

fn word(Word { start, end, text, probability, .. }: Word) -> Object {
    object::of([
        ("start", rounded(start).into()),
        ("end", rounded(end).into()),
        ("word", text.into()),
        ("probability", probability.into()),
    ])
}

/// Seconds to milliseconds: timestamps are steps of 20 ms.
fn rounded(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}
