//! `kinglet embed`: a vector for each text or image.

use std::io::Write;
use std::path::Path;
use std::time::Instant;

use clap::{Args, ValueEnum};
use kinglet::{EmbedOptions, Model, Task, TextLength};
use serde::Serialize;

use crate::arguments::{ModelArguments, Text};
use crate::failure::Failure;
use crate::images;
use crate::input::note_on_unread_pipe;
use crate::memory;
use crate::out::{Out, OutArguments};
use crate::output::{self, print, say};
use crate::resolve;
use crate::results::{Cuts, Length};
use crate::texts::{FileArguments, Texts};
use crate::units;

/// Texts that are given to the model together, so that results can be written between.
const BATCH: usize = 64;
/// The same of images, which take as long as many texts.
const IMAGES: usize = 8;

/// How vectors are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A vector on each line.
    Md,
    /// JSON.
    Json,
    /// A JSON object on each line, as they come.
    #[value(alias = "ndjson")]
    Jsonl,
    /// Comma-separated values with a header line.
    Csv,
    /// NumPy's file of an array, in single precision.
    Npy,
}

/// Compute the embedding vector of each text or image
///
/// A model that reads images takes their paths: JPEG, PNG, WebP, GIF, BMP and TIFF. Vectors are written as they come. A text longer than the model takes is cut; json and jsonl tell
/// of each text how many tokens it has and whether it was. Some models have prompts that go before
/// texts, one for queries, say; `kinglet show` lists them.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kinglet embed minilm \"a small bird\" \"a large ship\" -o json
  kinglet embed minilm -f sentences.txt -o csv > vectors.csv
  kinglet embed ./Qwen3-Embedding-0.6B --prompt query \"what do wrens eat?\"
  sort -u titles.txt | kinglet embed minilm -o jsonl
  kinglet embed minilm -f sentences.txt -O vectors.jsonl --resume
  kinglet embed dinov2.kinglet *.jpg -o npy > vectors.npy
  kinglet embed clip.kinglet \"a red car\" -o json")]
pub(crate) struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    /// The texts, one each argument, or paths of images for a model that reads images
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
    /// Form of the result; md writes a vector on each line, csv too, below the names d0, d1…; npy
    /// is NumPy's file of an array [default: md, jsonl for OUT]
    #[arg(short, long = "output", value_name = "FORMAT", value_enum)]
    output: Option<Format>,
    #[command(flatten)]
    out: OutArguments,
}

/// A vector, for `-o jsonl`.
#[derive(Serialize)]
struct Line<'a> {
    index: u64,
    #[serde(flatten)]
    length: Option<Length>,
    embedding: &'a [f32],
}

/// The vector of a text or an image.
struct Embedding {
    vector: Vec<f32>,
    /// Of a text.
    length: Option<TextLength>,
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
    let out = arguments.out.open(&mut texts, |first, batch| {
        json_lines(first, &embeddings(&model, batch, &options)?)
    })?;
    let mut writer = Writer::new(arguments.output, out);
    let first = writer.n;
    let reads_images = model.tasks().contains(&Task::EmbedImages);
    loop {
        let (batch, _) = texts.next(if reads_images { IMAGES } else { BATCH })?;
        if batch.is_empty() {
            break;
        }
        writer.write(&embeddings(&model, &batch, &options)?)?;
    }
    writer.finish()?;
    let seconds = start.elapsed().as_secs_f64();

    writer.cuts.tell(writer.n, model.text_tokens());
    if !arguments.quiet {
        let n = usize::try_from(writer.n - first).unwrap_or(usize::MAX);
        let unit = if writer.of_images { "image" } else { "text" };
        let speed = format!("{} in {:.1} ms", units::count(n, unit), seconds * 1e3);
        if arguments.verbose {
            let threads = units::count(model.n_threads(), "thread");
            say!("{speed}; kernels {}, {threads}; {}", model.kernel_set(), memory::describe());
        } else {
            say!("{speed}");
        }
    }
    Ok(())
}

