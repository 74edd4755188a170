//! What all generations of texts have in common: settings, ends, events to send.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_core::Stream;
use kinglet::{FinishReason, Form, GenerateOptions, Model, TokenLogprobs, Usage};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::sampler;
use crate::engine::{Answering, Told};
use crate::error::ApiError;
use crate::fields::Fields;
use crate::models::seconds;

/// Most texts that end an answer.
const MOST_STOPS: usize = 16;
/// Most answers to one prompt.
const MOST_ANSWERS: usize = 64;
/// Fields that tell the provider about the client and change no answer.
const HARMLESS: &[&str] = &[
    "user",
    "metadata",
    "store",
    "service_tier",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
];

/// The settings of a request.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) model: Option<String>,
    pub(super) options: GenerateOptions,
    /// Answers wanted.
    pub(super) n: usize,
    /// Whether the answer is sent as it is made, and its tokens are counted at the end.
    pub(super) stream: bool,
    pub(super) with_usage: bool,
    /// Whether what is known of the prompt may be used.
    pub(super) fresh: bool,
}

impl Settings {
    /// Takes the fields that every generation knows.
    pub(super) fn take(fields: &mut Fields) -> Result<Self, ApiError> {
        fields.ignore(HARMLESS);
        let stop = fields.texts("stop")?;
        if stop.len() > MOST_STOPS || stop.iter().any(String::is_empty) {
            let why = format!("has an empty text, or more than {MOST_STOPS} texts");
            return Err(fields.wrong("stop", why));
        }
        let limits = ["max_completion_tokens", "max_tokens", "n_predict"];
        let mut max_tokens = None;
        for name in limits {
            // llama.cpp's way to say that there is no limit.
            let value = fields.optional::<i64>(name)?;
            if value.is_some_and(|n| n < -1) {
                return Err(fields.wrong(name, "must be 0 or more"));
            }
            max_tokens = max_tokens.or(value.and_then(|n| usize::try_from(n).ok()));
        }
        let seed = fields.optional::<i64>("seed")?;
        let mut options = GenerateOptions {
            max_tokens,
            temperature: fields.number("temperature", 0.0..=100.0)?,
            top_k: fields.count("top_k", 0..=usize::MAX)?,
            top_p: fields.number("top_p", 0.0..=1.0)?,
            min_p: fields.number("min_p", 0.0..=1.0)?,
            presence_penalty: fields.number("presence_penalty", -2.0..=2.0)?,
            frequency_penalty: fields.number("frequency_penalty", -2.0..=2.0)?,
            repeat_last_n: fields.count("repeat_last_n", 0..=usize::MAX)?,
            seed: seed.map(|seed| seed as u64),
            stop,
            ignore_eos: fields.optional("ignore_eos")?.unwrap_or(false),
            logit_bias: biases(fields)?,
            extras: sampler::take(fields)?,
            ..GenerateOptions::default()
        };
        for name in ["repeat_penalty", "repetition_penalty"] {
            options.repeat_penalty = fields.number(name, 0.01..=10.0)?.or(options.repeat_penalty);
        }
        options.form = form(fields)?;
        let stream = fields.optional("stream")?.unwrap_or(false);
        let mut with_usage = false;
        if let Some(value) = fields.value("stream_options") {
            if !stream {
                return Err(fields.wrong("stream_options", "is for streams: set `stream`"));
            }
            let mut inner = Fields::of(value, "stream_options")?;
            with_usage = inner.optional("include_usage")?.unwrap_or(false);
            inner.ignore(&["include_obfuscation"]);
            inner.end()?;
        }
        Ok(Self {
            model: fields.optional("model")?,
            options,
            n: fields.count("n", 1..=MOST_ANSWERS)?.unwrap_or(1),
            stream,
            with_usage,
            fresh: !fields.optional("cache_prompt")?.unwrap_or(true),
        })
    }

    /// The options of answer number `index`, completed by how the model is served.
    pub(super) fn of_answer(
        &self,
        index: usize,
        model: &Model,
        served: &GenerateOptions,
    ) -> GenerateOptions {
        let file = &model.meta().generation;
        let own = self.options.clone();
        // Answers to one prompt are to differ.
        let seed = match own.seed {
            Some(seed) => seed.wrapping_add(index as u64),
            None => random_seed(),
        };
        GenerateOptions {
            max_tokens: own.max_tokens.or(served.max_tokens),
            temperature: own.temperature.or(file.temperature).or(served.temperature),
            top_p: own.top_p.or(file.top_p).or(served.top_p),
            seed: Some(seed),
            ..own
        }
    }
}

/// The form that answers are to have, in OpenAI's words or in those of other servers.
fn form(fields: &mut Fields) -> Result<Option<Form>, ApiError> {
    let mut forms = Vec::new();
    if let Some(value) = fields.value("response_format") {
        let mut format = Fields::of(value, "response_format")?;
        let kind: String = format.required("type")?;
        match kind.as_str() {
            "text" => {}
            "json_object" => forms.push(Form::JsonObject),
            "json_schema" => {
                let inner: Value = format.required("json_schema")?;
                let mut inner = Fields::of(inner, "response_format.json_schema")?;
                forms.push(Form::JsonSchema(inner.required("schema")?));
                inner.ignore(&["name", "description", "strict"]);
                inner.end()?;
            }
            _ => {
                let why = format!("is {kind:?}, but must be text, json_object or json_schema");
                return Err(format.wrong("type", why));
            }
        }
        format.end()?;
    }
    forms.extend(fields.value("json_schema").map(Form::JsonSchema));
    forms.extend(fields.optional("regex")?.map(Form::Regex));
    forms.extend(fields.optional("lark")?.map(Form::Lark));
    if forms.len() > 1 {
        return Err(ApiError::invalid("the answer can have one form only; leave the others out"));
    }
    Ok(forms.pop())
}

