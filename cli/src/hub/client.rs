//! Requests: who is told the token, which redirects are followed, what a refusal means.

use std::fs;
use std::io::{self, Read};
use std::time::Duration;

use serde::de::DeserializeOwned;
use ureq::http::HeaderMap;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig};
use ureq::{Agent, Body, Timeout};

use super::Error;
use super::name::Repository;
use super::settings::Settings;
use super::url::Url;

/// Most redirects in a row.
const MAX_REDIRECTS: usize = 10;
/// Most bytes of a JSON answer; the largest repositories have some megabytes.
const MAX_JSON: u64 = 32 << 20;
/// Most bytes of the words of a refusal.
const MAX_WORDS: u64 = 300;
/// Time to resolve a name, and to connect.
const CONNECT: Duration = Duration::from_secs(15);

/// Speaks to the hub, and to other servers without its token.
pub(super) struct Client {
    agent: Agent,
    endpoint: Url,
    token: Option<String>,
    token_file: String,
}

/// What is asked for.
#[derive(Clone, Copy)]
enum Method<'a> {
    /// What is known about a file.
    Head,
    /// A file from a byte on, if it is still the one with this tag.
    Get { from: u64, tag: Option<&'a str> },
}

/// What a server answers.
pub(super) struct Answer {
    /// The address that answered, after redirects.
    pub(super) url: Url,
    pub(super) status: u16,
    headers: HeaderMap,
    pub(super) body: Body,
}

/// What the hub says about a file before it is fetched.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// Tells contents apart: the SHA-256 of large files, which LFS keeps.
    pub(super) etag: Option<String>,
    pub(super) bytes: Option<u64>,
}

impl Client {
    pub(super) fn new(settings: &Settings) -> Result<Self, Error> {
        let mut tls = TlsConfig::builder();
        if let Some(path) = &settings.certificates {
            let pem = fs::read(path).map_err(|error| Error::file(path, error))?;
            let certificates: Vec<Certificate<'static>> = ureq::tls::parse_pem(&pem)
                .filter_map(|item| match item {
                    Ok(PemItem::Certificate(certificate)) => Some(certificate),
                    _ => None,
                })
                .collect();
            tls = tls.root_certs(RootCerts::new_with_certs(&certificates));
        }
        let config = Agent::config_builder()
            .tls_config(tls.build())
            .http_status_as_error(false)
            .max_redirects(0)
            .user_agent(concat!("kinglet/", env!("CARGO_PKG_VERSION")))
            // Lengths and ranges are those of the file.
            .accept_encoding("identity")
            .timeout_resolve(Some(CONNECT))
            .timeout_connect(Some(CONNECT))
            .timeout_send_request(Some(settings.silence))
            .timeout_recv_response(Some(settings.silence))
            .timeout_per_read(Some(settings.silence))
            .build();
        Ok(Self {
            agent: Agent::new_with_config(config),
            endpoint: settings.endpoint.clone(),
            token: settings.token.clone(),
            token_file: settings.token_file.display().to_string(),
        })
    }

    /// Asks once for a file, from byte `from` on if its tag is still `tag`.
    pub(super) fn get(&self, url: &Url, from: u64, tag: Option<&str>) -> Result<Answer, Error> {
        self.follow(url, Method::Get { from, tag }, |_| false)
    }

    /// A JSON answer of the hub.
    pub(super) fn json<T: DeserializeOwned>(&self, url: &Url, of: &Repository) -> Result<T, Error> {
        let mut answer = self.accepted(self.get(url, 0, None)?, Some(of))?;
        let mut bytes = Vec::new();
        let mut body = answer.body.as_reader().take(MAX_JSON + 1);
        body.read_to_end(&mut bytes).map_err(|error| cut(url, &error))?;
        if bytes.len() as u64 > MAX_JSON {
            let reason = format!("the answer has more than {} MB", MAX_JSON >> 20);
            return Err(Error::answer(url, reason));
        }
        serde_json::from_slice(&bytes).map_err(|error| {
            Error::answer(url, format!("the answer is not what the hub would say ({error})"))
        })
    }

