//! SentencePiece's precompiled character map: a double-array trie from UTF-8 sequences to texts.

use super::{FormatError, words::U32s};

/// Longer texts are in no map; a damaged trie may lead round in circles.
const MAX_KEY: usize = 256;

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
        self.matches(chunk).next().and_then(|(_, at)| self.text(at))
    }

    /// The length of the longest known beginning of `text` and what it becomes.
    pub fn longest(&self, text: &str) -> Option<(usize, &'a str)> {
        let (len, at) = self.matches(text).last()?;
        Some((len, self.text(at).filter(|_| at < self.texts.len())?))
    }

    /// The known beginnings of `text`, short ones first: their lengths, and where the texts for them
    /// begin.
    fn matches(&self, text: &str) -> impl Iterator<Item = (usize, usize)> {
        let trie = self.trie;
        let mut node = child_base(trie.at(0));
        let steps = text.bytes().take(MAX_KEY).enumerate().map_while(move |(at, byte)| {
            node ^= byte as usize;
            // Beyond the end `at` gives 0, whose label is no byte of a text.
            let unit = trie.at(node);
            if byte == 0 || unit & 0x8000_00ff != u32::from(byte) {
                return None;
            }
            node ^= child_base(unit);
            let value = (trie.at(node) & 0x7fff_ffff) as usize;
            Some((unit & 0x100 != 0).then_some((at + 1, value)))
        });
        steps.flatten()
    }

    fn text(&self, at: usize) -> Option<&'a str> {
        self.texts.get(at..)?.split('\0').next()
    }
}

fn child_base(unit: u32) -> usize {
    ((unit >> 10) as usize) << ((unit & 0x200) >> 6)
}
