//! Finds added tokens in a text.

use std::borrow::Cow;

use kinglet_formats::tokenizer::{ClassMap, added_flags, class_flags};

/// Added tokens, in the order of their contents' bytes.
#[derive(Debug, Default)]
pub(super) struct AddedSet {
    entries: Vec<Entry>,
    contents: String,
    /// Entries whose content begins with byte `b` are `starts[b]..starts[b + 1]`.
    starts: Vec<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    from: usize,
    to: usize,
    id: u32,
    flags: u8,
}

/// Which special tokens are found in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Specials {
    /// None: what looks like one is text.
    None,
    All,
    /// The one with this id.
    One(u32),
}

impl Specials {
    fn takes(self, id: u32) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::One(one) => one == id,
        }
    }
}

impl From<bool> for Specials {
    fn from(all: bool) -> Self {
        if all { Self::All } else { Self::None }
    }
}

/// A part of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found<'t> {
    /// An added token.
    Token(u32),
    /// Text between added tokens, never empty.
    Text(&'t str),
}

impl AddedSet {
    pub(super) fn new<'c>(tokens: impl Iterator<Item = (Cow<'c, str>, u32, u8)>) -> AddedSet {
        let mut tokens: Vec<_> = tokens.filter(|(content, ..)| !content.is_empty()).collect();
        tokens.sort_by(|a, b| a.0.as_bytes().cmp(b.0.as_bytes()));
        tokens.dedup_by(|a, b| a.0 == b.0);
        let mut set = AddedSet::default();
        let mut counts = [0u32; 256];
        for (content, id, flags) in tokens {
            counts[content.as_bytes()[0] as usize] += 1;
            let from = set.contents.len();
            set.contents.push_str(&content);
            set.entries.push(Entry { from, to: set.contents.len(), id, flags });
        }
        if !set.entries.is_empty() {
            let sums = counts.iter().scan(0, |sum, &count| {
                *sum += count;
                Some(*sum)
            });
            set.starts = std::iter::once(0).chain(sums).collect();
        }
        set
    }

    /// The parts of `text` with the byte offset of each. Special tokens are parts only if
    /// `specials` has them; where another one stands it is text, and no other token is looked for in
    /// it.
    pub(super) fn split<'t>(
        &'t self,
        text: &'t str,
        specials: Specials,
        classes: Option<ClassMap<'t>>,
    ) -> Split<'t> {
        Split { set: self, text, specials, classes, scanned: 0, given: 0, token: None }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Id and length of the longest token that begins at `at`.
    pub(super) fn longest(&self, text: &[u8], at: usize) -> Option<(u32, usize)> {
        let entry = (!self.is_empty() && at < text.len()).then(|| self.longest_at(text, at))??;
        Some((entry.id, entry.to - entry.from))
    }

    fn content(&self, entry: &Entry) -> &[u8] {
        self.contents.as_bytes().get(entry.from..entry.to).unwrap_or_default()
    }

    /// The longest token that begins at `at`.
    fn longest_at(&self, text: &[u8], at: usize) -> Option<&Entry> {
        let first = text[at] as usize;
        let (mut low, mut high) = (self.starts[first] as usize, self.starts[first + 1] as usize);
        let mut longest = None;
        let mut depth = 1;
        while low < high {
            // The entries between agree in `depth` bytes; the shortest comes first.
            if self.content(&self.entries[low]).len() == depth {
                longest = Some(&self.entries[low]);
                low += 1;
            }
            let Some(&byte) = text.get(at + depth) else { break };
            let range = &self.entries[low..high];
            let at_depth = |entry: &Entry| self.content(entry).get(depth).copied();
            let below = range.partition_point(|entry| at_depth(entry) < Some(byte));
            let upto = range.partition_point(|entry| at_depth(entry) <= Some(byte));
            (low, high) = (low + below, low + upto);
            depth += 1;
        }
        longest
    }
}

/// The parts of a text.
#[derive(Debug)]
pub(super) struct Split<'t> {
    set: &'t AddedSet,
    text: &'t str,
    specials: Specials,
    classes: Option<ClassMap<'t>>,
    /// Where the search goes on.
    scanned: usize,
    /// What has been given out.
    given: usize,
    /// A token that comes next, and where it begins.
    token: Option<(u32, usize)>,
}

