//! The wire format of protobuf: a message is a row of fields, each a number, a kind and a value.
//!
//! Nothing is copied: a message is a [`Span`] of the file, which knows where it begins there.

use thiserror::Error;

/// Bytes that are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the file is damaged or cut off at byte {at}: {expected} expected")]
pub struct Malformed {
    /// Where in the file.
    pub at: usize,
    /// What belongs there.
    pub expected: &'static str,
}

/// The bytes of a message or of a field, and where they begin in the file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span<'a> {
    /// Offset in the file.
    pub(crate) start: usize,
    /// The bytes.
    pub(crate) bytes: &'a [u8],
}

/// What a field holds, as far as the wire tells.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Value<'a> {
    /// A number of any length: integers, enumerations, booleans.
    Varint(u64),
    /// Four bytes: a float.
    Fixed32([u8; 4]),
    /// Eight bytes: a double.
    Fixed64([u8; 8]),
    /// Text, bytes, a message, or numbers one after another.
    Bytes(Span<'a>),
}

impl<'a> Span<'a> {
    /// The whole of a file.
    pub(crate) fn file(bytes: &'a [u8]) -> Self {
        Self { start: 0, bytes }
    }

    /// The fields of this message, in its order; none after an error.
    pub(crate) fn fields(self) -> Fields<'a> {
        Fields { rest: self }
    }

    /// The field as text.
    pub(crate) fn text(self) -> Result<&'a str, Malformed> {
        str::from_utf8(self.bytes)
            .map_err(|_| Malformed { at: self.start, expected: "text in UTF-8" })
    }

    /// The numbers of any length that lie in this field one after another; none after an error.
    pub(crate) fn varints(self) -> impl Iterator<Item = Result<u64, Malformed>> {
        let mut rest = self;
        std::iter::from_fn(move || {
            if rest.bytes.is_empty() {
                return None;
            }
            let number = rest.varint("a number");
            if number.is_err() {
                rest.bytes = &[];
            }
            Some(number)
        })
    }

    fn take(&mut self, n: u64, expected: &'static str) -> Result<Self, Malformed> {
        let taken = usize::try_from(n).ok().and_then(|n| self.bytes.split_at_checked(n));
        let (bytes, rest) = taken.ok_or(Malformed { at: self.start, expected })?;
        let taken = Self { start: self.start, bytes };
        *self = Self { start: self.start + bytes.len(), bytes: rest };
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, expected: &'static str) -> Result<[u8; N], Malformed> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N as u64, expected)?.bytes);
        Ok(array)
    }

    /// Seven bits a byte, the lowest first; all bytes but the last have their highest bit set.
    fn varint(&mut self, expected: &'static str) -> Result<u64, Malformed> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array(expected)?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(Malformed { at: self.start, expected })
    }
}

/// See [`Span::fields`].
#[derive(Clone, Debug)]
pub(crate) struct Fields<'a> {
    rest: Span<'a>,
}

impl<'a> Fields<'a> {
    fn read(&mut self) -> Result<(u32, Value<'a>), Malformed> {
        let at = self.rest.start;
        let tag = self.rest.varint("the number of a field")?;
        let number = u32::try_from(tag >> 3)
            .ok()
            .filter(|&number| number != 0)
            .ok_or(Malformed { at, expected: "the number of a field" })?;
        let value = match tag & 7 {
            0 => Value::Varint(self.rest.varint("a number")?),
            1 => Value::Fixed64(self.rest.array("eight bytes")?),
            2 => {
                let len = self.rest.varint("the length of a field")?;
                Value::Bytes(self.rest.take(len, "as many bytes as the field claims")?)
            }
            5 => Value::Fixed32(self.rest.array("four bytes")?),
            _ => return Err(Malformed { at, expected: "the kind of a field" }),
        };
        Ok((number, value))
    }
}

impl<'a> Iterator for Fields<'a> {
    /// The field's number in the schema, and what it holds.
    type Item = Result<(u32, Value<'a>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.bytes.is_empty() {
            return None;
        }
        let field = self.read();
        if field.is_err() {
            self.rest.bytes = &[];
        }
        Some(field)
    }
}
