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
//! # Ok(()) }
//! ```
//!
//! [`Model`] is shared and cheap to clone; [`Session`] and [`Chat`] are owned and `Send`. Files
//! come from the `kinglet` command or the `kinglet-quantize` crate.

mod chat;
mod cores;
mod embed;
mod error;
mod forward;
mod generate;
#[doc(hidden)]
pub mod kernels;
mod kv_cache;
mod linear;
mod memory;
mod model;
mod plan;
mod rope;
mod sampler;
mod session;
mod session_file;
mod stop;
#[doc(hidden)]
pub mod team;
mod template;
pub mod tokenizer;

pub use chat::{Answer, AnswerState, Chat};
pub use error::Error;
pub use generate::{FinishReason, GenerateOptions, Generation, GenerationState};
pub use kv_cache::KvType;
pub use memory::MemoryPlan;
pub use model::{Model, ModelOptions};
pub use sampler::{Sampler, SamplerOptions, argmax};
pub use session::{CancelToken, Session, SessionOptions};
pub use session_file::SessionFileError;
pub use template::Message;
