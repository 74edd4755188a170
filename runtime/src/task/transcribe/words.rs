//! Words of an answer and when they were spoken.

use std::ops::Range;

use super::Segment;
use crate::tokenizer::Tokenizer;

/// Languages that are written without spaces: each character is a word there.
const WITHOUT_SPACES: [&str; 6] = ["zh", "ja", "th", "lo", "my", "yue"];
/// What belongs to the word behind it, and what to the one before.
const OPENING: &str = "\"'“¿([{-";
const CLOSING: &str = "\"'.。,，!！?？:：”)]}、";
const SENTENCE_ENDS: &str = ".。!！?？";
/// Seconds of a word of usual length, at most.
const USUAL: f64 = 0.7;

/// A word and when it was spoken.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Word {
    /// When it begins, in seconds.
    pub start: f64,
    /// When it ends.
    pub end: f64,
    /// The word with its punctuation, and with the blank before it, if there is one.
    pub text: String,
    /// Mean probability of its tokens.
    pub probability: f32,
}

/// A word and its tokens, by number.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Spelled {
    pub(super) text: String,
    pub(super) tokens: Range<usize>,
}

/// `tokens` of text in words; punctuation stands alone.
pub(super) fn spelled(
    tokenizer: &Tokenizer,
    tokens: &[u32],
    language: Option<&str>,
) -> Vec<Spelled> {
    let spaced = !language.is_some_and(|code| WITHOUT_SPACES.contains(&code));
    let mut words: Vec<Spelled> = Vec::new();
    let mut start = 0;
    for end in 1..=tokens.len() {
        let text = tokenizer.decode(&tokens[start..end], true);
        // A character may come in several tokens.
        if text.ends_with(char::REPLACEMENT_CHARACTER) && end < tokens.len() {
            continue;
        }
        let begins = text.starts_with(' ') || is_punctuation(&text) || !spaced;
        match words.last_mut() {
            // A blank may be a token of its own.
            Some(word) if word.text == " " || !(begins || is_punctuation(&word.text)) => {
                word.text += &text;
                word.tokens.end = end;
            }
            _ => words.push(Spelled { text, tokens: start..end }),
        }
        start = end;
    }
    words
}

fn is_punctuation(text: &str) -> bool {
    let text = text.trim();
    !text.is_empty() && text.chars().all(|c| c.is_ascii_punctuation())
}

impl Spelled {
    /// The same after `n` tokens.
    pub(super) fn later(self, n: usize) -> Self {
        let tokens = self.tokens.start + n..self.tokens.end + n;
        Self { tokens, ..self }
    }
}

/// Words with the punctuation that belongs to them; times and probabilities are the words'.
pub(super) fn with_punctuation(words: Vec<Word>) -> Vec<Word> {
    let mut joined: Vec<Word> = Vec::with_capacity(words.len());
    for mut word in words {
        match joined.last_mut() {
            Some(before) if before.text.starts_with(' ') && within(before.text.trim(), OPENING) => {
                word.text.insert_str(0, &before.text);
                *before = word;
            }
            Some(before) if within(&word.text, CLOSING) => before.text += &word.text,
            _ => joined.push(word),
        }
    }
    joined
}

/// Whether a text is one or more of some marks.
fn within(text: &str, marks: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| marks.contains(c))
}

/// Words beside a pause take it in: those at the ends of sentences become no longer than twice the usual.
pub(super) fn shorten(words: &mut [Word]) -> f64 {
    let usual = usual(words);
    let most = 2.0 * usual;
    for i in 1..words.len() {
        let ends = within(&words[i].text, SENTENCE_ENDS);
        let follows = within(&words[i - 1].text, SENTENCE_ENDS);
        let word = &mut words[i];
        if word.end - word.start <= most {
            continue;
        }
        if ends {
            word.end = word.start + most;
        } else if follows {
            word.start = word.end - most;
        }
    }
    usual
}

/// Median length of words that have one.
fn usual(words: &[Word]) -> f64 {
    let lengths = words.iter().map(|word| word.end - word.start);
    let mut lengths: Vec<f64> = lengths.filter(|&seconds| seconds > 0.0).collect();
    lengths.sort_unstable_by(f64::total_cmp);
    let n = lengths.len();
    if n == 0 {
        return 0.0;
    }
    ((lengths[(n - 1) / 2] + lengths[n / 2]) / 2.0).min(USUAL)
}

/// The first and the last word of a segment may have taken in silence around it; otherwise its times become
/// theirs.
pub(super) fn fit(segment: &mut Segment, usual: f64) {
    let Segment { start, end, words, .. } = segment;
    let most = 2.0 * usual;
    if let Some(first) = words.first_mut() {
        first.start = first.start.max(first.end - most);
        if *start < first.end && *start - 0.5 > first.start {
            first.start = (first.end - usual).min(*start).max(0.0);
        } else {
            *start = first.start;
        }
    }
    if let Some(last) = words.last_mut() {
        if *end > last.start && *end + 0.5 < last.end {
            last.end = (last.start + usual).max(*end);
        } else {
            *end = last.end;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(parts: &[(&str, f64, f64)]) -> Vec<Word> {
        let word = |&(text, start, end): &(&str, f64, f64)| Word {
            start,
            end,
            text: text.to_owned(),
            probability: 0.5,
        };
        parts.iter().map(word).collect()
    }

    fn parts(words: &[Word]) -> Vec<(&str, f64, f64)> {
        words.iter().map(|w| (w.text.as_str(), w.start, w.end)).collect()
    }

    #[test]
    fn punctuation_belongs_to_words() {
        let all = words(&[
            (" \"", 0.0, 0.1),
            (" Go", 0.1, 0.3),
            (",", 0.3, 0.4),
            (" she", 0.4, 0.6),
            (" said", 0.6, 0.8),
            ("!", 0.8, 1.0),
            ("\"", 1.0, 1.1),
        ]);
        let expected = [(" \" Go,", 0.1, 0.3), (" she", 0.4, 0.6), (" said!\"", 0.6, 0.8)];
        assert_eq!(parts(&with_punctuation(all)), expected);
    }

    #[test]
    fn pauses_are_not_words() {
        let mut all = words(&[
            (" One", 0.0, 0.2),
            (".", 0.2, 2.0),
            (" Two", 2.0, 5.0),
            (" three", 5.0, 5.2),
            (" four", 5.2, 5.4),
        ]);
        let usual = shorten(&mut all);
        assert!((usual - 0.2).abs() < 1e-9, "{usual}");
        // The full stop and the word behind it have taken in a pause.
        assert!((all[1].end - 0.6).abs() < 1e-9 && (all[2].start - 4.6).abs() < 1e-9);
        let mut segment = Segment {
            start: 5.0,
            end: 6.0,
            text: String::new(),
            tokens: Vec::new(),
            words: vec![all[4].clone()],
            logprob: 0.0,
            no_speech: 0.0,
            temperature: 0.0,
        };
        fit(&mut segment, usual);
        assert_eq!((segment.start, segment.end), (5.2, 5.4));
    }
}
