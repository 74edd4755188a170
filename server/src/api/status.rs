//! What is served, how it does, and a page to talk with it.

use std::sync::Arc;

use axum::extract::{Path, Query, State as Shared};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::State;
use crate::error::ApiError;
use crate::metrics::{Counter, Page};
use crate::models::{Entry, seconds};
use crate::reading::json;

/// A small page without anything from elsewhere.
const PAGE: &str = include_str!("../page.html");

pub(super) async fn page() -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; \
             connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        ),
    ];
    (headers, PAGE).into_response()
}

pub(super) async fn health() -> Response {
    json(&json!({"status": "ok"}))
}

fn described(entry: &Entry) -> Value {
    let mut value = json!({
        "id": entry.served.name,
        "object": "model",
        "created": entry.created,
        "owned_by": "kinglet",
    });
    if let Some(opened) = entry.opened() {
        let model = &opened.model;
        value["meta"] = json!({
            "vocab_size": model.vocab_size(),
            "context_length": model.context_length(),
            "chat": opened.format.is_some(),
            "bytes": model.file().data_len(),
        });
    }
    value
}

pub(super) async fn models(Shared(state): Shared<Arc<State>>) -> Response {
    let all: Vec<Value> = state.models.entries().iter().map(described).collect();
    json(&json!({"object": "list", "data": all}))
}

pub(super) async fn model(
    Shared(state): Shared<Arc<State>>,
    Path(name): Path<String>,
) -> Result<Response, ApiError> {
    Ok(json(&described(state.models.find(Some(&name))?)))
}

#[derive(serde::Deserialize)]
pub(super) struct Named {
    model: Option<String>,
}

/// In llama.cpp's form.
pub(super) async fn props(
    Shared(state): Shared<Arc<State>>,
    Query(named): Query<Named>,
) -> Result<Response, ApiError> {
    let (entry, opened) = state.models.open(named.model.as_deref()).await?;
    let model = &opened.model;
    let tokenizer = model.tokenizer();
    let text = |id: Option<u32>| id.and_then(|id| tokenizer.token(id)).unwrap_or_default();
    Ok(json(&json!({
        "model_alias": entry.served.name,
        "model_name": model.meta().general.name,
        "total_slots": state.options.scheduler.slots,
        "n_ctx": model.context_length(),
        "chat_template": model.meta().chat_template,
        "bos_token": text(tokenizer.bos()),
        "eos_token": text(tokenizer.eos()),
        "kernels": model.kernel_set(),
        "threads": model.n_threads(),
        "build_info": concat!("kinglet-", env!("CARGO_PKG_VERSION")),
        "modalities": {"vision": false, "audio": false},
    })))
}

pub(super) async fn slots(Shared(state): Shared<Arc<State>>) -> Response {
    let of = |entry: &Entry| {
        let load = entry.load();
        json!({
            "model": entry.served.name,
            "slots": state.options.scheduler.slots,
            "running": load.running,
            "waiting": load.waiting,
            "kv_bytes": load.kv_bytes,
        })
    };
    json(&Value::Array(state.models.entries().iter().map(of).collect()))
}

pub(super) async fn metrics(Shared(state): Shared<Arc<State>>) -> Response {
    let mut page = Page::default();
    let entries = state.models.entries();
    let mut counter = |name: &str, help: &str, of: fn(&Entry) -> &Counter| {
        let values = entries.iter().map(|one| (one.served.name.clone(), of(one).get() as f64));
        page.metric(name, "counter", help, values);
    };
    counter("requests_total", "Requests that named the model.", |one| &one.metrics.requests);
    counter("prompt_tokens_total", "Tokens of prompts of ended requests.", |one| {
        &one.metrics.prompted
    });
    counter("cached_tokens_total", "Those of them that were known already.", |one| {
        &one.metrics.cached
    });
    counter("generated_tokens_total", "Tokens of answers.", |one| &one.metrics.generated);
    counter("steps_total", "Steps of the scheduler.", |one| &one.metrics.steps);
    counter("failures_total", "Requests that could not be computed.", |one| &one.metrics.failures);
    let mut gauge = |name: &str, kind: &str, help: &str, of: &dyn Fn(&Entry) -> f64| {
        let values = entries.iter().map(|one| (one.served.name.clone(), of(one)));
        page.metric(name, kind, help, values);
    };
    gauge("busy_seconds_total", "counter", "Seconds spent in steps.", &|one| {
        one.metrics.busy_micros.get() as f64 / 1e6
    });
    gauge("requests_running", "gauge", "Requests being computed.", &|one| {
        one.load().running as f64
    });
    gauge("requests_waiting", "gauge", "Requests that wait for a slot.", &|one| {
        one.load().waiting as f64
    });
    gauge(
        "kv_bytes",
        "gauge",
        "Bytes of keys and values, those kept for later included.",
        &|one| one.load().kv_bytes as f64,
    );
    gauge("model_open", "gauge", "Whether the model is in memory.", &|one| {
        f64::from(u8::from(one.opened().is_some()))
    });
    gauge("up_seconds", "gauge", "Seconds since the server began.", &|_| {
        seconds().saturating_sub(state.started) as f64
    });
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4")];
    (kind, page.into_text()).into_response()
}
