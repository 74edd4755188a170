//! Unigram language model: the way through a word with the best sum of scores.

use kinglet_formats::tokenizer::Tables;
use kinglet_formats::tokenizer::hash::PieceHash;

use super::found::FoundTokens;
use super::lookup::{Lookup, NONE};

/// The best way to reach a byte offset.
#[derive(Clone, Copy, Debug)]
pub(super) struct Best {
    /// The last piece, `NONE` for an unknown character.
    id: u32,
    /// Where it begins; `usize::MAX` while the offset is not reached.
    start: usize,
    score: f64,
}

/// How words are encoded.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// Id of an unknown character.
    pub(super) unk: Option<u32>,
    /// What an unknown character is worth.
    pub(super) unk_score: f64,
    /// Sums are rounded to single precision, as those of SentencePiece.
    pub(super) single: bool,
}

impl Rules {
    fn sum(self, score: f64, so_far: f64) -> f64 {
        if self.single { f64::from(score as f32 + so_far as f32) } else { score + so_far }
    }
}

/// Beyond this SentencePiece begins to count from zero again.
const MAX_SUM: f64 = 1e5;

const UNREACHED: Best = Best { id: NONE, start: usize::MAX, score: 0.0 };

/// Appends the tokens of a word.
pub(super) fn encode(
    rules: Rules,
    lookup: &Lookup,
    tables: &Tables<'_>,
    word: &str,
    best: &mut Vec<Best>,
    found: &mut FoundTokens<'_>,
) {
    best.clear();
    best.resize(word.len() + 1, UNREACHED);
    let mut frontier = 0;
    for (from, c) in word.char_indices() {
        let mut so_far = best[from].score;
        if rules.single && so_far.abs() > MAX_SUM {
            for reached in best[from..=frontier.max(from)].iter_mut() {
                reached.score = rules.sum(-so_far, reached.score);
            }
            so_far = 0.0;
        }
        let width = c.len_utf8();
        let mut known = false;
        let mut offer = |to: usize, id: u32, score: f64| {
            frontier = frontier.max(to);
            let target = &mut best[to];
            if target.start == usize::MAX || score > target.score {
                *target = Best { id, start: from, score };
            }
        };
        each_piece(tables, &word[from..], |id, len| {
            if lookup.is_name(tables, id) {
                return;
            }
            offer(from + len, id, rules.sum(tables.score(id), so_far));
            known |= len == width;
        });
        if !known {
            offer(from + width, NONE, rules.sum(rules.unk_score, so_far));
        }
    }

    let first = found.len();
    let mut end = word.len();
    while end > 0 {
        let Best { id, mut start, .. } = best[end];
        let is_unknown = |id| id == NONE || Some(id) == rules.unk;
        if is_unknown(id) {
            // Neighbouring unknown characters are one token, or spelled together.
            while start > 0 && is_unknown(best[start].id) {
                start = best[start].start;
            }
            let text = word.get(start..end).unwrap_or_default().as_bytes();
            let before = found.len();
            let mut at = start;
            let mut spell = |id| {
                found.push(id, at, at + 1);
                at += 1;
            };
            let piece = if rules.single { None } else { tables.find(text) };
            if let Some(id) = piece {
                found.push(id, start, end);
            } else if !lookup.spell(text, &mut spell)
                && let Some(id) = lookup.named(tables, text).or(rules.unk)
            {
                found.push(id, start, end);
            }
            found.reverse_from(before);
        } else {
            found.push(id, start, end);
        }
        end = start;
    }
    found.reverse_from(first);
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