    /// What the hub says about a file. A large one lies on another server: only the hub itself
    /// tells its hash, and that server need not be asked.
    pub(super) fn facts(&self, url: &Url, of: &Repository) -> Result<Facts, Error> {
        let mut facts = Facts::default();
        let answer = self.follow(url, Method::Head, |answer| {
            if answer.status < 400 && answer.url.same_origin(&self.endpoint) {
                facts.etag = facts.etag.take().or_else(|| answer.tag("x-linked-etag"));
                facts.bytes = facts.bytes.or_else(|| answer.number("x-linked-size"));
            }
            facts.etag.is_some() && facts.bytes.is_some()
        })?;
        if facts.etag.is_none() || facts.bytes.is_none() {
            let answer = self.accepted(answer, Some(of))?;
            facts.etag = facts.etag.or_else(|| answer.tag("etag"));
            facts.bytes = facts.bytes.or_else(|| answer.number("content-length"));
        }
        Ok(facts)
    }

    /// What changes with the file at an address: a strong tag, or a date. `None` if the server does
    /// not say.
    pub(super) fn version(&self, url: &Url) -> Result<Option<String>, Error> {
        let answer = self.follow(url, Method::Head, |_| false)?;
        if matches!(answer.status, 400 | 403 | 405 | 501) {
            // Some servers answer to nothing but GET.
            return Ok(None);
        }
        let answer = self.accepted(answer, None)?;
        let strong = answer.text("etag").filter(|tag| tag.starts_with('"'));
        Ok(strong.or_else(|| answer.text("last-modified")).map(str::to_owned))
    }

    /// Asks, and follows redirects unless an answer is `enough`.
    fn follow(
        &self,
        start: &Url,
        method: Method<'_>,
        mut enough: impl FnMut(&Answer) -> bool,
    ) -> Result<Answer, Error> {
        let mut url = start.clone();
        for _ in 0..=MAX_REDIRECTS {
            let answer = self.ask(url, method)?;
            if enough(&answer) || !matches!(answer.status, 301 | 302 | 303 | 307 | 308) {
                return Ok(answer);
            }
            let to = answer.text("location").unwrap_or_default();
            url = answer.url.join(to).map_err(|reason| {
                Error::answer(&answer.url, format!("it sends on to `{to:.200}`, and {reason}"))
            })?;
        }
        Err(Error::answer(start, "it sends on again and again, in a circle"))
    }

