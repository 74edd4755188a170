//! Answers to whole texts: summaries, and whatever a prefix asks for.

use super::classify::TextLength;
use super::search::{SearchOptions, Source};
use crate::error::Error;
use crate::model::Model;
use crate::tokenizer::EncodeOptions;

/// An answer to a text.
#[derive(Clone, Debug, PartialEq)]
pub struct TextToTextAnswer {
    /// The answer.
    pub text: String,
    /// Its log-probability, divided by its length to the power of the search's penalty.
    pub score: f32,
    /// Of the text that was read.
    pub length: TextLength,
}

impl Model {
    /// An answer to each text, by a model that reads a text and answers it (T5, BART). What the model
    /// shall do stands in the text where it was trained so: `summarize: …`. Texts longer than
    /// [`Model::source_tokens`] are cut, which the result says.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), kinglet::Error> {
    /// let model = kinglet::Model::open("flan-t5.kinglet")?;
    /// let options = kinglet::SearchOptions::default().beams(4);
    /// println!("{}", model.text_to_text(&["summarize: It rained all day."], &options)?[0].text);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// If the model answers no texts, an option is out of range, a text or the list is empty, or
    /// memory runs out.
    pub fn text_to_text<T: AsRef<str>>(
        &self,
        texts: &[T],
        options: &SearchOptions,
    ) -> Result<Vec<TextToTextAnswer>, Error> {
        self.text_to_text_while(texts, options, &|| true).map(Option::unwrap_or_default)
    }

    /// The same, given up when `keep_going`, which is asked all the time, says `false`: then `None`.
    ///
    /// # Errors
    /// As [`Model::text_to_text`].
    pub fn text_to_text_while<T: AsRef<str>>(
        &self,
        texts: &[T],
        options: &SearchOptions,
        keep_going: &dyn Fn() -> bool,
    ) -> Result<Option<Vec<TextToTextAnswer>>, Error> {
        self.text_to_text_use()?;
        if texts.is_empty() {
            return Err(Error::Empty { what: "the list of texts" });
        }
        let most = self.source_tokens().unwrap_or(0);
        let (mut sources, mut answers) = (Vec::new(), Vec::new());
        for text in texts {
            let (tokens, length) = self.source(text.as_ref(), most);
            sources.push(Source { tokens, forced_first: None });
            answers.push(TextToTextAnswer { text: String::new(), score: 0.0, length });
        }
        let done = self.search(&sources, options, keep_going, &mut |i, found| {
            answers[i].text = self.tokenizer().decode(&found.tokens, true).trim().to_owned();
            answers[i].score = found.score;
            Ok(())
        })?;
        Ok(done.then_some(answers))
    }

    /// The tokens of a text as the model reads it, at most `most`, and its length.
    pub(in crate::task) fn source(&self, text: &str, most: usize) -> (Vec<u32>, TextLength) {
        let tokenizer = self.tokenizer();
        let bare = EncodeOptions { add_special: false, parse_special: false };
        let mut body = tokenizer.encode(text, bare);
        let whole = body.len() + tokenizer.frame_len(false);
        body.truncate(most.saturating_sub(tokenizer.frame_len(false)));
        let tokens = tokenizer.frame(&body, None).ids;
        (tokens, TextLength { tokens: whole, truncated: whole > most })
    }
}
