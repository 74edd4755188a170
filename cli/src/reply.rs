//! Writes an answer as it is generated, and what is reported about it.

use std::time::Instant;

use clap::Args;
use kinglet::{KvType, Model};
use serde::Serialize;

use crate::failure::Failure;
use crate::generation::{self, Finish, Statistics, Stream};
use crate::output::{Format, print, print_json, print_json_line, say};

/// What is said about an answer, and in which form it is given.
#[derive(Args, Debug)]
pub(crate) struct ReportArguments {
    /// Do not report the speed
    #[arg(short, long)]
    quiet: bool,
    /// Report all that is known about speed and memory
    #[arg(short, long, conflicts_with = "quiet")]
    pub(crate) verbose: bool,
    /// json writes the answer and its figures at the end, jsonl a line for each piece before them
    #[arg(short, long = "output", value_name = "FORMAT", value_enum, default_value_t)]
    pub(crate) output: Format,
}

impl ReportArguments {
    /// An error for a form that answers do not have.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        match self.output {
            Format::Csv => Err(Failure::usage("an answer has no CSV form; use -o json")),
            _ => Ok(()),
        }
    }
}

/// How an answer is written.
pub(crate) struct Form<'a> {
    pub(crate) report: &'a ReportArguments,
    pub(crate) kv: KvType,
    /// Whether an answer that says the same again and again is ended.
    pub(crate) ends_repetition: bool,
    /// Whether a line end follows that the answer does not have.
    pub(crate) ends_line: bool,
}

/// The whole answer, for `-o json`.
#[derive(Serialize)]
struct Answer<'a> {
    text: &'a str,
    #[serde(flatten)]
    statistics: &'a Statistics,
}

/// A piece of the answer, for `-o jsonl`.
#[derive(Serialize)]
struct Piece<'a> {
    piece: &'a str,
}

/// Runs `stream` to its end and writes what comes of it; `start` is when the program began.
pub(crate) fn write(
    stream: Stream<'_>,
    model: &Model,
    form: &Form<'_>,
    start: Instant,
) -> Result<Finish, Failure> {
    let mut text = String::new();
    let mut first_token = None;
    let output = form.report.output;
    let measured = generation::run(stream, form.ends_repetition, |piece| {
        first_token.get_or_insert_with(|| start.elapsed());
        text.push_str(piece);
        match output {
            Format::Md => print(piece),
            Format::Jsonl => print_json_line(&Piece { piece }),
            _ => Ok(()),
        }
    })?;
    let first_token = first_token.unwrap_or_else(|| start.elapsed());
    let statistics = Statistics::new(model, form.kv, &measured, first_token);
    match output {
        Format::Md if text.ends_with('\n') || !form.ends_line => {}
        Format::Md => print("\n")?,
        Format::Jsonl => print_json_line(&statistics)?,
        _ => print_json(&Answer { text: &text, statistics: &statistics })?,
    }
    if !form.report.quiet {
        say!("\n{}", statistics.describe(form.report.verbose));
    }
    if let Some(warning) = measured.finish.warning() {
        say!("{warning}");
    }
    Ok(measured.finish)
}
