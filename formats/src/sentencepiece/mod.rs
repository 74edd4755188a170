//! Models of SentencePiece (`tokenizer.model`, `spiece.model`, `*.spm`): a protobuf message with the
//! pieces and what the trainer and the normalizer were told.
//!
//! | message | field | what |
//! |---|---|---|
//! | model | 1 | a piece: text (1), score (2, float), kind (3) |
//! | model | 2 | the trainer's settings: kind of model (3), white space at the end of words (24), byte fallback (35), names of BOS (46), EOS (47) and padding (48), how the unknown is written (44) |
//! | model | 3 | the normalizer: precompiled character map (2), space before a text (3), spaces joined and trimmed (4), spaces written as `▁` (5) |
//! | model | 5 | a normalizer of decoded text |
//!
//! The id of a piece is its position.

#[cfg(test)]
mod tests;

use std::collections::HashSet;

use thiserror::Error;

use crate::protobuf::{Fields, Malformed, Span, Value};
use crate::tokenizer::MAX_PIECES;

/// A model that has been read and checked.
#[derive(Clone, Debug)]
pub struct SentencePieceModel<'a> {
    /// The pieces by id; never empty, no text twice.
    pub pieces: Vec<Piece<'a>>,
    /// How a text becomes pieces.
    pub algorithm: Algorithm,
    /// Characters without a piece are spelled in bytes, of which each has its piece.
    pub byte_fallback: bool,
    /// Spaces belong to the word before them.
    pub space_behind_words: bool,
    /// Name of the piece that begins a text.
    pub bos: &'a str,
    /// Name of the piece that ends a text.
    pub eos: &'a str,
    /// Name of the piece that fills a batch.
    pub pad: &'a str,
    /// What the unknown piece is written as in decoded text.
    pub unknown_text: &'a str,
    /// What happens to a text before it is cut into pieces.
    pub normalizer: Normalizer<'a>,
    /// The character map of decoded text, empty if it stays as it is.
    pub denormalizer: &'a [u8],
}

/// One piece.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Piece<'a> {
    /// Its text, never empty.
    pub text: &'a str,
    /// Logarithm of its probability (unigram), or minus its rank (BPE); finite.
    pub score: f32,
    /// What it is.
    pub kind: PieceKind,
}

/// What a piece is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PieceKind {
    /// Found in texts.
    Normal,
    /// Stands for characters that no piece has.
    Unknown,
    /// A token that no text holds.
    Control,
    /// Always found whole.
    UserDefined,
    /// Takes up an id.
    Unused,
    /// One byte, named `<0x41>`.
    Byte,
}

/// How a text becomes pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// The pieces whose scores have the largest sum.
    Unigram,
    /// Neighbours merge into the piece with the best score.
    Bpe,
    /// Words are pieces.
    Word,
    /// Characters are pieces.
    Char,
}

/// Settings of the normalizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Normalizer<'a> {
    /// Precompiled character map; empty if characters stay as they are.
    pub charsmap: &'a [u8],
    /// A space is put before a text, or behind one where spaces belong to the word before.
    pub add_dummy_prefix: bool,
    /// Spaces at the ends are dropped, several become one.
    pub remove_extra_whitespaces: bool,
    /// Spaces are written as `▁`.
    pub escape_whitespaces: bool,
}

