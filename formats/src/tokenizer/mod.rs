//! The compiled form of a tokenizer, as stored in the tokenizer section of a `.kinglet` file.
//!
//! A tokenizer is compiled once, offline, into tables that are used where they lie: opening one
//! reads a page of JSON and checks a few arrays, whatever the size of the vocabulary.
//!
//! # Bytes
//!
//! All numbers are little-endian. The section begins with
//!
//! | offset | size | what |
//! |---|---|---|
//! | 0 | 4 | magic `KTOK` |
//! | 4 | 2 | version: 2, or 3 with given ids or names |
//! | 6 | 2 | number of parts `n` |
//! | 8 | 8 | length of the section |
//! | 16 | 24 `n` | a record a part: kind (u32), zero (u32), offset (u64), length (u64) |
//!
//! Parts follow in the order of their records, each at the next multiple of 8, the gaps are zero.
//! An unknown kind is an error. Kinds 16 and 17 may occur several times and are numbered in order.
//!
//! | kind | part | content |
//! |---|---|---|
//! | 1 | spec | JSON of [`TokenizerSpec`] |
//! | 2 | piece offsets | `n_pieces + 1` u32, ascending, into the piece bytes |
//! | 3 | piece bytes | the pieces in the order of their ids |
//! | 4 | piece flags | `n_pieces` bytes, see [`flags`] |
//! | 5 | piece index | slots of 8 bytes: tag (low half of the hash), id + 1 or 0 |
//! | 6 | merges | slots of 16 bytes: left, right, rank, id of the merged piece + 1 or 0 |
//! | 7 | ranks | `n_pieces` u32: merge order of a piece, `u32::MAX` never |
//! | 8 | scores | `n_pieces` f64 |
//! | 9 | prefix filter | bits; set at the hash of every beginning of a piece that ends between characters |
//! | 10 | added offsets | `n_added + 1` u32 into the added bytes |
//! | 11 | added bytes | contents of the added tokens (UTF-8), in ascending byte order |
//! | 12 | added ids | `n_added` u32 |
//! | 13 | added flags | `n_added` bytes, see [`added_flags`] |
//! | 14 | character classes | a class map: 128 bytes, then u32 `first code point \| class << 24`; see [`class_flags`] |
//! | 15 | given ids | nothing, or `n_pieces` u32: the id that a text gets for a piece |
//! | 16 | automaton | a pattern, see [`Automaton`] |
//! | 17 | character map | SentencePiece's precompiled map: trie length (u32), double-array trie, replacement texts |
//!
//! Slots are open-addressed: the search for a hash (see [`hash`]) begins at
//! `(hash >> 32) * capacity >> 32` and goes on slot by slot, around the end, to the first empty
//! slot, at most [`MAX_PROBES`] steps.

mod automaton;
mod bytes;
mod charsmap;
pub mod hash;
mod read;
mod spec;
mod tables;
mod words;
mod write;

pub use automaton::{Automaton, ClassMap, Matches, automaton_bytes, class_map_bytes};
pub use bytes::{byte_letter, letter_byte};
pub use charsmap::Charsmap;
pub use read::Layout;
pub use spec::*;
pub use tables::{AddedEntry, Tables};
pub use words::U32s;
pub use write::{AddedToken, Contents, Merge, Piece, write};

use thiserror::Error;

/// Steps after which a search in a slot table gives up.
pub const MAX_PROBES: usize = 256;

/// Longest piece of a vocabulary, in bytes.
pub const MAX_PIECE_LEN: usize = 4096;

/// Longest content of an added token, in bytes.
pub const MAX_ADDED_LEN: usize = 1024;

/// Most pieces a vocabulary may have.
pub const MAX_PIECES: usize = 1 << 24;

/// Largest spec, in bytes of JSON.
pub const MAX_SPEC_LEN: usize = 1 << 20;

/// Flags of a piece.
pub mod flags {
    /// Left out when decoding without special tokens.
    pub const SPECIAL: u8 = 1;
    /// Not a piece of the model: found in text only as an added token.
    pub const ADDED: u8 = 2;
    /// The id has no piece.
    pub const ABSENT: u8 = 4;
    /// Always found whole in a text; never merges with its neighbours.
    pub const WHOLE: u8 = 8;
    /// Merges on the way to longer pieces; where it is left, it is taken apart again.
    pub const UNUSED: u8 = 16;
    /// Spells the byte that it names (`<0x41>`); no text has it.
    pub const BYTE: u8 = 32;
    /// Not a piece of the model, but the name of an id: a run of characters that no piece has gets it
    /// where it spells it.
    pub const NAME: u8 = 64;
}

