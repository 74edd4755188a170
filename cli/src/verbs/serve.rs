//! `kinglet serve`: models over HTTP.

use std::ffi::{OsStr, OsString};
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use clap::ValueHint;
use kinglet::{GenerateOptions, KvType, Model, SchedulerOptions};
use kinglet_quantize::WeightType;
use kinglet_server::{Place, Served, ServerOptions};

use crate::arguments::session_options;
use crate::failure::Failure;
use crate::interrupt::Guard;
use crate::numbers;
use crate::output::say;
use crate::resolve;
use crate::sound;

/// Serve models over HTTP, as OpenAI's API does
///
/// Programs that can talk to OpenAI's API talk to these models when they are given this address:
/// chats, completions, embeddings, reranking, transcription. Many requests are computed together,
/// and starts that they have in common once. A small page to talk with the models is at /.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kinglet serve smollm2-135m
  kinglet serve qwen2.5-coder.gguf minilm whisper-base --port 8000
  kinglet serve smollm2-135m --host 0.0.0.0 --api-key-file keys.txt --allow-host pi.local
  curl localhost:8080/v1/chat/completions -d '{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}]}'")]
pub(crate) struct Arguments {
    /// Models to serve, as for `kinglet run`; requests that name none go to the first. NAME=MODEL
    /// serves one under another name
    #[arg(value_name = "MODEL", required = true, value_hint = ValueHint::AnyPath)]
    models: Vec<OsString>,
    /// Weights of catalog models and checkpoints: int8, int4, f16 or auto
    #[arg(long = "type", value_name = "TYPE", value_parser = numbers::weight_type)]
    dtype: Option<WeightType>,
    /// Threads of each model [default: the machine's physical cores]
    #[arg(short, long, value_name = "N", value_parser = numbers::threads)]
    threads: Option<NonZeroUsize>,
    /// Address to listen on; 0.0.0.0 serves the whole network
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    host: IpAddr,
    /// Port to listen on; 0 takes one that is free
    #[arg(long, value_name = "PORT", default_value_t = 8080)]
    port: u16,
    /// Listen on a socket in the file system instead
    #[cfg(unix)]
    #[arg(long, value_name = "PATH", conflicts_with_all = ["host", "port"])]
    unix: Option<PathBuf>,
    /// Key that clients must send (may be repeated); so is what KINGLET_API_KEY holds, which other
    /// users of the machine do not see
    #[arg(long, value_name = "KEY")]
    api_key: Vec<String>,
    /// A file of keys, one a line
    #[arg(long, value_name = "FILE")]
    api_key_file: Option<PathBuf>,
    /// A name by which clients may call this server, besides addresses and localhost (may be
    /// repeated); * is any
    #[arg(long, value_name = "NAME")]
    allow_host: Vec<String>,
    /// An origin, such as https://example.org, whose pages may use this server (may be repeated);
    /// * is any
    #[arg(long, value_name = "ORIGIN")]
    allow_origin: Vec<String>,
    /// Requests of a model computed together
    #[arg(long, value_name = "N", default_value = "8", aliases = ["parallel", "np"])]
    slots: NonZeroUsize,
    /// Requests of a model that may wait for a slot
    #[arg(long, value_name = "N", default_value_t = 64)]
    queue: usize,
    /// Most tokens of a prompt and its answer [default: what the model was made for]
    #[arg(short = 'c', long = "ctx-size", value_name = "N", value_parser = numbers::context)]
    #[arg(aliases = ["context", "num-ctx", "n-ctx"])]
    context: Option<usize>,
    /// How keys and values are kept: f16, or int8 in half the memory
    #[arg(long, value_name = "TYPE", default_value_t, value_parser = numbers::kv_type)]
    kv: KvType,
    /// Megabytes of keys and values of each model, those kept for later requests included
    #[arg(long, value_name = "MB", default_value = "1024")]
    kv_memory: NonZeroUsize,
    /// Minutes after which a model that nobody asks for is closed
    #[arg(long, value_name = "MINUTES", aliases = ["idle-unload"])]
    keep_alive: Option<NonZeroUsize>,
    /// Open the models now, not when they are first asked for
    #[arg(long)]
    preload: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut options = ServerOptions::default();
    options.at = place(arguments);
    options.keys = keys(arguments)?;
    options.hosts = arguments.allow_host.clone();
    options.origins = arguments.allow_origin.clone();
    let mut scheduler = SchedulerOptions::default();
    scheduler.slots = arguments.slots.get();
    scheduler.queue = arguments.queue;
    scheduler.session = session_options(arguments.context, arguments.kv);
    scheduler.kv_memory = arguments.kv_memory.get().saturating_mul(1 << 20);
    options.scheduler = scheduler;
    options.keep_alive =
        arguments.keep_alive.map(|minutes| Duration::from_secs(60 * minutes.get() as u64));
    options.decode_sound = Some(decode_sound);
    if !arguments.host.is_loopback() && options.keys.is_empty() {
        say!("note: anybody who can reach {} may use this server; see --api-key", arguments.host);
    }
    let models = arguments.models.iter().map(|model| served(arguments, model));
    let models = models.collect::<Result<Vec<_>, _>>()?;
    let names: Vec<String> = models.iter().map(|model| model.name.clone()).collect();
    let guard = Guard::wait();
    let ready = |address: &str| {
        say!("serving {} at {address}; Ctrl-C stops it", names.join(", "));
    };
    kinglet_server::serve(models, options, ready, move || guard.pressed())
        .map_err(|error| Failure::new(error.to_string()))
}

