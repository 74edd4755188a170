//! Stacks, inputs and layers.

use super::*;

impl ModelSpec {
    /// Checks that the description makes sense: sizes not zero and bounded, heads that divide,
    /// numbers finite, stacks that exist. A spec that passes can still ask for what a runtime does
    /// not implement.
    ///
    /// # Errors
    /// The first thing that is wrong, and where.
    pub fn validate(&self) -> Result<(), SpecError> {
        let root: Place<'_> = &|| "spec".to_owned();
        size(root, "the number of stacks", self.stacks.len(), 8)?;
        size(root, "context_length", self.context_length, MAX_POSITIONS)?;
        for (i, stack) in self.stacks.iter().enumerate() {
            stack.validate(i, &self.stacks[..i])?;
        }
        if self.heads.is_empty() {
            return fail(root, "there is no head");
        }
        self.heads.iter().enumerate().try_for_each(|(i, head)| self.validate_head(i, head))
    }
}

impl Stack {
    fn validate(&self, i: usize, earlier: &[Self]) -> Result<(), SpecError> {
        let at: Place<'_> = &|| format!("stacks.{i}");
        let letters = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        if !(1..=32).contains(&self.name.len()) || !self.name.bytes().all(letters) {
            return fail(at, format!("its name {:?} is not 1 to 32 of a-z, 0-9, _", self.name));
        }
        if earlier.iter().any(|other| other.name == self.name) {
            return fail(at, format!("two stacks are called {:?}", self.name));
        }
        let at: Place<'_> = &|| self.name.clone();
        size(at, "hidden_size", self.hidden_size, MAX_SIZE)?;
        self.input.validate(&|| format!("{}.input", self.name), self.hidden_size, earlier)?;
        size(at, "the number of layers", self.layers.len(), MAX_LAYERS)?;
        for (l, layer) in self.layers.iter().enumerate() {
            let at: Place<'_> = &|| format!("{}.layers.{l}", self.name);
            size(at, "the number of blocks", layer.blocks.len(), 8)?;
            for block in &layer.blocks {
                block.validate(
                    &|| format!("{}.{}", at(), block.name()),
                    self.hidden_size,
                    earlier,
                )?;
            }
            if layer.names_collide() {
                return fail(at, "two mixers of a kind have the same tensors");
            }
            if let Some(other) = layer.weights_of {
                let fits = |source: &Layer| {
                    source.weights_of.is_none() && source.tensor_shape() == layer.tensor_shape()
                };
                if !self.layers[..l].get(other).is_some_and(fits) {
                    return fail(
                        at,
                        format!(
                            "weights_of is {other}, which is not an earlier layer of the same \
                             sizes with weights of its own"
                        ),
                    );
                }
            }
        }
        let mut buckets = self.attentions().filter_map(|a| match a.position {
            Position::RelativeBuckets { n_buckets, by_layer: false, .. } => {
                Some((n_buckets, a.n_heads))
            }
            _ => None,
        });
        if let Some(first) = buckets.next()
            && buckets.any(|other| other != first)
        {
            return fail(at, "layers that share a table of buckets differ in buckets or heads");
        }
        norm(&|| format!("{}.final_norm", self.name), self.final_norm.as_ref())
    }
}

impl Input {
    fn validate(
        &self,
        at: Place<'_>,
        hidden_size: usize,
        earlier: &[Stack],
    ) -> Result<(), SpecError> {
        match self {
            Self::Tokens(tokens) => tokens.validate(at, hidden_size, earlier),
            Self::Patches(patches) => {
                size(at, "image_size", patches.image_size, 1 << 15)?;
                size(at, "patch_size", patches.patch_size, patches.image_size.min(1 << 10))?;
                size(at, "channels", patches.channels, 16)?;
                let PatchInput { image_size, patch_size, .. } = *patches;
                if image_size % patch_size != 0 {
                    let problem = format!("patch_size {patch_size} does not divide {image_size}");
                    return fail(at, problem);
                }
                if patches.n_leading > 1 << 10 {
                    return fail(at, format!("n_leading is {}, at most 1024", patches.n_leading));
                }
                matrix(at, "the patch stem", hidden_size, patches.patch_len())?;
                matrix(at, "the position table", patches.n_rows(), hidden_size)?;
                norm(at, patches.norm.as_ref())
            }
            Self::Spectrogram(spectrogram) => spectrogram.validate(at, hidden_size),
            Self::Samples(samples) => samples.validate(at, hidden_size),
        }
    }
}

