//! What can go wrong with models in the network, each with what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use super::url::Url;
use crate::failure::disk_full;
use crate::units;

/// Why a model could not be had from the network.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A name that is none.
    #[error(
        "`{given}` names no model: {reason}; as in hf:org/name, hf:org/name:Q8_0, \
         hf:org/name@revision or https://host/model.gguf"
    )]
    Name { given: String, reason: &'static str },
    /// An environment variable or file with a value that cannot be used.
    #[error("{what}: {reason}")]
    Setting { what: String, reason: String },
    /// Nothing may be fetched, and something is not there.
    #[error(
        "{name} is not complete on this machine ({missing}), and nothing is fetched: offline \
         mode (--offline or HF_HUB_OFFLINE) is on; without it, `kinglet pull {name}` fetches \
         it"
    )]
    Offline { name: String, missing: String },
    /// The server cannot be reached.
    #[error(
        "no network: {host} cannot be reached ({reason}); check the connection, and \
         HTTPS_PROXY or HF_ENDPOINT if there is a proxy or a mirror, and try again"
    )]
    NoNetwork { host: String, reason: String },
    /// A connection that was cut again and again.
    #[error(
        "{url}: the connection was cut, and trying again did not help ({reason}); what has \
         arrived is kept, and the next try goes on from there"
    )]
    Cut { url: String, reason: String },
    /// The hub knows no such repository.
    #[error("{}", unknown_repository(.name, *.bare, *.with_token, .near))]
    UnknownRepository { name: String, bare: bool, with_token: bool, near: Vec<String> },
    /// The repository has no such branch, tag or commit.
    #[error(
        "{name} has no revision `{revision}`; its page lists branches and tags, and without @ \
         it is main"
    )]
    UnknownRevision { name: String, revision: String },
    /// The repository lists a file that it does not have, or an address leads nowhere.
    #[error("{url} does not exist; check the name")]
    UnknownFile { url: String },
    /// The model's authors want its users to agree to something first.
    #[error("{}", gated(.name, .page, *.with_token))]
    Gated { name: String, page: String, with_token: bool },
    /// The token is not valid.
    #[error(
        "the hub refuses the token (of HF_TOKEN, or of the file {file}): it may have expired; \
         make a new one in the hub's settings, or remove it for models that anyone may have"
    )]
    Token { file: String },
    /// Another answer than the file.
    #[error("{url} answers {status}{}", after(.message))]
    Status { url: String, status: u16, message: Option<String> },
    /// Too many requests.
    #[error(
        "{url}: too many requests; try again in {}, or set HF_TOKEN, with which more are \
         allowed",
        wait(.seconds)
    )]
    Busy { url: String, seconds: Option<u64> },
    /// An answer that cannot be right, or not meant well.
    #[error(
        "{url}: {reason}; that is of no use: check the address, HF_ENDPOINT and proxies on the \
         way, or try again later"
    )]
    Answer { url: String, reason: String },
    /// Bytes that are not those that the hub promises.
    #[error(
        "{file} has SHA-256 {found}, and {expected} was expected: the download was damaged or \
         the file was changed; nothing of it was kept; try again, and distrust the source if \
         it happens twice"
    )]
    WrongHash { file: String, expected: String, found: String },
    /// Nothing that can be converted.
    #[error("{name} has no weights that can be read ({looked_for}); it has {there}")]
    NothingReadable { name: String, looked_for: &'static str, there: String },
    /// Several files, of which one must be chosen.
    #[error("{}", choice(.name, .files))]
    Choice { name: String, files: Vec<(String, Option<u64>)> },
    /// No file of this name.
    #[error("{name} has no file that fits `{word}`; it has {there}")]
    NoMatch { name: String, word: String, there: String },
    /// No room.
    #[error("{}", no_room(*.bytes, .folder, .variable))]
    DiskFull { bytes: u64, folder: PathBuf, variable: &'static str },
    /// The cache cannot be read or written.
    #[error("{}", .path.display())]
    File { path: PathBuf, source: io::Error },
}

impl Error {
    /// An answer that cannot be right.
    pub(super) fn answer(url: &Url, reason: impl Into<String>) -> Self {
        Self::Answer { url: url.to_string(), reason: reason.into() }
    }

    /// A file of the cache that cannot be read or written.
    pub(super) fn file(path: &Path, source: io::Error) -> Self {
        Self::File { path: path.to_owned(), source }
    }

    /// Whether it is the connection's fault, so that what is on this machine may do.
    pub(super) fn is_of_network(&self) -> bool {
        matches!(self, Self::NoNetwork { .. } | Self::Cut { .. } | Self::Busy { .. })
            || matches!(self, Self::Status { status: 500.., .. })
    }
}

fn unknown_repository(name: &str, bare: bool, with_token: bool, near: &[String]) -> String {
    let path = if bare { "there is no file or folder of this name, and " } else { "" };
    let private = match with_token {
        true => "your token may see",
        false => "anyone may see (a private one needs HF_TOKEN)",
    };
    let near = match near {
        [] => String::new(),
        near => format!("; it has {}", near.join(", ")),
    };
    format!("{name}: {path}the hub has no such model that {private}{near}")
}

fn gated(name: &str, page: &str, with_token: bool) -> String {
    let token = match with_token {
        true => "with the account whose token is in use, and try again",
        false => "log in, make a token in the settings, and set HF_TOKEN to it",
    };
    format!(
        "{name} is gated: its authors want you to agree to their terms first; do so at {page}, \
         {token}"
    )
}

fn no_room(bytes: u64, folder: &Path, variable: &str) -> String {
    let bytes = units::bytes(bytes);
    disk_full(&format!("{bytes} more are needed in {}", folder.display()), variable)
}

/// Words after a colon, if there are any.
fn after(message: &Option<String>) -> String {
    message.as_ref().map(|message| format!(": {message}")).unwrap_or_default()
}

fn wait(seconds: &Option<u64>) -> String {
    seconds.map_or_else(|| "a while".to_owned(), |seconds| format!("{seconds} s"))
}

fn choice(name: &str, files: &[(String, Option<u64>)]) -> String {
    let mut message = format!("{name} has several models; name one of them behind a colon:");
    for (file, bytes) in files {
        let size = bytes.map(|bytes| format!("  ({})", units::bytes(bytes))).unwrap_or_default();
        message.push_str(&format!("\n  hf:{name}:{file}{size}"));
    }
    message
}
