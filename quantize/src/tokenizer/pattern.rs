//! Compiles patterns into automata over character classes.
//!
//! The syntax is that of the `regex` crate plus what tokenizers add: possessive quantifiers
//! (taken as greedy ones) and a look-ahead of one character, `(?=X)` and `(?!X)`. A match is the
//! leftmost one, alternatives in the order they are written, as a backtracking engine would find.

use std::collections::HashMap;

use kinglet_formats::tokenizer::automaton_bytes;
use regex_syntax::hir::{Class, Hir, HirKind, Look};

use super::CompileError;

/// Most nodes of the intermediate, nondeterministic automaton.
const MAX_NODES: usize = 20_000;
/// Most states of the finished automaton.
const MAX_STATES: usize = 4_000;
/// Most bytes of a pattern.
const MAX_PATTERN: usize = 16_384;

/// Compiles a regular expression.
pub(super) fn compile(pattern: &str) -> Result<Vec<u8>, CompileError> {
    let bad = |reason: String| CompileError::Pattern { pattern: pattern.to_owned(), reason };
    if pattern.len() > MAX_PATTERN {
        return Err(bad(format!("longer than {MAX_PATTERN} bytes")));
    }
    let hir = regex_syntax::ParserBuilder::new()
        .multi_line(true)
        .nest_limit(64)
        .build()
        .parse(&portable(pattern))
        .map_err(|e| bad(e.to_string()))?;
    if hir.properties().minimum_len() == Some(0) {
        return Err(bad("can match nothing at all".into()));
    }
    let mut nodes = Nodes::default();
    nodes.push(Node::Match).map_err(bad)?;
    let start = nodes.add(&hir, 0).map_err(bad)?;
    let alphabet = Alphabet::of(&nodes.sets).map_err(bad)?;
    determinize(&nodes, start, &alphabet).map_err(bad)
}

/// Compiles a literal text.
pub(super) fn compile_literal(text: &str) -> Result<Vec<u8>, CompileError> {
    compile(&regex_syntax::escape(text))
}

/// Compiles "one character of this kind".
pub(super) fn compile_class(is_member: impl Fn(char) -> bool) -> Result<Vec<u8>, CompileError> {
    let bad = |reason: String| CompileError::Pattern { pattern: "class".into(), reason };
    let set = ranges_of(is_member);
    let nodes = Nodes { list: vec![Node::Match, Node::Set { set: 0, next: 0 }], sets: vec![set] };
    let alphabet = Alphabet::of(&nodes.sets).map_err(bad)?;
    determinize(&nodes, 1, &alphabet).map_err(bad)
}

/// The code points for which `is_member` holds, as inclusive ranges.
pub(super) fn ranges_of(is_member: impl Fn(char) -> bool) -> Vec<(u32, u32)> {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for code in (0..=char::MAX as u32).filter(|&code| char::from_u32(code).is_some_and(&is_member))
    {
        match ranges.last_mut() {
            Some(last) if last.1 + 1 == code => last.1 = code,
            _ => ranges.push((code, code)),
        }
    }
    ranges
}

/// Rewrites what the parser does not know: the possessive mark behind `?`, `*`, `+` goes, and a
/// look-ahead becomes a group with a telling name.
fn portable(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + 16);
    let (mut depth, mut looks, mut quantified) = (0usize, 0, false);
    let mut rest = pattern;
    while let Some(c) = rest.chars().next() {
        let after = &rest[c.len_utf8()..];
        if c == '\\' {
            let escaped = after.chars().next().map_or(0, char::len_utf8);
            out.push_str(&rest[..1 + escaped]);
            rest = &after[escaped..];
            quantified = false;
            continue;
        }
        if depth == 0 && (rest.starts_with("(?!") || rest.starts_with("(?=")) {
            let name = if rest.starts_with("(?!") { "unless" } else { "ahead" };
            out.push_str(&format!("(?P<{name}{looks}>"));
            looks += 1;
            rest = &rest[3..];
            quantified = false;
            continue;
        }
        match c {
            '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 && c == '+' && quantified {
            quantified = false;
        } else {
            out.push(c);
            quantified = depth == 0 && matches!(c, '?' | '*' | '+') && !out.ends_with("(?");
        }
        rest = after;
    }
    out
}

type Set = Vec<(u32, u32)>;

