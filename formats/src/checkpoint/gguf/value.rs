//! Values of a GGUF file's metadata and where they lie in the file.

use std::fmt;
use std::ops::Range;

use super::GgufProblem;
use super::cursor::Cursor;

/// Levels of arrays in arrays.
const MAX_DEPTH: usize = 4;

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
    pub(super) kind: Kind,
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

/// Where a value lies: the bytes of a number or string, or the elements of an array.
pub(super) struct Extent {
    kind: Kind,
    bytes: Range<usize>,
    /// Of an array: kind and number of elements.
    elements: Option<(Kind, usize)>,
}

impl Extent {
    /// Reads past a value that lies inside `depth` arrays.
    pub(super) fn read(
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
    pub(super) fn value<'a>(&self, bytes: &'a [u8]) -> Value<'a> {
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

pub(super) fn kind(cursor: &mut Cursor<'_>, key: &str) -> Result<Kind, GgufProblem> {
    let kind = cursor.u32("the kind of a metadata value")?;
    Kind::from_id(kind).ok_or_else(|| {
        let key = key.into();
        GgufProblem::UnknownKind { key, kind }
    })
}