/// `{"token id": bias}`.
fn biases(fields: &mut Fields) -> Result<Vec<(u32, f32)>, ApiError> {
    let Some(value) = fields.value("logit_bias") else { return Ok(Vec::new()) };
    let wrong = || {
        let why = "must be an object from token ids to numbers from -100 to 100";
        ApiError::field("logit_bias", format!("logit_bias {why}"))
    };
    let Value::Object(map) = value else { return Err(wrong()) };
    let bias = |(id, bias): (String, Value)| {
        let id = id.parse::<u32>().ok()?;
        let bias = bias.as_f64().filter(|bias| (-100.0..=100.0).contains(bias))?;
        // OpenAI's word for never.
        Some((id, if bias <= -100.0 { f32::NEG_INFINITY } else { bias as f32 }))
    };
    map.into_iter().map(|pair| bias(pair).ok_or_else(wrong)).collect()
}

/// A seed that differs from request to request.
fn random_seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0)
}

/// An id that no other answer has.
pub(super) fn new_id(kind: &str) -> String {
    format!("{kind}-{:016x}", random_seed())
}

/// What all parts of an answer say.
#[derive(Debug)]
pub(super) struct Shape {
    id: String,
    created: u64,
    model: String,
    /// Whether the tokens' probabilities were asked for.
    pub(super) logprobs: bool,
}

impl Shape {
    /// Of a new answer.
    pub(super) fn new(kind: &str, model: &str, logprobs: bool) -> Self {
        Self { id: new_id(kind), created: seconds(), model: model.to_owned(), logprobs }
    }

    /// The answer, or a part of it.
    pub(super) fn object(&self, kind: &str, choices: Vec<Value>) -> Value {
        json!({
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": concat!("kinglet-", env!("CARGO_PKG_VERSION")),
            "choices": choices,
        })
    }
}

/// What comes first from any of several answers, and from which.
pub(super) async fn next_of<T>(
    parts: &mut [T],
    answering: impl Fn(&mut T) -> &mut Answering,
) -> (usize, Option<Told>) {
    std::future::poll_fn(|context| {
        for (at, part) in parts.iter_mut().enumerate() {
            if let Poll::Ready(told) = answering(part).poll_next(context) {
                return Poll::Ready((at, told));
            }
        }
        Poll::Pending
    })
    .await
}

/// OpenAI's word for the end of an answer.
pub(super) fn finish_word(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::MaxTokens | FinishReason::ContextFull => "length",
        _ => "stop",
    }
}

/// Tokens of all answers to a prompt, which counts once.
pub(super) fn usage(of: &[Usage]) -> Value {
    let prompt = of.iter().map(|usage| usage.prompt).max().unwrap_or(0);
    let cached = of.first().map_or(0, |usage| usage.cached);
    let generated: usize = of.iter().map(|usage| usage.generated).sum();
    json!({
        "prompt_tokens": prompt,
        "completion_tokens": generated,
        "total_tokens": prompt + generated,
        "prompt_tokens_details": {"cached_tokens": cached},
    })
}

/// A token's text within a text, as logprobs tell it.
pub(super) fn token_text(model: &Model, id: u32) -> String {
    String::from_utf8_lossy(&model.tokenizer().token_bytes(id)).into_owned()
}

/// Logprobs of a token in the form of chats.
pub(super) fn chat_logprobs(model: &Model, found: &TokenLogprobs) -> Value {
    let one = |id: u32, logprob: f32| {
        let bytes = model.tokenizer().token_bytes(id);
        let token = String::from_utf8_lossy(&bytes);
        json!({"token": token, "logprob": finite(logprob), "bytes": bytes})
    };
    let mut own = one(found.token, found.logprob);
    let top: Vec<Value> = found.top.iter().map(|&(id, logprob)| one(id, logprob)).collect();
    own["top_logprobs"] = Value::Array(top);
    own
}

/// JSON has no infinities.
pub(super) fn finite(logprob: f32) -> f32 {
    logprob.max(-9999.0)
}

/// The sending end of a stream of events.
#[derive(Debug)]
pub(super) struct Events(mpsc::Sender<Bytes>);

impl Events {
    /// Sends an event; `false` if the client is gone.
    pub(super) async fn send(&self, data: &Value) -> bool {
        self.0.send(Bytes::from(format!("data: {data}\n\n"))).await.is_ok()
    }

    /// Ends when the client is gone.
    pub(super) async fn closed(&self) {
        self.0.closed().await;
    }

    /// Sends the last event.
    pub(super) async fn done(&self) {
        let _ = self.0.send(Bytes::from_static(b"data: [DONE]\n\n")).await;
    }

    /// Ends the stream with an error.
    pub(super) async fn fail(&self, error: &ApiError) {
        let _ = self.send(&error.body()).await;
    }
}

/// A response of server-sent events, and where they go in.
pub(super) fn events() -> (Events, Response) {
    let (sender, receiver) = mpsc::channel(64);
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-cache"),
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    let body = Body::from_stream(Chunks(receiver));
    (Events(sender), (headers, body).into_response())
}

/// Chunks as they are sent.
struct Chunks(mpsc::Receiver<Bytes>);

impl Stream for Chunks {
    type Item = Result<Bytes, std::convert::Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(context).map(|chunk| chunk.map(Ok))
    }
}
