//! Turns trained checkpoints into `.kinglet` files.
//!
//! ```no_run
//! use kinglet_quantize::{Options, Source, quantize};
//!
//! let source = Source::open("SmolLM2-135M-Instruct.Q4_1.gguf")?;
//! let report = quantize(&source, &Options::default(), "smollm2.kinglet", &mut ())?;
//! println!("{:.2} bits per weight", report.bits_per_weight());
//! # Ok::<(), kinglet_quantize::QuantizeError>(())
//! ```
//!
//! A [`Source`] is a GGUF file, a Hugging Face folder, a weight file of one, or their bytes. The modules of
//! `arch` map each family of checkpoints to a
//! [`ModelSpec`](kinglet_formats::spec::ModelSpec) and say where its tensors are; everything after
//! that knows no family.

mod arch;
mod calibration;
mod convert;
mod derived;
mod encode;
mod error;
mod fields;
pub mod fit;
mod glob;
mod infill;
mod made;
mod mapping;
mod options;
mod overlay;
mod progress;
mod report;
mod resolve;
mod source;
mod speech;
mod take;
pub mod tokenizer;
mod translation;

pub use calibration::Calibration;
pub use convert::{quantize, quantize_to};
pub use error::QuantizeError;
pub use options::{Group, InvalidOption, Options, WeightType};
pub use progress::{Progress, Stage, Update};
pub use report::{Report, TensorReport};
pub use source::Source;
