//! The byte alphabet of GPT-2: a visible character for each byte.

/// The character for a byte: visible Latin-1 characters stand for themselves, the others follow from
/// U+0100 on.
pub fn byte_letter(byte: u8) -> char {
    match byte {
        0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff => byte as char,
        0x00..=0x20 => wide(0x100 + u32::from(byte)),
        0x7f..=0xa0 => wide(0x121 + u32::from(byte) - 0x7f),
        0xad => '\u{143}',
    }
}

/// The byte that a character of the alphabet stands for.
pub fn letter_byte(letter: char) -> Option<u8> {
    match letter as u32 {
        code @ (0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff) => Some(code as u8),
        code @ 0x100..=0x120 => Some((code - 0x100) as u8),
        code @ 0x121..=0x142 => Some((code - 0x121 + 0x7f) as u8),
        0x143 => Some(0xad),
        _ => None,
    }
}

fn wide(code: u32) -> char {
    char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_alphabet_there_and_back() {
        let letters: std::collections::BTreeSet<char> = (0..=255).map(byte_letter).collect();
        assert_eq!(letters.len(), 256);
        assert!((0..=255).all(|byte| letter_byte(byte_letter(byte)) == Some(byte)));
        assert_eq!((byte_letter(b' '), byte_letter(b'\n')), ('Ġ', 'Ċ'));
        assert_eq!(letter_byte(' '), None);
    }
}
