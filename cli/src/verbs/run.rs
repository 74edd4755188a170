//! `kinglet run`: one answer.

use std::io::{IsTerminal, stdin};
use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use kinglet::Chat;

use super::chat;
use crate::arguments::{ModelArguments, SessionArguments, Text};
use crate::failure::Failure;
use crate::generation::{self, Finish, Stream};
use crate::input::{text_of, with_piped};
use crate::interrupt::Guard;
use crate::output::Format;
use crate::reply::{self, Form, ReportArguments};
use crate::resolve::{self, Opened};
use crate::sampling::SamplingArguments;
use crate::system;

/// Answer a prompt
///
/// The prompt goes through the model's chat template, where it has one, and the answer is written
/// as it is generated. Piped text goes after the prompt, or is the prompt. Without either, at a
/// terminal, a chat begins.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kinglet run smollm2-135m \"Why is the sky blue?\"
  kinglet run smollm2-135m -f question.txt -n 200 --temp 0
  git diff | kinglet run model.gguf \"Summarize this change.\"
  kinglet run model.kinglet --raw \"Once upon a time\" -r \"The End\"")]
pub(crate) struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    /// The prompt; several words are joined by spaces
    #[arg(value_name = "PROMPT", value_parser = Text)]
    words: Vec<String>,
    /// The prompt
    #[arg(short, long, value_name = "PROMPT", allow_hyphen_values = true, value_parser = Text)]
    prompt: Option<String>,
    /// A file with the prompt; - is standard input
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Continue the prompt as plain text, without a chat template
    #[arg(long)]
    raw: bool,
    #[command(flatten)]
    session: SessionArguments,
    #[command(flatten)]
    report: ReportArguments,
    #[command(flatten)]
    sampling: SamplingArguments,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let start = Instant::now();
    arguments.report.check()?;
    let words = arguments.model.words(&arguments.words)?;
    resolve::check(&arguments.model, "run", &words, "smollm2-135m")?;
    let is_asked = arguments.prompt.is_some() || arguments.file.is_some() || !words.is_empty();
    if !is_asked && stdin().is_terminal() && !arguments.raw && arguments.report.output == Format::Md
    {
        return chat::talk(&chat::Talk {
            model: &arguments.model,
            session: &arguments.session,
            sampling: &arguments.sampling,
            first: None,
            verbose: arguments.report.verbose,
        });
    }
    let mut prompt =
        text_of(arguments.prompt.as_deref(), &words, arguments.file.as_ref(), "prompt")?;
    if is_asked {
        prompt = with_piped(prompt)?;
    }
    if prompt.is_empty() || !arguments.raw && prompt.trim().is_empty() {
        return Err(Failure::usage(
            "the prompt is empty: give a text as argument, by -f FILE or on stdin",
        ));
    }
    write(arguments, &prompt, start)
}

fn write(arguments: &Arguments, prompt: &str, start: Instant) -> Result<(), Failure> {
    let Opened { model, sampling, .. } = resolve::open(&arguments.model)?;
    let options = arguments.sampling.options(&model, sampling);
    let mut session = model.session_with(&arguments.session.options(&model))?;
    let guard = Guard::cancel(session.cancel_token());

    let mut chat;
    let told = |error| generation::failure(error, &model);
    let stream = if !arguments.raw && model.has_chat_template() {
        chat = Chat::new(session)?;
        system::put(&mut chat, arguments.session.system())?;
        Stream::Chat(chat.say(prompt, &options).map_err(told)?)
    } else if arguments.session.system().is_some() {
        return Err(Failure::new(
            "a system text needs a chat template, and there is none here; put it at the start of \
             the prompt",
        ));
    } else {
        Stream::Text(session.generate(prompt, &options).map_err(told)?)
    };

    let form = Form {
        report: &arguments.report,
        kv: arguments.session.kv(),
        ends_repetition: arguments.sampling.ends_repetition(),
        ends_line: true,
    };
    match reply::write(stream, &model, &form, start)? {
        Finish::Cancelled => Err(Failure::Interrupted),
        _ => guard.check(),
    }
}
