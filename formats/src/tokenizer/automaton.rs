//! Patterns as automata over character classes.
//!
//! A pattern is compiled ahead of time into a deterministic automaton whose alphabet is a handful
//! of character classes. Running it needs no Unicode tables and no backtracking: one class look-up
//! and one table step per character.
//!
//! Bytes of an automaton, little-endian: `n_states`, `n_classes`, `n_ranges`, zero (u32 each);
//! the class of each ASCII character (128 bytes); `n_ranges` words `first code point | class << 24`
//! from U+0080 on, each up to the next one's start; `n_states * n_classes` transitions (u16): the
//! next state in the low 15 bits, bit 15 set when a match ends before the character. State 0 has
//! failed, state 1 begins. The last class is the end of the text.

use super::{FormatError, words::U32s};

const MATCH: u16 = 0x8000;
const START: usize = 1;
const HEADER: usize = 16;
const ASCII: usize = 128;

/// Characters an attempt may read past its match once the allowance is used up.
const SHORT_LOOK: usize = 64;

/// Code points to small numbers: 128 direct entries and sorted ranges above.
#[derive(Clone, Copy, Debug)]
pub struct ClassMap<'a> {
    ascii: &'a [u8],
    ranges: U32s<'a>,
}

impl<'a> ClassMap<'a> {
    /// Checks and borrows a map from its bytes.
    pub(super) fn read(bytes: &'a [u8]) -> Result<ClassMap<'a>, FormatError> {
        let map = ClassMap::borrow(bytes).ok_or(FormatError::BadClassMap)?;
        map.check(256)?;
        Ok(map)
    }

    /// Borrows a map that was checked before.
    pub(super) fn borrow(bytes: &'a [u8]) -> Option<ClassMap<'a>> {
        let (ascii, ranges) = bytes.split_at_checked(ASCII)?;
        Some(ClassMap { ascii, ranges: U32s::new(ranges) })
    }

    /// Checks that the ranges ascend from U+0080 on and every class is below `n_classes`.
    fn check(&self, n_classes: usize) -> Result<(), FormatError> {
        let mut previous = None;
        for word in self.ranges.iter() {
            let (first, class) = (word & 0x00ff_ffff, (word >> 24) as usize);
            let in_order = previous.map_or(first == 0x80, |p| p < first);
            if !in_order || first > char::MAX as u32 || class >= n_classes {
                return Err(FormatError::BadClassMap);
            }
            previous = Some(first);
        }
        if previous.is_none() || self.ascii.iter().any(|&class| class as usize >= n_classes) {
            return Err(FormatError::BadClassMap);
        }
        Ok(())
    }

    /// The class of a character.
    #[inline]
    pub fn class(&self, c: char) -> u8 {
        match self.ascii.get(c as usize) {
            Some(&class) => class,
            None => self.wide_class(c as u32),
        }
    }

    fn wide_class(&self, code: u32) -> u8 {
        // The last range that begins at or before the code point; range 0 begins at U+0080.
        let (mut low, mut high) = (0, self.ranges.len());
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if self.ranges.at(middle) & 0x00ff_ffff <= code {
                low = middle;
            } else {
                high = middle;
            }
        }
        (self.ranges.at(low) >> 24) as u8
    }
}

/// A compiled pattern.
#[derive(Clone, Copy, Debug)]
pub struct Automaton<'a> {
    classes: ClassMap<'a>,
    n_classes: usize,
    transitions: &'a [u8],
}

