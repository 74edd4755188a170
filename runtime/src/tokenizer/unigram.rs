//! Unigram language model: the way through a word with the best sum of scores.

use kinglet_formats::tokenizer::Tables;
use kinglet_formats::tokenizer::hash::PieceHash;

use super::model::{Lookup, NONE};

/// The best way to reach a byte offset.
#[derive(Clone, Copy, Debug)]
pub(super) struct Best {
    /// The last piece, `NONE` for an unknown character.
    id: u32,
    /// Where it begins; `usize::MAX` while the offset is not reached.
    start: usize,
    score: f64,
}

/// What an unknown character is worth.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unknown {
    pub(super) id: Option<u32>,
    pub(super) score: f64,
}

const UNREACHED: Best = Best { id: NONE, start: usize::MAX, score: 0.0 };

/// Appends the ids of a word.
pub(super) fn encode(
    unknown: Unknown,
    lookup: &Lookup,
    tables: &Tables<'_>,
    word: &str,
    best: &mut Vec<Best>,
    ids: &mut Vec<u32>,
) {
    best.clear();
    best.resize(word.len() + 1, UNREACHED);
    for (from, c) in word.char_indices() {
        let so_far = best[from].score;
        let width = c.len_utf8();
        let mut known = false;
        let mut offer = |to: usize, id: u32, score: f64| {
            let target = &mut best[to];
            if target.start == usize::MAX || score > target.score {
                *target = Best { id, start: from, score };
            }
        };
        each_piece(tables, &word[from..], |id, len| {
            offer(from + len, id, tables.score(id) + so_far);
            known |= len == width;
        });
        if !known {
            offer(from + width, NONE, unknown.score + so_far);
        }
    }

    let first = ids.len();
    let mut end = word.len();
    while end > 0 {
        let Best { id, mut start, .. } = best[end];
        let is_unknown = |id| id == NONE || Some(id) == unknown.id;
        if is_unknown(id) {
            // Neighbouring unknown characters are one token, or spelled together.
            while start > 0 && is_unknown(best[start].id) {
                start = best[start].start;
            }
            let text = word.get(start..end).unwrap_or_default().as_bytes();
            let before = ids.len();
            if let Some(id) = tables.find(text) {
                ids.push(id);
            } else if !lookup.spell(text, |id| ids.push(id)) {
                ids.extend(unknown.id);
            }
            ids[before..].reverse();
        } else {
            ids.push(id);
        }
        end = start;
    }
    ids[first..].reverse();
}

/// Calls back with the id and the length of every piece that `text` begins with, short ones first.
fn each_piece(tables: &Tables<'_>, text: &str, mut found: impl FnMut(u32, usize)) {
    let bytes = text.as_bytes();
    let mut hash = PieceHash::new();
    let mut len = 0;
    while len < bytes.len().min(tables.max_piece_len()) {
        hash = hash.then_byte(bytes[len]);
        len += 1;
        while bytes.get(len).is_some_and(|byte| byte & 0xc0 == 0x80) {
            hash = hash.then_byte(bytes[len]);
            len += 1;
        }
        if !tables.may_begin(hash) {
            return;
        }
        if let Some(id) = tables.find_hashed(hash, len, |piece| *piece == bytes[..len]) {
            found(id, len);
        }
    }
}
