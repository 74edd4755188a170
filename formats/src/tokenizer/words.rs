//! Arrays of little-endian numbers read in place, at any alignment.

/// An array of `u32`.
#[derive(Clone, Copy, Debug, Default)]
pub struct U32s<'a>(&'a [[u8; 4]]);

impl<'a> U32s<'a> {
    /// Over bytes; an incomplete last word is left out.
    pub fn new(bytes: &'a [u8]) -> U32s<'a> {
        U32s(bytes.as_chunks().0)
    }

    /// Number of words.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The word at `index`, zero beyond the end.
    #[inline]
    pub fn at(&self, index: usize) -> u32 {
        self.0.get(index).map_or(0, |word| u32::from_le_bytes(*word))
    }

    /// All words.
    pub fn iter(&self) -> impl Iterator<Item = u32> + 'a {
        self.0.iter().map(|word| u32::from_le_bytes(*word))
    }
}
