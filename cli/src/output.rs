//! Standard output for results, standard error for everything else.

use std::fmt;
use std::io::{self, Write};

use clap::ValueEnum;
use serde::Serialize;

use crate::failure::Failure;

/// How a result is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Markdown table or plain text.
    #[default]
    Md,
    /// JSON.
    Json,
    /// A JSON object on each line, as they come.
    #[value(alias = "ndjson")]
    Jsonl,
    /// Comma-separated values with a header line.
    Csv,
}

/// Writes a piece of a result at once.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|error| Failure::from(error).during("standard output"))
}

/// Writes a result as JSON, on several lines.
pub(crate) fn print_json(result: &impl Serialize) -> Result<(), Failure> {
    print(&format!("{}\n", serde_json::to_string_pretty(result)?))
}

/// Writes a result as JSON on one line, for large ones.
pub(crate) fn print_json_line(result: &impl Serialize) -> Result<(), Failure> {
    print(&format!("{}\n", serde_json::to_string(result)?))
}

/// Writes each result as JSON on a line of its own.
pub(crate) fn print_json_lines<T: Serialize>(
    results: impl IntoIterator<Item = T>,
) -> Result<(), Failure> {
    print(&json_lines(results)?)
}

/// Each result as JSON on a line of its own.
pub(crate) fn json_lines<T: Serialize>(
    results: impl IntoIterator<Item = T>,
) -> Result<String, Failure> {
    let mut text = String::new();
    for result in results {
        text += &serde_json::to_string(&result)?;
        text.push('\n');
    }
    Ok(text)
}

/// A line for people. A closed standard error is no reason to stop.
pub(crate) fn say_line(line: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// [`say_line`] with `format!`'s arguments.
macro_rules! say {
    ($($arguments:tt)*) => { $crate::output::say_line(format_args!($($arguments)*)) };
}
pub(crate) use say;