/// A node of the nondeterministic automaton.
#[derive(Clone, Debug)]
enum Node {
    Match,
    /// One character of the set.
    Set {
        set: usize,
        next: usize,
    },
    /// Nothing, if the next character is in the set (or the text ends and `at_end` holds).
    Ahead {
        set: usize,
        negated: bool,
        at_end: bool,
        next: usize,
    },
    /// Nothing, the first choice preferred.
    Fork(Vec<usize>),
}

#[derive(Clone, Debug, Default)]
struct Nodes {
    list: Vec<Node>,
    sets: Vec<Set>,
}

impl Nodes {
    fn push(&mut self, node: Node) -> Result<usize, String> {
        if self.list.len() >= MAX_NODES {
            return Err(format!("needs more than {MAX_NODES} nodes"));
        }
        self.list.push(node);
        Ok(self.list.len() - 1)
    }

    fn set(&mut self, set: Set) -> usize {
        self.sets.iter().position(|known| *known == set).unwrap_or_else(|| {
            self.sets.push(set);
            self.sets.len() - 1
        })
    }

    /// Adds what matches `hir` and then goes on at `next`; gives the entry. The depth of the
    /// recursion is bounded by the parser's nesting limit.
    fn add(&mut self, hir: &Hir, next: usize) -> Result<usize, String> {
        match hir.kind() {
            HirKind::Empty => Ok(next),
            HirKind::Literal(literal) => {
                let text = str::from_utf8(&literal.0).map_err(|_| "matches raw bytes")?;
                let mut entry = next;
                for c in text.chars().rev() {
                    let set = self.set(vec![(c as u32, c as u32)]);
                    entry = self.push(Node::Set { set, next: entry })?;
                }
                Ok(entry)
            }
            HirKind::Class(class) => {
                let set = self.set(class_ranges(class));
                self.push(Node::Set { set, next })
            }
            HirKind::Look(Look::End) => self.ahead(Vec::new(), false, true, next),
            HirKind::Look(Look::EndLF) => self.ahead(vec![(0xa, 0xa)], false, true, next),
            HirKind::Look(look) => Err(format!("the anchor {look:?} is not supported")),
            HirKind::Capture(capture) => match capture.name.as_deref() {
                Some(name) if name.starts_with("unless") || name.starts_with("ahead") => {
                    let negated = name.starts_with("unless");
                    let set = single_character(&capture.sub)
                        .ok_or("looks ahead for more than one character")?;
                    self.ahead(set, negated, negated, next)
                }
                _ => self.add(&capture.sub, next),
            },
            HirKind::Repetition(repetition) => {
                let (sub, greedy) = (&repetition.sub, repetition.greedy);
                let mut entry = next;
                let fork = |body, skip| {
                    Node::Fork(if greedy { vec![body, skip] } else { vec![skip, body] })
                };
                match repetition.max {
                    None => {
                        let hub = self.push(Node::Fork(Vec::new()))?;
                        let body = self.add(sub, hub)?;
                        self.list[hub] = fork(body, next);
                        entry = hub;
                    }
                    Some(max) => {
                        for _ in repetition.min..max {
                            let body = self.add(sub, entry)?;
                            entry = self.push(fork(body, next))?;
                        }
                    }
                }
                for _ in 0..repetition.min {
                    entry = self.add(sub, entry)?;
                }
                Ok(entry)
            }
            HirKind::Concat(parts) => {
                parts.iter().rev().try_fold(next, |entry, part| self.add(part, entry))
            }
            HirKind::Alternation(choices) => {
                let choices: Result<Vec<usize>, String> =
                    choices.iter().map(|choice| self.add(choice, next)).collect();
                self.push(Node::Fork(choices?))
            }
        }
    }

    fn ahead(
        &mut self,
        set: Set,
        negated: bool,
        at_end: bool,
        next: usize,
    ) -> Result<usize, String> {
        let set = self.set(set);
        self.push(Node::Ahead { set, negated, at_end, next })
    }

