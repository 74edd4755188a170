//! A conversation: messages through the file's template, each turn computed once.

use super::chat_format::{ChatFormat, ChatPrompt, PromptOptions};
use super::generate::{FinishReason, GenerateOptions, GenerationState};
use super::look_alikes::BREAK;
use super::session::{Session, SessionOptions};
use crate::error::Error;
use crate::model::Model;
use crate::template::Message;
use crate::tokenizer::Place;

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
    format: ChatFormat,
    messages: Vec<Message>,
    /// The text that the session's tokens stand for.
    held: String,
}

impl std::fmt::Debug for Chat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Chat").field("messages", &self.messages).finish_non_exhaustive()
    }
}

impl Model {
    /// A conversation, through the chat template of the file.
    ///
    /// # Errors
    /// As [`Model::session`], or if the model has no chat template or a broken one.
    pub fn chat(&self) -> Result<Chat, Error> {
        Chat::new(self.session_with(&SessionOptions::default())?)
    }

    /// A conversation that begins with these messages. If the last of them is the user's,
    /// [`Chat::answer`] answers it.
    ///
    /// # Errors
    /// As [`Model::chat`].
    ///
    /// ```no_run
    /// # fn main() -> Result<(), kinglet::Error> {
    /// use kinglet::Message;
    ///
    /// let model = kinglet::Model::open("smollm2.kinglet")?;
    /// let mut chat = model.chat_with([
    ///     Message::new("system", "You are an ornithologist."),
    ///     Message::new("user", "Name a small bird."),
    /// ])?;
    /// for piece in chat.answer(&Default::default())? {
    ///     print!("{}", piece?);
    /// }
    /// # Ok(()) }
    /// ```
    pub fn chat_with(&self, messages: impl IntoIterator<Item = Message>) -> Result<Chat, Error> {
        let mut chat = self.chat()?;
        chat.messages.extend(messages);
        Ok(chat)
    }
}

impl Chat {
    /// A conversation held in `session`, which is reset.
    ///
    /// # Errors
    /// If the model has no chat template or a broken one.
    pub fn new(mut session: Session) -> Result<Self, Error> {
        let format = session.model().chat_format()?;
        session.reset();
        Ok(Self { session, format, messages: Vec::new(), held: String::new() })
    }

    /// The messages so far.
    pub fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// Adds a message without asking for an answer, such as a `system` message or history.
    pub fn push(&mut self, message: Message) {
        self.messages.push(message);
    }

    /// Puts a system message in the first place, instead of one that is there; an empty text takes
    /// it away.
    pub fn set_system(&mut self, content: impl Into<String>) {
        if self.messages.first().is_some_and(|first| first.role == "system") {
            self.messages.remove(0);
        }
        let message = Message::new("system", content);
        if !message.content.is_empty() {
            self.messages.insert(0, message);
        }
    }

    /// Whether the model's template passes system messages on. Some leave them out without a word,
    /// and some refuse the conversation; the text then has to stand in the user's first message.
    pub fn template_reads_system(&self) -> bool {
        self.format.reads_system()
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
        let ChatPrompt { text, tokens } =
            self.format.prompt(&self.messages, &PromptOptions::default())?;
        Ok((text, tokens))
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
        let state = self.begin(content, options)?;
        Ok(Answer { chat: self, state })
    }