impl SampleInput {
    fn validate(&self, at: Place<'_>, hidden_size: usize) -> Result<(), SpecError> {
        size(at, "sample_rate", self.sample_rate, 1 << 20)?;
        size(at, "max_samples", self.max_samples, MAX_SIZE)?;
        size(at, "the number of convolutions", self.convolutions.len(), 8)?;
        let (mut places, mut channels) = (self.max_samples, 1);
        for convolution in &self.convolutions {
            let SampleConvolution { width, step, .. } = *convolution;
            size(at, "width", width, 1 << 12)?;
            size(at, "step", step, width)?;
            size(at, "channels", convolution.channels, MAX_SIZE)?;
            matrix(at, "a convolution", convolution.channels, width.saturating_mul(channels))?;
            (places, channels) = (convolution.places(places), convolution.channels);
            size(at, "the number of places", places, MAX_SIZE)?;
            matrix(at, "what a convolution makes", places, channels)?;
        }
        if channels != hidden_size {
            return fail(at, format!("{channels} channels enter a stack of {hidden_size}"));
        }
        norm(at, Some(&self.norm))
    }
}

impl SpectrogramInput {
    fn validate(&self, at: Place<'_>, hidden_size: usize) -> Result<(), SpecError> {
        size(at, "n_mels", self.n_mels, 1 << 12)?;
        size(at, "the number of convolutions", self.convolutions.len(), 8)?;
        size(at, "max_positions", self.max_positions, MAX_SIZE)?;
        let (mut frames, mut channels) = (self.max_positions, self.n_mels);
        for Convolution { width, step } in self.convolutions.iter().rev().copied() {
            size(at, "width", width, 63)?;
            size(at, "step", step, width)?;
            if width % 2 == 0 {
                return fail(at, format!("width is {width}, an odd number is needed"));
            }
            frames = frames.saturating_mul(step);
            // With the zeros at both ends.
            size(at, "the number of frames", frames.saturating_add(2 * width), MAX_SIZE)?;
        }
        for Convolution { width, .. } in &self.convolutions {
            matrix(at, "a convolution", hidden_size, width * channels)?;
            matrix(at, "the frames", frames.saturating_add(2 * width), channels)?;
            channels = hidden_size;
        }
        matrix(at, "the position table", self.max_positions, hidden_size)
    }
}

impl TokenInput {
    fn validate(
        &self,
        at: Place<'_>,
        hidden_size: usize,
        earlier: &[Stack],
    ) -> Result<(), SpecError> {
        size(at, "vocab_size", self.vocab_size, MAX_SIZE)?;
        if let Some(width) = self.width {
            size(at, "width", width, MAX_SIZE)?;
            matrix(at, "the projection of embeddings", hidden_size, width)?;
        }
        let width = self.width.unwrap_or(hidden_size);
        matrix(at, "the embedding table", self.vocab_size, width)?;
        if let Some(name) = &self.table_of {
            let fits = |stack: &Stack| match &stack.input {
                Input::Tokens(tokens) => {
                    tokens.table_of.is_none()
                        && tokens.vocab_size == self.vocab_size
                        && tokens.width.unwrap_or(stack.hidden_size) == width
                }
                _ => false,
            };
            if !earlier.iter().any(|stack| stack.name == *name && fits(stack)) {
                return fail(at, format!("no earlier stack {name:?} has a table of that size"));
            }
        }
        if self.n_segments > MAX_SIZE {
            return fail(at, format!("n_segments is {}, at most {MAX_SIZE}", self.n_segments));
        }
        matrix(at, "the segment table", self.n_segments, width)?;
        match self.positions {
            AbsolutePositions::None => {}
            AbsolutePositions::Learned { max_positions, offset } => {
                size(at, "max_positions", max_positions, MAX_SIZE)?;
                matrix(at, "the position table", max_positions, width)?;
                if offset >= max_positions {
                    return fail(at, format!("offset {offset} of {max_positions} positions"));
                }
            }
            AbsolutePositions::Sinusoidal { max_positions, offset, closed: _ } => {
                // They are computed once, for all positions.
                size(at, "max_positions", max_positions, MAX_WAVES)?;
                size(at, "offset + 1", offset.saturating_add(1), MAX_WAVES)?;
                matrix(at, "the position table", max_positions, width)?;
                if !width.is_multiple_of(2) || width < 4 {
                    return fail(at, format!("sine and cosine waves do not share {width} columns"));
                }
            }
        }
        positive(at, "scale", self.scale)?;
        norm(at, self.norm.as_ref())
    }
}

