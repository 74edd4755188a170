//! The conversion itself: plan, hash the inputs, compile the tokenizer, encode tensor by tensor.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use kinglet_formats::checkpoint::Checkpoint;
use kinglet_formats::kinglet::{
    Dictation, EmbeddingUse, Filler, Generation, InputFile, KingletError, Meta, Provenance, Role,
    Speech, TensorPlan, Writer,
};
use kinglet_formats::layout::{Layout, plane_lengths};
use kinglet_formats::spec::{Input, TensorSpec, TensorUse};
use kinglet_formats::tokenizer;

use crate::derived::derived;
use crate::encode::{Job, packed_type};
use crate::mapping::Mapping;
use crate::resolve::resolve;
use crate::source::Defaults;
use crate::take::Take;
use crate::{
    Group, Options, Progress, QuantizeError, Report, Source, Stage, TensorReport, Update,
    WeightType, glob, infill, translation,
};

/// Bytes that are hashed between two reports.
const HASH_STEP: usize = 1 << 20;

/// Converts `source` into a `.kinglet` file at `out`.
///
/// Memory is bounded by the largest tensor's scales and a few blocks of rows, whatever the size of
/// the checkpoint. The bytes of the result depend on the checkpoint and the options only. The file
/// appears under its name when it is complete: an error, a cancelled or a killed conversion leaves
/// nothing there.
pub fn quantize(
    source: &Source,
    options: &Options,
    out: impl AsRef<Path>,
    progress: &mut dyn Progress,
) -> Result<Report, QuantizeError> {
    let out = out.as_ref();
    refuse_inputs(source, out)?;
    let (writer, report) = convert(source, options, progress, |meta, tokenizer, plan| {
        Writer::create(out, meta, tokenizer, plan)
    })?;
    writer.finish()?;
    Ok(report)
}

/// Converts `source` into a `.kinglet` file that begins at the beginning of `out`, and gives `out`
/// back. Besides, as [`quantize`]; what was written before an error is of no use.
pub fn quantize_to<W: Write + Seek>(
    source: &Source,
    options: &Options,
    out: W,
    progress: &mut dyn Progress,
) -> Result<(W, Report), QuantizeError> {
    let (writer, report) = convert(source, options, progress, |meta, tokenizer, plan| {
        Writer::to(out, source.name(), meta, tokenizer, plan)
    })?;
    Ok((writer.into_inner()?, report))
}

/// All but the end of the file.
fn convert<W: Write + Seek>(
    source: &Source,
    options: &Options,
    progress: &mut dyn Progress,
    begin: impl FnOnce(&Meta, &[u8], Vec<TensorPlan>) -> Result<Writer<W>, KingletError>,
) -> Result<(Writer<W>, Report), QuantizeError> {
    let mapping = source.map()?;
    // Before any size of the network is counted with.
    mapping.spec.validate().map_err(QuantizeError::Spec)?;
    let derived = derived(&mapping, source.checkpoint())?;
    let checkpoint: &dyn Checkpoint = match &derived {
        Some(derived) => derived,
        None => source.checkpoint(),
    };
    let (takes, ignored) = resolve(&mapping, checkpoint)?;
    let options = &options.resolved(checkpoint);
    let forms = forms(&takes, checkpoint, options)?;
    let pool = pool(options)?;

    // Everything that can be wrong with a checkpoint comes before the long work.
    tell(progress, Stage::Tokenizer, source.name(), 0, 0)?;
    let reads_text = mapping.spec.stacks.iter().any(|s| matches!(s.input, Input::Tokens(_)));
    let tokenizer = if reads_text { source.tokenizer()? } else { Vec::new() };
    let defaults = source.defaults(&tokenizer)?;
    let inputs = hash_inputs(source, progress)?;
    let input_bytes = inputs.iter().map(|input| input.bytes).sum();
    let hears = mapping.spec.stacks.iter().any(|s| matches!(s.input, Input::Spectrogram(_)));
    let speech = hears.then(|| source.speech(&tokenizer)).transpose()?;
    let listens = mapping.spec.stacks.iter().any(|s| matches!(s.input, Input::Samples(_)));
    let dictation = listens.then(|| source.dictation()).transpose()?;
    let filler = filler(&mapping, &tokenizer)?;
    let meta =
        meta(source, options, &mapping, defaults, inputs, &tokenizer, (speech, dictation, filler));
    let mut plan = Vec::with_capacity(takes.len());
    let mut total = 0;
    for (Take { tensor, .. }, form) in takes.iter().zip(&forms) {
        let dims: Vec<u64> = tensor.dims.iter().map(|&d| d as u64).collect();
        let planes = plane_lengths(form.layout, &dims, form.group)
            .map_err(|_| QuantizeError::SizeOverflow { name: tensor.name.clone() })?;
        total += planes.total();
        plan.push(TensorPlan {
            name: tensor.name.clone(),
            role: role(tensor),
            layout: form.layout,
            dims,
            group: form.group,
        });
    }
    let mut writer = begin(&meta, &tokenizer, plan)?;

    let mut done = 0;
    let mut reports = Vec::with_capacity(takes.len());
    for (take, form) in takes.iter().zip(&forms) {
        let name = &take.tensor.name;
        tell(progress, Stage::Tensors, name, done, total)?;
        let job = Job {
            checkpoint,
            take,
            layout: form.layout,
            group: form.group,
            scale_search: options.scale_search,
            calibration: options.calibration.as_ref(),
            pool: pool.as_ref(),
        };
        let before = done;
        let relative_error = job.run(&mut |bytes| {
            writer.write(bytes)?;
            done += bytes.len() as u64;
            tell(progress, Stage::Tensors, name, done, total)
        })?;
        writer.end_tensor(relative_error)?;
        reports.push(TensorReport {
            name: name.clone(),
            source: checkpoint.tensors()[take.pieces[0].source].name.clone(),
            dims: take.tensor.dims.clone(),
            layout: form.layout,
            group: form.group,
            bytes: done - before,
            relative_error,
        });
    }
    tell(progress, Stage::Finish, source.name(), 0, 0)?;
    let report = Report {
        family: mapping.family,
        tensors: reports,
        ignored,
        input_bytes,
        output_bytes: writer.file_len(),
    };
    Ok((writer, report))
}

