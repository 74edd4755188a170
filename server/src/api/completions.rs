//! `/v1/completions` and `/infill`

use std::sync::Arc;

use axum::extract::{Request, State as Shared};
use axum::response::Response;
use kinglet::tokenizer::EncodeOptions;
use kinglet::{Model, TokenLogprobs, Usage};
use serde_json::{Value, json};

use super::generation::{self, Events, Settings, Shape, finish_word, finite, next_of, token_text};
use crate::State;
use crate::engine::{Answering, Told};
use crate::error::ApiError;
use crate::fields::{Fields, shown};
use crate::models::Opened;
use crate::reading::{fields, json};

/// Most prompts of a request.
const MOST_PROMPTS: usize = 256;
/// Most logprobs in the place of a token.
const MOST_LOGPROBS: usize = 20;
/// OpenAI's limit where a request has none.
const DEFAULT_TOKENS: usize = 16;
/// OpenAI's word for what comes back.
const OBJECT: &str = "text_completion";

/// A prompt in one of its forms.
enum Prompt {
    Text(String),
    Tokens(Vec<u32>),
}

pub(super) async fn answer(
    Shared(state): Shared<Arc<State>>,
    request: Request,
) -> Result<Response, ApiError> {
    let mut fields = fields(&state, request).await?;
    let mut settings = Settings::take(&mut fields)?;
    settings.options.max_tokens = settings.options.max_tokens.or(Some(DEFAULT_TOKENS));
    let prompts = prompts(&mut fields)?;
    let suffix: Option<String> = fields.optional("suffix")?;
    let logprobs = fields.count("logprobs", 0..=MOST_LOGPROBS)?;
    let echo: bool = fields.optional("echo")?.unwrap_or(false);
    if echo && logprobs.is_some() {
        let why = "with logprobs is not known to this server: leave one of them out";
        return Err(fields.wrong("echo", why));
    }
    fields.refuse("best_of", &[json!(settings.n)], "this server makes no more than `n` answers")?;
    fields.end()?;
    let suffix = suffix.filter(|suffix| !suffix.is_empty());
    generate(&state, settings, prompts, suffix, logprobs, echo).await
}

pub(super) async fn infill(
    Shared(state): Shared<Arc<State>>,
    request: Request,
) -> Result<Response, ApiError> {
    let mut fields = fields(&state, request).await?;
    let settings = Settings::take(&mut fields)?;
    let prefix: String = fields.required("input_prefix")?;
    let suffix: String = fields.required("input_suffix")?;
    fields.refuse("input_extra", &[json!([])], "this server fills gaps of one file only")?;
    fields.refuse("prompt", &[json!("")], "put the text into `input_prefix`")?;
    fields.end()?;
    generate(&state, settings, vec![Prompt::Text(prefix)], Some(suffix), None, false).await
}

/// One prompt or several, as texts or as tokens.
fn prompts(fields: &mut Fields) -> Result<Vec<Prompt>, ApiError> {
    let value = fields.value("prompt").ok_or_else(|| fields.wrong("prompt", "is missing"))?;
    let told = shown(&value);
    let wrong = || {
        let why = format!("is {told}, not a text, texts, tokens or lists of tokens");
        ApiError::field("prompt", format!("prompt {why}"))
    };
    let ids = |value: &Value| -> Option<Vec<u32>> {
        let values = value.as_array()?.iter();
        values.map(|id| id.as_u64().and_then(|id| u32::try_from(id).ok())).collect()
    };
    let one = |value: &Value| match value {
        Value::String(text) => Some(Prompt::Text(text.clone())),
        other => ids(other).map(Prompt::Tokens),
    };
    let is_tokens = value.as_array().is_some_and(|all| all.iter().any(Value::is_number));
    let prompts: Vec<Prompt> = match &value {
        Value::Array(all) if !is_tokens => {
            all.iter().map(|value| one(value).ok_or_else(wrong)).collect::<Result<_, _>>()?
        }
        value => vec![one(value).ok_or_else(wrong)?],
    };
    if prompts.is_empty() || prompts.len() > MOST_PROMPTS {
        let why = format!("has {} prompts, but must have from 1 to {MOST_PROMPTS}", prompts.len());
        return Err(fields.wrong("prompt", why));
    }
    Ok(prompts)
}

