//! Results of many texts, written as they come.

use std::time::Instant;

use clap::{Args, ValueEnum};
use kinglet::{Model, Task, TextLength};
use serde::{Deserialize, Serialize};

use crate::arguments::{ModelArguments, Text};
use crate::failure::Failure;
use crate::out::{Out, OutArguments};
use crate::output::{self, print, say};
use crate::progress::Phase;
use crate::resolve;
use crate::texts::{FileArguments, Texts};
use crate::units;

/// Texts that are given to the model together.
const BATCH: usize = 256;
/// The same of images, which take as long as many texts.
const IMAGES: usize = 8;

/// How results of texts are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TextFormat {
    /// For people.
    #[value(alias = "md")]
    Text,
    /// One JSON object.
    Json,
    /// A JSON object for each text, on a line.
    #[value(alias = "ndjson")]
    Jsonl,
}

/// A model, texts for it from arguments or files, and where their results go.
#[derive(Args, Debug)]
pub(crate) struct BulkArguments {
    #[command(flatten)]
    pub(crate) model: ModelArguments,
    /// The texts, one each argument, or paths of images for a model that reads images
    #[arg(value_name = "TEXT", value_parser = Text)]
    texts: Vec<String>,
    #[command(flatten)]
    file: FileArguments,
    /// Form of the result [default: text for arguments, jsonl for files]
    #[arg(short, long = "output", value_name = "FORMAT", value_enum)]
    pub(crate) output: Option<TextFormat>,
    #[command(flatten)]
    pub(crate) out: OutArguments,
    /// Report neither progress nor speed
    #[arg(long)]
    quiet: bool,
}

impl BulkArguments {
    /// The texts among the arguments.
    pub(crate) fn words(&self) -> Result<Vec<&str>, Failure> {
        self.model.words(&self.texts)
    }

    /// An error for a file of results that cannot be written.
    fn check(&self) -> Result<(), Failure> {
        let other = self.output.is_some_and(|format| format != TextFormat::Jsonl);
        if self.out.out.is_some() && other {
            return Err(Failure::usage("--out takes JSON lines; leave -o away"));
        }
        self.out.check(&self.file)
    }
}

/// What a text became.
pub(crate) struct Outcome<T> {
    pub(crate) value: T,
    /// Lines for people.
    pub(crate) text: String,
    /// How long the text is, where it may have been cut.
    pub(crate) length: Option<TextLength>,
}

/// A line of JSON lines.
#[derive(Serialize)]
struct Line<'a, T> {
    index: u64,
    #[serde(flatten)]
    value: Named<'a, T>,
    #[serde(flatten)]
    length: Option<Length>,
}

/// How long a text is, for JSON.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Length {
    /// Tokens of the whole text, with those that the model expects around it.
    tokens: usize,
    /// Whether the result is that of its beginning alone.
    truncated: bool,
}

impl From<TextLength> for Length {
    fn from(TextLength { tokens, truncated }: TextLength) -> Self {
        Self { tokens, truncated }
    }
}

/// A value under a name.
pub(crate) struct Named<'a, T: ?Sized>(pub(crate) &'static str, pub(crate) &'a T);

impl<T: Serialize + ?Sized> Serialize for Named<'_, T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry(self.0, self.1)?;
        map.end()
    }
}

/// Gives all texts to `compute`, some at a time, and writes what they become under the name `key`.
pub(crate) fn run<T: Serialize>(
    arguments: &BulkArguments,
    key: &'static str,
    mut compute: impl FnMut(&Model, &[String]) -> Result<Vec<Outcome<T>>, Failure>,
) -> Result<(), Failure> {
    arguments.check()?;
    // Whether there is such a model is known before a text is waited for; that there are texts,
    // before a model is fetched; and nothing is written before the model is open.
    resolve::meaning(arguments.model.model()?)?;
    let mut texts = Texts::new(&arguments.words()?, &arguments.file)?;
    if texts.is_empty(BATCH)? {
        return Err(Failure::usage(
            "there is no text: give texts as arguments, by -f FILE or on stdin",
        ));
    }
    let model = resolve::open(&arguments.model)?.model;
    let out = arguments
        .out
        .open(&mut texts, |first, batch| json_lines(key, first, &compute(&model, batch)?))?;
    let mut writer = Writer::new(arguments.output, texts.are_words(), out, key);
    let reads_images =
        model.tasks().contains(&Task::ClassifyImages) || model.tasks().contains(&Task::EmbedImages);
    let at_once = if reads_images { IMAGES } else { BATCH };
    let phase =
        texts.total().filter(|_| !arguments.quiet).map(|total| Phase::bytes("reading", total));
    let (start, first) = (Instant::now(), writer.n);
    loop {
        let (batch, done) = texts.next(at_once)?;
        if batch.is_empty() {
            break;
        }
        writer.write(&compute(&model, &batch)?)?;
        if let Some(phase) = &phase {
            phase.set(done);
        }
    }
    drop(phase);
    writer.finish()?;
    writer.cuts.tell(writer.n, model.text_tokens());
    if !arguments.quiet && !texts.are_words() {
        let (n, seconds) = (writer.n - first, start.elapsed().as_secs_f64());
        let n_texts = units::count(usize::try_from(n).unwrap_or(usize::MAX), "text");
        say!("{n_texts} in {seconds:.1} s, {:.1} texts/s", n as f64 / seconds.max(1e-9));
    }
    Ok(())
}

