//! A machine with nothing on it, whose hub is the one on loopback.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use kinglet_tests::tiny;
use tempfile::TempDir;

use super::{Hub, LARGE, collect};

/// What the environment of whoever runs the tests must not change.
const FOREIGN: [&str; 16] = [
    "HF_TOKEN",
    "HF_TOKEN_PATH",
    "HUGGING_FACE_HUB_TOKEN",
    "HF_HUB_CACHE",
    "HUGGINGFACE_HUB_CACHE",
    "HF_HUB_OFFLINE",
    "TRANSFORMERS_OFFLINE",
    "HF_HUB_DISABLE_IMPLICIT_TOKEN",
    "SSL_CERT_FILE",
    "ALL_PROXY",
    "all_proxy",
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "KINGLET_ISA",
];

/// Folders for both caches, deleted afterwards.
pub(crate) struct Machine {
    pub(crate) folder: TempDir,
    pub(crate) hub: Hub,
}

impl Machine {
    pub(crate) fn new(hub: &Hub) -> Self {
        Self { folder: tempfile::tempdir().unwrap(), hub: hub.clone() }
    }

    /// One whose hub has the tiny checkpoint of a family as `org/name`.
    pub(crate) fn with(family: &str) -> Self {
        Self::new(&Hub::with_folder(tiny::checkpoint(family).path()))
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kinglet"));
        for name in FOREIGN {
            command.env_remove(name);
        }
        command
            .args(arguments)
            .env("KINGLET_CACHE", self.folder.path().join("kinglet"))
            .env("HF_HOME", self.folder.path().join("hf"))
            .env("HF_ENDPOINT", &self.hub.address)
            .env("HF_HUB_DOWNLOAD_TIMEOUT", "5")
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        command
    }

    /// Standard output of a command that must succeed.
    pub(crate) fn runs(&self, arguments: &[&str]) -> String {
        succeeds(&mut self.command(arguments))
    }

    /// The message of a command that must fail.
    pub(crate) fn fails(&self, arguments: &[&str]) -> String {
        fails(&mut self.command(arguments))
    }

    /// The folder of `org/name` in Hugging Face's cache.
    pub(crate) fn repository(&self) -> PathBuf {
        self.folder.path().join("hf/hub/models--org--name")
    }

    /// The names of blobs, parts too.
    pub(crate) fn blobs(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.repository().join("blobs")).into_iter().flatten();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

/// What a model says after `ab`, by words that are the same for the same weights.
pub(crate) const SAY: [&str; 7] = ["--raw", "-q", "-n", "6", "--temp", "0", "ab"];

/// `run MODEL` with [`SAY`].
pub(crate) fn run(model: &str) -> Vec<&str> {
    ["run", model].into_iter().chain(SAY).collect()
}

pub(crate) fn succeeds(command: &mut Command) -> String {
    let out = command.output().unwrap();
    assert!(out.status.success(), "{command:?}: {}", stderr(&out));
    String::from_utf8(out.stdout).unwrap()
}

pub(crate) fn fails(command: &mut Command) -> String {
    let out = command.output().unwrap();
    let message = stderr(&out);
    assert_eq!(out.status.code(), Some(1), "{command:?}: {message}");
    assert!(!message.contains("panicked"), "{message}");
    message
}

pub(crate) fn stderr(out: &Output) -> String {
    String::from_utf8_lossy(&out.stderr).into_owned()
}

/// The files of a family's tiny checkpoint.
pub(crate) fn checkpoint(family: &str) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    collect(tiny::checkpoint(family).path(), "", &mut files);
    files
}

/// The files with their weights in two shards and an index.
pub(crate) fn sharded(mut files: BTreeMap<String, Vec<u8>>) -> BTreeMap<String, Vec<u8>> {
    let whole = files.remove("model.safetensors").unwrap();
    let n = u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    let header: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(&whole[8..8 + n]).unwrap();
    let tensors: Vec<_> = header.into_iter().filter(|(name, _)| name != "__metadata__").collect();
    let mut weight_map = serde_json::Map::new();
    for (number, tensors) in tensors.chunks(tensors.len().div_ceil(2)).enumerate() {
        let name = format!("model-0000{}-of-00002.safetensors", number + 1);
        let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
        for (tensor, entry) in tensors {
            let at = |i: usize| entry["data_offsets"][i].as_u64().unwrap() as usize;
            let start = data.len();
            data.extend_from_slice(&whole[8 + n + at(0)..8 + n + at(1)]);
            let mut entry = entry.clone();
            entry["data_offsets"] = serde_json::json!([start, data.len()]);
            header.insert(tensor.clone(), entry);
            weight_map.insert(tensor.clone(), name.clone().into());
        }
        let mut header = serde_json::to_vec(&header).unwrap();
        header.resize(header.len().next_multiple_of(8), b' ');
        let length = (header.len() as u64).to_le_bytes();
        let shard = [&length[..], &header, &data].concat();
        assert!(shard.len() > LARGE);
        files.insert(name, shard);
    }
    let index = serde_json::json!({ "weight_map": weight_map }).to_string();
    files.insert("model.safetensors.index.json".to_owned(), index.into_bytes());
    files
}

/// Whether a folder has a file of this name, anywhere below.
pub(crate) fn has_file(folder: &Path, name: &str) -> bool {
    let mut files = BTreeMap::new();
    if folder.exists() {
        collect(folder, "", &mut files);
    }
    files.keys().any(|file| file.ends_with(name))
}
