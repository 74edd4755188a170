//! `kinglet transcribe`: speech to text.

mod live;

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::{Args, ValueEnum};
use kinglet::{AudioContext, Model, SAMPLE_RATE, Segment, TranscribeOptions, Word};
use serde::Serialize;

use crate::arguments::{ModelArguments, Text};
use crate::failure::Failure;
use crate::interrupt::Guard;
use crate::output::{print, print_json, say};
use crate::progress::Phase;
use crate::subtitles::{Style, subtitle};
use crate::{memory, numbers, resolve, sound, units};

/// Write down what is said in files of sound
///
/// WAV, AIFF, FLAC, MP3, Ogg Vorbis and MP4 (AAC, ALAC) are read, at any rate and with any number of
/// channels. Text is written as it comes, sentence by sentence.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kinglet transcribe whisper-tiny.en talk.mp3
  kinglet transcribe whisper-base interview.m4a -o srt > interview.srt
  kinglet transcribe whisper-base lecture.flac --language de --translate
  kinglet transcribe whisper-base *.wav -o json
  kinglet transcribe whisper-tiny.en talk.mp3 --words -o json
  arecord -f S16_LE -r 16000 -c 1 -d 10 | kinglet transcribe whisper-tiny.en -
  arecord -f S16_LE -r 16000 -c 1 | kinglet transcribe whisper-tiny.en - --live --audio-context auto")]
pub(crate) struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    /// Files of sound; - is standard input: WAV, or samples of 16 bits, mono, 16,000 a second
    #[arg(value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    files: Vec<PathBuf>,
    /// Language that is spoken, such as en or de; auto tells it by the first 30 seconds
    #[arg(short, long, value_name = "CODE", default_value = "auto", value_parser = Text)]
    language: String,
    /// Write it down in English, whatever is spoken
    #[arg(long)]
    translate: bool,
    /// What was said before, or names to be spelled so
    #[arg(short, long, value_name = "TEXT", allow_hyphen_values = true, value_parser = Text)]
    prompt: Option<String>,
    /// Tell when each word is spoken, in JSON
    #[arg(long)]
    words: bool,
    /// Write down standard input as it comes: words as soon as they are sure to stay
    #[arg(long)]
    live: bool,
    /// Do not let what was written guide what comes next
    #[arg(long)]
    no_previous: bool,
    /// What the encoder reads of each 30 seconds: auto reads what there is of sound, a number as many seconds
    /// at a time. Short clips take less time; words may be lost
    #[arg(long, value_name = "SECONDS|auto", value_parser = numbers::audio_context)]
    audio_context: Option<AudioContext>,
    /// Do not report the speed
    #[arg(short, long)]
    quiet: bool,
    /// Report all that is known about speed and memory
    #[arg(short, long, conflicts_with = "quiet")]
    verbose: bool,
    /// Form of the result; json of several files is a list
    #[arg(short, long = "output", value_name = "FORMAT", value_enum, default_value_t)]
    output: Format,
}

/// How a transcript is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A line for each segment.
    #[default]
    Text,
    /// Text, language and segments with their times.
    Json,
    /// Subtitles as SubRip has them.
    Srt,
    /// Subtitles as browsers have them.
    #[value(alias = "webvtt")]
    Vtt,
}

/// A file's transcript, for JSON.
#[derive(Serialize)]
struct Transcribed {
    file: String,
    seconds: f64,
    /// Seconds of work.
    took: f64,
    language: Option<String>,
    text: String,
    segments: Vec<Part>,
}

/// A segment, for JSON.
#[derive(Serialize)]
struct Part {
    start: f64,
    end: f64,
    text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    words: Option<Vec<Spoken>>,
    logprob: f32,
    no_speech: f32,
}

/// A word, for JSON.
#[derive(Serialize)]
struct Spoken {
    word: String,
    start: f64,
    end: f64,
    probability: f32,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let files = arguments.model.paths(&arguments.files);
    let Some(first) = files.first() else {
        return Err(Failure::usage("no FILE given: name files of sound, or - for standard input"));
    };
    if files.len() > 1 && matches!(arguments.output, Format::Srt | Format::Vtt) {
        return Err(Failure::usage("subtitles are of one file: name one FILE"));
    }
    if arguments.words && arguments.output != Format::Json {
        return Err(Failure::usage("--words are told in JSON: add -o json"));
    }
    if arguments.live && files != [Path::new("-")] {
        return Err(Failure::usage("--live hears standard input: the FILE is -"));
    }
    resolve::check(&arguments.model, "transcribe", &[], "whisper-tiny.en")?;
    if arguments.live {
        let model = resolve::open(&arguments.model)?.model;
        return live::run(arguments, &model);
    }
    // Before a model is fetched for it.
    let mut sound = Some(sound::read(first)?);
    let model = resolve::open(&arguments.model)?.model;
    let options = arguments.options();
    let mut results = Vec::new();
    for file in &files {
        let samples = match sound.take() {
            Some(samples) => samples,
            None => sound::read(file)?,
        };
        let result = transcribe(arguments, &model, &options, file, &samples)
            .map_err(|failure| failure.during(file.display()))?;
        results.push(result);
    }
    match (arguments.output, &results[..]) {
        (Format::Json, [one]) => print_json(one),
        (Format::Json, several) => print_json(&several),
        _ => Ok(()),
    }
}

