//! Bytes that become text as they come.

/// What of bytes that spell no character becomes one U+FFFD.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Errors {
    /// Every byte.
    Bytes,
    /// All that a character could have begun with.
    Sequences,
}

/// Hands out the characters that `held` spells, and U+FFFD for errors, never an empty text. What may
/// become a character stays, unless no more bytes come.
pub(super) fn hand_out(
    held: &mut Vec<u8>,
    at_end: bool,
    errors: Errors,
    mut each: impl FnMut(&str),
) {
    let mut done = 0;
    while let Some(bytes) = held.get(done..).filter(|bytes| !bytes.is_empty()) {
        let (valid, error) = match str::from_utf8(bytes) {
            Ok(text) => (text, None),
            Err(error) => {
                let valid = bytes.get(..error.valid_up_to()).unwrap_or_default();
                (str::from_utf8(valid).unwrap_or_default(), Some(error.error_len()))
            }
        };
        if !valid.is_empty() {
            each(valid);
        }
        done += valid.len();
        match error {
            None => {}
            Some(None) if !at_end => break,
            Some(len) => {
                each("\u{fffd}");
                done = match (errors, len) {
                    (Errors::Bytes, _) => done + 1,
                    (Errors::Sequences, Some(len)) => done + len,
                    (Errors::Sequences, None) => held.len(),
                };
            }
        }
    }
    held.drain(..done.min(held.len()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_wait_until_they_are_whole() {
        let bytes = b"a\xff\xf0\x9f\x90\x41\xe2\x82";
        for (at_end, errors, expected, left) in [
            (false, Errors::Bytes, "a????A", 2),
            (false, Errors::Sequences, "a??A", 2),
            (true, Errors::Bytes, "a????A??", 0),
            (true, Errors::Sequences, "a??A?", 0),
        ] {
            let (mut held, mut text) = (bytes.to_vec(), String::new());
            hand_out(&mut held, at_end, errors, |part| text.push_str(part));
            assert_eq!((text.replace('\u{fffd}', "?").as_str(), held.len()), (expected, left));
        }
    }
}
