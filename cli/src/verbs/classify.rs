//! `kinglet classify`: labels of texts and of images.

use std::path::Path;

use clap::Args;
use kinglet::{LabelScore, Model, Task, TextLength, ZeroShotOptions};
use serde::Serialize;

use crate::arguments::Text;
use crate::failure::Failure;
use crate::images;
use crate::results::{self, BulkArguments, Outcome};

/// Score the labels of each text or image
///
/// A classifier has labels of its own. With --labels, a model of natural language inference scores
/// any labels of texts, and one that compares images with texts those of images, by the statements
/// that --template makes of them.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kinglet classify sentiment.kinglet \"a delight from start to end\"
  kinglet classify nli.kinglet \"the new phone is slow\" --labels politics,technology -o json
  kinglet classify sentiment.kinglet -f reviews.csv --column review -O labels.jsonl --resume
  kinglet classify vit.kinglet photo.jpg --top 5
  kinglet classify clip.kinglet *.jpg --labels \"a cat,a dog\" -o jsonl")]
pub(crate) struct Arguments {
    #[command(flatten)]
    bulk: BulkArguments,
    /// Labels to score, in place of the model's own
    #[arg(long, value_name = "A,B,…", value_delimiter = ',', value_parser = Text)]
    labels: Vec<String>,
    /// Several labels may be right, each for itself
    #[arg(long, requires = "labels")]
    multi: bool,
    /// A statement about the text or image, in which {} is the label [default: This example is {}.
    /// of texts, This is a photo of {}. of images]
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
    let with = |options: ZeroShotOptions| match &arguments.template {
        Some(template) => options.template(template).multi(arguments.multi),
        None => options.multi(arguments.multi),
    };
    let (of_texts, of_images) =
        (with(ZeroShotOptions::default()), with(ZeroShotOptions::for_images()));
    let top = arguments.top.map_or(usize::MAX, |n| n as usize);
    let task = if labels.is_empty() { Task::ClassifyImages } else { Task::EmbedImages };
    results::run(&arguments.bulk, "results", |model, texts| {
        let tasks = model.tasks();
        if labels.is_empty() && tasks == [Task::EmbedImages, Task::Embed] {
            return Err(Failure::new(
                "the model has no labels of its own; it compares images with those that --labels names",
            ));
        }
        // What compares images with texts classifies images alone.
        let compares = task == Task::EmbedImages && tasks.contains(&task);
        if compares || images::are_images(model, task, texts)? {
            let scored = of_images_at(model, texts, &labels, &of_images)?;
            return Ok(scored.into_iter().map(|scores| outcome(scores, None, top)).collect());
        }
        let found = match labels.is_empty() {
            true => model.classify(texts)?,
            false => model.classify_zero_shot(texts, &labels, &of_texts)?,
        };
        Ok(found.into_iter().map(|found| outcome(found.scores, Some(found.length), top)).collect())
    })
}

/// The scores of the images at some paths; a few images are in memory at a time.
fn of_images_at(
    model: &Model,
    paths: &[String],
    labels: &[&str],
    options: &ZeroShotOptions,
) -> Result<Vec<Vec<LabelScore>>, Failure> {
    let images: Vec<_> =
        paths.iter().map(|path| images::read(Path::new(path))).collect::<Result<_, _>>()?;
    Ok(match labels.is_empty() {
        true => model.classify_images(&images)?,
        false => model.classify_images_zero_shot(&images, labels, options)?,
    })
}

fn outcome(scores: Vec<LabelScore>, length: Option<TextLength>, top: usize) -> Outcome<Vec<Label>> {
    let label = |LabelScore { label, score, .. }: LabelScore| Label { label, score };
    let value: Vec<Label> = scores.into_iter().take(top).map(label).collect();
    let scores: Vec<String> =
        value.iter().map(|one| format!("{} {:.4}", one.label, one.score)).collect();
    Outcome { value, text: scores.join(", ") + "\n", length }
}