/// Why a file is no model of SentencePiece that can be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SentencePieceError {
    /// The bytes are no message.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// A file without pieces.
    #[error("it has no pieces; fetch the file again")]
    NoPieces,
    /// More pieces than any vocabulary has.
    #[error("it has more than {MAX_PIECES} pieces")]
    TooManyPieces,
    /// A piece without text.
    #[error("piece {id} has no text")]
    EmptyPiece {
        /// Its position.
        id: usize,
    },
    /// Two pieces that cannot be told apart.
    #[error("piece {id} {text:?} is there already")]
    RepeatedPiece {
        /// The second one's position.
        id: usize,
        /// The text of both.
        text: String,
    },
    /// A score that no piece has.
    #[error("piece {id} {text:?} has the score {score}")]
    BadScore {
        /// Its position.
        id: usize,
        /// Its text.
        text: String,
        /// What the file says.
        score: String,
    },
    /// A number that stands for no kind of piece or model.
    #[error("{what} is {found}, which means nothing; fetch the file again")]
    UnknownKind {
        /// What is numbered so.
        what: &'static str,
        /// The number.
        found: u64,
    },
    /// Not exactly one piece stands for the unknown.
    #[error("{found} pieces stand for the unknown, one expected")]
    Unknown {
        /// How many do.
        found: usize,
    },
    /// A piece for one byte that does not say which.
    #[error("piece {id} {text:?} should be a byte, such as \"<0x41>\"")]
    NoByte {
        /// Its position.
        id: usize,
        /// Its text.
        text: String,
    },
    /// Byte fallback without a piece for every byte, or pieces of bytes without fallback.
    #[error("{found} of 256 bytes have a piece, {expected} expected")]
    Bytes {
        /// How many have one.
        found: usize,
        /// How many should.
        expected: usize,
    },
}

impl<'a> SentencePieceModel<'a> {
    /// Reads a model and checks what everything else presumes.
    pub fn read(file: &'a [u8]) -> Result<Self, SentencePieceError> {
        let mut model = Self {
            pieces: Vec::new(),
            algorithm: Algorithm::Unigram,
            byte_fallback: false,
            space_behind_words: false,
            bos: "<s>",
            eos: "</s>",
            pad: "<pad>",
            unknown_text: " \u{2047} ",
            normalizer: Normalizer {
                charsmap: &[],
                add_dummy_prefix: true,
                remove_extra_whitespaces: true,
                escape_whitespaces: true,
            },
            denormalizer: &[],
        };
        for field in Span::file(file).fields() {
            match field? {
                (1, Value::Bytes(_)) if model.pieces.len() >= MAX_PIECES => {
                    return Err(SentencePieceError::TooManyPieces);
                }
                (1, Value::Bytes(piece)) => {
                    let id = model.pieces.len();
                    model.pieces.push(read_piece(id, piece.fields())?);
                }
                (2, Value::Bytes(trainer)) => model.read_trainer(trainer.fields())?,
                (3, Value::Bytes(normalizer)) => model.read_normalizer(normalizer.fields())?,
                (5, Value::Bytes(denormalizer)) => {
                    model.denormalizer = charsmap(denormalizer.fields())?.unwrap_or_default();
                }
                _ => {}
            }
        }
        model.check()?;
        Ok(model)
    }