fn role(tensor: &TensorSpec) -> Role {
    match (tensor.usage, tensor.part) {
        (TensorUse::Vector, "bias") if !tensor.module.contains("norm") => Role::Bias,
        (TensorUse::Vector, _) => Role::Norm,
        (TensorUse::Numbers, _) => Role::Other,
        _ if tensor.module.starts_with("embed_") => Role::Embedding,
        _ => Role::Matrix,
    }
}

/// How a tensor will be stored.
struct Form {
    layout: Layout,
    group: u32,
}

/// Chooses a layout for every tensor.
fn forms(
    takes: &[Take],
    checkpoint: &dyn Checkpoint,
    options: &Options,
) -> Result<Vec<Form>, QuantizeError> {
    let matrices = || {
        takes
            .iter()
            .filter(|take| take.tensor.usage == TensorUse::Matrix)
            .map(|take| take.tensor.name.as_str())
    };
    for pattern in &options.keep_f16 {
        if !matrices().any(|name| glob::matches(pattern, name)) {
            return Err(QuantizeError::PatternMatchesNothing {
                pattern: pattern.clone(),
                example: matrices().next_back().unwrap_or_default().to_owned(),
            });
        }
    }
    let kept = |name: &str| options.keep_f16.iter().any(|pattern| glob::matches(pattern, name));
    let form = |take: &Take| match (take.tensor.usage, options.dtype) {
        (TensorUse::Vector, _) => Form { layout: Layout::F32Rows, group: 0 },
        (TensorUse::Numbers, _) => Form { layout: Layout::U32Rows, group: 0 },
        (TensorUse::Matrix, dtype) if dtype != WeightType::F16 && !kept(&take.tensor.name) => {
            let int8 = Form { layout: Layout::I8R8K8, group: options.group.code() };
            let int4 = Form { layout: Layout::I4R8K16, group: options.group.code() };
            match dtype {
                WeightType::Int4 if is_vocabulary(&take.tensor) => {
                    Form { group: Group::G64.code(), ..int8 }
                }
                WeightType::Int4 => int4,
                WeightType::Auto if packed_type(take, checkpoint).is_some() => int4,
                _ => int8,
            }
        }
        _ => Form { layout: Layout::F16R8K1, group: 0 },
    };
    Ok(takes.iter().map(form).collect())
}

/// Whether a matrix has a row for each token: it decides what is said more than others do, and a
/// step reads it once.
fn is_vocabulary(tensor: &TensorSpec) -> bool {
    tensor.module.starts_with("embed_") || tensor.module.ends_with("lm_head")
}

/// `None` stands for the calling thread, where there are no others.
fn pool(options: &Options) -> Result<Option<rayon::ThreadPool>, QuantizeError> {
    if cfg!(target_family = "wasm") {
        return Ok(None);
    }
    rayon::ThreadPoolBuilder::new()
        .num_threads(options.threads.map_or(0, std::num::NonZeroUsize::get))
        .thread_name(|i| format!("quantize {i}"))
        .build()
        .map(Some)
        .map_err(|error| QuantizeError::Threads(error.to_string()))
}

