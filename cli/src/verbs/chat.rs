//! `kinglet chat`: a conversation.

mod command;
mod line;
mod transcript;

use std::time::Instant;

use clap::Args;
use kinglet::{Chat, GenerateOptions, Message};

use self::line::{Input, Line};
use crate::arguments::{ModelArguments, SessionArguments, Text};
use crate::failure::Failure;
use crate::generation::{self, Finish, Statistics, Stream};
use crate::interrupt::{self, Guard};
use crate::output::{print, say};
use crate::resolve::{self, Opened};
use crate::sampling::SamplingArguments;
use crate::system;

/// Talk with a model
///
/// Lines are messages; commands begin with a slash (/help lists them). Standard input that is no
/// terminal works too: each line gets an answer.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kinglet chat smollm2-135m
  kinglet chat model.kinglet -sys \"Answer in one sentence.\" --temp 0
  printf 'Hello!\\nAnd in French?\\n' | kinglet chat smollm2-135m")]
pub(crate) struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    /// A first message
    #[arg(short, long, value_name = "TEXT", allow_hyphen_values = true, value_parser = Text)]
    prompt: Option<String>,
    #[command(flatten)]
    session: SessionArguments,
    /// Report speed and memory after each answer
    #[arg(short, long)]
    verbose: bool,
    #[command(flatten)]
    sampling: SamplingArguments,
}

/// What a conversation is begun with.
pub(super) struct Talk<'a> {
    pub(super) model: &'a ModelArguments,
    pub(super) session: &'a SessionArguments,
    pub(super) sampling: &'a SamplingArguments,
    /// A message before those that are typed.
    pub(super) first: Option<&'a str>,
    pub(super) verbose: bool,
}

/// A conversation and its settings.
struct Conversation {
    chat: Chat,
    system: Option<String>,
    options: GenerateOptions,
    end_repetition: bool,
    verbose: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    if !arguments.model.words(&[])?.is_empty() {
        return Err(Failure::usage("the model is given twice"));
    }
    resolve::check(&arguments.model, "run", &[], "smollm2-135m")?;
    talk(&Talk {
        model: &arguments.model,
        session: &arguments.session,
        sampling: &arguments.sampling,
        first: arguments.prompt.as_deref(),
        verbose: arguments.verbose,
    })
}

/// Begins a conversation and holds it to its end.
pub(super) fn talk(talk: &Talk<'_>) -> Result<(), Failure> {
    let Opened { model, name, sampling } = resolve::open(talk.model)?;
    let options = talk.sampling.options(&model, sampling);
    let session = model.session_with(&talk.session.options(&model))?;
    let mut conversation = Conversation {
        chat: Chat::new(session)?,
        system: talk.session.system().map(str::to_owned),
        options,
        end_repetition: talk.sampling.ends_repetition(),
        verbose: talk.verbose,
    };
    system::put(&mut conversation.chat, talk.session.system())?;

    let mut input = Input::new()?;
    if input.is_interactive() {
        say!("{name}: /help lists commands, Ctrl-D ends");
    }
    if let Some(first) = talk.first.map(str::trim).filter(|text| !text.is_empty()) {
        if input.is_interactive() {
            say!(">>> {first}");
        }
        conversation.answer(first)?;
    }
    converse(&mut conversation, &mut input)
}

fn converse(conversation: &mut Conversation, input: &mut Input) -> Result<(), Failure> {
    let mut interrupted = false;
    while !interrupt::is_ending() {
        let message = match input.read()? {
            Line::End => break,
            Line::Interrupt if interrupted => return Err(Failure::Interrupted),
            Line::Interrupt => {
                interrupted = true;
                say!("Ctrl-D or /bye ends; Ctrl-C again too");
                continue;
            }
            Line::Text(text) => text,
        };
        interrupted = false;
        let message = message.trim();
        // A command is a line; several are a message, though it may begin with a comment.
        let command = message.strip_prefix('/').filter(|_| !message.contains('\n'));
        match command {
            Some(command) => {
                if !conversation.command(command) {
                    break;
                }
            }
            None if message.is_empty() => {}
            None => conversation.answer(message)?,
        }
    }
    if interrupt::is_ending() { Err(Failure::Interrupted) } else { Ok(()) }
}

impl Conversation {
    /// Starts over; instructions that the template refuses are given up.
    fn reset(&mut self) {
        self.chat.reset();
        if let Err(failure) = system::put(&mut self.chat, self.system.as_deref()) {
            self.system = None;
            self.chat.reset();
            say!("error: {failure}");
        }
    }

    /// Begins again from these messages.
    fn restart(&mut self, messages: Vec<Message>) {
        let is_system = |message: &&Message| message.role == "system";
        let first = messages.first().filter(is_system);
        let n_first = usize::from(first.is_some());
        self.system = first.map(|message| message.content.clone());
        self.reset();
        for message in messages.into_iter().skip(n_first) {
            self.chat.push(message);
        }
    }

    /// Writes an answer. What a model or template cannot do ends the turn, not the conversation.
    fn answer(&mut self, message: &str) -> Result<(), Failure> {
        let start = Instant::now();
        let guard = Guard::cancel(self.chat.session().cancel_token());
        let (model, kv) = (self.chat.session().model().clone(), self.chat.session().kv_type());
        let ways_on = self.ways_on();
        let answer = match self.chat.say(message, &self.options) {
            Ok(answer) => answer,
            Err(error) => {
                say!("error: {}", told(error, &ways_on));
                return Ok(());
            }
        };
        let mut first_token = None;
        let measured = generation::run(Stream::Chat(answer), self.end_repetition, |piece| {
            first_token.get_or_insert_with(|| start.elapsed());
            print(piece)
        })?;
        print("\n")?;
        drop(guard);
        let first_token = first_token.unwrap_or_else(|| start.elapsed());
        if self.verbose {
            say!("{}", Statistics::new(&model, kv, &measured, first_token).describe(true));
        }
        match measured.finish {
            Finish::ContextFull => say!("the answer was cut: {}", ways_on),
            finish => finish.warning().into_iter().for_each(|warning| say!("{warning}")),
        }
        Ok(())
    }

    /// What can be done in a conversation whose context is full.
    fn ways_on(&self) -> String {
        let session = self.chat.session();
        let (length, most) = (session.context_length(), session.model().context_length());
        let larger = match length < most {
            true => format!("; kinglet chat with a larger -c (up to {most}) and /load goes on"),
            false => String::new(),
        };
        format!(
            "the context of {length} tokens is full. /forget drops the older half of the \
             conversation, /reset all of it; /save keeps it in a file{larger}"
        )
    }
}

/// What to say about an error that ends a turn.
fn told(error: kinglet::Error, ways_on: &str) -> String {
    match error {
        kinglet::Error::ContextFull { wanted, .. } => {
            format!("{wanted} tokens do not fit: {ways_on}")
        }
        error => format!("{}; /reset starts over", Failure::from(error)),
    }
}
