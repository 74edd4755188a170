//! A model's chat template: from messages to prompts.

use super::look_alikes::{BREAK, break_specials};
use crate::error::Error;
use crate::model::Model;
use crate::template::{ChatTemplate, Extras, Message};
use crate::tokenizer::Place;

/// A model's chat template, ready to write prompts: what [`crate::Chat`] uses, for those who keep
/// conversations elsewhere.
///
/// ```no_run
/// # fn main() -> Result<(), kinglet::Error> {
/// use kinglet::{Message, Model, PromptOptions};
///
/// let format = Model::open("smollm2.kinglet")?.chat_format()?;
/// let prompt = format.prompt(&[Message::new("user", "Name a bird.")], &PromptOptions::default())?;
/// println!("{} tokens: {}", prompt.tokens.len(), prompt.text);
/// # Ok(()) }
/// ```
pub struct ChatFormat {
    model: Model,
    template: ChatTemplate,
    /// Texts of all special tokens, found once in a vocabulary that may be large.
    specials: Vec<String>,
}

impl std::fmt::Debug for ChatFormat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChatFormat").field("model", &self.model).finish_non_exhaustive()
    }
}

/// What a prompt is written with, besides its messages.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct PromptOptions {
    /// Tools that the model may call, as JSON schemas in the form `{"type": "function", "function": {"name",
    /// "description", "parameters"}}`.
    pub tools: Vec<serde_json::Value>,
    /// Whether the model is to think before it answers; `None` leaves it to the template.
    pub thinking: Option<bool>,
    /// Further values that the template may read.
    pub values: serde_json::Map<String, serde_json::Value>,
    /// The last message is the start of the answer, which goes on from there.
    pub continues: bool,
}

/// A conversation as the model reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChatPrompt {
    /// The text, special tokens spelled out.
    pub text: String,
    /// Its tokens. Look-alikes of special tokens in messages are plain text here.
    pub tokens: Vec<u32>,
}

impl Model {
    /// The model's chat template.
    ///
    /// # Errors
    /// If the model has none or a broken one.
    pub fn chat_format(&self) -> Result<ChatFormat, Error> {
        let Some(source) = &self.meta().chat_template else {
            return Err(Error::Template {
                reason: "the model has none; generate from plain text instead".to_owned(),
            });
        };
        let tokenizer = self.tokenizer();
        let text = |id: Option<u32>| {
            id.and_then(|id| tokenizer.token(id)).unwrap_or_default().into_owned()
        };
        // The tokenizer's, as templates mean them: the ids that begin and end a generation may differ.
        let generation = &self.meta().generation;
        let bos = text(tokenizer.bos().or(generation.bos));
        let eos = text(tokenizer.eos().or(generation.eos.first().copied()));
        let template = ChatTemplate::new(source, &bos, &eos)?;
        let specials = tokenizer.special_tokens().map(|(_, text)| text.into_owned()).collect();
        Ok(ChatFormat { model: self.clone(), template, specials })
    }
}

impl ChatFormat {
    /// The prompt that asks for the assistant's answer to these messages.
    ///
    /// # Errors
    /// If the template refuses the conversation.
    pub fn prompt(
        &self,
        messages: &[Message],
        options: &PromptOptions,
    ) -> Result<ChatPrompt, Error> {
        let text = self.render(messages, options)?;
        let tokens = self.model.tokenizer().encode_marked(&text, Place::Start, BREAK);
        Ok(ChatPrompt { text: text.replace(BREAK, ""), tokens })
    }

    /// Whether the template passes system messages on. Some leave them out without a word, and some
    /// refuse the conversation; the text then has to stand in the user's first message.
    pub fn reads_system(&self) -> bool {
        self.template.reads_system()
    }

    /// Whether the template tells the model about tools.
    pub fn reads_tools(&self) -> bool {
        self.template.source_mentions("tools")
    }

    /// Whether it has the model put calls of tools between `<tool_call>` and `</tool_call>`.
    pub fn marks_tool_calls(&self) -> bool {
        self.template.source_mentions("<tool_call>")
    }

    /// The text of a prompt in which look-alikes of special tokens are broken by [`BREAK`].
    pub(super) fn render(
        &self,
        messages: &[Message],
        options: &PromptOptions,
    ) -> Result<String, Error> {
        if messages.is_empty() {
            return Err(Error::Empty { what: "the conversation" });
        }
        let (messages, started) = match messages.split_last() {
            Some((last, before)) if options.continues && last.role == "assistant" => {
                (before, Some(&*last.content))
            }
            _ => (messages, None),
        };
        let messages: Vec<Message> = messages
            .iter()
            .map(|message| match message.role.as_str() {
                "assistant" => message.clone(),
                _ => {
                    let content = break_specials(&self.specials, &message.content);
                    Message { content, ..message.clone() }
                }
            })
            .collect();
        let extras = Extras {
            tools: self.unspecial(&options.tools)?,
            thinking: options.thinking,
            values: &options.values,
        };
        let mut text = self.template.render_with(&messages, &extras)?;
        text.push_str(started.unwrap_or_default());
        Ok(text)
    }

    /// Tools without look-alikes of special tokens.
    fn unspecial(&self, tools: &[serde_json::Value]) -> Result<Vec<serde_json::Value>, Error> {
        if tools.is_empty() {
            return Ok(Vec::new());
        }
        let broken = |error: serde_json::Error| Error::Template { reason: error.to_string() };
        let text = serde_json::to_string(tools).map_err(broken)?;
        serde_json::from_str(&break_specials(&self.specials, &text)).map_err(broken)
    }
}
