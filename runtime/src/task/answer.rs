//! Answers to questions: the part of a text that answers best.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::Range;

use super::Task;
use super::classify::{BARE, softmax};
use super::pass::Sequence;
use super::windows::{CharacterCounter, windows};
use crate::error::Error;
use crate::model::Model;
use crate::tokenizer::{Encoding, TextToken};

/// Candidates of a window beyond twice the answers that are asked for: some are the same words.
const MORE_CANDIDATES: usize = 10;

/// How answers are looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AnswerOptions {
    /// Answers at most, the best first.
    pub top: usize,
    /// Tokens read together: question, part of the text, and those around them; fewer where the
    /// model takes fewer.
    pub window: usize,
    /// Tokens that the windows of a long text have in common; `None`: 128, or half of a window.
    pub stride: Option<usize>,
    /// Longest answer in tokens.
    pub max_tokens: usize,
    /// Whether "no answer" is one: an empty text, with its score.
    pub no_answer: bool,
    /// Count places in characters, not in bytes of UTF-8.
    pub characters: bool,
}

impl Default for AnswerOptions {
    fn default() -> Self {
        Self {
            top: 1,
            window: 384,
            stride: None,
            max_tokens: 15,
            no_answer: false,
            characters: false,
        }
    }
}

impl AnswerOptions {
    /// Sets how many answers are given.
    pub fn top(mut self, n: usize) -> Self {
        self.top = n;
        self
    }

    /// Sets the tokens that are read together.
    pub fn window(mut self, tokens: usize) -> Self {
        self.window = tokens;
        self
    }

    /// Sets the tokens that windows have in common.
    pub fn stride(mut self, tokens: usize) -> Self {
        self.stride = Some(tokens);
        self
    }

    /// Sets the longest answer in tokens.
    pub fn max_tokens(mut self, tokens: usize) -> Self {
        self.max_tokens = tokens;
        self
    }

    /// Sets whether "no answer" is one.
    pub fn no_answer(mut self, yes: bool) -> Self {
        self.no_answer = yes;
        self
    }

    /// Counts places in characters.
    pub fn characters(mut self, yes: bool) -> Self {
        self.characters = yes;
        self
    }
}

/// A part of a text that answers a question.
#[derive(Clone, Debug, PartialEq)]
pub struct TextAnswer {
    /// The part of the text; empty where the text does not answer.
    pub text: String,
    /// Probability that it begins and ends there, summed over the places with the same words.
    pub score: f32,
    /// Where it begins in the text, in bytes of UTF-8 unless characters are asked for.
    pub start: usize,
    /// Where it ends.
    pub end: usize,
}

/// A part of a window's text that may be the answer.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Candidate {
    /// Numbers of its first and last token in the window.
    first: usize,
    last: usize,
    score: f32,
}

/// What one window makes of the question.
struct WindowAnswers {
    candidates: Vec<Candidate>,
    /// Score of no answer.
    none: f32,
}

impl Model {
    /// The parts of `context` that answer `question`, the best first. Long texts are read in windows
    /// that overlap, so that nothing is left out; windows compete by their probabilities.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), kinglet::Error> {
    /// let model = kinglet::Model::open("squad.kinglet")?;
    /// let text = "Ada was born in London and lived in Paris.";
    /// let answers = model.answer("Where was Ada born?", text, &Default::default())?;
    /// println!("{}", answers[0].text);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// If the model answers no questions, question or context are empty, the question leaves no room
    /// for the context, an option is out of range, or memory runs out.
    pub fn answer(
        &self,
        question: &str,
        context: &str,
        options: &AnswerOptions,
    ) -> Result<Vec<TextAnswer>, Error> {
        let head = self.head_for(Task::Answer)?;
        for (text, what) in [(question, "the question"), (context, "the context")] {
            if text.trim().is_empty() {
                return Err(Error::Empty { what });
            }
        }
        for (n, name) in
            [(options.top, "the number of answers"), (options.max_tokens, "the answer's length")]
        {
            if n == 0 {
                return Err(Error::InvalidOption {
                    name,
                    value: "0".to_owned(),
                    range: "1 or more",
                });
            }
        }
        let tokenizer = self.tokenizer();
        let asked = tokenizer.encode(question, BARE);
        let tokens = tokenizer.encode_traced(context);
        let limit = options.window.min(self.text_tokens());
        let around = asked.len() + tokenizer.frame_len(true);
        if around >= limit {
            let what = "the question, with a token of the context,".to_owned();
            return Err(Error::TextTooLong { what, tokens: around + 1, limit });
        }
        let room = limit - around;
        let usual = (limit / 2).min(128);
        let stride = options.stride.unwrap_or(if usual < room { usual } else { room / 2 });
        let windows = windows(tokens.len(), room, stride)?;
        let encodings: Vec<Encoding> = windows
            .iter()
            .map(|window| {
                let ids: Vec<u32> = tokens[window.clone()].iter().map(|one| one.id).collect();
                tokenizer.frame(&asked, Some(&ids))
            })
            .collect();
        let sequences: Vec<Sequence<'_>> = encodings.iter().map(Sequence::of).collect();
        let mut logits: Vec<[Vec<f32>; 2]> = vec![Default::default(); windows.len()];
        let rows_of = |w: usize| (0..encodings[w].ids.len()).collect();
        self.pass_all(head, &sequences, &rows_of, &mut |w, _, row| {
            logits[w].iter_mut().zip(row).for_each(|(all, &logit)| all.push(logit));
        })?;
        let mut answers = Answers { text: context, found: Vec::new(), known: HashMap::new() };
        let mut none = f32::INFINITY;
        for ((window, encoding), logits) in windows.iter().zip(&encodings).zip(&logits) {
            let best = window_answers(logits, encoding, options);
            none = none.min(best.none);
            for candidate in best.candidates {
                answers.add(&tokens[window.clone()], candidate);
            }
        }
        Ok(answers.best(options, none))
    }
}

