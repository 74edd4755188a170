//! `kinglet search`: the images of a folder that are nearest to a text or to another image.

use std::path::{Path, PathBuf};

use clap::Args;
use kinglet::Model;
use serde::Serialize;

use crate::arguments::{ModelArguments, Text};
use crate::failure::Failure;
use crate::images;
use crate::index::{Entry, Index, images_in};
use crate::output::{print, print_json_line, print_json_lines, say};
use crate::progress::Phase;
use crate::resolve;
use crate::results::{Named, TextFormat};
use crate::units::{self, hex};

/// Images that are read between two times the index is written.
const BETWEEN: usize = 64;

/// Find the images in a folder that are nearest to a text or an image
///
/// The model reads each image once: their vectors are kept in the folder, in the file
/// .kinglet-images, and only new and changed images are read later. A text is a query for models
/// that read both (CLIP, SigLIP), the path of an image for all that read images. Scores are cosines.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kinglet search clip.kinglet ~/photos \"a red car\"
  kinglet search dinov2.kinglet ~/photos like-this.jpg --top 20 -o jsonl")]
pub(crate) struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    /// The folder, with those in it, and what is looked for: a text, or the path of an image
    #[arg(value_name = "FOLDER QUERY", value_parser = Text)]
    words: Vec<String>,
    /// Only the best images, this many
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    top: u32,
    /// Form of the result
    #[arg(short, long = "output", value_name = "FORMAT", value_enum, default_value = "text")]
    output: TextFormat,
    /// Report no progress
    #[arg(long)]
    quiet: bool,
}

/// An image for JSON.
#[derive(Serialize)]
struct Found {
    path: PathBuf,
    score: f32,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let words = arguments.model.words(&arguments.words)?;
    let [folder, query] = words[..] else {
        return Err(Failure::usage("give a FOLDER and a QUERY behind the model"));
    };
    let folder = Path::new(folder);
    resolve::meaning(arguments.model.model()?)?;
    let there = images_in(folder)?;
    if there.is_empty() {
        return Err(Failure::new(format!("{}: there are no images", folder.display())));
    }
    let model = resolve::open(&arguments.model)?.model;
    // What is asked for is understood before much is read.
    let query = vector(&model, query)?;
    let index = up_to_date(&model, folder, there, arguments.quiet)?;
    let found = index.nearest(&query, arguments.top as usize).into_iter();
    let found: Vec<Found> =
        found.map(|(image, score)| Found { path: folder.join(&image.path), score }).collect();
    match arguments.output {
        TextFormat::Text => {
            let line = |one: &Found| format!("{:.4} {}\n", one.score, one.path.display());
            print(&found.iter().map(line).collect::<String>())
        }
        TextFormat::Json => print_json_line(&Named("results", &found)),
        TextFormat::Jsonl => print_json_lines(&found),
    }
}

/// The vector of a text, or of the image that it names.
fn vector(model: &Model, query: &str) -> Result<Vec<f32>, Failure> {
    let vectors = match images::is_image(query) {
        true => model.embed_images(&[images::read(Path::new(query))?])?,
        false => model.embed(&[query])?,
    };
    Ok(vectors.into_iter().next().unwrap_or_default())
}

/// The index with all images that are there; one that cannot be read is told and left out.
fn up_to_date(
    model: &Model,
    folder: &Path,
    there: Vec<Entry>,
    quiet: bool,
) -> Result<Index, Failure> {
    let hash = hex(model.file().hash());
    let before = Index::open(folder, &hash);
    let (mut index, new) = before.divided(there);
    let total = new.len() as u64;
    let phase = (total > 0 && !quiet).then(|| Phase::steps("reading images", total, "images"));
    let (mut unread, mut unsaved) = (0, before.images.len() != index.images.len());
    for (done, image) in (1..).zip(new) {
        match images::read(&folder.join(&image.path)) {
            Ok(read) => {
                if let Some(vector) = model.embed_images(&[read])?.first() {
                    index.push(image, vector);
                    unsaved = true;
                }
            }
            Err(failure) => {
                unread += 1;
                say!("{failure}");
            }
        }
        if let Some(phase) = &phase {
            phase.set(done);
        }
        if unsaved && (done % BETWEEN as u64 == 0 || done == total) {
            index.save(folder, &hash)?;
            unsaved = false;
        }
    }
    if unsaved {
        index.save(folder, &hash)?;
    }
    drop(phase);
    if unread > 0 {
        say!("{} left out", units::count(unread, "image"));
    }
    Ok(index)
}
