//! Texts from one language into another, sentence by sentence.

use kinglet_formats::kinglet::{Mark, TextLanguage, Translation};

use super::search::{SearchOptions, Source};
use super::sentences::{halves, sentences};
use crate::error::Error;
use crate::model::Model;
use crate::tokenizer::EncodeOptions;

/// Tokens of a part of a text that is translated at once, at most: models have been trained on
/// sentences, and lose words of what is much longer.
const PART_TOKENS: usize = 128;

/// How to translate.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct TranslateOptions {
    /// The texts' language, by its code in [`Model::languages`]; may be left out where the model has
    /// one, or is not told.
    pub from: Option<String>,
    /// The language to translate to; may be left out where the model has one.
    pub to: Option<String>,
    /// How translations are searched for.
    pub search: SearchOptions,
}

impl TranslateOptions {
    /// Sets the language of the texts.
    pub fn from(mut self, code: impl Into<String>) -> Self {
        self.from = Some(code.into());
        self
    }

    /// Sets the language to translate to.
    pub fn to(mut self, code: impl Into<String>) -> Self {
        self.to = Some(code.into());
        self
    }

    /// Sets the number of beams; 1 is greedy.
    pub fn beams(mut self, beams: usize) -> Self {
        self.search.beams = Some(beams);
        self
    }
}

/// A translation.
#[derive(Clone, Debug, PartialEq)]
pub struct Translated {
    /// The text, with the white space, list marks and lines without letters of the source.
    pub text: String,
    /// Mean over its sentences of the log-probability for each token, 0 where there are none.
    pub score: f32,
}

/// The languages that a translator has, by their codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Languages<'a> {
    /// Of sources; none where any is taken without being named.
    pub from: &'a [TextLanguage],
    /// Of translations.
    pub to: &'a [TextLanguage],
}

/// Where the translation of a part goes.
struct Part {
    text: usize,
    /// Bytes of the text that it stands for.
    range: std::ops::Range<usize>,
}

/// The tokens that tell the languages.
struct Marks {
    before: Vec<u32>,
    behind: Vec<u32>,
    forced_first: Option<u32>,
}

