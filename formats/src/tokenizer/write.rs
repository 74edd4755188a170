//! Lays out a tokenizer section.

use super::hash::{PieceHash, home_slot, pair_hash};
use super::read::Part;
use super::{
    FormatError, MAX_ADDED_LEN, MAX_PIECE_LEN, MAX_PIECES, MAX_PROBES, MAX_SPEC_LEN, PLAIN_VERSION,
    TokenizerSpec, VERSION, flags,
};

/// One piece of the vocabulary; its id is its position.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Piece {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// See [`flags`](super::flags).
    pub flags: u8,
    /// Whether a word or part of it may become this piece.
    pub indexed: bool,
}

/// One merge of byte-pair encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Merge {
    /// Id of the left piece.
    pub left: u32,
    /// Id of the right piece.
    pub right: u32,
    /// Smaller merges first.
    pub rank: u32,
    /// Id of the joined piece.
    pub merged: u32,
}

/// One added token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddedToken {
    /// What is found in the text.
    pub content: String,
    /// Its id.
    pub id: u32,
    /// See [`added_flags`](super::added_flags).
    pub flags: u8,
}

/// Everything a section holds.
#[derive(Clone, Debug)]
pub struct Contents {
    /// The steps.
    pub spec: TokenizerSpec,
    /// The vocabulary.
    pub pieces: Vec<Piece>,
    /// Merges, where the model merges by table. No pair twice.
    pub merges: Vec<Merge>,
    /// A merge rank a piece, where the model merges by rank.
    pub ranks: Vec<u32>,
    /// A score a piece, where the model is a unigram one.
    pub scores: Vec<f64>,
    /// The id that a text gets for a piece, a number a piece; empty where it is the piece's own.
    pub given: Vec<u32>,
    /// Added tokens in any order.
    pub added: Vec<AddedToken>,
    /// Character classes, see [`class_map_bytes`](super::class_map_bytes); empty if not used.
    pub classes: Vec<u8>,
    /// Automata by index.
    pub automata: Vec<Vec<u8>>,
    /// Character maps by index.
    pub charsmaps: Vec<Vec<u8>>,
}

/// The bytes of a section.
pub fn write(contents: &Contents) -> Result<Vec<u8>, FormatError> {
    let spec = serde_json::to_vec(&contents.spec)
        .map_err(|e| FormatError::BadSpec { reason: e.to_string() })?;
    limit("bytes of spec", spec.len(), MAX_SPEC_LEN)?;
    limit("pieces", contents.pieces.len(), MAX_PIECES)?;
    limit("added tokens", contents.added.len(), MAX_PIECES)?;

    let mut parts: Vec<(Part, Vec<u8>)> = vec![(Part::Spec, spec)];
    for piece in &contents.pieces {
        limit("bytes in a piece", piece.bytes.len(), MAX_PIECE_LEN)?;
    }
    let (offsets, bytes) = string_table(contents.pieces.iter().map(|p| p.bytes.as_slice()))?;
    parts.push((Part::PieceOffsets, offsets));
    parts.push((Part::PieceBytes, bytes));
    parts.push((Part::PieceFlags, contents.pieces.iter().map(|p| p.flags).collect()));
    parts.push((Part::PieceIndex, piece_index(&contents.pieces)));
    if !contents.merges.is_empty() {
        parts.push((Part::Merges, merge_table(&contents.merges)));
    }
    if !contents.ranks.is_empty() {
        parts.push((Part::Ranks, contents.ranks.iter().flat_map(|r| r.to_le_bytes()).collect()));
    }
    if !contents.scores.is_empty() {
        let scores = contents.scores.iter().flat_map(|s| s.to_le_bytes()).collect();
        parts.push((Part::Scores, scores));
        parts.push((Part::PrefixFilter, prefix_filter(&contents.pieces)));
    }
    if !contents.given.is_empty() {
        parts.push((
            Part::GivenIds,
            contents.given.iter().flat_map(|id| id.to_le_bytes()).collect(),
        ));
    }

    let mut added: Vec<&AddedToken> = contents.added.iter().collect();
    added.sort_by(|a, b| a.content.as_bytes().cmp(b.content.as_bytes()));
    for token in &added {
        limit("bytes in an added token", token.content.len(), MAX_ADDED_LEN)?;
    }
    let (offsets, bytes) = string_table(added.iter().map(|t| t.content.as_bytes()))?;
    parts.push((Part::AddedOffsets, offsets));
    parts.push((Part::AddedBytes, bytes));
    parts.push((Part::AddedIds, added.iter().flat_map(|t| t.id.to_le_bytes()).collect()));
    parts.push((Part::AddedFlags, added.iter().map(|t| t.flags).collect()));
    if !contents.classes.is_empty() {
        parts.push((Part::Classes, contents.classes.clone()));
    }
    parts.extend(contents.automata.iter().map(|a| (Part::Automaton, a.clone())));
    parts.extend(contents.charsmaps.iter().map(|c| (Part::Charsmap, c.clone())));
    limit("parts", parts.len(), u16::MAX as usize)?;
    let names = contents.pieces.iter().any(|piece| piece.flags & flags::NAME != 0);
    let version = if names || !contents.given.is_empty() { VERSION } else { PLAIN_VERSION };
    Ok(assemble(version, &parts))
}

