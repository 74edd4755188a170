//! Reads little-endian numbers and strings from the front of a GGUF file.

use super::GgufProblem;

pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0 }
    }

    /// Bytes read so far.
    pub(super) fn position(&self) -> usize {
        self.position
    }

    /// The next `len` bytes, or an error that says `what` they were to be.
    pub(super) fn take(&mut self, len: u64, what: &'static str) -> Result<&'a [u8], GgufProblem> {
        let rest = &self.bytes[self.position..];
        let taken = usize::try_from(len).ok().and_then(|len| rest.get(..len));
        let taken = taken.ok_or(GgufProblem::Truncated {
            what,
            at: self.position,
            wanted: len,
            available: rest.len(),
        })?;
        self.position += taken.len();
        Ok(taken)
    }

    pub(super) fn u32(&mut self, what: &'static str) -> Result<u32, GgufProblem> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    pub(super) fn u64(&mut self, what: &'static str) -> Result<u64, GgufProblem> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], GgufProblem> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N as u64, what)?);
        Ok(array)
    }

    /// A string of any bytes: its length, then the bytes.
    pub(super) fn byte_string(&mut self, what: &'static str) -> Result<&'a [u8], GgufProblem> {
        let len = self.u64(what)?;
        self.take(len, what)
    }

    pub(super) fn str(&mut self, what: &'static str) -> Result<&'a str, GgufProblem> {
        let at = self.position;
        std::str::from_utf8(self.byte_string(what)?).map_err(|_| GgufProblem::NotUtf8 { what, at })
    }

    /// A number of things of at least `min_size` bytes each, if so many can follow.
    pub(super) fn count(
        &self,
        count: u64,
        min_size: usize,
        max: u64,
        what: &'static str,
    ) -> Result<usize, GgufProblem> {
        let fit = (self.bytes.len() - self.position) / min_size;
        let max = max.min(fit as u64);
        if count > max {
            return Err(GgufProblem::TooMany { what, count, max });
        }
        Ok(count as usize)
    }
}
