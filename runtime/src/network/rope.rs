//! Rotary position embedding (arXiv:2104.09864): frequencies and their scalings.

use std::f32::consts::PI;

use kinglet_formats::spec::{Rope, RopeScaling};

use crate::error::Error;

/// Frequencies of one kind of rotation.
#[derive(Clone, Debug)]
pub(crate) struct RopeTable {
    /// `[dims / 2]` radians per position.
    frequencies: Vec<f32>,
    /// Those of sequences that may exceed a length, and the length.
    long: Option<(Vec<f32>, usize)>,
    /// Factor on both cosine and sine, hence its square on the scores.
    magnitude: f32,
}

impl RopeTable {
    pub(crate) fn new(rope: &Rope) -> Result<Self, Error> {
        let half = rope.dims / 2;
        let base = |i: usize| rope.theta.powf(-((2 * i) as f32) / rope.dims as f32);
        let divided = |factors: &[f32]| {
            if factors.len() != half {
                let what = format!("{} rope factors for {half} frequencies", factors.len());
                return Err(Error::Unsupported { what });
            }
            Ok(factors.iter().enumerate().map(|(i, factor)| base(i) / factor).collect())
        };
        let (mut magnitude, mut long) = (1.0, None);
        let frequencies = match &rope.scaling {
            RopeScaling::None => (0..half).map(base).collect(),
            RopeScaling::Linear { factor } => (0..half).map(|i| base(i) / factor).collect(),
            RopeScaling::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_context_length,
            } => {
                let original = *original_context_length as f32;
                (0..half)
                    .map(|i| {
                        let frequency = base(i);
                        let turns = original * frequency / (2.0 * PI);
                        // 0 below low_freq_factor turns over the original context, 1 above high.
                        let keep = ((turns - low_freq_factor)
                            / (high_freq_factor - low_freq_factor))
                            .clamp(0.0, 1.0);
                        frequency * keep + frequency / factor * (1.0 - keep)
                    })
                    .collect()
            }
            RopeScaling::Yarn {
                factor,
                original_context_length,
                beta_fast,
                beta_slow,
                attention_factor,
                truncate,
            } => {
                magnitude = *attention_factor;
                let original = *original_context_length as f32;
                // The (fractional) dimension that turns `n` times over the original context.
                let dimension = |n: f32| {
                    rope.dims as f32 * (original / (n * 2.0 * PI)).ln() / (2.0 * rope.theta.ln())
                };
                let (mut low, mut high) = (dimension(*beta_fast), dimension(*beta_slow));
                if *truncate {
                    (low, high) = (low.floor(), high.ceil());
                }
                let (low, high) = (low.max(0.0), high.min(rope.dims as f32 - 1.0));
                let width = if low == high { 0.001 } else { high - low };
                (0..half)
                    .map(|i| {
                        let stretch = ((i as f32 - low) / width).clamp(0.0, 1.0);
                        base(i) * (1.0 - stretch) + base(i) / factor * stretch
                    })
                    .collect()
            }
            RopeScaling::LongRope {
                short,
                long: factors,
                original_context_length,
                attention_factor,
            } => {
                magnitude = *attention_factor;
                long = Some((divided(factors)?, *original_context_length));
                divided(short)?
            }
            RopeScaling::PerFrequency { factors, attention_factor } => {
                magnitude = *attention_factor;
                divided(factors)?
            }
        };
        Ok(Self { frequencies, long, magnitude })
    }

    /// Number of pairs rotated.
    pub(crate) fn half(&self) -> usize {
        self.frequencies.len()
    }

    /// Whether sequences that may reach `limit` positions turn otherwise than short ones.
    pub(crate) fn is_long(&self, limit: usize) -> bool {
        self.long.as_ref().is_some_and(|(_, original)| limit > *original)
    }

    /// Fills `cos` and `sin` `[half]` for one position of a sequence that may reach `limit`.
    pub(crate) fn angles(&self, position: u32, limit: usize, cos: &mut [f32], sin: &mut [f32]) {
        let frequencies = match &self.long {
            Some((long, _)) if self.is_long(limit) => long,
            _ => &self.frequencies,
        };
        for ((frequency, cos), sin) in frequencies.iter().zip(cos).zip(sin) {
            // The product is rounded to f32 as in training.
            let (s, c) = (position as f32 * frequency).sin_cos();
            *cos = c * self.magnitude;
            *sin = s * self.magnitude;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kinglet_formats::spec::RopePairs;

    /// Frequencies of transformers 5.24, `ROPE_INIT_FUNCTIONS["yarn"]`, for these settings.
    #[test]
    fn yarn_is_the_reference() {
        let scaling = RopeScaling::Yarn {
            factor: 4.0,
            original_context_length: 256,
            beta_fast: 32.0,
            beta_slow: 1.0,
            attention_factor: 1.138_629_4,
            truncate: true,
        };
        let rope = Rope { theta: 1e4, dims: 64, pairs: RopePairs::Half, scaling };
        let table = RopeTable::new(&rope).unwrap();
        let expected = [
            (0, 1.0),
            (3, 0.348_710_6),
            (8, 0.053_846_15),
            (12, 0.009_730_086),
            (16, 0.002_5),
            (20, 0.000_790_569_47),
            (31, 3.333_803_8e-5),
        ];
        for (i, frequency) in expected {
            let found = table.frequencies[i];
            assert!((found / frequency - 1.0f32).abs() < 1e-5, "{i}: {found}, not {frequency}");
        }
        let (mut cos, mut sin) = (vec![0.0; 32], vec![0.0; 32]);
        table.angles(2, 64, &mut cos, &mut sin);
        assert!((cos[0] - 1.138_629_4 * 2f32.cos()).abs() < 1e-6);
        assert!((sin[16] - 1.138_629_4 * 0.005f32.sin()).abs() < 1e-6);
    }

    #[test]
    fn each_frequency_has_its_divisor() {
        let factors = vec![1.0, 2.0, 4.0, 8.0];
        let scaling = RopeScaling::PerFrequency { factors, attention_factor: 1.25 };
        let rope = Rope { theta: 1e4, dims: 8, pairs: RopePairs::Half, scaling };
        let table = RopeTable::new(&rope).unwrap();
        for (found, expected) in table.frequencies.iter().zip([1.0, 0.05, 0.0025, 0.000_125]) {
            assert!((found / expected - 1.0f32).abs() < 1e-5, "{found}, not {expected}");
        }
        assert_eq!(table.magnitude, 1.25);
    }

    #[test]
    fn long_sequences_have_divisors_of_their_own() {
        let scaling = RopeScaling::LongRope {
            short: vec![1.0, 2.0],
            long: vec![4.0, 8.0],
            original_context_length: 16,
            attention_factor: 1.5,
        };
        let rope = Rope { theta: 1e4, dims: 4, pairs: RopePairs::Half, scaling };
        let table = RopeTable::new(&rope).unwrap();
        for (limit, first, second) in [(16, 3.0, 0.015), (17, 0.75, 0.003_75)] {
            let (mut cos, mut sin) = ([0.0; 2], [0.0; 2]);
            table.angles(3, limit, &mut cos, &mut sin);
            for (found, angle) in sin.iter().zip([first, second]) {
                let expected = 1.5 * f32::sin(angle);
                assert!((found - expected).abs() < 1e-6, "{limit}: {found}, not {expected}");
            }
        }
    }

    #[test]
    fn llama3_keeps_high_and_divides_low_frequencies() {
        let rope = |scaling| Rope { theta: 5e5, dims: 128, pairs: RopePairs::Half, scaling };
        let plain = RopeTable::new(&rope(RopeScaling::None)).unwrap();
        let scaled = RopeTable::new(&rope(RopeScaling::Llama3 {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_context_length: 8192,
        }))
        .unwrap();
        assert_eq!(plain.frequencies[0], scaled.frequencies[0]);
        let last = plain.half() - 1;
        assert_eq!(plain.frequencies[last] / 8.0, scaled.frequencies[last]);
        let between = (0..64).filter(|&i| {
            let ratio = scaled.frequencies[i] / plain.frequencies[i];
            ratio > 0.126 && ratio < 0.999
        });
        assert!(between.count() > 3);
    }
}
