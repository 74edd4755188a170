//! `kinglet embed`: a vector for each text.

use std::io::{IsTerminal, stdin};
use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use serde::Serialize;

use crate::arguments::{ModelArguments, read_stdin, read_text};
use crate::failure::Failure;
use crate::memory;
use crate::output::{Format, print, print_json_line, say};
use crate::progress::Phase;
use crate::resolve;

/// Texts that are given to the model together, so that progress can be shown between.
const BATCH: usize = 256;

/// Compute the embedding vector of each text
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kinglet embed minilm \"a small bird\" \"a large ship\" -o json
  kinglet embed minilm -f sentences.txt -o csv > vectors.csv
  sort -u titles.txt | kinglet embed minilm -o json")]
pub(crate) struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    /// The texts, one each argument
    #[arg(value_name = "TEXT")]
    texts: Vec<String>,
    /// A file with a text on each line; - is standard input
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Do not report speed and memory
    #[arg(short, long)]
    quiet: bool,
    /// Form of the result; md writes a vector on each line, csv too, below the names d0, d1…
    #[arg(short, long = "output", value_name = "FORMAT", value_enum, default_value_t)]
    output: Format,
}

#[derive(Serialize)]
struct Embeddings<'a> {
    embeddings: &'a [Vec<f32>],
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let texts = texts(arguments)?;
    if texts.is_empty() {
        return Err(Failure::usage(
            "no text to embed: give texts as arguments, by -f FILE or on stdin",
        ));
    }
    let (model, _) = resolve::open(&arguments.model)?;
    let start = Instant::now();
    let mut vectors = Vec::with_capacity(texts.len());
    {
        let many = texts.len() > BATCH;
        let phase = many.then(|| Phase::steps("embedding", texts.len() as u64, "texts"));
        for batch in texts.chunks(BATCH) {
            vectors.extend(model.embed(batch)?);
            if let Some(phase) = &phase {
                phase.set(vectors.len() as u64);
            }
        }
    }
    let seconds = start.elapsed().as_secs_f64();

    match arguments.output {
        Format::Json => print_json_line(&Embeddings { embeddings: &vectors })?,
        Format::Csv => {
            let n_dims = vectors.first().map_or(0, Vec::len);
            let header: Vec<String> = (0..n_dims).map(|i| format!("d{i}")).collect();
            print(&format!("{}\n{}", header.join(","), lines(&vectors, ",")))?;
        }
        Format::Md => print(&lines(&vectors, " "))?,
    }
    if !arguments.quiet {
        say!(
            "{} texts in {:.1} ms; kernels {}, {} threads; {}",
            texts.len(),
            seconds * 1e3,
            model.kernel_set(),
            model.n_threads(),
            memory::describe()
        );
    }
    Ok(())
}

/// A vector on each line.
fn lines(vectors: &[Vec<f32>], separator: &str) -> String {
    let line = |vector: &Vec<f32>| {
        let numbers: Vec<String> = vector.iter().map(f32::to_string).collect();
        numbers.join(separator) + "\n"
    };
    vectors.iter().map(line).collect()
}

/// The texts, from arguments or from the lines of a file.
fn texts(arguments: &Arguments) -> Result<Vec<String>, Failure> {
    let given = arguments.model.words(&arguments.texts);
    let lines = match &arguments.file {
        Some(_) if !given.is_empty() => {
            return Err(Failure::usage("the texts are given in more than one way"));
        }
        Some(path) => read_text(path)?,
        None if given.is_empty() && !stdin().is_terminal() => read_stdin()?,
        None => return Ok(given.into_iter().map(str::to_owned).collect()),
    };
    Ok(lines.lines().map(str::to_owned).collect())
}