/// One answer in the making.
struct Part {
    index: usize,
    answering: Answering,
    text: String,
    logprobs: Logprobs,
}

/// Logprobs in the form of completions.
#[derive(Default)]
struct Logprobs {
    tokens: Vec<String>,
    logprobs: Vec<f32>,
    top: Vec<Value>,
    offsets: Vec<usize>,
    at: usize,
}

impl Logprobs {
    fn add(&mut self, model: &Model, found: &TokenLogprobs) {
        let token = token_text(model, found.token);
        self.offsets.push(self.at);
        self.at += token.chars().count();
        self.tokens.push(token);
        self.logprobs.push(finite(found.logprob));
        let top = found
            .top
            .iter()
            .map(|&(id, logprob)| (token_text(model, id), Value::from(finite(logprob))));
        self.top.push(Value::Object(top.collect()));
    }

    /// All so far, which are then sent.
    fn take(&mut self) -> Value {
        let offsets = std::mem::take(&mut self.offsets);
        json!({
            "tokens": std::mem::take(&mut self.tokens),
            "token_logprobs": std::mem::take(&mut self.logprobs),
            "top_logprobs": std::mem::take(&mut self.top),
            "text_offset": offsets,
        })
    }
}

fn choice(
    shape: &Shape,
    index: usize,
    text: &str,
    logprobs: &mut Logprobs,
    end: Option<&str>,
) -> Value {
    let logprobs = if shape.logprobs { logprobs.take() } else { Value::Null };
    json!({"index": index, "text": text, "logprobs": logprobs, "finish_reason": end})
}

async fn generate(
    state: &State,
    settings: Settings,
    prompts: Vec<Prompt>,
    suffix: Option<String>,
    logprobs: Option<usize>,
    echo: bool,
) -> Result<Response, ApiError> {
    let (entry, opened) = state.models.open(settings.model.as_deref()).await?;
    let engine = opened.engine()?;
    let model = &opened.model;
    let mut parts = Vec::new();
    for prompt in prompts {
        let (tokens, ends) = match (&prompt, &suffix) {
            (Prompt::Text(prefix), Some(suffix)) => model.infill_prompt(prefix, suffix)?,
            (Prompt::Tokens(_), Some(_)) => {
                return Err(ApiError::field("suffix", "suffix: the prompt must be a text then"));
            }
            (Prompt::Text(text), None) => {
                let options = EncodeOptions { add_special: true, parse_special: false };
                (model.tokenizer().encode(text, options), Vec::new())
            }
            (Prompt::Tokens(tokens), None) => (tokens.clone(), Vec::new()),
        };
        let echoed = match (&prompt, echo) {
            (_, false) => String::new(),
            (Prompt::Text(text), true) => text.clone(),
            (Prompt::Tokens(tokens), true) => model.tokenizer().decode(tokens, true),
        };
        for answer in 0..settings.n {
            let options = settings.of_answer(answer, model, &entry.served.defaults);
            let mut request = kinglet::Request::new(tokens.clone(), options);
            request.ends = ends.clone();
            request.logprobs = logprobs;
            request.fresh = settings.fresh;
            let answering = engine.submit(request).await?;
            let logprobs = Logprobs { at: echoed.chars().count(), ..Logprobs::default() };
            parts.push(Part { index: parts.len(), answering, text: echoed.clone(), logprobs });
        }
    }
    let shape = Shape::new("cmpl", &entry.served.name, logprobs.is_some());
    if !settings.stream {
        return whole(parts, &shape, &opened, settings.n).await;
    }
    let (events, response) = generation::events();
    tokio::spawn(async move {
        match stream(parts, &shape, &opened, &events, &settings).await {
            Ok(true) => events.done().await,
            Ok(false) => {}
            Err(error) => events.fail(&error).await,
        }
    });
    Ok(response)
}

