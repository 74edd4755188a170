//! `kinglet perplexity`: how well a model predicts a text, and how far it is from another one.
//!
//! The convention is llama-perplexity's, so that figures compare: the text is cut into chunks of
//! the context length, a chunk's first token is replaced by BOS where the model adds one, and the
//! tokens after the middle of a chunk are scored, each on all tokens before it in the chunk.

use std::path::PathBuf;
use std::sync::mpsc::{channel, sync_channel};
use std::thread;
use std::time::Instant;

use clap::Args;
use kinglet::tokenizer::EncodeOptions;
use kinglet::{KvType, Model, ModelOptions, Session, argmax};
use kinglet_quantize::WeightType;
use serde::Serialize;

use crate::arguments::{ModelArguments, read_text, session_options};
use crate::failure::Failure;
use crate::interrupt::Guard;
use crate::memory;
use crate::output::{Format, print, print_json, say};
use crate::progress::Phase;
use crate::resolve;
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
    kv: KvType,
    /// Model to compare with, its keys and values in f16; a catalog model or checkpoint is taken in f16
    #[arg(long, value_name = "MODEL")]
    kl_base: Option<String>,
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
    if !arguments.model.words(&[]).is_empty() {
        return Err(Failure::usage("the model is given twice"));
    }
    let context = arguments.context as usize;
    let text = read_text(&arguments.file)?;
    let (model, _) = resolve::open(&arguments.model)?;
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

    let mut scores = Scores::default();
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
        model: model.meta().general.name.clone(),
        perplexity,
        perplexity_error,
        tokens: scores.own.n,
        chunks: n_chunks,
        context,
        kv: arguments.kv.to_string(),
        kernels: model.kernel_set(),
        threads: model.n_threads(),
        tok_s,
        divergence: arguments.kl_base.as_ref().map(|base| scores.divergence(base)),
    };
    write(&outcome, arguments.output)?;
    let memory = memory::describe();
    if !memory.is_empty() {
        say!("{memory}");
    }
    Ok(())
}

