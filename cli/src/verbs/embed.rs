//! `kinglet embed`: a vector for each text.

use std::time::Instant;

use clap::Args;
use kinglet::{EmbedOptions, Embedding};
use serde::Serialize;

use crate::arguments::{ModelArguments, Text};
use crate::failure::Failure;
use crate::input::note_on_unread_pipe;
use crate::memory;
use crate::out::{Out, OutArguments};
use crate::output::{self, Format, print, say};
use crate::resolve;
use crate::results::{Cuts, Length};
use crate::texts::{FileArguments, Texts};
use crate::units;

/// Texts that are given to the model together, so that results can be written between.
const BATCH: usize = 64;

/// Compute the embedding vector of each text
///
/// Vectors are written as they come. A text longer than the model takes is cut; json and jsonl tell
/// of each text how many tokens it has and whether it was. Some models have prompts that go before
/// texts, one for queries, say; `kinglet show` lists them.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kinglet embed minilm \"a small bird\" \"a large ship\" -o json
  kinglet embed minilm -f sentences.txt -o csv > vectors.csv
  kinglet embed ./Qwen3-Embedding-0.6B --prompt query \"what do wrens eat?\"
  sort -u titles.txt | kinglet embed minilm -o jsonl
  kinglet embed minilm -f sentences.txt -O vectors.jsonl --resume")]
pub(crate) struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    /// The texts, one each argument
    #[arg(value_name = "TEXT", value_parser = Text)]
    texts: Vec<String>,
    #[command(flatten)]
    file: FileArguments,
    /// Put this prompt of the model before each text [default: the one that the model says]
    #[arg(long, value_name = "NAME", conflicts_with = "no_prompt")]
    prompt: Option<String>,
    /// Put nothing before the texts, whatever the model says
    #[arg(long)]
    no_prompt: bool,
    /// Do not report the speed
    #[arg(short, long)]
    quiet: bool,
    /// Report all that is known about speed and memory
    #[arg(short, long, conflicts_with = "quiet")]
    verbose: bool,
    /// Form of the result; md writes a vector on each line, csv too, below the names d0, d1…
    /// [default: md, jsonl for OUT]
    #[arg(short, long = "output", value_name = "FORMAT", value_enum)]
    output: Option<Format>,
    #[command(flatten)]
    out: OutArguments,
}

/// A text's vector, for `-o jsonl`.
#[derive(Serialize)]
struct Line<'a> {
    index: u64,
    #[serde(flatten)]
    length: Length,
    embedding: &'a [f32],
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let words = arguments.model.words(&arguments.texts)?;
    resolve::check(&arguments.model, "embed", &words, "minilm")?;
    let other = arguments.output.is_some_and(|format| format != Format::Jsonl);
    if arguments.out.out.is_some() && other {
        return Err(Failure::usage("--out takes JSON lines; leave -o away"));
    }
    arguments.out.check(&arguments.file)?;
    if !words.is_empty() && !arguments.quiet {
        note_on_unread_pipe();
    }
    let mut texts = Texts::new(&words, &arguments.file)?;
    if texts.is_empty(BATCH)? {
        return Err(Failure::usage(
            "no text to embed: give texts as arguments, by -f FILE or on stdin",
        ));
    }
    let model = resolve::open(&arguments.model)?.model;
    let start = Instant::now();
    let options = match &arguments.prompt {
        Some(name) => EmbedOptions::default().prompt(name),
        None if arguments.no_prompt => EmbedOptions::default().without_prompt(),
        None => EmbedOptions::default(),
    };
    let out = arguments
        .out
        .open(&mut texts, |first, batch| json_lines(first, &model.embed_with(batch, &options)?))?;
    let mut writer = Writer::new(arguments.output, out);
    let first = writer.n;
    loop {
        let (batch, _) = texts.next(BATCH)?;
        if batch.is_empty() {
            break;
        }
        writer.write(&model.embed_with(&batch, &options)?)?;
    }
    writer.finish()?;
    let seconds = start.elapsed().as_secs_f64();

    writer.cuts.tell(writer.n, model.text_tokens());
    if !arguments.quiet {
        let n = usize::try_from(writer.n - first).unwrap_or(usize::MAX);
        let speed = format!("{} in {:.1} ms", units::count(n, "text"), seconds * 1e3);
        if arguments.verbose {
            let threads = units::count(model.n_threads(), "thread");
            say!("{speed}; kernels {}, {threads}; {}", model.kernel_set(), memory::describe());
        } else {
            say!("{speed}");
        }
    }
    Ok(())
}

/// Vectors, the first of which has the number `first`, as JSON lines.
fn json_lines(first: u64, embeddings: &[Embedding]) -> Result<String, Failure> {
    output::json_lines((first..).zip(embeddings).map(|(index, embedding)| Line {
        index,
        length: embedding.length.into(),
        embedding: &embedding.vector,
    }))
}

/// Writes vectors as they come.
struct Writer {
    format: Format,
    out: Option<Out>,
    /// Texts so far, those of former runs included.
    n: u64,
    /// Their lengths, where these are written at the end.
    lengths: Vec<Length>,
    cuts: Cuts,
}

impl Writer {
    fn new(format: Option<Format>, out: Option<Out>) -> Self {
        let usual = if out.is_some() { Format::Jsonl } else { Format::Md };
        Self {
            format: format.unwrap_or(usual),
            n: out.as_ref().map_or(0, |out| out.lines),
            out,
            lengths: Vec::new(),
            cuts: Cuts::default(),
        }
    }

    fn write(&mut self, embeddings: &[Embedding]) -> Result<(), Failure> {
        let text = match self.format {
            Format::Md => lines(embeddings, " "),
            Format::Csv => {
                let n_dims = embeddings.first().map_or(0, |first| first.vector.len());
                let names: Vec<String> = (0..n_dims).map(|i| format!("d{i}")).collect();
                let header = if self.n == 0 { names.join(",") + "\n" } else { String::new() };
                header + &lines(embeddings, ",")
            }
            Format::Json => {
                self.lengths.extend(embeddings.iter().map(|one| Length::from(one.length)));
                let vectors: Vec<String> = embeddings
                    .iter()
                    .map(|one| serde_json::to_string(&one.vector))
                    .collect::<Result<_, _>>()?;
                let start = if self.n == 0 { "{\"embeddings\":[" } else { "," };
                format!("{start}{}", vectors.join(","))
            }
            Format::Jsonl => json_lines(self.n, embeddings)?,
        };
        for (index, one) in (self.n..).zip(embeddings) {
            self.cuts.note(index, one.length);
        }
        self.n += embeddings.len() as u64;
        match &mut self.out {
            Some(out) => out.write(&text),
            None => print(&text),
        }
    }

    /// Ends the JSON, with what only now is known of all texts.
    fn finish(&self) -> Result<(), Failure> {
        match self.format {
            Format::Json => {
                print(&format!("],\"texts\":{}}}\n", serde_json::to_string(&self.lengths)?))
            }
            _ => Ok(()),
        }
    }
}

/// A vector on each line.
fn lines(embeddings: &[Embedding], separator: &str) -> String {
    let line = |one: &Embedding| {
        let numbers: Vec<String> = one.vector.iter().map(f32::to_string).collect();
        numbers.join(separator) + "\n"
    };
    embeddings.iter().map(line).collect()
}
