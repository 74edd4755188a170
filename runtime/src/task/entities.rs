//! From labels of tokens to labels of words and phrases, by the rules of the reference's pipelines.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use crate::error::Error;
use crate::tokenizer::{TextToken, Tokenizer};

/// What is no entity.
const OUTSIDE: &str = "O";

/// How the labels of tokens become labels of words and phrases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Aggregation {
    /// Every token stands for itself.
    None,
    /// Neighbours of one label are one entity; one that begins with `B-` begins anew.
    #[default]
    Simple,
    /// As `Simple`, of words: a word has the label of its first token.
    First,
    /// Of words, which have the label with the best mean score.
    Average,
    /// Of words, which have the label of their surest token.
    Max,
}

impl Aggregation {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::None, Self::Simple, Self::First, Self::Average, Self::Max];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Simple => "simple",
            Self::First => "first",
            Self::Average => "average",
            Self::Max => "max",
        }
    }
}

impl fmt::Display for Aggregation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Aggregation {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let found = Self::ALL.into_iter().find(|one| one.name() == name);
        found.ok_or_else(|| Error::InvalidOption {
            name: "the aggregation",
            value: name.to_owned(),
            range: "none, simple, first, average or max",
        })
    }
}

/// A labelled part of a text.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Found {
    pub(super) label: String,
    pub(super) score: f32,
    /// Bytes of the text.
    pub(super) span: Range<usize>,
    /// Number of its first token among those that were aggregated.
    pub(super) token: usize,
}

/// How a vocabulary spells the inside of words.
pub(super) struct Spelling<'a> {
    tokenizer: &'a Tokenizer,
    /// Whether tokens inside of words have a prefix.
    marks_inside: bool,
}

impl<'a> Spelling<'a> {
    pub(super) fn of(tokenizer: &'a Tokenizer) -> Self {
        Self { tokenizer, marks_inside: tokenizer.marks_inside_of_words() }
    }

    /// Whether a token continues a word.
    fn continues(&self, text: &str, token: &TextToken) -> bool {
        if Some(token.id) == self.tokenizer.unk() {
            return false;
        }
        let TextToken { id, span, .. } = token;
        if self.marks_inside {
            // The prefix makes it longer than what it stands for.
            let spelled = self.tokenizer.token(*id).map_or(0, |token| token.chars().count());
            return spelled != text.get(span.clone()).map_or(0, |part| part.chars().count());
        }
        let before = text.get(..span.start).and_then(|before| before.chars().next_back());
        let first = text.get(span.start..).and_then(|rest| rest.chars().next());
        before.is_some_and(|c| c != ' ') && first != Some(' ')
    }
}

/// Some tokens or words, and the scores of the labels of each.
struct Labelled {
    label: usize,
    score: f32,
    span: Range<usize>,
    token: usize,
}

/// The entities among `tokens` of `text`, which have `scores` `[tokens][labels]`.
pub(super) fn aggregate(
    text: &str,
    tokens: &[TextToken],
    scores: &[Vec<f32>],
    labels: &[String],
    aggregation: Aggregation,
    spelling: &Spelling<'_>,
) -> Vec<Found> {
    let single = |token: usize| vec![token];
    let groups: Vec<Vec<usize>> = match aggregation {
        Aggregation::None | Aggregation::Simple => (0..tokens.len()).map(single).collect(),
        _ => words(text, tokens, spelling),
    };
    let labelled: Vec<Labelled> = groups
        .iter()
        .filter_map(|group| {
            let (label, score) = word_label(group, scores, aggregation)?;
            let (first, last) = (*group.first()?, *group.last()?);
            let span = tokens[first].span.start..tokens[last].span.end;
            Some(Labelled { label, score, span, token: first })
        })
        .collect();
    let name = |label: usize| labels.get(label).map_or("", String::as_str);
    let found = match aggregation {
        Aggregation::None => labelled
            .into_iter()
            .map(|one| Found {
                label: name(one.label).to_owned(),
                score: one.score,
                span: one.span,
                token: one.token,
            })
            .collect(),
        _ => phrases(&labelled, &name),
    };
    found.into_iter().filter(|found: &Found| found.label != OUTSIDE).collect()
}

