//! Data in files beside the model: only those of its own folder, whatever the file asks for.

use std::path::Path;

use super::OnnxProblem;
use crate::map::{Bytes, folder_of, stays_inside};

/// Most files of data that a model may have.
const MAX_FILES: usize = 1024;

/// Where a tensor's data is said to be.
pub(super) struct Reference<'a> {
    location: &'a str,
    offset: u64,
    length: Option<u64>,
}

impl<'a> Reference<'a> {
    /// Reads the keys of a tensor's `external_data`.
    pub(super) fn read(tensor: &str, keys: &[(&'a str, &'a str)]) -> Result<Self, OnnxProblem> {
        let get = |name: &str| keys.iter().find(|(key, _)| *key == name).map(|(_, value)| *value);
        let number = |name: &'static str| {
            let number = get(name).map(|text| text.trim().parse::<u64>()).transpose();
            number.map_err(|_| OnnxProblem::ExternalKey { tensor: tensor.into(), key: name })
        };
        let location = get("location")
            .ok_or_else(|| OnnxProblem::ExternalKey { tensor: tensor.into(), key: "location" })?;
        Ok(Self { location, offset: number("offset")?.unwrap_or(0), length: number("length")? })
    }
}

/// Gives the bytes of the file of this name, which is checked, beside the model.
pub(super) type Siblings<'s> = &'s dyn Fn(&str) -> Result<Bytes, OnnxProblem>;

/// The model's file and those with its data.
pub(super) struct Files<'s> {
    /// The first is the model.
    pub(super) bytes: Vec<Bytes>,
    /// Names of all but the first.
    pub(super) names: Vec<String>,
    siblings: Siblings<'s>,
}

impl<'s> Files<'s> {
    pub(super) fn new(model: Bytes, siblings: Siblings<'s>) -> Self {
        Self { bytes: vec![model], names: Vec::new(), siblings }
    }

    /// The file and first byte of `len` bytes that `tensor` has elsewhere.
    pub(super) fn place(
        &mut self,
        tensor: &str,
        reference: &Reference<'_>,
        len: usize,
    ) -> Result<(usize, usize), OnnxProblem> {
        let name = reference.location.strip_prefix("./").unwrap_or(reference.location);
        if !stays_inside(name) {
            return Err(OnnxProblem::ExternalPath {
                tensor: tensor.into(),
                location: reference.location.into(),
            });
        }
        let file = match self.names.iter().position(|known| known == name) {
            Some(known) => known + 1,
            None if self.names.len() == MAX_FILES => {
                return Err(OnnxProblem::TooMany { what: "files of data", max: MAX_FILES });
            }
            None => {
                self.bytes.push((self.siblings)(name)?);
                self.names.push(name.to_owned());
                self.names.len()
            }
        };
        let available = self.bytes[file].len();
        let start = usize::try_from(reference.offset).ok();
        let end = start.and_then(|start| start.checked_add(len));
        let is_whole = reference.length.is_none_or(|length| length == len as u64);
        match (start, end) {
            (Some(start), Some(end)) if end <= available && is_whole => Ok((file, start)),
            _ => Err(OnnxProblem::ExternalRange {
                tensor: tensor.into(),
                location: reference.location.into(),
                expected: len,
                offset: reference.offset,
                length: reference.length.unwrap_or(len as u64),
                available,
            }),
        }
    }
}

/// Maps the file `name` of the folder of `model`, unless a link leads out of it.
pub(super) fn beside(model: &Path, name: &str) -> Result<Bytes, OnnxProblem> {
    let folder = folder_of(model);
    let path = folder.join(name);
    let real = |path: &Path| path.canonicalize().ok();
    let Some(target) = real(&path) else {
        return Err(OnnxProblem::ExternalMissing { location: name.into() });
    };
    // In the cache of Hugging Face, the model and its data are links into one folder.
    let folders = [real(folder), real(model).and_then(|model| Some(model.parent()?.to_owned()))];
    let is_inside = match (&folders, target.parent()) {
        ([Some(folder), _], _) if target.starts_with(folder) => true,
        ([_, Some(store)], Some(parent)) => store == parent,
        _ => false,
    };
    if !is_inside {
        return Err(OnnxProblem::ExternalLink { location: name.into() });
    }
    Bytes::map(&target).map_err(|error| OnnxProblem::ExternalFile(error.to_string()))
}
