//! Log-mel spectrograms of sound.

mod filters;
mod mel;

pub use mel::LogMel;
pub(crate) use mel::normalize;

/// Samples a second of the sound that models hear.
pub const SAMPLE_RATE: usize = 16_000;

/// Samples from one frame of a spectrogram to the next: 10 ms.
pub(crate) const HOP: usize = 160;