/// The vectors of texts, or of the images at some paths.
fn embeddings(
    model: &Model,
    words: &[String],
    options: &EmbedOptions,
) -> Result<Vec<Embedding>, Failure> {
    if !images::are_images(model, Task::EmbedImages, words)? {
        let made = model.embed_with(words, options)?.into_iter();
        return Ok(made
            .map(|one| Embedding { vector: one.vector, length: Some(one.length) })
            .collect());
    }
    let images: Vec<_> =
        words.iter().map(|path| images::read(Path::new(path))).collect::<Result<_, _>>()?;
    let made = model.embed_images(&images)?.into_iter();
    Ok(made.map(|vector| Embedding { vector, length: None }).collect())
}

/// Vectors, the first of which has the number `first`, as JSON lines.
fn json_lines(first: u64, embeddings: &[Embedding]) -> Result<String, Failure> {
    output::json_lines((first..).zip(embeddings).map(|(index, embedding)| Line {
        index,
        length: embedding.length.map(Length::from),
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
    /// All vectors one after another, where they are written at the end.
    values: Vec<f32>,
    /// Whether they are of images.
    of_images: bool,
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
            values: Vec::new(),
            of_images: false,
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
                self.lengths
                    .extend(embeddings.iter().filter_map(|one| one.length).map(Length::from));
                let vectors: Vec<String> = embeddings
                    .iter()
                    .map(|one| serde_json::to_string(&one.vector))
                    .collect::<Result<_, _>>()?;
                let start = if self.n == 0 { "{\"embeddings\":[" } else { "," };
                format!("{start}{}", vectors.join(","))
            }
            Format::Jsonl => json_lines(self.n, embeddings)?,
            Format::Npy => {
                self.values.extend(embeddings.iter().flat_map(|one| &one.vector));
                String::new()
            }
        };
        self.of_images = embeddings.iter().any(|one| one.length.is_none());
        for (index, one) in (self.n..).zip(embeddings) {
            if let Some(length) = one.length {
                self.cuts.note(index, length);
            }
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
            Format::Npy => {
                let bytes = npy(&self.values, self.n as usize);
                let mut out = std::io::stdout().lock();
                let written = out.write_all(&bytes).and_then(|()| out.flush());
                written.map_err(|error| Failure::from(error).during("standard output"))
            }
            _ => Ok(()),
        }
    }
}

/// NumPy's file of `n` rows, version 1.0: a head padded to 64 bytes, then the values.
fn npy(values: &[f32], n: usize) -> Vec<u8> {
    const MAGIC: &[u8] = b"\x93NUMPY\x01\x00";
    let width = values.len().checked_div(n).unwrap_or(0);
    let mut head = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({n}, {width}), }}");
    let before = MAGIC.len() + 2;
    let len = (before + head.len() + 1).next_multiple_of(64) - before;
    head.extend(std::iter::repeat_n(' ', len - 1 - head.len()));
    head.push('\n');
    let mut bytes = MAGIC.to_vec();
    bytes.extend((len as u16).to_le_bytes());
    bytes.extend(head.as_bytes());
    bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    bytes
}

/// A vector on each line.
fn lines(embeddings: &[Embedding], separator: &str) -> String {
    let line = |one: &Embedding| {
        let numbers: Vec<String> = one.vector.iter().map(f32::to_string).collect();
        numbers.join(separator) + "\n"
    };
    embeddings.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_an_array() {
        let bytes = npy(&[1.0, -2.0, 0.5, 4.0], 2);
        assert_eq!(bytes.len(), 128 + 16);
        assert_eq!(bytes[8..10], [118, 0]);
        let head = std::str::from_utf8(&bytes[10..128]).unwrap();
        assert!(head.starts_with("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }"));
        assert!(head.ends_with(" \n"));
        assert_eq!(bytes[128..132], 1f32.to_le_bytes());
    }
}
