//! Reader of GGUF files, versions 2 and 3, little-endian.
//!
//! A file is a fixed head (magic, version, number of tensors, number of metadata entries), the
//! metadata, a record for each tensor, and the data, at multiples of an alignment.

mod block;
mod cursor;
mod k_block;
mod metadata;
mod parts;
mod table_block;
mod tensor_type;
mod value;

use std::path::{Path, PathBuf};

use thiserror::Error;

pub(crate) use block::decode_blocks;
pub use metadata::Metadata;
pub use parts::names as part_names;
pub(super) use tensor_type::dtype;
pub use value::{Array, Kind, Value};

use super::error::{CheckpointError, Quoted, TensorProblem};
use super::joined::Joined;
use super::stored::{Claim, Stored};
use super::{Checkpoint, TensorInfo};
use crate::map::{Bytes, MapError};
use cursor::Cursor;
use parts::Split;

/// Name, number of dimensions, type and offset of a tensor without name and dimensions.
const MIN_TENSOR_RECORD: usize = 8 + 4 + 4 + 8;
const MAX_TENSORS: u64 = 1 << 20;
/// The format's own limit.
const MAX_DIMS: u32 = 4;
const DEFAULT_ALIGNMENT: u32 = 32;

/// A GGUF file, or several that are parts of one model.
pub struct Gguf {
    tensors: Joined,
    files: Vec<PathBuf>,
    metadata: Metadata,
    version: u32,
}

/// What is wrong with a GGUF file as a whole.
#[derive(Debug, Error)]
#[non_exhaustive]
#[allow(missing_docs)] // each variant's message says what its fields are
pub enum GgufProblem {
    #[error("does not begin with \"GGUF\"")]
    Magic,
    #[error("is a big-endian GGUF file; convert it on or for a little-endian machine")]
    BigEndian,
    #[error(
        "GGUF version {version} is not supported, only 2 and 3; convert the original checkpoint again"
    )]
    Version { version: u32 },
    #[error(
        "{what} takes {wanted} bytes from {at}, but {available} are left; \
         the file was probably not downloaded completely"
    )]
    Truncated { what: &'static str, at: usize, wanted: u64, available: usize },
    #[error("claims {count} {what}, more than fit into it or than the {max} that are accepted")]
    TooMany { what: &'static str, count: u64, max: u64 },
    #[error("{what} at byte {at} is not valid UTF-8")]
    NotUtf8 { what: &'static str, at: usize },
    #[error("metadata {key} has a value of type {kind}, which does not exist")]
    UnknownKind { key: Quoted, kind: u32 },
    #[error("metadata {key} is an array in an array more than {max} levels deep")]
    TooDeep { key: Quoted, max: usize },
    #[error("metadata {key} appears twice")]
    DuplicateKey { key: Quoted },
    #[error("metadata {key}: element {element} is not valid UTF-8")]
    ElementNotUtf8 { key: Quoted, element: usize },
    #[error("general.alignment is {found}; a power of two of type U32 is needed")]
    Alignment { found: String },
    #[error("is part {number} of {count}; open it where all of them are")]
    Split { number: u64, count: u64 },
    #[error(
        "is part {number} of {count}, but its name does not end in -{number:05}-of-{count:05}.gguf, \
         by which the others are found; give it the name that it had"
    )]
    PartName { number: u64, count: u64 },
    #[error("part {number} of {count}, {name}, is missing beside it; download it too")]
    MissingPart { name: Quoted, number: usize, count: usize },
    #[error("is not part {number} of {count}, as its name says; download it again")]
    OtherPart { number: u64, count: u64 },
    #[error("all parts have {found} tensors, not {expected}; download them again")]
    PartTensors { found: u64, expected: u64 },
    #[error("tensor {tensor} has {found} dimensions, more than the {MAX_DIMS} of the format")]
    Dimensions { tensor: Quoted, found: u32 },
    #[error("tensor {tensor} has {dim} elements along one dimension, too many for this machine")]
    DimensionTooLarge { tensor: Quoted, dim: u64 },
    #[error(
        "tensor {tensor} has type {name}, which Kinglet does not read; use a variant of the model \
         in Q8_0, Q6_K, Q5_K, Q4_K or F16, or the original checkpoint"
    )]
    UnsupportedType { tensor: Quoted, name: String },
    #[error("tensor {tensor} begins at byte {offset} of the data, not a multiple of {alignment}")]
    Misaligned { tensor: Quoted, offset: u64, alignment: u32 },
}

