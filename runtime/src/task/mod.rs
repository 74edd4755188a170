//! What users hold: sequences, answers, conversations, vectors, labels.

mod answer;
mod chat;
mod chat_format;
mod classify;
mod embed;
mod entities;
mod fill_mask;
pub(crate) mod form;
mod generate;
mod images;
mod infill;
mod look_alikes;
mod lookup;
mod pass;
mod purpose;
mod rerank;
mod sampler;
mod schedule;
mod scores;
mod search;
mod sentences;
mod session;
mod session_file;
mod stop;
mod tag;
mod text_to_text;
mod transcribe;
mod translate;
mod windows;
mod zero_shot;

pub use answer::{AnswerOptions, TextAnswer};
pub use chat::{Answer, AnswerState, Chat};
pub use chat_format::{ChatFormat, ChatPrompt, PromptOptions};
pub use classify::{Classification, LabelScore, TextLength};
pub use embed::{EmbedOptions, Embedding, Input};
pub use entities::Aggregation;
pub use fill_mask::Fill;
pub use form::Form;
pub use generate::{FinishReason, GenerateOptions, Generation, GenerationState};
pub use purpose::Task;
pub use rerank::Ranked;
pub use sampler::{
    Dry, DynamicTemperature, Mirostat, MirostatVersion, Sampler, SamplerExtras, SamplerOptions,
    SamplerStage, Xtc, argmax,
};
pub use schedule::{Event, Request, Scheduler, SchedulerOptions, Ticket, TokenLogprobs, Usage};
pub use scores::{Likelihood, TextScores};
pub use search::{SearchOptions, TokenAnswer};
pub use session::{CancelToken, Session, SessionOptions};
pub use tag::{Entity, TagOptions, Tagged};
pub use text_to_text::TextToTextAnswer;
pub use transcribe::{
    AudioContext, Heard, Segment, TranscribeOptions, Transcriber, Transcript, Transcription, Word,
};
pub use translate::{Languages, TranslateOptions, Translated};
pub use zero_shot::ZeroShotOptions;
