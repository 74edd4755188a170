//! Attention and positions.

use super::*;

impl Attention {
    pub(super) fn validate(
        &self,
        at: Place<'_>,
        hidden_size: usize,
        earlier: &[Stack],
    ) -> Result<(), SpecError> {
        size(at, "n_heads", self.n_heads, 1 << 16)?;
        size(at, "n_kv_heads", self.n_kv_heads, self.n_heads)?;
        if !self.n_heads.is_multiple_of(self.n_kv_heads) {
            let (heads, kv_heads) = (self.n_heads, self.n_kv_heads);
            return fail(at, format!("{kv_heads} key/value heads do not divide {heads} heads"));
        }
        size(at, "head_dim", self.head_dim, 1 << 16)?;
        let width = self.n_heads.saturating_mul(self.head_dim);
        size(at, "n_heads * head_dim", width, MAX_SIZE)?;
        matrix(at, "a projection", width, hidden_size)?;
        if let Some(name) = &self.memory {
            let Some(stack) = earlier.iter().find(|stack| stack.name == *name) else {
                return fail(at, format!("there is no earlier stack {name:?} to attend to"));
            };
            matrix(at, "a projection", width, stack.hidden_size)?;
            if self.causal || self.sliding_window.is_some() || self.position != Position::None {
                return fail(at, "attention to another stack knows no order");
            }
        }
        positive(at, "scale", self.scale)?;
        if self.sliding_window == Some(0) {
            return fail(at, "sliding_window is 0");
        }
        self.soft_cap.map_or(Ok(()), |cap| positive(at, "soft_cap", cap))?;
        norm(at, self.qk_norm.as_ref().map(|qk| &qk.norm))?;
        match &self.position {
            Position::None => Ok(()),
            Position::Rope(rope) => rope.validate(&|| format!("{}.position", at()), self.head_dim),
            Position::RelativeBuckets { n_buckets, max_distance, two_way, .. } => {
                size(at, "n_buckets", *n_buckets, 1 << 12)?;
                size(at, "max_distance", *max_distance, 1 << 20)?;
                let ways = if *two_way { 2 } else { 1 };
                if !n_buckets.is_multiple_of(2 * ways) || n_buckets / (2 * ways) >= *max_distance {
                    let problem = format!("{n_buckets} buckets up to a distance of {max_distance}");
                    return fail(at, problem);
                }
                matrix(at, "the table of buckets", self.n_heads, *n_buckets)
            }
            Position::Disentangled { n_buckets, max_distance } => {
                size(at, "n_buckets", *n_buckets, 1 << 12)?;
                size(at, "max_distance", *max_distance, 1 << 20)?;
                if !n_buckets.is_multiple_of(4) || n_buckets / 2 + 1 >= *max_distance {
                    let problem = format!("{n_buckets} buckets up to a distance of {max_distance}");
                    return fail(at, problem);
                }
                if self.causal || self.n_kv_heads != self.n_heads {
                    return fail(
                        at,
                        "such positions need attention in both directions, a key head a query head",
                    );
                }
                let rows = self.n_heads.saturating_mul(2 * n_buckets);
                matrix(at, "a table of positions", rows, self.head_dim)
            }
            Position::LinearBias { slopes } => {
                if slopes.len() != self.n_heads {
                    let (found, expected) = (slopes.len(), self.n_heads);
                    return fail(at, format!("{expected} slopes expected, {found} found"));
                }
                slopes.iter().try_for_each(|&slope| positive(at, "a slope", slope))
            }
        }
    }
}

impl Rope {
    fn validate(&self, at: Place<'_>, head_dim: usize) -> Result<(), SpecError> {
        positive(at, "theta", self.theta)?;
        size(at, "dims", self.dims, head_dim)?;
        if !self.dims.is_multiple_of(2) {
            return fail(at, format!("dims is {}, an even number is needed", self.dims));
        }
        match &self.scaling {
            RopeScaling::None => Ok(()),
            RopeScaling::Linear { factor } => positive(at, "factor", *factor),
            RopeScaling::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_context_length,
            } => {
                positive(at, "factor", *factor)?;
                positive(at, "low_freq_factor", *low_freq_factor)?;
                positive(
                    at,
                    "high_freq_factor - low_freq_factor",
                    high_freq_factor - low_freq_factor,
                )?;
                size(at, "original_context_length", *original_context_length, MAX_POSITIONS)
            }
            RopeScaling::Yarn {
                factor,
                original_context_length,
                beta_fast,
                beta_slow,
                attention_factor,
                truncate: _,
            } => {
                positive(at, "factor", *factor)?;
                positive(at, "beta_fast", *beta_fast)?;
                positive(at, "beta_slow", *beta_slow)?;
                positive(at, "attention_factor", *attention_factor)?;
                size(at, "original_context_length", *original_context_length, MAX_POSITIONS)
            }
            RopeScaling::LongRope { short, long, original_context_length, attention_factor } => {
                self.factors(at, short)?;
                self.factors(at, long)?;
                positive(at, "attention_factor", *attention_factor)?;
                size(at, "original_context_length", *original_context_length, MAX_POSITIONS)
            }
            RopeScaling::PerFrequency { factors, attention_factor } => {
                positive(at, "attention_factor", *attention_factor)?;
                self.factors(at, factors)
            }
        }
    }

    /// Checks a list of divisors.
    fn factors(&self, at: Place<'_>, factors: &[f32]) -> Result<(), SpecError> {
        if factors.len() != self.dims / 2 {
            let (found, expected) = (factors.len(), self.dims / 2);
            return fail(at, format!("{expected} factors expected, {found} found"));
        }
        factors.iter().try_for_each(|&f| positive(at, "a factor", f))
    }
}
