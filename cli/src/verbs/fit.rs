//! `kinglet fit`: labels learned on a model that stays as it is.

use std::path::{Path, PathBuf};

use clap::Args;
use kinglet::{Model, Task};
use kinglet_formats::kinglet::KingletFile;
use kinglet_quantize::fit::{Examples, FitOptions, Fitted, fit};
use serde::Serialize;

use crate::arguments::{ModelArguments, Text};
use crate::failure::Failure;
use crate::images;
use crate::numbers;
use crate::output::{print, print_json, say};
use crate::progress::Phase;
use crate::resolve;
use crate::results::TextFormat;
use crate::table::Table;
use crate::texts::{FileArguments, Texts};

/// Examples that are read at a time.
const AT_ONCE: usize = 256;

/// Learn labels from examples, and write a model that classifies by them
///
/// The model makes a vector of each text or image (kinglet embed); what is learned is a linear layer
/// on these vectors, or two with --hidden. OUT is a copy of the model with this head, for kinglet
/// classify. How well it does is tried out on parts of the examples that are held out.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kinglet fit minilm tickets.csv -o tickets.kinglet
  kinglet classify tickets.kinglet \"my parcel never came\"
  kinglet fit minilm reviews.jsonl --column review --label stars -o stars.kinglet --hidden 64
  kinglet fit dinov2.kinglet photos.csv --column path -o birds.kinglet")]
pub(crate) struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    /// Examples as CSV (.csv, .tsv) or JSON lines (.jsonl, .ndjson): texts or paths of images, and
    /// their labels
    #[arg(value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    file: Vec<PathBuf>,
    /// The column of the texts or paths
    #[arg(long, value_name = "NAME", default_value = "text", value_parser = Text)]
    column: String,
    /// The column of the labels
    #[arg(long, value_name = "NAME", default_value = "label", value_parser = Text)]
    label: String,
    /// The file to write
    #[arg(short, long = "out", value_name = "OUT", alias = "outfile", required = true)]
    out: PathBuf,
    /// Two layers, with N outputs between them
    #[arg(long, value_name = "N", default_value = "0", hide_default_value = true)]
    #[arg(value_parser = numbers::count)]
    hidden: usize,
    /// Weight of squared weights beside the loss [default: the best of a few]
    #[arg(long, value_name = "X", value_parser = numbers::temperature)]
    penalty: Option<f32>,
    /// Into how many parts the examples are divided, each of which is held out once
    #[arg(long, value_name = "N", default_value = "5", value_parser = numbers::count)]
    folds: usize,
    /// Start of the random order
    #[arg(short, long, value_name = "N", default_value = "0")]
    seed: u64,
    /// Form of the report
    #[arg(long = "format", value_name = "FORMAT", value_enum, default_value = "text")]
    format: TextFormat,
}

/// The report as JSON.
#[derive(Serialize)]
struct Report<'a> {
    examples: usize,
    labels: &'a [String],
    accuracy: f32,
    accuracies: &'a [f32],
    baseline: f32,
    penalty: f32,
    confusion: &'a [Vec<usize>],
    out: &'a Path,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let files = arguments.model.paths(&arguments.file);
    let [file] = files[..] else {
        return Err(Failure::usage("give one FILE of examples behind the model"));
    };
    if file == Path::new("-") {
        return Err(Failure::usage("examples are read twice: give a file, not standard input"));
    }
    let read = |column: &str| read_column(file, column);
    let (inputs, labels) = (read(&arguments.column)?, read(&arguments.label)?);
    let mut names: Vec<String> = labels.clone();
    names.sort_unstable();
    names.dedup();
    let place = |label: &String| names.binary_search(label).unwrap_or(0);
    let places: Vec<usize> = labels.iter().map(place).collect();
    let resolved = resolve::resolve(arguments.model.model()?, arguments.model.dtype)?;
    let same = |path: &Path| path.canonicalize().ok();
    if same(&arguments.out).is_some_and(|out| Some(out) == same(&resolved.path)) {
        return Err(Failure::usage("OUT is the model itself; give another name"));
    }
    let model = resolve::open_file(&resolved, arguments.model.threads.map(|n| n.get()))?;
    let features = features(&model, &inputs)?;
    let width = features.len() / inputs.len().max(1);
    let examples = Examples::new(&features, width, &places, names)?;
    let options = FitOptions {
        hidden: arguments.hidden,
        penalty: arguments.penalty,
        folds: arguments.folds,
        seed: arguments.seed,
    };
    let phase = Phase::steps("learning from", inputs.len() as u64, "examples");
    let fitted = fit(&examples, &options)?;
    drop(phase);
    let opened = KingletFile::open(&resolved.path)?;
    fitted.write(&opened, &arguments.out)?;
    say!("wrote {}", arguments.out.display());
    report(arguments, &fitted, inputs.len())
}

fn report(arguments: &Arguments, fitted: &Fitted, examples: usize) -> Result<(), Failure> {
    if arguments.format != TextFormat::Text {
        return print_json(&Report {
            examples,
            labels: &fitted.labels,
            accuracy: fitted.accuracy(),
            accuracies: &fitted.accuracies,
            baseline: fitted.baseline(),
            penalty: fitted.penalty,
            confusion: &fitted.confusion,
            out: &arguments.out,
        });
    }
    let percent = |share: f32| format!("{:.1} %", 100.0 * share);
    let mut table = Table::new(&["label", "examples:", "found:", "right where given:"]);
    for (i, label) in fitted.labels.iter().enumerate() {
        let all: usize = fitted.confusion[i].iter().sum();
        let given: usize = fitted.confusion.iter().map(|row| row[i]).sum();
        let right = fitted.confusion[i][i];
        let share =
            |of: usize| if of == 0 { "-".into() } else { percent(right as f32 / of as f32) };
        table.row([label.clone(), all.to_string(), share(all), share(given)]);
    }
    print(&format!(
        "{} of {examples} held-out examples are right (the most frequent label alone: {})\n\n{}",
        percent(fitted.accuracy()),
        percent(fitted.baseline()),
        table.markdown(),
    ))
}

/// All texts of a column.
fn read_column(file: &Path, column: &str) -> Result<Vec<String>, Failure> {
    let from = FileArguments { file: Some(file.to_owned()), column: Some(column.to_owned()) };
    let mut texts = Texts::new(&[], &from)?;
    Ok(texts.next(usize::MAX)?.0)
}

/// Vectors `[n][width]` of texts, or of the images at paths.
fn features(model: &Model, inputs: &[String]) -> Result<Vec<f32>, Failure> {
    let of_images = images::are_images(model, Task::EmbedImages, inputs)?;
    let title = if of_images { "looking at" } else { "reading" };
    let phase = Phase::steps(title, inputs.len() as u64, "examples");
    let mut features = Vec::new();
    for (i, batch) in inputs.chunks(AT_ONCE).enumerate() {
        phase.set((i * AT_ONCE) as u64);
        let vectors = match of_images {
            false => model.features(batch)?,
            true => {
                let read = |path: &String| images::read(Path::new(path));
                let mut vectors = Vec::new();
                // A few images are in memory at a time.
                for batch in batch.chunks(16) {
                    let images: Vec<_> = batch.iter().map(read).collect::<Result<_, _>>()?;
                    vectors.extend(model.image_features(&images)?);
                }
                vectors
            }
        };
        features.extend(vectors.into_iter().flatten());
    }
    Ok(features)
}