impl Gguf {
    /// Maps the file at `path` and reads everything but the data. If it is one part of several, the
    /// others are found beside it.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, CheckpointError> {
        Self::open_with(path, |path| match path.exists() {
            true => Ok(Some(Bytes::map(path)?)),
            false => Ok(None),
        })
    }

    /// As [`open`](Self::open), of files whose bytes `read` gives by their names, `None` for a file
    /// that is not there.
    pub fn open_with(
        path: impl AsRef<Path>,
        read: impl Fn(&Path) -> Result<Option<Bytes>, CheckpointError>,
    ) -> Result<Self, CheckpointError> {
        let path = path.as_ref();
        let refuse = |file: &Path, problem| CheckpointError::Gguf { file: file.into(), problem };
        let Some(bytes) = read(path)? else {
            return Err(MapError::Missing { path: path.to_owned() }.into());
        };
        let (head, split) = Head::of_part(&bytes).map_err(|problem| refuse(path, problem))?;
        let Some(split) = split else { return Self::join(vec![(path.to_owned(), bytes, head)]) };
        let names = split.names(path).map_err(|problem| refuse(path, problem))?;
        let mut parts = Vec::new();
        for (number, name) in names.iter().enumerate() {
            let Some(bytes) = read(name)? else {
                return Err(refuse(path, parts::missing(name, number, names.len())));
            };
            let (head, found) = Head::of_part(&bytes).map_err(|problem| refuse(name, problem))?;
            Split::check(found, number, split.count).map_err(|problem| refuse(name, problem))?;
            parts.push((name.clone(), bytes, head));
        }
        Self::join(parts)
    }

    /// Reads everything but the data of `bytes`, a whole model; `file` is the name to use in errors.
    pub fn parse(bytes: Bytes, file: impl AsRef<Path>) -> Result<Self, CheckpointError> {
        let file = file.as_ref();
        let refuse = |problem| CheckpointError::Gguf { file: file.to_owned(), problem };
        let (head, split) = Head::of_part(&bytes).map_err(refuse)?;
        if let Some(Split { number, count }) = split {
            return Err(refuse(GgufProblem::Split { number: number.saturating_add(1), count }));
        }
        Self::join(vec![(file.to_owned(), bytes, head)])
    }

    /// All parts of a model, at least one. The first has its metadata.
    fn join(parts: Vec<(PathBuf, Bytes, Head)>) -> Result<Self, CheckpointError> {
        let mut first = None;
        let mut stored: Vec<Box<dyn Checkpoint>> = Vec::new();
        let mut files = Vec::new();
        for (file, bytes, head) in parts {
            stored.push(Box::new(Stored::check(file.clone(), bytes.clone(), head.claims)?));
            first.get_or_insert_with(|| {
                (Metadata::new(bytes, file.clone(), head.entries), head.version)
            });
            files.push(file);
        }
        let file = || files.first().cloned().unwrap_or_default();
        let Some((metadata, version)) = first else {
            return Err(CheckpointError::Gguf { file: file(), problem: GgufProblem::Magic });
        };
        let tensors = Joined::new(stored, |_, info| Some(info.name.clone())).map_err(|tensor| {
            CheckpointError::Tensor { file: file(), tensor, problem: TensorProblem::Duplicate }
        })?;
        let found = tensors.tensors().len() as u64;
        match metadata.u64("split.tensors.count") {
            Some(expected) if files.len() > 1 && found != expected => {
                let problem = GgufProblem::PartTensors { found, expected };
                Err(CheckpointError::Gguf { file: file(), problem })
            }
            _ => Ok(Self { tensors, files, metadata, version }),
        }
    }

    /// The files of the model, as they were opened.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// The metadata: hyperparameters, vocabulary, chat template.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The version of the format: 2 or 3.
    pub fn version(&self) -> u32 {
        self.version
    }
}

impl Checkpoint for Gguf {
    fn tensors(&self) -> &[TensorInfo] {
        self.tensors.tensors()
    }

