//! Rotary position embedding (arXiv:2104.09864).

use serde::{Deserialize, Serialize};

use super::{is_true, yes};

/// Rotary position embedding.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rope {
    /// Base of the frequencies.
    pub theta: f32,
    /// Leading dimensions of each head that are rotated (all, or fewer for partial rotary).
    pub dims: usize,
    /// Which dimensions form a pair.
    #[serde(default, skip_serializing_if = "RopePairs::is_half")]
    pub pairs: RopePairs,
    /// Change of the frequencies for long contexts.
    #[serde(default, skip_serializing_if = "RopeScaling::is_none")]
    pub scaling: RopeScaling,
}

/// Which dimensions of a head a rotation pairs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RopePairs {
    /// `(i, i + dims / 2)`
    #[default]
    Half,
    /// `(2 i, 2 i + 1)`
    Adjacent,
}

impl RopePairs {
    fn is_half(&self) -> bool {
        *self == Self::Half
    }
}

/// Change of the rotary frequencies for long contexts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum RopeScaling {
    /// None.
    #[default]
    None,
    /// Positions divided by `factor`.
    Linear {
        /// Divisor.
        factor: f32,
    },
    /// Llama 3: low frequencies divided by `factor`, high ones kept, a ramp between.
    Llama3 {
        /// Divisor of the low frequencies.
        factor: f32,
        /// Wavelengths above `original_context_length / low_freq_factor` are scaled.
        low_freq_factor: f32,
        /// Wavelengths below `original_context_length / high_freq_factor` are kept.
        high_freq_factor: f32,
        /// Context length before extension.
        original_context_length: usize,
    },
    /// YaRN (arXiv:2309.00071).
    Yarn {
        /// Extension factor.
        factor: f32,
        /// Context length before extension.
        original_context_length: usize,
        /// Rotations above which a dimension is kept.
        beta_fast: f32,
        /// Rotations below which a dimension is interpolated.
        beta_slow: f32,
        /// Factor on q and k.
        attention_factor: f32,
        /// Whether the dimensions between which the ramp runs are rounded outwards.
        #[serde(default = "yes", skip_serializing_if = "is_true")]
        truncate: bool,
    },
    /// One divisor per frequency, from one of two lists (LongRoPE, arXiv:2402.13753): `short` for
    /// sequences that never exceed the original context, `long` for all positions of others.
    LongRope {
        /// `dims / 2` divisors.
        short: Vec<f32>,
        /// `dims / 2` divisors.
        long: Vec<f32>,
        /// Context length before extension.
        original_context_length: usize,
        /// Factor on q and k, with either list.
        attention_factor: f32,
    },
    /// One divisor per frequency (Llama 3 factors in GGUF files).
    PerFrequency {
        /// `dims / 2` divisors.
        factors: Vec<f32>,
        /// Factor on q and k.
        attention_factor: f32,
    },
}

impl RopeScaling {
    fn is_none(&self) -> bool {
        *self == Self::None
    }
}
