//! The meta section: what the model is, how it is used and where it comes from, as JSON.

use serde::{Deserialize, Serialize};

use super::error::KingletError;
use super::limits::META_BYTES;
use super::text_to_text::{TextToText, Translation};
use super::{Dictation, Preprocessing, Speech, VERSION, json};
use crate::spec::{Head, ModelSpec};

/// Everything about a model but its numbers and its tokenizer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Meta {
    /// Name, licence and the like.
    pub general: General,
    /// The network.
    pub spec: ModelSpec,
    /// Defaults for generating text.
    #[serde(default, skip_serializing_if = "is_default")]
    pub generation: Generation,
    /// Jinja template that turns a conversation into a prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chat_template: Option<String>,
    /// Tokens by which the model fills a gap in a text, if it was trained to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub infill: Option<Infill>,
    /// Names of the labels of a head that has some, in the order of its outputs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// How a text-embedding model is used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embedding: Option<EmbeddingUse>,
    /// How a model that reads speech writes it down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speech: Option<Speech>,
    /// How a model that reads samples of sound writes it down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dictation: Option<Dictation>,
    /// How an image becomes what a model reads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preprocessing: Option<Preprocessing>,
    /// How a model answers a text that it has read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text_to_text: Option<TextToText>,
    /// The languages of a translator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub translation: Option<Translation>,
    /// Where the file comes from.
    pub provenance: Provenance,
}

/// Name, licence and the like, under GGUF's key names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct General {
    /// Name of the model.
    pub name: String,
    /// Who made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// One sentence about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Licence, as an SPDX expression where possible.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub license: Option<String>,
    /// Where it is published.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Languages it was made for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub languages: Vec<String>,
}

/// Defaults for generating text; what is `None` is up to the caller.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Generation {
    /// Token that begins a text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bos: Option<u32>,
    /// Tokens that end an answer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub eos: Vec<u32>,
    /// Divisor of the logits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f32>,
    /// Only the most likely tokens, this many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_k: Option<u32>,
    /// Only the most likely tokens, with this total probability.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f32>,
    /// Only tokens at least this likely, relative to the most likely one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_p: Option<f32>,
    /// Divisor of the logits of tokens seen before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repeat_penalty: Option<f32>,
}

/// Tokens by which a model fills a gap in a text (arXiv:2207.14255): it continues
/// `prefix TEXT suffix TEXT middle`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Infill {
    /// Goes before the text that precedes the gap.
    pub prefix: u32,
    /// Goes before the text that follows the gap.
    pub suffix: u32,
    /// Goes before what fills the gap.
    pub middle: u32,
    /// Tokens that end it, besides those that end every answer.
    pub ends: Vec<u32>,
}

/// How a text-embedding model is used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmbeddingUse {
    /// Tokens after which a text is cut, special tokens included.
    pub max_tokens: usize,
    /// What goes before texts of a kind, by name; names stand once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prompts: Vec<Prompt>,
    /// Name of the prompt that goes before every text unless another is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_prompt: Option<String>,
    /// Whether the rows of a prompt are left out when rows become one.
    #[serde(default, skip_serializing_if = "is_false")]
    pub prompt_unpooled: bool,
    /// What short texts are filled up with, if they are: it is read like any other token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filler: Option<Filler>,
}

/// What texts are filled up with behind their end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Filler {
    /// The token.
    pub token: u32,
    /// Tokens of every text then.
    pub length: usize,
}

/// What goes before texts of a kind: an instruction, or the mark of a query.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prompt {
    /// The name by which it is asked for.
    pub name: String,
    /// The text.
    pub text: String,
}

impl EmbeddingUse {
    /// The prompt called `name`.
    pub fn prompt(&self, name: &str) -> Option<&Prompt> {
        self.prompts.iter().find(|prompt| prompt.name == name)
    }

    /// What is wrong, if something is.
    fn problem(&self) -> Option<String> {
        if self.max_tokens == 0 {
            return Some("embedding.max_tokens is 0".to_owned());
        }
        if let Some(Filler { length, .. }) = self.filler
            && length > self.max_tokens
        {
            let most = self.max_tokens;
            return Some(format!("embedding.filler: {length} tokens, a text has {most} at most"));
        }
        let mut names: Vec<&str> = self.prompts.iter().map(|prompt| &*prompt.name).collect();
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Some(format!("there are two prompts {:?}", twice[0]));
        }
        let default = self.default_prompt.as_ref().filter(|name| self.prompt(name).is_none());
        default.map(|name| format!("embedding.default_prompt: there is no prompt {name:?}"))
    }
}

