//! Chooses the reader of a file by what it contains, and finds the checkpoint of a folder.

use std::path::Path;

use super::sharded::Sharded;
use super::{Checkpoint, CheckpointError, Gguf, Pytorch, Safetensors, pytorch};
use crate::map::{Bytes, MapError};

/// Single files and indices of several, in the order in which a folder is searched.
const SINGLE: [&str; 2] = ["model.safetensors", "pytorch_model.bin"];
const INDEX: [&str; 2] = ["model.safetensors.index.json", "pytorch_model.bin.index.json"];

/// Maps the checkpoint file at `path` and reads its header. The kind is told by the content.
pub fn open_file(path: impl AsRef<Path>) -> Result<Box<dyn Checkpoint>, CheckpointError> {
    let path = path.as_ref();
    open_bytes(Bytes::map(path)?, path)
}

/// Reads the header of the checkpoint file `bytes`, which messages call `name`.
pub fn open_bytes(
    bytes: Bytes,
    name: impl AsRef<Path>,
) -> Result<Box<dyn Checkpoint>, CheckpointError> {
    let name = name.as_ref();
    match kind(&bytes) {
        Ok(Kind::Gguf) => Ok(Box::new(Gguf::parse(bytes, name)?)),
        Ok(Kind::Pytorch) => Ok(Box::new(Pytorch::parse(bytes, name)?)),
        Ok(Kind::Safetensors) => Ok(Box::new(Safetensors::parse(bytes, name)?)),
        Err(hint) => Err(CheckpointError::UnknownKind { file: name.to_owned(), hint }),
    }
}

/// Opens the checkpoint of a Hugging Face folder: `model.safetensors` or its index of several files,
/// else `pytorch_model.bin` or its index.
pub fn open_folder(path: impl AsRef<Path>) -> Result<Box<dyn Checkpoint>, CheckpointError> {
    let folder = path.as_ref();
    if !folder.is_dir() {
        let path = folder.to_owned();
        return Err(MapError::Missing { path }.into());
    }
    for (single, index) in SINGLE.into_iter().zip(INDEX) {
        let single = folder.join(single);
        if single.exists() {
            return open_file(single);
        }
        let index = folder.join(index);
        if index.exists() {
            return Ok(Box::new(Sharded::open(&index)?));
        }
    }
    Err(CheckpointError::NothingInFolder {
        folder: folder.to_owned(),
        looked_for: format!("{}, {}, {} and {}", SINGLE[0], INDEX[0], SINGLE[1], INDEX[1]),
    })
}

enum Kind {
    Gguf,
    Pytorch,
    Safetensors,
}

/// The kind of a checkpoint, or what the file seems to be instead.
fn kind(bytes: &[u8]) -> Result<Kind, String> {
    if bytes.starts_with(b"GGUF") {
        return Ok(Kind::Gguf);
    }
    if bytes.starts_with(b"PK\x03\x04") || pytorch::is_legacy(bytes) {
        return Ok(Kind::Pytorch);
    }
    if bytes.get(8) == Some(&b'{') {
        return Ok(Kind::Safetensors);
    }
    let seems: [(&[u8], &str); 6] = [
        (
            b"version https://git-lfs",
            "it is a Git LFS pointer; fetch the file itself with `git lfs pull`",
        ),
        (b"<", "it looks like a web page; the download went wrong"),
        (b"lmgg", "it is a GGML file from before GGUF; convert the original checkpoint again"),
        (b"fmgg", "it is a GGML file from before GGUF; convert the original checkpoint again"),
        (b"tjgg", "it is a GGML file from before GGUF; convert the original checkpoint again"),
        (b"\x1f\x8b", "it is compressed with gzip; unpack it first"),
    ];
    let hint = seems.iter().find(|(start, _)| bytes.starts_with(start));
    Err(match hint {
        Some((_, hint)) => (*hint).to_owned(),
        None => format!("it begins with {:02x?}", &bytes[..bytes.len().min(8)]),
    })
}

#[cfg(test)]
mod tests {
    use super::super::safetensors::tests::{SMALL, file, small_data};
    use super::*;

    #[test]
    fn the_content_decides_not_the_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("misnamed.gguf");
        std::fs::write(&path, file(SMALL, &small_data())).unwrap();
        assert_eq!(open_file(&path).unwrap().tensors().len(), 4);
        for (content, expected) in [
            (&b"version https://git-lfs.github.com/spec/v1"[..], "git lfs pull"),
            (b"<!DOCTYPE html>", "web page"),
            (b"tjgg....", "before GGUF"),
            (b"\x00\x01", "[00, 01]"),
        ] {
            std::fs::write(&path, content).unwrap();
            let error = open_file(&path).err().unwrap().to_string();
            assert!(error.contains(expected) && error.contains("misnamed"), "{error}");
        }
    }

    #[test]
    fn a_folder_is_searched_for_weights() {
        let folder = tempfile::tempdir().unwrap();
        let error = open_folder(folder.path()).err().unwrap().to_string();
        for name in SINGLE.iter().chain(&INDEX) {
            assert!(error.contains(name), "{error}");
        }
        let path = folder.path().join("model.safetensors");
        assert!(open_folder(&path).is_err());
        std::fs::write(&path, file(SMALL, &small_data())).unwrap();
        assert_eq!(open_folder(folder.path()).unwrap().tensors().len(), 4);
        std::fs::rename(&path, folder.path().join("part")).unwrap();
        std::fs::write(folder.path().join(INDEX[0]), r#"{"weight_map":{"b":"part"}}"#).unwrap();
        assert_eq!(open_folder(folder.path()).unwrap().tensors().len(), 1);
    }
}
