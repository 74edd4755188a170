//! `kinglet tag`: labelled parts of texts.

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use kinglet::{Aggregation, TagOptions, Tagged};
use serde::Serialize;

use crate::failure::Failure;
use crate::results::{self, BulkArguments, Outcome};

/// Find names, places and the like in each text
///
/// Long texts are read in windows that overlap; nothing is left out. Places are counted in bytes of
/// UTF-8, from 0.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kinglet tag ner.kinglet \"Ada Lovelace was born in London.\"
  kinglet tag ner.kinglet -f articles.jsonl --column body -O entities.jsonl
  kinglet tag ner.kinglet \"Zoë in 東京\" --aggregation first --chars -o json")]
pub(crate) struct Arguments {
    #[command(flatten)]
    bulk: BulkArguments,
    /// How labels of tokens become labels of words and phrases
    #[arg(long, value_name = "HOW", default_value = "simple")]
    #[arg(value_parser = PossibleValuesParser::new(Aggregation::ALL.map(Aggregation::name))
        .try_map(|name| name.parse::<Aggregation>()))]
    aggregation: Aggregation,
    /// Tokens that the windows of a long text have in common [default: a quarter of a window]
    #[arg(long, value_name = "N")]
    stride: Option<usize>,
    /// Count places in characters
    #[arg(long)]
    chars: bool,
}

/// A part of a text for JSON.
#[derive(Serialize)]
struct Entity {
    label: String,
    score: f32,
    text: String,
    start: usize,
    end: usize,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut options =
        TagOptions::default().aggregation(arguments.aggregation).characters(arguments.chars);
    options.stride = arguments.stride;
    results::run(&arguments.bulk, "entities", |model, texts| {
        Ok(model.tag(texts, &options)?.into_iter().map(outcome).collect())
    })
}

fn outcome(found: Tagged) -> Outcome<Vec<Entity>> {
    let entity = |kinglet::Entity { label, score, text, start, end, .. }: kinglet::Entity| Entity {
        label,
        score,
        text,
        start,
        end,
    };
    let value: Vec<Entity> = found.entities.into_iter().map(entity).collect();
    let parts: Vec<String> =
        value.iter().map(|one| format!("{} ({} {:.4})", one.text, one.label, one.score)).collect();
    Outcome { value, text: parts.join(", ") + "\n", length: None }
}
