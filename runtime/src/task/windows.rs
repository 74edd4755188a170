//! Long texts, window by window.

use std::ops::Range;

use crate::error::Error;

/// The windows of at most `room` tokens in which `n` tokens are read, each beginning with the last
/// `stride` tokens of the one before.
///
/// # Errors
/// If `stride` leaves no room for more.
pub(super) fn windows(n: usize, room: usize, stride: usize) -> Result<Vec<Range<usize>>, Error> {
    if n <= room {
        return Ok(std::iter::once(0..n).collect());
    }
    if stride >= room {
        return Err(Error::InvalidOption {
            name: "the stride",
            value: stride.to_string(),
            range: "less than the tokens of a window, without those around the text",
        });
    }
    let mut windows = Vec::with_capacity(n / (room - stride) + 1);
    let mut start = 0;
    loop {
        let end = n.min(start + room);
        windows.push(start..end);
        if end == n {
            return Ok(windows);
        }
        start += room - stride;
    }
}

/// Turns places counted in bytes of `text` into what is asked for: the same, or characters.
pub(super) struct CharacterCounter<'t> {
    text: &'t str,
    characters: bool,
    /// A place in bytes and in characters.
    known: (usize, usize),
}

impl<'t> CharacterCounter<'t> {
    pub(super) fn new(text: &'t str, characters: bool) -> Self {
        Self { text, characters, known: (0, 0) }
    }

    /// The place of `byte`; cheap for places that come in order.
    pub(super) fn place(&mut self, byte: usize) -> usize {
        if !self.characters {
            return byte;
        }
        let (mut at, mut n) = self.known;
        if byte < at {
            (at, n) = (0, 0);
        }
        n += self.text.get(at..byte).map_or(0, |between| between.chars().count());
        self.known = (byte, n);
        n
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_overlap_and_end_with_the_text() {
        for (n, room, stride) in [(5, 5, 9), (0, 5, 2)] {
            let one = windows(n, room, stride).unwrap();
            assert!(one.len() == 1 && one[0] == (0..n));
        }
        assert_eq!(windows(11, 5, 2).unwrap(), [0..5, 3..8, 6..11]);
        assert_eq!(windows(12, 5, 2).unwrap(), [0..5, 3..8, 6..11, 9..12]);
        assert_eq!(windows(6, 2, 0).unwrap(), [0..2, 2..4, 4..6]);
        assert!(windows(6, 2, 2).is_err() && windows(1, 0, 0).is_err());
    }

    #[test]
    fn characters_are_counted_in_any_order() {
        let mut counter = CharacterCounter::new("é🐦a", true);
        let counts: Vec<usize> = [0, 2, 6, 7, 2].map(|byte| counter.place(byte)).to_vec();
        assert_eq!(counts, [0, 1, 2, 3, 1]);
        assert_eq!(CharacterCounter::new("é🐦a", false).place(6), 6);
    }
}
