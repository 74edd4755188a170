//! Streams an answer and measures it.

use std::time::{Duration, Instant};

use kinglet::{Answer, FinishReason, Generation, GenerationState, KvType, Model};
use serde::Serialize;

use crate::arguments::session_options;
use crate::failure::Failure;
use crate::memory;
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

/// Counts and times of an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured {
    pub(crate) prompt_tokens: usize,
    pub(crate) generated_tokens: usize,
    /// The prompt and the first token.
    pub(crate) prefill: Duration,
    /// All tokens after the first.
    pub(crate) decode: Duration,
    pub(crate) finish: FinishReason,
}

/// Runs `stream` to its end, giving each piece of text to `sink`.
pub(crate) fn run(
    mut stream: Stream<'_>,
    mut sink: impl FnMut(&str) -> Result<(), Failure>,
) -> Result<Measured, Failure> {
    let start = Instant::now();
    let mut first = None;
    while let Some(piece) = stream.advance()? {
        first.get_or_insert_with(Instant::now);
        if !piece.is_empty() {
            sink(piece)?;
        }
    }
    let end = Instant::now();
    let first = first.unwrap_or(end);
    let generation = stream.generation();
    let generated_tokens = generation.generated_tokens();
    let finish = generation.finish_reason().unwrap_or(FinishReason::Cancelled);
    // Without a token to make, the prompt is not computed either.
    let idle = generated_tokens == 0 && finish == FinishReason::MaxTokens;
    Ok(Measured {
        prompt_tokens: generation.prompt_tokens(),
        generated_tokens,
        prefill: if idle { Duration::ZERO } else { first - start },
        decode: end - first,
        finish,
    })
}

/// What is reported about an answer.
#[derive(Debug, Serialize)]
pub(crate) struct Statistics {
    prompt_tokens: usize,
    prefill_tok_s: f64,
    generated_tokens: usize,
    decode_tok_s: f64,
    gb_s: f64,
    first_token_ms: f64,
    kernels: &'static str,
    threads: usize,
    finish: &'static str,
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
        let memory = memory::measure();
        let tokens = measured.prompt_tokens + measured.generated_tokens;
        let session = session_options(Some(tokens), kv);
        let plan = model.memory_plan(&session).map_or(0, |plan| plan.total() as u64);
        let planned_memory_bytes = plan + memory::program().map_or(0, |program| program.peak);
        Self {
            prompt_tokens: measured.prompt_tokens,
            prefill_tok_s: per_second(measured.prompt_tokens as f64, measured.prefill),
            generated_tokens: measured.generated_tokens,
            decode_tok_s,
            gb_s: model.bytes_per_token() as f64 * decode_tok_s / 1e9,
            first_token_ms: first_token.as_secs_f64() * 1e3,
            kernels: model.kernel_set(),
            threads: model.n_threads(),
            finish: reason(measured.finish),
            peak_memory_bytes: memory.map(|m| m.peak),
            private_memory_bytes: memory.map(|m| m.private),
            planned_memory_bytes,
        }
    }

    /// The figures in two lines.
    pub(crate) fn describe(&self) -> String {
        let mut text = format!(
            "prompt {} tokens, {:.1} tok/s; answer {} tokens, {:.1} tok/s, {:.1} GB/s; \
             first token after {:.0} ms\nkernels {}, {} threads",
            self.prompt_tokens,
            self.prefill_tok_s,
            self.generated_tokens,
            self.decode_tok_s,
            self.gb_s,
            self.first_token_ms,
            self.kernels,
            self.threads,
        );
        let memory = match memory::describe() {
            text if text.is_empty() => text,
            text => format!("{text}, planned {}", units::bytes(self.planned_memory_bytes)),
        };
        for part in [memory, remark(self.finish).to_owned()] {
            if !part.is_empty() {
                text = format!("{text}; {part}");
            }
        }
        text
    }
}

fn reason(finish: FinishReason) -> &'static str {
    match finish {
        FinishReason::Eos => "eos",
        FinishReason::Stop => "stop",
        FinishReason::MaxTokens => "max_tokens",
        FinishReason::ContextFull => "context_full",
        _ => "cancelled",
    }
}

/// What a user should know about how an answer ended.
pub(crate) fn remark(finish: &str) -> &'static str {
    match finish {
        "max_tokens" => "ended by -n",
        "context_full" => "ended because the context is full",
        "cancelled" => "cancelled",
        _ => "",
    }
}