/// Of answers to several prompts, `n` to each.
fn usage(usages: &[Usage], n: usize) -> Value {
    let of_each = usages.chunks(n).map(generation::usage);
    let mut total = json!({
        "prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0,
        "prompt_tokens_details": {"cached_tokens": 0},
    });
    for usage in of_each {
        for path in [
            "/prompt_tokens",
            "/completion_tokens",
            "/total_tokens",
            "/prompt_tokens_details/cached_tokens",
        ] {
            let more = usage.pointer(path).and_then(Value::as_u64).unwrap_or(0);
            if let Some(sum) = total.pointer_mut(path) {
                *sum = Value::from(sum.as_u64().unwrap_or(0) + more);
            }
        }
    }
    total
}

async fn whole(
    parts: Vec<Part>,
    shape: &Shape,
    opened: &Opened,
    n: usize,
) -> Result<Response, ApiError> {
    let (mut choices, mut usages) = (Vec::new(), Vec::new());
    for mut part in parts {
        let reason = loop {
            match part.answering.next().await {
                Some(Told::Token { text, logprobs }) => {
                    part.text.push_str(&text);
                    if let Some(found) = logprobs {
                        part.logprobs.add(&opened.model, &found);
                    }
                }
                Some(Told::Ended { text, reason, usage }) => {
                    part.text.push_str(&text);
                    usages.push(usage);
                    break reason;
                }
                Some(Told::Failed(error)) => return Err(error),
                None => return Err(ApiError::internal("the model's thread has ended")),
            }
        };
        let end = Some(finish_word(reason));
        choices.push(choice(shape, part.index, &part.text, &mut part.logprobs, end));
    }
    let mut answer = shape.object(OBJECT, choices);
    answer["usage"] = usage(&usages, n);
    Ok(json(&answer))
}

/// The answers as they are made; `false` if the client is gone.
async fn stream(
    mut parts: Vec<Part>,
    shape: &Shape,
    opened: &Opened,
    events: &Events,
    settings: &Settings,
) -> Result<bool, ApiError> {
    let mut usages = vec![Usage::default(); parts.len()];
    for part in parts.iter_mut().filter(|part| !part.text.is_empty()) {
        let echoed = std::mem::take(&mut part.text);
        let chosen = choice(shape, part.index, &echoed, &mut part.logprobs, None);
        if !events.send(&shape.object(OBJECT, vec![chosen])).await {
            return Ok(false);
        }
    }
    while !parts.is_empty() {
        let (at, told) = tokio::select! {
            next = next_of(&mut parts, |part| &mut part.answering) => next,
            () = events.closed() => return Ok(false),
        };
        let part = &mut parts[at];
        let (text, end) = match told {
            Some(Told::Token { text, logprobs }) => {
                if let Some(found) = logprobs {
                    part.logprobs.add(&opened.model, &found);
                }
                (text, None)
            }
            Some(Told::Ended { text, reason, usage }) => {
                usages[part.index] = usage;
                (text, Some(finish_word(reason)))
            }
            Some(Told::Failed(error)) => return Err(error),
            None => return Err(ApiError::internal("the model's thread has ended")),
        };
        if !text.is_empty() || end.is_some() || shape.logprobs {
            let chosen = choice(shape, part.index, &text, &mut part.logprobs, end);
            let mut chunk = shape.object(OBJECT, vec![chosen]);
            if settings.with_usage {
                chunk["usage"] = Value::Null;
            }
            if !events.send(&chunk).await {
                return Ok(false);
            }
        }
        if end.is_some() {
            parts.remove(at);
        }
    }
    if settings.with_usage {
        let mut last = shape.object(OBJECT, Vec::new());
        last["usage"] = usage(&usages, settings.n);
        return Ok(events.send(&last).await);
    }
    Ok(true)
}
