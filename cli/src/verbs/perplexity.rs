//! `kinglet perplexity`: how well a model predicts a text, and how far it is from another one.
//!
//! The convention is llama-perplexity's, so that figures compare: the text is cut into chunks of
//! the context length, a chunk's first token is replaced by BOS where the model adds one, and the
//! tokens after the middle of a chunk are scored, each on all tokens before it in the chunk.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use kinglet::tokenizer::EncodeOptions;
use kinglet::{KvType, Model, Session, TextScores};
use kinglet_quantize::WeightType;
use serde::Serialize;

use crate::arguments::{ModelArguments, session_options};
use crate::failure::Failure;
use crate::input::read_text;
use crate::interrupt::Guard;
use crate::memory;
use crate::numbers;
use crate::output::{Format, print, print_json, print_json_line, say};
use crate::progress::Phase;
use crate::resolve::{self, Opened};
use crate::table::Table;
use crate::units::per_second;

/// Measure perplexity on a text, and divergence from another model
///
/// The convention is llama-perplexity's: chunks of the context length, second half scored, BOS
/// where the model adds one. With --kl-base, also the mean Kullback-Leibler divergence of the
/// model's predictions from the base's, and how often both think the same token likeliest.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kinglet perplexity smollm2-135m -f text.txt
  kinglet perplexity model-int8.kinglet -f text.txt --kl-base model-f16.kinglet -o json
  kinglet perplexity smollm2-135m -f text.txt --kl-base smollm2-135m -c 512
  kinglet perplexity model.kinglet -f text.txt --kl-base model.kinglet --kv int8")]
pub(crate) struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    /// The text; - is standard input
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,
    /// Tokens of a chunk
    #[arg(short = 'c', long = "ctx-size", value_name = "N", default_value_t = 512)]
    #[arg(value_parser = clap::value_parser!(u32).range(4..))]
    context: u32,
    /// How keys and values are kept: f16, or int8 in half the memory
    #[arg(long, value_name = "TYPE", default_value_t)]
    #[arg(value_parser = numbers::kv_type)]
    kv: KvType,
    /// Model to compare with, its keys and values in f16; a catalog model or checkpoint is taken in f16
    #[arg(long, value_name = "MODEL")]
    kl_base: Option<OsString>,
    /// Most chunks to compute
    #[arg(long, value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    chunks: Option<u32>,
    /// Form of the result
    #[arg(short, long = "output", value_name = "FORMAT", value_enum, default_value_t)]
    output: Format,
}

#[derive(Serialize)]
struct Outcome {
    model: String,
    perplexity: f64,
    perplexity_error: f64,
    tokens: u64,
    chunks: usize,
    context: usize,
    kv: String,
    kernels: &'static str,
    threads: usize,
    tok_s: f64,
    #[serde(flatten)]
    divergence: Option<Divergence>,
}

#[derive(Clone, Serialize)]
struct Divergence {
    base: String,
    base_perplexity: f64,
    base_perplexity_error: f64,
    kl_mean: f64,
    kl_error: f64,
    kl_max: f64,
    same_top: f64,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    if !arguments.model.words(&[])?.is_empty() {
        return Err(Failure::usage("the model is given twice"));
    }
    let context = arguments.context as usize;
    let text = read_text(&arguments.file)?;
    let Opened { model, name, .. } = resolve::open(&arguments.model)?;
    let mut session = open_session(&model, context, arguments.kv)?;
    let base = match &arguments.kl_base {
        Some(name) => Some(open_base(name, &model)?),
        None => None,
    };
    let mut base_session = match &base {
        Some(base) => Some(open_session(base, context, KvType::F16)?),
        None => None,
    };
    let (tokens, bos) = tokenize(&model, &text);
    if let Some(base) = &base {
        check_same_tokens(&model, base, &text, &tokens)?;
    }
    let n_chunks = tokens.len() / context;
    if n_chunks == 0 {
        return Err(Failure::new(format!(
            "the text has {} tokens, less than one chunk of {context}; use a longer text or a \
             smaller -c",
            tokens.len()
        )));
    }
    let n_chunks = arguments.chunks.map_or(n_chunks, |limit| n_chunks.min(limit as usize));

