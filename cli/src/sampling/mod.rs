//! Arguments that say how to choose tokens and when to stop.

mod extras;

use clap::Args;
use kinglet::{Form, GenerateOptions};

use self::extras::ExtraArguments;
use crate::arguments::Text;
use crate::catalog::Sampling;
use crate::form;
use crate::numbers;

/// How to choose tokens; llama.cpp's names. What is not given follows the model.
#[derive(Args, Debug)]
#[command(next_help_heading = "Sampling")]
pub(crate) struct SamplingArguments {
    /// Most tokens of an answer; -1 goes on to the end of the context
    #[arg(short = 'n', long = "predict", value_name = "N", default_value = "-1")]
    #[arg(aliases = ["n-predict", "num-predict", "max-tokens", "max-new-tokens"])]
    #[arg(value_parser = numbers::predict)]
    predict: Limit,
    /// Randomness; 0 always takes the likeliest token
    #[arg(long = "temp", value_name = "T", alias = "temperature")]
    #[arg(value_parser = numbers::temperature)]
    temperature: Option<f32>,
    /// Only the K likeliest tokens; 0 for all
    #[arg(long, value_name = "K", allow_negative_numbers = true, value_parser = numbers::count)]
    top_k: Option<usize>,
    /// Only the likeliest tokens that together reach probability P
    #[arg(long, value_name = "P")]
    #[arg(value_parser = numbers::probability)]
    top_p: Option<f32>,
    /// Only tokens at least P times as likely as the likeliest
    #[arg(long, value_name = "P")]
    #[arg(value_parser = numbers::probability)]
    min_p: Option<f32>,
    /// Makes recent tokens less likely; 1 is off
    #[arg(long, value_name = "X")]
    #[arg(value_parser = numbers::penalty)]
    repeat_penalty: Option<f32>,
    /// How many recent tokens count as repeated
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = numbers::count)]
    repeat_last_n: Option<usize>,
    /// Taken from the logits of tokens that are among the recent ones
    #[arg(long, value_name = "X", allow_negative_numbers = true, value_parser = numbers::finite)]
    presence_penalty: Option<f32>,
    /// Taken from the logits of recent tokens as often as they are among them
    #[arg(long, value_name = "X", allow_negative_numbers = true, value_parser = numbers::finite)]
    frequency_penalty: Option<f32>,
    /// Start of the random sequence [default: -1, another one each time]
    #[arg(short, long, value_name = "N")]
    #[arg(value_parser = numbers::seed)]
    seed: Option<Start>,
    /// Guess up to N tokens where the text says what it said before, and compute them in one step:
    /// the same answer, sooner; 0 is off
    #[arg(long, value_name = "N", default_value = "8", value_parser = numbers::count)]
    lookup: usize,
    /// End the answer before this text (may be repeated)
    #[arg(short = 'r', long = "stop", value_name = "TEXT")]
    #[arg(aliases = ["reverse-prompt"], allow_hyphen_values = true, value_parser = Text)]
    stop: Vec<String>,
    /// Go on after the model's end-of-text token, and however often the answer repeats itself
    #[arg(long)]
    ignore_eos: bool,
    /// Answer in JSON that this schema describes; a file, or the schema itself
    #[arg(long, value_name = "SCHEMA", value_parser = form::json_schema)]
    json_schema: Option<Form>,
    /// Answer with a text that this regular expression matches as a whole
    #[arg(long, value_name = "REGEX", conflicts_with = "json_schema", value_parser = form::regex)]
    regex: Option<Form>,
    /// Answer with a text of the grammar in this file, in Lark's notation
    #[arg(long, value_name = "FILE", conflicts_with_all = ["json_schema", "regex"])]
    #[arg(value_parser = form::grammar)]
    grammar: Option<Form>,
    /// Do not end an answer that says the same again and again
    #[arg(long)]
    no_repeat_stop: bool,
    #[command(flatten)]
    extra: ExtraArguments,
}

/// A number of tokens, or no limit. (An `Option` would make clap's argument optional.)
type Limit = Option<usize>;
/// A start of the random sequence, or another one each time.
type Start = Option<u64>;

impl SamplingArguments {
    /// The options for the runtime; `recommended` stands in for what neither the user nor the
    /// model file says.
    pub(crate) fn options(&self, model: &kinglet::Model, recommended: Sampling) -> GenerateOptions {
        let file = &model.meta().generation;
        GenerateOptions {
            max_tokens: self.predict,
            temperature: self.temperature.or(file.temperature).or(recommended.temperature),
            top_k: self.top_k.or(file.top_k.map(|k| k as usize)),
            top_p: self.top_p.or(file.top_p).or(recommended.top_p),
            min_p: self.min_p.or(file.min_p),
            repeat_penalty: self.repeat_penalty.or(file.repeat_penalty),
            repeat_last_n: self.repeat_last_n,
            presence_penalty: self.presence_penalty,
            frequency_penalty: self.frequency_penalty,
            logit_bias: self.extra.logit_bias.clone(),
            extras: self.extra.extras(),
            seed: Some(self.seed.flatten().unwrap_or_else(random_seed)),
            lookup: Some(self.lookup),
            stop: self.stop.clone(),
            ignore_eos: self.ignore_eos,
            form: self.form(),
        }
    }

    /// The same for code, where the likeliest token is taken unless the user wants another.
    pub(crate) fn options_for_code(&self, model: &kinglet::Model) -> GenerateOptions {
        let temperature = self.temperature.or(Some(0.0));
        GenerateOptions { temperature, ..self.options(model, Sampling::default()) }
    }

    fn form(&self) -> Option<Form> {
        [&self.json_schema, &self.regex, &self.grammar].into_iter().find_map(Clone::clone)
    }

    /// Whether an answer that repeats itself is ended.
    pub(crate) fn ends_repetition(&self) -> bool {
        !self.no_repeat_stop && !self.ignore_eos && self.form().is_none()
    }
}

/// A seed that differs from run to run.
pub(crate) fn random_seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::process::id())
}
