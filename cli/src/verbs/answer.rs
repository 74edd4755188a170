//! `kinglet answer`: the part of a text that answers a question.

use std::path::PathBuf;

use clap::Args;
use kinglet::{AnswerOptions, TextAnswer};
use serde::Serialize;

use crate::arguments::{ModelArguments, Text};
use crate::failure::Failure;
use crate::input::text_of;
use crate::output::{print, print_json_line, print_json_lines};
use crate::resolve;
use crate::results::{Named, TextFormat};

/// Find the part of a text that answers a question
///
/// Long texts are read in windows that overlap; nothing is left out. Places are counted in bytes of
/// UTF-8, from 0.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kinglet answer squad.kinglet -q \"Where was Ada born?\" -f biography.txt
  kinglet answer squad.kinglet -q \"Who?\" \"The wren is small.\" --no-answer --top 3 -o json")]
pub(crate) struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    /// The question
    #[arg(short, long, value_name = "TEXT", value_parser = Text, allow_hyphen_values = true)]
    question: String,
    /// The text, in place of a file
    #[arg(value_name = "CONTEXT", value_parser = Text)]
    context: Vec<String>,
    /// A file with the text; - is standard input
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Answers at most, the best first
    #[arg(long, value_name = "N", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    top: u32,
    /// Let "no answer" be one, an empty text
    #[arg(long)]
    no_answer: bool,
    /// Tokens of an answer at most
    #[arg(long, value_name = "N", default_value_t = 15)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    max_tokens: u32,
    /// Tokens read together
    #[arg(long, value_name = "N", default_value_t = 384)]
    window: usize,
    /// Tokens that windows have in common [default: 128, or half of a window]
    #[arg(long, value_name = "N")]
    stride: Option<usize>,
    /// Count places in characters
    #[arg(long)]
    chars: bool,
    /// Form of the result
    #[arg(short, long = "output", value_name = "FORMAT", value_enum, default_value = "text")]
    output: TextFormat,
}

/// An answer for JSON.
#[derive(Serialize)]
struct Answer {
    text: String,
    score: f32,
    start: usize,
    end: usize,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    // Whether there is such a model is known before a text is waited for.
    resolve::meaning(arguments.model.model()?)?;
    let words = arguments.model.words(&arguments.context)?;
    let context = text_of(None, &words, arguments.file.as_ref(), "text to answer from")?;
    let model = resolve::open(&arguments.model)?.model;
    let mut options = AnswerOptions::default()
        .top(arguments.top as usize)
        .no_answer(arguments.no_answer)
        .max_tokens(arguments.max_tokens as usize)
        .window(arguments.window)
        .characters(arguments.chars);
    options.stride = arguments.stride;
    let found = model.answer(&arguments.question, &context, &options)?;
    let answer =
        |TextAnswer { text, score, start, end, .. }: TextAnswer| Answer { text, score, start, end };
    let answers: Vec<Answer> = found.into_iter().map(answer).collect();
    match arguments.output {
        TextFormat::Json => print_json_line(&Named("answers", &answers)),
        TextFormat::Jsonl => print_json_lines(answers),
        TextFormat::Text => {
            let line = |answer: &Answer| {
                let text = if answer.text.is_empty() { "(no answer)" } else { &answer.text };
                format!("{:.4}  {}\n", answer.score, text.replace(['\n', '\r'], " "))
            };
            print(&answers.iter().map(line).collect::<String>())
        }
    }
}
