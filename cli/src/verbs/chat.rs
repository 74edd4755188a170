//! `kinglet chat`: a conversation.

use std::io::{BufRead, IsTerminal, Write, stderr, stdin};
use std::str::FromStr;
use std::time::Instant;

use clap::Args;
use kinglet::{Chat, FinishReason, GenerateOptions, KvType, Message};

use crate::arguments::{ModelArguments, SamplingArguments, session_options};
use crate::failure::Failure;
use crate::generation::{self, Statistics, Stream};
use crate::interrupt::Guard;
use crate::output::{print, say};
use crate::resolve;

const HELP: &str = "\
/system TEXT     start over with these instructions
/reset           start over
/set NAME VALUE  temp, top-k, top-p, min-p, repeat-penalty, repeat-last-n, seed or predict (n)
/save FILE       write the conversation to a file
/bye             leave (so does Ctrl-D)
\"\"\"              begins and ends a message of several lines
Ctrl-C stops an answer.";

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
    /// Instructions that go before the conversation (-sys works too)
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    system: Option<String>,
    /// Most tokens of the conversation [default: what the model was made for]
    #[arg(short = 'c', long = "ctx-size", value_name = "N")]
    context: Option<usize>,
    /// How keys and values are kept: f16, or int8 in half the memory
    #[arg(long, value_name = "TYPE", default_value_t)]
    kv: KvType,
    #[command(flatten)]
    sampling: SamplingArguments,
    /// Report speed and memory after each answer
    #[arg(long)]
    verbose: bool,
}

/// A conversation and its settings.
struct Conversation {
    chat: Chat,
    system: Option<String>,
    options: GenerateOptions,
    verbose: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    if !arguments.model.words(&[]).is_empty() {
        return Err(Failure::usage("the model is given twice"));
    }
    let (model, recommended) = resolve::open(&arguments.model)?;
    let options = arguments.sampling.options(&model, recommended)?;
    let session = model.session_with(&session_options(arguments.context, arguments.kv))?;
    let chat = Chat::new(session)?;
    let system = arguments.system.clone();
    let mut conversation = Conversation { chat, system, options, verbose: arguments.verbose };
    conversation.reset();

    let interactive = stdin().is_terminal();
    if interactive {
        say!("{}: /help lists commands, Ctrl-D ends", model.meta().general.name);
    }
    while let Some(message) = read_message(interactive)? {
        let message = message.trim();
        if message.is_empty() {
            continue;
        }
        match message.strip_prefix('/') {
            Some(command) => {
                if !conversation.command(command) {
                    break;
                }
            }
            None => conversation.answer(message)?,
        }
    }
    Ok(())
}

/// The next message: a line, or several between `"""`. `None` at the end of the input.
fn read_message(interactive: bool) -> Result<Option<String>, Failure> {
    let _guard = interactive.then(|| Guard::hint("Ctrl-D or /bye ends; Ctrl-C again too"));
    let Some(first) = read_line(if interactive { ">>> " } else { "" })? else { return Ok(None) };
    let Some(begun) = first.trim().strip_prefix("\"\"\"") else { return Ok(Some(first)) };
    let mut text = begun.to_owned();
    while !text.trim_end().ends_with("\"\"\"") {
        match read_line(if interactive { "... " } else { "" })? {
            Some(line) => text = format!("{text}\n{}", line.trim_end_matches(['\n', '\r'])),
            None => return Ok(Some(text)),
        }
    }
    Ok(Some(text.trim_end().trim_end_matches("\"\"\"").to_owned()))
}

fn read_line(prompt: &str) -> Result<Option<String>, Failure> {
    if !prompt.is_empty() {
        let mut terminal = stderr().lock();
        // Without standard error there is nobody to prompt.
        let _ = terminal.write_all(prompt.as_bytes()).and_then(|()| terminal.flush());
    }
    let mut line = Vec::new();
    let n = stdin().lock().read_until(b'\n', &mut line)?;
    if n == 0 && !prompt.is_empty() {
        say!("");
    }
    Ok((n > 0).then(|| String::from_utf8_lossy(&line).into_owned()))
}

