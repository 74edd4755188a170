//! The files of a checkpoint: of a folder, or in memory.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use kinglet_formats::checkpoint::{self, Checkpoint, CheckpointError};
use kinglet_formats::map::{Bytes, folder_of, open_regular};

use crate::QuantizeError;

/// Most entries of a folder that are looked at.
const MAX_ENTRIES: usize = 1000;

/// Where the files of a checkpoint lie.
pub(super) enum Files {
    /// In this folder.
    Folder(PathBuf),
    /// Here, by their names.
    Memory { name: PathBuf, files: Vec<(PathBuf, Bytes)> },
}

impl Files {
    /// The folder of a file.
    pub(super) fn beside(file: &Path) -> Self {
        Self::Folder(folder_of(file).to_owned())
    }

    /// That a file is not there, and why it is needed.
    pub(super) fn missing(&self, file: &str, why: &'static str) -> QuantizeError {
        QuantizeError::MissingFile { folder: self.place().to_owned(), file: file.to_owned(), why }
    }

    /// The folder; in memory, its name.
    pub(super) fn place(&self) -> &Path {
        match self {
            Self::Folder(path) => path,
            Self::Memory { name, .. } => name,
        }
    }

    /// How a file is named among the inputs.
    pub(super) fn path(&self, file: &str) -> PathBuf {
        match self {
            Self::Folder(folder) => folder.join(file),
            Self::Memory { .. } => PathBuf::from(file),
        }
    }

    /// The names of all files, in order.
    pub(super) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = match self {
            Self::Folder(folder) => std::fs::read_dir(folder)
                .into_iter()
                .flatten()
                .take(MAX_ENTRIES)
                .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
                .collect(),
            Self::Memory { files, .. } => {
                files.iter().map(|(name, _)| name.to_string_lossy().into_owned()).collect()
            }
        };
        names.sort();
        names
    }

    /// Whether there is something of this name.
    pub(super) fn contains(&self, file: &str) -> bool {
        match self {
            Self::Folder(folder) => folder.join(file).is_file(),
            Self::Memory { .. } => self.held(Path::new(file)).is_some(),
        }
    }

    /// Whether there is a file at `path`, as inputs are named.
    pub(super) fn has(&self, path: &Path) -> bool {
        match self {
            Self::Folder(_) => path.is_file(),
            Self::Memory { .. } => self.held(path).is_some(),
        }
    }

    /// The bytes of a file, `None` if it is not there.
    pub(super) fn read(&self, file: &str, limit: u64) -> Result<Option<Vec<u8>>, QuantizeError> {
        let too_large = |bytes| QuantizeError::TooLarge { file: file.to_owned(), bytes, limit };
        let folder = match self {
            Self::Folder(folder) => folder,
            Self::Memory { .. } => {
                return match self.held(Path::new(file)) {
                    Some(bytes) if bytes.len() as u64 > limit => Err(too_large(bytes.len() as u64)),
                    found => Ok(found.map(|bytes| bytes.to_vec())),
                };
            }
        };
        let path = folder.join(file);
        if !path.is_file() {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        let read = File::open(&path).and_then(|f| f.take(limit + 1).read_to_end(&mut bytes));
        match read {
            Err(error) => Err(QuantizeError::io(&path, error)),
            Ok(n) if n as u64 > limit => {
                Err(too_large(std::fs::metadata(&path).map_or(n as u64, |metadata| metadata.len())))
            }
            Ok(_) => Ok(Some(bytes)),
        }
    }

    /// The first bytes of a file.
    pub(super) fn start(&self, path: &Path, n: usize) -> Result<Vec<u8>, QuantizeError> {
        if let Some(bytes) = self.held(path) {
            return Ok(bytes[..n.min(bytes.len())].to_vec());
        }
        let mut start = Vec::new();
        open_regular(path)
            .map_err(CheckpointError::from)?
            .take(n as u64)
            .read_to_end(&mut start)
            .map_err(|error| QuantizeError::io(path, error))?;
        Ok(start)
    }

    /// Opens one weight file.
    pub(super) fn weights(&self, path: &Path) -> Result<Box<dyn Checkpoint>, CheckpointError> {
        match self.held(path) {
            Some(bytes) => checkpoint::open_bytes(bytes.clone(), path),
            None => checkpoint::open_file(path),
        }
    }

    /// The bytes of a file that is in memory.
    pub(super) fn held(&self, path: &Path) -> Option<&Bytes> {
        let Self::Memory { files, .. } = self else { return None };
        files.iter().find(|(name, _)| name == path).map(|(_, bytes)| bytes)
    }
}
