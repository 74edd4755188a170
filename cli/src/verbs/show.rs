//! `kinglet show`: what is in a model file.

mod plan;

use clap::Args;
use kinglet::KvType;
use kinglet_formats::kinglet::{General, Generation, KingletFile, Meta, Provenance, Tensor};
use kinglet_formats::spec::{Head, Input, ModelSpec};
use kinglet_quantize::Source;
use serde::Serialize;

use crate::arguments::ModelArguments;
use crate::failure::Failure;
use crate::output::{Format, print, print_json};
use crate::resolve::{self, Meaning, meaning};
use crate::table::Table;
use crate::units;

/// Show what a model is, where it comes from and what it lost by quantization
///
/// A checkpoint on disk is described without converting it.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kinglet show smollm2-135m
  kinglet show model.kinglet --tensors
  kinglet show smollm2-135m --plan -c 512
  kinglet show smollm2-135m --plan --kv int8
  kinglet show model.kinglet -o json | jq .spec.stacks[0].hidden_size")]
pub(crate) struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    /// List all tensors, largest relative error first
    #[arg(long)]
    tensors: bool,
    /// Show what running the model takes of the machine's memory
    #[arg(long, conflicts_with = "tensors")]
    plan: bool,
    /// Tokens in the context of the memory plan [default: what the model was made for]
    #[arg(short = 'c', long = "ctx-size", value_name = "N", requires = "plan")]
    context: Option<usize>,
    /// How the memory plan keeps keys and values: f16, or int8 in half the memory
    #[arg(long, value_name = "TYPE", default_value_t, requires = "plan")]
    kv: KvType,
    /// Form of the result; csv lists the tensors, or the figures of the memory plan
    #[arg(short, long = "output", value_name = "FORMAT", value_enum, default_value_t)]
    output: Format,
}

/// A model file for JSON.
#[derive(Serialize)]
struct Description<'a> {
    general: &'a General,
    format: String,
    file_bytes: u64,
    data_bytes: u64,
    parameters: u64,
    bits_per_weight: f64,
    spec: &'a ModelSpec,
    generation: &'a Generation,
    chat_template: Option<&'a str>,
    tokenizer_bytes: usize,
    embedding_max_tokens: Option<usize>,
    provenance: &'a Provenance,
    tensors: Vec<TensorDescription<'a>>,
}

#[derive(Serialize)]
struct TensorDescription<'a> {
    name: &'a str,
    dims: &'a [usize],
    layout: String,
    group: u32,
    bytes: usize,
    relative_error: f32,
}

/// A checkpoint for JSON.
#[derive(Serialize)]
struct CheckpointDescription {
    checkpoint: String,
    inputs: Vec<String>,
    spec: ModelSpec,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let name = arguments.model.model()?;
    let path = match meaning(name)? {
        Meaning::Checkpoint(_) if arguments.tensors || arguments.plan => {
            return Err(Failure::new(format!(
                "{name} is not converted yet, and --tensors and --plan describe what a conversion \
                 makes: `kinglet quantize {name} -o OUT.kinglet`, then `kinglet show OUT.kinglet`"
            )));
        }
        Meaning::Checkpoint(path) => return show_checkpoint(&path, arguments.output),
        _ => resolve::resolve(name, arguments.model.dtype)?.path,
    };
    if arguments.plan {
        return plan::show(&path, arguments);
    }
    let file = KingletFile::open(&path).map_err(|e| Failure::from(e).during(path.display()))?;
    match arguments.output {
        Format::Json => print_json(&describe(&file)),
        Format::Csv => print(&tensor_table(&file).csv()),
        Format::Md if arguments.tensors => print(&tensor_table(&file).markdown()),
        Format::Md => print(&overview(&file).markdown()),
    }
}

fn show_checkpoint(path: &std::path::Path, format: Format) -> Result<(), Failure> {
    let source = Source::open(path)?;
    let spec = source.spec()?;
    let inputs: Vec<String> = source.inputs().iter().map(|p| p.display().to_string()).collect();
    if format == Format::Json {
        let checkpoint = source.name().to_owned();
        return print_json(&CheckpointDescription { checkpoint, inputs, spec });
    }
    let mut table = Table::new(&["checkpoint", source.name()]);
    for (name, value) in network(&spec) {
        table.row([name.to_owned(), value]);
    }
    table.row(["files".to_owned(), inputs.join(", ")]);
    print(&if format == Format::Csv { table.csv() } else { table.markdown() })
}

/// Number of weights of a file.
pub(crate) fn parameters(file: &KingletFile) -> u64 {
    let count = |tensor: &Tensor| tensor.dims.iter().map(|&d| d as u64).product::<u64>();
    file.tensors().iter().map(count).sum()
}

/// Bits that a weight takes on average, scales and padding included.
fn bits_per_weight(file: &KingletFile) -> f64 {
    let bytes: usize = file.tensors().iter().map(Tensor::n_bytes).sum();
    bytes as f64 * 8.0 / parameters(file).max(1) as f64
}

/// How most weights of a file are stored: `int8 g64`.
pub(crate) fn weight_type(file: &KingletFile) -> String {
    let largest = file.tensors().iter().max_by_key(|tensor| tensor.n_bytes());
    largest.map_or_else(String::new, |tensor| match (tensor.layout.to_string(), tensor.group) {
        (layout, group) if layout.starts_with("i8") => match group {
            0 => "int8 row".to_owned(),
            group => format!("int8 g{group}"),
        },
        (layout, _) => layout.split('.').next().unwrap_or_default().to_owned(),
    })
}

