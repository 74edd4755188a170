//! `kinglet bench`: speed, in llama-bench's tests and table.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use clap::Args;
use kinglet::{KvType, Model, Session};
use serde::Serialize;

use super::show::{parameters, weight_type};
use crate::arguments::session_options;
use crate::failure::Failure;
use crate::interrupt::Guard;
use crate::memory;
use crate::numbers;
use crate::output::{Format, print, print_json, print_json_lines, say};
use crate::progress::Phase;
use crate::resolve::{open_file, resolve};
use crate::roofline::read_rate;
use crate::table::Table;
use crate::units::{self, mean_and_deviation, per_second};
use kinglet_quantize::WeightType;

/// Measure prefill and decode speed
///
/// ppN computes a prompt of N tokens, tgN generates N tokens one by one; both use random tokens,
/// as llama-bench does. For an embedding model, ppN embeds a text of N tokens. GB/s counts the
/// weights: all of them for each generated token, once for a whole prompt. With --roofline they are
/// compared with a plain read of the model by as many threads, which limits tgN.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kinglet bench smollm2-135m
  kinglet bench model.kinglet -p 512 -n 128 -t 1,2,4 -r 5 -o json
  kinglet bench model.kinglet -p 0 -n 64 -d 0,1024 --kv f16,int8 --roofline
  kinglet bench minilm -p 16,128")]
pub(crate) struct Arguments {
    /// Catalog name, .kinglet file or checkpoint, model of the Hugging Face hub
    /// (hf:ORG/NAME[:FILE][@REVISION]) or https address of a file
    #[arg(value_name = "MODEL", required_unless_present = "named", conflicts_with = "named")]
    first: Option<OsString>,
    /// The model, in place of the argument MODEL
    #[arg(short = 'm', long = "model", value_name = "MODEL")]
    named: Option<OsString>,
    /// Weights of a catalog model or checkpoint: int8, int4, f16, or auto (the default): int8, but the
    /// 4-bit weights of a GGUF file as they are
    #[arg(long = "type", value_name = "TYPE", value_parser = numbers::weight_type)]
    dtype: Option<WeightType>,
    /// Lengths of prompts; 0 leaves them out
    #[arg(short = 'p', long, value_name = "N", value_delimiter = ',', default_values_t = [512])]
    #[arg(value_parser = numbers::count)]
    n_prompt: Vec<usize>,
    /// Lengths of answers; 0 leaves them out
    #[arg(short = 'n', long, value_name = "N", value_delimiter = ',', default_values_t = [128])]
    #[arg(value_parser = numbers::count)]
    n_gen: Vec<usize>,
    /// Tokens in the context before each test
    #[arg(short = 'd', long, value_name = "N", value_delimiter = ',', default_values_t = [0])]
    #[arg(value_parser = numbers::count)]
    n_depth: Vec<usize>,
    /// How keys and values are kept: f16 or int8
    #[arg(long, value_name = "TYPE", value_delimiter = ',', default_values_t = [KvType::F16])]
    #[arg(value_parser = numbers::kv_type)]
    kv: Vec<KvType>,
    /// Threads [default: the machine's physical cores, fewer for a small model]
    #[arg(short, long, value_name = "N", value_delimiter = ',', value_parser = numbers::threads)]
    threads: Vec<NonZeroUsize>,
    /// Repetitions of each test, after a warm-up
    #[arg(short, long, value_name = "N", default_value_t = 5)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    repetitions: u32,
    /// Measure the speed of reading the model too, and show the share of it that is reached
    #[arg(long)]
    roofline: bool,
    /// Form of the result
    #[arg(short, long = "output", value_name = "FORMAT", value_enum, default_value_t)]
    output: Format,
}

/// What is computed at a time.
#[derive(Clone, Copy, Debug)]
enum Test {
    Prompt(usize),
    Answer(usize),
}

#[derive(Debug, Serialize)]
struct Row {
    model: String,
    size_bytes: u64,
    params: u64,
    kernels: &'static str,
    threads: usize,
    test: String,
    n_prompt: usize,
    n_gen: usize,
    n_depth: usize,
    kv: String,
    tok_s: f64,
    tok_s_sd: f64,
    gb_s: f64,
    /// A plain read of the model, right after the test.
    #[serde(skip_serializing_if = "Option::is_none")]
    read_gb_s: Option<f64>,
    samples_tok_s: Vec<f64>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let name = arguments.named.as_deref().or(arguments.first.as_deref());
    let name = name.ok_or_else(|| Failure::usage("no MODEL given"))?;
    let lengths = |lengths: &[usize], test: fn(usize) -> Test| -> Vec<Test> {
        lengths.iter().filter(|&&n| n > 0).map(|&n| test(n)).collect()
    };
    let mut tests = lengths(&arguments.n_prompt, Test::Prompt);
    tests.extend(lengths(&arguments.n_gen, Test::Answer));
    if tests.is_empty() {
        return Err(Failure::usage("no test: -p and -n are 0"));
    }
    let resolved = resolve(name, arguments.dtype)?;
    let counts: Vec<Option<usize>> = match arguments.threads.as_slice() {
        [] => vec![None],
        threads => threads.iter().map(|n| Some(n.get())).collect(),
    };