impl Conversation {
    fn reset(&mut self) {
        self.chat.reset();
        if let Some(system) = &self.system {
            self.chat.push(Message::new("system", system));
        }
    }

    /// Writes an answer. What a model or template cannot do ends the turn, not the conversation.
    fn answer(&mut self, message: &str) -> Result<(), Failure> {
        let start = Instant::now();
        let guard = Guard::cancel(self.chat.session().cancel_token());
        let (model, kv) = (self.chat.session().model().clone(), self.chat.session().kv_type());
        let answer = match self.chat.say(message, &self.options) {
            Ok(answer) => answer,
            Err(error) => {
                let failure = Failure::from(error);
                say!("error: {failure}; /reset starts over");
                return Ok(());
            }
        };
        let mut first_token = None;
        let measured = generation::run(Stream::Chat(answer), |piece| {
            first_token.get_or_insert_with(|| start.elapsed());
            print(piece)
        })?;
        print("\n")?;
        drop(guard);
        let first_token = first_token.unwrap_or_else(|| start.elapsed());
        if self.verbose {
            say!("{}", Statistics::new(&model, kv, &measured, first_token).describe());
        } else if measured.finish == FinishReason::ContextFull {
            say!("the context is full; /reset starts over");
        }
        Ok(())
    }

    /// Carries out a command; `false` ends the conversation.
    fn command(&mut self, command: &str) -> bool {
        let (name, rest) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
        let rest = rest.trim();
        match name {
            "bye" | "exit" | "quit" => return false,
            "help" | "?" => say!("{HELP}"),
            "reset" | "clear" => {
                self.reset();
                say!("started over");
            }
            "system" => {
                self.system = (!rest.is_empty()).then(|| rest.to_owned());
                self.reset();
                say!(
                    "started over {} instructions",
                    if rest.is_empty() { "without" } else { "with" }
                );
            }
            "set" => match self.set(rest) {
                Ok(()) => say!("set {rest}"),
                Err(problem) => say!("error: {problem}"),
            },
            "save" if rest.is_empty() => say!("error: /save needs the name of a file"),
            "save" => match std::fs::write(rest, self.transcript()) {
                Ok(()) => say!("saved to {rest}"),
                Err(error) => say!("error: {rest}: {error}"),
            },
            other => say!("error: there is no command /{other}; /help lists them"),
        }
        true
    }

    fn set(&mut self, words: &str) -> Result<(), String> {
        fn parse<T: FromStr>(value: &str) -> Result<T, String> {
            value.parse().map_err(|_| format!("`{value}` is no possible value"))
        }
        let (name, value) =
            words.split_once(char::is_whitespace).ok_or("/set needs a name and a value")?;
        let value = value.trim();
        let mut options = self.options.clone();
        match name.trim_start_matches("--").replace('_', "-").as_str() {
            "temp" | "temperature" => options.temperature = Some(parse(value)?),
            "top-k" => options.top_k = Some(parse(value)?),
            "top-p" => options.top_p = Some(parse(value)?),
            "min-p" => options.min_p = Some(parse(value)?),
            "repeat-penalty" => options.repeat_penalty = Some(parse(value)?),
            "repeat-last-n" => options.repeat_last_n = Some(parse(value)?),
            "seed" => options.seed = Some(parse(value)?),
            "predict" | "n" | "num-predict" if value == "-1" => options.max_tokens = None,
            "predict" | "n" | "num-predict" => options.max_tokens = Some(parse(value)?),
            _ => return Err(format!("there is no setting `{name}`; /help lists them")),
        }
        self.options = options;
        Ok(())
    }

    /// The conversation as Markdown.
    fn transcript(&self) -> String {
        let turns = self.chat.messages().iter();
        turns.map(|turn| format!("**{}**: {}\n\n", turn.role, turn.content)).collect()
    }
}
