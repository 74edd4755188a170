//! Byte-pair encoding of one word.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use kinglet_formats::tokenizer::hash::PieceHash;
use kinglet_formats::tokenizer::{Bpe, MergeOrder, Tables, flags};

use super::found::FoundTokens;
use super::lookup::{Lookup, NONE};

/// Words up to this many symbols are merged by searching all pairs, longer ones with a heap.
const SHORT_WORD: usize = 48;

/// Longest run of text handled as one word; offsets inside one are `u32`.
const MAX_WORD: usize = 1 << 30;

/// How often the parts of an unused piece are taken apart again.
const MAX_CUTS: usize = 100;

/// A symbol: a piece and the bytes of the word it covers.
#[derive(Clone, Copy, Debug)]
struct Symbol {
    id: u32,
    start: u32,
    /// 0 once merged into its left neighbour.
    len: u32,
    prev: u32,
    next: u32,
}

/// Working memory.
#[derive(Default)]
pub(super) struct Scratch {
    symbols: Vec<Symbol>,
    /// Rank and result of merging symbol `i` with its right neighbour.
    pairs: Vec<(u32, u32)>,
    /// Rank, position, length and result of possible merges, best first.
    heap: BinaryHeap<Reverse<(u32, u32, u32, u32)>>,
    affixed: Vec<u8>,
    /// How many bytes the left part of an unused piece has, by its id: its last merge.
    cuts: HashMap<u32, u32>,
    /// Parts of unused pieces still to be looked at: from, to, how often they were cut.
    parts: Vec<(usize, usize, usize)>,
}

impl Scratch {
    pub(super) fn capacity(&self) -> usize {
        self.symbols.capacity() + self.pairs.capacity() + self.heap.capacity()
    }
}

/// Appends the tokens of a word.
pub(super) fn encode(
    options: &Bpe,
    lookup: &Lookup,
    tables: &Tables<'_>,
    word: &str,
    scratch: &mut Scratch,
    found: &mut FoundTokens<'_>,
) {
    scratch.cuts.clear();
    let first = found.len();
    let mut rest = word;
    while !rest.is_empty() {
        let at = word.len() - rest.len();
        let mut end = match options.word_mark {
            Some(mark) => next_word_mark(rest, mark),
            None => rest.len(),
        };
        if end > MAX_WORD {
            end = (0..=MAX_WORD).rev().find(|&at| rest.is_char_boundary(at)).unwrap_or(rest.len());
        }
        let (part, behind) = rest.split_at(end);
        rest = behind;
        let word = Word { options, lookup, tables, text: part.as_bytes(), at, first };
        word.encode(part, scratch, found);
    }
}

/// Where the first word mark follows something else.
fn next_word_mark(text: &str, mark: char) -> usize {
    let first = text.find(|c| c != mark).unwrap_or(text.len());
    let (_, behind) = text.split_at(first);
    behind.find(mark).map_or(text.len(), |at| first + at)
}

struct Word<'a> {
    options: &'a Bpe,
    lookup: &'a Lookup,
    tables: &'a Tables<'a>,
    text: &'a [u8],
    /// Where it begins in the whole word.
    at: usize,
    /// Number of the whole word's first token.
    first: usize,
}

