//! Window after window of sound to segments.

use kinglet_formats::kinglet::Speech;

use super::decode::{Answer, Prompt, Writer};
use super::segments::{Part, cut};
use super::times::token_times;
use super::words::{Spelled, fit, shorten, spelled, with_punctuation};
use super::{AudioContext, Segment, TranscribeOptions, Word, is_silent};
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
/// Silence that is read after the sound, in frames, where not all of it is: models were trained on sound
/// that ends before its window does.
const TAIL: usize = 2 * SAMPLE_RATE / HOP;

/// What is listened to.
#[derive(Clone, Copy)]
pub(super) struct Sound<'a> {
    pub(super) samples: &'a [f32],
    /// Largest logarithm of a power in all of it; `None` takes that of each window.
    pub(super) loudest: Option<f32>,
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
    /// Frames that make a row of the encoder.
    frames_per_row: usize,
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
            reason: match model.meta().dictation {
                Some(_) => "it hears whole sounds alone, and tells no times",
                None => "it hears nothing; models that do are Whisper's, see `kinglet models`",
            }
            .to_owned(),
        };
        let speech = model.meta().speech.clone().ok_or_else(wrong)?;
        let network = &model.runner().network;
        let BoundInput::Spectrogram(input) = &network.stacks[network.entry()].input else {
            return Err(wrong());
        };
        let frames_per_row = input.frames_per_row();
        let longest = match options.audio_context {
            AudioContext::Seconds(s) => (f64::from(s) / FRAME) as usize,
            AudioContext::Whole | AudioContext::Sound => input.n_frames,
        };
        let longest = longest.next_multiple_of(frames_per_row);
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
            window: (longest.min(input.n_frames), input.n_mels),
            frames_per_row,
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
        let n_frames = (sound.n_frames() - seek).min(self.window.0);
        let heard = &sound.samples[seek * HOP..];
        if is_silent(&heard[..heard.len().min(n_frames * HOP)], self.options.silence) {
            return Ok(Some((Vec::new(), seek + n_frames)));
        }
        if !self.open(sound, seek)? {
            return Ok(None);
        }
        let seed = self.options.seed.wrapping_add(seek as u64);
        let Some(answer) = self.answer(Vec::new(), seed, false)? else { return Ok(None) };
        if answer.is_silence(&self.options) {
            return Ok(Some((Vec::new(), seek + n_frames)));
        }
        let (parts, advance) = cut(&self.speech, &answer.tokens, n_frames);
        let Some(segments) = self.segments(&answer, parts, seek, n_frames)? else {
            return Ok(None);
        };
        Ok(Some((segments, seek + advance)))
    }

    /// Frames of a window.
    pub(super) fn window(&self) -> usize {
        self.window.0
    }

    /// The model's tokens.
    pub(super) fn speech(&self) -> &Speech {
        &self.speech
    }

    /// Whether sound is too soft to be heard.
    pub(super) fn is_silent(&self, samples: &[f32]) -> bool {
        is_silent(samples, self.options.silence)
    }

    /// Text of tokens, without timestamps.
    pub(super) fn text(&self, tokens: &[u32]) -> String {
        let text: Vec<u32> =
            tokens.iter().copied().filter(|&token| token < self.speech.end).collect();
        self.session.model().tokenizer().decode(&text, true)
    }

    /// Words of tokens of text.
    pub(super) fn spelled(&self, tokens: &[u32]) -> Vec<Spelled> {
        spelled(self.session.model().tokenizer(), tokens, self.language())
    }

    /// Reads the window that begins at frame `seek` of a sound, and tells the language if it is not known.
    /// `false` if cancelled.
    pub(super) fn open(&mut self, sound: Sound<'_>, seek: usize) -> Result<bool, Error> {
        let (window, n_mels) = self.window;
        let n_frames = match self.options.audio_context {
            AudioContext::Whole | AudioContext::Seconds(_) => window,
            AudioContext::Sound => {
                (sound.n_frames() - seek + TAIL).next_multiple_of(self.frames_per_row)
            }
        };
        let mut frames = vec![0.0; n_frames.min(window) * n_mels];
        self.mel.logarithms(sound.samples, seek, &mut frames);
        let most = || frames.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let loudest = sound.loudest.unwrap_or_else(most);
        normalize(&mut frames, loudest);
        if !self.session.hear(&frames)? {
            return Ok(false);
        }
        if self.language.is_none() && !self.speech.languages.is_empty() {
            self.language = self.writer.language(&mut self.session)?;
            return Ok(self.language.is_some());
        }
        Ok(true)
    }

    /// What the model writes of the window, of which `given` is known; at the first temperature alone if it
    /// is in a `hurry`. `None` if cancelled.
    pub(super) fn answer(
        &mut self,
        given: Vec<u32>,
        seed: u64,
        hurry: bool,
    ) -> Result<Option<Answer>, Error> {
        let prompt = self.prompt(given);
        let n = if hurry { 1 } else { self.options.temperatures.len() };
        self.writer.answer(&mut self.session, &prompt, &self.options, n, seed)
    }

    /// Whether nobody speaks in an answer.
    pub(super) fn is_silence(&self, answer: &Answer) -> bool {
        answer.is_silence(&self.options)
    }

    /// Whether an answer should not be trusted.
    pub(super) fn looks_wrong(&self, answer: &Answer) -> bool {
        answer.looks_wrong(&self.options)
    }

    /// The segments of an answer's parts, which guide the next answer; the window has `n_frames` frames from
    /// number `seek` on. `None` if cancelled.
    pub(super) fn segments(
        &mut self,
        answer: &Answer,
        parts: Vec<Part>,
        seek: usize,
        n_frames: usize,
    ) -> Result<Option<Vec<Segment>>, Error> {
        let segments = parts.into_iter().filter_map(|part| self.segment(answer, part, seek));
        let mut segments: Vec<Segment> = segments.collect();
        if self.options.words && !self.time(&mut segments, seek, n_frames)? {
            return Ok(None);
        }
        self.remember(answer, &segments);
        Ok(Some(segments))
    }

    /// When the words of `text` are spoken in one window.
    pub(super) fn align(&mut self, samples: &[f32], text: &str) -> Result<Vec<Word>, Error> {
        let sound = Sound { samples, loudest: None };
        let n_frames = sound.n_frames();
        if n_frames > self.window.0 {
            let (wanted, context_length) = (n_frames, self.window.0);
            return Err(Error::ContextFull { used: 0, wanted, context_length });
        }
        let tokens = self.session.model().tokenizer().encode(&format!(" {}", text.trim()), PLAIN);
        if tokens.is_empty() || !self.open(sound, 0)? {
            return Ok(Vec::new());
        }
        let (begin, spelled) = (self.begin(), self.spelled(&tokens));
        let Self { session, speech, .. } = self;
        let times = token_times(session, speech, &begin, &tokens, n_frames / 2)?;
        let words = times.map_or(Vec::new(), |times| times.words(spelled, 0.0));
        Ok(with_punctuation(words))
    }

    /// Finds the words of a window's segments. `false` if cancelled.
    fn time(
        &mut self,
        segments: &mut [Segment],
        seek: usize,
        n_frames: usize,
    ) -> Result<bool, Error> {
        let end = self.speech.end;
        let (mut tokens, mut spelled, mut counts) = (Vec::new(), Vec::new(), Vec::new());
        for segment in &*segments {
            let text = segment.tokens.iter().copied().filter(|&token| token < end);
            let text: Vec<u32> = text.collect();
            let words = self.spelled(&text);
            counts.push(words.len());
            spelled.extend(words.into_iter().map(|word| word.later(tokens.len())));
            tokens.extend(text);
        }
        if tokens.is_empty() {
            return Ok(true);
        }
        let begin = self.begin();
        let Self { session, speech, .. } = self;
        let Some(times) = token_times(session, speech, &begin, &tokens, n_frames / 2)? else {
            return Ok(false);
        };
        let mut words = times.words(spelled, seek as f64 * FRAME);
        let usual = shorten(&mut words);
        let mut words = words.into_iter();
        for (segment, n) in segments.iter_mut().zip(counts) {
            segment.words = with_punctuation(words.by_ref().take(n).collect());
            fit(segment, usual);
        }
        Ok(true)
    }

    /// The tokens that begin an answer.
    fn begin(&self) -> Vec<u32> {
        let speech = &self.speech;
        let task = if self.options.translate { speech.translate } else { speech.transcribe };
        let language = self.language.map(|i| speech.languages[i].token);
        [Some(speech.start), language, task].into_iter().flatten().collect()
    }

    /// What asks for an answer: as much of what was written before as half the context takes, and what
    /// begins one.
    fn prompt(&self, given: Vec<u32>) -> Prompt {
        let speech = &self.speech;
        let mut tokens = Vec::new();
        if let Some(previous) = speech.previous.filter(|_| !self.history.is_empty()) {
            let most = (self.session.context_length() / 2).saturating_sub(1 + given.len());
            tokens.push(previous);
            tokens.extend(&self.history[self.history.len().saturating_sub(most)..]);
        }
        let start = tokens.len();
        tokens.extend(self.begin());
        Prompt { tokens, start, given }
    }

    /// A segment, unless nothing is said in it.
    fn segment(&self, answer: &Answer, part: Part, seek: usize) -> Option<Segment> {
        let tokens = &answer.tokens[part.tokens];
        let text = self.text(tokens);
        if text.trim().is_empty() || part.start == part.end {
            return None;
        }
        let offset = seek as f64 * FRAME;
        Some(Segment {
            start: offset + part.start,
            end: offset + part.end,
            text,
            tokens: tokens.to_vec(),
            words: Vec::new(),
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