    /// Follows forks from `entry` (and look-aheads, where the class of the next character is
    /// known) and appends what is found in order of preference.
    fn follow(
        &self,
        entry: usize,
        next: Option<(&Alphabet, usize)>,
        seen: &mut [bool],
        out: &mut Vec<usize>,
    ) {
        let mut stack = vec![entry];
        while let Some(at) = stack.pop() {
            if std::mem::replace(&mut seen[at], true) {
                continue;
            }
            match (&self.list[at], next) {
                (Node::Fork(choices), _) => stack.extend(choices.iter().rev()),
                (&Node::Ahead { set, negated, at_end, next: target }, Some((alphabet, class))) => {
                    let holds = if class == alphabet.end() {
                        at_end
                    } else {
                        alphabet.members[set][class] != negated
                    };
                    if holds {
                        stack.push(target);
                    }
                }
                _ => out.push(at),
            }
        }
    }
}

fn class_ranges(class: &Class) -> Set {
    match class {
        Class::Unicode(class) => class.iter().map(|r| (r.start() as u32, r.end() as u32)).collect(),
        Class::Bytes(class) => class.iter().map(|r| (r.start().into(), r.end().into())).collect(),
    }
}

fn single_character(hir: &Hir) -> Option<Set> {
    match hir.kind() {
        HirKind::Class(class) => Some(class_ranges(class)),
        HirKind::Literal(literal) => {
            let mut chars = str::from_utf8(&literal.0).ok()?.chars();
            let c = chars.next()? as u32;
            chars.next().is_none().then(|| vec![(c, c)])
        }
        _ => None,
    }
}

/// Code points with the same membership in every set are one class.
struct Alphabet {
    /// First code points and their classes, ascending from 0.
    ranges: Vec<(u32, u8)>,
    /// By set, by class.
    members: Vec<Vec<bool>>,
    n_classes: usize,
}

impl Alphabet {
    fn of(sets: &[Set]) -> Result<Alphabet, String> {
        // Where membership in a set changes: (code point, set, becomes a member).
        let mut changes: Vec<(u32, usize, bool)> = Vec::new();
        for (set, ranges) in sets.iter().enumerate() {
            for &(first, last) in ranges {
                changes.push((first, set, true));
                changes.push((last + 1, set, false));
            }
        }
        changes.sort_unstable();
        let mut signature = vec![false; sets.len()];
        let mut known: HashMap<Vec<bool>, u8> = HashMap::from([(signature.clone(), 0)]);
        let mut ranges = vec![(0u32, 0u8)];
        let mut at = 0;
        while at < changes.len() {
            let code = changes[at].0;
            while at < changes.len() && changes[at].0 == code {
                signature[changes[at].1] = changes[at].2;
                at += 1;
            }
            let fresh = known.len();
            let class = match known.get(&signature) {
                Some(&class) => class,
                None if fresh < 255 => {
                    known.insert(signature.clone(), fresh as u8);
                    fresh as u8
                }
                None => return Err("needs more than 255 classes of characters".into()),
            };
            match ranges.last_mut() {
                Some(last) if last.0 == code => last.1 = class,
                Some(last) if last.1 == class => {}
                _ => ranges.push((code, class)),
            }
        }
        ranges.retain(|range| range.0 <= char::MAX as u32);
        let mut members = vec![vec![false; known.len()]; sets.len()];
        for (signature, &class) in &known {
            for (set, &is_member) in signature.iter().enumerate() {
                members[set][class as usize] = is_member;
            }
        }
        Ok(Alphabet { ranges, members, n_classes: known.len() })
    }

    /// The class of the end of the text.
    fn end(&self) -> usize {
        self.n_classes
    }
}

/// The classes of the ASCII characters and the ranges from U+0080 on.
pub(super) fn split_ranges(ranges: &[(u32, u8)]) -> ([u8; 128], Vec<(u32, u8)>) {
    let class = |code: u32| match ranges.partition_point(|range| range.0 <= code) {
        0 => 0,
        after => ranges[after - 1].1,
    };
    let ascii = std::array::from_fn(|code| class(code as u32));
    let mut wide = vec![(0x80, class(0x80))];
    wide.extend(ranges.iter().filter(|range| range.0 > 0x80));
    (ascii, wide)
}