impl<'t> Split<'t> {
    fn is_word(&self, c: Option<char>) -> bool {
        let is_word = |c| match self.classes {
            Some(classes) => classes.class(c) & class_flags::WORD != 0,
            None => c.is_alphanumeric() || c == '_',
        };
        c.is_some_and(is_word)
    }

    /// The next token: its id, where it begins and ends with the white space it takes along.
    fn next_token(&mut self) -> Option<(u32, usize, usize)> {
        let bytes = self.text.as_bytes();
        if self.set.entries.is_empty() {
            return None;
        }
        while self.scanned < bytes.len() {
            let start = self.scanned;
            let Some(entry) = self.set.longest_at(bytes, start) else {
                self.scanned += 1;
                continue;
            };
            let end = start + (entry.to - entry.from);
            self.scanned = end;
            let has = |flag| entry.flags & flag != 0;
            if has(added_flags::SPECIAL) && !self.specials.takes(entry.id) {
                continue;
            }
            let (Some(before), Some(behind)) = (self.text.get(..start), self.text.get(end..))
            else {
                continue;
            };
            if has(added_flags::SINGLE_WORD)
                && (self.is_word(before.chars().next_back()) || self.is_word(behind.chars().next()))
            {
                continue;
            }
            let (mut from, mut to) = (start, end);
            if has(added_flags::LSTRIP) {
                let free = self.text.get(self.given.min(start)..start).unwrap_or_default();
                from -= free.len() - free.trim_end().len();
            }
            if has(added_flags::RSTRIP) {
                to += behind.len() - behind.trim_start().len();
            }
            return Some((entry.id, from, to));
        }
        None
    }
}

impl<'t> Iterator for Split<'t> {
    type Item = (Found<'t>, usize);

    fn next(&mut self) -> Option<Self::Item> {
        if let Some((id, at)) = self.token.take() {
            return Some((Found::Token(id), at));
        }
        let from = self.given;
        match self.next_token() {
            Some((id, start, end)) => {
                self.given = end.max(from);
                if from < start {
                    self.token = Some((id, start));
                    Some((Found::Text(self.text.get(from..start)?), from))
                } else {
                    Some((Found::Token(id), start))
                }
            }
            None => {
                self.given = self.text.len();
                let rest = self.text.get(from..).filter(|rest| !rest.is_empty())?;
                Some((Found::Text(rest), from))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use added_flags::{LSTRIP, RSTRIP, SINGLE_WORD, SPECIAL};

    fn split<'t>(set: &'t AddedSet, text: &'t str, special: bool) -> Vec<Found<'t>> {
        set.split(text, special.into(), None).map(|(found, _)| found).collect()
    }

    fn set(tokens: &[(&'static str, u8)]) -> AddedSet {
        AddedSet::new((0..).zip(tokens).map(|(id, &(text, flags))| (text.into(), id, flags)))
    }

    #[test]
    fn longest_token_wins() {
        use Found::{Text, Token};
        let set = set(&[("<a>", 0), ("<a>b", 0), ("<", 0), ("\n\n", 0)]);
        assert_eq!(
            split(&set, "x<a>bc<a<a>\n\n\n", true),
            [Text("x"), Token(1), Text("c"), Token(2), Text("a"), Token(0), Token(3), Text("\n")]
        );
        assert_eq!(split(&set, "", true), []);
    }

    #[test]
    fn special_tokens_are_text_unless_asked_for() {
        use Found::{Text, Token};
        let set = set(&[("<|end|>", SPECIAL), ("<|", 0), ("|>", 0)]);
        assert_eq!(split(&set, "a<|end|>b", true), [Text("a"), Token(0), Text("b")]);
        assert_eq!(split(&set, "a<|end|>b", false), [Text("a<|end|>b")]);
        assert_eq!(split(&set, "<|en", false), [Token(1), Text("en")]);
    }

    #[test]
    fn white_space_and_word_boundaries() {
        use Found::{Text, Token};
        let set = set(&[("<l>", LSTRIP), ("<r>", RSTRIP), ("word", SINGLE_WORD)]);
        assert_eq!(
            split(&set, "a  <l>  <r>  b", true),
            [Text("a"), Token(0), Text("  "), Token(1), Text("b")]
        );
        assert_eq!(split(&set, "<r>   <l>", true), [Token(1), Token(0)]);
        assert_eq!(
            split(&set, "words word sword", true),
            [Text("words "), Token(2), Text(" sword")]
        );
    }
}
