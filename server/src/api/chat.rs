//! `/v1/chat/completions`

use std::sync::Arc;

use axum::extract::{Request, State as Shared};
use axum::response::Response;
use kinglet::{ToolCall, Usage};
use serde_json::{Value, json};

use super::generation::{self, Events, Settings, Shape, chat_logprobs, finish_word, next_of};
use super::messages::{self, Choice};
use super::tools::{self, Piece, Reader};
use crate::State;
use crate::engine::{Answering, Told};
use crate::error::ApiError;
use crate::models::Opened;
use crate::reading::{fields, json};

/// Most logprobs in the place of a token.
const MOST_LOGPROBS: usize = 20;

pub(super) async fn answer(
    Shared(state): Shared<Arc<State>>,
    request: Request,
) -> Result<Response, ApiError> {
    let mut fields = fields(&state, request).await?;
    let mut settings = Settings::take(&mut fields)?;
    let messages = messages::messages(&mut fields)?;
    let mut prompt_options = messages::prompt_options(&mut fields)?;
    let choice = messages::tool_choice(&mut fields, &mut prompt_options)?;
    let logprobs: bool = fields.optional("logprobs")?.unwrap_or(false);
    let top = fields.count("top_logprobs", 0..=MOST_LOGPROBS)?;
    if top.is_some() && !logprobs {
        return Err(fields.wrong("top_logprobs", "needs `logprobs` to be true"));
    }
    fields.refuse("modalities", &[json!(["text"])], "this model writes text only")?;
    let no_dial = "this server's models write as much as they like";
    fields.refuse("verbosity", &[json!("medium")], no_dial)?;
    fields.end()?;

    let (entry, opened) = state.models.open(settings.model.as_deref()).await?;
    let engine = opened.engine()?;
    let format = opened
        .format
        .as_ref()
        .ok_or_else(|| ApiError::invalid("the model has no chat template; use /v1/completions"))?;
    if !prompt_options.tools.is_empty() && !format.reads_tools() {
        return Err(ApiError::field("tools", "tools: the model's template does not know tools"));
    }
    let called = match &choice {
        Choice::Auto => None,
        Choice::Required => Some(None),
        Choice::Named(name) => Some(Some(name.as_str())),
    };
    if let Some(name) = called {
        if settings.options.form.is_some() {
            let why = "tool_choice and response_format cannot both say what the answer is";
            return Err(ApiError::field("tool_choice", why));
        }
        let form = tools::call_form(&prompt_options.tools, name, format.marks_tool_calls());
        settings.options.form = Some(form);
    }
    if settings.options.form.is_some() {
        // Thoughts would not have the form.
        prompt_options.thinking = prompt_options.thinking.or(Some(false));
    }
    let prompt = format.prompt(&messages, &prompt_options)?;
    let reader = Reader::new(&prompt.text, !prompt_options.tools.is_empty());
    let mut answers = Vec::with_capacity(settings.n);
    for index in 0..settings.n {
        let options = settings.of_answer(index, &opened.model, &entry.served.defaults);
        let mut request = kinglet::Request::new(prompt.tokens.clone(), options);
        request.logprobs = logprobs.then_some(top.unwrap_or(0));
        request.fresh = settings.fresh;
        answers.push(engine.submit(request).await?);
    }
    let shape = Shape::new("chatcmpl", &entry.served.name, logprobs);
    if !settings.stream {
        return whole(answers, &reader, &shape, &opened).await;
    }
    let (events, response) = generation::events();
    tokio::spawn(async move {
        match stream(answers, &reader, &shape, &opened, &events, settings.with_usage).await {
            Ok(true) => events.done().await,
            Ok(false) => {}
            Err(error) => events.fail(&error).await,
        }
    });
    Ok(response)
}

fn call_value(call: &ToolCall) -> Value {
    // Arguments are a text of JSON here.
    let arguments = match &call.arguments {
        Value::String(text) => text.clone(),
        value => value.to_string(),
    };
    json!({
        "id": call.id,
        "type": "function",
        "function": {"name": call.name, "arguments": arguments},
    })
}