fn open_base(name: &str, model: &Model) -> Result<Model, Failure> {
    let dtype = match resolve::meaning(name)? {
        resolve::Meaning::Kinglet(_) => None,
        _ => Some(WeightType::F16),
    };
    let path = resolve::resolve(name, dtype)?.path;
    let options = ModelOptions::default().threads(model.n_threads());
    Model::open_with(path, &options).map_err(|e| Failure::from(e).during(name))
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

/// Sums of the negative log-likelihood of tokens.
#[derive(Clone, Copy, Debug, Default)]
struct Likelihood {
    n: u64,
    sum: f64,
    sum_of_squares: f64,
}

impl Likelihood {
    fn add(&mut self, value: f64) {
        self.n += 1;
        self.sum += value;
        self.sum_of_squares += value * value;
    }

    /// Mean and its standard error.
    fn mean(&self) -> (f64, f64) {
        let n = self.n as f64;
        let mean = self.sum / n;
        let variance = (self.sum_of_squares / n - mean * mean).max(0.0);
        (mean, if self.n > 1 { (variance / (n - 1.0)).sqrt() } else { 0.0 })
    }

    /// Perplexity and its error.
    fn perplexity(&self) -> (f64, f64) {
        let (mean, error) = self.mean();
        (mean.exp(), mean.exp() * error)
    }
}

/// What has been scored so far.
#[derive(Default)]
struct Scores {
    own: Likelihood,
    base: Likelihood,
    kl: Likelihood,
    kl_max: f64,
    same_top: u64,
}

impl Scores {
    fn add(&mut self, session: &mut Session, chunk: &[u32]) -> Result<(), Failure> {
        session.reset();
        let scored = &chunk[..chunk.len() - 1];
        session.score(scored, chunk.len() / 2, |i, logits| {
            self.own.add(log_sum_exp(logits) - f64::from(logits[chunk[i + 1] as usize]));
        })?;
        Ok(())
    }

    /// Both models on the same chunk. The base runs on a thread of its own and hands over one
    /// row of logits at a time: it computes while this thread waits, and the other way round.
    fn add_both(
        &mut self,
        session: &mut Session,
        base: &mut Session,
        chunk: &[u32],
    ) -> Result<(), Failure> {
        session.reset();
        base.reset();
        let cancel = base.cancel_token();
        let (scored, first) = (&chunk[..chunk.len() - 1], chunk.len() / 2);
        let (rows, received) = sync_channel::<Vec<f32>>(1);
        let (back, spare) = channel::<Vec<f32>>();
        thread::scope(|scope| {
            let worker = scope.spawn(move || {
                base.score(scored, first, |_, logits| {
                    let mut row = spare.try_recv().unwrap_or_default();
                    row.clear();
                    row.extend_from_slice(logits);
                    if rows.send(row).is_err() {
                        cancel.cancel();
                    }
                })
            });
            let mut row = received.recv().ok();
            let outcome = session.score(scored, first, |i, logits| {
                if let Some(base) = row.take() {
                    self.compare(&base, logits, chunk[i + 1] as usize);
                    // Nobody needs it once the base is done.
                    let _ = back.send(base);
                    row = received.recv().ok();
                }
            });
            drop(received);
            let base_outcome =
                worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            outcome?;
            base_outcome?;
            Ok(())
        })
    }

    fn compare(&mut self, base: &[f32], own: &[f32], token: usize) {
        let (base_sum, own_sum) = (log_sum_exp(base), log_sum_exp(own));
        self.base.add(base_sum - f64::from(base[token]));
        self.own.add(own_sum - f64::from(own[token]));
        let kl: f64 = base
            .iter()
            .zip(own)
            .map(|(&b, &o)| {
                let (b, o) = (f64::from(b) - base_sum, f64::from(o) - own_sum);
                b.exp() * (b - o)
            })
            .sum();
        self.kl.add(kl);
        self.kl_max = self.kl_max.max(kl);
        self.same_top += u64::from(argmax(base) == argmax(own));
    }

    fn divergence(&self, base: &str) -> Divergence {
        let (base_perplexity, base_perplexity_error) = self.base.perplexity();
        let (kl_mean, kl_error) = self.kl.mean();
        Divergence {
            base: base.to_owned(),
            base_perplexity,
            base_perplexity_error,
            kl_mean,
            kl_error,
            kl_max: self.kl_max,
            same_top: self.same_top as f64 / self.kl.n.max(1) as f64,
        }
    }
}

/// log(sum(exp(x))), safe for any size of `x`.
fn log_sum_exp(logits: &[f32]) -> f64 {
    let max = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    max + logits.iter().map(|&x| (f64::from(x) - max).exp()).sum::<f64>().ln()
}

fn write(outcome: &Outcome, format: Format) -> Result<(), Failure> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn likelihood_of_a_uniform_guess() {
        let mut scores = Scores::default();
        for token in 0..4 {
            scores.compare(&[1.0; 4], &[1000.0; 4], token);
        }
        assert!((scores.own.perplexity().0 - 4.0).abs() < 1e-9);
        assert!((scores.base.perplexity().0 - 4.0).abs() < 1e-9);
        let divergence = scores.divergence("base");
        assert!(divergence.kl_mean.abs() < 1e-9);
        assert_eq!(divergence.same_top, 1.0);
    }

    #[test]
    fn divergence_is_that_of_the_definition() {
        // p = (1/2, 1/4, 1/4) from q = (1/4, 1/4, 1/2): ln 2 / 2 - ln 2 / 4.
        let logits = |p: [f32; 3]| p.map(f32::ln);
        let mut scores = Scores::default();
        scores.compare(&logits([0.5, 0.25, 0.25]), &logits([0.25, 0.25, 0.5]), 0);
        let divergence = scores.divergence("base");
        assert!((divergence.kl_mean - 0.25 * 2f64.ln()).abs() < 1e-6);
        assert_eq!(divergence.same_top, 0.0);
        assert!((divergence.base_perplexity - 2.0).abs() < 1e-6);
        assert!((scores.own.perplexity().0 - 4.0).abs() < 1e-6);
    }

    #[test]
    fn the_error_is_the_standard_error_of_the_mean() {
        let mut likelihood = Likelihood::default();
        [1.0, 2.0, 3.0].into_iter().for_each(|x| likelihood.add(x));
        let (mean, error) = likelihood.mean();
        assert_eq!(mean, 2.0);
        assert!((error - (2.0f64 / 3.0 / 2.0).sqrt()).abs() < 1e-12);
    }
}
