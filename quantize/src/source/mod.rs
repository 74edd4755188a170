//! Checkpoints as they lie on disk or in memory: a GGUF file, a Hugging Face folder, or one of its
//! weight files.

mod files;
mod folder;
mod gguf;
mod tokens;

use std::path::{Path, PathBuf};

use kinglet_formats::checkpoint::Checkpoint;
use kinglet_formats::kinglet::{General, Generation};
use kinglet_formats::map::Bytes;
use kinglet_formats::spec::ModelSpec;

use crate::QuantizeError;
use crate::arch::Mapping;
use files::Files;
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
            Kind::of_file(Files::beside(path), path)?
        };
        Ok(Self { name: file_name(path), kind })
    }

    /// Opens a checkpoint called `name` that is in memory, by the names of its files: a GGUF file,
    /// or a safetensors or PyTorch file and, with the names they have in a Hugging Face folder
    /// (`1_Pooling/config.json`), those that belong to it.
    pub fn from_files(
        name: &str,
        files: impl IntoIterator<Item = (String, Bytes)>,
    ) -> Result<Self, QuantizeError> {
        let files: Vec<(PathBuf, Bytes)> =
            files.into_iter().map(|(name, bytes)| (name.into(), bytes)).collect();
        let path = weights_among(&files).map_err(|found| QuantizeError::NotACheckpoint {
            path: name.into(),
            found: found.to_owned(),
        })?;
        let kind = Kind::of_file(Files::Memory { name: name.into(), files }, &path)?;
        Ok(Self { name: name.to_owned(), kind })
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
            Kind::Folder(_) if self.held(path).is_some() => Some(path),
            Kind::Folder(folder) => path.strip_prefix(folder.files().place()).ok(),
        };
        relative.map_or_else(|| file_name(path), |path| path.to_string_lossy().into_owned())
    }

    /// The bytes of an input that is in memory.
    pub(crate) fn held(&self, path: &Path) -> Option<&Bytes> {
        match &self.kind {
            Kind::Gguf(file) => file.files().held(path),
            Kind::Folder(folder) => folder.files().held(path),
        }
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

impl Kind {
    /// A file by its content; weights come with the files beside them.
    fn of_file(files: Files, path: &Path) -> Result<Self, QuantizeError> {
        match sniff(&files.start(path, 64)?) {
            Content::Gguf => Ok(Self::Gguf(GgufFile::open(files, path)?)),
            Content::Weights => Ok(Self::Folder(Folder::of_file(files, path)?)),
            Content::Other(found) => {
                let found = found.to_owned();
                Err(QuantizeError::NotACheckpoint { path: path.to_owned(), found })
            }
        }
    }
}

/// The one file of several that has the weights, as [`folder`] would choose it.
fn weights_among(files: &[(PathBuf, Bytes)]) -> Result<PathBuf, &'static str> {
    let has_weights = |(_, bytes): &&(PathBuf, Bytes)| !matches!(sniff(bytes), Content::Other(_));
    let weights: Vec<&Path> =
        files.iter().filter(has_weights).map(|(path, _)| path.as_path()).collect();
    let usual = folder::WEIGHTS.iter().map(Path::new).find(|path| weights.contains(path));
    match (usual, &weights[..], files) {
        (Some(path), ..) | (None, &[path], _) => Ok(path.to_path_buf()),
        (None, [], []) => Err("there are no files"),
        // Its content tells what it is instead.
        (None, [], [(path, _)]) => Ok(path.clone()),
        (None, [], _) => Err("none of the files has weights"),
        _ => Err(
            "several files have weights, and from memory only one is converted; open their folder",
        ),
    }
}

enum Content {
    Gguf,
    Weights,
    Other(&'static str),
}

/// Tells the kind of a file by its first bytes.
fn sniff(start: &[u8]) -> Content {
    Content::Other(match start {
        [b'G', b'G', b'U', b'F', ..] => return Content::Gguf,
        [0x89, b'K', b'G', b'L', ..] => "it is a .kinglet file already",
        [] => "the file is empty",
        [b'{' | b'[', ..] => "it is a JSON file; name its folder instead",
        // A zip archive, or a pickle of protocol 2 and later.
        [b'P', b'K', 3, 4, ..] | [0x80, 2..=5, ..] => return Content::Weights,
        _ if start.get(8) == Some(&b'{') => return Content::Weights,
        // Field 1 of the message, a small number: the version of the format.
        [8, 1..=20, 0x12 | 0x3a, ..] => "it looks like an ONNX file",
        _ if start.starts_with(b"version https://git-lfs") => {
            "it is a Git LFS pointer; fetch the file itself with `git lfs pull`"
        }
        _ => "its content is of no known kind",
    })
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