fn place(arguments: &Arguments) -> Place {
    #[cfg(unix)]
    if let Some(path) = &arguments.unix {
        return Place::Socket(path.clone());
    }
    Place::Address(SocketAddr::new(arguments.host, arguments.port))
}

fn keys(arguments: &Arguments) -> Result<Vec<String>, Failure> {
    let mut keys = arguments.api_key.clone();
    keys.extend(std::env::var("KINGLET_API_KEY").ok().filter(|key| !key.is_empty()));
    if let Some(path) = &arguments.api_key_file {
        let text = std::fs::read_to_string(path)
            .map_err(|error| Failure::from(error).during(path.display()))?;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        keys.extend(lines.map(str::to_owned));
        if keys.is_empty() {
            return Err(Failure::new(format!("{}: there are no keys in it", path.display())));
        }
    }
    if keys.iter().any(String::is_empty) {
        return Err(Failure::usage("an API key is empty"));
    }
    Ok(keys)
}

/// A model that is opened when it is asked for; it is found, and made, now.
fn served(arguments: &Arguments, model: &OsStr) -> Result<Served, Failure> {
    let (alias, model) = match model.to_str().and_then(|text| text.split_once('=')) {
        Some((name, rest)) if !name.is_empty() && !name.contains(['/', '\\']) => {
            (Some(name.to_owned()), OsStr::new(rest))
        }
        _ => (None, model),
    };
    let resolved = resolve::resolve(model, arguments.dtype)?;
    let threads = arguments.threads.map(NonZeroUsize::get);
    let name = alias.unwrap_or_else(|| resolved.name.clone());
    let defaults = GenerateOptions {
        temperature: resolved.sampling.temperature,
        top_p: resolved.sampling.top_p,
        ..GenerateOptions::default()
    };
    let open = move || -> Result<Model, String> {
        resolve::open_file(&resolved, threads).map_err(|failure| failure.to_string())
    };
    if arguments.preload {
        let first = open().map_err(Failure::new)?;
        let kept = move || Ok(first.clone());
        return Ok(Served { name, open: Box::new(kept), defaults });
    }
    Ok(Served { name, open: Box::new(open), defaults })
}

/// Samples of a file that came over the network.
fn decode_sound(bytes: Vec<u8>) -> Result<Vec<f32>, String> {
    sound::of_bytes(bytes).map_err(|failure| failure.to_string())
}
