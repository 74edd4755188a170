//! `kinglet verify`: every hash of a file.

use clap::Args;
use kinglet_formats::kinglet::KingletFile;
use serde::Serialize;

use crate::arguments::ModelArguments;
use crate::failure::Failure;
use crate::output::{Format, print, print_json};
use crate::progress::Phase;
use crate::resolve;
use crate::table::Table;
use crate::units;

/// Check every byte of a model file against its hashes
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kinglet verify model.kinglet
  kinglet verify smollm2-135m && echo sound")]
pub(crate) struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    /// Form of the result
    #[arg(short, long = "output", value_name = "FORMAT", value_enum, default_value_t)]
    output: Format,
}

#[derive(Serialize)]
struct Verdict {
    file: String,
    bytes: u64,
    tensors: usize,
    sound: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let resolved = resolve::resolve(arguments.model.model()?, arguments.model.dtype)?;
    let path = resolved.path.display();
    let told = |error| Failure::from(error).during(&path);
    let file = KingletFile::open(&resolved.path).map_err(told)?;
    let mut phase = None;
    file.verify(&mut |done, total| {
        phase.get_or_insert_with(|| Phase::bytes("verifying", total)).set(done);
    })
    .map_err(told)?;
    drop(phase);

    let (bytes, tensors) = (file.file_len(), file.tensors().len());
    match arguments.output {
        Format::Md => {
            let size = units::bytes(bytes);
            print(&format!("{path}: sound ({tensors} tensors, {size}, all hashes match)\n"))
        }
        Format::Csv => {
            let mut table = Table::new(&["file", "bytes", "tensors", "sound"]);
            table.row([
                path.to_string(),
                bytes.to_string(),
                tensors.to_string(),
                "true".to_owned(),
            ]);
            print(&table.csv())
        }
        Format::Json => {
            print_json(&Verdict { file: path.to_string(), bytes, tensors, sound: true })
        }
    }
}
