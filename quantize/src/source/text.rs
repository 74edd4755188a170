//! Text and JSON files as users have them: saved with a mark of their byte order, in UTF-16, with
//! Python's names for infinities, or something else altogether under the right name.

use std::borrow::Cow;

use serde::de::DeserializeOwned;

use crate::QuantizeError;

/// What Python writes for numbers that JSON does not have.
pub(super) const INFINITY: &str = "Infinity";

/// The text of a file, in UTF-8 and without a mark of its byte order.
pub(super) fn text(file: &str, bytes: Vec<u8>) -> Result<String, QuantizeError> {
    let not = |found: &str| QuantizeError::WrongContent {
        file: file.to_owned(),
        found: found.to_owned(),
    };
    let text = match bytes.as_slice() {
        [0xff, 0xfe, rest @ ..] => utf16(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => utf16(rest, u16::from_be_bytes),
        [_, 0, ..] => utf16(&bytes, u16::from_le_bytes),
        [0, _, ..] => utf16(&bytes, u16::from_be_bytes),
        [0xef, 0xbb, 0xbf, rest @ ..] => String::from_utf8(rest.to_vec()).ok(),
        _ => String::from_utf8(bytes).ok(),
    };
    let text = text.ok_or_else(|| not("it is no text; fetch the file again"))?;
    if text.starts_with("version https://git-lfs") {
        return Err(not("it is a Git LFS pointer; fetch the file itself with `git lfs pull`"));
    }
    Ok(text)
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Option<String> {
    let (pairs, rest) = bytes.as_chunks::<2>();
    let units = pairs.iter().map(|&pair| unit(pair));
    let text: Result<String, _> = char::decode_utf16(units).collect();
    text.ok().filter(|_| rest.is_empty())
}

/// The text of a JSON file.
pub(super) fn json_text(file: &str, bytes: Vec<u8>) -> Result<String, QuantizeError> {
    let text = text(file, bytes)?;
    let not = |found: &str| {
        Err(QuantizeError::WrongContent { file: file.to_owned(), found: found.to_owned() })
    };
    match text.trim_start().bytes().next() {
        None => not("it is empty; fetch the file again"),
        Some(b'<') => not(
            "it is a web page; fetch the file itself, on Hugging Face from `/resolve/` instead of `/blob/`",
        ),
        Some(_) => Ok(text),
    }
}

/// Reads a JSON file, as Python does with infinities in it: they become texts, which are refused
/// where a number is needed.
pub(super) fn json<T: DeserializeOwned>(file: &str, bytes: Vec<u8>) -> Result<T, QuantizeError> {
    let text = json_text(file, bytes)?;
    serde_json::from_str(&text)
        .or_else(|error| match quoted_constants(&text) {
            Cow::Borrowed(_) => Err(error),
            Cow::Owned(text) => serde_json::from_str(&text),
        })
        .map_err(|source| QuantizeError::Json { file: file.to_owned(), source })
}

/// The JSON text with `Infinity`, `-Infinity` and `NaN` in quotes.
fn quoted_constants(text: &str) -> Cow<'_, str> {
    let mut out = String::new();
    let (mut copied, mut at, mut in_text) = (0, 0, false);
    let bytes = text.as_bytes();
    while at < bytes.len() {
        match bytes[at] {
            b'"' => in_text = !in_text,
            b'\\' if in_text => at += 1,
            b'-' | b'I' | b'N' if !in_text => {
                let found = ["-Infinity", INFINITY, "NaN"]
                    .into_iter()
                    .find(|name| bytes[at..].starts_with(name.as_bytes()));
                if let Some(name) = found {
                    out.push_str(&text[copied..at]);
                    out.push_str(&format!("\"{name}\""));
                    copied = at + name.len();
                    at = copied;
                    continue;
                }
            }
            _ => {}
        }
        at += 1;
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    out.push_str(&text[copied..]);
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json as value};

    fn read(bytes: impl Into<Vec<u8>>) -> Result<Value, String> {
        json("config.json", bytes.into()).map_err(|error| error.to_string())
    }

    #[test]
    fn marks_and_encodings_of_editors() {
        let text = r#"{"a": "é"}"#;
        let wide =
            |unit: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(unit).collect::<Vec<u8>>();
        let (little, big) = (wide(u16::to_le_bytes), wide(u16::to_be_bytes));
        for bytes in [
            format!("\u{feff}{text}").into_bytes(),
            [&[0xff, 0xfe], &little[..]].concat(),
            [&[0xfe, 0xff], &big[..]].concat(),
            little,
            big,
        ] {
            assert_eq!(read(bytes).unwrap(), value!({"a": "é"}));
        }
    }

    #[test]
    fn what_is_no_json_is_named() {
        for (content, part) in [
            (
                &b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"[..],
                "git lfs pull",
            ),
            (b"\n<!doctype html><html>", "web page"),
            (b" \n", "empty"),
            (b"\x80\x81\x82\x83", "no text"),
            (b"{\"a\": }", "not valid JSON"),
        ] {
            let error = read(content).unwrap_err();
            assert!(error.contains(part) && error.contains("config.json"), "{error}");
        }
    }

    #[test]
    fn infinities_are_read_as_python_does() {
        let text = r#"{"a": [0.5, Infinity], "b": -Infinity, "c": NaN, "d": "\"NaN, Infinity"}"#;
        assert_eq!(
            read(text).unwrap(),
            value!({"a": [0.5, "Infinity"], "b": "-Infinity", "c": "NaN", "d": "\"NaN, Infinity"})
        );
        assert!(read("{Infinite: 1}").is_err());
    }
}
