//! Cuts a normalized text into words.

use std::borrow::Cow;

use kinglet_formats::tokenizer::{
    Automaton, Layout, PreTokenizer, PrependScheme, SplitBehavior, byte_letter,
};

use super::Place;

type Span = (usize, usize);

/// Words of a text, as byte ranges. Kept between calls for its memory.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    spans: Vec<Span>,
    next: Vec<Span>,
}

impl Pieces {
    /// The words, as ranges of the text that [`Pieces::cut`] gave.
    pub(super) fn spans(&self) -> &[Span] {
        &self.spans
    }

    pub(super) fn capacity(&self) -> usize {
        self.spans.capacity() + self.next.capacity()
    }

    /// Applies all steps in order; gives the text that the spans refer to. `place`: where the
    /// text stands in the input.
    pub(super) fn cut<'t>(
        &mut self,
        steps: &[PreTokenizer],
        layout: &Layout,
        section: &[u8],
        text: &'t str,
        place: Place,
    ) -> Cow<'t, str> {
        let mut text = Cow::Borrowed(text);
        self.begin(&text);
        for step in steps {
            if let Some(rewritten) = self.step(step, layout, section, &text, place) {
                text = Cow::Owned(rewritten);
            }
        }
        text
    }

    /// Begins with the whole text as one word.
    pub(super) fn begin(&mut self, text: &str) {
        self.spans.clear();
        if !text.is_empty() {
            self.spans.push((0, text.len()));
        }
    }

    /// Applies one step; gives the text that the spans refer to, where it is another now.
    pub(super) fn step(
        &mut self,
        step: &PreTokenizer,
        layout: &Layout,
        section: &[u8],
        text: &str,
        place: Place,
    ) -> Option<String> {
        self.next.clear();
        let rewritten = self.apply(step, layout, section, text, place);
        std::mem::swap(&mut self.spans, &mut self.next);
        rewritten
    }

    /// Fills `next` from `spans`; gives the new text if the step rewrites it.
    fn apply(
        &mut self,
        step: &PreTokenizer,
        layout: &Layout,
        section: &[u8],
        text: &str,
        place: Place,
    ) -> Option<String> {
        match *step {
            PreTokenizer::Split { automaton, behavior, invert } => {
                match layout.automaton(section, automaton) {
                    Some(automaton) => {
                        for &span in &self.spans {
                            split(text, span, automaton, behavior, invert, &mut self.next);
                        }
                    }
                    None => self.next.extend_from_slice(&self.spans),
                }
                None
            }
            PreTokenizer::PrefixSpace => Some(self.rewrite(text, |piece, out| {
                // What stands first continues the text before.
                let continues = place == Place::Text && out.is_empty();
                if !piece.starts_with(' ') && !continues {
                    out.push(' ');
                }
                out.push_str(piece);
            })),
            PreTokenizer::ByteAlphabet => {
                Some(self.rewrite(text, |piece, out| out.extend(piece.bytes().map(byte_letter))))
            }
            PreTokenizer::Metaspace { replacement, prepend, split } => {
                Some(self.metaspace(text, place, replacement, prepend, split))
            }
            PreTokenizer::FixedLength { length } => {
                for &(from, to) in &self.spans {
                    let piece = text.get(from..to).unwrap_or_default();
                    let mut start = 0;
                    let ends = piece.char_indices().map(|(at, _)| at).skip(length as usize);
                    for end in ends.step_by(length.max(1) as usize).chain([piece.len()]) {
                        self.next.push((from + start, from + end));
                        start = end;
                    }
                }
                None
            }
        }
    }

    fn rewrite(&mut self, text: &str, mut piece_into: impl FnMut(&str, &mut String)) -> String {
        let mut out = String::with_capacity(text.len() + self.spans.len());
        for &(from, to) in &self.spans {
            let start = out.len();
            piece_into(text.get(from..to).unwrap_or_default(), &mut out);
            self.next.push((start, out.len()));
        }
        out
    }

    fn metaspace(
        &mut self,
        text: &str,
        place: Place,
        mark: char,
        prepend: PrependScheme,
        split: bool,
    ) -> String {
        let mut out = String::with_capacity(text.len() + text.len() / 4 + 3);
        for &(from, to) in &self.spans {
            let piece = text.get(from..to).unwrap_or_default();
            let mut start = out.len();
            let wanted = match prepend {
                PrependScheme::Always => place != Place::Text || from > 0,
                PrependScheme::First => place == Place::Start && from == 0,
                PrependScheme::Never => false,
            };
            if wanted && !piece.starts_with(' ') && !piece.starts_with(mark) {
                out.push(mark);
            }
            for c in piece.chars() {
                let is_mark = c == ' ' || c == mark;
                if is_mark && split && start < out.len() {
                    self.next.push((start, out.len()));
                    start = out.len();
                }
                out.push(if is_mark { mark } else { c });
            }
            if start < out.len() {
                self.next.push((start, out.len()));
            }
        }
        out
    }
}

/// Cuts one piece at the matches of an automaton.
fn split(
    text: &str,
    (from, to): Span,
    automaton: Automaton<'_>,
    behavior: SplitBehavior,
    invert: bool,
    out: &mut Vec<Span>,
) {
    let Some(piece) = text.get(from..to) else { return };
    let mut parts = Parts { behavior, invert, first: out.len(), was_match: false, held: None };
    let mut done = 0;
    for (start, end) in automaton.matches(piece) {
        if done < start {
            parts.add((from + done, from + start), false, out);
        }
        parts.add((from + start, from + end), true, out);
        done = end;
    }
    if done < piece.len() {
        parts.add((from + done, to), false, out);
    }
    if let Some(start) = parts.held {
        out.push((start, to));
    }
}

/// Joins matches and what lies between them as the behavior wants.
struct Parts {
    behavior: SplitBehavior,
    invert: bool,
    /// Where this piece's parts begin in the output.
    first: usize,
    was_match: bool,
    /// Where a match began that waits for what comes next.
    held: Option<usize>,
}

impl Parts {
    #[inline]
    fn add(&mut self, span: Span, is_match: bool, out: &mut Vec<Span>) {
        let is_match = is_match != self.invert;
        let joins_last = match self.behavior {
            SplitBehavior::Isolated => false,
            SplitBehavior::Removed if is_match => return,
            SplitBehavior::Removed => false,
            SplitBehavior::Contiguous => is_match == self.was_match,
            SplitBehavior::MergedWithPrevious => is_match && !self.was_match,
            SplitBehavior::MergedWithNext => {
                match (is_match, self.held.take()) {
                    (true, held) => {
                        out.extend(held.map(|start| (start, span.0)));
                        self.held = Some(span.0);
                    }
                    (false, held) => out.push((held.unwrap_or(span.0), span.1)),
                }
                return;
            }
        };
        self.was_match = is_match;
        let has_last = out.len() > self.first;
        match out.last_mut().filter(|_| joins_last && has_last) {
            Some(last) => last.1 = span.1,
            None => out.push(span),
        }
    }
}
