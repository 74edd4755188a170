//! Bodies of requests, within a size and a time.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use crate::State;
use crate::error::ApiError;
use crate::fields::Fields;

/// The fields of a JSON body.
pub(crate) async fn fields(state: &State, request: Request) -> Result<Fields, ApiError> {
    Fields::parse(&body(request.into_body(), state.options.body, state.options.patience).await?)
}

/// A body of at most `limit` bytes, all of which come within `patience`.
pub(crate) async fn body(body: Body, limit: usize, patience: Duration) -> Result<Bytes, ApiError> {
    let read = tokio::time::timeout(patience, axum::body::to_bytes(body, limit)).await;
    let read = read.map_err(|_| ApiError::too_slow())?;
    read.map_err(|error| {
        let mut source: Option<&dyn std::error::Error> = Some(&error);
        while let Some(error) = source {
            if error.to_string().contains("length limit exceeded") {
                return ApiError::too_large(limit);
            }
            source = error.source();
        }
        ApiError::invalid("the body ended early")
    })
}

/// An answer in JSON.
pub(crate) fn json(value: &Value) -> Response {
    let kind = [(axum::http::header::CONTENT_TYPE, "application/json")];
    (kind, value.to_string()).into_response()
}
