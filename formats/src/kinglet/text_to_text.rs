//! What the meta section says about models that answer a text which they have read: how answers are
//! searched for, and languages.

use serde::{Deserialize, Serialize};

/// How answers to a source are searched for, as transformers' generation configuration has it.
///
/// Lengths count the tokens of an answer with the one that it starts from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextToText {
    /// Token that an answer starts from, which is no part of it.
    pub start: u32,
    /// Token that comes next, whatever the model would choose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forced_first: Option<u32>,
    /// Token that ends an answer of the greatest length.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forced_last: Option<u32>,
    /// Tokens that are never chosen.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub suppressed: Vec<u32>,
    /// Answers that are followed side by side; 1 is greedy.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub beams: u32,
    /// Sums of log-probabilities are divided by the length to this power.
    #[serde(default = "unit", skip_serializing_if = "is_unit")]
    pub length_penalty: f32,
    /// When a search by beams ends.
    #[serde(default, skip_serializing_if = "EarlyStopping::is_default")]
    pub early_stopping: EarlyStopping,
    /// Runs of this many tokens do not occur twice; 0 allows all.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub no_repeat_ngram: u32,
    /// No answer ends before this length.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub min_length: u32,
    /// Every answer ends at this length.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_length: Option<u32>,
}

/// When a search by beams ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EarlyStopping {
    /// When the best unfinished answer, at its present length, is no better than the worst finished
    /// one.
    #[default]
    Unlikely,
    /// As soon as there are as many finished answers as beams.
    Full,
    /// When no unfinished answer of any length can become better than the worst finished one.
    Never,
}

impl EarlyStopping {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// The languages of a translator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Translation {
    /// Token behind a source text.
    pub source_end: u32,
    /// Languages of sources; none where any is taken without being named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub from: Vec<TextLanguage>,
    /// Languages of translations.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub to: Vec<TextLanguage>,
}

/// A language and the token that stands for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextLanguage {
    /// Its code, as the checkpoint writes it: `pt`, `por_Latn`.
    pub code: String,
    /// What tells the model; nothing where it has the one language.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<Mark>,
}

/// Where a token stands that tells a language.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mark {
    /// Before the source.
    SourceFirst(u32),
    /// Behind the source and its end.
    SourceLast(u32),
    /// First in the answer.
    AnswerFirst(u32),
}

impl TextToText {
    /// Greedy answers that start from `start`.
    pub fn greedy(start: u32) -> Self {
        Self {
            start,
            forced_first: None,
            forced_last: None,
            suppressed: Vec::new(),
            beams: 1,
            length_penalty: 1.0,
            early_stopping: EarlyStopping::default(),
            no_repeat_ngram: 0,
            min_length: 0,
            max_length: None,
        }
    }

    /// What is wrong, if something is.
    pub(super) fn problem(&self) -> Option<String> {
        if !(1..=MAX_BEAMS).contains(&self.beams) {
            return Some(format!(
                "text_to_text.beams is {}, possible are 1 to {MAX_BEAMS}",
                self.beams
            ));
        }
        if !(-MAX_PENALTY..=MAX_PENALTY).contains(&self.length_penalty) {
            return Some(format!("text_to_text.length_penalty is {}", self.length_penalty));
        }
        if self.max_length.is_some_and(|most| most < 2) {
            return Some("text_to_text.max_length is below 2".to_owned());
        }
        None
    }
}

/// Most beams.
pub const MAX_BEAMS: u32 = 64;
const MAX_PENALTY: f32 = 100.0;

impl Translation {
    /// What is wrong, if something is.
    pub(super) fn problem(&self) -> Option<String> {
        for (name, list) in [("from", &self.from), ("to", &self.to)] {
            let mut codes: Vec<&str> = list.iter().map(|language| &*language.code).collect();
            codes.sort_unstable();
            if let Some(twice) = codes.windows(2).find(|pair| pair[0] == pair[1]) {
                return Some(format!("translation.{name} has {:?} twice", twice[0]));
            }
        }
        None
    }
}

fn one() -> u32 {
    1
}

fn is_one(n: &u32) -> bool {
    *n == 1
}

fn unit() -> f32 {
    1.0
}

fn is_unit(x: &f32) -> bool {
    *x == 1.0
}

fn is_zero(n: &u32) -> bool {
    *n == 0
}