    let mut rows = Vec::new();
    for threads in counts {
        let model = open_file(&resolved, threads)?;
        let sessions = arguments.kv.iter().flat_map(|&kv| {
            let tests = &tests;
            arguments.n_depth.iter().flat_map(move |&d| tests.iter().map(move |&t| (kv, d, t)))
        });
        for (kv, depth, test) in sessions {
            let decodes = matches!(test, Test::Answer(_)) || depth > 0 || kv != KvType::F16;
            if model.is_generative() || !decodes {
                let mut row =
                    measure(&model, &resolved.name, test, depth, kv, arguments.repetitions)?;

                if arguments.roofline {
                    let bytes = model.file().bytes().as_ref();
                    row.read_gb_s = Some(read_rate(bytes, row.threads) / 1e9);
                }
                rows.push(row);
            }
        }
    }
    if rows.is_empty() {
        return Err(Failure::new(format!(
            "{} is an embedding model, which has no tests but prompts (-p) without depth and \
             with --kv f16",
            resolved.name
        )));
    }
    write(&rows, arguments.output, arguments.roofline)?;
    let memory = memory::describe();
    if !memory.is_empty() {
        say!("{memory}");
    }
    Ok(())
}

fn measure(
    model: &Model,
    name: &str,
    test: Test,
    depth: usize,
    kv: KvType,
    repetitions: u32,
) -> Result<Row, Failure> {
    let (label, n_prompt, n_gen) = match test {
        Test::Prompt(n) => (format!("pp{n}"), n, 0),
        Test::Answer(n) => (format!("tg{n}"), 0, n),
    };
    let label = if depth > 0 { format!("{label} @ d{depth}") } else { label };
    let title = format!("{label}, {}", units::count(model.n_threads(), "thread"));
    let mut subject = Subject::new(model, test, depth, kv)?;
    subject.once()?;
    let phase = Phase::steps(&title, repetitions.into(), "repetitions");
    let mut times = Vec::new();
    for i in 0..repetitions {
        times.push(subject.once()?);
        phase.set(u64::from(i) + 1);
    }
    drop(phase);

    let tokens = (n_prompt + n_gen) as f64;
    let samples: Vec<f64> = times.iter().map(|&time| per_second(tokens, time)).collect();
    let (tok_s, tok_s_sd) = mean_and_deviation(&samples);
    // Weights are read for each token of an answer, and at least once for a prompt.
    let passes_s = tok_s / if n_prompt > 0 { tokens } else { 1.0 };
    let file = model.file();
    Ok(Row {
        model: format!("{name} {}", weight_type(file)),
        size_bytes: file.data_len(),
        params: parameters(file),
        kernels: model.kernel_set(),
        threads: model.n_threads(),
        test: label,
        n_prompt,
        n_gen,
        n_depth: depth,
        kv: kv.to_string(),
        tok_s,
        tok_s_sd,
        gb_s: model.bytes_per_token() as f64 * passes_s / 1e9,
        read_gb_s: None,
        samples_tok_s: samples,
    })
}

/// A test that is ready to run.
enum Subject {
    Session { session: Box<Session>, test: Test, depth: usize, _guard: Guard },
    Encoder { model: Model, text: String },
}

impl Subject {
    fn new(model: &Model, test: Test, depth: usize, kv: KvType) -> Result<Self, Failure> {
        let (Test::Prompt(n) | Test::Answer(n)) = test;
        if !model.is_generative() {
            return Ok(Self::Encoder { model: model.clone(), text: text_of_length(model, n)? });
        }
        let needed = depth.saturating_add(n);
        if needed > model.context_length() {
            return Err(Failure::new(format!(
                "{needed} tokens are more than the model's context of {}; use a smaller -p, -n \
                 or -d",
                model.context_length()
            )));
        }
        let session = Box::new(model.session_with(&session_options(Some(needed), kv))?);
        let _guard = Guard::cancel(session.cancel_token());
        Ok(Self::Session { session, test, depth, _guard })
    }