    let mut scores = TextScores::default();
    let start = Instant::now();
    {
        let guard = Guard::cancel(session.cancel_token());
        let phase = Phase::steps("scoring", n_chunks as u64, "chunks");
        for (i, chunk) in tokens.chunks_exact(context).take(n_chunks).enumerate() {
            let mut chunk = chunk.to_vec();
            if let Some(bos) = bos {
                chunk[0] = bos;
            }
            match &mut base_session {
                Some(base) => scores.add_both(&mut session, base, &chunk)?,
                None => scores.add(&mut session, &chunk)?,
            }
            guard.check()?;
            phase.set(i as u64 + 1);
            phase.name(&format!("perplexity {:.4}", scores.own.perplexity().0));
        }
    }
    let tok_s = per_second((n_chunks * context) as f64, start.elapsed());
    let (perplexity, perplexity_error) = scores.own.perplexity();
    let outcome = Outcome {
        model: name,
        perplexity,
        perplexity_error,
        tokens: scores.own.count(),
        chunks: n_chunks,
        context,
        kv: arguments.kv.to_string(),
        kernels: model.kernel_set(),
        threads: model.n_threads(),
        tok_s,
        divergence: arguments
            .kl_base
            .as_ref()
            .map(|base| divergence(&scores, &base.to_string_lossy())),
    };
    write(&outcome, arguments.output)?;
    let memory = memory::describe();
    if !memory.is_empty() {
        say!("{memory}");
    }
    Ok(())
}

fn open_base(name: &OsStr, model: &Model) -> Result<Model, Failure> {
    let dtype = match resolve::meaning(name)? {
        resolve::Meaning::Kinglet(_) => None,
        _ => Some(WeightType::F16),
    };
    resolve::open_file(&resolve::resolve(name, dtype)?, Some(model.n_threads()))
}

fn open_session(model: &Model, context: usize, kv: KvType) -> Result<Session, Failure> {
    let mut session = model.session_with(&session_options(Some(context), kv))?;
    if context > model.context_length() {
        return Err(Failure::new(format!(
            "chunks of {context} tokens do not fit the context of {}; use a smaller -c",
            model.context_length()
        )));
    }
    session.reserve(context)?;
    Ok(session)
}

/// The tokens of the text, and BOS if the model puts it before a text.
fn tokenize(model: &Model, text: &str) -> (Vec<u32>, Option<u32>) {
    let options = EncodeOptions { add_special: true, parse_special: false };
    let tokens = model.tokenizer().encode(text, options);
    let bos = model.tokenizer().bos().filter(|&bos| tokens.first() == Some(&bos));
    (tokens, bos)
}

fn check_same_tokens(
    model: &Model,
    base: &Model,
    text: &str,
    tokens: &[u32],
) -> Result<(), Failure> {
    if model.vocab_size() != base.vocab_size() || tokenize(base, text).0 != tokens {
        return Err(Failure::new(
            "the models have different vocabularies; divergence is defined for the same tokens only",
        ));
    }
    Ok(())
}

fn divergence(scores: &TextScores, base: &str) -> Divergence {
    let (base_perplexity, base_perplexity_error) = scores.base.perplexity();
    let (kl_mean, kl_error) = scores.divergence.mean();
    Divergence {
        base: base.to_owned(),
        base_perplexity,
        base_perplexity_error,
        kl_mean,
        kl_error,
        kl_max: scores.largest_divergence,
        same_top: scores.same_top(),
    }
}

fn write(outcome: &Outcome, format: Format) -> Result<(), Failure> {
    if format == Format::Jsonl {
        return print_json_line(outcome);
    }
    if format == Format::Json {
        return print_json(outcome);
    }
    let mut rows = vec![
        ("perplexity", outcome.perplexity, outcome.perplexity_error),
        ("tokens", outcome.tokens as f64, 0.0),
        ("tok/s", outcome.tok_s, 0.0),
    ];
    if let Some(divergence) = &outcome.divergence {
        rows.extend([
            ("base perplexity", divergence.base_perplexity, divergence.base_perplexity_error),
            ("mean KL divergence", divergence.kl_mean, divergence.kl_error),
            ("largest KL divergence", divergence.kl_max, 0.0),
            ("same top token", divergence.same_top, 0.0),
        ]);
    }
    let csv = format == Format::Csv;
    let mut table = match csv {
        true => Table::new(&["figure", "value", "error"]),
        false => Table::new(&["figure", "value:", "±:"]),
    };
    for (name, value, error) in rows {
        let show = |value: f64| match value {
            v if csv => v.to_string(),
            v if v.fract() == 0.0 => v.to_string(),
            v => format!("{v:.6}"),
        };
        let error = if error == 0.0 { String::new() } else { show(error) };
        table.row([name.to_owned(), show(value), error]);
    }
    print(&if csv { table.csv() } else { table.markdown() })
}
