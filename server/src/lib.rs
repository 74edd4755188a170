//! Serves models over HTTP, in the form of OpenAI's API.
//!
//! Requests for texts go to a [`kinglet::Scheduler`], one for each model, which computes many of them
//! together; everything else takes turns. Nothing that a client sends is believed before it is
//! checked, and no field is left out of account without a word.

mod api;
mod engine;
mod error;
mod fields;
mod guard;
mod listen;
mod metrics;
mod models;
mod reading;

use std::net::SocketAddr;
#[cfg(unix)]
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kinglet::SchedulerOptions;
use thiserror::Error;

pub use models::{Open, Served};

use crate::models::Models;

/// Samples at 16 kHz of a file of sound, or what is wrong with it.
pub type DecodeSound = fn(Vec<u8>) -> Result<Vec<f32>, String>;

/// How to serve.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServerOptions {
    /// Where to listen.
    pub at: Place,
    /// Keys of which a client must send one; none are asked for if there are none.
    pub keys: Vec<String>,
    /// Names by which clients may call the server, besides addresses and `localhost`; `*` is any.
    pub hosts: Vec<String>,
    /// Origins of pages that may use the server; `*` is any.
    pub origins: Vec<String>,
    /// How requests share a model.
    pub scheduler: SchedulerOptions,
    /// Models that nobody asked for in this time are closed.
    pub keep_alive: Option<Duration>,
    /// Largest body of a request, in bytes.
    pub body: usize,
    /// The same of one with files.
    pub upload: usize,
    /// Time for a request's head, or until the next one, and for its body.
    pub patience: Duration,
    /// Reads files of sound.
    pub decode_sound: Option<DecodeSound>,
}

/// Where a server listens.
#[derive(Clone, Debug)]
pub enum Place {
    /// A port of an address; port 0 takes any that is free.
    Address(SocketAddr),
    /// A socket in the file system.
    #[cfg(unix)]
    Socket(PathBuf),
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            at: Place::Address(SocketAddr::from(([127, 0, 0, 1], 8080))),
            keys: Vec::new(),
            hosts: Vec::new(),
            origins: Vec::new(),
            scheduler: SchedulerOptions::default(),
            keep_alive: None,
            body: 8 << 20,
            upload: 64 << 20,
            patience: Duration::from_secs(30),
            decode_sound: None,
        }
    }
}

/// Why a server could not start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The address is taken, or not this machine's.
    #[error("cannot listen on {place}: {source}; choose another address or port")]
    Listen {
        /// Where.
        place: String,
        /// The system's words.
        source: std::io::Error,
    },
    /// The system gives no threads or timers.
    #[error("cannot start: {0}")]
    Runtime(std::io::Error),
    /// There is nothing to serve.
    #[error("no models to serve")]
    NoModels,
    /// Two models go by one name.
    #[error("two models are called `{0}`; serve one of them")]
    SameName(String),
}

/// What all requests share.
pub(crate) struct State {
    pub(crate) models: Models,
    pub(crate) options: ServerOptions,
    /// Hashes of the keys.
    pub(crate) keys: Vec<blake3::Hash>,
    pub(crate) started: u64,
}

/// Serves `models` until `stopped` says so; then takes no more requests, finishes those it has, and
/// returns. `ready` is told where it listens.
///
/// # Errors
/// If the server cannot start.
pub fn serve(
    models: Vec<Served>,
    options: ServerOptions,
    ready: impl FnOnce(&str),
    stopped: impl Fn() -> bool + Send + 'static,
) -> Result<(), ServeError> {
    if models.is_empty() {
        return Err(ServeError::NoModels);
    }
    for (at, model) in models.iter().enumerate() {
        if models[..at].iter().any(|other| other.name == model.name) {
            return Err(ServeError::SameName(model.name.clone()));
        }
    }
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    // The models' threads do the work.
    let runtime = runtime.worker_threads(2).enable_all().build().map_err(ServeError::Runtime)?;
    let state = Arc::new(State {
        models: Models::new(models, options.scheduler.clone()),
        keys: options.keys.iter().map(|key| blake3::hash(key.as_bytes())).collect(),
        options,
        started: models::seconds(),
    });
    runtime.block_on(listen::run(state, ready, stopped))
}
