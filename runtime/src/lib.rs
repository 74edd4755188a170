//! Kinglet runs foundation models on small machines: transformers in int8 or fp16 from one
//! memory-mapped file, with hand-tuned kernels for each instruction set.
//!
//! ```no_run
//! # fn main() -> Result<(), kinglet::Error> {
//! use kinglet::{GenerateOptions, Model};
//!
//! let model = Model::open("smollm2-135m.kinglet")?;
//! let mut session = model.session()?;
//! for piece in session.generate("The capital of France is", &GenerateOptions::greedy())? {
//!     print!("{}", piece?);
//! }
//!
//! let encoder = Model::open("minilm.kinglet")?;
//! let vectors = encoder.embed(&["a small bird", "a large ship"])?;
//!
//! let listener = Model::open("whisper-tiny.en.kinglet")?;
//! # let samples = [0.0; 16_000];
//! let transcript = listener.transcribe(&samples, &Default::default())?;
//! # Ok(()) }
//! ```
//!
//! [`Model`] is shared and cheap to clone; [`Session`] and [`Chat`] are owned and `Send`. Files
//! come from the `kinglet` command or the `kinglet-quantize` crate.

mod cores;
mod error;
#[doc(hidden)]
pub mod kernels;
mod kv;
mod limits;
mod media;
mod memory;
mod model;
mod network;
mod ops;
mod runner;
mod step;
mod task;
#[doc(hidden)]
pub mod team;
mod template;
pub mod tokenizer;
mod weights;

pub use error::{Error, SessionFileError};
pub use kinglet_formats::kinglet::ResizeFilter;
pub use kv::KvType;
pub use media::audio::{LogMel, SAMPLE_RATE};
pub use media::image::Image;
pub use memory::MemoryPlan;
pub use model::{Model, ModelOptions};
pub use task::{
    Aggregation, Answer, AnswerOptions, AnswerState, AudioContext, CancelToken, Chat, ChatFormat,
    ChatPrompt, Classification, Dry, DynamicTemperature, EmbedOptions, Embedding, Entity, Event,
    Fill, FinishReason, Form, GenerateOptions, Generation, GenerationState, Heard, Input,
    LabelScore, Languages, Likelihood, Mirostat, MirostatVersion, PromptOptions, Ranked, Request,
    Sampler, SamplerExtras, SamplerOptions, SamplerStage, Scheduler, SchedulerOptions,
    SearchOptions, Segment, Session, SessionOptions, TagOptions, Tagged, Task, TextAnswer,
    TextLength, TextScores, TextToTextAnswer, Ticket, TokenAnswer, TokenLogprobs,
    TranscribeOptions, Transcriber, Transcript, Transcription, TranslateOptions, Translated, Usage,
    Word, Xtc, ZeroShotOptions, argmax,
};
pub use template::{Message, ToolCall};
