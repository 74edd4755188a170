//! Chooses the reader of a file by what it contains, and finds the checkpoint of a folder.

use std::path::{Path, PathBuf};

use super::{
    Checkpoint, CheckpointError, Ct2, Ggml, Gguf, Marian, Onnx, Pytorch, Safetensors, is_ct2,
    is_ggml, is_marian, is_onnx, onnx_files, pytorch, sharded,
};
use crate::map::{Bytes, MapError};

/// Names of weights in one file, in the order in which they are looked for. Each may be in several
/// files, with an index: its name and `.index.json`.
pub const WEIGHTS: [&str; 3] = ["model.safetensors", "pytorch_model.bin", "model.bin"];
const INDEX: &str = ".index.json";

/// Maps the checkpoint file at `path` and reads its header. The kind is told by the content.
pub fn open_file(path: impl AsRef<Path>) -> Result<Box<dyn Checkpoint>, CheckpointError> {
    let path = path.as_ref();
    let bytes = Bytes::map(path)?;
    match kind(&bytes) {
        // It may be one of several files.
        Ok(Kind::Gguf) => Ok(Box::new(Gguf::open(path)?)),
        // Its data may be in files beside it.
        Ok(Kind::Onnx) => Ok(Box::new(Onnx::beside(bytes, path)?)),
        _ => open_bytes(bytes, path),
    }
}

/// Reads the header of the checkpoint file `bytes`, which messages call `name`.
pub fn open_bytes(
    bytes: Bytes,
    name: impl AsRef<Path>,
) -> Result<Box<dyn Checkpoint>, CheckpointError> {
    let name = name.as_ref();
    match kind(&bytes) {
        Ok(Kind::Ct2) => Ok(Box::new(Ct2::parse(bytes, name)?)),
        Ok(Kind::Onnx) => Ok(Box::new(Onnx::parse(bytes, name)?)),
        Ok(Kind::Ggml) => Ok(Box::new(Ggml::parse(bytes, name)?)),
        Ok(Kind::Gguf) => Ok(Box::new(Gguf::parse(bytes, name)?)),
        Ok(Kind::Pytorch) => Ok(Box::new(Pytorch::parse(bytes, name)?)),
        Ok(Kind::Safetensors) => Ok(Box::new(Safetensors::parse(bytes, name)?)),
        Ok(Kind::Marian) => Ok(Box::new(Marian::parse(bytes, name)?)),
        Err(hint) => Err(CheckpointError::UnknownKind { file: name.to_owned(), hint }),
    }
}

/// Opens the checkpoint of a Hugging Face folder: `model.safetensors` or its index of several files,
/// else `pytorch_model.bin` or its index, else `model.bin`, else ONNX models as [`onnx_files`] chooses them.
pub fn open_folder(path: impl AsRef<Path>) -> Result<Box<dyn Checkpoint>, CheckpointError> {
    let folder = path.as_ref();
    if !folder.is_dir() {
        let path = folder.to_owned();
        return Err(MapError::Missing { path }.into());
    }
    match folder_weights(folder) {
        Some(index) if is_index(&index) => return Ok(Box::new(sharded::open(&index)?)),
        Some(file) => return open_file(file),
        None => {}
    }
    let onnx = onnx_files(&|name| folder.join(name).is_file());
    let mut parts = onnx.iter().map(|name| Onnx::open(folder.join(name)));
    match (parts.next(), parts.next()) {
        (Some(encoder), Some(decoder)) => return Ok(Box::new(Onnx::joined(encoder?, decoder?))),
        (Some(model), None) => return Ok(Box::new(model?)),
        _ => {}
    }
    Err(CheckpointError::NothingInFolder {
        folder: folder.to_owned(),
        looked_for: WEIGHTS.map(|name| format!("{name}, {name}{INDEX}, ")).concat()
            + "and model.onnx",
    })
}

/// The file of a folder that has the weights of its model, or is the index of those that have them;
/// as [`weights_of`] chooses it.
pub fn folder_weights(folder: impl AsRef<Path>) -> Option<PathBuf> {
    let folder = folder.as_ref();
    let name = |entry: std::fs::DirEntry| {
        let name = entry.file_name().into_string().ok()?;
        entry.path().is_file().then_some(name)
    };
    let names: Vec<String> =
        std::fs::read_dir(folder).ok()?.filter_map(|entry| name(entry.ok()?)).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    weights_of(&names).map(|name| folder.join(name))
}

