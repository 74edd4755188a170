//! What there is to ask for: one file for each kind of work.

mod audio;
mod chat;
mod completions;
mod embeddings;
mod generation;
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail and tell")]
mod hostile_tests;
mod messages;
mod ranking;
mod sampler;
mod status;
mod tokens;
mod tools;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};

use crate::State;
use crate::error::ApiError;
use crate::guard;

/// All routes.
pub(crate) fn router(state: Arc<State>) -> Router {
    let router = Router::new()
        .route("/", get(status::page))
        .route("/health", get(status::health))
        .route("/metrics", get(status::metrics))
        .route("/props", get(status::props))
        .route("/slots", get(status::slots))
        .route("/v1/models", get(status::models))
        .route("/v1/models/{*name}", get(status::model))
        .route("/v1/chat/completions", post(chat::answer))
        .route("/v1/completions", post(completions::answer))
        .route("/infill", post(completions::infill))
        .route("/v1/embeddings", post(embeddings::answer))
        .route("/v1/rerank", post(ranking::rerank))
        .route("/rerank", post(ranking::rerank))
        .route("/classify", post(ranking::classify))
        .route("/tokenize", post(tokens::tokenize))
        .route("/detokenize", post(tokens::detokenize))
        .route("/apply-template", post(tokens::apply_template))
        .route("/v1/audio/transcriptions", post(audio::transcriptions))
        .route("/v1/audio/translations", post(audio::translations));
    let router = router
        .fallback(|request: Request| async move {
            ApiError::no_route(request.method().as_str(), request.uri().path())
        })
        .method_not_allowed_fallback(|request: Request| async move {
            ApiError::no_method(request.method().as_str(), request.uri().path())
        });
    // Bodies are read with limits of our own.
    router
        .layer(DefaultBodyLimit::disable())
        .layer(from_fn_with_state(state.clone(), guard::check))
        .with_state(state)
}
