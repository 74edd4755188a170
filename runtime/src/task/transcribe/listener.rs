//! Window after window of sound to segments.

use kinglet_formats::kinglet::Speech;

use super::decode::{Answer, Prompt, Writer};
use super::segments::{Part, cut};
use super::{Segment, TranscribeOptions};
use crate::error::Error;
use crate::media::audio::{HOP, LogMel, SAMPLE_RATE, normalize};
use crate::model::Model;
use crate::network::BoundInput;
use crate::task::session::{CancelToken, Session};
use crate::tokenizer::EncodeOptions;

/// Texts as they are, without tokens that mean anything else.
const PLAIN: EncodeOptions = EncodeOptions { add_special: false, parse_special: false };
/// Temperature above which an answer does not guide the next.
const WILD: f32 = 0.5;
/// Seconds of a frame.
const FRAME: f64 = HOP as f64 / SAMPLE_RATE as f64;
/// Samples that are loud or silent together: 20 ms.
const BLOCK: usize = SAMPLE_RATE / 50;

/// What is listened to.
#[derive(Clone, Copy)]
pub(super) struct Sound<'a> {
    pub(super) samples: &'a [f32],
    /// Largest logarithm of a power in all of it.
    pub(super) loudest: f32,
}

impl Sound<'_> {
    /// Its frames, the last one begun.
    pub(super) fn n_frames(&self) -> usize {
        self.samples.len().div_ceil(HOP)
    }
}

/// Listens to windows of sound and writes them down.
pub(super) struct Listener {
    session: Session,
    speech: Speech,
    options: TranscribeOptions,
    writer: Writer,
    mel: LogMel,
    /// Frames and bands of a window.
    window: (usize, usize),
    /// Number of the language that is spoken, once it is known.
    language: Option<usize>,
    /// What was written before.
    history: Vec<u32>,
}

impl Listener {
    pub(super) fn new(model: &Model, options: &TranscribeOptions) -> Result<Self, Error> {
        options.check()?;
        let wrong = || Error::WrongTask {
            task: "write down speech",
            reason: "it hears nothing; models that do are Whisper's, see `kinglet models`"
                .to_owned(),
        };
        let speech = model.meta().speech.clone().ok_or_else(wrong)?;
        let network = &model.runner().network;
        let BoundInput::Spectrogram(input) = &network.stacks[network.entry()].input else {
            return Err(wrong());
        };
        let language = match &options.language {
            None => None,
            Some(code) => known_language(&speech, code)?,
        };
        if options.translate && speech.translate.is_none() {
            return Err(Error::WrongTask {
                task: "translate speech",
                reason: "it knows one language alone".to_owned(),
            });
        }
        let prompt = options.prompt.as_deref().map(str::trim).filter(|text| !text.is_empty());
        let encode = |text: &str| model.tokenizer().encode(&format!(" {text}"), PLAIN);
        Ok(Self {
            session: model.session()?,
            writer: Writer::new(model, speech.clone()),
            mel: LogMel::new(input.n_mels),
            window: (input.n_frames, input.n_mels),
            options: options.clone(),
            history: prompt.map_or_else(Vec::new, encode),
            speech,
            language,
        })
    }

    /// The code of the language that is spoken, once it is known.
    pub(super) fn language(&self) -> Option<&str> {
        Some(&self.speech.languages[self.language?].code)
    }

    pub(super) fn cancel_token(&self) -> CancelToken {
        self.session.cancel_token()
    }

    /// The largest logarithm of a power in `samples`.
    pub(super) fn loudest(&mut self, samples: &[f32]) -> f32 {
        self.mel.loudest(samples)
    }