    /// Answers the conversation as it stands, which ends with the user's words.
    ///
    /// # Errors
    /// If there are no messages, the template refuses the conversation, or it no longer fits the
    /// context.
    pub fn answer(&mut self, options: &GenerateOptions) -> Result<Answer<'_>, Error> {
        if self.messages.is_empty() {
            return Err(Error::Empty { what: "the conversation" });
        }
        let state = self.begin_answer(options)?;
        Ok(Answer { chat: self, state })
    }

    /// As [`Chat::say`], by the state alone, for owners who keep both side by side. Hand it to
    /// [`Chat::end`] at last, or the answer will not be part of the conversation.
    ///
    /// # Errors
    /// As [`Chat::say`].
    pub fn begin(
        &mut self,
        content: impl Into<String>,
        options: &GenerateOptions,
    ) -> Result<AnswerState, Error> {
        self.messages.push(Message::new("user", content));
        let begun = self.begin_answer(options);
        if begun.is_err() {
            self.messages.pop();
        }
        begun
    }

    fn begin_answer(&mut self, options: &GenerateOptions) -> Result<AnswerState, Error> {
        let (text, tokens) = self.prepare()?;
        let generation = self.session.begin(&tokens, options)?;
        self.held = text;
        Ok(AnswerState { generation, text: String::new(), ended: false })
    }

    /// Adds what has been said of an answer to the conversation, once. An answer that something
    /// else has taken the place of is dropped.
    pub fn end(&mut self, answer: &mut AnswerState) {
        if !answer.ended && answer.generation.belongs_to(&self.session) {
            match answer.generation.finish_reason() {
                Some(FinishReason::Eos | FinishReason::MaxTokens | FinishReason::ContextFull) => {
                    self.held.push_str(&answer.text);
                }
                // The session has tokens whose text was not given out: the end of a stop string,
                // or of a character.
                _ => self.held.clear(),
            }
            self.messages.push(Message::new("assistant", &*answer.text));
        }
        answer.ended = true;
    }

    /// Brings the session to where the new prompt departs from what it holds; returns the whole
    /// prompt and the tokens still to feed.
    fn prepare(&mut self) -> Result<(String, Vec<u32>), Error> {
        let text = self.format.render(&self.messages, &PromptOptions::default())?;
        let tokenizer = self.session.model().tokenizer();
        if let Some(rest) = text.strip_prefix(self.held.as_str())
            && !self.held.is_empty()
            && !rest.is_empty()
        {
            let last = self.session.tokens().last();
            let place = match last.is_some_and(|&id| tokenizer.is_added(id)) {
                true => Place::Token,
                false => Place::Text,
            };
            let tokens = tokenizer.encode_marked(rest, place, BREAK);
            return Ok((text, tokens));
        }
        let tokens = tokenizer.encode_marked(&text, Place::Start, BREAK);
        let keep = self.session.keep_prefix(&tokens)?;
        self.held.clear();
        Ok((text, tokens[keep..].to_vec()))
    }
}

/// The assistant's answer in the making; when it is dropped, what has been said of it becomes
/// part of the conversation.
#[derive(Debug)]
pub struct Answer<'a> {
    chat: &'a mut Chat,
    state: AnswerState,
}

impl Answer<'_> {
    /// The next piece of text, see [`crate::Generation::advance`].
    ///
    /// # Errors
    /// As [`crate::Generation::advance`].
    pub fn advance(&mut self) -> Result<Option<&str>, Error> {
        self.state.advance(self.chat)
    }

    /// Computes the next batch of the prompt, see [`crate::Generation::prefill`].
    ///
    /// # Errors
    /// As [`crate::Generation::prefill`].
    pub fn prefill(&mut self) -> Result<usize, Error> {
        self.state.prefill(self.chat)
    }

    /// The text so far.
    pub fn text(&self) -> &str {
        self.state.text()
    }

    /// Counts and the reason for the end.
    pub fn generation(&self) -> &GenerationState {
        self.state.generation()
    }
}

impl Drop for Answer<'_> {
    fn drop(&mut self) {
        self.chat.end(&mut self.state);
    }
}

/// An [`Answer`] without its conversation, see [`Chat::begin`].
#[derive(Debug)]
pub struct AnswerState {
    generation: GenerationState,
    text: String,
    /// It has been made part of the conversation, or dropped.
    ended: bool,
}

impl AnswerState {
    /// As [`Answer::prefill`], with the conversation it was begun in.
    ///
    /// # Errors
    /// As [`Answer::prefill`].
    pub fn prefill(&mut self, chat: &mut Chat) -> Result<usize, Error> {
        self.generation.prefill(&mut chat.session)
    }

    /// As [`Answer::advance`], with the conversation it was begun in.
    ///
    /// # Errors
    /// As [`Answer::advance`].
    pub fn advance(&mut self, chat: &mut Chat) -> Result<Option<&str>, Error> {
        let piece = self.generation.advance(&mut chat.session)?;
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
    pub fn generation(&self) -> &GenerationState {
        &self.generation
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
