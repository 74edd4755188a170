//! A hub on loopback: two servers, one with the hub's routes and one that holds large files, as
//! the hub's own do, and with faults on demand.
#![allow(clippy::unwrap_used, reason = "a test may fail")]
#![allow(dead_code, reason = "each test file uses some of it")]

pub(crate) mod machine;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use serde_json::json;
use sha2::{Digest, Sha256};

/// Files of at least this size are kept by the second server.
pub(crate) const LARGE: usize = 100_000;

/// What goes wrong with a file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fault {
    /// The connection ends after this many bytes of a file; so many times.
    Cut(usize, usize),
    /// Nothing comes after this many bytes.
    Stall(usize),
    /// A byte is another one.
    Flip,
    /// Bytes come for ever.
    Endless,
    /// The file says that it has one byte more than the hub says.
    Longer,
    /// The server does not know ranges, and the first connection ends after this many bytes.
    Rangeless(usize),
    /// It sends on to itself.
    Circle,
    /// It sends on to another machine, in the clear.
    Unencrypted,
    /// It answers 429 and asks to wait for a second, so many times.
    Busy(usize),
    /// It answers 503, so many times.
    Broken(usize),
}

/// A repository.
#[derive(Clone, Default)]
pub(crate) struct Repository {
    pub(crate) commit: String,
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    /// Commits by the names of branches and tags.
    pub(crate) revisions: BTreeMap<String, String>,
    /// Whether only those with a token may have files.
    pub(crate) gated: bool,
}

/// One request: method, path with query, and lines of the head in lower case.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) head: BTreeMap<String, String>,
    /// Whether it went to the server of large files.
    pub(crate) to_store: bool,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) repositories: BTreeMap<String, Repository>,
    /// By the file's name.
    pub(crate) faults: BTreeMap<String, Fault>,
    /// Files at addresses outside the hub's routes.
    pub(crate) addresses: BTreeMap<String, Vec<u8>>,
    /// What is answered to questions about repositories instead of the truth.
    pub(crate) listing: Option<Vec<u8>>,
    pub(crate) requests: Vec<Request>,
    counts: BTreeMap<String, usize>,
}

/// A running hub; its threads end with the process.
#[derive(Clone)]
pub(crate) struct Hub {
    state: Arc<Mutex<State>>,
    pub(crate) address: String,
    store: String,
}

