//! Labels of a text's words: names, places and the like.

use std::ops::Range;

use super::Task;
use super::classify::softmax;
use super::entities::{Aggregation, Found, Spelling, aggregate, without_overlaps};
use super::pass::Sequence;
use super::windows::{CharacterCounter, windows};
use crate::error::Error;
use crate::model::Model;
use crate::tokenizer::{Encoding, TextToken};

/// How texts are tagged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TagOptions {
    /// How labels of tokens become labels of words.
    pub aggregation: Aggregation,
    /// Tokens that the windows of a long text have in common; `None`: a quarter of a window.
    pub stride: Option<usize>,
    /// Count places in characters, not in bytes of UTF-8.
    pub characters: bool,
}

impl TagOptions {
    /// Sets the aggregation.
    pub fn aggregation(mut self, aggregation: Aggregation) -> Self {
        self.aggregation = aggregation;
        self
    }

    /// Sets the tokens that windows have in common.
    pub fn stride(mut self, tokens: usize) -> Self {
        self.stride = Some(tokens);
        self
    }

    /// Counts places in characters.
    pub fn characters(mut self, yes: bool) -> Self {
        self.characters = yes;
        self
    }
}

/// A part of a text with a label.
#[derive(Clone, Debug, PartialEq)]
pub struct Entity {
    /// The label; without `B-` and `I-` where tokens are aggregated.
    pub label: String,
    /// Its probability, the mean of its tokens' or words'.
    pub score: f32,
    /// The part of the text.
    pub text: String,
    /// Where it begins in the text, in bytes of UTF-8 unless characters are asked for.
    pub start: usize,
    /// Where it ends.
    pub end: usize,
}

/// What was found in a text.
#[derive(Clone, Debug, PartialEq)]
pub struct Tagged {
    /// In the order of the text. What is labelled `O` is left out.
    pub entities: Vec<Entity>,
    /// Tokens of the text, special ones not counted.
    pub tokens: usize,
    /// Windows in which it was read: one, unless it is longer than the model takes at once.
    pub windows: usize,
}

impl Model {
    /// Finds the labelled parts of each text. Long texts are read in windows that overlap, so that
    /// nothing is left out.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), kinglet::Error> {
    /// let model = kinglet::Model::open("ner.kinglet")?;
    /// for entity in &model.tag(&["Ada was born in London."], &Default::default())?[0].entities {
    ///     println!("{}: {}", entity.text, entity.label);
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// If the model does not label tokens, there are no texts, the stride is as long as a window,
    /// or memory runs out.
    pub fn tag<T: AsRef<str>>(
        &self,
        texts: &[T],
        options: &TagOptions,
    ) -> Result<Vec<Tagged>, Error> {
        let head = self.head_for(Task::Tag)?;
        if texts.is_empty() {
            return Err(Error::Empty { what: "the list of texts" });
        }
        let tokenizer = self.tokenizer();
        let room = self.text_tokens().saturating_sub(tokenizer.frame_len(false));
        let stride = options.stride.unwrap_or(room / 4);
        let texts: Vec<Text<'_>> = texts
            .iter()
            .map(|text| {
                let tokens = tokenizer.encode_traced(text.as_ref());
                Ok(Text {
                    windows: windows(tokens.len(), room, stride)?,
                    tokens,
                    text: text.as_ref(),
                })
            })
            .collect::<Result<_, Error>>()?;
        let (mut encodings, mut owners): (Vec<Encoding>, Vec<(usize, usize)>) = Default::default();
        for (t, text) in texts.iter().enumerate() {
            // A text without tokens has no entities.
            let windows = text.windows.iter().enumerate().filter(|(_, window)| !window.is_empty());
            for (w, window) in windows {
                let ids: Vec<u32> = text.tokens[window.clone()].iter().map(|one| one.id).collect();
                encodings.push(tokenizer.frame(&ids, None));
                owners.push((t, w));
            }
        }
        let sequences: Vec<Sequence<'_>> = encodings.iter().map(Sequence::of).collect();
        let mut scores: Vec<Vec<Vec<f32>>> = vec![Vec::new(); sequences.len()];
        let rows_of = |sequence: usize| encodings[sequence].texts[0].clone().collect();
        self.pass_all(head, &sequences, &rows_of, &mut |sequence, _, row| {
            scores[sequence].push(softmax(row));
        })?;
        let mut found: Vec<Vec<Found>> = vec![Vec::new(); texts.len()];
        let spelling = Spelling::of(tokenizer);
        for (&(t, w), scores) in owners.iter().zip(&scores) {
            let text = &texts[t];
            let tokens = &text.tokens[text.windows[w].clone()];
            let mut entities =
                aggregate(text.text, tokens, scores, self.labels(), options.aggregation, &spelling);
            if options.aggregation == Aggregation::None {
                let own = text.own_part(w);
                entities.retain(|entity| own.contains(&(entity.token + text.windows[w].start)));
            }
            found[t].extend(entities);
        }
        let aggregated = options.aggregation != Aggregation::None;
        let tagged = texts.iter().zip(found).map(|(text, mut found)| {
            if aggregated && text.windows.len() > 1 {
                found = without_overlaps(text.text, found);
            }
            Tagged {
                entities: text.entities(found, options.characters),
                tokens: text.tokens.len(),
                windows: text.windows.len(),
            }
        });
        Ok(tagged.collect())
    }
}

/// A text to be tagged.
struct Text<'t> {
    text: &'t str,
    tokens: Vec<TextToken>,
    /// Of its tokens.
    windows: Vec<Range<usize>>,
}

impl Text<'_> {
    /// The tokens that window `w` speaks for: what two windows see is divided in the middle.
    fn own_part(&self, w: usize) -> Range<usize> {
        let middle = |before: &Range<usize>, after: &Range<usize>| {
            after.start + before.end.saturating_sub(after.start) / 2
        };
        let window = &self.windows[w];
        let start = match w {
            0 => 0,
            _ => middle(&self.windows[w - 1], window),
        };
        start..self.windows.get(w + 1).map_or(window.end, |after| middle(window, after))
    }

    fn entities(&self, found: Vec<Found>, characters: bool) -> Vec<Entity> {
        let mut counter = CharacterCounter::new(self.text, characters);
        let entity = |found: Found| {
            let Range { start, end } = found.span;
            let text = self.text.get(start..end).unwrap_or_default().to_owned();
            let (start, end) = (counter.place(start), counter.place(end));
            Entity { label: found.label, score: found.score, text, start, end }
        };
        found.into_iter().map(entity).collect()
    }
}
