//! A file at an address, with what belongs to it beside it.

use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::client::Client;
use super::download::Item;
use super::name::{is_path, last};
use super::patience::patiently;
use super::store::write_whole;
use super::url::{Url, decoded};
use super::{Error, Fetched, Hub, Identity};
use crate::cache::VARIABLE;
use crate::failure::Failure;
use crate::progress::Phase;
use crate::units::hex;

/// What may lie beside weights and describe them; the first must be there.
const BESIDE: [&str; 25] = [
    "config.json",
    "tokenizer.json",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "spm.model",
    "sentencepiece.model",
    "tokenizer.spm",
    "source.spm",
    "tekken.json",
    "tokenizer_config.json",
    "generation_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "vocab.json",
    "target_vocab.json",
    "vocab.txt",
    "merges.txt",
    "preprocessor_config.json",
    "processor_config.json",
    "modules.json",
    "1_Pooling/config.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
];

impl Hub {
    /// What the model at an address is, if it is on this machine.
    pub(super) fn known_address(&self, url: &Url) -> Option<Identity> {
        let path = self.path_of(url);
        path.is_file().then(|| identity(url, &path))
    }

    /// Fetches a file that is not there, or has changed if it is to be `updated`.
    pub(super) fn fetch_address(&self, url: &Url, updated: bool) -> Result<Fetched, Failure> {
        let path = self.path_of(url);
        let folder = path.parent().unwrap_or(&path);
        let file = last(url.path());
        if path.is_file() && (!updated || self.settings.offline) {
            return Ok(Fetched { identity: identity(url, &path), path });
        }
        if self.settings.offline {
            let missing = "it was never fetched".to_owned();
            return Err(Error::Offline { name: url.to_string(), missing }.into());
        }
        let client = self.client()?;
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        let _lock = self.cache.lock(&name)?;
        if file.ends_with(".safetensors") {
            for (number, name) in BESIDE.iter().enumerate() {
                match fetch(&client, &url.beside(name), &folder.join(name)) {
                    Ok(()) => {}
                    Err(
                        Error::Status { .. } | Error::UnknownFile { .. } | Error::Answer { .. },
                    ) if number > 0 => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        fetch(&client, url, &path)?;
        Ok(Fetched { identity: identity(url, &path), path })
    }

    /// Where the file of an address is or will be.
    fn path_of(&self, url: &Url) -> PathBuf {
        let file = decoded(last(url.path()));
        let file = if is_path(&file) && !file.contains('/') { file } else { "model".to_owned() };
        let key = hex(&Sha256::digest(url.to_string())[..6]);
        let stem = Path::new(&file).file_stem().unwrap_or_default().to_string_lossy();
        let stem: String =
            stem.chars().filter(|c| c.is_ascii_alphanumeric() || "._-".contains(*c)).collect();
        self.cache.checkpoints().join(format!("{stem:.60}-{key}")).join(file)
    }
}

/// The file beside one that remembers which of its versions it is.
fn version_path(path: &Path) -> PathBuf {
    path.with_added_extension("version")
}

/// The versions of all files tell a checkpoint from what was there before.
fn identity(url: &Url, path: &Path) -> Identity {
    let mut parts = vec![url.to_string()];
    for file in BESIDE.map(|name| path.with_file_name(name)).iter().chain([&path.to_owned()]) {
        let version = fs::read_to_string(version_path(file)).unwrap_or_default();
        let bytes = file.metadata().map_or(0, |metadata| metadata.len());
        parts.push(format!("{bytes} {version}"));
    }
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    Identity { stem, parts }
}

/// Fetches one file, unless it is there and has not changed. What has arrived stands apart, with its
/// version, until it is whole.
fn fetch(client: &Client, url: &Url, path: &Path) -> Result<(), Error> {
    let failed = |error| Error::file(path, error);
    let version = patiently(|| client.version(url))?;
    let part = path.with_added_extension("incomplete");
    let is_same = |path: &Path| {
        version.is_some()
            && path.is_file()
            && fs::read_to_string(version_path(path)).ok() == version
    };
    if is_same(path) {
        return Ok(());
    }
    if part.exists() && !is_same(&part) {
        fs::remove_file(&part).map_err(failed)?;
    }
    write_whole(&version_path(&part), version.as_deref().unwrap_or_default().as_bytes())?;
    let tag = version.as_deref();
    let item = Item { url, of: None, bytes: None, sha256: None, tag, variable: VARIABLE };
    let mut phase = None;
    item.fetch(client, &part, &mut |done, total| match &phase {
        Some(phase) => Phase::set(phase, done),
        None => {
            phase = Some(Phase::resumed(&format!("fetching {}", last(url.path())), total, done))
        }
    })?;
    fs::rename(&part, path).map_err(failed)?;
    fs::rename(version_path(&part), version_path(path)).map_err(failed)
}
