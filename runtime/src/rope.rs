//! Rotary position embedding (arXiv:2104.09864): frequencies and their scalings.

use std::f32::consts::PI;

use kinglet_formats::spec::{Rope, RopeScaling};

use crate::error::Error;

/// Frequencies of one kind of rotation.
#[derive(Clone, Debug)]
pub(crate) struct RopeTable {
    /// `[dims / 2]` radians per position.
    frequencies: Vec<f32>,
    /// Factor on both cosine and sine, hence its square on the scores.
    magnitude: f32,
}

impl RopeTable {
    pub(crate) fn new(rope: &Rope) -> Result<Self, Error> {
        let half = rope.dims / 2;
        let base = |i: usize| rope.theta.powf(-((2 * i) as f32) / rope.dims as f32);
        let mut magnitude = 1.0;
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
            } => {
                magnitude = *attention_factor;
                let original = *original_context_length as f32;
                // The (fractional) dimension that turns `n` times over the original context.
                let dimension = |n: f32| {
                    rope.dims as f32 * (original / (n * 2.0 * PI)).ln() / (2.0 * rope.theta.ln())
                };
                let low = dimension(*beta_fast).floor().max(0.0);
                let high = dimension(*beta_slow).ceil().min(rope.dims as f32 - 1.0);
                let width = (high - low).max(0.001);
                (0..half)
                    .map(|i| {
                        let stretch = ((i as f32 - low) / width).clamp(0.0, 1.0);
                        base(i) * (1.0 - stretch) + base(i) / factor * stretch
                    })
                    .collect()
            }
            RopeScaling::PerFrequency { factors, attention_factor } => {
                if factors.len() != half {
                    let what = format!("{} rope factors for {half} frequencies", factors.len());
                    return Err(Error::Unsupported { what });
                }
                magnitude = *attention_factor;
                (0..half).map(|i| base(i) / factors[i]).collect()
            }
        };
        Ok(Self { frequencies, magnitude })
    }

    /// Number of pairs rotated.
    pub(crate) fn half(&self) -> usize {
        self.frequencies.len()
    }

    /// Fills `cos` and `sin` `[half]` for one position.
    pub(crate) fn angles(&self, position: u32, cos: &mut [f32], sin: &mut [f32]) {
        for ((frequency, cos), sin) in self.frequencies.iter().zip(cos).zip(sin) {
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