    /// The segments of the window that begins at frame `seek`, and the frame at which the next one
    /// begins. `None` if cancelled.
    pub(super) fn hear(
        &mut self,
        sound: Sound<'_>,
        seek: usize,
    ) -> Result<Option<(Vec<Segment>, usize)>, Error> {
        let (window, n_mels) = self.window;
        let n_frames = (sound.n_frames() - seek).min(window);
        let heard = &sound.samples[seek * HOP..];
        if is_silent(&heard[..heard.len().min(n_frames * HOP)], self.options.silence) {
            return Ok(Some((Vec::new(), seek + n_frames)));
        }
        let mut frames = vec![0.0; window * n_mels];
        self.mel.logarithms(sound.samples, seek, &mut frames);
        normalize(&mut frames, sound.loudest);
        if !self.session.hear(&frames)? {
            return Ok(None);
        }
        if self.language.is_none() && !self.speech.languages.is_empty() {
            self.language = self.writer.language(&mut self.session)?;
            if self.language.is_none() {
                return Ok(None);
            }
        }
        let prompt = self.prompt();
        let seed = self.options.seed.wrapping_add(seek as u64);
        let answer = self.writer.answer(&mut self.session, &prompt, &self.options, seed)?;
        let Some(answer) = answer else { return Ok(None) };
        if answer.is_silence(&self.options) {
            return Ok(Some((Vec::new(), seek + n_frames)));
        }
        let (parts, advance) = cut(&self.speech, &answer.tokens, n_frames);
        let segments = parts.into_iter().filter_map(|part| self.segment(&answer, part, seek));
        let segments: Vec<Segment> = segments.collect();
        self.remember(&answer, &segments);
        Ok(Some((segments, seek + advance)))
    }

    /// What asks for an answer: as much of what was written before as half the context takes, and what
    /// begins one.
    fn prompt(&self) -> Prompt {
        let speech = &self.speech;
        let mut tokens = Vec::new();
        if let Some(previous) = speech.previous.filter(|_| !self.history.is_empty()) {
            let most = (self.session.context_length() / 2).saturating_sub(1);
            tokens.push(previous);
            tokens.extend(&self.history[self.history.len().saturating_sub(most)..]);
        }
        let start = tokens.len();
        tokens.push(speech.start);
        tokens.extend(self.language.map(|i| speech.languages[i].token));
        let task = if self.options.translate { speech.translate } else { speech.transcribe };
        tokens.extend(task);
        Prompt { tokens, start }
    }

    /// A segment, unless nothing is said in it.
    fn segment(&self, answer: &Answer, part: Part, seek: usize) -> Option<Segment> {
        let tokens = &answer.tokens[part.tokens];
        let text: Vec<u32> =
            tokens.iter().copied().filter(|&token| token < self.speech.end).collect();
        let text = self.session.model().tokenizer().decode(&text, true);
        if text.trim().is_empty() || part.start == part.end {
            return None;
        }
        let offset = seek as f64 * FRAME;
        Some(Segment {
            start: offset + part.start,
            end: offset + part.end,
            text,
            tokens: tokens.to_vec(),
            logprob: answer.logprob(),
            no_speech: answer.no_speech,
            temperature: answer.temperature,
        })
    }

    /// Keeps what guides the next answer.
    fn remember(&mut self, answer: &Answer, segments: &[Segment]) {
        if !self.options.condition_on_previous || answer.temperature > WILD {
            self.history.clear();
            return;
        }
        self.history.extend(segments.iter().flat_map(|segment| &segment.tokens));
        // No more is ever used.
        let most = self.session.context_length();
        let gone = self.history.len().saturating_sub(most);
        self.history.drain(..gone);
    }
}

/// The number of a language; none of a model that knows one alone, if it is that one.
fn known_language(speech: &Speech, code: &str) -> Result<Option<usize>, Error> {
    let code = code.to_ascii_lowercase();
    if speech.languages.is_empty() && code == "en" {
        return Ok(None);
    }
    let found = speech.languages.iter().position(|language| language.code == code);
    found.map(Some).ok_or_else(|| Error::UnknownLanguage {
        code,
        known: match speech.languages.is_empty() {
            true => vec!["en".to_owned()],
            false => speech.languages.iter().map(|language| language.code.clone()).collect(),
        },
    })
}

/// Whether no 20 ms are louder than `silence` decibels below full scale.
fn is_silent(samples: &[f32], silence: f32) -> bool {
    let least = 10f64.powf(f64::from(silence) / 10.0);
    let power = |block: &[f32]| block.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>();
    samples.chunks(BLOCK).all(|block| power(block) <= least * block.len() as f64)
}