    fn read_rows(
        &self,
        index: usize,
        first_row: usize,
        out: &mut [f32],
    ) -> Result<(), CheckpointError> {
        self.tensors.read_rows(index, first_row, out)
    }

    fn raw(&self, index: usize) -> Result<&[u8], CheckpointError> {
        self.tensors.raw(index)
    }

    fn find(&self, name: &str) -> Option<usize> {
        self.tensors.find(name)
    }
}

/// Everything before the data.
struct Head {
    version: u32,
    entries: metadata::Entries,
    claims: Vec<Claim>,
}

impl Head {
    /// The head of a file, and which part of a model it is, if it is no whole one.
    fn of_part(bytes: &[u8]) -> Result<(Self, Option<Split>), GgufProblem> {
        let head = Self::read(bytes)?;
        let split = Split::read(&head.entries, bytes);
        Ok((head, split))
    }

    fn read(bytes: &[u8]) -> Result<Self, GgufProblem> {
        let mut cursor = Cursor::new(bytes);
        if cursor.take(4, "the magic")? != b"GGUF" {
            return Err(GgufProblem::Magic);
        }
        let version = cursor.u32("the version")?;
        match version {
            2 | 3 => {}
            // A version below 2^16 that was written with its bytes the other way round.
            _ if version.swap_bytes() < 1 << 16 => return Err(GgufProblem::BigEndian),
            _ => return Err(GgufProblem::Version { version }),
        }
        let n_tensors = cursor.u64("the number of tensors")?;
        let n_entries = cursor.u64("the number of metadata entries")?;

        let entries = metadata::Entries::read(&mut cursor, n_entries)?;
        let alignment = alignment(&entries, bytes)?;

        let n_tensors = cursor.count(n_tensors, MIN_TENSOR_RECORD, MAX_TENSORS, "tensors")?;
        let mut claims = Vec::with_capacity(n_tensors);
        for _ in 0..n_tensors {
            claims.push(tensor_record(&mut cursor, alignment)?);
        }
        let data_start = (cursor.position() as u64).next_multiple_of(u64::from(alignment));
        for claim in &mut claims {
            claim.start = claim.start.saturating_add(data_start);
        }
        Ok(Self { version, entries, claims })
    }
}

fn alignment(entries: &metadata::Entries, bytes: &[u8]) -> Result<u32, GgufProblem> {
    match entries.value(bytes, "general.alignment") {
        None => Ok(DEFAULT_ALIGNMENT),
        Some(Value::U32(alignment)) if alignment.is_power_of_two() => Ok(alignment),
        Some(other) => Err(GgufProblem::Alignment {
            found: match other {
                Value::U32(n) => n.to_string(),
                other => format!("of type {}", other.kind()),
            },
        }),
    }
}

/// A tensor, with its offset in the data in place of its start in the file.
fn tensor_record(cursor: &mut Cursor<'_>, alignment: u32) -> Result<Claim, GgufProblem> {
    let name = cursor.str("the name of a tensor")?;
    let n_dims = cursor.u32("the number of dimensions of a tensor")?;
    if n_dims > MAX_DIMS {
        return Err(GgufProblem::Dimensions { tensor: name.into(), found: n_dims });
    }
    let mut dims = Vec::with_capacity(n_dims as usize);
    for _ in 0..n_dims {
        let dim = cursor.u64("the dimensions of a tensor")?;
        dims.push(usize::try_from(dim).map_err(|_| {
            let tensor = name.into();
            GgufProblem::DimensionTooLarge { tensor, dim }
        })?);
    }
    // The file has the innermost first.
    dims.reverse();
    let dtype = dtype(cursor.u32("the type of a tensor")?).map_err(|type_name| {
        let tensor = name.into();
        GgufProblem::UnsupportedType { tensor, name: type_name }
    })?;
    let offset = cursor.u64("the offset of a tensor")?;
    if !offset.is_multiple_of(u64::from(alignment)) {
        return Err(GgufProblem::Misaligned { tensor: name.into(), offset, alignment });
    }
    let info = TensorInfo { name: name.to_owned(), dims, dtype };
    Ok(Claim { info, start: offset })
}

#[cfg(test)]
pub(crate) mod tests;
