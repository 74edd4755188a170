//! `kinglet show`: what is in a model file.

mod plan;
mod usage;

use std::collections::BTreeMap;

use clap::Args;
use kinglet::{KvType, Task};
use kinglet_formats::kinglet::{
    General, Generation, KingletFile, Meta, Prompt, Provenance, Tensor, TextLanguage,
};
use kinglet_formats::spec::{Head, Input, ModelSpec, Output};
use kinglet_quantize::Source;
use serde::Serialize;

use crate::arguments::ModelArguments;
use crate::failure::Failure;
use crate::numbers;
use crate::output::{Format, print, print_json, print_json_line, print_json_lines};
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
    #[arg(value_parser = numbers::context)]
    context: Option<usize>,
    /// How the memory plan keeps keys and values: f16, or int8 in half the memory
    #[arg(long, value_name = "TYPE", default_value_t, requires = "plan")]
    #[arg(value_parser = numbers::kv_type)]
    kv: KvType,
    /// Form of the result; csv and jsonl list the tensors, or the figures of the memory plan
    #[arg(short, long = "output", value_name = "FORMAT", value_enum, default_value_t)]
    output: Format,
}

/// A model file for JSON.
#[derive(Serialize)]
struct Description<'a> {
    name: &'a str,
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
    prompts: &'a [Prompt],
    default_prompt: Option<&'a str>,
    tasks: Vec<&'static str>,
    labels: &'a [String],
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
    let resolved = match meaning(name)? {
        Meaning::Checkpoint(_) if arguments.tensors || arguments.plan => {
            let name = name.to_string_lossy();
            return Err(Failure::new(format!(
                "{name} is not converted yet, and --tensors and --plan describe what a conversion \
                 makes: `kinglet quantize {name} -o OUT.kinglet`, then `kinglet show OUT.kinglet`"
            )));
        }
        Meaning::Checkpoint(path) => return show_checkpoint(&path, arguments.output),
        _ => resolve::resolve(name, arguments.model.dtype)?,
    };
    if arguments.plan {
        return plan::show(&resolved, arguments);
    }
    let path = &resolved.path;
    let file = KingletFile::open(path).map_err(|e| Failure::from(e).during(path.display()))?;
    match arguments.output {
        Format::Json => print_json(&describe(&file, &resolved.name)),
        Format::Jsonl => print_json_lines(&describe(&file, &resolved.name).tensors),
        Format::Csv => print(&tensor_table(&file).csv()),
        Format::Md if arguments.tensors => print(&tensor_table(&file).markdown()),
        Format::Md => print(&overview(&file, &resolved.name).markdown()),
    }
}

