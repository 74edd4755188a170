//! Reader of CTranslate2's `model.bin`.
//!
//! A file is a version, the name and revision of a specification, records of name, shape, type and
//! bytes, and names under which tensors are known besides. Strings have their length in 16 bits,
//! which counts a closing zero.

use std::path::Path;

use thiserror::Error;

use super::error::{CheckpointError, Quoted, TensorProblem};
use super::stored::{Claim, Stored, byte_len};
use super::{Checkpoint, DType, TensorInfo};
use crate::map::Bytes;

/// The version of the format that is read: that of all models since 2022.
const VERSION: u32 = 6;
/// Least bytes of a record: an empty name, no dimensions, a type, a length.
const MIN_RECORD: usize = 9;
/// Least bytes of an alias: two empty names.
const MIN_ALIAS: usize = 6;
/// Most dimensions of a tensor.
const MAX_RANK: u8 = 8;
/// How the name of every specification ends.
const SPECIFICATION: &[u8] = b"Spec\0";

/// A CTranslate2 model.
pub struct Ct2 {
    stored: Stored,
    specification: String,
}

/// What is wrong with a CTranslate2 model as a whole.
#[derive(Debug, Error, PartialEq)]
#[non_exhaustive]
#[allow(missing_docs)] // each variant's message says what its fields are
pub enum Ct2Problem {
    #[error(
        "version {version} of CTranslate2's format is not read, {VERSION} is; convert the original \
         model again with a current CTranslate2"
    )]
    Version { version: u32 },
    #[error(
        "{what} takes {wanted} bytes from {at}, but {available} are left; the file was probably not \
         downloaded completely"
    )]
    Truncated { what: &'static str, at: usize, wanted: usize, available: usize },
    #[error("{what} at byte {at} is not UTF-8 that ends with a zero")]
    NotAString { what: &'static str, at: usize },
    #[error("{count} {what} are claimed, but no more than {max} fit the file")]
    TooMany { what: &'static str, count: u32, max: usize },
    #[error("tensor {tensor} has {rank} dimensions, at most {MAX_RANK} are read")]
    TooManyDims { tensor: Quoted, rank: u8 },
    #[error("tensor {tensor} has type number {id}, which is none that Kinglet knows")]
    UnknownType { tensor: Quoted, id: u8 },
    #[error("{alias} is said to be another name of {tensor}, which is not in the file")]
    DanglingAlias { alias: Quoted, tensor: Quoted },
    #[error("{len} bytes follow the end")]
    TrailingBytes { len: usize },
}

/// Whether bytes begin as a CTranslate2 model, of any version that names its specification.
pub fn is_ct2(bytes: &[u8]) -> bool {
    let Some(([version, 0, 0, 0], rest)) = bytes.split_first_chunk::<4>() else { return false };
    let Some((len, rest)) = rest.split_first_chunk::<2>() else { return false };
    let name = rest.get(..usize::from(u16::from_le_bytes(*len)));
    (2..32).contains(version) && name.is_some_and(|name| name.ends_with(SPECIFICATION))
}

impl Ct2 {
    /// Maps and checks the file at `path`.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, CheckpointError> {
        let path = path.as_ref();
        Self::parse(Bytes::map(path)?, path)
    }

    /// Checks `bytes`; `file` is the name to use in errors.
    pub fn parse(bytes: Bytes, file: impl AsRef<Path>) -> Result<Self, CheckpointError> {
        let file = file.as_ref();
        let refuse = |problem| CheckpointError::Ct2 { file: file.to_owned(), problem };
        let mut cursor = Cursor { bytes: &bytes, at: 0 };
        let (specification, records) = records(&mut cursor).map_err(refuse)?;
        let mut claims = Vec::with_capacity(records.len());
        for Record { info, start, len } in records {
            let refuse = |problem| CheckpointError::Tensor {
                file: file.to_owned(),
                tensor: info.name.as_str().into(),
                problem,
            };
            let expected = byte_len(&info.dims, info.dtype).map_err(refuse)?;
            if expected != len {
                return Err(refuse(TensorProblem::WrongSize {
                    dims: info.dims.clone(),
                    dtype: info.dtype,
                    expected,
                    found: len as u64,
                }));
            }
            claims.push(Claim { info, start: start as u64 });
        }
        aliases(&mut cursor, &claims).map_err(refuse)?;
        let stored = Stored::check(file.to_owned(), bytes.clone(), claims)?;
        Ok(Self { stored, specification })
    }
}

impl Checkpoint for Ct2 {
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

    fn specification(&self) -> Option<&str> {
        Some(&self.specification)
    }
}

/// A tensor as the file describes it, and where its bytes lie.
struct Record {
    info: TensorInfo,
    start: usize,
    len: usize,
}

/// The name of the specification, and all records.
fn records(cursor: &mut Cursor<'_>) -> Result<(String, Vec<Record>), Ct2Problem> {
    let version = cursor.u32("the version")?;
    if version != VERSION {
        return Err(Ct2Problem::Version { version });
    }
    let specification = cursor.str("the name of the specification")?.to_owned();
    cursor.u32("its revision")?;
    let n = cursor.count("tensors", MIN_RECORD)?;
    let mut records = Vec::with_capacity(n);
    for _ in 0..n {
        let name = cursor.str("the name of a tensor")?;
        let rank = cursor.u8("the rank of a tensor")?;
        if rank > MAX_RANK {
            return Err(Ct2Problem::TooManyDims { tensor: name.into(), rank });
        }
        let dims = (0..rank).map(|_| cursor.u32("a dimension").map(|dim| dim as usize));
        let dims = dims.collect::<Result<Vec<_>, _>>()?;
        let id = cursor.u8("the type of a tensor")?;
        let unknown = || Ct2Problem::UnknownType { tensor: name.into(), id };
        let dtype = dtype(id).ok_or_else(unknown)?;
        let len = cursor.u32("the length of a tensor")? as usize;
        let start = cursor.at;
        cursor.take(len, "a tensor")?;
        let info = TensorInfo { name: name.to_owned(), dims, dtype };
        records.push(Record { info, start, len });
    }
    Ok((specification, records))
}

/// Reads the other names of tensors, which nobody needs, up to the file's end.
fn aliases(cursor: &mut Cursor<'_>, claims: &[Claim]) -> Result<(), Ct2Problem> {
    for _ in 0..cursor.count("other names", MIN_ALIAS)? {
        let alias = cursor.str("another name")?;
        let name = cursor.str("the name that it stands for")?;
        if !claims.iter().any(|claim| claim.info.name == name) {
            return Err(Ct2Problem::DanglingAlias { alias: alias.into(), tensor: name.into() });
        }
    }
    match cursor.bytes.len() - cursor.at {
        0 => Ok(()),
        len => Err(Ct2Problem::TrailingBytes { len }),
    }
}

fn dtype(id: u8) -> Option<DType> {
    let known = [DType::F32, DType::I8, DType::I16, DType::I32, DType::F16, DType::BF16];
    known.get(usize::from(id)).copied()
}

/// Reads from the front of the file.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, wanted: usize, what: &'static str) -> Result<&'a [u8], Ct2Problem> {
        let rest = &self.bytes[self.at..];
        let (at, available) = (self.at, rest.len());
        let taken = rest.get(..wanted);
        let taken = taken.ok_or(Ct2Problem::Truncated { what, at, wanted, available })?;
        self.at += wanted;
        Ok(taken)
    }

    fn u8(&mut self, what: &'static str) -> Result<u8, Ct2Problem> {
        Ok(self.take(1, what)?[0])
    }

    fn u32(&mut self, what: &'static str) -> Result<u32, Ct2Problem> {
        let mut number = [0; 4];
        number.copy_from_slice(self.take(4, what)?);
        Ok(u32::from_le_bytes(number))
    }

    fn str(&mut self, what: &'static str) -> Result<&'a str, Ct2Problem> {
        let at = self.at;
        let len = self.take(2, what)?;
        let bytes = self.take(usize::from(u16::from_le_bytes([len[0], len[1]])), what)?;
        let text = bytes.strip_suffix(&[0]).and_then(|text| std::str::from_utf8(text).ok());
        text.ok_or(Ct2Problem::NotAString { what, at })
    }

    /// A number of things of at least `min_size` bytes each, if so many can follow.
    fn count(&mut self, what: &'static str, min_size: usize) -> Result<usize, Ct2Problem> {
        let count = self.u32(what)?;
        let max = (self.bytes.len() - self.at) / min_size;
        if count as usize > max {
            return Err(Ct2Problem::TooMany { what, count, max });
        }
        Ok(count as usize)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    fn string(text: &str) -> Vec<u8> {
        [&(text.len() as u16 + 1).to_le_bytes()[..], text.as_bytes(), &[0]].concat()
    }

    fn tensor(name: &str, dims: &[u32], id: u8, data: &[u8]) -> Vec<u8> {
        let mut record = string(name);
        record.push(dims.len() as u8);
        record.extend(dims.iter().flat_map(|dim| dim.to_le_bytes()));
        record.push(id);
        record.extend((data.len() as u32).to_le_bytes());
        record.extend(data);
        record
    }

    fn file(version: u32, tensors: &[Vec<u8>], aliases: &[(&str, &str)]) -> Vec<u8> {
        let mut file = version.to_le_bytes().to_vec();
        file.extend(string("WhisperSpec"));
        file.extend(3u32.to_le_bytes());
        file.extend((tensors.len() as u32).to_le_bytes());
        file.extend(tensors.concat());
        file.extend((aliases.len() as u32).to_le_bytes());
        aliases.iter().for_each(|(a, b)| file.extend([string(a), string(b)].concat()));
        file
    }

    pub(crate) fn small() -> Vec<u8> {
        let floats: Vec<u8> = [1.0f32, -2.5].iter().flat_map(|x| x.to_le_bytes()).collect();
        let tensors = [
            tensor("a/weight", &[2, 1], 0, &floats),
            tensor("b", &[3], 4, &[0, 0x3c, 0, 0xbc, 0, 0x40]),
            tensor("q", &[2], 1, &[1, 0xff]),
            tensor("n", &[], 2, &[6, 0]),
        ];
        file(VERSION, &tensors, &[("c/weight", "a/weight")])
    }

    fn problem(file: &[u8]) -> Ct2Problem {
        match Ct2::parse(Bytes::copy_of(file), "model.bin") {
            Err(CheckpointError::Ct2 { problem, .. }) => problem,
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("accepted"),
        }
    }

    #[test]
    fn tensors_have_their_values() {
        let ct2 = Ct2::parse(Bytes::copy_of(&small()), "model.bin").unwrap();
        assert!(is_ct2(&small()));
        assert_eq!(ct2.specification(), Some("WhisperSpec"));
        let all = |name: &str, n: usize| {
            let mut out = vec![0.0; n];
            ct2.read_rows(ct2.find(name).unwrap(), 0, &mut out).unwrap();
            out
        };
        assert_eq!(all("a/weight", 2), [1.0, -2.5]);
        assert_eq!(all("b", 3), [1.0, -1.0, 2.0]);
        assert_eq!(all("q", 2), [1.0, -1.0]);
        assert_eq!(all("n", 1), [6.0]);
        assert_eq!(ct2.find("c/weight"), None);
    }

    #[test]
    fn each_lie_is_named() {
        assert_eq!(problem(&file(5, &[], &[])), Ct2Problem::Version { version: 5 });
        let unknown = tensor("t", &[1], 6, &[0]);
        assert!(matches!(
            problem(&file(6, &[unknown], &[])),
            Ct2Problem::UnknownType { id: 6, .. }
        ));
        let deep = tensor("t", &[1; 9], 1, &[0]);
        assert!(matches!(problem(&file(6, &[deep], &[])), Ct2Problem::TooManyDims { rank: 9, .. }));
        let dangling = file(6, &[], &[("a", "b")]);
        assert!(matches!(problem(&dangling), Ct2Problem::DanglingAlias { .. }));
        let mut trailing = small();
        trailing.push(0);
        assert_eq!(problem(&trailing), Ct2Problem::TrailingBytes { len: 1 });
        let mut many = file(6, &[], &[]);
        let at = many.len() - 8;
        many[at..at + 4].copy_from_slice(&[0xff; 4]);
        assert!(matches!(problem(&many), Ct2Problem::TooMany { what: "tensors", .. }));
        let mut unended = small();
        unended[4 + 2 + 11] = b'!';
        assert!(matches!(problem(&unended), Ct2Problem::NotAString { .. }));
        let short = file(6, &[tensor("t", &[2], 0, &[0; 4])], &[]);
        let error = Ct2::parse(Bytes::copy_of(&short), "model.bin").err().unwrap().to_string();
        assert!(error.contains("takes 8 bytes, but the file gives it 4"), "{error}");
        let twice = [tensor("t", &[], 1, &[0]), tensor("t", &[], 1, &[0])];
        let error = Ct2::parse(Bytes::copy_of(&file(6, &twice, &[])), "model.bin");
        assert!(error.err().unwrap().to_string().contains("appears twice"));
    }

    #[test]
    fn other_files_are_not_taken_for_it() {
        for bytes in
            [&b""[..], b"\x06\0\0\0", b"\x06\0\0\0\x05\0Speck", b"GGUF\x03\0\0\0", &[0; 64]]
        {
            assert!(!is_ct2(bytes));
        }
    }
}
