//! Streams an answer and measures it.

use std::time::{Duration, Instant};

use kinglet::{Answer, FinishReason, Generation, GenerationState, KvType, Model};
use serde::Serialize;

use crate::arguments::session_options;
use crate::failure::Failure;
use crate::memory;
use crate::repetition::Repetition;
use crate::units::{self, per_second};

/// An answer in the making, with or without a conversation around it.
pub(crate) enum Stream<'a> {
    /// The continuation of a text.
    Text(Generation<'a>),
    /// An answer in a conversation.
    Chat(Answer<'a>),
}

impl Stream<'_> {
    fn advance(&mut self) -> Result<Option<&str>, kinglet::Error> {
        match self {
            Self::Text(generation) => generation.advance(),
            Self::Chat(answer) => answer.advance(),
        }
    }

    fn generation(&self) -> &GenerationState {
        match self {
            Self::Text(generation) => generation.state(),
            Self::Chat(answer) => answer.generation(),
        }
    }
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Finish {
    Eos,
    Stop,
    MaxTokens,
    ContextFull,
    Repeat,
    Cancelled,
}

impl From<FinishReason> for Finish {
    fn from(reason: FinishReason) -> Self {
        match reason {
            FinishReason::Eos => Self::Eos,
            FinishReason::Stop => Self::Stop,
            FinishReason::MaxTokens => Self::MaxTokens,
            FinishReason::ContextFull => Self::ContextFull,
            _ => Self::Cancelled,
        }
    }
}

impl Finish {
    /// What a user must know about an answer that ended early without having been told to.
    pub(crate) fn warning(self) -> Option<&'static str> {
        match self {
            Self::ContextFull => Some("ended because the context is full"),
            Self::Repeat => Some(
                "ended because it said the same again and again (--no-repeat-stop lets it go on)",
            ),
            _ => None,
        }
    }

    /// What is worth a word about how an answer ended.
    fn remark(self) -> Option<&'static str> {
        match self {
            Self::MaxTokens => Some("ended by -n"),
            Self::Cancelled => Some("cancelled"),
            _ => None,
        }
    }
}

/// Counts and times of an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured {
    pub(crate) prompt_tokens: usize,
    pub(crate) generated_tokens: usize,
    /// How many of them were guessed before they came.
    pub(crate) guessed_tokens: usize,
    /// The prompt and the first token.
    pub(crate) prefill: Duration,
    /// All tokens after the first.
    pub(crate) decode: Duration,
    pub(crate) finish: Finish,
}

/// Runs `stream` to its end, giving each piece of text to `sink`. An answer that says the same
/// again and again is ended, if wanted.
pub(crate) fn run(
    mut stream: Stream<'_>,
    end_repetition: bool,
    mut sink: impl FnMut(&str) -> Result<(), Failure>,
) -> Result<Measured, Failure> {
    let start = Instant::now();
    let mut first = None;
    let mut repetition = end_repetition.then(Repetition::new);
    let mut repeats = false;
    while let Some(piece) = stream.advance()? {
        first.get_or_insert_with(Instant::now);
        if !piece.is_empty() {
            sink(piece)?;
        }
        repeats = repetition.as_mut().is_some_and(|repetition| repetition.push(piece));
        if repeats {
            break;
        }
    }
    let end = Instant::now();
    let first = first.unwrap_or(end);
    let generation = stream.generation();
    let generated_tokens = generation.generated_tokens();
    let finish = match generation.finish_reason() {
        Some(reason) => reason.into(),
        None if repeats => Finish::Repeat,
        None => Finish::Cancelled,
    };
    // Without a token to make, the prompt is not computed either.
    let idle = generated_tokens == 0 && finish == Finish::MaxTokens;
    Ok(Measured {
        prompt_tokens: generation.prompt_tokens(),
        generated_tokens,
        guessed_tokens: generation.guessed_tokens(),
        prefill: if idle { Duration::ZERO } else { first - start },
        decode: end - first,
        finish,
    })
}

/// An error of the runtime in the command's own terms.
pub(crate) fn failure(error: kinglet::Error, model: &Model) -> Failure {
    let kinglet::Error::ContextFull { used, wanted, context_length } = error else {
        return error.into();
    };
    let most = model.context_length();
    let held = match used {
        0 => String::new(),
        used => format!(", {used} of them in use"),
    };
    let way_out = match context_length < most {
        true => format!("raise -c (up to {most}), or shorten the text"),
        false => "shorten the text; the model was made for no more".to_owned(),
    };
    Failure::new(format!(
        "the text has {wanted} tokens and the context {context_length}{held}: {way_out}"
    ))
}

