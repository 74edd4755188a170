//! Bounds on a [`ModelSpec`]: after this check, sizes computed from it cannot overflow and nothing
//! divides by zero.

use thiserror::Error;

use super::*;

/// Largest width of anything: vocabulary, MLP, heads together.
const MAX_SIZE: usize = 1 << 24;

/// Most layers of a stack.
const MAX_LAYERS: usize = 1 << 12;

/// Longest sequence.
const MAX_POSITIONS: usize = 1 << 28;

/// A model description that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the model's description is impossible: {at}: {problem}")]
pub struct SpecError {
    /// Which part of the description, for example `decoder.layers.3.attention`.
    pub at: String,
    /// What is wrong with it, with the numbers.
    pub problem: String,
}

/// Where a check happens: built only when it fails.
type Place<'a> = &'a dyn Fn() -> String;

fn fail(at: Place<'_>, problem: impl Into<String>) -> Result<(), SpecError> {
    Err(SpecError { at: at(), problem: problem.into() })
}

/// Checks that `value` is in 1 to `most`.
fn size(at: Place<'_>, what: &str, value: usize, most: usize) -> Result<(), SpecError> {
    if (1..=most).contains(&value) {
        return Ok(());
    }
    fail(at, format!("{what} is {value}, possible are 1 to {most}"))
}

/// Checks that a matrix of `f32` can be addressed.
fn matrix(at: Place<'_>, what: &str, rows: usize, cols: usize) -> Result<(), SpecError> {
    match rows.checked_mul(cols).and_then(|n| n.checked_mul(4)) {
        Some(n) if isize::try_from(n).is_ok() => Ok(()),
        _ => fail(at, format!("{what} [{rows}, {cols}] cannot be addressed on this machine")),
    }
}

/// Checks that `value` is a finite number above zero.
fn positive(at: Place<'_>, what: &str, value: f32) -> Result<(), SpecError> {
    if value.is_finite() && value > 0.0 {
        return Ok(());
    }
    fail(at, format!("{what} is {value}, a number above zero is needed"))
}

impl ModelSpec {
    /// Checks that the description makes sense: sizes not zero and bounded, heads that divide,
    /// numbers finite. A spec that passes can still ask for what a runtime does not implement.
    pub fn validate(&self) -> Result<(), SpecError> {
        let root: Place<'_> = &|| "spec".to_owned();
        let n_stacks = match self.topology {
            Topology::Decoder | Topology::Encoder => 1,
            Topology::EncoderDecoder | Topology::TwoTowers => 2,
        };
        if self.stacks.len() != n_stacks {
            let found = self.stacks.len();
            return fail(root, format!("{:?} has {n_stacks} stacks, {found} found", self.topology));
        }
        size(root, "context_length", self.context_length, MAX_POSITIONS)?;
        for (i, stack) in self.stacks.iter().enumerate() {
            stack.validate(i)?;
            let crossed = self.topology == Topology::EncoderDecoder && i == 1;
            for (l, layer) in stack.layers.iter().enumerate() {
                if layer.cross_attention.is_some() && !crossed {
                    let at: Place<'_> = &|| format!("{}.layers.{l}.cross_attention", stack.name);
                    return fail(at, "there is no other stack to attend to");
                }
            }
            if self.stacks[..i].iter().any(|other| other.name == stack.name) {
                return fail(root, format!("two stacks are called {:?}", stack.name));
            }
        }
        if self.heads.is_empty() {
            return fail(root, "there is no head");
        }
        self.heads.iter().enumerate().try_for_each(|(i, head)| self.validate_head(i, head))
    }

    fn validate_head(&self, i: usize, head: &Head) -> Result<(), SpecError> {
        let at: Place<'_> = &|| format!("heads.{i}");
        match *head {
            Head::LanguageModel { soft_cap, .. } => {
                let output = self.stacks.last().map(|stack| &stack.input);
                if !matches!(output, Some(Input::Tokens { .. })) {
                    return fail(at, "a language model needs a stack with a vocabulary");
                }
                soft_cap.map_or(Ok(()), |cap| positive(at, "soft_cap", cap))
            }
            Head::Projection { size: width } => {
                size(at, "size", width, MAX_SIZE)?;
                self.stacks.iter().try_for_each(|s| matrix(at, "projection", width, s.hidden_size))
            }
            Head::Embedding { .. }
            | Head::MaskedLanguageModel
            | Head::SequenceClassification
            | Head::TokenClassification
            | Head::Span => Ok(()),
        }
    }
}

