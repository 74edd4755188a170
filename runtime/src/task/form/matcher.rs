//! Which tokens may come next, by `llguidance`.

use std::sync::Arc;

use llguidance::api::TopLevelGrammar;
use llguidance::toktrie::{InferenceCapabilities, TokEnv, TokRxInfo, TokTrie, TokenizerEnv};
use llguidance::{Matcher, ParserFactory};
use serde_json::json;

use super::Form;
use crate::error::Error;
use crate::model::Model;
use crate::task::sampler::Sampler;
use crate::tokenizer::{Place, Tokenizer};

/// A model's vocabulary as grammars see it; made once.
pub(crate) struct Vocabulary(ParserFactory);

/// The tokenizer, for runs of text that a grammar leaves no choice about.
struct Environment {
    trie: TokTrie,
    tokenizer: Tokenizer,
}

impl TokenizerEnv for Environment {
    fn tok_trie(&self) -> &TokTrie {
        &self.trie
    }

    fn tokenize_bytes(&self, bytes: &[u8]) -> Vec<u32> {
        match str::from_utf8(bytes) {
            Ok(text) => self.tokenizer.encode_marked(text, Place::Text, '\u{fdd0}'),
            Err(_) => self.trie.greedy_tokenize(bytes),
        }
    }
}

impl Vocabulary {
    /// That of a model.
    ///
    /// # Errors
    /// If the model's answers have no end.
    pub(crate) fn new(model: &Model) -> Result<Self, Error> {
        let tokenizer = model.tokenizer();
        let eos = &model.meta().generation.eos;
        let eos = eos.first().copied().or(tokenizer.eos()).ok_or_else(|| Error::Form {
            reason: "the model has no token that ends an answer".to_owned(),
        })?;
        let words: Vec<Vec<u8>> = (0..model.vocab_size() as u32)
            .map(|id| match tokenizer.is_special(id) {
                // Marked, so that no text is taken for it.
                true => {
                    let mut word = vec![TokTrie::SPECIAL_TOKEN_MARKER];
                    word.extend(tokenizer.token_bytes(id));
                    word
                }
                false => tokenizer.token_bytes(id),
            })
            .collect();
        let trie = TokTrie::from(&TokRxInfo::new(words.len() as u32, eos), &words);
        let environment: TokEnv = Arc::new(Environment { trie, tokenizer: tokenizer.clone() });
        let abilities = InferenceCapabilities { ff_tokens: true, ..Default::default() };
        let slices = llguidance::earley::SlicedBiasComputer::general_slices();
        let mut factory = ParserFactory::new(&environment, abilities, &slices).map_err(wrong)?;
        factory.quiet();
        factory.limits_mut().verbose_errors = false;
        Ok(Self(factory))
    }
}

/// A form, and how much of it an answer has.
pub(in crate::task) struct Constraint {
    matcher: Matcher,
    /// Of the vocabulary, the token that the matcher knows as the end.
    eos: u32,
    /// `[vocab_size]` logits of the tokens that may come.
    logits: Vec<f32>,
}

impl std::fmt::Debug for Constraint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Constraint").finish_non_exhaustive()
    }
}

impl Constraint {
    /// Of an answer that has not begun.
    ///
    /// # Errors
    /// If the form cannot be read, or does more than it may.
    pub(in crate::task) fn new(form: &Form, model: &Model) -> Result<Self, Error> {
        let grammar = match form {
            Form::JsonSchema(schema) => json_of(schema.clone()),
            Form::JsonObject => json_of(json!({"type": "object"})),
            Form::Regex(regex) => TopLevelGrammar::from_regex(regex),
            Form::Lark(text) => TopLevelGrammar::from_lark(text.clone()),
        };
        let Vocabulary(factory) = model.vocabulary()?;
        let matcher = Matcher::new(factory.create_parser(grammar));
        if let Some(reason) = matcher.get_error() {
            return Err(Error::Form { reason: in_one_line(&reason) });
        }
        Ok(Self { matcher, eos: factory.tok_env().eos_token(), logits: Vec::new() })
    }

    /// Draws one of the tokens that may come next.
    ///
    /// # Errors
    /// If none may, or the grammar does more than it may.
    pub(in crate::task) fn sample(
        &mut self,
        logits: &[f32],
        recent: &[u32],
        sampler: &mut Sampler,
        model: &Model,
    ) -> Result<u32, Error> {
        let mask = self.matcher.compute_mask_or_eos().map_err(wrong)?;
        self.logits.clear();
        self.logits.resize(logits.len(), f32::NEG_INFINITY);
        let mut any = false;
        mask.iter_set_entries(|id| {
            if let (Some(to), Some(&logit)) = (self.logits.get_mut(id), logits.get(id)) {
                (*to, any) = (logit, true);
            }
        });
        if mask.is_allowed(self.eos) {
            // Whichever end the model likes best.
            for &id in &model.meta().generation.eos {
                if let (Some(to), Some(&logit)) =
                    (self.logits.get_mut(id as usize), logits.get(id as usize))
                {
                    *to = logit;
                }
            }
        }
        if !any {
            let reason = "no token of the model can go on with the form".to_owned();
            return Err(Error::Form { reason });
        }
        Ok(sampler.sample(&mut self.logits, recent))
    }

    /// Takes note of a token that belongs to the answer.
    ///
    /// # Errors
    /// If it does not have the form.
    pub(in crate::task) fn accept(&mut self, token: u32) -> Result<(), Error> {
        self.matcher.consume_token(token).map_err(wrong)
    }

    /// The tokens that must come next, as far as there is no choice.
    pub(in crate::task) fn forced(&mut self) -> Vec<u32> {
        if self.matcher.is_stopped() { Vec::new() } else { self.matcher.compute_ff_tokens() }
    }

    /// Whether nothing may follow.
    pub(in crate::task) fn is_complete(&self) -> bool {
        self.matcher.is_stopped()
    }
}

fn json_of(schema: serde_json::Value) -> TopLevelGrammar {
    TopLevelGrammar::from_json_schema(Form::tidy(schema))
}

fn wrong(error: impl std::fmt::Display) -> Error {
    Error::Form { reason: in_one_line(&error.to_string()) }
}

/// Errors of grammars come with the grammar.
fn in_one_line(text: &str) -> String {
    let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or(text);
    line.chars().take(300).collect()
}