/// All answers at once.
async fn whole(
    answers: Vec<Answering>,
    reader: &Reader,
    shape: &Shape,
    opened: &Opened,
) -> Result<Response, ApiError> {
    let (mut choices, mut usages) = (Vec::new(), Vec::new());
    for (index, mut answering) in answers.into_iter().enumerate() {
        let mut reader = reader.clone();
        let (mut content, mut thought) = (String::new(), String::new());
        let (mut calls, mut logprobs) = (Vec::new(), Vec::new());
        let mut take = |pieces: Vec<Piece>| {
            for piece in pieces {
                match piece {
                    Piece::Said(text) => content.push_str(&text),
                    Piece::Thought(text) => thought.push_str(&text),
                    Piece::Call(call) => calls.push(call_value(&call)),
                }
            }
        };
        let reason = loop {
            match answering.next().await {
                Some(Told::Token { text, logprobs: found }) => {
                    take(reader.push(&text));
                    logprobs.extend(found.map(|found| chat_logprobs(&opened.model, &found)));
                }
                Some(Told::Ended { text, reason, usage }) => {
                    take(reader.push(&text));
                    take(reader.finish());
                    usages.push(usage);
                    break reason;
                }
                Some(Told::Failed(error)) => return Err(error),
                None => return Err(ApiError::internal("the model's thread has ended")),
            }
        };
        let mut message = json!({"role": "assistant", "content": content, "refusal": null});
        if !thought.is_empty() {
            message["reasoning_content"] = Value::from(thought.trim_end());
        }
        let mut finish = finish_word(reason);
        if !calls.is_empty() {
            if content.is_empty() {
                message["content"] = Value::Null;
            }
            message["tool_calls"] = Value::Array(calls);
            finish = "tool_calls";
        }
        let logprobs = match shape.logprobs {
            true => json!({"content": logprobs, "refusal": null}),
            false => Value::Null,
        };
        choices.push(json!({
            "index": index, "message": message, "logprobs": logprobs, "finish_reason": finish,
        }));
    }
    let mut answer = shape.object("chat.completion", choices);
    answer["usage"] = generation::usage(&usages);
    Ok(json(&answer))
}

/// The answers as they are made; `false` if the client is gone.
async fn stream(
    answers: Vec<Answering>,
    reader: &Reader,
    shape: &Shape,
    opened: &Opened,
    events: &Events,
    with_usage: bool,
) -> Result<bool, ApiError> {
    let mut usages: Vec<Usage> = Vec::new();
    let mut parts: Vec<Part> = answers
        .into_iter()
        .enumerate()
        .map(|(index, answering)| Part { index, answering, reader: reader.clone(), calls: 0 })
        .collect();
    for part in &parts {
        let delta = json!({"role": "assistant", "content": ""});
        if !events.send(&chunk(shape, part.index, delta, None, None, with_usage)).await {
            return Ok(false);
        }
    }
    while !parts.is_empty() {
        let (at, told) = tokio::select! {
            next = next_of(&mut parts, |part| &mut part.answering) => next,
            () = events.closed() => return Ok(false),
        };
        let part = &mut parts[at];
        let mut end = None;
        let (mut pieces, logprobs) = match told {
            Some(Told::Token { text, logprobs }) => {
                let logprobs = logprobs.map(|found| chat_logprobs(&opened.model, &found));
                (part.reader.push(&text), logprobs)
            }
            Some(Told::Ended { text, reason, usage }) => {
                let mut pieces = part.reader.push(&text);
                pieces.extend(part.reader.finish());
                usages.push(usage);
                end = Some(reason);
                (pieces, None)
            }
            Some(Told::Failed(error)) => return Err(error),
            None => return Err(ApiError::internal("the model's thread has ended")),
        };
        if pieces.is_empty() && logprobs.is_some() {
            pieces.push(Piece::Said(String::new()));
        }
        let mut logprobs = logprobs;
        for piece in pieces {
            let delta = match piece {
                Piece::Said(text) => json!({"content": text}),
                Piece::Thought(text) => json!({"reasoning_content": text}),
                Piece::Call(call) => {
                    let mut call = call_value(&call);
                    call["index"] = Value::from(part.calls);
                    part.calls += 1;
                    json!({"tool_calls": [call]})
                }
            };
            let chunk = chunk(shape, part.index, delta, logprobs.take(), None, with_usage);
            if !events.send(&chunk).await {
                return Ok(false);
            }
        }
        if let Some(reason) = end {
            let word = if part.calls > 0 { "tool_calls" } else { finish_word(reason) };
            let chunk = chunk(shape, part.index, json!({}), None, Some(word), with_usage);
            if !events.send(&chunk).await {
                return Ok(false);
            }
            parts.remove(at);
        }
    }
    if with_usage {
        let mut last = shape.object("chat.completion.chunk", Vec::new());
        last["usage"] = generation::usage(&usages);
        return Ok(events.send(&last).await);
    }
    Ok(true)
}

fn chunk(
    shape: &Shape,
    index: usize,
    delta: Value,
    logprobs: Option<Value>,
    finish: Option<&str>,
    with_usage: bool,
) -> Value {
    let logprobs = logprobs.map(|found| json!({"content": [found], "refusal": null}));
    let choice = json!({
        "index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish,
    });
    let mut chunk = shape.object("chat.completion.chunk", vec![choice]);
    if with_usage {
        chunk["usage"] = Value::Null;
    }
    chunk
}

/// One answer of several.
struct Part {
    index: usize,
    answering: Answering,
    reader: Reader,
    /// Calls of tools so far.
    calls: usize,
}
