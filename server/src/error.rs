//! What a client is told when something is wrong, in the form of OpenAI's API.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// A request that is not answered.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    /// OpenAI's word for its kind.
    kind: &'static str,
    pub(crate) message: String,
    /// The field at fault.
    param: Option<String>,
    code: Option<&'static str>,
}

impl ApiError {
    fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        Self { status, kind, message: message.into(), param: None, code: None }
    }

    /// The request is wrong.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request_error", message)
    }

    /// A field of the request is wrong.
    pub(crate) fn field(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self { param: Some(param.into()), ..Self::invalid(message) }
    }

    /// There is no such model.
    pub(crate) fn no_model(name: &str, known: &[&str]) -> Self {
        let message =
            format!("the model `{name}` is not served here; served are: {}", known.join(", "));
        Self {
            status: StatusCode::NOT_FOUND,
            code: Some("model_not_found"),
            ..Self::field("model", message)
        }
    }

    /// There is no such path.
    pub(crate) fn no_route(method: &str, path: &str) -> Self {
        let message = format!("there is no {method} {path} here; see / for what there is");
        Self { status: StatusCode::NOT_FOUND, ..Self::invalid(message) }
    }

    /// The path is there, but not for this method.
    pub(crate) fn no_method(method: &str, path: &str) -> Self {
        let message = format!("{path} does not take {method}");
        Self { status: StatusCode::METHOD_NOT_ALLOWED, ..Self::invalid(message) }
    }

    /// The key is missing or wrong.
    pub(crate) fn unauthorized() -> Self {
        let message =
            "the API key is missing or wrong: send the header `Authorization: Bearer KEY`";
        Self {
            code: Some("invalid_api_key"),
            ..Self::new(StatusCode::UNAUTHORIZED, "authentication_error", message)
        }
    }

    /// The request came by a name that the server does not go by.
    pub(crate) fn foreign_host(host: &str) -> Self {
        let message = format!(
            "this server does not go by the name `{host}`; start it with `--allow-host {host}`, if \
             it should"
        );
        Self::new(StatusCode::FORBIDDEN, "permission_error", message)
    }

    /// The body is larger than it may be.
    pub(crate) fn too_large(limit: usize) -> Self {
        let message = format!("the body has more than {limit} bytes, which is the limit");
        Self { status: StatusCode::PAYLOAD_TOO_LARGE, ..Self::invalid(message) }
    }

    /// The body did not come in time.
    pub(crate) fn too_slow() -> Self {
        let message = "the request's body did not come in time";
        Self { status: StatusCode::REQUEST_TIMEOUT, ..Self::invalid(message) }
    }

    /// The server cannot go on with it.
    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", message)
    }

    /// The server is going down.
    pub(crate) fn closing() -> Self {
        let message = "the server is shutting down";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "server_error", message)
    }

    /// The body of the error.
    pub(crate) fn body(&self) -> serde_json::Value {
        json!({"error": {
            "message": self.message,
            "type": self.kind,
            "param": self.param,
            "code": self.code,
        }})
    }
}

impl From<kinglet::Error> for ApiError {
    fn from(error: kinglet::Error) -> Self {
        use kinglet::Error as E;
        let message = error.to_string();
        match error {
            E::Busy { .. } => Self {
                code: Some("queue_full"),
                ..Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", message)
            },
            E::ContextFull { used, wanted, context_length } => Self {
                code: Some("context_length_exceeded"),
                ..Self::invalid(format!(
                    "the prompt has {} tokens, the context of the model {context_length}; shorten \
                     the prompt",
                    used + wanted
                ))
            },
            E::InvalidOption { name, .. } => Self::field(name, message),
            E::WrongTask { .. }
            | E::LanguageMissing { .. }
            | E::UnknownLanguage { .. }
            | E::TextTooLong { .. }
            | E::NoMask { .. }
            | E::TokenOutOfRange { .. }
            | E::Empty { .. }
            | E::NotANumber { .. }
            | E::UnknownPrompt { .. }
            | E::Form { .. }
            | E::Template { .. } => Self::invalid(message),
            _ => Self::internal(message),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let json = HeaderValue::from_static("application/json");
        (self.status, [(header::CONTENT_TYPE, json)], self.body().to_string()).into_response()
    }
}
