//! Texts to work on: arguments, or a file of any length: lines, JSON lines, CSV.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, IsTerminal, Read, stdin};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::Value;

use crate::failure::Failure;
use crate::input::{Line, Lines, STDIN, lines};

/// The column of files that have several, where none is named.
const USUAL_COLUMN: &str = "text";

/// Where texts come from.
#[derive(Args, Debug)]
pub(crate) struct FileArguments {
    /// A file of texts: one a line, or by its ending JSON lines (.jsonl, .ndjson) or CSV (.csv,
    /// .tsv); - is standard input
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Name of the texts in JSON lines or CSV [default: text]
    #[arg(long, value_name = "NAME", requires = "file")]
    pub(crate) column: Option<String>,
}

/// Texts, some at a time.
pub(crate) struct Texts {
    from: From,
    /// Bytes of the file.
    total: Option<u64>,
    /// Texts that have been read and not yet taken.
    ahead: VecDeque<String>,
    /// Bytes of the file up to the end of what has been read.
    done: u64,
}

/// Texts, each with the bytes of the file up to its end.
type Records = Box<dyn Iterator<Item = Result<(String, u64), Failure>>>;

enum From {
    Words(std::vec::IntoIter<String>),
    Lines(Lines),
    File(Records),
}

impl Texts {
    /// Texts of arguments, a file or standard input, whichever there is.
    pub(crate) fn new(words: &[&str], file: &FileArguments) -> Result<Self, Failure> {
        let Some(path) = file.file.as_deref() else {
            let from = match words.is_empty() && !stdin().is_terminal() {
                true => From::Lines(Lines::of_stdin()),
                false => {
                    let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
                    From::Words(words.into_iter())
                }
            };
            return Ok(Self::of(from, None));
        };
        if !words.is_empty() {
            return Err(Failure::usage("the texts are given in more than one way"));
        }
        if path == Path::new("-") {
            let from = match &file.column {
                None => From::Lines(Lines::of_stdin()),
                Some(column) => {
                    let mut input = BufReader::new(stdin());
                    let form = Form::of(path, true, input.fill_buf()?);
                    From::File(form.read(input, STDIN.to_owned(), column)?)
                }
            };
            return Ok(Self::of(from, None));
        }
        let name = path.display().to_string();
        let opened = File::open(path).map_err(|e| Failure::from(e).during(&name))?;
        let total = opened.metadata().ok().filter(|found| found.is_file()).map(|found| found.len());
        let mut input = BufReader::new(opened);
        let start = input.fill_buf().map_err(|e| Failure::from(e).during(&name))?;
        let form = Form::of(path, file.column.is_some(), start);
        let column = file.column.as_deref().unwrap_or(USUAL_COLUMN);
        Ok(Self::of(From::File(form.read(input, name, column)?), total))
    }

    fn of(from: From, total: Option<u64>) -> Self {
        Self { from, total, ahead: VecDeque::new(), done: 0 }
    }

    /// Whether they come from arguments.
    pub(crate) fn are_words(&self) -> bool {
        matches!(self.from, From::Words(_))
    }

    /// Bytes of the file, if it is one.
    pub(crate) fn total(&self) -> Option<u64> {
        self.total
    }

    /// Whether there are no more; waits for the next ones, `most` at most.
    pub(crate) fn is_empty(&mut self, most: usize) -> Result<bool, Failure> {
        if self.ahead.is_empty() {
            self.ahead = self.read(most)?.into();
        }
        Ok(self.ahead.is_empty())
    }

    /// The next texts, `most` at most, and how many bytes of the file have been read; empty at the
    /// end.
    pub(crate) fn next(&mut self, most: usize) -> Result<(Vec<String>, u64), Failure> {
        let batch = match self.ahead.len() {
            0 => self.read(most)?,
            n => self.ahead.drain(..n.min(most)).collect(),
        };
        Ok((batch, self.done))
    }