impl<'a> Automaton<'a> {
    /// Checks and borrows an automaton.
    pub fn read(bytes: &'a [u8]) -> Result<Automaton<'a>, FormatError> {
        let automaton = Automaton::borrow(bytes).ok_or(FormatError::BadAutomaton)?;
        // The end of the text is no character's class.
        automaton.classes.check(automaton.n_classes - 1)?;
        let n_states = automaton.transitions.len() / (2 * automaton.n_classes);
        for step in automaton.transitions.chunks_exact(2) {
            let next = u16::from_le_bytes([step[0], step[1]]) & !MATCH;
            if next as usize >= n_states {
                return Err(FormatError::BadAutomaton);
            }
        }
        Ok(automaton)
    }

    /// Borrows an automaton that was checked before: only the lengths are looked at.
    pub(super) fn borrow(bytes: &'a [u8]) -> Option<Automaton<'a>> {
        let header = U32s::new(bytes.get(..HEADER)?);
        let (n_states, n_classes) = (header.at(0) as usize, header.at(1) as usize);
        if n_states < 2 || n_states > MATCH as usize || !(2..=256).contains(&n_classes) {
            return None;
        }
        let ranges_len = (header.at(2) as usize).checked_mul(4)?;
        let (ascii, rest) = bytes.get(HEADER..)?.split_at_checked(ASCII)?;
        let (ranges, transitions) = rest.split_at_checked(ranges_len)?;
        let classes = ClassMap { ascii, ranges: U32s::new(ranges) };
        (transitions.len() == n_states * n_classes * 2).then_some(Automaton {
            classes,
            n_classes,
            transitions,
        })
    }

    /// All matches in `text` from left to right, none empty, none overlapping.
    pub fn matches<'t>(&self, text: &'t str) -> Matches<'a, 't> {
        let allowance = text.len().saturating_mul(8).saturating_add(1 << 12);
        Matches { automaton: *self, text, position: 0, allowance }
    }

    #[inline]
    fn step(&self, state: usize, class: usize) -> u16 {
        let at = (state * self.n_classes + class) * 2;
        match self.transitions.get(at..at + 2) {
            Some(step) => u16::from_le_bytes([step[0], step[1]]),
            None => 0,
        }
    }

    /// The end of the match that begins at `start`, and how far the search read.
    #[inline]
    fn match_at(&self, text: &str, start: usize, look: usize) -> (Option<usize>, usize) {
        let bytes = text.as_bytes();
        let (mut state, mut at, mut end) = (START, start, None);
        loop {
            let (class, width) = match bytes.get(at) {
                None => (self.n_classes - 1, 0),
                Some(&byte) if byte < 0x80 => (self.classes.class(byte as char) as usize, 1),
                Some(_) => match text.get(at..).and_then(|rest| rest.chars().next()) {
                    Some(c) => (self.classes.class(c) as usize, c.len_utf8()),
                    None => return (end, at),
                },
            };
            let step = self.step(state, class);
            if step & MATCH != 0 && at > start {
                end = Some(at);
            }
            state = (step & !MATCH) as usize;
            if state == 0 || width == 0 || at - end.unwrap_or(start) > look {
                return (end, at);
            }
            at += width;
        }
    }
}

/// The matches of an [`Automaton`] in a text, as byte ranges.
#[derive(Clone, Debug)]
pub struct Matches<'a, 't> {
    automaton: Automaton<'a>,
    text: &'t str,
    position: usize,
    /// Bytes that attempts may still read beyond what they match. A pattern that keeps looking far
    /// ahead in vain would otherwise cost quadratic time; beyond the allowance (many times the
    /// text) an attempt looks [`SHORT_LOOK`] bytes ahead.
    allowance: usize,
}

impl Iterator for Matches<'_, '_> {
    type Item = (usize, usize);

    fn next(&mut self) -> Option<(usize, usize)> {
        while self.position < self.text.len() {
            let start = self.position;
            let look = if self.allowance == 0 { SHORT_LOOK } else { usize::MAX };
            let (end, read) = self.automaton.match_at(self.text, start, look);
            self.allowance = self.allowance.saturating_sub(read - end.unwrap_or(start).min(read));
            match end {
                Some(end) => {
                    self.position = end;
                    return Some((start, end));
                }
                None => {
                    self.position += 1;
                    while !self.text.is_char_boundary(self.position) {
                        self.position += 1;
                    }
                }
            }
        }
        None
    }
}

/// Lays out the bytes of an automaton. `ranges` are `(first code point, class)` from U+0080 on;
/// `transitions` are `n_classes` entries a state, the last for the end of the text.
pub fn automaton_bytes(
    n_classes: usize,
    ascii: &[u8; 128],
    ranges: &[(u32, u8)],
    transitions: &[(u16, bool)],
) -> Vec<u8> {
    let n_states = transitions.len() / n_classes.max(1);
    let mut out = Vec::with_capacity(HEADER + ASCII + ranges.len() * 4 + transitions.len() * 2);
    for word in [n_states, n_classes, ranges.len(), 0] {
        out.extend_from_slice(&(word as u32).to_le_bytes());
    }
    class_map_bytes(ascii, ranges, &mut out);
    for &(next, is_match) in transitions {
        let word = next | if is_match { MATCH } else { 0 };
        out.extend_from_slice(&word.to_le_bytes());
    }
    out
}

/// Lays out a class map: 128 ASCII classes, then the ranges above.
pub fn class_map_bytes(ascii: &[u8; 128], ranges: &[(u32, u8)], out: &mut Vec<u8>) {
    out.extend_from_slice(ascii);
    for &(first, class) in ranges {
        out.extend_from_slice(&(first | (class as u32) << 24).to_le_bytes());
    }
}