impl Hub {
    pub(crate) fn start() -> Self {
        let (hub, store) = (listen(), listen());
        let address = |listener: &TcpListener| {
            format!("http://127.0.0.1:{}", listener.local_addr().unwrap().port())
        };
        let started =
            Self { state: Arc::default(), address: address(&hub), store: address(&store) };
        for (listener, to_store) in [(hub, false), (store, true)] {
            let hub = started.clone();
            thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let hub = hub.clone();
                    // A client that leaves is no failure of the server.
                    thread::spawn(move || hub.serve(stream, to_store).ok());
                }
            });
        }
        started
    }

    /// A hub with one repository `org/name` of the files in a folder.
    pub(crate) fn with_folder(folder: &Path) -> Self {
        let hub = Self::start();
        let mut files = BTreeMap::new();
        collect(folder, "", &mut files);
        hub.put("org/name", files);
        hub
    }

    pub(crate) fn put(&self, name: &str, files: BTreeMap<String, Vec<u8>>) {
        let mut hash = Sha256::new();
        files.iter().for_each(|(name, bytes)| {
            hash.update(name);
            hash.update(bytes);
        });
        let commit = hex(&hash.finalize())[..40].to_owned();
        let revisions = [("main".to_owned(), commit.clone())].into();
        let repository = Repository { commit, files, revisions, gated: false };
        self.state().repositories.insert(name.to_owned(), repository);
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(crate) fn fault(&self, file: &str, fault: Fault) {
        self.state().faults.insert(file.to_owned(), fault);
    }

    /// The requests since the last look.
    pub(crate) fn requests(&self) -> Vec<Request> {
        std::mem::take(&mut self.state().requests)
    }

    fn serve(&self, mut stream: TcpStream, to_store: bool) -> std::io::Result<()> {
        let mut lines = BufReader::new(stream.try_clone()?).lines();
        let first = lines.next().unwrap_or_else(|| Ok(String::new()))?;
        let mut words = first.split(' ').map(str::to_owned);
        let (Some(method), Some(path)) = (words.next(), words.next()) else { return Ok(()) };
        let mut head = BTreeMap::new();
        for line in lines {
            let line = line?;
            let Some((name, value)) = line.split_once(": ") else { break };
            head.insert(name.to_ascii_lowercase(), value.to_owned());
        }
        let request = Request { method, path, head, to_store };
        self.state().requests.push(request.clone());
        let answer = match to_store {
            true => self.stored(&request),
            false => self.answer(&request),
        };
        answer.send(&request, &mut stream)?;
        stream.shutdown(Shutdown::Both)
    }

    /// A large file, by its hash.
    fn stored(&self, request: &Request) -> Answer {
        let mut state = self.state();
        let key = request.path.trim_start_matches('/');
        let mut files = state.repositories.values().flat_map(|repository| &repository.files);
        let found = files.find(|(_, bytes)| sha256(bytes) == key);
        let found = found.map(|(name, bytes)| (name.clone(), bytes.clone()));
        let Some((name, bytes)) = found else { return Answer::of(404) };
        state.file(&name, bytes, request, &format!("\"{key}\""))
    }

    fn answer(&self, request: &Request) -> Answer {
        let mut state = self.state();
        let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
        if let Some(bytes) = state.addresses.get(path).cloned() {
            let tag = format!("\"{:.10}\"", sha256(&bytes));
            return state.file(path, bytes, request, &tag);
        }
        if path == "/api/models" {
            let word = query.split(['=', '&']).nth(1).unwrap_or_default();
            let names = state.repositories.keys().filter(|name| name.contains(word));
            let list: Vec<_> = names.map(|name| json!({ "id": name })).collect();
            return Answer::json(&json!(list));
        }
        let is_known =
            request.head.get("authorization").is_none_or(|line| line == "Bearer hf_good");
        if !is_known {
            return Answer::of(401)
                .line("x-error-message", "Invalid credentials in Authorization header");
        }
        if let Some(rest) = path.strip_prefix("/api/models/") {
            if let Some(listing) = &state.listing {
                return Answer { body: listing.clone(), ..Answer::of(200) };
            }
            let (name, revision) = rest.split_once("/revision/").unwrap_or((rest, "main"));
            return match state.commit(name, &revision.replace("%2F", "/")) {
                Ok(repository) => {
                    let files = repository
                        .files
                        .iter()
                        .map(|(name, bytes)| json!({ "rfilename": name, "size": bytes.len() }));
                    let files: Vec<_> = files.collect();
                    Answer::json(
                        &json!({ "id": name, "sha": repository.commit, "siblings": files }),
                    )
                }
                Err(refusal) => refusal,
            };
        }
        let Some((name, rest)) = path[1..].split_once("/resolve/") else { return Answer::of(404) };
        let (revision, file) = rest.split_once('/').unwrap_or_default();
        let repository = match state.commit(name, revision) {
            Ok(repository) => repository,
            Err(refusal) => return refusal,
        };
        if repository.gated && !request.head.contains_key("authorization") {
            return Answer::of(401).line("x-error-code", "GatedRepo");
        }
        let Some(bytes) = repository.files.get(file).cloned() else {
            return Answer::of(404).line("x-error-code", "EntryNotFound");
        };
        let key = sha256(&bytes);
        if bytes.len() >= LARGE {
            let to = match state.faults.get(file) {
                Some(Fault::Circle) if request.method == "GET" => request.path.clone(),
                Some(Fault::Unencrypted) => "http://cdn.example/x".to_owned(),
                _ => format!("{}/{key}", self.store),
            };
            return Answer::of(302)
                .line("location", &to)
                .line("x-repo-commit", &repository.commit)
                .line("x-linked-etag", &format!("\"{key}\""))
                .line("x-linked-size", &bytes.len().to_string());
        }
        state.file(file, bytes, request, &format!("\"{:.40}\"", key))
    }
}

