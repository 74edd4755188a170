//! Checkpoints as they lie on disk: a GGUF file, a Hugging Face folder, or one of its weight files.

mod folder;
mod gguf;
mod tokens;

use std::io::Read;
use std::path::{Path, PathBuf};

use kinglet_formats::checkpoint::{Checkpoint, CheckpointError};
use kinglet_formats::kinglet::{General, Generation};
use kinglet_formats::map::open_regular;
use kinglet_formats::spec::ModelSpec;

use crate::QuantizeError;
use crate::arch::Mapping;
use folder::Folder;
use gguf::GgufFile;

/// A checkpoint that has been found, opened and recognised. Weights are untouched so far.
pub struct Source {
    name: String,
    kind: Kind,
}

enum Kind {
    Gguf(GgufFile),
    Folder(Folder),
}

/// What a checkpoint says about itself and its use.
pub(crate) struct Defaults {
    pub(crate) general: General,
    pub(crate) generation: Generation,
    pub(crate) chat_template: Option<String>,
}

impl Source {
    /// Opens a GGUF file, a Hugging Face folder, or a safetensors or PyTorch file whose folder
    /// has `config.json` and `tokenizer.json`. The content decides, not the name.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, QuantizeError> {
        let path = path.as_ref();
        let metadata = std::fs::metadata(path).map_err(|error| QuantizeError::io(path, error))?;
        let kind = if metadata.is_dir() {
            Kind::Folder(Folder::open(path)?)
        } else {
            match sniff(path)? {
                Content::Gguf => Kind::Gguf(GgufFile::open(path)?),
                Content::Weights => Kind::Folder(Folder::of_file(path)?),
                Content::Other(found) => {
                    return Err(QuantizeError::NotACheckpoint { path: path.to_owned(), found });
                }
            }
        };
        Ok(Self { name: file_name(path), kind })
    }

    /// Name of the file or folder.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The files that the conversion reads.
    pub fn inputs(&self) -> &[PathBuf] {
        match &self.kind {
            Kind::Gguf(file) => file.inputs(),
            Kind::Folder(folder) => folder.inputs(),
        }
    }

    /// The network that the checkpoint describes, from its configuration alone.
    pub fn spec(&self) -> Result<ModelSpec, QuantizeError> {
        Ok(self.map()?.spec)
    }

    /// The name of an input as records show it: without the folders of this machine.
    pub(crate) fn input_name(&self, path: &Path) -> String {
        let relative = match &self.kind {
            Kind::Gguf(_) => None,
            Kind::Folder(folder) => path.strip_prefix(folder.path()).ok(),
        };
        relative.map_or_else(|| file_name(path), |path| path.to_string_lossy().into_owned())
    }

    pub(crate) fn checkpoint(&self) -> &dyn Checkpoint {
        match &self.kind {
            Kind::Gguf(file) => file.checkpoint(),
            Kind::Folder(folder) => folder.checkpoint(),
        }
    }

    pub(crate) fn map(&self) -> Result<Mapping, QuantizeError> {
        match &self.kind {
            Kind::Gguf(file) => file.map(),
            Kind::Folder(folder) => folder.map(),
        }
    }

    pub(crate) fn defaults(&self) -> Result<Defaults, QuantizeError> {
        match &self.kind {
            Kind::Gguf(file) => file.defaults(),
            Kind::Folder(folder) => folder.defaults(),
        }
    }

    /// The compiled tokenizer.
    pub(crate) fn tokenizer(&self) -> Result<Vec<u8>, QuantizeError> {
        match &self.kind {
            Kind::Gguf(file) => file.tokenizer(),
            Kind::Folder(folder) => folder.tokenizer(),
        }
    }
}

enum Content {
    Gguf,
    Weights,
    Other(String),
}

/// Tells the kind of a file by its first bytes.
fn sniff(path: &Path) -> Result<Content, QuantizeError> {
    let mut start = Vec::new();
    open_regular(path)
        .map_err(CheckpointError::from)?
        .take(64)
        .read_to_end(&mut start)
        .map_err(|error| QuantizeError::io(path, error))?;
    let other = |found: &str| Ok(Content::Other(found.to_owned()));
    match start.as_slice() {
        [b'G', b'G', b'U', b'F', ..] => Ok(Content::Gguf),
        [0x89, b'K', b'G', b'L', ..] => other("it is a .kinglet file already"),
        [] => other("the file is empty"),
        [b'{' | b'[', ..] => other("it is a JSON file; name its folder instead"),
        // A zip archive, or a pickle of protocol 2 and later.
        [b'P', b'K', 3, 4, ..] | [0x80, 2..=5, ..] => Ok(Content::Weights),
        _ if start.get(8) == Some(&b'{') => Ok(Content::Weights),
        // Field 1 of the message, a small number: the version of the format.
        [8, 1..=20, 0x12 | 0x3a, ..] => other("it looks like an ONNX file"),
        _ if start.starts_with(b"version https://git-lfs") => {
            other("it is a Git LFS pointer; fetch the file itself with `git lfs pull`")
        }
        _ => other("its content is of no known kind"),
    }
}

/// The last component of a path, for records that must not name folders of this machine.
fn file_name(path: &Path) -> String {
    let absolute = std::fs::canonicalize(path);
    let name = match &absolute {
        Ok(absolute) => absolute.file_name(),
        Err(_) => path.file_name(),
    };
    name.map_or_else(|| "checkpoint".to_owned(), |name| name.to_string_lossy().into_owned())
}