impl Layer {
    fn mixers(&self) -> impl Iterator<Item = &Mixer> {
        self.blocks.iter().flat_map(|block| &block.mixers)
    }

    /// Whether two of its tensors would have one name. An MLP may stand beside experts, as only
    /// their norms are called alike.
    fn names_collide(&self) -> bool {
        let kinds = self.mixers().map(|mixer| (mixer.kind.name(), mixer.kind.is_experts()));
        let norms = self.blocks.iter().flat_map(|block| {
            let normed = block.mixers.iter().skip(1).filter(|mixer| mixer.pre.is_some());
            [block.name()].into_iter().chain(normed.map(|mixer| mixer.kind.name()))
        });
        repeats(kinds.collect()) || repeats(norms.collect())
    }

    /// What decides names and sizes of the layer's tensors.
    fn tensor_shape(&self) -> Vec<Block> {
        let mut blocks = self.blocks.clone();
        for mixer in blocks.iter_mut().flat_map(|block| &mut block.mixers) {
            if let MixerKind::Attention(a) = &mut mixer.kind {
                (a.scale, a.causal, a.sliding_window, a.soft_cap) = (1.0, false, None, None);
                // All others have no tensors in a layer.
                if !matches!(a.position, Position::Disentangled { .. }) {
                    a.position = Position::None;
                }
            }
        }
        blocks
    }
}

fn repeats<T: Ord>(mut names: Vec<T>) -> bool {
    names.sort_unstable();
    names.windows(2).any(|pair| pair[0] == pair[1])
}

impl Block {
    fn validate(
        &self,
        at: Place<'_>,
        hidden_size: usize,
        earlier: &[Stack],
    ) -> Result<(), SpecError> {
        size(at, "the number of mixers", self.mixers.len(), 4)?;
        for one in [&self.pre, &self.post, &self.after] {
            norm(at, one.as_ref())?;
        }
        if let Gain::Scalar { factor } = self.gain
            && !factor.is_finite()
        {
            return fail(at, format!("gain is {factor}"));
        }
        if self.pre.is_some() && self.mixers.iter().any(|mixer| mixer.pre.is_some()) {
            return fail(at, "the block and a mixer both norm their input");
        }
        for mixer in &self.mixers {
            norm(at, mixer.pre.as_ref())?;
            match &mixer.kind {
                MixerKind::Attention(attention) => attention.validate(at, hidden_size, earlier)?,
                MixerKind::Mlp(mlp) => {
                    size(at, "intermediate_size", mlp.intermediate_size, MAX_SIZE)?;
                    matrix(at, "a projection", mlp.intermediate_size, hidden_size)?;
                    if mlp.output_gate && (mlp.bias || mlp.output_bias) {
                        return fail(at, "an MLP with a gate on its output has biases");
                    }
                }
                MixerKind::Ssru => matrix(at, "a projection", hidden_size, hidden_size)?,
                MixerKind::Experts(experts) => {
                    size(at, "n_experts", experts.n_experts, 1 << 12)?;
                    size(at, "n_used", experts.n_used, experts.n_experts)?;
                    size(at, "intermediate_size", experts.intermediate_size, MAX_SIZE)?;
                    let Experts { n_experts, intermediate_size, .. } = *experts;
                    let inner = n_experts.saturating_mul(intermediate_size);
                    size(at, "all experts together", inner, 1 << 28)?;
                    matrix(at, "the experts", inner, hidden_size)?;
                    let outer = n_experts.saturating_mul(hidden_size);
                    matrix(at, "the experts", outer, intermediate_size)?;
                }
            }
        }
        Ok(())
    }
}