/// Of the names of the files in a folder that of the model's weights: of one file, of the index of
/// several (it ends with `.index.json`), or of the only safetensors file under another name, such as
/// `model.fp16.safetensors` or the single part `model-00001-of-00001.safetensors`.
pub fn weights_of<'n>(names: &[&'n str]) -> Option<&'n str> {
    let known = WEIGHTS.into_iter().flat_map(|name| [name.to_owned(), format!("{name}{INDEX}")]);
    let find = |known: String| names.iter().find(|&&name| name == known);
    if let Some(name) = known.into_iter().find_map(find) {
        return Some(name);
    }
    let is_weights = |name: &&&str| {
        let Some((stem, ending)) = name.rsplit_once('.') else { return false };
        // One part of several is not the model.
        let n_parts = stem.rsplit_once("-of-").and_then(|(_, n)| n.parse::<u32>().ok());
        ending.eq_ignore_ascii_case("safetensors")
            && !name.starts_with("adapter_")
            && n_parts.is_none_or(|n| n == 1)
    };
    let mut weights = names.iter().filter(is_weights);
    let first = weights.next()?;
    weights.next().is_none().then_some(first)
}

/// Whether a file of weights is the index of several.
pub fn is_index(weights: impl AsRef<Path>) -> bool {
    weights.as_ref().to_string_lossy().ends_with(INDEX)
}

enum Kind {
    Ct2,
    Ggml,
    Onnx,
    Gguf,
    Pytorch,
    Safetensors,
    Marian,
}

/// The kind of a checkpoint, or what the file seems to be instead.
fn kind(bytes: &[u8]) -> Result<Kind, String> {
    if bytes.starts_with(b"GGUF") {
        return Ok(Kind::Gguf);
    }
    if is_ggml(bytes) {
        return Ok(Kind::Ggml);
    }
    if bytes.starts_with(b"PK\x03\x04") || pytorch::is_legacy(bytes) {
        return Ok(Kind::Pytorch);
    }
    if bytes.get(8) == Some(&b'{') {
        return Ok(Kind::Safetensors);
    }
    if is_ct2(bytes) {
        return Ok(Kind::Ct2);
    }
    if is_marian(bytes) {
        return Ok(Kind::Marian);
    }
    if is_onnx(bytes) {
        return Ok(Kind::Onnx);
    }
    let seems: [(&[u8], &str); 5] = [
        (
            b"version https://git-lfs",
            "it is a Git LFS pointer; fetch the file itself with `git lfs pull`",
        ),
        (b"<", "it looks like a web page; the download went wrong"),
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
        for name in WEIGHTS.map(|name| [name.to_owned(), format!("{name}{INDEX}")]).as_flattened() {
            assert!(error.contains(name), "{error}");
        }
        let path = folder.path().join("model.safetensors");
        assert!(open_folder(&path).is_err());
        std::fs::write(&path, file(SMALL, &small_data())).unwrap();
        assert_eq!(open_folder(folder.path()).unwrap().tensors().len(), 4);
        std::fs::rename(&path, folder.path().join("part")).unwrap();
        let index = format!("{}{INDEX}", WEIGHTS[0]);
        std::fs::write(folder.path().join(index), r#"{"weight_map":{"b":"part"}}"#).unwrap();
        assert_eq!(open_folder(folder.path()).unwrap().tensors().len(), 1);
    }

    #[test]
    fn the_only_weights_of_a_folder_may_have_any_name() {
        let folder = tempfile::tempdir().unwrap();
        let weights = file(SMALL, &small_data());
        let path = |name: &str| folder.path().join(name);
        for name in ["adapter_model.safetensors", "model-00001-of-00002.safetensors"] {
            std::fs::write(path(name), &weights).unwrap();
            assert!(open_folder(folder.path()).is_err(), "{name}");
        }
        for name in ["model.fp16.safetensors", "model-00001-of-00001.safetensors"] {
            std::fs::write(path(name), &weights).unwrap();
            assert_eq!(open_folder(folder.path()).unwrap().tensors().len(), 4, "{name}");
            std::fs::rename(path(name), path("kept")).unwrap();
        }
        for name in ["a.safetensors", "b.safetensors"] {
            std::fs::write(path(name), &weights).unwrap();
        }
        // Which of the two is the model, nobody can tell.
        assert!(open_folder(folder.path()).is_err());
    }
}