/// Builds the deterministic automaton by following all choices at once, in order of preference; a
/// match cuts off everything less preferred.
fn determinize(nodes: &Nodes, start: usize, alphabet: &Alphabet) -> Result<Vec<u8>, String> {
    let fresh = || vec![false; nodes.list.len()];
    let mut first = Vec::new();
    nodes.follow(start, None, &mut fresh(), &mut first);
    // State 0 has failed.
    let mut states: Vec<Vec<usize>> = vec![Vec::new(), first.clone()];
    let mut numbers: HashMap<Vec<usize>, u16> = HashMap::from([(Vec::new(), 0), (first, 1)]);
    let mut transitions = vec![(0u16, false); alphabet.n_classes + 1];
    let mut at = 1;
    while at < states.len() {
        for class in 0..=alphabet.n_classes {
            let mut now = Vec::new();
            let mut seen = fresh();
            for &node in &states[at] {
                nodes.follow(node, Some((alphabet, class)), &mut seen, &mut now);
            }
            let (mut target, mut is_match, mut seen) = (Vec::new(), false, fresh());
            for node in now {
                match nodes.list[node] {
                    Node::Match => {
                        is_match = true;
                        break;
                    }
                    Node::Set { set, next }
                        if class != alphabet.end() && alphabet.members[set][class] =>
                    {
                        nodes.follow(next, None, &mut seen, &mut target);
                    }
                    _ => {}
                }
            }
            let number = match numbers.get(&target) {
                Some(&number) => number,
                None => {
                    if states.len() >= MAX_STATES {
                        return Err(format!("needs more than {MAX_STATES} states"));
                    }
                    let number = states.len() as u16;
                    numbers.insert(target.clone(), number);
                    states.push(target);
                    number
                }
            };
            transitions.push((number, is_match));
        }
        at += 1;
    }
    let (ascii, wide) = split_ranges(&alphabet.ranges);
    Ok(automaton_bytes(alphabet.n_classes + 1, &ascii, &wide, &transitions))
}

#[cfg(test)]
mod tests {
    use super::*;
    use kinglet_formats::tokenizer::Automaton;

    fn find<'t>(pattern: &str, text: &'t str) -> Vec<&'t str> {
        let bytes = compile(pattern).unwrap();
        let automaton = Automaton::read(&bytes).unwrap();
        automaton.matches(text).map(|(from, to)| &text[from..to]).collect()
    }

    const GPT2: &str =
        r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

    #[test]
    fn gpt2_pattern() {
        assert_eq!(
            find(GPT2, "I've  got 12\u{a0}été's\n\n x"),
            ["I", "'ve", " ", " got", " 12", "\u{a0}", "été", "'s", "\n\n", " x"]
        );
        assert_eq!(find(GPT2, "a   "), ["a", "   "]);
        assert_eq!(find(GPT2, "   b"), ["  ", " b"]);
        assert_eq!(find(GPT2, ""), [""; 0]);
    }

    #[test]
    fn preference_is_the_order_of_alternatives() {
        assert_eq!(find("a|ab", "ab"), ["a"]);
        assert_eq!(find("ab|a", "ab"), ["ab"]);
        assert_eq!(find("a*?b", "aab"), ["aab"]);
        assert_eq!(find("(a+?)(a|b)", "aaab"), ["aa", "ab"]);
        assert_eq!(find("(?i:'S)", "'s 'S 'ſ"), ["'s", "'S", "'ſ"]);
    }

    #[test]
    fn possessive_marks_and_look_ahead() {
        assert_eq!(find(r"[^\r\n\p{L}]?+\p{L}++", "(ab"), ["(ab"]);
        assert_eq!(find(r"\p{N}{1,3}+", "12345"), ["12345"]);
        assert_eq!(find("a(?=b)", "ab ac a"), ["a"]);
        assert_eq!(find("a(?!b)", "ab ac a"), ["a", "a"]);
        assert_eq!(find(r"a\z|b$", "a b\nb a"), ["b", "a"]);
    }

    #[test]
    fn what_cannot_be_compiled_is_an_error() {
        for pattern in ["(?<!a)b", "a(?!bc)", r"(a)\1", "a*", "^a", r"\bx", "((a{500}){500}){500}"]
        {
            assert!(compile(pattern).is_err(), "{pattern}");
        }
    }

    #[test]
    fn vain_looking_ahead_stays_linear() {
        // Each attempt reads on to the end in search of a `b`.
        let bytes = compile("a*b|a").unwrap();
        let text = "a".repeat(1 << 20);
        let started = std::time::Instant::now();
        let count = Automaton::read(&bytes).unwrap().matches(&text).count();
        assert_eq!(count, text.len());
        assert!(started.elapsed().as_secs() < 5);
    }
}