impl State {
    /// A repository at a revision, or the refusal.
    fn commit(&self, name: &str, revision: &str) -> Result<Repository, Answer> {
        let missing = |code| Answer::of(404).line("x-error-code", code);
        let Some(repository) = self.repositories.get(name) else {
            return Err(Answer::of(401).line("x-error-code", "RepoNotFound"));
        };
        let by_name = repository.revisions.contains_key(revision);
        match by_name || revision == repository.commit {
            true => Ok(repository.clone()),
            false => Err(missing("RevisionNotFound")),
        }
    }

    /// The bytes of a file, and what goes wrong with them.
    fn file(&mut self, name: &str, mut bytes: Vec<u8>, request: &Request, tag: &str) -> Answer {
        let fault = self.faults.get(name).copied();
        let mut count = 0;
        if request.method == "GET" {
            let counted = self.counts.entry(name.to_owned()).or_default();
            (count, *counted) = (*counted, *counted + 1);
        }
        let is_get = request.method == "GET";
        let range =
            request.head.get("range").filter(|_| !matches!(fault, Some(Fault::Rangeless(_))));
        let from =
            range.map(|range| &range["bytes=".len()..]).and_then(|range| range.strip_suffix('-'));
        let from = from.map(|from| from.parse::<usize>().unwrap());
        let same = request.head.get("if-range").is_none_or(|expected| expected == tag);
        let (from, total) = (from.filter(|_| same), bytes.len());
        let mut answer = Answer::of(if from.is_some() { 206 } else { 200 }).line("etag", tag);
        if let Some(from) = from {
            answer = answer.line("content-range", &format!("bytes {from}-{}/{total}", total - 1));
        }
        let from = from.unwrap_or(0);
        match fault {
            Some(Fault::Busy(n)) if count < n && is_get => {
                return Answer::of(429).line("retry-after", "1");
            }
            Some(Fault::Broken(n)) if count < n && is_get => return Answer::of(503),
            Some(Fault::Cut(at, n)) if count < n => answer.cut = Some(at.saturating_sub(from)),
            Some(Fault::Rangeless(at)) if count == 0 => answer.cut = Some(at),
            Some(Fault::Stall(at)) => {
                (answer.cut, answer.stalls) = (Some(at.saturating_sub(from)), true)
            }
            Some(Fault::Flip) => bytes[total / 2] ^= 1,
            Some(Fault::Longer) if is_get => bytes.push(0),
            Some(Fault::Endless) => answer.endless = is_get,
            _ => {}
        }
        answer.body = bytes[from..].to_vec();
        answer
    }
}

/// What the server says.
#[derive(Default)]
struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
    /// Where the body ends early.
    cut: Option<usize>,
    stalls: bool,
    endless: bool,
}

impl Answer {
    fn of(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    fn json(value: &serde_json::Value) -> Self {
        Self { body: value.to_string().into_bytes(), ..Self::of(200) }
    }

    fn line(mut self, name: &str, value: &str) -> Self {
        self.head += &format!("{name}: {value}\r\n");
        self
    }

    fn send(&self, request: &Request, stream: &mut TcpStream) -> std::io::Result<()> {
        let length = match self.endless {
            true => "transfer-encoding: chunked\r\n".to_owned(),
            false => format!("content-length: {}\r\n", self.body.len()),
        };
        let head =
            format!("HTTP/1.1 {} x\r\n{}{length}connection: close\r\n\r\n", self.status, self.head);
        stream.write_all(head.as_bytes())?;
        if request.method == "HEAD" {
            return Ok(());
        }
        if self.endless {
            // Until the client has enough of it.
            loop {
                stream.write_all(b"10000\r\n")?;
                stream.write_all(&vec![0; 0x10000])?;
                stream.write_all(b"\r\n")?;
            }
        }
        stream.write_all(&self.body[..self.cut.unwrap_or(usize::MAX).min(self.body.len())])?;
        if self.stalls {
            thread::sleep(Duration::from_secs(60));
        }
        Ok(())
    }
}

fn listen() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The files of a folder by their names below it.
pub(crate) fn collect(folder: &Path, prefix: &str, files: &mut BTreeMap<String, Vec<u8>>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{prefix}{}", entry.file_name().to_str().unwrap());
        match entry.path().is_dir() {
            true => collect(&entry.path(), &format!("{name}/"), files),
            false => drop(files.insert(name, std::fs::read(entry.path()).unwrap())),
        }
    }
}
