//! `kinglet rerank`: documents in the order in which they answer a query.

use std::io::BufRead;

use clap::Args;
use kinglet::{Model, Ranked};
use serde::{Deserialize, Serialize};

use crate::arguments::{ModelArguments, Text};
use crate::failure::Failure;
use crate::out::{Out, OutArguments};
use crate::output::{json_lines, print, print_json_line, print_json_lines};
use crate::resolve;
use crate::results::{Cuts, Length, Named, TextFormat};
use crate::texts::{FileArguments, Texts};

/// Documents that are given to the model together.
const BATCH: usize = 256;

/// Sort documents by how well they answer a query
///
/// The model reads query and document together. Documents have the numbers, from 0, in which they
/// are given. With -O, the scores of many documents are written as they come, in the order of the
/// documents, and a later run can go on; then only the best that --top asks for are sorted.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kinglet rerank reranker.kinglet \"a small bird\" \"The wren is tiny.\" \"Ships are large.\"
  kinglet rerank reranker.kinglet \"a small bird\" -f passages.jsonl --top 10 -o json
  kinglet rerank reranker.kinglet \"a small bird\" -f passages.jsonl -O scores.jsonl --resume")]
pub(crate) struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    /// The query, and the documents unless a file has them
    #[arg(value_name = "QUERY DOC", value_parser = Text)]
    texts: Vec<String>,
    #[command(flatten)]
    file: FileArguments,
    /// Only the best documents, this many
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    top: Option<u32>,
    /// Form of the result
    #[arg(short, long = "output", value_name = "FORMAT", value_enum, default_value = "text")]
    output: TextFormat,
    #[command(flatten)]
    out: OutArguments,
}

/// A document for JSON.
#[derive(Serialize, Deserialize)]
struct Document {
    index: u64,
    score: f32,
    /// Where query and document were cut.
    #[serde(flatten)]
    length: Option<Length>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let words = arguments.model.words(&arguments.texts)?;
    let Some((query, documents)) = words.split_first() else {
        return Err(Failure::usage("there is no QUERY: give it behind the model, then documents"));
    };
    // Whether there is such a model is known before a text is waited for; that there are texts,
    // before a model is fetched.
    resolve::meaning(arguments.model.model()?)?;
    arguments.out.check(&arguments.file)?;
    let mut texts = Texts::new(documents, &arguments.file)?;
    if texts.is_empty(BATCH)? {
        return Err(Failure::usage(
            "there are no documents: give them behind the query, by -f FILE or on stdin",
        ));
    }
    let model = resolve::open(&arguments.model)?.model;
    let query = Query { model: &model, text: query };
    let out = arguments.out.open(&mut texts, |first, batch| {
        json_lines(query.documents(first, batch, &mut Cuts::default())?)
    })?;
    let results = match out {
        None => {
            let mut best = Best::new(arguments.top);
            query.all(texts, 0, |documents| {
                best.add(documents);
                Ok(())
            })?;
            best.sorted()
        }
        Some(mut out) => {
            query.all(texts, out.lines, |documents| out.write(&json_lines(documents)?))?;
            if arguments.top.is_none() {
                return Ok(());
            }
            best_of(out, arguments.top)?
        }
    };
    match arguments.output {
        TextFormat::Json => print_json_line(&Named("results", &results)),
        TextFormat::Jsonl => print_json_lines(results),
        TextFormat::Text => {
            let line = |one: &Document| {
                let text = usize::try_from(one.index).ok().and_then(|i| documents.get(i));
                let text = text.map(|text| format!("  {}", text.replace(['\n', '\r'], " ")));
                format!("{:.4}  {:>4}{}\n", one.score, one.index, text.unwrap_or_default())
            };
            print(&results.iter().map(line).collect::<String>())
        }
    }
}

/// What documents are compared with.
struct Query<'a> {
    model: &'a Model,
    text: &'a str,
}

impl Query<'_> {
    /// Gives the documents of all texts to `take`, some at a time, in their order; the first has the
    /// number `first`.
    fn all(
        &self,
        mut texts: Texts,
        first: u64,
        mut take: impl FnMut(Vec<Document>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let (mut n, mut cuts) = (first, Cuts::default());
        loop {
            let (batch, _) = texts.next(BATCH)?;
            if batch.is_empty() {
                break;
            }
            take(self.documents(n, &batch, &mut cuts)?)?;
            n += batch.len() as u64;
        }
        cuts.tell(n, self.model.text_tokens());
        Ok(())
    }

    /// Some texts as documents, in their order.
    fn documents(
        &self,
        first: u64,
        texts: &[String],
        cuts: &mut Cuts,
    ) -> Result<Vec<Document>, Failure> {
        let mut ranked = self.model.rerank(self.text, texts)?;
        ranked.sort_unstable_by_key(|one| one.index);
        let document = |Ranked { index, score, length, .. }| {
            let index = first + index as u64;
            cuts.note(index, length);
            Document { index, score, length: length.truncated.then(|| length.into()) }
        };
        Ok(ranked.into_iter().map(document).collect())
    }
}

/// The best documents; hardly more are kept than are asked for.
struct Best {
    top: usize,
    found: Vec<Document>,
}

impl Best {
    fn new(top: Option<u32>) -> Self {
        Self { top: top.map_or(usize::MAX, |top| top as usize), found: Vec::new() }
    }

    fn add(&mut self, documents: impl IntoIterator<Item = Document>) {
        self.found.extend(documents);
        if self.found.len() >= self.top.saturating_add(BATCH) {
            self.sort();
        }
    }

    fn sort(&mut self) {
        self.found.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.index.cmp(&b.index)));
        self.found.truncate(self.top);
    }

    /// The best one first.
    fn sorted(mut self) -> Vec<Document> {
        self.sort();
        self.found
    }
}

/// The best documents of a file of scores.
fn best_of(scores: Out, top: Option<u32>) -> Result<Vec<Document>, Failure> {
    let mut best = Best::new(top);
    for line in scores.read()?.lines() {
        best.add([serde_json::from_str(&line?)?]);
    }
    Ok(best.sorted())
}
