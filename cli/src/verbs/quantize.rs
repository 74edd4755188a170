//! `kinglet quantize`: a checkpoint into a `.kinglet` file.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use kinglet_quantize::{Group, Options, Report, Source, WeightType};
use serde::Serialize;

use crate::cache::Cache;
use crate::catalog;
use crate::conversion;
use crate::failure::Failure;
use crate::output::{Format, print, print_json, say};
use crate::resolve::{Meaning, meaning};
use crate::table::Table;
use crate::units;

/// Tensors that the summary names.
const WORST: usize = 3;

/// Convert a checkpoint to a .kinglet file
///
/// The result is written under a temporary name and renamed when it is complete.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kinglet quantize SmolLM2-135M-Instruct.Q8_0.gguf -o smollm2.kinglet --group 32
  kinglet quantize all-MiniLM-L6-v2/ -o minilm.kinglet --type f16
  kinglet quantize model.gguf -o model.kinglet --keep-f16 '*.down_proj.weight' --report")]
pub(crate) struct Arguments {
    /// GGUF, safetensors or PyTorch file, Hugging Face folder, or catalog name
    #[arg(value_name = "IN")]
    input: String,
    /// The file to write
    #[arg(short = 'o', value_name = "OUT")]
    output: PathBuf,
    /// Type of the matrices: int8 or f16
    #[arg(long = "type", value_name = "TYPE", default_value_t = WeightType::Int8)]
    dtype: WeightType,
    /// Weights of a row that share a scale: 32 (takes over GGUF's Q8_0 without loss), 64, 128 or
    /// row
    #[arg(long, value_name = "N", default_value_t = Group::G64)]
    group: Group,
    /// Keep matrices of these names in f16; * and ? stand for any characters (may be repeated)
    #[arg(long, value_name = "GLOB")]
    keep_f16: Vec<String>,
    /// Take each scale from the largest weight of its group instead of searching for a better one
    #[arg(long)]
    no_scale_search: bool,
    /// Threads [default: the machine's cores]
    #[arg(short, long, value_name = "N")]
    threads: Option<std::num::NonZeroUsize>,
    /// Overwrite OUT
    #[arg(short, long)]
    force: bool,
    /// Write the quality of every tensor to standard output
    #[arg(long, value_name = "FORMAT", value_enum, num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "md")]
    report: Option<Format>,
}

/// The report for JSON.
#[derive(Serialize)]
struct Summary<'a> {
    family: &'a str,
    input_bytes: u64,
    output_bytes: u64,
    bits_per_weight: f64,
    ignored: &'a [String],
    tensors: Vec<TensorSummary<'a>>,
}

#[derive(Serialize)]
struct TensorSummary<'a> {
    name: &'a str,
    source: &'a str,
    dims: &'a [usize],
    layout: String,
    group: u32,
    bytes: u64,
    relative_error: f32,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let target = &arguments.output;
    if target.is_dir() {
        return Err(Failure::new(format!("{} is a folder; name a file", target.display())));
    }
    if target.exists() && !arguments.force {
        return Err(Failure::new(format!("{} exists; --force overwrites it", target.display())));
    }
    let input = match meaning(&arguments.input)? {
        Meaning::Named(entry) => catalog::fetch(entry.name, &Cache::locate()?)?,
        Meaning::Checkpoint(path) | Meaning::Kinglet(path) => path,
    };
    let options = Options {
        dtype: arguments.dtype,
        group: arguments.group,
        keep_f16: arguments.keep_f16.clone(),
        scale_search: !arguments.no_scale_search,
        threads: arguments.threads,
    };
    let source = Source::open(&input)?;
    let start = Instant::now();
    let report = conversion::convert(source.name(), &source, &options, target)?;
    summarize(&report, target, start.elapsed().as_secs_f64());
    arguments.report.map_or(Ok(()), |format| print_report(&report, format))
}

fn summarize(report: &Report, target: &Path, seconds: f64) {
    say!(
        "{}: {} ({} before), {} weights at {:.2} bits, {seconds:.1} s",
        target.display(),
        units::bytes(report.output_bytes),
        units::bytes(report.input_bytes),
        units::parameters(report.weights()),
        report.bits_per_weight(),
    );
    let mut tensors: Vec<_> = report.tensors.iter().filter(|t| t.relative_error > 0.0).collect();
    tensors.sort_by(|a, b| b.relative_error.total_cmp(&a.relative_error));
    let worst: Vec<String> = tensors
        .iter()
        .take(WORST)
        .map(|t| format!("{} {:.3} %", t.name, 100.0 * t.relative_error))
        .collect();
    if !worst.is_empty() {
        say!("largest relative errors: {}", worst.join(", "));
    }
    if !report.ignored.is_empty() {
        say!("{} tensors are not part of the model: {}", report.ignored.len(), names(report));
    }
}

fn names(report: &Report) -> String {
    let shown = report.ignored.iter().take(WORST).cloned().collect::<Vec<_>>().join(", ");
    if report.ignored.len() > WORST { format!("{shown}…") } else { shown }
}

fn print_report(report: &Report, format: Format) -> Result<(), Failure> {
    if format == Format::Json {
        return print_json(&Summary {
            family: report.family,
            input_bytes: report.input_bytes,
            output_bytes: report.output_bytes,
            bits_per_weight: report.bits_per_weight(),
            ignored: &report.ignored,
            tensors: report
                .tensors
                .iter()
                .map(|t| TensorSummary {
                    name: &t.name,
                    source: &t.source,
                    dims: &t.dims,
                    layout: t.layout.to_string(),
                    group: t.group,
                    bytes: t.bytes,
                    relative_error: t.relative_error,
                })
                .collect(),
        });
    }
    let columns = ["tensor", "from", "dims", "layout", "group:", "bytes:", "relative error:"];
    let mut table = Table::new(&columns);
    for tensor in &report.tensors {
        table.row([
            tensor.name.clone(),
            tensor.source.clone(),
            format!("{:?}", tensor.dims),
            tensor.layout.to_string(),
            tensor.group.to_string(),
            tensor.bytes.to_string(),
            format!("{:.6}", tensor.relative_error),
        ]);
    }
    print(&if format == Format::Csv { table.csv() } else { table.markdown() })
}