/// Renaming the result over a mapped input would pull the ground from under the reader.
fn refuse_inputs(source: &Source, out: &Path) -> Result<(), QuantizeError> {
    // What does not exist yet is no input.
    let Ok(target) = std::fs::canonicalize(out) else { return Ok(()) };
    let same = |input: &PathBuf| std::fs::canonicalize(input).is_ok_and(|path| path == target);
    if source.inputs().iter().any(same) {
        return Err(QuantizeError::OutputIsInput { path: out.to_owned() });
    }
    Ok(())
}

/// BLAKE3 of every input.
fn hash_inputs(
    source: &Source,
    progress: &mut dyn Progress,
) -> Result<Vec<InputFile>, QuantizeError> {
    let size = |path: &PathBuf| match source.held(path) {
        Some(bytes) => bytes.len() as u64,
        None => std::fs::metadata(path).map_or(0, |metadata| metadata.len()),
    };
    let total = source.inputs().iter().map(size).sum();
    let mut done = 0;
    let mut inputs = Vec::new();
    for path in source.inputs() {
        let name = source.input_name(path);
        let mut hasher = blake3::Hasher::new();
        let mut bytes = 0;
        let mut take = |piece: &[u8]| {
            tell(progress, Stage::Hash, &name, done + bytes, total)?;
            hasher.update(piece);
            bytes += piece.len() as u64;
            Ok(())
        };
        match source.held(path) {
            Some(held) => held.chunks(HASH_STEP).try_for_each(take)?,
            None => read_file(path, &mut take)?,
        }
        done += bytes;
        tell(progress, Stage::Hash, &name, done, total)?;
        inputs.push(InputFile { name, bytes, blake3: hasher.finalize().to_hex().to_string() });
    }
    Ok(inputs)
}

/// Reads a file through a small buffer, so that no page of a mapping is held.
fn read_file(
    path: &Path,
    take: &mut dyn FnMut(&[u8]) -> Result<(), QuantizeError>,
) -> Result<(), QuantizeError> {
    let mut file = File::open(path).map_err(|error| QuantizeError::io(path, error))?;
    let mut buffer = vec![0; HASH_STEP];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(n) => take(&buffer[..n])?,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(QuantizeError::io(path, error)),
        }
    }
}

fn meta(
    source: &Source,
    options: &Options,
    mapping: &Mapping,
    defaults: Defaults,
    inputs: Vec<InputFile>,
    tokenizer: &[u8],
    (speech, dictation, filler): (Option<Speech>, Option<Dictation>, Option<Filler>),
) -> Meta {
    let generates = mapping.spec.generates();
    // Vocabularies of encoders have tokens of such names too, but nothing is generated.
    let mut generation = if generates { defaults.generation } else { Generation::default() };
    if mapping.spec.reads_source() {
        generation.temperature = generation.temperature.or(Some(0.0));
    }
    let classifies = mapping.spec.labels_head().is_some();
    Meta {
        general: defaults.general,
        spec: mapping.spec.clone(),
        generation: generation.clone(),
        chat_template: defaults.chat_template,
        infill: mapping.spec.logits_head().and_then(|_| infill::find(tokenizer)),
        labels: if classifies { defaults.labels } else { Vec::new() },
        embedding: mapping.max_tokens.map(|max_tokens| EmbeddingUse {
            max_tokens,
            prompts: defaults.prompts.list,
            default_prompt: defaults.prompts.default,
            prompt_unpooled: defaults.prompts.unpooled,
            filler,
        }),
        preprocessing: mapping.images.preprocessing.clone(),
        text_to_text: match mapping.spec.reads_source() && speech.is_none() && dictation.is_none() {
            true => defaults.text_to_text,
            false => None,
        },
        speech,
        dictation,
        translation: defaults.translation.or_else(|| {
            let [from, to] = &defaults.languages;
            let named = [from.as_deref(), to.as_deref()];
            let end = generation.eos.first().copied();
            translation::find(mapping.family, tokenizer, end, named)
        }),
        provenance: Provenance {
            source: source.name().to_owned(),
            inputs,
            tool: concat!("kinglet-quantize ", env!("CARGO_PKG_VERSION")).to_owned(),
            options: options.to_string(),
        },
    }
}

/// What short texts are filled up with, if they are.
fn filler(mapping: &Mapping, tokenizer: &[u8]) -> Result<Option<Filler>, QuantizeError> {
    let Some(length) = mapping.max_tokens.filter(|_| mapping.images.fills_texts) else {
        return Ok(None);
    };
    let pad = tokenizer::Layout::read(tokenizer).ok().and_then(|(_, spec)| spec.roles.pad);
    let missing = || QuantizeError::MissingToken { token: "pad_token".to_owned() };
    Ok(Some(Filler { token: pad.ok_or_else(missing)?, length }))
}

fn tell(
    progress: &mut dyn Progress,
    stage: Stage,
    name: &str,
    done: u64,
    total: u64,
) -> Result<(), QuantizeError> {
    match progress.update(&Update { stage, name, done, total }) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(QuantizeError::Cancelled),
    }
}