    /// One request. The token is for the hub alone.
    fn ask(&self, url: Url, method: Method<'_>) -> Result<Answer, Error> {
        let mut request = match method {
            Method::Head => self.agent.head(url.to_string()),
            Method::Get { .. } => self.agent.get(url.to_string()),
        };
        if let Some(token) = self.token_for(&url) {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if let Method::Get { from: from @ 1.., tag } = method {
            request = request.header("range", format!("bytes={from}-"));
            if let Some(tag) = tag {
                request = request.header("if-range", tag);
            }
        }
        let response = request.call().map_err(|error| failed(&url, error))?;
        let (head, body) = response.into_parts();
        Ok(Answer { url, status: head.status.as_u16(), headers: head.headers, body })
    }

    fn token_for(&self, url: &Url) -> Option<&str> {
        self.token.as_deref().filter(|_| url.same_origin(&self.endpoint))
    }

    /// An answer that brings what was asked for.
    pub(super) fn accepted(
        &self,
        answer: Answer,
        of: Option<&Repository>,
    ) -> Result<Answer, Error> {
        if matches!(answer.status, 200 | 206) { Ok(answer) } else { Err(self.refusal(answer, of)) }
    }

    /// What a refusal means.
    fn refusal(&self, mut answer: Answer, of: Option<&Repository>) -> Error {
        let with_token = self.token_for(&answer.url).is_some();
        let (url, status) = (answer.url.to_string(), answer.status);
        let code = answer.text("x-error-code").unwrap_or_default().to_owned();
        let said = answer.text("x-error-message").map(str::to_owned);
        let message = said.or_else(|| answer.words()).filter(|words| !words.is_empty());
        match (status, code.as_str(), of) {
            (401 | 403, "GatedRepo", Some(of)) => {
                let page = self.endpoint.below(&format!("/{}", of.name), None).to_string();
                Error::Gated { name: of.name.clone(), page, with_token }
            }
            (404, "RevisionNotFound", Some(of)) => {
                Error::UnknownRevision { name: of.name.clone(), revision: of.revision.clone() }
            }
            (404, "EntryNotFound", _) => Error::UnknownFile { url },
            (404, "", Some(_)) if answer.url.path().contains("/resolve/") => {
                Error::UnknownFile { url }
            }
            (401, "", Some(_)) if with_token => Error::Token { file: self.token_file.clone() },
            (401 | 404, "RepoNotFound" | "", Some(of)) => Error::UnknownRepository {
                name: of.name.clone(),
                bare: of.bare,
                with_token,
                near: Vec::new(),
            },
            (404 | 410, ..) => Error::UnknownFile { url },
            (429, ..) => Error::Busy { url, seconds: answer.number("retry-after") },
            _ => Error::Status { url, status, message },
        }
    }
}

impl Answer {
    /// A line of the answer's head.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.text(name)?.trim().parse().ok()
    }

    /// A tag without its quotes.
    fn tag(&self, name: &str) -> Option<String> {
        let tag = self.text(name)?.trim();
        Some(tag.trim_start_matches("W/").trim_matches('"').to_owned())
    }

    /// What a refusal says in its body: plain words, or `{"error": …}`.
    fn words(&mut self) -> Option<String> {
        let mut bytes = Vec::new();
        // It only explains a failure.
        let _ = self.body.as_reader().take(MAX_WORDS).read_to_end(&mut bytes);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let json: Option<serde_json::Value> = serde_json::from_str(&text).ok();
        let words = match json.as_ref().map(|json| json["error"].as_str()) {
            Some(error) => error?.to_owned(),
            None => text.lines().next()?.trim().to_owned(),
        };
        let is_plain = !words.starts_with('<') && !words.contains(char::is_control);
        is_plain.then_some(words)
    }
}

/// A connection that ended while bytes were still due.
fn cut(url: &Url, error: &io::Error) -> Error {
    Error::Cut { url: url.to_string(), reason: error.to_string() }
}

/// What a request that brought no answer failed of.
fn failed(url: &Url, error: ureq::Error) -> Error {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, TimedOut, UnexpectedEof};
    let unreachable = |reason: &str| {
        let hint = match reason.contains("certificate") {
            true => "; SSL_CERT_FILE can name a file of other ones",
            false => "",
        };
        let host = url.authority().to_owned();
        Error::NoNetwork { host, reason: format!("{reason}{hint}") }
    };
    match &error {
        ureq::Error::Timeout(Timeout::Resolve | Timeout::Connect) => {
            unreachable("it does not answer")
        }
        ureq::Error::Timeout(_) => {
            Error::Cut { url: url.to_string(), reason: "it does not answer".to_owned() }
        }
        ureq::Error::Io(cause)
            if [ConnectionAborted, ConnectionReset, TimedOut, UnexpectedEof]
                .contains(&cause.kind()) =>
        {
            cut(url, cause)
        }
        ureq::Error::Io(_)
        | ureq::Error::Rustls(_)
        | ureq::Error::Tls(_)
        | ureq::Error::HostNotFound
        | ureq::Error::ConnectionFailed => unreachable(&error.to_string()),
        _ => Error::answer(url, error.to_string()),
    }
}
