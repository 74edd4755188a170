//! `--calibrate`: what goes into the matrices of a checkpoint while it reads, or writes, some text.

use std::path::Path;

use kinglet::tokenizer::EncodeOptions;
use kinglet::{Model, ModelOptions, Sampler, SamplerOptions, Session};
use kinglet_quantize::{Calibration, Options, Source, WeightType};

use crate::cache::{Cache, create_folder};
use crate::conversion;
use crate::failure::Failure;
use crate::input::read_text;
use crate::interrupt::Guard;
use crate::progress::Phase;

/// Tokens that are read, or written, at a time.
const CHUNK: usize = 512;
/// Chunks that are read at most: sums of squares settle soon.
const CHUNKS: usize = 32;
/// Sequences that the model makes up, side by side.
const SEQUENCES: usize = 16;

/// Converts `source` to int8 under a temporary name, lets it read `text` or make some up, and tells
/// what went into its matrices.
pub(crate) fn of(
    source: &Source,
    text: Option<&Path>,
    options: &Options,
) -> Result<Calibration, Failure> {
    if options.dtype != WeightType::Int4 {
        return Err(Failure::usage("--calibrate is for --type int4: other types do not need it"));
    }
    let words = text.map(read_text).transpose()?;
    let folder = Cache::locate()?.models();
    create_folder(&folder)?;
    let file = tempfile::Builder::new().prefix(".calibration.").tempfile_in(&folder)?;
    let int8 = Options { threads: options.threads, ..Options::of(WeightType::Int8) };
    conversion::convert(source.name(), source, &int8, file.path())?;
    let mut opening = ModelOptions::default().watch_inputs(true);
    opening.threads = options.threads.map(std::num::NonZeroUsize::get);
    let model = Model::open_with(file.path(), &opening)?;
    match &words {
        Some(words) => read(&model, words)?,
        None => make_up(&model)?,
    }
    let name = match text {
        Some(text) => text.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        None => "its own text".to_owned(),
    };
    Ok(Calibration::new(name, model.input_moments()))
}

/// Reads the text, chunk by chunk.
fn read(model: &Model, text: &str) -> Result<(), Failure> {
    let tokens =
        model.tokenizer().encode(text, EncodeOptions { add_special: true, parse_special: false });
    let limit = CHUNK.min(model.context_length());
    let chunks: Vec<&[u32]> = tokens.chunks(limit).take(CHUNKS).collect();
    if tokens.len() < limit {
        return Err(Failure::new(format!(
            "the text has {} tokens; {limit} at least tell what a model is used for",
            tokens.len()
        )));
    }
    let guard = Guard::wait();
    let phase = Phase::steps("calibrating", chunks.len() as u64, "chunks");
    let mut session = model.is_generative().then(|| model.session()).transpose()?;
    for (i, chunk) in chunks.iter().enumerate() {
        match &mut session {
            Some(session) => {
                session.reset();
                session.feed(chunk)?;
            }
            None => drop(model.embed_tokens(&[chunk.to_vec()])?),
        }
        guard.check()?;
        phase.set(i as u64 + 1);
    }
    Ok(())
}

/// Lets the model write: what it draws at temperature 1 is what it was trained on.
fn make_up(model: &Model) -> Result<(), Failure> {
    if !model.is_generative() || model.meta().spec.reads_source() {
        return Err(Failure::new(
            "this model makes up no text by itself; --calibrate FILE names one for it to read",
        ));
    }
    let start = model.tokenizer().bos().or(model.meta().generation.eos.first().copied());
    let start = start.unwrap_or_default();
    let length = CHUNK.min(model.context_length());
    let guard = Guard::wait();
    let phase = Phase::steps("calibrating", length as u64, "tokens, several at a time");
    let mut samplers = Vec::new();
    let mut sessions = Vec::new();
    for seed in 0..SEQUENCES as u64 {
        let options =
            SamplerOptions { temperature: 1.0, top_k: 0, top_p: 1.0, seed, ..Default::default() };
        samplers.push(Sampler::new(options, model.vocab_size())?);
        let mut session = model.session()?;
        session.append(&[start])?;
        sessions.push(session);
    }
    let mut logits = vec![0.0; model.vocab_size()];
    for done in 1..length {
        Session::compute_all(&mut sessions.iter_mut().collect::<Vec<_>>())?;
        for (session, sampler) in sessions.iter_mut().zip(&mut samplers) {
            logits.copy_from_slice(session.logits());
            let next = sampler.sample(&mut logits, session.tokens());
            session.append(&[next])?;
        }
        guard.check()?;
        phase.set(done as u64 + 1);
    }
    Ok(())
}