impl Arguments {
    fn options(&self) -> TranscribeOptions {
        let mut options = TranscribeOptions::default()
            .translate(self.translate)
            .words(self.words)
            .condition_on_previous(!self.no_previous);
        if self.language != "auto" {
            options = options.language(&self.language);
        }
        if let Some(context) = self.audio_context {
            options = options.audio_context(context);
        }
        if let Some(prompt) = &self.prompt {
            options = options.prompt(prompt);
        }
        options
    }
}

/// Writes down one file, as it goes where the form allows it.
fn transcribe(
    arguments: &Arguments,
    model: &Model,
    options: &TranscribeOptions,
    file: &Path,
    samples: &[f32],
) -> Result<Transcribed, Failure> {
    let seconds = samples.len() as f64 / SAMPLE_RATE as f64;
    let start = Instant::now();
    let mut transcription = model.transcription(samples, options)?;
    let guard = Guard::cancel(transcription.cancel_token());
    let phase = (!arguments.quiet)
        .then(|| Phase::steps(&file.display().to_string(), seconds as u64, "seconds of sound"));
    if arguments.output == Format::Vtt {
        print("WEBVTT\n\n")?;
    }
    let mut segments = Vec::new();
    while let Some(segment) = transcription.next() {
        let segment = segment?;
        guard.check()?;
        if let Some(phase) = &phase {
            phase.set(transcription.heard() as u64);
        }
        write(arguments.output, segments.len() + 1, &segment)?;
        segments.push(segment);
    }
    guard.check()?;
    drop(phase);
    let work = Work { file, seconds, took: start.elapsed().as_secs_f64() };
    let language = transcription.language().map(str::to_owned);
    report(arguments, model, &work, language.as_deref());
    Ok(Transcribed::new(arguments, &work, language, segments))
}

/// What has been done.
struct Work<'a> {
    file: &'a Path,
    /// Seconds of sound.
    seconds: f64,
    /// Seconds of work.
    took: f64,
}

/// Tells the speed, if it is asked for.
fn report(arguments: &Arguments, model: &Model, work: &Work<'_>, language: Option<&str>) {
    if arguments.quiet {
        return;
    }
    let &Work { seconds, took, .. } = work;
    let language = language.map_or(String::new(), |code| format!(", {code}"));
    let factor = seconds / took;
    let speed = format!("{seconds:.1} s of sound{language} in {took:.1} s: {factor:.1}x real time");
    if arguments.verbose {
        let threads = units::count(model.n_threads(), "thread");
        say!("{speed}; kernels {}, {threads}; {}", model.kernel_set(), memory::describe());
    } else {
        say!("{speed}");
    }
}

impl Transcribed {
    fn new(
        arguments: &Arguments,
        work: &Work<'_>,
        language: Option<String>,
        segments: Vec<Segment>,
    ) -> Self {
        let text: String = segments.iter().map(|segment| segment.text.as_str()).collect();
        let spoken = |word: Word| Spoken {
            start: rounded(word.start),
            end: rounded(word.end),
            word: word.text,
            probability: word.probability,
        };
        let part = |segment: Segment| Part {
            start: rounded(segment.start),
            end: rounded(segment.end),
            text: segment.text,
            words: arguments.words.then(|| segment.words.into_iter().map(spoken).collect()),
            logprob: segment.logprob,
            no_speech: segment.no_speech,
        };
        Self {
            file: work.file.display().to_string(),
            seconds: rounded(work.seconds),
            took: rounded(work.took),
            language,
            text: text.trim().to_owned(),
            segments: segments.into_iter().map(part).collect(),
        }
    }
}

/// Writes a segment, unless it is kept for the end.
fn write(format: Format, number: usize, segment: &Segment) -> Result<(), Failure> {
    match format {
        Format::Text => print(&format!("{}\n", segment.text.trim())),
        Format::Srt => print(&subtitle(Style::Srt, number, segment)),
        Format::Vtt => print(&subtitle(Style::Vtt, number, segment)),
        Format::Json => Ok(()),
    }
}

/// To milliseconds.
fn rounded(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}