impl Model {
    /// The languages that the model translates from and to; `None` for other models.
    pub fn languages(&self) -> Option<Languages<'_>> {
        let Translation { from, to, .. } = self.meta().translation.as_ref()?;
        Some(Languages { from, to })
    }

    /// Translates texts of any length: sentence by sentence, many at a time. White space, list marks
    /// and what has no letters stay as they are.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), kinglet::Error> {
    /// let model = kinglet::Model::open("firefox-en-pt.kinglet")?;
    /// let translated = model.translate(&["A small bird."], &Default::default())?;
    /// println!("{}", translated[0].text);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// If the model is no translator, a language is unknown or missing, an option is out of range,
    /// there are no texts, or memory runs out.
    pub fn translate<T: AsRef<str>>(
        &self,
        texts: &[T],
        options: &TranslateOptions,
    ) -> Result<Vec<Translated>, Error> {
        self.translate_while(texts, options, &|| true).map(Option::unwrap_or_default)
    }

    /// The same, given up when `keep_going`, which is asked all the time, says `false`: then `None`.
    ///
    /// # Errors
    /// As [`Model::translate`].
    pub fn translate_while<T: AsRef<str>>(
        &self,
        texts: &[T],
        options: &TranslateOptions,
        keep_going: &dyn Fn() -> bool,
    ) -> Result<Option<Vec<Translated>>, Error> {
        let Some(translation) = &self.meta().translation else {
            return Err(self.wrong_task("translate"));
        };
        let marks = marks(translation, options)?;
        if texts.is_empty() {
            return Err(Error::Empty { what: "the list of texts" });
        }
        let (mut parts, mut sources) = (Vec::new(), Vec::new());
        for (text, source) in texts.iter().map(AsRef::as_ref).enumerate() {
            for range in sentences(source) {
                self.parts(
                    source,
                    Part { text, range },
                    translation,
                    &marks,
                    &mut |part, source| {
                        parts.push(part);
                        sources.push(source);
                    },
                )?;
            }
        }
        let mut answers: Vec<(String, f32)> = vec![Default::default(); parts.len()];
        let done = self.search(&sources, &options.search, keep_going, &mut |i, found| {
            answers[i] = (self.tokenizer().decode(&found.tokens, true), found.score);
            Ok(())
        })?;
        if !done {
            return Ok(None);
        }
        let mut answers = parts.iter().zip(&answers).peekable();
        let translated = texts.iter().map(AsRef::as_ref).enumerate().map(|(text, source)| {
            let (mut out, mut at) = (String::with_capacity(source.len()), 0);
            let (mut sum, mut n) = (0.0, 0);
            while let Some((part, (translation, score))) = answers.next_if(|(p, _)| p.text == text)
            {
                out.push_str(&source[at..part.range.start]);
                out.push_str(translation.trim());
                at = part.range.end;
                sum += score;
                n += 1;
            }
            out.push_str(&source[at..]);
            Translated { text: out, score: if n == 0 { 0.0 } else { sum / n as f32 } }
        });
        Ok(Some(translated.collect()))
    }

    /// Gives `each` a part and its source, or those of its halves where it is too long.
    fn parts(
        &self,
        text: &str,
        part: Part,
        translation: &Translation,
        marks: &Marks,
        each: &mut dyn FnMut(Part, Source),
    ) -> Result<(), Error> {
        let sentence = &text[part.range.clone()];
        let plain = EncodeOptions { add_special: false, parse_special: false };
        let body = self.tokenizer().encode(sentence, plain);
        let around = marks.before.len() + marks.behind.len() + 1;
        let room = self.source_tokens().unwrap_or(0).min(PART_TOKENS + around);
        if body.is_empty() {
            return Ok(());
        }
        if body.len() + around > room
            && let Some((first, second)) = halves(sentence)
        {
            let start = part.range.start;
            let gap = second.len() - second.trim_start().len();
            let middle = start + first.len();
            let ranges = [start..middle, middle + gap..part.range.end];
            return ranges.into_iter().try_for_each(|range| {
                self.parts(text, Part { text: part.text, range }, translation, marks, each)
            });
        }
        let mut tokens = marks.before.clone();
        tokens.extend(body);
        tokens.push(translation.source_end);
        tokens.extend(&marks.behind);
        each(part, Source { tokens, forced_first: marks.forced_first });
        Ok(())
    }
}

/// The tokens that tell the languages which `options` name.
fn marks(translation: &Translation, options: &TranslateOptions) -> Result<Marks, Error> {
    let mut marks = Marks { before: Vec::new(), behind: Vec::new(), forced_first: None };
    let sides = [("from", &translation.from, &options.from), ("to", &translation.to, &options.to)];
    for (side, languages, wanted) in sides {
        let language = match (wanted, &languages[..]) {
            (None, []) => continue,
            (None, [only]) => only,
            (None, _) => return Err(Error::LanguageMissing { side, known: codes(languages) }),
            // It takes any, and need not be told.
            (Some(_), []) => continue,
            (Some(code), _) => languages
                .iter()
                .find(|language| language.code.eq_ignore_ascii_case(code))
                .ok_or_else(|| Error::UnknownLanguage {
                    code: code.clone(),
                    known: codes(languages),
                })?,
        };
        match language.mark {
            Some(Mark::SourceFirst(token)) => marks.before.push(token),
            Some(Mark::SourceLast(token)) => marks.behind.push(token),
            Some(Mark::AnswerFirst(token)) => marks.forced_first = Some(token),
            None => {}
        }
    }
    Ok(marks)
}

fn codes(languages: &[TextLanguage]) -> Vec<String> {
    languages.iter().map(|language| language.code.clone()).collect()
}
