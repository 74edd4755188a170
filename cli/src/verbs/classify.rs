//! `kinglet classify`: labels of texts.

use clap::Args;
use kinglet::{Classification, LabelScore, ZeroShotOptions};
use serde::Serialize;

use crate::arguments::Text;
use crate::failure::Failure;
use crate::results::{self, BulkArguments, Outcome};

/// Score the labels of each text
///
/// A classifier has labels of its own. With --labels, a model of natural language inference scores
/// any labels, by the statements that --template makes of them.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kinglet classify sentiment.kinglet \"a delight from start to end\"
  kinglet classify nli.kinglet \"the new phone is slow\" --labels politics,technology -o json
  kinglet classify sentiment.kinglet -f reviews.csv --column review -O labels.jsonl --resume")]
pub(crate) struct Arguments {
    #[command(flatten)]
    bulk: BulkArguments,
    /// Labels to score, in place of the model's own
    #[arg(long, value_name = "A,B,…", value_delimiter = ',', value_parser = Text)]
    labels: Vec<String>,
    /// Several labels may be right, each for itself
    #[arg(long, requires = "labels")]
    multi: bool,
    /// A statement about the text, in which {} is the label [default: This example is {}.]
    #[arg(long, value_name = "TEXT", requires = "labels", value_parser = Text)]
    template: Option<String>,
    /// Only the best labels of each text, this many
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    top: Option<u32>,
}

/// A label for JSON.
#[derive(Serialize)]
struct Label {
    label: String,
    score: f32,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let labels: Vec<&str> = arguments
        .labels
        .iter()
        .map(|label| label.trim())
        .filter(|label| !label.is_empty())
        .collect();
    if labels.is_empty() && !arguments.labels.is_empty() {
        return Err(Failure::usage("--labels has no label"));
    }
    let mut options = ZeroShotOptions::default().multi(arguments.multi);
    if let Some(template) = &arguments.template {
        options = options.template(template);
    }
    results::run(&arguments.bulk, "results", |model, texts| {
        let found = match labels.is_empty() {
            true => model.classify(texts)?,
            false => model.classify_zero_shot(texts, &labels, &options)?,
        };
        let top = arguments.top.map_or(usize::MAX, |n| n as usize);
        Ok(found.into_iter().map(|found| outcome(found, top)).collect())
    })
}

fn outcome(found: Classification, top: usize) -> Outcome<Vec<Label>> {
    let label = |LabelScore { label, score, .. }: LabelScore| Label { label, score };
    let value: Vec<Label> = found.scores.into_iter().take(top).map(label).collect();
    let scores: Vec<String> =
        value.iter().map(|one| format!("{} {:.4}", one.label, one.score)).collect();
    Outcome { value, text: scores.join(", ") + "\n", length: Some(found.length) }
}
