//! What enters the first layer of a stack.

use serde::{Deserialize, Serialize};

use super::{Activation, Norm, is_false, is_one, is_zero, one};

/// What enters the first layer of a stack.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Input {
    /// Token ids looked up in a table.
    Tokens(TokenInput),
    /// Square image patches through a linear stem.
    Patches(PatchInput),
    /// A spectrogram through convolutions over time.
    Spectrogram(SpectrogramInput),
    /// Samples of sound through convolutions over time.
    Samples(SampleInput),
}

/// Token ids looked up in `embed_tokens`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenInput {
    /// Rows of the embedding table.
    pub vocab_size: usize,
    /// Name of an earlier stack whose table this one uses (T5).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table_of: Option<String>,
    /// Width of the tables where it is not the stack's: what is looked up then passes through a
    /// projection (ALBERT, ELECTRA).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub width: Option<usize>,
    /// Positions added to the embeddings (rotary positions belong to attention).
    #[serde(default, skip_serializing_if = "AbsolutePositions::is_none")]
    pub positions: AbsolutePositions,
    /// Rows of the segment (token type) table, 0 for none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub n_segments: usize,
    /// Whether a token after the last of the vocabulary is known, which stands for zeros: what a
    /// decoder begins with, where that is no token (Marian).
    #[serde(default, skip_serializing_if = "is_false")]
    pub zero_start: bool,
    /// Factor on the token embeddings (Gemma: sqrt(hidden_size)).
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub scale: f32,
    /// Norm on the summed embeddings, before a projection (BERT).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub norm: Option<Norm>,
}

/// Square image patches through a linear stem, with learned positions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PatchInput {
    /// Side of the square input image in pixels.
    pub image_size: usize,
    /// Side of a patch in pixels; divides `image_size`.
    pub patch_size: usize,
    /// Values of a pixel.
    pub channels: usize,
    /// Whether the stem adds a bias.
    pub bias: bool,
    /// Learned rows before the patches: a class token, DeiT's distillation token.
    pub n_leading: usize,
    /// Norm on the rows before the first layer (CLIP).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub norm: Option<Norm>,
}

impl TokenInput {
    /// Token ids that may be looked up: those of the vocabulary, and the one that stands for zeros.
    pub fn n_known(&self) -> usize {
        self.vocab_size + usize::from(self.zero_start)
    }
}

impl PatchInput {
    /// Rows of an image: leading ones and patches.
    pub fn n_rows(&self) -> usize {
        let side = self.image_size / self.patch_size;
        self.n_leading + side * side
    }

    /// Values of a patch, in the order channel, y, x.
    pub fn patch_len(&self) -> usize {
        self.channels * self.patch_size * self.patch_size
    }
}

/// A log-mel spectrogram `[frames][n_mels]` through convolutions over time, each with a bias and
/// followed by the activation, with learned or stored positions added to the rows that come out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpectrogramInput {
    /// Values of a frame.
    pub n_mels: usize,
    /// The convolutions, first to last; each gives `hidden_size` channels.
    pub convolutions: Vec<Convolution>,
    /// After each convolution.
    pub activation: Activation,
    /// Rows of a whole spectrogram.
    pub max_positions: usize,
}

/// A convolution over time, padded with zeros by half its width at either end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Convolution {
    /// Frames that it sees at once: an odd number.
    pub width: usize,
    /// Frames from one place to the next.
    pub step: usize,
}

impl Convolution {
    /// Zeros before the first frame and after the last.
    pub fn padding(&self) -> usize {
        self.width / 2
    }
}

impl SpectrogramInput {
    /// Frames of a whole spectrogram.
    pub fn n_frames(&self) -> usize {
        self.convolutions.iter().fold(self.max_positions, |n, convolution| n * convolution.step)
    }
}

/// Samples of sound through convolutions over time, without zeros at the ends, and one norm between them:
/// the rows that come out have no positions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SampleInput {
    /// Samples a second.
    pub sample_rate: usize,
    /// Most samples of a sound.
    pub max_samples: usize,
    /// The convolutions, first to last; the last one gives `hidden_size` channels.
    pub convolutions: Vec<SampleConvolution>,
    /// Norm after the first convolution, over all that it makes of a sound, with a weight and a bias for
    /// each channel.
    pub norm: Norm,
}

/// A convolution over time with channels of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SampleConvolution {
    /// Places that it sees at once.
    pub width: usize,
    /// Places from one to the next.
    pub step: usize,
    /// Channels that it gives.
    pub channels: usize,
    /// Whether it adds a bias.
    pub bias: bool,
    /// After it.
    pub activation: Activation,
}

impl SampleConvolution {
    /// Places that it makes of `n`.
    pub fn places(&self, n: usize) -> usize {
        if n < self.width { 0 } else { (n - self.width) / self.step + 1 }
    }
}

impl SampleInput {
    /// Rows that are made of so many samples.
    pub fn n_rows(&self, n_samples: usize) -> usize {
        self.convolutions.iter().fold(n_samples, |n, convolution| convolution.places(n))
    }

    /// The fewest samples of which a row is made.
    pub fn least_samples(&self) -> usize {
        self.convolutions.iter().rev().fold(1, |n, c| (n - 1) * c.step + c.width)
    }
}

/// Positions added to the input embeddings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum AbsolutePositions {
    /// None.
    #[default]
    None,
    /// A table `embed_positions`, read at `position + offset` (RoBERTa: offset 2).
    Learned {
        /// Rows of the table.
        max_positions: usize,
        /// First row used.
        #[serde(default, skip_serializing_if = "is_zero")]
        offset: usize,
    },
    /// Computed waves `[sin(p f_i) | cos(p f_i)]`, half the width each, at `p = position + offset`
    /// (arXiv:1706.03762).
    Sinusoidal {
        /// Longest sequence.
        max_positions: usize,
        /// Place of the first row.
        #[serde(default, skip_serializing_if = "is_zero")]
        offset: usize,
        /// Whether the last of the `n` frequencies is 1e-4 itself, `f_i = 1e-4^(i / (n - 1))`, or
        /// would be the next: `f_i = 1e-4^(i / n)`.
        #[serde(default, skip_serializing_if = "is_false")]
        closed: bool,
    },
}

impl AbsolutePositions {
    fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }
}