/// Where a file comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Provenance {
    /// What the inputs were: the name of a checkpoint, and its kind.
    pub source: String,
    /// The files that were read.
    pub inputs: Vec<InputFile>,
    /// Program and version that wrote the file.
    pub tool: String,
    /// Options it was given.
    pub options: String,
}

/// A file that was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputFile {
    /// File name without folders.
    pub name: String,
    /// Length.
    pub bytes: u64,
    /// BLAKE3 of its bytes, in hexadecimal.
    pub blake3: String,
}

impl Meta {
    /// Reads and checks a meta section of a file with this minor version.
    pub(super) fn parse(text: &[u8], minor: u16) -> Result<Self, KingletError> {
        if text.len() > META_BYTES {
            return Err(KingletError::MetaLength { length: text.len() as u64 });
        }
        json::check_bounds(text).map_err(|problem| KingletError::Meta { problem, minor })?;
        let meta: Self = serde_json::from_slice(text)
            .map_err(|e| KingletError::Meta { problem: e.to_string(), minor })?;
        meta.check(minor)?;
        Ok(meta)
    }

    /// The section's bytes, checked to be readable again.
    pub(super) fn to_section(&self) -> Result<Vec<u8>, KingletError> {
        self.check(VERSION.1)?;
        let text = serde_json::to_vec(self)
            .map_err(|e| KingletError::Meta { problem: e.to_string(), minor: VERSION.1 })?;
        if Self::parse(&text, VERSION.1)? != *self {
            let problem = "it does not survive JSON unchanged".to_owned();
            return Err(KingletError::Meta { problem, minor: VERSION.1 });
        }
        Ok(text)
    }

    fn check(&self, minor: u16) -> Result<(), KingletError> {
        // What only a newer reader can check looks wrong to an older one.
        self.spec.validate().map_err(|problem| match minor > VERSION.1 {
            true => KingletError::Meta { problem: problem.to_string(), minor },
            false => problem.into(),
        })?;
        let generation = &self.generation;
        let in_range = |name: &str, value: Option<f32>, least: f32, most: f32| match value {
            Some(v) if !(least..=most).contains(&v) => {
                let problem = format!("generation.{name} is {v}, outside {least} to {most}");
                Err(KingletError::Meta { problem, minor })
            }
            _ => Ok(()),
        };
        in_range("temperature", generation.temperature, 0.0, 1e3)?;
        in_range("top_p", generation.top_p, 0.0, 1.0)?;
        in_range("min_p", generation.min_p, 0.0, 1.0)?;
        in_range("repeat_penalty", generation.repeat_penalty, 1e-3, 1e3)?;
        let problem = self.embedding.as_ref().and_then(EmbeddingUse::problem);
        let problem = problem.or_else(|| self.text_to_text.as_ref()?.problem());
        let problem = problem.or_else(|| self.translation.as_ref()?.problem());
        if let Some(problem) = problem {
            return Err(KingletError::Meta { problem, minor });
        }
        if let Some(problem) = self.speech.as_ref().and_then(|speech| speech.problem(&self.spec)) {
            return Err(KingletError::Meta { problem, minor });
        }
        let problem = self.dictation.as_ref().and_then(|dictation| dictation.problem(&self.spec));
        if let Some(problem) = problem {
            return Err(KingletError::Meta { problem, minor });
        }
        let problem = self.preprocessing.as_ref().and_then(|p| p.problem(&self.spec));
        if let Some(problem) = problem {
            return Err(KingletError::Meta { problem, minor });
        }
        let n = self.labels.len();
        if let Some(n_outputs) = self.spec.labels_head().map(Head::chain_size)
            && n != n_outputs
        {
            let problem = format!("there are {n} labels for {n_outputs} outputs of a classifier");
            return Err(KingletError::Meta { problem, minor });
        }
        Ok(())
    }
}

fn is_false(b: &bool) -> bool {
    !*b
}

fn is_default(generation: &Generation) -> bool {
    *generation == Generation::default()
}
