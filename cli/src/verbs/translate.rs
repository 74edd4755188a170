//! `kinglet translate`: texts in another language.

use clap::Args;
use kinglet::{TranslateOptions, Translated};
use serde::Serialize;

use crate::arguments::Text;
use crate::failure::Failure;
use crate::results::{self, BulkArguments, Outcome};

/// Translate texts
///
/// Texts may be of any length: they are translated sentence by sentence, and white space, list
/// marks and lines without letters stay. `kinglet show MODEL` lists the languages of a model.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kinglet translate firefox-en-pt \"A small bird sings.\"
  kinglet translate firefox-en-pt -f letter.txt -o text
  kinglet translate nllb.kinglet --from eng_Latn --to por_Latn \"A small bird sings.\" -o json")]
pub(crate) struct Arguments {
    #[command(flatten)]
    bulk: BulkArguments,
    /// The texts' language, where the model has several
    #[arg(long, value_name = "CODE", value_parser = Text)]
    from: Option<String>,
    /// The language to translate to, where the model has several
    #[arg(long, value_name = "CODE", value_parser = Text)]
    to: Option<String>,
    /// Translations that are followed side by side; 1 is greedy [default: what the model says]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    beams: Option<u32>,
}

/// A translation for JSON.
#[derive(Serialize)]
struct Translation {
    text: String,
    score: f32,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut options = TranslateOptions::default();
    options.from.clone_from(&arguments.from);
    options.to.clone_from(&arguments.to);
    options.search.beams = arguments.beams.map(|n| n as usize);
    results::run(&arguments.bulk, "translations", |model, texts| {
        let translated = model.translate(texts, &options)?;
        Ok(translated.into_iter().map(outcome).collect())
    })
}

fn outcome(Translated { text, score }: Translated) -> Outcome<Translation> {
    let line = format!("{text}\n");
    Outcome { value: Translation { text, score }, text: line, length: None }
}