impl Stack {
    fn validate(&self, i: usize) -> Result<(), SpecError> {
        let at: Place<'_> = &|| format!("stacks.{i}");
        let letters = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        if !(1..=32).contains(&self.name.len()) || !self.name.bytes().all(letters) {
            return fail(at, format!("its name {:?} is not 1 to 32 of a-z, 0-9, _", self.name));
        }
        let at: Place<'_> = &|| self.name.clone();
        size(at, "hidden_size", self.hidden_size, MAX_SIZE)?;
        self.input.validate(&|| format!("{}.input", self.name), self.hidden_size)?;
        size(at, "the number of layers", self.layers.len(), MAX_LAYERS)?;
        for (l, layer) in self.layers.iter().enumerate() {
            let at: Place<'_> = &|| format!("{}.layers.{l}", self.name);
            layer.validate(at, self.hidden_size)?;
            if let Some(other) = layer.shares_weights_of {
                let source = self.layers[..l].get(other);
                if !source.is_some_and(|source| source.weights_fit(layer)) {
                    return fail(
                        at,
                        format!(
                            "shares_weights_of is {other}, which is not an earlier layer of the \
                             same sizes with weights of its own"
                        ),
                    );
                }
            }
        }
        self.final_norm.map_or(Ok(()), |n| n.validate(&|| format!("{}.final_norm", self.name)))
    }
}

impl Input {
    fn validate(&self, at: Place<'_>, hidden_size: usize) -> Result<(), SpecError> {
        match self {
            Self::Tokens { vocab_size, positions, n_segments, scale, norm } => {
                size(at, "vocab_size", *vocab_size, MAX_SIZE)?;
                matrix(at, "the embedding table", *vocab_size, hidden_size)?;
                if *n_segments > MAX_SIZE {
                    return fail(at, format!("n_segments is {n_segments}, at most {MAX_SIZE}"));
                }
                matrix(at, "the segment table", *n_segments, hidden_size)?;
                match *positions {
                    AbsolutePositions::None => {}
                    AbsolutePositions::Learned { max_positions, offset } => {
                        size(at, "max_positions", max_positions, MAX_SIZE)?;
                        matrix(at, "the position table", max_positions, hidden_size)?;
                        if offset >= max_positions {
                            let rows = max_positions;
                            return fail(at, format!("offset {offset} of {rows} positions"));
                        }
                    }
                    AbsolutePositions::Sinusoidal { max_positions } => {
                        size(at, "max_positions", max_positions, MAX_POSITIONS)?;
                    }
                }
                positive(at, "scale", *scale)?;
                norm.map_or(Ok(()), |norm| norm.validate(at))
            }
            Self::Patches { image_size, patch_size, .. } => {
                size(at, "image_size", *image_size, 1 << 15)?;
                size(at, "patch_size", *patch_size, *image_size)?;
                if image_size % patch_size != 0 {
                    let problem = format!("patch_size {patch_size} does not divide {image_size}");
                    return fail(at, problem);
                }
                // At most 2^30 values of three channels per patch.
                matrix(at, "the patch stem", hidden_size, 3 * patch_size * patch_size)
            }
            Self::LogMel { n_mels, n_frames } => {
                size(at, "n_mels", *n_mels, 1 << 12)?;
                size(at, "n_frames", *n_frames, MAX_SIZE)
            }
        }
    }
}

impl Layer {
    fn validate(&self, at: Place<'_>, hidden_size: usize) -> Result<(), SpecError> {
        self.norm.validate(&|| format!("{}.norm", at()))?;
        self.attention.validate(&|| format!("{}.attention", at()), hidden_size)?;
        if let Some(attention) = &self.cross_attention {
            attention.validate(&|| format!("{}.cross_attention", at()), hidden_size)?;
        }
        let at: Place<'_> = &|| format!("{}.mlp", at());
        size(at, "intermediate_size", self.mlp.intermediate_size, MAX_SIZE)?;
        matrix(at, "a projection", self.mlp.intermediate_size, hidden_size)
    }