/// What is reported about an answer.
#[derive(Debug, Serialize)]
pub(crate) struct Statistics {
    prompt_tokens: usize,
    prefill_tok_s: f64,
    generated_tokens: usize,
    guessed_tokens: usize,
    decode_tok_s: f64,
    gb_s: f64,
    first_token_ms: f64,
    kernels: &'static str,
    threads: usize,
    finish: Finish,
    #[serde(skip_serializing_if = "Option::is_none")]
    peak_memory_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    private_memory_bytes: Option<u64>,
    /// The memory plan for the tokens held at the end, with the program itself.
    planned_memory_bytes: u64,
}

impl Statistics {
    /// The figures of an answer; `first_token` is the time from the start of the program.
    pub(crate) fn new(
        model: &Model,
        kv: KvType,
        measured: &Measured,
        first_token: Duration,
    ) -> Self {
        let after_first = measured.generated_tokens.saturating_sub(1) as f64;
        let decode_tok_s = per_second(after_first, measured.decode);
        let steps = after_first - measured.guessed_tokens.min(after_first as usize) as f64;
        let memory = memory::measure();
        let tokens = measured.prompt_tokens + measured.generated_tokens;
        let session = session_options(Some(tokens), kv);
        let guesses = if measured.guessed_tokens > 0 { model.lookup_bytes() } else { 0 };
        let plan = model.memory_plan(&session).map_or(0, |plan| (plan.total() + guesses) as u64);
        let planned_memory_bytes = plan + memory::program().map_or(0, |program| program.peak);
        Self {
            prompt_tokens: measured.prompt_tokens,
            prefill_tok_s: per_second(measured.prompt_tokens as f64, measured.prefill),
            generated_tokens: measured.generated_tokens,
            guessed_tokens: measured.guessed_tokens,
            decode_tok_s,
            // A token that was guessed came in the step of another one.
            gb_s: model.bytes_per_token() as f64 * per_second(steps, measured.decode) / 1e9,
            first_token_ms: first_token.as_secs_f64() * 1e3,
            kernels: model.kernel_set(),
            threads: model.n_threads(),
            finish: measured.finish,
            peak_memory_bytes: memory.map(|m| m.peak),
            private_memory_bytes: memory.map(|m| m.private),
            planned_memory_bytes,
        }
    }

    /// The figures: in a line, or whole.
    pub(crate) fn describe(&self, whole: bool) -> String {
        let mut parts = self.speed(whole);
        if whole {
            parts.push(format!(
                "kernels {}, {}",
                self.kernels,
                units::count(self.threads, "thread")
            ));
            let memory = memory::describe();
            if !memory.is_empty() {
                let planned = units::bytes(self.planned_memory_bytes);
                parts.push(format!("{memory}, planned {planned}"));
            }
        }
        parts.extend(self.finish.remark().map(str::to_owned));
        parts.join("; ")
    }

    /// How long things took; a speed is not told of what was not computed.
    fn speed(&self, whole: bool) -> Vec<String> {
        let rate = |speed: f64| match speed > 0.0 {
            true => format!(", {speed:.1} tok/s"),
            false => String::new(),
        };
        let answer = units::count(self.generated_tokens, "token");
        if !whole {
            return vec![format!("{answer}{}", rate(self.decode_tok_s))];
        }
        let prompt = units::count(self.prompt_tokens, "token");
        let mut answer = format!("answer {answer}{}", rate(self.decode_tok_s));
        if self.decode_tok_s > 0.0 {
            answer = format!("{answer}, {:.1} GB/s", self.gb_s);
        }
        if self.guessed_tokens > 0 {
            answer = format!("{answer}, {} guessed", self.guessed_tokens);
        }
        let mut parts = vec![format!("prompt {prompt}{}", rate(self.prefill_tok_s)), answer];
        if self.generated_tokens > 0 {
            parts.push(format!("first token after {:.0} ms", self.first_token_ms));
        }
        parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statistics(generated_tokens: usize, decode_tok_s: f64) -> Statistics {
        Statistics {
            prompt_tokens: 1,
            prefill_tok_s: 0.0,
            generated_tokens,
            guessed_tokens: 0,
            decode_tok_s,
            gb_s: 1.0,
            first_token_ms: 5.0,
            kernels: "scalar",
            threads: 2,
            finish: Finish::MaxTokens,
            peak_memory_bytes: None,
            private_memory_bytes: None,
            planned_memory_bytes: 0,
        }
    }

    #[test]
    fn a_line_by_default_and_no_speed_of_nothing() {
        assert_eq!(statistics(12, 50.0).describe(false), "12 tokens, 50.0 tok/s; ended by -n");
        assert_eq!(statistics(0, 0.0).describe(false), "0 tokens; ended by -n");
        let whole = statistics(0, 0.0).describe(true);
        assert!(whole.starts_with("prompt 1 token; answer 0 tokens; kernels scalar, 2 threads"));
        assert!(!whole.contains("0.0"), "{whole}");
    }
}
