//! `kinglet tokenize`: text to token ids.

use std::path::PathBuf;

use clap::Args;
use kinglet::tokenizer::EncodeOptions;
use serde::Serialize;

use crate::arguments::{ModelArguments, Text};
use crate::failure::Failure;
use crate::input::{note_on_unread_pipe, text_of};
use crate::output::{Format, print, print_json_line, print_json_lines};
use crate::resolve;
use crate::table::Table;

/// Show the tokens of a text
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kinglet tokenize smollm2-135m \"Hello, world\"
  kinglet tokenize minilm -f text.txt -o json
  kinglet tokenize model.kinglet --special \"<|im_start|>user\"")]
pub(crate) struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    /// The text; several words are joined by spaces
    #[arg(value_name = "TEXT", value_parser = Text)]
    words: Vec<String>,
    /// The text
    #[arg(short, long, value_name = "TEXT", allow_hyphen_values = true, value_parser = Text)]
    prompt: Option<String>,
    /// A file with the text; - is standard input
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Read the spelling of special tokens in the text as these tokens
    #[arg(long)]
    special: bool,
    /// Do not add the tokens that the model expects around a text
    #[arg(long)]
    bare: bool,
    /// Form of the result
    #[arg(short, long = "output", value_name = "FORMAT", value_enum, default_value_t)]
    output: Format,
}

#[derive(Serialize)]
struct Tokens<'a> {
    ids: &'a [u32],
    pieces: &'a [String],
}

/// A token, for `-o jsonl`.
#[derive(Serialize)]
struct Token<'a> {
    id: u32,
    piece: &'a str,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let words = arguments.model.words(&arguments.words)?;
    resolve::check(&arguments.model, "tokenize", &words, "smollm2-135m")?;
    if arguments.prompt.is_some() || !words.is_empty() {
        note_on_unread_pipe();
    }
    let text = text_of(arguments.prompt.as_deref(), &words, arguments.file.as_ref(), "text")?;
    let model = resolve::open(&arguments.model)?.model;
    let tokenizer = model.tokenizer();
    let options = EncodeOptions { add_special: !arguments.bare, parse_special: arguments.special };
    let ids = tokenizer.encode(&text, options);
    let piece = |&id: &u32| tokenizer.token(id).unwrap_or_default().into_owned();
    let pieces: Vec<String> = ids.iter().map(piece).collect();
    if arguments.output == Format::Json {
        return print_json_line(&Tokens { ids: &ids, pieces: &pieces });
    }
    if arguments.output == Format::Jsonl {
        return print_json_lines(ids.iter().zip(&pieces).map(|(&id, piece)| Token { id, piece }));
    }
    let mut table = Table::new(&["id:", "piece"]);
    for (id, piece) in ids.iter().zip(&pieces) {
        table.row([id.to_string(), piece.clone()]);
    }
    print(&if arguments.output == Format::Csv { table.csv() } else { table.markdown() })
}
