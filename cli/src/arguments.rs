//! Arguments that several verbs share.

use std::fmt::Display;
use std::fs;
use std::io::{IsTerminal, Read, stdin};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use clap::Args;
use kinglet::{GenerateOptions, KvType, SessionOptions};
use kinglet_quantize::WeightType;

use crate::catalog::Sampling;
use crate::failure::Failure;
use crate::output::say;

/// Which model, and how to run it.
#[derive(Args, Debug)]
pub(crate) struct ModelArguments {
    /// Catalog name (see `kinglet models`), .kinglet file, or a checkpoint: GGUF, safetensors or
    /// PyTorch file, or Hugging Face folder
    #[arg(value_name = "MODEL", required_unless_present = "named")]
    first: Option<String>,
    /// The model, in place of the argument MODEL
    #[arg(short = 'm', long = "model", value_name = "MODEL")]
    named: Option<String>,
    /// Weights of a catalog model or checkpoint: int8 (the default) or f16
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) dtype: Option<WeightType>,
    /// Threads [default: the machine's physical cores, fewer for a small model]
    #[arg(short, long, value_name = "N")]
    pub(crate) threads: Option<NonZeroUsize>,
}

impl ModelArguments {
    /// The model's name or path.
    pub(crate) fn model(&self) -> Result<&str, Failure> {
        let model = self.named.as_deref().or(self.first.as_deref());
        model.ok_or_else(|| Failure::usage("no MODEL given"))
    }

    /// The words that follow the model: with `-m`, the first argument is one of them.
    pub(crate) fn words<'a>(&'a self, rest: &'a [String]) -> Vec<&'a str> {
        let first = self.first.as_ref().filter(|_| self.named.is_some());
        first.into_iter().chain(rest).map(String::as_str).collect()
    }
}

/// How to choose tokens; llama.cpp's names. What is not given follows the model.
#[derive(Args, Debug)]
#[command(next_help_heading = "Sampling")]
pub(crate) struct SamplingArguments {
    /// Most tokens of an answer; -1 goes on to the end of the context
    #[arg(short = 'n', long = "predict", value_name = "N", default_value_t = -1)]
    #[arg(allow_negative_numbers = true)]
    pub(crate) predict: i64,
    /// Randomness; 0 always takes the likeliest token
    #[arg(long = "temp", value_name = "T", allow_negative_numbers = true)]
    pub(crate) temperature: Option<f32>,
    /// Only the K likeliest tokens; 0 for all
    #[arg(long, value_name = "K")]
    pub(crate) top_k: Option<usize>,
    /// Only the likeliest tokens that together reach probability P
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    pub(crate) top_p: Option<f32>,
    /// Only tokens at least P times as likely as the likeliest
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    pub(crate) min_p: Option<f32>,
    /// Makes recent tokens less likely; 1 is off
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub(crate) repeat_penalty: Option<f32>,
    /// How many recent tokens count as repeated
    #[arg(long, value_name = "N")]
    pub(crate) repeat_last_n: Option<usize>,
    /// Start of the random sequence [default: another one each time]
    #[arg(short, long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// End the answer before this text (may be repeated)
    #[arg(short = 'r', long = "stop", value_name = "TEXT")]
    pub(crate) stop: Vec<String>,
    /// Go on after the model's end-of-text token
    #[arg(long)]
    pub(crate) ignore_eos: bool,
}

impl SamplingArguments {
    /// The options for the runtime; `recommended` stands in for what neither the user nor the
    /// model file says.
    pub(crate) fn options(
        &self,
        model: &kinglet::Model,
        recommended: Sampling,
    ) -> Result<GenerateOptions, Failure> {
        let file = &model.meta().generation;
        let max_tokens = match self.predict {
            -1 => None,
            0.. => Some(usize::try_from(self.predict)?),
            _ => return Err(Failure::usage("-n must be -1 or more")),
        };
        Ok(GenerateOptions {
            max_tokens,
            temperature: self.temperature.or(file.temperature).or(recommended.temperature),
            top_k: self.top_k,
            top_p: self.top_p.or(file.top_p).or(recommended.top_p),
            min_p: self.min_p,
            repeat_penalty: self.repeat_penalty,
            repeat_last_n: self.repeat_last_n,
            seed: Some(self.seed.unwrap_or_else(random_seed)),
            stop: self.stop.clone(),
            ignore_eos: self.ignore_eos,
        })
    }
}

/// A session's options from `-c` and `--kv`.
pub(crate) fn session_options(context: Option<usize>, kv: KvType) -> SessionOptions {
    let options = SessionOptions::default().kv(kv);
    match context {
        Some(context) => options.context_length(context),
        None => options,
    }
}

/// A seed that differs from run to run.
fn random_seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::process::id())
}

/// The text of a file, or of standard input for `-`. Bytes that are no UTF-8 become U+FFFD.
pub(crate) fn read_text(path: &Path) -> Result<String, Failure> {
    if path == Path::new("-") {
        return read_stdin();
    }
    let bytes = fs::read(path).map_err(|e| Failure::from(e).during(path.display()))?;
    Ok(decode(bytes, path.display()))
}

/// Text from `-p`, words, a file or standard input, whichever there is.
pub(crate) fn text_of(
    given: Option<&str>,
    words: &[&str],
    file: Option<&PathBuf>,
    what: &str,
) -> Result<String, Failure> {
    let sources = [given.is_some(), !words.is_empty(), file.is_some()];
    if sources.iter().filter(|&&is| is).count() > 1 {
        return Err(Failure::usage(format!("the {what} is given in more than one way")));
    }
    match (given, file) {
        (Some(text), _) => Ok(text.to_owned()),
        (_, Some(path)) => read_text(path),
        _ if !words.is_empty() => Ok(words.join(" ")),
        _ if !stdin().is_terminal() => read_stdin(),
        _ => Err(Failure::usage(format!("no {what}: give it as argument, by -f FILE or on stdin"))),
    }
}

/// All of standard input.
pub(crate) fn read_stdin() -> Result<String, Failure> {
    let mut bytes = Vec::new();
    stdin().lock().read_to_end(&mut bytes)?;
    Ok(decode(bytes, "standard input"))
}

fn decode(bytes: Vec<u8>, source: impl Display) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| {
        say!("{source} is not UTF-8 throughout; what is not is read as \u{fffd}");
        String::from_utf8_lossy(error.as_bytes()).into_owned()
    })
}