    fn read_trainer(&mut self, fields: Fields<'a>) -> Result<(), SentencePieceError> {
        // A name that is empty is as good as none.
        let name = |span: Span<'a>, name: &mut &'a str| {
            let text = span.text()?;
            *name = if text.is_empty() { *name } else { text };
            Ok::<(), Malformed>(())
        };
        for field in fields {
            match field? {
                (3, Value::Varint(kind)) => {
                    self.algorithm = match kind {
                        1 => Algorithm::Unigram,
                        2 => Algorithm::Bpe,
                        3 => Algorithm::Word,
                        4 => Algorithm::Char,
                        found => {
                            let what = "the kind of the model";
                            return Err(SentencePieceError::UnknownKind { what, found });
                        }
                    };
                }
                (24, Value::Varint(flag)) => self.space_behind_words = flag != 0,
                (35, Value::Varint(flag)) => self.byte_fallback = flag != 0,
                (44, Value::Bytes(span)) => self.unknown_text = span.text()?,
                (46, Value::Bytes(span)) => name(span, &mut self.bos)?,
                (47, Value::Bytes(span)) => name(span, &mut self.eos)?,
                (48, Value::Bytes(span)) => name(span, &mut self.pad)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn read_normalizer(&mut self, fields: Fields<'a>) -> Result<(), SentencePieceError> {
        let normalizer = &mut self.normalizer;
        for field in fields.clone() {
            match field? {
                (3, Value::Varint(flag)) => normalizer.add_dummy_prefix = flag != 0,
                (4, Value::Varint(flag)) => normalizer.remove_extra_whitespaces = flag != 0,
                (5, Value::Varint(flag)) => normalizer.escape_whitespaces = flag != 0,
                _ => {}
            }
        }
        normalizer.charsmap = charsmap(fields)?.unwrap_or(normalizer.charsmap);
        Ok(())
    }

    fn check(&mut self) -> Result<(), SentencePieceError> {
        if self.pieces.is_empty() {
            return Err(SentencePieceError::NoPieces);
        }
        let mut unknown = 0;
        let mut bytes = [false; 256];
        let mut texts = HashSet::new();
        for (id, piece) in self.pieces.iter_mut().enumerate() {
            // Left behind by conversions: the byte has its piece already.
            if piece.text == "\0" && self.byte_fallback {
                piece.kind = PieceKind::Unused;
            }
            match piece.kind {
                PieceKind::Unknown => unknown += 1,
                PieceKind::Byte => {
                    let byte = byte_of(piece.text).ok_or_else(|| SentencePieceError::NoByte {
                        id,
                        text: piece.text.to_owned(),
                    })?;
                    bytes[byte as usize] = true;
                }
                _ => {}
            }
            if piece.text != "\0" && !texts.insert(piece.text) {
                let text = piece.text.to_owned();
                return Err(SentencePieceError::RepeatedPiece { id, text });
            }
        }
        if unknown != 1 && !(unknown == 0 && self.byte_fallback) {
            return Err(SentencePieceError::Unknown { found: unknown });
        }
        let found = bytes.iter().filter(|&&found| found).count();
        let expected = if self.byte_fallback { 256 } else { 0 };
        if found != expected {
            return Err(SentencePieceError::Bytes { found, expected });
        }
        Ok(())
    }
}

/// The byte that a piece named `<0x41>` stands for.
pub fn byte_of(piece: &str) -> Option<u8> {
    let digits = piece.strip_prefix("<0x")?.strip_suffix('>')?;
    let is_digit = |c: char| matches!(c, '0'..='9' | 'A'..='F');
    let is_byte = digits.len() == 2 && digits.chars().all(is_digit);
    is_byte.then(|| u8::from_str_radix(digits, 16).ok())?
}

fn read_piece<'a>(id: usize, fields: Fields<'a>) -> Result<Piece<'a>, SentencePieceError> {
    let mut piece = Piece { text: "", score: 0.0, kind: PieceKind::Normal };
    for field in fields {
        match field? {
            (1, Value::Bytes(span)) => piece.text = span.text()?,
            (2, Value::Fixed32(score)) => piece.score = f32::from_le_bytes(score),
            (3, Value::Varint(kind)) => {
                piece.kind = match kind {
                    1 => PieceKind::Normal,
                    2 => PieceKind::Unknown,
                    3 => PieceKind::Control,
                    4 => PieceKind::UserDefined,
                    5 => PieceKind::Unused,
                    6 => PieceKind::Byte,
                    found => {
                        let what = "the kind of a piece";
                        return Err(SentencePieceError::UnknownKind { what, found });
                    }
                };
            }
            _ => {}
        }
    }
    if piece.text.is_empty() {
        return Err(SentencePieceError::EmptyPiece { id });
    }
    if !piece.score.is_finite() {
        let (text, score) = (piece.text.to_owned(), piece.score.to_string());
        return Err(SentencePieceError::BadScore { id, text, score });
    }
    Ok(piece)
}

/// The character map among the fields of a normalizer.
fn charsmap<'a>(fields: Fields<'a>) -> Result<Option<&'a [u8]>, Malformed> {
    let mut map = None;
    for field in fields {
        if let (2, Value::Bytes(span)) = field? {
            map = Some(span.bytes);
        }
    }
    Ok(map)
}