/// Numbers of the tokens of each word.
fn words(text: &str, tokens: &[TextToken], spelling: &Spelling<'_>) -> Vec<Vec<usize>> {
    let mut words: Vec<Vec<usize>> = Vec::new();
    for (i, token) in tokens.iter().enumerate() {
        match words.last_mut() {
            Some(word) if spelling.continues(text, token) => word.push(i),
            _ => words.push(vec![i]),
        }
    }
    words
}

/// The label of the tokens numbered `group`, and its score.
fn word_label(
    group: &[usize],
    scores: &[Vec<f32>],
    aggregation: Aggregation,
) -> Option<(usize, f32)> {
    let rows: Vec<&[f32]> =
        group.iter().filter_map(|&i| scores.get(i).map(Vec::as_slice)).collect();
    let first = *rows.first()?;
    match aggregation {
        Aggregation::Average => {
            let mean = |label: usize| {
                let sum: f64 = rows.iter().map(|row| f64::from(row[label])).sum();
                (sum / rows.len() as f64) as f32
            };
            best(&(0..first.len()).map(mean).collect::<Vec<f32>>())
        }
        Aggregation::Max => {
            let bests = rows.iter().filter_map(|row| best(row));
            bests.reduce(|a, b| if b.1 > a.1 { b } else { a })
        }
        _ => best(first),
    }
}

/// The largest score, the first of equals.
fn best(scores: &[f32]) -> Option<(usize, f32)> {
    let all = scores.iter().copied().enumerate();
    all.reduce(|a, b| if b.1 > a.1 { b } else { a })
}

/// Neighbours of one label together.
fn phrases<'l>(labelled: &[Labelled], name: &impl Fn(usize) -> &'l str) -> Vec<Found> {
    let mut groups: Vec<Vec<&Labelled>> = Vec::new();
    for one in labelled {
        let (begins, tag) = parts(name(one.label));
        match groups.last_mut() {
            Some(group)
                if !begins && group.last().is_some_and(|l| parts(name(l.label)).1 == tag) =>
            {
                group.push(one);
            }
            _ => groups.push(vec![one]),
        }
    }
    let phrase = |group: &Vec<&Labelled>| {
        let (first, last) = (group.first()?, group.last()?);
        let label = name(first.label);
        let sum: f64 = group.iter().map(|one| f64::from(one.score)).sum();
        Some(Found {
            label: label.split_once('-').map_or(label, |(_, rest)| rest).to_owned(),
            score: (sum / group.len() as f64) as f32,
            span: first.span.start..last.span.end,
            token: first.token,
        })
    };
    groups.iter().filter_map(phrase).collect()
}

/// Whether a label begins an entity, and what of. Labels without `B-` or `I-` continue.
fn parts(label: &str) -> (bool, &str) {
    match (label.strip_prefix("B-"), label.strip_prefix("I-")) {
        (Some(tag), _) => (true, tag),
        (None, Some(tag)) => (false, tag),
        (None, None) => (false, label),
    }
}

/// Of entities that windows found in the same place, the longest; of equally long ones the surest.
pub(super) fn without_overlaps(text: &str, mut found: Vec<Found>) -> Vec<Found> {
    found.sort_by_key(|entity| entity.span.start);
    let len = |entity: &Found| text.get(entity.span.clone()).map_or(0, |part| part.chars().count());
    let mut kept: Vec<Found> = Vec::with_capacity(found.len());
    for entity in found {
        match kept.last_mut() {
            Some(last) if last.span.contains(&entity.span.start) => {
                let (new, old) = (len(&entity), len(last));
                if new > old || new == old && entity.score > last.score {
                    *last = entity;
                }
            }
            _ => kept.push(entity),
        }
    }
    kept
}

#[cfg(test)]
#[path = "entities_tests.rs"]
mod tests;
