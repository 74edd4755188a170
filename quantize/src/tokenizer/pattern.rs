//! Compiles patterns into automata over character classes.
//!
//! The syntax is Oniguruma's as far as [`oniguruma`] brings it into that of our parser, with a
//! look-ahead of one character, `(?=X)` and `(?!X)`. A match is the leftmost one, alternatives in the order they are written, as a backtracking engine would find.

use std::collections::HashMap;

use kinglet_formats::tokenizer::automaton_bytes;
use regex_syntax::hir::{Class, Hir, HirKind, Look};

use super::{CompileError, oniguruma};

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
        .parse(&oniguruma::translated(pattern).map_err(bad)?)
        .map_err(|e| bad(e.to_string()))?;
    if min_len(&hir) == 0 {
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

/// Whether a group stands for a look-ahead, and which.
fn look(name: Option<&str>) -> Option<bool> {
    let name = name?;
    name.starts_with("unless").then_some(true).or(name.starts_with("ahead").then_some(false))
}

/// Fewest characters of a match, at most 1. The depth of the recursion is bounded by the parser's
/// nesting limit.
fn min_len(hir: &Hir) -> usize {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => 0,
        HirKind::Literal(_) | HirKind::Class(_) => 1,
        HirKind::Capture(capture) => match look(capture.name.as_deref()) {
            Some(_) => 0,
            None => min_len(&capture.sub),
        },
        HirKind::Repetition(repetition) => min_len(&repetition.sub).min(repetition.min as usize),
        HirKind::Concat(parts) => parts.iter().map(min_len).max().unwrap_or(0),
        HirKind::Alternation(choices) => choices.iter().map(min_len).min().unwrap_or(0),
    }
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
            HirKind::Capture(capture) => match look(capture.name.as_deref()) {
                Some(negated) => {
                    let set = single_character(&capture.sub)
                        .ok_or("looks ahead for more than one character")?;
                    self.ahead(set, negated, negated, next)
                }
                None => self.add(&capture.sub, next),
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

    /// Oniguruma's own results.
    #[test]
    fn possessive_marks_give_nothing_back() {
        assert_eq!(find(r"\s++$|\s+(?!\S)|\s", "a  \n b  "), ["  \n", " ", "  "]);
        assert_eq!(find("a++a|b", "aaab"), ["b"]);
        assert_eq!(find("a?+a|b", "aab a"), ["aa", "b"]);
        assert_eq!(find("[ab]*+b|c", "abc"), ["c"]);
        assert_eq!(find("a{1,3}+", "aaaaa b"), ["aaaaa"]);
        assert_eq!(find("a{2}?", "aaaaa"), ["aa", "aa"]);
    }

    /// What single constructs match; `tests/reference/oniguruma.py` writes it.
    #[test]
    fn classes_are_those_of_the_reference() {
        let path =
            concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/goldens/tokenizers/oniguruma.json");
        let json = std::fs::read_to_string(path).unwrap();
        let golden: serde_json::Value = serde_json::from_str(&json).unwrap();
        let ranges = |value: &serde_json::Value| -> Vec<(u32, u32)> {
            let number = |value: &serde_json::Value| value.as_u64().unwrap() as u32;
            value.as_array().unwrap().iter().map(|r| (number(&r[0]), number(&r[1]))).collect()
        };
        let known = ranges(&golden["known"]);
        let text: String =
            known.iter().flat_map(|&(a, b)| a..=b).filter_map(char::from_u32).collect();
        for (pattern, expected) in golden["members"].as_object().unwrap() {
            let found: Vec<u32> = find(pattern, &text).concat().chars().map(u32::from).collect();
            let expected: Vec<u32> =
                ranges(expected).into_iter().flat_map(|(a, b)| a..=b).collect();
            let expected: Vec<u32> = expected
                .into_iter()
                .filter(|c| known.iter().any(|(a, b)| a <= c && c <= b))
                .collect();
            let odd: Vec<&u32> =
                found.iter().filter(|c| expected.binary_search(c).is_err()).collect();
            let missing: Vec<&u32> =
                expected.iter().filter(|c| found.binary_search(c).is_err()).collect();
            assert!(
                odd.is_empty() && missing.is_empty(),
                "{pattern}: odd {odd:x?}, missing {missing:x?}"
            );
        }
    }

    #[test]
    fn what_cannot_be_compiled_is_an_error() {
        for pattern in [
            "(?<!a)b",
            "a(?!bc)",
            r"(a)\1",
            "a*",
            "^a",
            r"\bx",
            "((a{500}){500}){500}",
            "(ab)++",
            "(?>a+)b",
            "(?m)a.b",
            "(?x) a",
            "[a~~b]",
            "[+--]",
            "[[:none:]]",
            "(?i:ss)",
            r"\Ra",
            "a*+",
            "(?=a)b*",
        ] {
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