    /// Whether a later layer can use this one's weights.
    fn weights_fit(&self, user: &Self) -> bool {
        let sizes = |layer: &Self| {
            let a = &layer.attention;
            (a.n_heads, a.n_kv_heads, a.head_dim, a.qkv_bias, a.output_bias, a.qk_norm.is_some())
        };
        self.shares_weights_of.is_none()
            && sizes(self) == sizes(user)
            && self.mlp == user.mlp
            && self.norm == user.norm
            && self.norm_placement == user.norm_placement
            && self.cross_attention.is_some() == user.cross_attention.is_some()
            && self.layer_scale == user.layer_scale
    }
}

impl Norm {
    fn validate(&self, at: Place<'_>) -> Result<(), SpecError> {
        if self.eps.is_finite() && self.eps >= 0.0 {
            return Ok(());
        }
        fail(at, format!("eps is {}, a number from zero on is needed", self.eps))
    }
}

impl Attention {
    fn validate(&self, at: Place<'_>, hidden_size: usize) -> Result<(), SpecError> {
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
        positive(at, "scale", self.scale)?;
        if self.sliding_window == Some(0) {
            return fail(at, "sliding_window is 0");
        }
        self.soft_cap.map_or(Ok(()), |cap| positive(at, "soft_cap", cap))?;
        self.qk_norm.map_or(Ok(()), |norm| norm.validate(at))?;
        match &self.position {
            Position::None => Ok(()),
            Position::Rope(rope) => rope.validate(&|| format!("{}.position", at()), self.head_dim),
            Position::RelativeBuckets { n_buckets, max_distance } => {
                size(at, "n_buckets", *n_buckets, 1 << 16)?;
                size(at, "max_distance", *max_distance, MAX_POSITIONS)
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
            } => {
                positive(at, "factor", *factor)?;
                positive(at, "beta_fast", *beta_fast)?;
                positive(at, "beta_slow", *beta_slow)?;
                positive(at, "attention_factor", *attention_factor)?;
                size(at, "original_context_length", *original_context_length, MAX_POSITIONS)
            }
            RopeScaling::PerFrequency { factors, attention_factor } => {
                if factors.len() != self.dims / 2 {
                    let (found, expected) = (factors.len(), self.dims / 2);
                    return fail(at, format!("{expected} factors expected, {found} found"));
                }
                positive(at, "attention_factor", *attention_factor)?;
                factors.iter().try_for_each(|&f| positive(at, "a factor", f))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinglet::sample;

    fn attention(spec: &mut ModelSpec) -> &mut Attention {
        &mut spec.stacks[0].layers[0].attention
    }

    fn rope(spec: &mut ModelSpec) -> &mut Rope {
        match &mut attention(spec).position {
            Position::Rope(rope) => rope,
            _ => unreachable!("the sample rotates"),
        }
    }

    fn problem(change: impl FnOnce(&mut ModelSpec)) -> String {
        let mut spec = sample::meta().spec;
        spec.validate().unwrap();
        change(&mut spec);
        spec.validate().unwrap_err().to_string()
    }

    #[track_caller]
    fn check(expected: &str, change: impl FnOnce(&mut ModelSpec)) {
        let problem = problem(change);
        assert!(problem.ends_with(expected), "{problem}\nexpected {expected}");
    }

    #[test]
    fn the_network() {
        check("spec: TwoTowers has 2 stacks, 1 found", |s| s.topology = Topology::TwoTowers);
        check("spec: context_length is 0, possible are 1 to 268435456", |s| s.context_length = 0);
        check("spec: there is no head", |s| s.heads.clear());
        check("\"decoder\"", |s| {
            s.topology = Topology::EncoderDecoder;
            s.stacks.push(s.stacks[0].clone());
        });
        check("cross_attention: there is no other stack to attend to", |s| {
            s.stacks[0].layers[0].cross_attention = Some(attention(s).clone());
        });
        check("heads.1: size is 0, possible are 1 to 16777216", |s| {
            s.heads.push(Head::Projection { size: 0 });
        });
        check("heads.0: a language model needs a stack with a vocabulary", |s| {
            s.stacks[0].input =
                Input::Patches { image_size: 28, patch_size: 14, class_token: true };
        });
        check("heads.0: soft_cap is 0, a number above zero is needed", |s| {
            s.heads[0] = Head::LanguageModel { tied: true, bias: false, soft_cap: Some(0.0) };
        });
    }

    #[test]
    fn stacks_and_inputs() {
        check("\"../x\" is not 1 to 32 of a-z, 0-9, _", |s| s.stacks[0].name = "../x".to_owned());
        check("decoder: the number of layers is 0, possible are 1 to 4096", |s| {
            s.stacks[0].layers.clear();
        });
        check("decoder.input: vocab_size is 0, possible are 1 to 16777216", |s| {
            let Input::Tokens { vocab_size, .. } = &mut s.stacks[0].input else { return };
            *vocab_size = 0;
        });
        check("decoder.input: offset 2 of 2 positions", |s| {
            let Input::Tokens { positions, .. } = &mut s.stacks[0].input else { return };
            *positions = AbsolutePositions::Learned { max_positions: 2, offset: 2 };
        });
        check("decoder.input: patch_size 14 does not divide 30", |s| {
            s.stacks[0].input =
                Input::Patches { image_size: 30, patch_size: 14, class_token: true };
        });
        for own in [0, 1, usize::MAX] {
            let problem = problem(|s| s.stacks[0].layers[0].shares_weights_of = Some(own));
            assert!(problem.contains("not an earlier layer"), "{problem}");
        }
        check("decoder.final_norm: eps is NaN, a number from zero on is needed", |s| {
            s.stacks[0].final_norm.as_mut().unwrap().eps = f32::NAN;
        });
    }

    #[test]
    fn layers_that_share_weights() {
        let mut spec = sample::meta().spec;
        let mut user = spec.stacks[0].layers[0].clone();
        user.shares_weights_of = Some(0);
        spec.stacks[0].layers.push(user.clone());
        spec.validate().unwrap();
        // Not through a third layer, and not with another size.
        spec.stacks[0].layers.push(Layer { shares_weights_of: Some(1), ..user.clone() });
        assert!(spec.validate().is_err());
        spec.stacks[0].layers[2].shares_weights_of = Some(0);
        spec.validate().unwrap();
        spec.stacks[0].layers[2].mlp.intermediate_size += 1;
        assert!(spec.validate().is_err());
    }

    #[test]
    fn attention_and_positions() {
        check("attention: n_heads is 0, possible are 1 to 65536", |s| attention(s).n_heads = 0);
        check("3 key/value heads do not divide 8 heads", |s| {
            (attention(s).n_heads, attention(s).n_kv_heads) = (8, 3);
        });
        check("n_kv_heads is 4, possible are 1 to 2", |s| attention(s).n_kv_heads = 4);
        check("head_dim is 0, possible are 1 to 65536", |s| attention(s).head_dim = 0);
        check("n_heads * head_dim is 33554432, possible are 1 to 16777216", |s| {
            (attention(s).n_heads, attention(s).head_dim) = (1 << 16, 1 << 9);
        });
        check("scale is inf, a number above zero is needed", |s| {
            attention(s).scale = f32::INFINITY;
        });
        check("decoder.layers.0.attention: sliding_window is 0", |s| {
            attention(s).sliding_window = Some(0);
        });
        check("dims is 6, possible are 1 to 4", |s| rope(s).dims = 6);
        check("dims is 3, an even number is needed", |s| rope(s).dims = 3);
        check("theta is 0, a number above zero is needed", |s| rope(s).theta = 0.0);
        check("attention.position: 2 factors expected, 3 found", |s| {
            rope(s).scaling =
                RopeScaling::PerFrequency { factors: vec![1.0; 3], attention_factor: 1.0 };
        });
        check("a factor is 0, a number above zero is needed", |s| {
            rope(s).scaling =
                RopeScaling::PerFrequency { factors: vec![1.0, 0.0], attention_factor: 1.0 };
        });
        check("high_freq_factor - low_freq_factor is 0, a number above zero is needed", |s| {
            rope(s).scaling = RopeScaling::Llama3 {
                factor: 8.0,
                low_freq_factor: 1.0,
                high_freq_factor: 1.0,
                original_context_length: 8192,
            };
        });
        check("mlp: intermediate_size is 0, possible are 1 to 16777216", |s| {
            s.stacks[0].layers[0].mlp.intermediate_size = 0;
        });
    }

    #[test]
    fn sizes_that_multiply_to_more_than_memory() {
        // 2^24 x 2^24 x 4 bytes can be addressed on 64 bits, and not on 32.
        let mut spec = sample::meta().spec;
        spec.stacks[0].hidden_size = MAX_SIZE;
        let Input::Tokens { vocab_size, .. } = &mut spec.stacks[0].input else { return };
        *vocab_size = MAX_SIZE;
        assert_eq!(spec.validate().is_ok(), usize::BITS == 64);
    }
}
