//! Reader of safetensors files.
//!
//! A file is the header's length (8 bytes), a JSON header that gives each tensor's type, shape and
//! range of bytes, and the data, which the ranges must cover from end to end.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::Deserialize;
use serde::de::{self, MapAccess, Visitor};
use thiserror::Error;

use super::error::{CheckpointError, Quoted, TensorProblem};
use super::stored::{Claim, Stored, byte_len};
use super::{Checkpoint, DType, TensorInfo};
use crate::map::Bytes;

/// Longest header that is parsed, as in the reference implementation.
const MAX_HEADER: u64 = 100_000_000;

/// A safetensors file.
pub struct Safetensors {
    stored: Stored,
    metadata: BTreeMap<String, String>,
}

/// What is wrong with a safetensors file as a whole.
#[derive(Debug, Error)]
#[non_exhaustive]
#[allow(missing_docs)] // each variant's message says what its fields are
pub enum SafetensorsProblem {
    #[error("{len} bytes are too few for a safetensors file")]
    TooShort { len: usize },
    #[error("the header claims {len} bytes, more than the {max} that are accepted")]
    HeaderTooLong { len: u64, max: u64 },
    #[error(
        "the header claims {len} bytes, but {available} are left; the file was probably not downloaded completely"
    )]
    HeaderBeyondEnd { len: u64, available: usize },
    #[error("the header is not a valid safetensors header: {0}")]
    Header(serde_json::Error),
    #[error(
        "tensor {tensor} has type {dtype}, which Kinglet does not read; save the checkpoint in F32, F16 or BF16"
    )]
    UnsupportedType { tensor: Quoted, dtype: Quoted },
    #[error("tensor {tensor} ends at byte {end} of the data, before its beginning at {begin}")]
    BackwardRange { tensor: Quoted, begin: u64, end: u64 },
    #[error(
        "tensor {tensor} begins at byte {begin} of the data, but the one before it ends at {expected}"
    )]
    GapOrOverlap { tensor: Quoted, begin: u64, expected: u64 },
    #[error(
        "the tensors take {expected} bytes, but the file has {found}; it was probably not downloaded completely"
    )]
    WrongLength { expected: u64, found: u64 },
}

impl Safetensors {
    /// Maps and checks the file at `path`.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, CheckpointError> {
        let path = path.as_ref();
        Self::parse(Bytes::map(path)?, path)
    }

    /// Checks `bytes`; `file` is the name to use in errors.
    pub fn parse(bytes: Bytes, file: impl AsRef<Path>) -> Result<Self, CheckpointError> {
        let file = file.as_ref();
        let refuse = |problem| CheckpointError::Safetensors { file: file.to_owned(), problem };
        let (header, data_start) = header(&bytes).map_err(refuse)?;
        let header: Header =
            serde_json::from_slice(header).map_err(|e| refuse(SafetensorsProblem::Header(e)))?;
        let mut entries = header.tensors;
        entries.sort_by_key(|(_, entry)| entry.data_offsets);

        let mut claims = Vec::with_capacity(entries.len());
        let mut expected_begin = 0;
        for (name, entry) in entries {
            let quoted = || name.as_str().into();
            let [begin, end] = entry.data_offsets;
            if end < begin {
                let tensor = quoted();
                return Err(refuse(SafetensorsProblem::BackwardRange { tensor, begin, end }));
            }
            if begin != expected_begin {
                return Err(refuse(SafetensorsProblem::GapOrOverlap {
                    tensor: quoted(),
                    begin,
                    expected: expected_begin,
                }));
            }
            let Some(dtype) = dtype(&entry.dtype) else {
                return Err(refuse(SafetensorsProblem::UnsupportedType {
                    tensor: quoted(),
                    dtype: entry.dtype.as_str().into(),
                }));
            };
            let refuse_tensor = |problem| CheckpointError::Tensor {
                file: file.to_owned(),
                tensor: quoted(),
                problem,
            };
            let size = byte_len(&entry.shape, dtype).map_err(refuse_tensor)?;
            if size as u64 != end - begin {
                return Err(refuse_tensor(TensorProblem::WrongSize {
                    dims: entry.shape,
                    dtype,
                    expected: size,
                    found: end - begin,
                }));
            }
            expected_begin = end;
            let info = TensorInfo { name, dims: entry.shape, dtype };
            claims.push(Claim { info, start: (data_start as u64).saturating_add(begin) });
        }
        let data_len = (bytes.len() - data_start) as u64;
        if expected_begin != data_len {
            return Err(refuse(SafetensorsProblem::WrongLength {
                expected: expected_begin,
                found: data_len,
            }));
        }
        Ok(Self {
            stored: Stored::check(file.to_owned(), bytes, claims)?,
            metadata: header.metadata,
        })
    }

    /// The free-form strings that the file carries beside its tensors.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }
}

