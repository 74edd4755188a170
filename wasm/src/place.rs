//! From bytes of UTF-8 to the UTF-16 code units in which JavaScript counts.

/// Tells places of a text in UTF-16 code units.
pub(crate) struct Utf16Counter<'t> {
    text: &'t str,
    /// A place in bytes and in code units.
    known: (usize, usize),
}

impl<'t> Utf16Counter<'t> {
    pub(crate) fn new(text: &'t str) -> Self {
        Self { text, known: (0, 0) }
    }

    /// The place of `byte`, which begins a character or ends the text; cheap for places that come in
    /// order.
    pub(crate) fn place(&mut self, byte: usize) -> usize {
        let (mut at, mut n) = self.known;
        if byte < at {
            (at, n) = (0, 0);
        }
        let between = self.text.get(at..byte).unwrap_or_default();
        n += between.chars().map(char::len_utf16).sum::<usize>();
        self.known = (byte, n);
        n
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_units_are_counted_in_any_order() {
        // 2, 3, 4 and 1 bytes; the bird has two code units, the accent after `e` is a character.
        let text = "é東🐦e\u{301}";
        let mut counter = Utf16Counter::new(text);
        let places: Vec<usize> = [0, 2, 5, 9, 10, 12, 5, 12].map(|byte| counter.place(byte)).into();
        assert_eq!(places, [0, 1, 2, 4, 5, 6, 2, 6]);
        assert_eq!(counter.place(text.len()), text.encode_utf16().count());
    }
}
