//! Answers to texts that a model has read, many texts at a time: each step takes the beams of all texts
//! that are being answered, and as soon as one is done the next text comes in.

mod beams;
mod drive;
mod rules;
mod scores;
mod shortlist;

use kinglet_formats::kinglet::{MAX_BEAMS, TextToText};

use self::beams::Beams;
use self::rules::Rules;
use crate::error::Error;
use crate::model::Model;
use crate::network::BoundInput;

/// How answers are searched for. What is `None` follows the model file.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct SearchOptions {
    /// Answers that are followed side by side; 1 is greedy.
    pub beams: Option<usize>,
    /// Most tokens of an answer.
    pub max_tokens: Option<usize>,
    /// Power of the length that sums of log-probabilities are divided by.
    pub length_penalty: Option<f32>,
}

impl SearchOptions {
    /// Sets the number of beams.
    pub fn beams(mut self, beams: usize) -> Self {
        self.beams = Some(beams);
        self
    }

    /// Sets the most tokens of an answer.
    pub fn max_tokens(mut self, tokens: usize) -> Self {
        self.max_tokens = Some(tokens);
        self
    }
}

/// A source and what its answer begins with.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Source {
    /// Its tokens, all that belong around it included.
    pub(super) tokens: Vec<u32>,
    /// First token of the answer, where it is not left to the model.
    pub(super) forced_first: Option<u32>,
}

/// An answer to a source, in tokens.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TokenAnswer {
    /// Its tokens, without the one that it started from and the one that ended it.
    pub tokens: Vec<u32>,
    /// Log-probability, divided by the length to the power of the penalty.
    pub score: f32,
    /// Whether it ended by itself.
    pub ended: bool,
}

/// What holds for all answers of a search.
struct Search<'m> {
    model: &'m Model,
    own: &'m TextToText,
    options: &'m SearchOptions,
    n_beams: usize,
    length_penalty: f32,
    /// Number of the stack that answers, and of the one that reads.
    decoder: usize,
    encoder: usize,
}

impl Search<'_> {
    fn rules(&self, source: &Source) -> Rules {
        let generation = &self.model.meta().generation;
        Rules::new(
            self.own,
            &generation.eos,
            generation.repeat_penalty,
            self.options,
            source,
            self.model.context_length(),
        )
    }

    fn beams(&self) -> Beams {
        Beams::new(self.own.start, self.n_beams, self.length_penalty, self.own.early_stopping)
    }
}

impl Model {
    /// Longest source in tokens, where the model reads a text.
    pub fn source_tokens(&self) -> Option<usize> {
        let network = &self.runner().network;
        let encoder = &network.stacks[network.stacks[network.generator()?].memory?];
        matches!(encoder.input, BoundInput::Tokens(_)).then_some(encoder.max_positions)
    }

    /// Answers to sources in tokens, all that belong around them included; [`Model::text_to_text`]
    /// and [`Model::translate`] make them of texts.
    ///
    /// # Errors
    /// As [`Model::text_to_text`].
    pub fn answers_to<S: AsRef<[u32]>>(
        &self,
        sources: &[S],
        options: &SearchOptions,
    ) -> Result<Vec<TokenAnswer>, Error> {
        let source = |tokens: &S| Source { tokens: tokens.as_ref().to_vec(), forced_first: None };
        let sources: Vec<Source> = sources.iter().map(source).collect();
        let mut answers = vec![TokenAnswer::default(); sources.len()];
        self.search(&sources, options, &|| true, &mut |i, answer| {
            answers[i] = answer;
            Ok(())
        })?;
        Ok(answers)
    }

    /// What the file says about answers to a source.
    ///
    /// # Errors
    /// If the model answers no sources.
    pub(in crate::task) fn text_to_text_use(&self) -> Result<&TextToText, Error> {
        match (&self.meta().text_to_text, self.source_tokens()) {
            (Some(own), Some(_)) => Ok(own),
            (None, Some(_)) => Err(Error::Unsupported {
                what: "a model that reads a source, but whose file does not say what its answers \
                       start from; convert the checkpoint again"
                    .to_owned(),
            }),
            (_, None) => Err(self.wrong_task("answer a source text")),
        }
    }

    /// Finds an answer to every source and calls `each` with its number and the answer, in the order
    /// in which they are found. `keep_going` is asked within steps; after a `false` the search ends
    /// and gives `false`.
    ///
    /// # Errors
    /// If an option is out of range, a source is empty or too long, or memory runs out.
    pub(super) fn search(
        &self,
        sources: &[Source],
        options: &SearchOptions,
        keep_going: &dyn Fn() -> bool,
        each: &mut dyn FnMut(usize, TokenAnswer) -> Result<(), Error>,
    ) -> Result<bool, Error> {
        let own = self.text_to_text_use()?;
        let network = &self.runner().network;
        let Some((decoder, encoder)) = network
            .generator()
            .and_then(|decoder| Some((decoder, network.stacks[decoder].memory?)))
        else {
            return Err(self.wrong_task("answer a source text"));
        };
        let n_beams = options.beams.unwrap_or(own.beams as usize);
        if !(1..=MAX_BEAMS as usize).contains(&n_beams) {
            return Err(Error::InvalidOption {
                name: "beams",
                value: n_beams.to_string(),
                range: "1 to 64",
            });
        }
        let length_penalty = options.length_penalty.unwrap_or(own.length_penalty);
        if !length_penalty.is_finite() || length_penalty.abs() > 100.0 {
            return Err(Error::InvalidOption {
                name: "length penalty",
                value: length_penalty.to_string(),
                range: "-100 to 100",
            });
        }
        let search =
            Search { model: self, own, options, n_beams, length_penalty, decoder, encoder };
        search.run(sources, keep_going, each)
    }
}
