//! `kinglet verify`: every hash of a file.

use clap::Args;
use kinglet_formats::kinglet::KingletFile;
use serde::Serialize;

use crate::arguments::ModelArguments;
use crate::failure::Failure;
use crate::output::{Format, print, print_json, print_json_line};
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
    let (bytes, tensors) = (file.file_len(), file.tensors().len());
    let mut phase = None;
    file.verify(&mut |done, total| {
        // Hashes overlap: what is read of the file is their share of its bytes.
        let read = done as f64 / total.max(1) as f64 * bytes as f64;
        phase.get_or_insert_with(|| Phase::bytes("verifying", bytes)).set(read as u64);
    })
    .map_err(told)?;
    drop(phase);

    let verdict = Verdict { file: path.to_string(), bytes, tensors, sound: true };
    match arguments.output {
        Format::Md => {
            let size = units::bytes(bytes);
            let tensors = units::count(tensors, "tensor");
            print(&format!("{path}: sound ({tensors}, {size}, all hashes match)\n"))
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
        Format::Json => print_json(&verdict),
        Format::Jsonl => print_json_line(&verdict),
    }
}