    fn read(&mut self, most: usize) -> Result<Vec<String>, Failure> {
        match &mut self.from {
            From::Words(words) => Ok(words.by_ref().take(most).collect()),
            From::Lines(lines) => lines.next(most),
            From::File(file) => {
                let mut batch = Vec::new();
                for text in file.by_ref().take(most) {
                    let (text, at) = text?;
                    batch.push(text);
                    self.done = at;
                }
                Ok(batch)
            }
        }
    }
}

/// How a file holds texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Lines,
    JsonLines,
    Csv { delimiter: u8 },
}

impl Form {
    /// By the ending; where that says nothing and a column is named, by the first byte.
    fn of(path: &Path, has_column: bool, start: &[u8]) -> Self {
        let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase());
        match ending.as_deref() {
            Some("jsonl" | "ndjson") => Self::JsonLines,
            Some("csv") => Self::Csv { delimiter: b',' },
            Some("tsv") => Self::Csv { delimiter: b'\t' },
            _ if has_column && start.trim_ascii_start().first() == Some(&b'{') => Self::JsonLines,
            _ if has_column => Self::Csv { delimiter: b',' },
            _ => Self::Lines,
        }
    }

    /// The texts, each with the bytes read up to its end.
    fn read(
        self,
        input: impl BufRead + 'static,
        name: String,
        column: &str,
    ) -> Result<Records, Failure> {
        let column = column.to_owned();
        match self {
            Self::Lines => {
                Ok(Box::new(lines(input, name).map(|line| line.map(|line| (line.text, line.end)))))
            }
            Self::JsonLines => {
                let lines = lines(input, name.clone());
                let read = move |line: Line| {
                    let text = json_text(&line.text, &column)
                        .map_err(|e| e.during(format!("{name}, line {}", line.number)))?;
                    Ok((text, line.end))
                };
                // Empty lines are between records.
                let filled = lines
                    .filter(|line| line.as_ref().map_or(true, |line| !line.text.trim().is_empty()));
                Ok(Box::new(filled.map(move |line| line.and_then(&read))))
            }
            Self::Csv { delimiter } => csv_texts(input, name, &column, delimiter),
        }
    }
}

/// The text of a JSON line: a string, or the member of an object.
fn json_text(line: &str, column: &str) -> Result<String, Failure> {
    match serde_json::from_str(line)? {
        Value::String(text) => Ok(text),
        Value::Object(mut object) => match object.remove(column) {
            Some(Value::String(text)) => Ok(text),
            Some(value @ (Value::Number(_) | Value::Bool(_))) => Ok(value.to_string()),
            Some(_) => Err(Failure::new(format!("{column:?} is no text"))),
            None => {
                let names: Vec<&str> = object.keys().take(8).map(String::as_str).collect();
                Err(no_column(column, &names))
            }
        },
        _ => Err(Failure::new("neither a text nor an object")),
    }
}

fn no_column(column: &str, names: &[&str]) -> Failure {
    let names = names.join(", ");
    Failure::new(format!("there is no {column:?} among the columns {names}; name another"))
}

fn csv_texts(
    input: impl Read + 'static,
    name: String,
    column: &str,
    delimiter: u8,
) -> Result<Records, Failure> {
    let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).from_reader(input);
    let headers = reader.byte_headers().map_err(|e| Failure::from(e).during(&name))?;
    let names: Vec<String> = headers
        .iter()
        .map(|name| String::from_utf8_lossy(name).trim_start_matches('\u{feff}').to_owned())
        .collect();
    let Some(index) = names.iter().position(|name| name == column) else {
        let names: Vec<&str> = names.iter().take(8).map(String::as_str).collect();
        return Err(no_column(column, &names).during(&name));
    };
    let mut records = reader.into_byte_records();
    let texts = std::iter::from_fn(move || {
        let record = records.next()?.map_err(|e| Failure::from(e).during(&name));
        let end = records.reader().position().byte();
        Some(record.map(|record| {
            let field = record.get(index).unwrap_or_default();
            (String::from_utf8_lossy(field).into_owned(), end)
        }))
    });
    Ok(Box::new(texts))
}

#[cfg(test)]
#[path = "texts_tests.rs"]
mod tests;
