//! The metadata of a GGUF file: keys with typed values, which stay where they are in the file.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

use super::GgufProblem;
use super::cursor::Cursor;
use crate::checkpoint::error::CheckpointError;
use crate::map::Bytes;

/// Length of a key, kind and the smallest value.
const MIN_ENTRY: usize = 8 + 4 + 1;
const MAX_ENTRIES: u64 = 1 << 16;
/// Levels of arrays in arrays.
const MAX_DEPTH: usize = 4;

/// The metadata of a GGUF file. The methods named after a type give `None` where the key is missing
/// or has a value of another kind; [`value`](Self::value) tells these apart.
pub struct Metadata {
    bytes: Bytes,
    file: PathBuf,
    entries: Entries,
}

/// A value. Strings and arrays are borrowed from the file.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum Value<'a> {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    U64(u64),
    I64(i64),
    F32(f32),
    F64(f64),
    Bool(bool),
    /// Any bytes, though meant to be UTF-8.
    String(&'a [u8]),
    Array(Array<'a>),
}

/// Values of one kind, borrowed from the file.
#[derive(Clone, Copy, PartialEq)]
pub struct Array<'a> {
    kind: Kind,
    len: usize,
    elements: &'a [u8],
}

/// Kind of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Kind {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    Bool,
    String,
    Array,
    U64,
    I64,
    F64,
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

impl Value<'_> {
    /// The kind of the value.
    pub fn kind(&self) -> Kind {
        match self {
            Value::U8(_) => Kind::U8,
            Value::I8(_) => Kind::I8,
            Value::U16(_) => Kind::U16,
            Value::I16(_) => Kind::I16,
            Value::U32(_) => Kind::U32,
            Value::I32(_) => Kind::I32,
            Value::U64(_) => Kind::U64,
            Value::I64(_) => Kind::I64,
            Value::F32(_) => Kind::F32,
            Value::F64(_) => Kind::F64,
            Value::Bool(_) => Kind::Bool,
            Value::String(_) => Kind::String,
            Value::Array(_) => Kind::Array,
        }
    }

    /// An integer of any width that fits an `i64`.
    pub fn as_i64(&self) -> Option<i64> {
        match *self {
            Value::U8(n) => Some(n.into()),
            Value::I8(n) => Some(n.into()),
            Value::U16(n) => Some(n.into()),
            Value::I16(n) => Some(n.into()),
            Value::U32(n) => Some(n.into()),
            Value::I32(n) => Some(n.into()),
            Value::I64(n) => Some(n),
            Value::U64(n) => n.try_into().ok(),
            _ => None,
        }
    }

    /// An integer of any width that is not negative.
    pub fn as_u64(&self) -> Option<u64> {
        match *self {
            Value::U64(n) => Some(n),
            _ => self.as_i64()?.try_into().ok(),
        }
    }

    /// A floating-point number (an `F64` is rounded).
    pub fn as_f32(&self) -> Option<f32> {
        match *self {
            Value::F32(x) => Some(x),
            Value::F64(x) => Some(x as f32),
            _ => None,
        }
    }
}

impl<'a> Array<'a> {
    /// Kind of the elements.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The elements in order.
    pub fn iter(&self) -> impl Iterator<Item = Value<'a>> + use<'a> {
        let Self { kind, len, elements } = *self;
        let mut cursor = Cursor::new(elements);
        // Opening the file has read every element once, so none fails here.
        (0..len).map_while(move |_| {
            let extent = Extent::read(&mut cursor, kind, "", 0).ok()?;
            Some(extent.value(elements))
        })
    }

    /// The bytes of each string; nothing if the elements are of another kind.
    pub fn byte_strings(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let len = if self.kind == Kind::String { self.len } else { 0 };
        let mut cursor = Cursor::new(self.elements);
        (0..len).map_while(move |_| cursor.byte_string("").ok())
    }
}

