//! SentencePiece's precompiled character map: a double-array trie from UTF-8 sequences to texts.

use super::{FormatError, words::U32s};

/// A character map, borrowed from the file.
#[derive(Clone, Copy, Debug)]
pub struct Charsmap<'a> {
    trie: U32s<'a>,
    texts: &'a str,
}

impl<'a> Charsmap<'a> {
    /// Checks and borrows a character map.
    pub fn read(bytes: &'a [u8]) -> Result<Charsmap<'a>, FormatError> {
        let (len, rest) = bytes.split_at_checked(4).ok_or(FormatError::BadCharsmap)?;
        let len = U32s::new(len).at(0) as usize;
        let (trie, texts) = rest.split_at_checked(len).ok_or(FormatError::BadCharsmap)?;
        let texts = str::from_utf8(texts).map_err(|_| FormatError::BadCharsmap)?;
        if len < 4 || !len.is_multiple_of(4) {
            return Err(FormatError::BadCharsmap);
        }
        Ok(Charsmap { trie: U32s::new(trie), texts })
    }

    /// What the shortest known beginning of `chunk` becomes, or `None` if none is known.
    pub fn replacement(&self, chunk: &str) -> Option<&'a str> {
        let mut node = child_base(self.trie.at(0));
        for &byte in chunk.as_bytes() {
            if byte == 0 {
                return None;
            }
            node ^= byte as usize;
            // Beyond the end `at` gives 0, whose label is no byte of a text.
            let unit = self.trie.at(node);
            if unit & 0x8000_00ff != byte as u32 {
                return None;
            }
            node ^= child_base(unit);
            if unit & 0x100 != 0 {
                let at = (self.trie.at(node) & 0x7fff_ffff) as usize;
                let text = self.texts.get(at..)?;
                return text.split('\0').next();
            }
        }
        None
    }
}

fn child_base(unit: u32) -> usize {
    ((unit >> 10) as usize) << ((unit & 0x200) >> 6)
}