impl Word<'_> {
    fn encode(&self, word: &str, scratch: &mut Scratch, found: &mut FoundTokens<'_>) {
        if self.options.ignore_merges
            && let Some(id) = self.tables.find(self.text)
        {
            found.push(id, self.at, self.at + word.len());
            return;
        }
        scratch.symbols.clear();
        if !self.lookup.whole.is_empty() {
            self.add_symbols(self.units(word), scratch);
        } else if self.options.byte_level {
            self.add_symbols((0..word.len()).map(|at| (at, at + 1)), scratch);
        } else {
            let ends = word.char_indices().map(|(at, c)| (at, at + c.len_utf8()));
            self.add_symbols(ends, scratch);
        }
        if scratch.symbols.len() <= SHORT_WORD {
            self.merge_short(scratch);
        } else {
            self.merge_long(scratch);
        }
        let mut symbols = scratch.symbols.iter().filter(|symbol| symbol.len > 0).peekable();
        while let Some(symbol) = symbols.next() {
            let from = symbol.start as usize;
            let mut to = from + symbol.len as usize;
            if symbol.id == NONE {
                // All neighbours together may be the name of an id.
                while self.lookup.has_names
                    && let Some(next) = symbols.next_if(|next| next.id == NONE)
                {
                    to += next.len as usize;
                }
                // Merging by rank leaves characters without a piece to the end.
                self.unknown(from, to, found);
            } else if self.is_unused(symbol.id) {
                self.take_apart((from, to), &scratch.cuts, &mut scratch.parts, found);
            } else {
                found.push(symbol.id, self.at + from, self.at + to);
            }
        }
    }

    fn is(&self, id: u32, flag: u8) -> bool {
        self.tables.flags(id) & flag != 0
    }

    fn is_unused(&self, id: u32) -> bool {
        self.lookup.has_unused && self.is(id, flags::UNUSED)
    }

    /// Characters, and pieces that are always found whole.
    fn units(&self, word: &str) -> impl Iterator<Item = (usize, usize)> {
        let mut from = 0;
        std::iter::from_fn(move || {
            let width = word.get(from..)?.chars().next()?.len_utf8();
            let whole = self.lookup.whole.longest(self.text, from);
            let unit = (from, from + whole.map_or(width, |(_, len)| len));
            from = unit.1;
            Some(unit)
        })
    }

    /// What the vocabulary cannot say: byte tokens, or one unknown token for all neighbours.
    fn unknown(&self, from: usize, to: usize, found: &mut FoundTokens<'_>) {
        let bytes = self.text.get(from..to).unwrap_or_default();
        let mut at = self.at + from;
        let spell = |id| {
            found.push(id, at, at + 1);
            at += 1;
        };
        if !self.lookup.spell(bytes, spell)
            && let Some(unk) = self.lookup.named(self.tables, bytes).or(self.options.unk)
        {
            let (from, to) = (self.at + from, self.at + to);
            if !(self.options.fuse_unk && found.extend(self.first, unk, to)) {
                found.push(unk, from, to);
            }
        }
    }

    /// An unused piece gives way to the two that merged into it last, and so on.
    fn take_apart(
        &self,
        piece: (usize, usize),
        cuts: &HashMap<u32, u32>,
        parts: &mut Vec<(usize, usize, usize)>,
        found: &mut FoundTokens<'_>,
    ) {
        parts.clear();
        parts.push((piece.0, piece.1, 0));
        while let Some((from, to, depth)) = parts.pop() {
            let id = self.tables.find(self.text.get(from..to).unwrap_or_default());
            match id {
                Some(id) if !self.is_unused(id) || depth > MAX_CUTS => {
                    found.push(id, self.at + from, self.at + to);
                }
                Some(id) if let Some(&len) = cuts.get(&id) => {
                    let middle = from + len as usize;
                    parts.push((middle, to, depth + 1));
                    parts.push((from, middle, depth + 1));
                }
                _ => self.unknown(from, to, found),
            }
        }
    }

    /// One symbol for each unit (a byte or a character) of the word.
    fn add_symbols(&self, units: impl Iterator<Item = (usize, usize)>, scratch: &mut Scratch) {
        let by_rank = self.options.merges == MergeOrder::PieceRank;
        // An unknown unit waits here for more of them.
        let mut unknown: Option<(usize, usize)> = None;
        for (from, to) in units {
            let id = self.unit_id(from, to, &mut scratch.affixed);
            if id != NONE || by_rank {
                self.flush(&mut unknown, &mut scratch.symbols);
                push(&mut scratch.symbols, id, from, to);
                continue;
            }
            let bytes = &self.text[from..to];
            let mut at = from;
            // Spelled bytes do not end a run of unknown units.
            if self.options.byte_fallback
                && self.lookup.spell(bytes, |id| {
                    push(&mut scratch.symbols, id, at, at + 1);
                    at += 1;
                })
            {
                continue;
            }
            if self.options.unk.is_some() {
                match &mut unknown {
                    Some(run) if self.options.fuse_unk => run.1 = to,
                    _ => {
                        self.flush(&mut unknown, &mut scratch.symbols);
                        unknown = Some((from, to));
                    }
                }
            }
        }
        self.flush(&mut unknown, &mut scratch.symbols);
    }

    fn flush(&self, unknown: &mut Option<(usize, usize)>, symbols: &mut Vec<Symbol>) {
        if let (Some((from, to)), Some(unk)) = (unknown.take(), self.options.unk) {
            push(symbols, unk, from, to);
        }
    }

    /// The id of a unit with its prefix and suffix.
    fn unit_id(&self, from: usize, to: usize, affixed: &mut Vec<u8>) -> u32 {
        let unit = &self.text[from..to];
        let prefix = self.options.prefix.as_deref().filter(|_| from > 0);
        let suffix = self.options.suffix.as_deref().filter(|_| to == self.text.len());
        if prefix.is_none() && suffix.is_none() {
            let id = match unit {
                &[byte] => self.lookup.bytes[byte as usize],
                _ => self.tables.find(unit).unwrap_or(NONE),
            };
            return if self.lookup.is_name(self.tables, id) { NONE } else { id };
        }
        affixed.clear();
        affixed.extend_from_slice(prefix.unwrap_or_default().as_bytes());
        affixed.extend_from_slice(unit);
        affixed.extend_from_slice(suffix.unwrap_or_default().as_bytes());
        self.tables.find(affixed).unwrap_or(NONE)
    }

    /// Rank and result of merging two neighbours.
    #[inline]
    fn merge(
        &self,
        left: &Symbol,
        right: &Symbol,
        cuts: &mut HashMap<u32, u32>,
    ) -> Option<(u32, u32)> {
        match self.options.merges {
            MergeOrder::Table => self.tables.merge(left.id, right.id),
            MergeOrder::PieceRank => {
                let whole = |symbol: &Symbol| self.is(symbol.id, flags::WHOLE);
                if !self.lookup.whole.is_empty() && (whole(left) || whole(right)) {
                    return None;
                }
                let (from, len) = (left.start as usize, (left.len + right.len) as usize);
                if len > self.tables.max_piece_len() {
                    return None;
                }
                let bytes = self.text.get(from..from + len)?;
                let hash = PieceHash::of(bytes);
                let id = self.tables.find_hashed(hash, len, |found| found == bytes)?;
                let rank = self.tables.rank(id)?;
                if self.is_unused(id) {
                    cuts.insert(id, left.len);
                }
                Some((rank, id))
            }
        }
    }

    /// Merges the best pair, the leftmost of equals, until there is none.
    fn merge_short(&self, scratch: &mut Scratch) {
        let Scratch { symbols, pairs, cuts, .. } = scratch;
        let none = (u32::MAX, NONE);
        pairs.clear();
        let mut merge =
            |left: &Symbol, right: &Symbol| self.merge(left, right, cuts).unwrap_or(none);
        pairs.extend(symbols.windows(2).map(|two| merge(&two[0], &two[1])));
        loop {
            let mut best = (u32::MAX, usize::MAX);
            for (at, pair) in pairs.iter().enumerate() {
                if pair.1 != NONE && (pair.0, at) < best {
                    best = (pair.0, at);
                }
            }
            let at = best.1;
            if at == usize::MAX {
                return;
            }
            let right = symbols.remove(at + 1);
            symbols[at].id = pairs[at].1;
            symbols[at].len += right.len;
            pairs.remove(at);
            if at > 0 {
                pairs[at - 1] = merge(&symbols[at - 1], &symbols[at]);
            }
            if at + 1 < symbols.len() {
                pairs[at] = merge(&symbols[at], &symbols[at + 1]);
            }
        }
    }

    /// The same with a heap of possible merges and a linked list of symbols.
    fn merge_long(&self, scratch: &mut Scratch) {
        let Scratch { symbols, heap, cuts, .. } = scratch;
        heap.clear();
        let last = symbols.len().saturating_sub(1);
        for (at, symbol) in symbols.iter_mut().enumerate() {
            symbol.prev = (at as u32).wrapping_sub(1);
            symbol.next = if at == last { NONE } else { at as u32 + 1 };
        }
        let mut offer = |heap: &mut BinaryHeap<_>, symbols: &[Symbol], left: u32, right: u32| {
            let (Some(a), Some(b)) = (symbols.get(left as usize), symbols.get(right as usize))
            else {
                return;
            };
            if let Some((rank, id)) = self.merge(a, b, cuts) {
                heap.push(Reverse((rank, left, a.len + b.len, id)));
            }
        };
        for at in 1..symbols.len() as u32 {
            offer(heap, symbols, at - 1, at);
        }
        while let Some(Reverse((_, at, len, id))) = heap.pop() {
            let left = symbols[at as usize];
            let Some(&right) = symbols.get(left.next as usize) else { continue };
            // A symbol on either side has changed since this merge was offered.
            if left.len == 0 || left.len + right.len != len {
                continue;
            }
            symbols[left.next as usize].len = 0;
            if let Some(behind) = symbols.get_mut(right.next as usize) {
                behind.prev = at;
            }
            let merged = &mut symbols[at as usize];
            (merged.id, merged.len, merged.next) = (id, len, right.next);
            offer(heap, symbols, left.prev, at);
            offer(heap, symbols, at, right.next);
        }
    }
}

fn push(symbols: &mut Vec<Symbol>, id: u32, from: usize, to: usize) {
    let (start, len) = (from as u32, (to - from) as u32);
    symbols.push(Symbol { id, start, len, prev: NONE, next: NONE });
}