impl fmt::Debug for Array<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}; {}]", self.kind, self.len)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl Kind {
    fn from_id(id: u32) -> Option<Self> {
        Some(match id {
            0 => Self::U8,
            1 => Self::I8,
            2 => Self::U16,
            3 => Self::I16,
            4 => Self::U32,
            5 => Self::I32,
            6 => Self::F32,
            7 => Self::Bool,
            8 => Self::String,
            9 => Self::Array,
            10 => Self::U64,
            11 => Self::I64,
            12 => Self::F64,
            _ => return None,
        })
    }

    /// Bytes of a value, if all of the kind take the same.
    fn size(self) -> Option<usize> {
        match self {
            Self::U8 | Self::I8 | Self::Bool => Some(1),
            Self::U16 | Self::I16 => Some(2),
            Self::U32 | Self::I32 | Self::F32 => Some(4),
            Self::U64 | Self::I64 | Self::F64 => Some(8),
            Self::String | Self::Array => None,
        }
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

/// Where a value lies: the bytes of a number or string, or the elements of an array.
struct Extent {
    kind: Kind,
    bytes: Range<usize>,
    /// Of an array: kind and number of elements.
    elements: Option<(Kind, usize)>,
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

impl Extent {
    /// Reads past a value that lies inside `depth` arrays.
    fn read(
        cursor: &mut Cursor<'_>,
        kind: Kind,
        key: &str,
        depth: usize,
    ) -> Result<Self, GgufProblem> {
        const WHAT: &str = "a metadata value";
        let mut elements = None;
        let start;
        match (kind, kind.size()) {
            (Kind::String, _) => {
                let len = cursor.u64(WHAT)?;
                start = cursor.position();
                cursor.take(len, WHAT)?;
            }
            (_, Some(size)) => {
                start = cursor.position();
                cursor.take(size as u64, WHAT)?;
            }
            (_, None) => {
                if depth >= MAX_DEPTH {
                    let (key, max) = (key.into(), MAX_DEPTH);
                    return Err(GgufProblem::TooDeep { key, max });
                }
                let element_kind = self::kind(cursor, key)?;
                let len = cursor.u64(WHAT)?;
                // Every element takes bytes, so that the work is bounded by the file's length.
                let len =
                    cursor.count(len, element_kind.size().unwrap_or(8), u64::MAX, "elements")?;
                start = cursor.position();
                match element_kind.size() {
                    Some(size) => {
                        cursor.take((len * size) as u64, WHAT)?;
                    }
                    None => {
                        for _ in 0..len {
                            Self::read(cursor, element_kind, key, depth + 1)?;
                        }
                    }
                }
                elements = Some((element_kind, len));
            }
        }
        Ok(Self { kind, bytes: start..cursor.position(), elements })
    }

    /// The value in the bytes that it was read from.
    fn value<'a>(&self, bytes: &'a [u8]) -> Value<'a> {
        let bytes = &bytes[self.bytes.clone()];
        match self.kind {
            Kind::U8 => Value::U8(u8::from_le_bytes(number(bytes))),
            Kind::I8 => Value::I8(i8::from_le_bytes(number(bytes))),
            Kind::U16 => Value::U16(u16::from_le_bytes(number(bytes))),
            Kind::I16 => Value::I16(i16::from_le_bytes(number(bytes))),
            Kind::U32 => Value::U32(u32::from_le_bytes(number(bytes))),
            Kind::I32 => Value::I32(i32::from_le_bytes(number(bytes))),
            Kind::U64 => Value::U64(u64::from_le_bytes(number(bytes))),
            Kind::I64 => Value::I64(i64::from_le_bytes(number(bytes))),
            Kind::F32 => Value::F32(f32::from_le_bytes(number(bytes))),
            Kind::F64 => Value::F64(f64::from_le_bytes(number(bytes))),
            Kind::Bool => Value::Bool(number::<1>(bytes) != [0]),
            Kind::String => Value::String(bytes),
            Kind::Array => {
                let (kind, len) = self.elements.unwrap_or((Kind::U8, 0));
                Value::Array(Array { kind, len, elements: bytes })
            }
        }
    }
}

/// The bytes of a number; an extent of a kind has the size of the kind.
fn number<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.first_chunk().copied().unwrap_or([0; N])
}

fn kind(cursor: &mut Cursor<'_>, key: &str) -> Result<Kind, GgufProblem> {
    let kind = cursor.u32("the kind of a metadata value")?;
    Kind::from_id(kind).ok_or_else(|| {
        let key = key.into();
        GgufProblem::UnknownKind { key, kind }
    })
}