/// Results under the name `key`, the first of which has the number `first`, as JSON lines.
fn json_lines<T: Serialize>(
    key: &'static str,
    first: u64,
    outcomes: &[Outcome<T>],
) -> Result<String, Failure> {
    output::json_lines((first..).zip(outcomes).map(|(index, outcome)| Line {
        index,
        value: Named(key, &outcome.value),
        length: outcome.length.map(Length::from),
    }))
}

/// Texts that were cut.
#[derive(Default)]
pub(crate) struct Cuts {
    n: u64,
    /// Number of the first and its tokens.
    first: Option<(u64, usize)>,
}

impl Cuts {
    /// Notes text number `index`.
    pub(crate) fn note(&mut self, index: u64, length: TextLength) {
        if length.truncated {
            self.n += 1;
            self.first.get_or_insert((index, length.tokens));
        }
    }

    /// Says what was cut of `all` texts, if anything was.
    pub(crate) fn tell(&self, all: u64, limit: usize) {
        if let Some(words) = self.words(all, limit) {
            say!("{words}");
        }
    }

    fn words(&self, all: u64, limit: usize) -> Option<String> {
        let (index, tokens) = self.first?;
        let first = index + 1;
        Some(match (all, self.n) {
            (1, _) => format!("the text has {tokens} tokens and was cut: the model takes {limit}"),
            (_, 1) => {
                format!("text {first} has {tokens} tokens and was cut: the model takes {limit}")
            }
            (_, n) => format!(
                "{n} of {all} texts were cut, the first of them text {first} with {tokens} tokens: \
                 the model takes {limit}"
            ),
        })
    }
}

/// Where results go.
struct Writer {
    format: TextFormat,
    out: Option<Out>,
    key: &'static str,
    /// Results so far, those of former runs included.
    n: u64,
    cuts: Cuts,
    /// Of the texts so far, where these are written at the end.
    lengths: Vec<Length>,
}

impl Writer {
    fn new(
        format: Option<TextFormat>,
        are_words: bool,
        out: Option<Out>,
        key: &'static str,
    ) -> Self {
        let usual = match &out {
            None if are_words => TextFormat::Text,
            _ => TextFormat::Jsonl,
        };
        Self {
            format: format.unwrap_or(usual),
            n: out.as_ref().map_or(0, |out| out.lines),
            out,
            key,
            cuts: Cuts::default(),
            lengths: Vec::new(),
        }
    }

    fn write<T: Serialize>(&mut self, outcomes: &[Outcome<T>]) -> Result<(), Failure> {
        let text = match self.format {
            TextFormat::Text => outcomes.iter().map(|outcome| outcome.text.as_str()).collect(),
            TextFormat::Json => {
                self.lengths.extend(outcomes.iter().filter_map(|o| o.length).map(Length::from));
                let values: Vec<String> = outcomes
                    .iter()
                    .map(|outcome| serde_json::to_string(&outcome.value))
                    .collect::<Result<_, _>>()?;
                let start =
                    if self.n == 0 { format!("{{\"{}\":[", self.key) } else { ",".to_owned() };
                start + &values.join(",")
            }
            TextFormat::Jsonl => json_lines(self.key, self.n, outcomes)?,
        };
        for (index, outcome) in (self.n..).zip(outcomes) {
            if let Some(length) = outcome.length {
                self.cuts.note(index, length);
            }
        }
        self.n += outcomes.len() as u64;
        match &mut self.out {
            Some(out) => out.write(&text),
            None => print(&text),
        }
    }

    /// Ends the JSON, with what only now is known of all texts.
    fn finish(&self) -> Result<(), Failure> {
        match (self.format, &self.lengths[..]) {
            (TextFormat::Json, []) => print("]}\n"),
            (TextFormat::Json, lengths) => {
                print(&format!("],\"texts\":{}}}\n", serde_json::to_string(lengths)?))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_cut_is_told_once() {
        let words = |lengths: &[usize]| {
            let mut cuts = Cuts::default();
            for (index, &tokens) in (0..).zip(lengths) {
                cuts.note(index, TextLength { tokens, truncated: tokens > 256 });
            }
            cuts.words(lengths.len() as u64, 256)
        };
        assert_eq!(words(&[3]), None);
        assert!(words(&[9002]).unwrap().starts_with("the text has 9002 tokens and was cut"));
        assert!(words(&[3, 300]).unwrap().starts_with("text 2 has 300 tokens"));
        let two = words(&[300, 3, 400]).unwrap();
        assert!(two.starts_with("2 of 3 texts were cut, the first of them text 1"), "{two}");
    }
}