fn assemble(version: u16, parts: &[(Part, Vec<u8>)]) -> Vec<u8> {
    let mut records = Vec::with_capacity(parts.len() * 24);
    let mut at = (16 + parts.len() * 24).next_multiple_of(8);
    for (part, bytes) in parts {
        records.extend_from_slice(&(*part as u32).to_le_bytes());
        records.extend_from_slice(&0u32.to_le_bytes());
        records.extend_from_slice(&(at as u64).to_le_bytes());
        records.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        at = (at + bytes.len()).next_multiple_of(8);
    }
    let mut out = Vec::with_capacity(at);
    out.extend_from_slice(b"KTOK");
    out.extend_from_slice(&version.to_le_bytes());
    out.extend_from_slice(&(parts.len() as u16).to_le_bytes());
    out.extend_from_slice(&(at as u64).to_le_bytes());
    out.extend_from_slice(&records);
    for (_, bytes) in parts {
        out.resize(out.len().next_multiple_of(8), 0);
        out.extend_from_slice(bytes);
    }
    out.resize(at, 0);
    out
}

fn limit(what: &'static str, count: usize, limit: usize) -> Result<(), FormatError> {
    if count > limit { Err(FormatError::TooMany { what, count, limit }) } else { Ok(()) }
}

fn string_table<'s>(
    strings: impl Iterator<Item = &'s [u8]>,
) -> Result<(Vec<u8>, Vec<u8>), FormatError> {
    let (mut offsets, mut bytes) = (0u32.to_le_bytes().to_vec(), Vec::new());
    for string in strings {
        bytes.extend_from_slice(string);
        limit("bytes of pieces", bytes.len(), u32::MAX as usize)?;
        offsets.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    }
    Ok((offsets, bytes))
}

fn piece_index(pieces: &[Piece]) -> Vec<u8> {
    let entries: Vec<(u64, [u32; 2])> = (1..)
        .zip(pieces)
        .filter(|(_, piece)| piece.indexed)
        .map(|(id, piece)| {
            let hash = PieceHash::of(&piece.bytes).finish();
            (hash, [hash as u32, id])
        })
        .collect();
    slot_table(&entries)
}

fn merge_table(merges: &[Merge]) -> Vec<u8> {
    let entries: Vec<(u64, [u32; 4])> = merges
        .iter()
        .map(|m| (pair_hash(m.left, m.right), [m.left, m.right, m.rank, m.merged + 1]))
        .collect();
    slot_table(&entries)
}

/// An open-addressed table whose longest search stays within [`MAX_PROBES`]. A slot is empty while
/// its last word is 0.
fn slot_table<const N: usize>(entries: &[(u64, [u32; N])]) -> Vec<u8> {
    let mut capacity = entries.len() * 4 / 3 + 1;
    loop {
        let mut slots = vec![[0u32; N]; capacity];
        let placed = entries.iter().all(|&(hash, entry)| {
            let home = home_slot(hash, capacity);
            (0..MAX_PROBES.min(capacity)).map(|step| (home + step) % capacity).any(|at| {
                let free = slots[at][N - 1] == 0;
                if free {
                    slots[at] = entry;
                }
                free
            })
        });
        if placed {
            return slots.iter().flatten().flat_map(|word| word.to_le_bytes()).collect();
        }
        capacity += capacity / 2 + 1;
    }
}

fn prefix_filter(pieces: &[Piece]) -> Vec<u8> {
    let mut hashes = Vec::new();
    for piece in pieces.iter().filter(|piece| piece.indexed) {
        let mut hash = PieceHash::new();
        for (at, &byte) in piece.bytes.iter().enumerate() {
            let ends_character = at > 0 && byte & 0xc0 != 0x80;
            if ends_character {
                hashes.push(hash.finish());
            }
            hash = hash.then_byte(byte);
        }
        hashes.push(hash.finish());
    }
    hashes.sort_unstable();
    hashes.dedup();
    let mut filter = vec![0u8; (hashes.len() + 1).next_multiple_of(8)];
    for hash in hashes {
        let bit = home_slot(hash, filter.len() * 8);
        filter[bit / 8] |= 1 << (bit % 8);
    }
    filter
}