impl Checkpoint for Safetensors {
    fn tensors(&self) -> &[TensorInfo] {
        self.stored.tensors()
    }

    fn read_rows(
        &self,
        index: usize,
        first_row: usize,
        out: &mut [f32],
    ) -> Result<(), CheckpointError> {
        self.stored.read_rows(index, first_row, out)
    }

    fn raw(&self, index: usize) -> Result<&[u8], CheckpointError> {
        self.stored.raw(index)
    }

    fn find(&self, name: &str) -> Option<usize> {
        self.stored.find(name)
    }
}

/// The JSON header, and where the data begins.
fn header(bytes: &[u8]) -> Result<(&[u8], usize), SafetensorsProblem> {
    let Some((len, rest)) = bytes.split_first_chunk::<8>() else {
        return Err(SafetensorsProblem::TooShort { len: bytes.len() });
    };
    let len = u64::from_le_bytes(*len);
    if len > MAX_HEADER {
        let max = MAX_HEADER;
        return Err(SafetensorsProblem::HeaderTooLong { len, max });
    }
    match rest.get(..len as usize) {
        Some(header) => Ok((header, 8 + len as usize)),
        None => Err(SafetensorsProblem::HeaderBeyondEnd { len, available: rest.len() }),
    }
}

fn dtype(name: &str) -> Option<DType> {
    Some(match name {
        "F64" => DType::F64,
        "F32" => DType::F32,
        "F16" => DType::F16,
        "BF16" => DType::BF16,
        "F8_E4M3" => DType::F8_E4M3,
        "F8_E5M2" => DType::F8_E5M2,
        "I64" => DType::I64,
        "I32" => DType::I32,
        "I16" => DType::I16,
        "I8" => DType::I8,
        "U8" => DType::U8,
        "BOOL" => DType::Bool,
        _ => return None,
    })
}

/// The header as it stands, in its order; names that appear twice are kept twice.
struct Header {
    metadata: BTreeMap<String, String>,
    tensors: Vec<(String, Entry)>,
}

#[derive(Deserialize)]
struct Entry {
    dtype: String,
    shape: Vec<usize>,
    /// First byte and the one after the last, counted from the beginning of the data.
    data_offsets: [u64; 2],
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct HeaderVisitor;

