//! `kinglet run`: one answer.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use kinglet::{Chat, FinishReason, KvType, Message};
use serde::Serialize;

use crate::arguments::{ModelArguments, SamplingArguments, session_options, text_of};
use crate::failure::Failure;
use crate::generation::{self, Statistics, Stream};
use crate::interrupt::Guard;
use crate::output::{Format, print, print_json, say};
use crate::resolve;

/// Answer a prompt
///
/// The prompt goes through the model's chat template, where it has one, and the answer is written
/// as it is generated. Without a prompt, standard input is read.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kinglet run smollm2-135m \"Why is the sky blue?\"
  kinglet run smollm2-135m -f question.txt -n 200 --temp 0
  git diff | kinglet run model.gguf -sys \"Summarize this change.\"
  kinglet run model.kinglet --raw \"Once upon a time\" -r \"The End\"")]
pub(crate) struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    /// The prompt; several words are joined by spaces
    #[arg(value_name = "PROMPT")]
    words: Vec<String>,
    /// The prompt
    #[arg(short, long, value_name = "PROMPT", allow_hyphen_values = true)]
    prompt: Option<String>,
    /// A file with the prompt; - is standard input
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Instructions that go before the conversation (-sys works too)
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    system: Option<String>,
    /// Continue the prompt as plain text, without a chat template
    #[arg(long)]
    raw: bool,
    /// Most tokens of prompt and answer together [default: what the model was made for]
    #[arg(short = 'c', long = "ctx-size", value_name = "N")]
    context: Option<usize>,
    /// How keys and values are kept: f16, or int8 in half the memory
    #[arg(long, value_name = "TYPE", default_value_t)]
    kv: KvType,
    #[command(flatten)]
    sampling: SamplingArguments,
    /// Do not report speed and memory
    #[arg(short, long)]
    quiet: bool,
    /// json writes the answer and its figures at the end
    #[arg(short, long = "output", value_name = "FORMAT", value_enum, default_value_t)]
    output: Format,
}

/// The whole answer, for `-o json`.
#[derive(Serialize)]
struct Answer<'a> {
    text: &'a str,
    #[serde(flatten)]
    statistics: &'a Statistics,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let start = Instant::now();
    if arguments.output == Format::Csv {
        return Err(Failure::usage("an answer has no CSV form; use -o json"));
    }
    let words = arguments.model.words(&arguments.words);
    let prompt = text_of(arguments.prompt.as_deref(), &words, arguments.file.as_ref(), "prompt")?;
    let (model, recommended) = resolve::open(&arguments.model)?;
    let options = arguments.sampling.options(&model, recommended)?;
    let mut session = model.session_with(&session_options(arguments.context, arguments.kv))?;
    let guard = Guard::cancel(session.cancel_token());

    let mut chat;
    let stream = if !arguments.raw && model.has_chat_template() {
        chat = Chat::new(session)?;
        if let Some(system) = &arguments.system {
            chat.push(Message::new("system", system));
        }
        Stream::Chat(chat.say(prompt, &options)?)
    } else if arguments.system.is_some() {
        return Err(Failure::new(
            "a system text needs a chat template, and there is none here; put it at the start of \
             the prompt",
        ));
    } else {
        Stream::Text(session.generate(&prompt, &options)?)
    };

    let mut text = String::new();
    let mut first_token = None;
    let streamed = arguments.output == Format::Md;
    let measured = generation::run(stream, |piece| {
        first_token.get_or_insert_with(|| start.elapsed());
        text.push_str(piece);
        if streamed { print(piece) } else { Ok(()) }
    })?;
    let first_token = first_token.unwrap_or_else(|| start.elapsed());
    let statistics = Statistics::new(&model, arguments.kv, &measured, first_token);
    if !streamed {
        print_json(&Answer { text: &text, statistics: &statistics })?;
    } else if !text.ends_with('\n') {
        print("\n")?;
    }
    if !arguments.quiet {
        say!("\n{}", statistics.describe());
    }
    match measured.finish {
        FinishReason::Cancelled => Err(Failure::Interrupted),
        _ => guard.check(),
    }
}
