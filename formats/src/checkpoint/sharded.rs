//! A checkpoint in several files, held together by an index of which tensor is in which file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Deserialize;

use super::error::{CheckpointError, IndexProblem, TensorProblem};
use super::joined::Joined;
use super::{Checkpoint, TensorInfo, open_file};
use crate::map::{Bytes, stays_inside};

const MAX_INDEX: usize = 64 << 20;
const MAX_FILES: usize = 4096;

#[derive(Deserialize)]
struct Index {
    /// Tensor name -> file name.
    weight_map: BTreeMap<String, String>,
}

/// Opens the files named by the index at `path`, which lie beside it.
pub(crate) fn open(path: &Path) -> Result<Joined, CheckpointError> {
    let refuse = |problem| CheckpointError::Index { file: path.to_owned(), problem };
    let index = Bytes::map(path)?;
    if index.len() > MAX_INDEX {
        return Err(refuse(IndexProblem::TooLong { len: index.len(), max: MAX_INDEX }));
    }
    let index: Index = serde_json::from_slice(&index).map_err(|e| refuse(IndexProblem::Json(e)))?;
    let names: BTreeSet<&str> = index.weight_map.values().map(String::as_str).collect();
    if names.len() > MAX_FILES {
        return Err(refuse(IndexProblem::TooManyFiles { count: names.len(), max: MAX_FILES }));
    }
    for name in &names {
        if name.contains('/') || !stays_inside(name) {
            let name = (*name).into();
            return Err(refuse(IndexProblem::NotAPlainName { name }));
        }
    }

    let files = names
        .iter()
        .map(|name| open_file(path.with_file_name(name)))
        .collect::<Result<Vec<_>, _>>()?;
    let names: Vec<&str> = names.into_iter().collect();
    // A file may hold tensors that the index leaves out; they are not of the model.
    let named = |file: usize, info: &TensorInfo| {
        let place = index.weight_map.get(&info.name)?;
        (place == names[file]).then(|| info.name.clone())
    };
    let joined = Joined::new(files, named).map_err(|tensor| CheckpointError::Tensor {
        file: path.to_owned(),
        tensor,
        problem: TensorProblem::Duplicate,
    })?;
    let promised = index.weight_map.iter();
    for (tensor, weight_file) in promised {
        if joined.find(tensor).is_none() {
            return Err(refuse(IndexProblem::MissingTensor {
                tensor: tensor.as_str().into(),
                weight_file: weight_file.as_str().into(),
            }));
        }
    }
    Ok(joined)
}

#[cfg(test)]
mod tests {
    use super::super::safetensors::tests::file;
    use super::*;

    fn tensor(name: &str, value: u8) -> Vec<u8> {
        let header = format!(r#"{{"{name}":{{"dtype":"U8","shape":[1,1],"data_offsets":[0,1]}}}}"#);
        file(&header, &[value])
    }

    fn open(index: &str) -> Result<Joined, CheckpointError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors.index.json");
        std::fs::write(&path, index).unwrap();
        std::fs::write(folder.path().join("one"), tensor("x", 1)).unwrap();
        std::fs::write(folder.path().join("two"), tensor("y", 2)).unwrap();
        std::fs::write(folder.path().join("three"), tensor("x", 3)).unwrap();
        super::open(&path)
    }

    #[test]
    fn tensors_come_from_the_file_the_index_names() {
        let index = r#"{"metadata":{"total_size":2},"weight_map":{"y":"two","x":"one"}}"#;
        let checkpoint = open(index).unwrap();
        for (name, expected) in [("x", 1.0), ("y", 2.0)] {
            let number = checkpoint.find(name).unwrap();
            let mut out = [0.0];
            checkpoint.read_rows(number, 0, &mut out).unwrap();
            assert_eq!(out, [expected]);
            assert_eq!(checkpoint.raw(number).unwrap(), [expected as u8]);
        }
        assert!(checkpoint.raw(2).is_err());
        assert_eq!(checkpoint.find("z"), None);
    }

    #[test]
    fn an_index_names_no_paths_and_promises_nothing_that_is_not_there() {
        for name in ["", ".", "..", "/etc/x", "a/b", "..\\\\b", "C:b", "a\\nb"] {
            let error = open(&format!(r#"{{"weight_map":{{"x":"{name}"}}}}"#)).err().unwrap();
            assert!(error.to_string().contains("plain names"), "{error}");
        }
        let error = open(r#"{"weight_map":{"z":"one"}}"#).err().unwrap().to_string();
        assert!(error.contains(r#"tensor "z" in "one""#), "{error}");
        let error = open(r#"{"weight_map":{"x":"missing"}}"#).err().unwrap();
        assert!(matches!(error, CheckpointError::Map(_)));
        assert!(open(r#"{"weight_map":{"x":1}}"#).is_err());
        assert!(open("{}").is_err());
    }
}