fn describe(file: &KingletFile) -> Description<'_> {
    let meta = file.meta();
    let (major, minor) = file.version();
    Description {
        general: &meta.general,
        format: format!("{major}.{minor}"),
        file_bytes: file.file_len(),
        data_bytes: file.data_len(),
        parameters: parameters(file),
        bits_per_weight: bits_per_weight(file),
        spec: &meta.spec,
        generation: &meta.generation,
        chat_template: meta.chat_template.as_deref(),
        tokenizer_bytes: file.tokenizer().len(),
        embedding_max_tokens: meta.embedding.map(|e| e.max_tokens),
        provenance: &meta.provenance,
        tensors: file
            .tensors()
            .iter()
            .map(|tensor| TensorDescription {
                name: &tensor.name,
                dims: &tensor.dims,
                layout: tensor.layout.to_string(),
                group: tensor.group,
                bytes: tensor.n_bytes(),
                relative_error: tensor.relative_error,
            })
            .collect(),
    }
}

fn overview(file: &KingletFile) -> Table {
    let meta = file.meta();
    let (major, minor) = file.version();
    let mut table = Table::new(&["model", &meta.general.name]);
    let mut row = |name: &str, value: String| table.row([name.to_owned(), value]);
    if let Some(license) = &meta.general.license {
        row("licence", license.clone());
    }
    row("file", format!("{}, format {major}.{minor}", units::bytes(file.file_len())));
    row(
        "weights",
        format!(
            "{}, {}, {:.2} bits each",
            units::parameters(parameters(file)),
            weight_type(file),
            bits_per_weight(file)
        ),
    );
    for (name, value) in network(&meta.spec) {
        row(name, value);
    }
    row("tokenizer", units::bytes(file.tokenizer().len() as u64));
    for (name, value) in usage(meta) {
        row(name, value);
    }
    let worst = file.tensors().iter().max_by(|a, b| a.relative_error.total_cmp(&b.relative_error));
    if let Some(worst) = worst.filter(|tensor| tensor.relative_error > 0.0) {
        row(
            "largest relative error",
            format!("{:.3} % in {}", 100.0 * worst.relative_error, worst.name),
        );
    }
    let provenance = &meta.provenance;
    row("made from", provenance.source.clone());
    row("made by", format!("{} {}", provenance.tool, provenance.options));
    for input in &provenance.inputs {
        let size = units::bytes(input.bytes);
        row("input", format!("{} ({size}, BLAKE3 {:.16}…)", input.name, input.blake3));
    }
    table
}

/// The network in a few rows.
fn network(spec: &ModelSpec) -> Vec<(&'static str, String)> {
    let mut rows = Vec::new();
    for stack in &spec.stacks {
        let vocabulary = match &stack.input {
            Input::Tokens { vocab_size, .. } => format!(", vocabulary {vocab_size}"),
            _ => String::new(),
        };
        let (layers, width) = (stack.layers.len(), stack.hidden_size);
        rows.push((
            "stack",
            format!("{}: {layers} layers, hidden size {width}{vocabulary}", stack.name),
        ));
    }
    let heads: Vec<String> = spec.heads.iter().map(head).collect();
    rows.push(("heads", heads.join(", ")));
    rows.push(("context", format!("{} tokens", spec.context_length)));
    rows
}

/// The kind of a head, as the spec spells it.
fn head(head: &Head) -> String {
    let value = serde_json::to_value(head).unwrap_or_default();
    value["kind"].as_str().unwrap_or("unknown").replace('_', " ")
}

/// How the model is used.
fn usage(meta: &Meta) -> Vec<(&'static str, String)> {
    let mut rows = Vec::new();
    if let Some(template) = &meta.chat_template {
        rows.push(("chat template", units::bytes(template.len() as u64)));
    }
    if let Some(limits) = meta.embedding {
        rows.push(("texts cut at", format!("{} tokens", limits.max_tokens)));
    }
    let generation = &meta.generation;
    let mut defaults = Vec::new();
    let settings = [
        ("temp", generation.temperature),
        ("top-k", generation.top_k.map(|k| k as f32)),
        ("top-p", generation.top_p),
        ("min-p", generation.min_p),
        ("repeat-penalty", generation.repeat_penalty),
    ];
    for (name, value) in settings {
        if let Some(value) = value {
            defaults.push(format!("{name} {value}"));
        }
    }
    if !generation.eos.is_empty() {
        defaults.push(format!("ends at tokens {:?}", generation.eos));
    }
    if !defaults.is_empty() {
        rows.push(("generation", defaults.join(", ")));
    }
    rows
}

fn tensor_table(file: &KingletFile) -> Table {
    let mut tensors: Vec<&Tensor> = file.tensors().iter().collect();
    // A stable sort: equal errors stay in the order of the file.
    tensors.sort_by(|a, b| b.relative_error.total_cmp(&a.relative_error));
    let mut table =
        Table::new(&["tensor", "dims", "layout", "group:", "bytes:", "relative error:"]);
    for tensor in tensors {
        table.row([
            tensor.name.clone(),
            format!("{:?}", tensor.dims),
            tensor.layout.to_string(),
            tensor.group.to_string(),
            tensor.n_bytes().to_string(),
            format!("{:.6}", tensor.relative_error),
        ]);
    }
    table
}
