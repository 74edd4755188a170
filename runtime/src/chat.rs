//! A conversation: messages through the file's template, each turn computed once.

use crate::error::Error;
use crate::generate::{GenerateOptions, Generation};
use crate::session::Session;
use crate::template::{ChatTemplate, Message};
use crate::tokenizer::{EncodeOptions, Tokenizer};

/// Splits look-alikes of special tokens in what people write; a Unicode noncharacter.
const BREAK: char = '\u{fdd0}';

/// A conversation with a model.
///
/// ```no_run
/// # fn main() -> Result<(), kinglet::Error> {
/// let mut chat = kinglet::Model::open("smollm2.kinglet")?.chat()?;
/// let mut answer = chat.say("Name a bird.", &Default::default())?;
/// while let Some(piece) = answer.advance()? {
///     print!("{piece}");
/// }
/// # Ok(()) }
/// ```
pub struct Chat {
    session: Session,
    template: ChatTemplate,
    messages: Vec<Message>,
    /// The text that the session's tokens stand for.
    held: String,
}

impl std::fmt::Debug for Chat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Chat").field("messages", &self.messages).finish_non_exhaustive()
    }
}

impl Chat {
    /// A conversation held in `session`, which is reset.
    ///
    /// # Errors
    /// If the model has no chat template or a broken one.
    pub fn new(mut session: Session) -> Result<Self, Error> {
        let model = session.model();
        let Some(source) = &model.meta().chat_template else {
            return Err(Error::Template {
                reason: "the model has none; generate from plain text instead".to_owned(),
            });
        };
        let text = |id: Option<u32>| {
            id.and_then(|id| model.tokenizer().token(id)).unwrap_or_default().into_owned()
        };
        let bos = text(model.meta().generation.bos.or(model.tokenizer().bos()));
        let eos = text(model.meta().generation.eos.first().copied());
        let template = ChatTemplate::new(source, &bos, &eos)?;
        session.reset();
        Ok(Self { session, template, messages: Vec::new(), held: String::new() })
    }

    /// The messages so far.
    pub fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// Adds a message without asking for an answer, such as a `system` message or history.
    pub fn push(&mut self, message: Message) {
        self.messages.push(message);
    }

    /// Starts over.
    pub fn reset(&mut self) {
        self.messages.clear();
        self.held.clear();
        self.session.reset();
    }

    /// The session behind the conversation.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// The prompt that the next answer would follow, as text and as tokens from its start.
    ///
    /// # Errors
    /// If the template refuses the conversation.
    pub fn prompt(&self) -> Result<(String, Vec<u32>), Error> {
        let text = self.render()?;
        let tokens = encode(self.session.model().tokenizer(), &text);
        Ok((text.replace(BREAK, ""), tokens))
    }

    /// Adds the user's words and answers them. What earlier turns computed is kept.
    ///
    /// # Errors
    /// If the template refuses the conversation, or it no longer fits the context; the message is
    /// then not part of the conversation.
    pub fn say(
        &mut self,
        content: impl Into<String>,
        options: &GenerateOptions,
    ) -> Result<Answer<'_>, Error> {
        self.messages.push(Message::new("user", content));
        let prepared = self.prepare();
        let started = match prepared {
            Ok((text, tokens)) => {
                self.session.generate_from(tokens, options).map(|generation| (text, generation))
            }
            Err(error) => Err(error),
        };
        match started {
            Ok((text, generation)) => {
                self.held = text;
                let Self { messages, held, .. } = self;
                Ok(Answer { generation, messages, held, text: String::new() })
            }
            Err(error) => {
                self.messages.pop();
                Err(error)
            }
        }
    }

    /// Brings the session to where the new prompt departs from what it holds; returns the whole
    /// prompt and the tokens still to feed.
    fn prepare(&mut self) -> Result<(String, Vec<u32>), Error> {
        let text = self.render()?;
        let tokenizer = self.session.model().tokenizer();
        if let Some(rest) = text.strip_prefix(self.held.as_str())
            && !self.held.is_empty()
            && !rest.is_empty()
        {
            let tokens = encode(tokenizer, rest);
            return Ok((text, tokens));
        }
        let tokens = encode(tokenizer, &text);
        let same = self.session.tokens().iter().zip(&tokens).take_while(|(a, b)| a == b).count();
        // The last token is always fed, for its logits.
        let keep = same.min(tokens.len().saturating_sub(1));
        let (wanted, context_length) = (tokens.len() - keep, self.session.context_length());
        if wanted > context_length - keep {
            return Err(Error::ContextFull { used: keep, wanted, context_length });
        }
        self.held.clear();
        self.session.truncate(keep);
        Ok((text, tokens[keep..].to_vec()))
    }

    fn render(&self) -> Result<String, Error> {
        let tokenizer = self.session.model().tokenizer();
        let messages: Vec<Message> = self
            .messages
            .iter()
            .map(|message| match message.role.as_str() {
                "assistant" => message.clone(),
                _ => Message::new(&*message.role, break_specials(tokenizer, &message.content)),
            })
            .collect();
        self.template.render(&messages)
    }
}

/// Puts a [`BREAK`] into every look-alike of a special token, so that a user cannot end their turn
/// or speak as another role.
fn break_specials(tokenizer: &Tokenizer, content: &str) -> String {
    let mut content = content.replace(BREAK, "");
    for (_, special) in tokenizer.special_tokens() {
        let mut chars = special.chars();
        let Some(first) = chars.next() else { continue };
        if !chars.as_str().is_empty() && content.contains(&*special) {
            content = content.replace(&*special, &format!("{first}{BREAK}{}", chars.as_str()));
        }
    }
    content
}

fn encode(tokenizer: &Tokenizer, text: &str) -> Vec<u32> {
    let options = EncodeOptions { add_special: false, parse_special: true };
    text.split(BREAK).flat_map(|part| tokenizer.encode(part, options)).collect()
}

/// The assistant's answer in the making; when it is dropped, what has been said of it becomes
/// part of the conversation.
pub struct Answer<'a> {
    generation: Generation<'a>,
    messages: &'a mut Vec<Message>,
    held: &'a mut String,
    text: String,
}

impl std::fmt::Debug for Answer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answer").field("text", &self.text).finish_non_exhaustive()
    }
}

impl<'a> Answer<'a> {
    /// The next piece of text, see [`Generation::advance`].
    ///
    /// # Errors
    /// As [`Generation::advance`].
    pub fn advance(&mut self) -> Result<Option<&str>, Error> {
        let piece = self.generation.advance()?;
        if let Some(piece) = piece {
            self.text.push_str(piece);
        }
        Ok(piece)
    }

    /// The text so far.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Counts and the reason for the end.
    pub fn generation(&self) -> &Generation<'a> {
        &self.generation
    }
}

impl Drop for Answer<'_> {
    fn drop(&mut self) {
        let text = std::mem::take(&mut self.text);
        self.held.push_str(&text);
        self.messages.push(Message::new("assistant", text));
    }
}

/// Pieces as owned strings; [`Answer::advance`] gives them out without allocating.
impl Iterator for Answer<'_> {
    type Item = Result<String, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.advance() {
                Ok(Some("")) => {}
                Ok(Some(piece)) => return Some(Ok(piece.to_owned())),
                Ok(None) => return None,
                Err(error) => return Some(Err(error)),
            }
        }
    }
}