    /// Runs the test once and takes its time.
    fn once(&mut self) -> Result<Duration, Failure> {
        match self {
            Self::Encoder { model, text } => {
                let start = Instant::now();
                model.embed(&[text])?;
                Ok(start.elapsed())
            }
            Self::Session { session, test, depth, .. } => {
                let vocab_size = session.model().vocab_size();
                let mut random = Random(1);
                let mut tokens =
                    |n| -> Vec<u32> { (0..n).map(|_| random.below(vocab_size)).collect() };
                // What a repetition before this one computed is kept, but for the last token.
                let context = tokens(*depth);
                session.truncate(*depth);
                let held = session.position();
                if *depth > 0 {
                    feed(session, &context[held..])?;
                }
                match *test {
                    Test::Prompt(n) => {
                        let prompt = tokens(n);
                        let start = Instant::now();
                        feed(session, &prompt)?;
                        Ok(start.elapsed())
                    }
                    Test::Answer(n) => {
                        let answer = tokens(n);
                        let start = Instant::now();
                        for token in answer.chunks(1) {
                            feed(session, token)?;
                        }
                        Ok(start.elapsed())
                    }
                }
            }
        }
    }
}

fn feed(session: &mut Session, tokens: &[u32]) -> Result<(), Failure> {
    if session.feed(tokens)? { Ok(()) } else { Err(Failure::Interrupted) }
}

/// A text of exactly `n` tokens, special ones included.
fn text_of_length(model: &Model, n: usize) -> Result<String, Failure> {
    let limit = model.text_tokens();
    let count = |text: &str| model.tokenizer().encode(text, Default::default()).len();
    let around = count("");
    if n > limit || n <= around {
        return Err(Failure::new(format!(
            "this model embeds texts of {} to {limit} tokens, not {n}; use another -p",
            around + 1
        )));
    }
    // Words that are a token in any vocabulary of English; checked below.
    let words = ["the", "of", "and", "to", "in", "is", "for", "on", "that", "by"];
    let text: Vec<&str> = words.iter().cycle().take(n - around).copied().collect();
    let text = text.join(" ");
    match count(&text) {
        found if found == n => Ok(text),
        found => Err(Failure::new(format!("the test text has {found} tokens, not {n}"))),
    }
}

/// Marsaglia, "Xorshift RNGs" (2003).
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n.max(1) as u64) as u32
    }
}

fn write(rows: &[Row], format: Format, roofline: bool) -> Result<(), Failure> {
    if format == Format::Json {
        return print_json(&rows);
    }
    if format == Format::Jsonl {
        return print_json_lines(rows);
    }
    if format == Format::Csv {
        let columns = [
            "model",
            "size_bytes",
            "params",
            "kernels",
            "threads",
            "test",
            "n_prompt",
            "n_gen",
            "n_depth",
            "kv",
            "tok_s",
            "tok_s_sd",
            "gb_s",
            "read_gb_s",
        ];
        let mut table = Table::new(&columns);
        for row in rows {
            table.row([
                row.model.clone(),
                row.size_bytes.to_string(),
                row.params.to_string(),
                row.kernels.to_owned(),
                row.threads.to_string(),
                row.test.clone(),
                row.n_prompt.to_string(),
                row.n_gen.to_string(),
                row.n_depth.to_string(),
                row.kv.clone(),
                row.tok_s.to_string(),
                row.tok_s_sd.to_string(),
                row.gb_s.to_string(),
                row.read_gb_s.map_or_else(String::new, |read| read.to_string()),
            ]);
        }
        return print(&table.csv());
    }
    let mut columns =
        vec!["model", "size:", "params:", "backend", "threads:", "kv", "test:", "t/s:", "GB/s:"];
    if roofline {
        columns.push("of a plain read:");
    }
    let mut table = Table::new(&columns);
    for row in rows {
        let mut cells = vec![
            row.model.clone(),
            format!("{:.2} MiB", row.size_bytes as f64 / f64::from(1 << 20)),
            units::parameters(row.params),
            row.kernels.to_owned(),
            row.threads.to_string(),
            row.kv.clone(),
            row.test.clone(),
            format!("{:.2} ± {:.2}", row.tok_s, row.tok_s_sd),
            format!("{:.2}", row.gb_s),
        ];
        if let Some(read) = row.read_gb_s {
            cells.push(format!("{:.0} % of {read:.1}", 100.0 * row.gb_s / read));
        }
        table.row(cells);
    }
    print(&table.markdown())
}