fn show_checkpoint(path: &std::path::Path, format: Format) -> Result<(), Failure> {
    let source = Source::open(path)?;
    let spec = source.spec()?;
    let inputs: Vec<String> = source.inputs().iter().map(|p| p.display().to_string()).collect();
    if matches!(format, Format::Json | Format::Jsonl) {
        let checkpoint = source.name().to_owned();
        let description = CheckpointDescription { checkpoint, inputs, spec };
        return match format {
            Format::Json => print_json(&description),
            _ => print_json_line(&description),
        };
    }
    let mut table = Table::new(&["checkpoint", source.name()]);
    for (name, value) in network(&spec).into_iter().chain(purpose(&verbs(Task::of(&spec)))) {
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
    let kind = |tensor: &Tensor| match (tensor.layout.to_string(), tensor.group) {
        (layout, 0) if layout.starts_with("i8") => "int8 row".to_owned(),
        (layout, group) if group > 0 => format!("int{} g{group}", &layout[1..2]),
        (layout, _) => layout.split('.').next().unwrap_or_default().to_owned(),
    };
    let mut kinds = BTreeMap::<String, usize>::new();
    for tensor in file.tensors() {
        *kinds.entry(kind(tensor)).or_default() += tensor.rows() * tensor.cols();
    }
    kinds.into_iter().max_by_key(|&(_, weights)| weights).map_or_else(String::new, |(kind, _)| kind)
}

fn describe<'a>(file: &'a KingletFile, name: &'a str) -> Description<'a> {
    let meta = file.meta();
    let embedding = meta.embedding.as_ref();
    let (major, minor) = file.version();
    Description {
        name,
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
        embedding_max_tokens: embedding.map(|e| e.max_tokens),
        prompts: embedding.map_or(&[], |e| &e.prompts),
        default_prompt: embedding.and_then(|e| e.default_prompt.as_deref()),
        tasks: verbs(Task::of_model(meta)),
        labels: &meta.labels,
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

fn overview(file: &KingletFile, name: &str) -> Table {
    let meta = file.meta();
    let (major, minor) = file.version();
    let mut table = Table::new(&["model", name]);
    let mut row = |name: &str, value: String| table.row([name.to_owned(), value]);
    if meta.general.name != name {
        row("full name", meta.general.name.clone());
    }
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
    let purpose = purpose(&verbs(Task::of_model(meta)));
    for (name, value) in network(&meta.spec).into_iter().chain(purpose).chain(languages(meta)) {
        row(name, value);
    }
    row("tokenizer", units::bytes(file.tokenizer().len() as u64));
    for (name, value) in usage::of(meta) {
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
            Input::Tokens(tokens) => format!(", vocabulary {}", tokens.vocab_size),
            Input::Patches(patches) => {
                let (side, patch) = (patches.image_size, patches.patch_size);
                format!(", images of {side} x {side} in patches of {patch} x {patch}")
            }
            Input::Spectrogram(spectrogram) => {
                let (frames, mels) = (spectrogram.n_frames(), spectrogram.n_mels);
                format!(", spectrograms of {frames} frames of {mels}")
            }
            Input::Samples(samples) => {
                let seconds = samples.max_samples / samples.sample_rate;
                format!(", {seconds} seconds of {} samples", samples.sample_rate)
            }
        };
        let (layers, width) = (stack.layers.len(), stack.hidden_size);
        rows.push((
            "stack",
            format!("{}: {layers} layers, hidden size {width}{vocabulary}", stack.name),
        ));
    }
    let heads: Vec<String> = spec.heads.iter().map(|one| head(spec, one)).collect();
    rows.push(("heads", heads.join(", ")));
    rows.push(("context", format!("{} tokens", spec.context_length)));
    rows
}

/// The verbs that a model is for.
fn verbs(tasks: Vec<Task>) -> Vec<&'static str> {
    let mut verbs: Vec<&str> = tasks.into_iter().map(Task::verb).collect();
    verbs.dedup();
    verbs
}

/// The languages of a translator.
fn languages(meta: &Meta) -> Vec<(&'static str, String)> {
    let Some(translation) = &meta.translation else { return Vec::new() };
    let codes = |list: &[TextLanguage]| {
        let codes: Vec<&str> = list.iter().map(|language| &*language.code).collect();
        if codes.is_empty() { "any, without naming it".to_owned() } else { codes.join(", ") }
    };
    vec![("translates from", codes(&translation.from)), ("translates to", codes(&translation.to))]
}

/// A row with them, if there are some.
fn purpose(verbs: &[&str]) -> Option<(&'static str, String)> {
    (!verbs.is_empty()).then(|| ("for", verbs.join(", ")))
}

/// What a head is for.
fn head(spec: &ModelSpec, head: &Head) -> String {
    let stack = spec.stack_of(head).map(|(_, stack)| stack);
    let is_of_images = stack.is_some_and(|stack| matches!(stack.input, Input::Patches(_)));
    let purpose = match (&head.output, head.pool) {
        (Output::Vector { .. }, Some(_)) if is_of_images => "embedding of images",
        (Output::Labels { .. }, Some(_)) if is_of_images => "labels of images",
        (Output::Logits { .. }, _) => "language model",
        (Output::Vector { .. }, Some(_)) => "embedding",
        (Output::Vector { .. }, None) => "token vectors",
        (Output::Labels { .. }, Some(_)) => "labels of texts",
        (Output::Labels { .. }, None) => "labels of tokens",
        (Output::Span, _) => "answers in texts",
    };
    purpose.to_owned()
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