/// The best parts of a window, by the logits of its rows that answers begin and end there.
fn window_answers(
    logits: &[Vec<f32>; 2],
    encoding: &Encoding,
    options: &AnswerOptions,
) -> WindowAnswers {
    let context = encoding.texts[1].clone();
    // The first token stands for "no answer", where it is of no text.
    let none_row = (encoding.texts[0].start.min(context.start) > 0).then_some(0);
    let [starts, ends] = logits.each_ref().map(|logits| {
        let rows = none_row.into_iter().chain(context.clone());
        let mut scores = softmax(&rows.map(|row| logits[row]).collect::<Vec<f32>>());
        let none = none_row.map(|_| scores.remove(0));
        (scores, none)
    });
    let none = starts.1.zip(ends.1).map_or(0.0, |(start, end)| start * end);
    let wanted = options.top.saturating_mul(2).saturating_add(MORE_CANDIDATES);
    let mut candidates: Vec<Candidate> = Vec::new();
    for (first, start) in starts.0.iter().enumerate() {
        let lasts = ends.0.iter().enumerate().skip(first).take(options.max_tokens);
        candidates.extend(lasts.map(|(last, end)| Candidate { first, last, score: start * end }));
        // Some at a time, so that long windows need no more memory.
        if candidates.len() > wanted.saturating_mul(64) {
            keep_best(&mut candidates, wanted);
        }
    }
    keep_best(&mut candidates, wanted);
    WindowAnswers { candidates, none }
}

fn keep_best(candidates: &mut Vec<Candidate>, n: usize) {
    candidates.sort_by(|a, b| b.score.total_cmp(&a.score));
    candidates.truncate(n);
}

/// Answers of all windows.
struct Answers<'t> {
    text: &'t str,
    found: Vec<(Range<usize>, f32)>,
    /// Which of those found has these words, in lower case.
    known: HashMap<String, usize>,
}

impl Answers<'_> {
    /// Adds a candidate among the `tokens` of a window; the same words elsewhere add to its score.
    fn add(&mut self, tokens: &[TextToken], candidate: Candidate) {
        let (Some(first), Some(last)) = (tokens.get(candidate.first), tokens.get(candidate.last))
        else {
            return;
        };
        // Whole words.
        let of = |word: usize| tokens.iter().filter(move |token| token.word == word);
        let start = of(first.word).map(|token| token.span.start).min().unwrap_or(first.span.start);
        let end = of(last.word).map(|token| token.span.end).max().unwrap_or(last.span.end);
        let Some(words) = self.text.get(start..end) else { return };
        match self.known.entry(words.to_lowercase()) {
            Entry::Occupied(known) => self.found[*known.get()].1 += candidate.score,
            Entry::Vacant(new) => {
                new.insert(self.found.len());
                self.found.push((start..end, candidate.score));
            }
        }
    }

    fn best(self, options: &AnswerOptions, none: f32) -> Vec<TextAnswer> {
        let mut found = self.found;
        if options.no_answer {
            found.push((0..0, none));
        }
        found.sort_by(|a, b| b.1.total_cmp(&a.1));
        found.truncate(options.top);
        let mut counter = CharacterCounter::new(self.text, options.characters);
        let answer = |(span, score): (Range<usize>, f32)| {
            let text = self.text.get(span.clone()).unwrap_or_default().to_owned();
            let (start, end) = (counter.place(span.start), counter.place(span.end));
            TextAnswer { text, score, start, end }
        };
        found.into_iter().map(answer).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_number_of_answers_may_be_asked_for() {
        let logits = [vec![0.0, 1.0, 2.0], vec![0.0, 2.0, 1.0]];
        let encoding = Encoding { ids: vec![0; 3], type_ids: vec![0; 3], texts: [0..0, 1..3] };
        let all = |top| {
            let options = AnswerOptions::default().top(top);
            window_answers(&logits, &encoding, &options).candidates
        };
        assert_eq!(all(usize::MAX), all(3));
        assert_eq!(all(usize::MAX).len(), 3);
    }

    #[test]
    fn the_same_words_are_one_answer() {
        let text = "Wren, ship, wren";
        let spans = [0..4, 6..10, 12..16];
        let token = |(word, span)| TextToken { id: 0, span, word };
        let tokens: Vec<TextToken> = spans.into_iter().enumerate().map(token).collect();
        let mut answers = Answers { text, found: Vec::new(), known: HashMap::new() };
        for (token, score) in [(0, 0.25), (1, 0.5), (2, 0.5)] {
            answers.add(&tokens, Candidate { first: token, last: token, score });
        }
        let best = answers.best(&AnswerOptions::default().top(3), 0.0);
        let best: Vec<(&str, f32)> =
            best.iter().map(|answer| (answer.text.as_str(), answer.score)).collect();
        assert_eq!(best, [("Wren", 0.75), ("ship", 0.5)]);
    }
}
