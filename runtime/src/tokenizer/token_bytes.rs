//! The bytes of single tokens.

use kinglet_formats::tokenizer::{Decoder, letter_byte};

use super::Tokenizer;
use super::decode::{DecodeStream, Stage, byte_token};

/// The bytes that a token stands for within a text.
pub(super) fn bytes_of(tokenizer: &Tokenizer, id: u32) -> Vec<u8> {
    let tables = tokenizer.inner.tables();
    let Some(piece) = tables.piece(id) else { return Vec::new() };
    let text = String::from_utf8_lossy(piece);
    let steps = tokenizer.inner.stages.iter().filter_map(|stage| match stage {
        Stage::Step(step) => Some(step),
        Stage::JoinBySpaces => None,
    });
    for step in steps {
        match step {
            Decoder::ByteLevel { alphabet: false } => return piece.to_vec(),
            Decoder::ByteLevel { alphabet: true } => {
                let bytes: Option<Vec<u8>> = text.chars().map(letter_byte).collect();
                return bytes.unwrap_or_else(|| piece.to_vec());
            }
            Decoder::SentencePiece { .. } | Decoder::ByteFallback => {
                if let Some(byte) = byte_token(&text) {
                    return vec![byte];
                }
            }
            _ => {}
        }
    }
    // Something before it, so that it does not count as the first.
    let mut stream = DecodeStream::new(tokenizer.clone(), false);
    for before in tokenizer.encode("a", Default::default()) {
        stream.push(before);
    }
    let mut made = stream.push(id).as_bytes().to_vec();
    made.extend_from_slice(stream.finish().as_bytes());
    made
}