/// Flags of an added token.
pub mod added_flags {
    /// Split off only where special tokens are parsed.
    pub const SPECIAL: u8 = 1;
    /// Takes the white space before it along.
    pub const LSTRIP: u8 = 2;
    /// Takes the white space behind it along.
    pub const RSTRIP: u8 = 4;
    /// Only where no word character touches it.
    pub const SINGLE_WORD: u8 = 8;
    /// Matched in the normalized text.
    pub const NORMALIZED: u8 = 16;
}

/// Bits of the character classes.
pub mod class_flags {
    /// Dropped by BERT's cleaning.
    pub const CONTROL: u8 = 1;
    /// Non-spacing mark, dropped by BERT's accent stripping.
    pub const NONSPACING_MARK: u8 = 2;
    /// Part of a word.
    pub const WORD: u8 = 4;
}

/// Newest version of the section that is read; written where one before cannot say it.
pub(crate) const VERSION: u16 = 3;

/// Version written where there are neither given ids nor names.
pub(crate) const PLAIN_VERSION: u16 = 2;

/// Why a tokenizer section cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FormatError {
    /// The section does not begin with the magic bytes.
    #[error("not a tokenizer section: it does not begin with `KTOK`")]
    NotATokenizer,
    /// Written by another version.
    #[error("tokenizer section has version {found}, this Kinglet reads up to {VERSION}: update it")]
    UnknownVersion {
        /// Version in the file.
        found: u16,
    },
    /// The section ends early or goes on too long.
    #[error("tokenizer section is {found} bytes long, its header says {expected}")]
    WrongLength {
        /// Length in the header.
        expected: u64,
        /// Length found.
        found: u64,
    },
    /// A part is of a kind this reader does not know.
    #[error("tokenizer section has a part of unknown kind {kind}")]
    UnknownPart {
        /// Kind of the part.
        kind: u32,
    },
    /// A part does not lie where it must.
    #[error("tokenizer part {part} lies outside its place")]
    MisplacedPart {
        /// Name of the part.
        part: &'static str,
    },
    /// A part occurs twice.
    #[error("tokenizer part {part} occurs twice")]
    RepeatedPart {
        /// Name of the part.
        part: &'static str,
    },
    /// A part that is needed is not there.
    #[error("tokenizer section lacks its {part}")]
    MissingPart {
        /// Name of the part.
        part: &'static str,
    },
    /// A part's length does not fit the number of entries.
    #[error("tokenizer part {part} has {found} bytes, {expected} expected")]
    WrongPartLength {
        /// Name of the part.
        part: &'static str,
        /// Length that the counts call for.
        expected: usize,
        /// Length found.
        found: usize,
    },
    /// Offsets that do not ascend, or entries longer than allowed.
    #[error("tokenizer part {part} is inconsistent at entry {entry}")]
    BadEntry {
        /// Name of the part.
        part: &'static str,
        /// Number of the entry.
        entry: usize,
    },
    /// An automaton whose tables contradict each other.
    #[error("tokenizer section holds a damaged automaton")]
    BadAutomaton,
    /// A class map that does not cover the code points in order.
    #[error("tokenizer section holds a damaged class map")]
    BadClassMap,
    /// A character map whose trie or texts are damaged.
    #[error("tokenizer section holds a damaged character map")]
    BadCharsmap,
    /// The spec is no JSON of a tokenizer.
    #[error("tokenizer spec cannot be read: {reason}")]
    BadSpec {
        /// What the JSON reader said.
        reason: String,
    },
    /// The spec names something that is not there.
    #[error("tokenizer spec names {what} {index}, there are {count}")]
    DanglingIndex {
        /// What is named.
        what: &'static str,
        /// The number named.
        index: u32,
        /// How many there are.
        count: usize,
    },
    /// The contents do not fit the format.
    #[error("tokenizer has {count} {what}, at most {limit} can be stored")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many.
        count: usize,
        /// The limit.
        limit: usize,
    },
}
