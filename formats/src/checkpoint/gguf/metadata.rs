//! The metadata of a GGUF file: keys with typed values, which stay where they are in the file.

use std::fmt;
use std::path::PathBuf;

use super::GgufProblem;
use super::cursor::Cursor;
use super::value::{Array, Extent, Kind, Value, kind};
use crate::checkpoint::error::CheckpointError;
use crate::map::Bytes;

/// Length of a key, kind and the smallest value.
const MIN_ENTRY: usize = 8 + 4 + 1;
const MAX_ENTRIES: u64 = 1 << 16;

/// The metadata of a GGUF file. The methods named after a type give `None` where the key is missing
/// or has a value of another kind; [`value`](Self::value) tells these apart.
pub struct Metadata {
    bytes: Bytes,
    file: PathBuf,
    entries: Entries,
}

impl Metadata {
    pub(super) fn new(bytes: Bytes, file: PathBuf, entries: Entries) -> Self {
        Self { bytes, file, entries }
    }

    /// All entries in file order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, Value<'_>)> {
        let entries = self.entries.list.iter();
        entries.map(|e| (e.key.as_str(), e.value(&self.bytes)))
    }

    /// The value of `key`, whatever its kind.
    pub fn value(&self, key: &str) -> Option<Value<'_>> {
        self.entries.value(&self.bytes, key)
    }

    /// A string; an error if it is not UTF-8.
    pub fn str(&self, key: &str) -> Result<Option<&str>, CheckpointError> {
        let Some(Value::String(bytes)) = self.value(key) else {
            return Ok(None);
        };
        let text = std::str::from_utf8(bytes).map_err(|_| self.not_utf8(key, 0))?;
        Ok(Some(text))
    }

    /// An integer of any width that is not negative.
    pub fn u64(&self, key: &str) -> Option<u64> {
        self.entries.u64(&self.bytes, key)
    }

    /// An integer of any width.
    pub fn i64(&self, key: &str) -> Option<i64> {
        self.value(key)?.as_i64()
    }

    /// A floating-point number (an `F64` is rounded).
    pub fn f32(&self, key: &str) -> Option<f32> {
        self.value(key)?.as_f32()
    }

    /// A truth value.
    pub fn bool(&self, key: &str) -> Option<bool> {
        match self.value(key)? {
            Value::Bool(b) => Some(b),
            _ => None,
        }
    }

    /// An array of any kind.
    pub fn array(&self, key: &str) -> Option<Array<'_>> {
        match self.value(key)? {
            Value::Array(array) => Some(array),
            _ => None,
        }
    }

    /// An array of strings, borrowed; an error if one of them is not UTF-8.
    pub fn strs(&self, key: &str) -> Result<Option<Vec<&str>>, CheckpointError> {
        let Some(array) = self.array(key).filter(|a| a.kind == Kind::String) else {
            return Ok(None);
        };
        let strs = array
            .byte_strings()
            .enumerate()
            .map(|(i, bytes)| std::str::from_utf8(bytes).map_err(|_| self.not_utf8(key, i)));
        strs.collect::<Result<_, _>>().map(Some)
    }

    /// An array of floating-point numbers.
    pub fn f32s(&self, key: &str) -> Option<Vec<f32>> {
        self.array(key)?.iter().map(|v| v.as_f32()).collect()
    }

    /// An array of integers of any width.
    pub fn i64s(&self, key: &str) -> Option<Vec<i64>> {
        self.array(key)?.iter().map(|v| v.as_i64()).collect()
    }

    /// An array of truth values.
    pub fn bools(&self, key: &str) -> Option<Vec<bool>> {
        let as_bool = |v| match v {
            Value::Bool(b) => Some(b),
            _ => None,
        };
        self.array(key)?.iter().map(as_bool).collect()
    }

    fn not_utf8(&self, key: &str, element: usize) -> CheckpointError {
        let key = key.into();
        CheckpointError::Gguf {
            file: self.file.clone(),
            problem: GgufProblem::ElementNotUtf8 { key, element },
        }
    }
}

impl fmt::Debug for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// Keys and the places of their values.
pub(super) struct Entries {
    list: Vec<Entry>,
    /// Entry numbers in the order of their keys.
    by_key: Vec<usize>,
}

struct Entry {
    key: String,
    extent: Extent,
}

impl Entries {
    pub(super) fn read(cursor: &mut Cursor<'_>, count: u64) -> Result<Self, GgufProblem> {
        let count = cursor.count(count, MIN_ENTRY, MAX_ENTRIES, "metadata entries")?;
        let mut list = Vec::with_capacity(count);
        for _ in 0..count {
            let key = cursor.str("the key of a metadata entry")?;
            let kind = kind(cursor, key)?;
            list.push(Entry { key: key.to_owned(), extent: Extent::read(cursor, kind, key, 0)? });
        }
        let mut by_key: Vec<usize> = (0..count).collect();
        by_key.sort_by(|&a, &b| list[a].key.cmp(&list[b].key));
        match by_key.windows(2).find(|w| list[w[0]].key == list[w[1]].key) {
            Some(pair) => Err(GgufProblem::DuplicateKey { key: list[pair[0]].key.as_str().into() }),
            None => Ok(Self { list, by_key }),
        }
    }

    pub(super) fn value<'a>(&self, bytes: &'a [u8], key: &str) -> Option<Value<'a>> {
        let place = self.by_key.binary_search_by(|&i| self.list[i].key.as_str().cmp(key)).ok()?;
        Some(self.list[self.by_key[place]].value(bytes))
    }

    pub(super) fn u64(&self, bytes: &[u8], key: &str) -> Option<u64> {
        self.value(bytes, key)?.as_u64()
    }
}

impl Entry {
    fn value<'a>(&self, bytes: &'a [u8]) -> Value<'a> {
        self.extent.value(bytes)
    }
}