        impl<'de> Visitor<'de> for HeaderVisitor {
            type Value = Header;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
                let mut metadata = None;
                let mut tensors = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    if name != "__metadata__" {
                        tensors.push((name, map.next_value()?));
                    } else if metadata.replace(map.next_value()?).is_some() {
                        return Err(de::Error::duplicate_field("__metadata__"));
                    }
                }
                Ok(Header { metadata: metadata.unwrap_or_default(), tensors })
            }
        }

        deserializer.deserialize_map(HeaderVisitor)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn file(header: &str, data: &[u8]) -> Vec<u8> {
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend(header.as_bytes());
        file.extend(data);
        file
    }

    pub(crate) const SMALL: &str = r#"{"__metadata__":{"format":"pt"},
        "b":{"dtype":"F16","shape":[2],"data_offsets":[24,28]},
        "a.weight":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},
        "empty":{"dtype":"I64","shape":[0,4],"data_offsets":[28,28]},
        "scalar":{"dtype":"I8","shape":[],"data_offsets":[28,29]}}"#;

    pub(crate) fn small_data() -> Vec<u8> {
        let mut data: Vec<u8> = [1.0f32, 2.0, 3.0, -4.0, 5.5, f32::INFINITY]
            .iter()
            .flat_map(|v| v.to_le_bytes())
            .collect();
        data.extend([0x00, 0x3c, 0x00, 0xbc, 0xfd]);
        data
    }

    fn parse(file: &[u8]) -> Result<Safetensors, CheckpointError> {
        Safetensors::parse(Bytes::copy_of(file), "model.safetensors")
    }

    fn message(header: &str, data_len: usize) -> String {
        match parse(&file(header, &vec![0; data_len])) {
            Ok(_) => panic!("{header} was accepted"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn tensors_come_in_file_order_with_their_values() {
        let checkpoint = parse(&file(SMALL, &small_data())).unwrap();
        let names: Vec<_> = checkpoint.tensors().iter().map(|t| t.name.as_str()).collect();
        assert_eq!(names, ["a.weight", "b", "empty", "scalar"]);
        assert_eq!(checkpoint.metadata()["format"], "pt");
        let mut row = [0.0; 3];
        checkpoint.read_rows(0, 1, &mut row).unwrap();
        assert_eq!(row, [-4.0, 5.5, f32::INFINITY]);
        let mut all = [0.0; 6];
        checkpoint.read_rows(0, 0, &mut all).unwrap();
        assert_eq!(all[..3], [1.0, 2.0, 3.0]);
        assert!(checkpoint.read_rows(0, 1, &mut all).is_err());
        assert!(checkpoint.read_rows(4, 0, &mut all).is_err());
        let b = checkpoint.find("b").unwrap();
        assert_eq!(checkpoint.raw(b).unwrap(), [0x00, 0x3c, 0x00, 0xbc]);
        checkpoint.read_rows(b, 0, &mut all[..2]).unwrap();
        assert_eq!(all[..2], [1.0, -1.0]);
        checkpoint.read_rows(2, 0, &mut []).unwrap();
        checkpoint.read_rows(3, 0, &mut all[..1]).unwrap();
        assert_eq!(all[0], -3.0);
        assert_eq!(checkpoint.find("c"), None);
    }

    #[test]
    fn each_lie_is_named() {
        let too_large = if usize::BITS < 64 { "invalid value" } else { "too large" };
        let tensor = |dtype: &str, shape: &str, offsets: &str| {
            format!(r#"{{"t":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}}}"#)
        };
        let cases = [
            (tensor("F32", "[2]", "[0,8]"), 9, "take 8 bytes, but the file has 9"),
            (tensor("F32", "[2]", "[0,8]"), 7, "take 8 bytes, but the file has 7"),
            (tensor("F32", "[2]", "[8,0]"), 8, "before its beginning at 8"),
            (tensor("F32", "[2]", "[4,12]"), 12, "begins at byte 4"),
            (tensor("F32", "[3]", "[0,8]"), 8, "takes 12 bytes, but the file gives it 8"),
            (tensor("F4", "[8]", "[0,8]"), 8, "\"F4\", which Kinglet does not read"),
            (tensor("F32", "[4294967296,4294967296,0]", "[0,0]"), 0, too_large),
            (tensor("F32", "[-1]", "[0,8]"), 8, "invalid value"),
            (tensor("F32", "[1.5]", "[0,8]"), 8, "invalid type"),
            (tensor("F32", "[2]", "[0,8,9]"), 8, "header"),
            (r#"{"t":{"dtype":"F32","shape":[2]}}"#.into(), 8, "missing field"),
            (r#"{"__metadata__":{"a":1}}"#.into(), 0, "invalid type"),
            (r#"{"__metadata__":{},"__metadata__":{}}"#.into(), 0, "duplicate"),
            ("[]".into(), 0, "an object of tensors"),
            ("{} x".into(), 0, "trailing characters"),
            (format!(r#"{{"t":{}1{}}}"#, "[".repeat(1000), "]".repeat(1000)), 0, "header"),
        ];
        for (header, data_len, expected) in cases {
            let message = message(&header, data_len);
            assert!(message.contains(expected), "{header}: {message}");
            assert!(message.starts_with("model.safetensors: "), "{message}");
        }
        let twice = r#"{"t":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},
                        "t":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}"#;
        assert!(message(twice, 2).contains("tensor \"t\": appears twice"));
        let overlap = r#"{"t":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},
                          "u":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}"#;
        assert!(message(overlap, 3).contains("ends at 2"));
    }

    #[test]
    fn the_header_length_is_not_believed() {
        for len in [MAX_HEADER + 1, u64::MAX] {
            let mut bytes = file(SMALL, &small_data());
            bytes[..8].copy_from_slice(&len.to_le_bytes());
            assert!(matches!(
                parse(&bytes),
                Err(CheckpointError::Safetensors {
                    problem: SafetensorsProblem::HeaderTooLong { .. },
                    ..
                })
            ));
        }
        let bytes = file(SMALL, &small_data());
        for len in 0..bytes.len() {
            assert!(parse(&bytes[..len]).is_err(), "cut at {len}");
        }
    }
}
