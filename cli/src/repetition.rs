//! Tells when an answer has begun to say the same again and again.

/// Bytes of the longest span that is looked for.
const LONGEST: usize = 512;
/// How often a span must stand there.
const TIMES: usize = 8;
/// How much text the spans must make together: rulers and rows of zeros are shorter.
const LEAST: usize = 800;

/// The end of a text, compared with itself at every distance.
pub(crate) struct Repetition {
    /// The last bytes; the byte at place `i` of the text is at `i % LONGEST`.
    ring: [u8; LONGEST],
    /// Bytes seen.
    len: usize,
    /// For each distance less one, how many bytes up to the last are as the bytes so far before.
    equal: [usize; LONGEST],
}

impl Repetition {
    pub(crate) fn new() -> Self {
        Self { ring: [0; LONGEST], len: 0, equal: [0; LONGEST] }
    }

    /// Adds text; `true` once its end is nothing but a span that repeats.
    pub(crate) fn push(&mut self, text: &str) -> bool {
        text.bytes().any(|byte| self.push_byte(byte))
    }

    fn push_byte(&mut self, byte: u8) -> bool {
        let mut repeats = false;
        for distance in 1..=LONGEST.min(self.len) {
            let equal = &mut self.equal[distance - 1];
            if self.ring[(self.len - distance) % LONGEST] == byte {
                *equal += 1;
                repeats |= *equal + distance >= LEAST.max(TIMES * distance);
            } else {
                *equal = 0;
            }
        }
        self.ring[self.len % LONGEST] = byte;
        self.len += 1;
        repeats
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes after which the end of `text` is noticed.
    fn noticed(text: &str) -> Option<usize> {
        let mut repetition = Repetition::new();
        text.char_indices().find_map(|(at, c)| {
            repetition.push(c.encode_utf8(&mut [0; 4])).then_some(at + c.len_utf8())
        })
    }

    #[test]
    fn a_sentence_said_again_and_again_is_noticed() {
        let sentence = "The sky is blue because the sky is blue, as everybody knows who looks up. ";
        assert!(sentence.len() > 64);
        let beginning = "Let me think:\n";
        let text = format!("{beginning}{}", sentence.repeat(40));
        let expected = beginning.len() + LEAST.max(TIMES * sentence.len());
        assert_eq!(noticed(&text), Some(expected));
        assert_eq!(noticed(&"é".repeat(1000)), Some(LEAST));
        let paragraph: String = (0..80).map(|i| format!("{} ", i * i)).collect();
        assert!(noticed(&paragraph.repeat(TIMES)).is_some());
    }

    #[test]
    fn what_only_looks_alike_is_not() {
        let counting: String = (0..2000).map(|i| format!("{i}, ")).collect();
        assert_eq!(noticed(&counting), None);
        let table: String = (0..200).map(|i| format!("| {i} | the same | the same |\n")).collect();
        assert_eq!(noticed(&table), None);
        assert_eq!(noticed(&"-".repeat(120)), None);
        assert_eq!(noticed(&"ha ".repeat(100)), None);
        let refrain = format!("{}\nla la la\n", "a verse of some length".repeat(3));
        assert_eq!(noticed(&refrain.repeat(7)), None);
    }
}
