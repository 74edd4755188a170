//! Who may ask: keys, names of the server, origins of pages.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State as Shared};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::State;
use crate::error::ApiError;

/// Paths that tell nothing about anyone, open without a key.
const OPEN: &[&str] = &["/health", "/"];

/// Lets a request pass, or says why not.
pub(crate) async fn check(
    Shared(state): Shared<Arc<State>>,
    request: Request,
    next: Next,
) -> Response {
    let allowed = origin(&state, request.headers());
    let is_preflight = request.method() == Method::OPTIONS && allowed.is_some();
    let mut response = match admitted(&state, &request) {
        Err(error) => error.into_response(),
        Ok(()) if is_preflight => StatusCode::NO_CONTENT.into_response(),
        Ok(()) => next.run(request).await,
    };
    if let Some(allowed) = allowed {
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        headers.append(header::VARY, HeaderValue::from_static("origin"));
        if is_preflight {
            let methods = HeaderValue::from_static("GET, POST, OPTIONS");
            let names = HeaderValue::from_static("authorization, content-type");
            headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
            headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, names);
        }
    }
    response
}

fn admitted(state: &State, request: &Request) -> Result<(), ApiError> {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    // Without this, a page anywhere could come by a name of its own that stands for this machine.
    if let Some(host) = host
        && !is_own(host, &state.options.hosts)
    {
        return Err(ApiError::foreign_host(name_of(host)));
    }
    let is_open = OPEN.contains(&request.uri().path()) || request.method() == Method::OPTIONS;
    if state.keys.is_empty() || is_open {
        return Ok(());
    }
    let sent = request.headers().get(header::AUTHORIZATION).and_then(|sent| sent.to_str().ok());
    let key = sent.and_then(|sent| sent.strip_prefix("Bearer ")).unwrap_or_default();
    // Hashes are compared in constant time.
    let sent = blake3::hash(key.trim().as_bytes());
    let known = state.keys.iter().fold(false, |known, key| known | (*key == sent));
    if known { Ok(()) } else { Err(ApiError::unauthorized()) }
}

/// Whether the server goes by the name in a `Host` header.
fn is_own(host: &str, hosts: &[String]) -> bool {
    let name = name_of(host);
    let plain = name.trim_start_matches('[').trim_end_matches(']');
    plain.parse::<IpAddr>().is_ok()
        || name.eq_ignore_ascii_case("localhost")
        || hosts.iter().any(|own| own == "*" || own.eq_ignore_ascii_case(name))
}

/// The name without the port.
fn name_of(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

/// The request's origin, if pages from there may use the server.
fn origin(state: &State, headers: &HeaderMap) -> Option<HeaderValue> {
    let origin = headers.get(header::ORIGIN)?;
    let text = origin.to_str().ok()?;
    let allowed = state.options.origins.iter().any(|known| known == "*" || known == text);
    allowed.then(|| origin.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_server() {
        let hosts = ["pi.local".to_owned()];
        for host in ["localhost", "LOCALHOST:80", "127.0.0.1:8080", "[::1]:8080", "Pi.local:1"] {
            assert!(is_own(host, &hosts), "{host}");
        }
        for host in ["evil.example", "localhost.evil.example:8080", "", "pi.local.evil"] {
            assert!(!is_own(host, &hosts), "{host}");
        }
        assert!(is_own("anything", &["*".to_owned()]));
    }
}
