//! The 128 bytes at the start of a file, and the places of the sections that follow from them.

use std::ops::Range;

use super::error::{KingletError, Section};
use super::limits::{HEADER, MAGIC};
use super::{ALIGNMENT, VERSION, foreign};

/// Place of the head hash inside the header.
pub(super) const HASH: Range<usize> = 64..96;

const RESERVED: Range<usize> = 96..HEADER;

/// Features a reader must understand: none yet.
const KNOWN_FEATURES: u32 = 0;

/// Lengths of the sections, from which their places follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lengths {
    /// Meta, tokenizer, index, chunk table and data, in this order.
    pub(super) sections: [u64; 5],
}

/// Places of the sections in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Places {
    /// Byte ranges, as in [`Lengths::sections`].
    pub(super) sections: [Range<u64>; 5],
    /// Length of the whole file.
    pub(super) file: u64,
}

impl Lengths {
    /// Every section begins at the next multiple of 64 after the one before.
    /// `None` when a place overflows.
    pub(super) fn places(&self) -> Option<Places> {
        let mut end = HEADER as u64;
        let mut sections = [const { 0..0 }; 5];
        for (place, length) in sections.iter_mut().zip(self.sections) {
            let start = end.checked_next_multiple_of(ALIGNMENT as u64)?;
            end = start.checked_add(length)?;
            *place = start..end;
        }
        Some(Places { sections, file: end })
    }
}

/// What a header says that is not fixed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Minor version of the writer.
    pub(super) minor: u16,
    /// Where the sections are.
    pub(super) places: Places,
    /// BLAKE3 of the head.
    pub(super) hash: [u8; 32],
}

impl Header {
    /// Reads and checks the header of a file of `file_len` bytes whose first bytes are `bytes`.
    pub(super) fn parse(bytes: &[u8], file_len: u64) -> Result<Self, KingletError> {
        if let Some(foreign) = foreign::recognize(bytes) {
            return Err(foreign);
        }
        let Some(bytes) = bytes.first_chunk::<HEADER>() else {
            return Err(KingletError::TooShort { found: file_len });
        };
        let u16_at = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let (major, minor) = (u16_at(8), u16_at(10));
        if major != VERSION.0 {
            return Err(KingletError::Version { major, minor });
        }
        let features = u32::from_le_bytes([bytes[12], bytes[13], bytes[14], bytes[15]]);
        if features & !KNOWN_FEATURES != 0 {
            return Err(KingletError::Features { unknown: features & !KNOWN_FEATURES });
        }
        let stated = u64_at(bytes, 16);
        if file_len < stated {
            return Err(KingletError::Truncated { expected: stated, found: file_len });
        }
        if file_len > stated {
            return Err(KingletError::TrailingBytes { expected: stated, found: file_len });
        }
        let mut lengths = Lengths { sections: [0; 5] };
        for (i, length) in lengths.sections.iter_mut().enumerate() {
            *length = u64_at(bytes, 24 + 8 * i);
            if *length > stated {
                let section = Section::ALL[i];
                return Err(KingletError::SectionLength { section, length: *length, file: stated });
            }
        }
        let places = lengths.places().filter(|p| p.file == stated);
        let places = places.ok_or(KingletError::SectionSum {
            sections: lengths.sections,
            expected: lengths.places().map(|p| p.file),
            found: stated,
        })?;
        if bytes[RESERVED].iter().any(|&b| b != 0) {
            return Err(KingletError::Reserved { what: "bytes 96 to 128 of the header" });
        }
        let mut hash = [0; 32];
        hash.copy_from_slice(&bytes[HASH]);
        Ok(Self { minor, places, hash })
    }

    /// The header of a new file, its hash still zero.
    pub(super) fn bytes(lengths: &Lengths, file_len: u64) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..10].copy_from_slice(&VERSION.0.to_le_bytes());
        bytes[10..12].copy_from_slice(&VERSION.1.to_le_bytes());
        bytes[16..24].copy_from_slice(&file_len.to_le_bytes());
        for (i, length) in lengths.sections.iter().enumerate() {
            bytes[24 + 8 * i..][..8].copy_from_slice(&length.to_le_bytes());
        }
        bytes
    }
}

/// BLAKE3 of a head (everything before the data section) with the hash's own bytes taken as zero.
pub(super) fn head_hash(head: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&head[..HASH.start]).update(&[0; 32]).update(&head[HASH.end..]);
    *hasher.finalize().as_bytes()
}

fn u64_at(bytes: &[u8; HEADER], at: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(number)
}
