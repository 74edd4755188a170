//! `/v1/audio/transcriptions` and `/v1/audio/translations`

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{FromRequest, Multipart, Request, State as Shared};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use kinglet::{SAMPLE_RATE, Segment, TranscribeOptions, Transcript};
use serde_json::{Value, json};

use crate::State;
use crate::error::ApiError;
use crate::models::compute;
use crate::reading::{body, json};

/// Longest value of a field that is no file.
const LONGEST_VALUE: usize = 64 << 10;

/// A form as it was sent.
#[derive(Default)]
struct Form {
    file: Option<Bytes>,
    model: Option<String>,
    language: Option<String>,
    prompt: Option<String>,
    format: Format,
    temperature: Option<f32>,
    words: bool,
}

/// How an answer is written.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Format {
    #[default]
    Json,
    Verbose,
    Text,
    Srt,
    Vtt,
}

pub(super) async fn transcriptions(
    Shared(state): Shared<Arc<State>>,
    request: Request,
) -> Result<Response, ApiError> {
    answer(&state, request, false).await
}

pub(super) async fn translations(
    Shared(state): Shared<Arc<State>>,
    request: Request,
) -> Result<Response, ApiError> {
    answer(&state, request, true).await
}

async fn answer(state: &State, request: Request, translate: bool) -> Result<Response, ApiError> {
    let Some(decode) = state.options.decode_sound else {
        return Err(ApiError::invalid("this server reads no sound"));
    };
    let form = form(state, request, translate).await?;
    let file = form.file.ok_or_else(|| ApiError::field("file", "file is missing"))?;
    let (_, opened) = state.models.open(form.model.as_deref()).await?;
    let mut options = TranscribeOptions::default().translate(translate).words(form.words);
    if let Some(language) = form.language {
        options = options.language(language);
    }
    if let Some(prompt) = form.prompt {
        options = options.prompt(prompt);
    }
    if let Some(temperature) = form.temperature {
        options = options.temperatures([temperature]);
    }
    let samples = tokio::task::spawn_blocking(move || decode(file.into()));
    let samples = samples.await.map_err(|error| ApiError::internal(error.to_string()))?;
    let samples = samples.map_err(|why| ApiError::field("file", format!("file: {why}")))?;
    let seconds = samples.len() as f64 / SAMPLE_RATE as f64;
    let heard = compute(opened, move |model| model.transcribe(&samples, &options)).await?;
    Ok(written(&heard, form.format, seconds, translate))
}

/// The fields of a form, all of them known.
async fn form(state: &State, request: Request, translate: bool) -> Result<Form, ApiError> {
    let is_form = request
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"multipart/form-data"));
    if !is_form {
        return Err(ApiError::invalid("send a form: `Content-Type: multipart/form-data`"));
    }
    let (parts, stream) = request.into_parts();
    let bytes = body(stream, state.options.upload, state.options.patience).await?;
    let request = Request::from_parts(parts, bytes.into());
    let broken = |why: String| ApiError::invalid(format!("the form is broken: {why}"));
    let mut fields =
        Multipart::from_request(request, &()).await.map_err(|e| broken(e.to_string()))?;
    let mut form = Form::default();
    while let Some(field) = fields.next_field().await.map_err(|e| broken(e.to_string()))? {
        let name = field.name().unwrap_or_default().to_owned();
        let value = field.bytes().await.map_err(|e| broken(e.to_string()))?;
        if name == "file" {
            form.file = Some(value);
            continue;
        }
        let wrong = |why: &str| ApiError::field(&*name, format!("{name} {why}"));
        if value.len() > LONGEST_VALUE {
            return Err(wrong("is too long"));
        }
        let text = str::from_utf8(&value).map_err(|_| wrong("is not UTF-8"))?.to_owned();
        match name.as_str() {
            "model" => form.model = Some(text),
            "language" if !translate => form.language = Some(text).filter(|code| code != "auto"),
            "prompt" => form.prompt = Some(text),
            "response_format" => {
                form.format = match text.as_str() {
                    "json" => Format::Json,
                    "verbose_json" => Format::Verbose,
                    "text" => Format::Text,
                    "srt" => Format::Srt,
                    "vtt" => Format::Vtt,
                    _ => return Err(wrong("must be json, text, srt, verbose_json or vtt")),
                };
            }
            "temperature" => {
                let number = text.parse::<f32>().ok().filter(|t| (0.0..=1.0).contains(t));
                let number = number.ok_or_else(|| wrong("must be a number from 0 to 1"))?;
                // OpenAI's 0 is the default: hotter only where that fails.
                form.temperature = Some(number).filter(|&number| number > 0.0);
            }
            "timestamp_granularities[]" | "timestamp_granularities" => match text.as_str() {
                "word" => form.words = true,
                "segment" => {}
                _ => return Err(wrong("must be word or segment")),
            },
            "stream" if text != "true" => {}
            "stream" => return Err(wrong("is not known to this server here; leave it out")),
            _ => return Err(wrong("is not known to this server; leave it out")),
        }
    }
    if form.words && form.format != Format::Verbose {
        let why = "timestamp_granularities[] needs `response_format` to be verbose_json";
        return Err(ApiError::field("timestamp_granularities[]", why));
    }
    Ok(form)
}

fn written(heard: &Transcript, format: Format, seconds: f64, translate: bool) -> Response {
    let plain = |text: String| {
        ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response()
    };
    match format {
        Format::Json => json(&json!({"text": heard.text.trim()})),
        Format::Verbose => {
            let segments = heard.segments.iter().enumerate().map(|(id, segment)| {
                json!({
                    "id": id,
                    "seek": 0,
                    "start": segment.start,
                    "end": segment.end,
                    "text": segment.text,
                    "tokens": segment.tokens,
                    "temperature": segment.temperature,
                    "avg_logprob": segment.logprob,
                    "no_speech_prob": segment.no_speech,
                })
            });
            let words = heard.segments.iter().flat_map(|segment| &segment.words).map(
                |word| json!({"word": word.text.trim(), "start": word.start, "end": word.end}),
            );
            let (segments, words): (Vec<Value>, Vec<Value>) = (segments.collect(), words.collect());
            let mut answer = json!({
                "task": if translate { "translate" } else { "transcribe" },
                "language": heard.language,
                "duration": seconds,
                "text": heard.text.trim(),
                "segments": segments,
            });
            if !words.is_empty() {
                answer["words"] = Value::Array(words);
            }
            json(&answer)
        }
        Format::Text => plain(format!("{}\n", heard.text.trim())),
        Format::Srt => {
            let cue =
                |(i, segment): (usize, &Segment)| format!("{}\n{}\n\n", i + 1, cue(segment, ','));
            plain(heard.segments.iter().enumerate().map(cue).collect())
        }
        Format::Vtt => {
            let cues = heard.segments.iter().map(|segment| format!("{}\n\n", cue(segment, '.')));
            plain(format!("WEBVTT\n\n{}", cues.collect::<String>()))
        }
    }
}

/// A segment's times and text, as subtitles have them.
fn cue(segment: &Segment, point: char) -> String {
    let clock = |seconds: f64| {
        let millis = (seconds * 1000.0).round() as u64;
        let (minutes, rest) = (millis / 60_000, millis % 60_000);
        let (hours, minutes) = (minutes / 60, minutes % 60);
        format!("{hours:02}:{minutes:02}:{:02}{point}{:03}", rest / 1000, rest % 1000)
    };
    format!("{} --> {}\n{}", clock(segment.start), clock(segment.end), segment.text.trim())
}
