//! A spec bound to the tensors of a file: everything is found and checked before the first step.

mod bind;
mod buckets;
mod disentangled;
mod head;
mod layer;
mod rope;
mod sizes;
mod waves;

pub(crate) use buckets::{Buckets, DistanceBias};
pub(crate) use disentangled::Disentangled;
pub(crate) use head::{BoundHead, BoundOutput, BoundPool, BoundQuery, BoundShortlist};
pub(crate) use layer::{
    BoundAttention, BoundBlock, BoundExperts, BoundGain, BoundLayer, BoundMixer, BoundMlp,
    BoundSsru, MixerWork, Projections, UpProjection,
};
pub(crate) use rope::RopeTable;
pub(crate) use sizes::Sizes;
pub(crate) use waves::Waves;

use kinglet_formats::kinglet::KingletFile;
use kinglet_formats::spec::{Activation, Convolution, ModelSpec, SampleInput};

use crate::error::Error;
use crate::ops::{BoundNorm, Linears};
use crate::weights::Table;

/// All stacks and heads, ready to run.
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) stacks: Vec<BoundStack>,
    pub(crate) heads: Vec<BoundHead>,
    /// Distinct rotations of all layers.
    pub(crate) ropes: Vec<RopeTable>,
    /// Largest widths of anything, for buffers.
    pub(crate) sizes: Sizes,
}

/// A stack ready to run.
#[derive(Debug)]
pub(crate) struct BoundStack {
    pub(crate) hidden_size: usize,
    pub(crate) input: BoundInput,
    pub(crate) layers: Vec<BoundLayer>,
    pub(crate) final_norm: Option<BoundNorm>,
    /// Whether no position sees a later one: keys and values then outlive a step.
    pub(crate) causal: bool,
    /// Number of the stack it attends to, if it does.
    pub(crate) memory: Option<usize>,
    /// Recurrent units, each with a state of the stack's width.
    pub(crate) n_states: usize,
    /// Longest sequence the weights can take.
    pub(crate) max_positions: usize,
}

/// What enters a stack.
#[derive(Debug)]
pub(crate) enum BoundInput {
    Tokens(BoundTokens),
    Patches(BoundPatches),
    Spectrogram(BoundSpectrogram),
    Samples(BoundSamples),
}

/// Token ids looked up in a table.
#[derive(Debug)]
pub(crate) struct BoundTokens {
    pub(crate) vocab_size: usize,
    /// Ids that may be looked up: one more where the one after the vocabulary stands for zeros.
    pub(crate) n_known: usize,
    /// Columns of the tables.
    pub(crate) width: usize,
    pub(crate) scale: f32,
    pub(crate) table: Table,
    pub(crate) positions: BoundPositions,
    /// Table and its rows; texts of one segment use row 0.
    pub(crate) segments: Option<(Table, usize)>,
    pub(crate) norm: Option<BoundNorm>,
    /// From `width` to the stack's.
    pub(crate) projection: Option<Linears>,
}

/// Positions added to embeddings.
#[derive(Debug)]
pub(crate) enum BoundPositions {
    None,
    /// Rows of a table, from this one on.
    Learned(Table, usize),
    /// Computed rows.
    Waves(Waves),
}

/// Patches of an image, after learned rows.
#[derive(Debug)]
pub(crate) struct BoundPatches {
    /// Rows of an image, leading ones included.
    pub(crate) n_rows: usize,
    pub(crate) n_leading: usize,
    /// Sides of the image and of a patch, in pixels.
    pub(crate) image_size: usize,
    pub(crate) patch_size: usize,
    pub(crate) patch_len: usize,
    pub(crate) projection: Linears,
    pub(crate) leading: Option<Table>,
    pub(crate) positions: Table,
    pub(crate) norm: Option<BoundNorm>,
}

/// A spectrogram through convolutions over time.
#[derive(Debug)]
pub(crate) struct BoundSpectrogram {
    /// Values of a frame.
    pub(crate) n_mels: usize,
    /// Frames of a whole spectrogram.
    pub(crate) n_frames: usize,
    pub(crate) convolutions: Vec<BoundConvolution>,
    pub(crate) activation: Activation,
    pub(crate) positions: Table,
}

/// Samples of sound through convolutions over time.
#[derive(Debug)]
pub(crate) struct BoundSamples {
    pub(crate) spec: SampleInput,
    /// `[channels, width * channels before]` each.
    pub(crate) convolutions: Vec<Linears>,
    /// Over all that the first one makes.
    pub(crate) norm: BoundNorm,
}

/// A convolution over time, whose input has zeros for its padding at either end.
#[derive(Debug)]
pub(crate) struct BoundConvolution {
    pub(crate) spec: Convolution,
    /// `[hidden_size, width * channels]`
    pub(crate) linears: Linears,
}

impl BoundSpectrogram {
    /// Frames that one row is made of, besides those that convolutions see beside them.
    pub(crate) fn frames_per_row(&self) -> usize {
        self.convolutions.iter().map(|convolution| convolution.spec.step).product()
    }

    /// Rows that are made of `len` values: of a whole spectrogram, or of one that is cut after a row;
    /// otherwise what it should be.
    pub(crate) fn n_rows(&self, len: usize) -> Result<usize, String> {
        let (n_frames, per_row) = (self.n_frames, self.frames_per_row());
        let row = per_row * self.n_mels;
        if len > 0 && len.is_multiple_of(row) && len <= n_frames * self.n_mels {
            return Ok(len / row);
        }
        let bands = self.n_mels;
        Err(format!(
            "its spectrograms have {n_frames} frames of {bands} or fewer, a multiple of {per_row}; {len} values are given"
        ))
    }

    /// Values of the frames that convolution number `j` reads of `n_frames`, zeros at both ends included.
    pub(crate) fn padded_len(&self, j: usize, n_frames: usize, hidden_size: usize) -> usize {
        let steps = self.convolutions[..j].iter().map(|c| c.spec.step);
        let n = steps.fold(n_frames, |n, step| n / step);
        let channels = if j == 0 { self.n_mels } else { hidden_size };
        (n + 2 * self.convolutions[j].spec.padding()) * channels
    }
}

impl BoundSamples {
    /// Rows that are made of `len` samples; otherwise how many it takes.
    pub(crate) fn n_rows(&self, len: usize) -> Result<usize, String> {
        let (least, most) = (self.spec.least_samples(), self.spec.max_samples);
        match (least..=most).contains(&len) {
            true => Ok(self.spec.n_rows(len)),
            false => Err(format!("it hears {least} to {most} samples at once, {len} are given")),
        }
    }
}

impl Network {
    /// Finds and checks every tensor that `spec` calls for; work is cut for `n_threads`, which
    /// changes no result.
    ///
    /// # Errors
    /// If a tensor is missing or wrong, or the spec asks for what is not implemented.
    pub(crate) fn bind(
        file: &KingletFile,
        spec: &ModelSpec,
        n_threads: usize,
    ) -> Result<Self, Error> {
        bind::Binder::new(file, spec, n_threads).network()
    }

    /// The head that gives logits, and its stack.
    pub(crate) fn logits(&self) -> Option<&BoundHead> {
        self.heads.iter().find(|head| matches!(head.output, BoundOutput::Logits { .. }))
    }

    /// The stack whose tokens are generated, if the network generates.
    pub(crate) fn generator(&self) -> Option<usize> {
        let stack = self.logits()?.stack;
        self.stacks[stack].causal.then_some(stack)
    }

    /// The stack that a text or an image enters first.
    pub(crate) fn entry(&self) -> usize {
        let last = self.stacks.len() - 1;
        self.stacks[last].memory.unwrap_or(last)
    }

    /// The first stack of which the input `is` of a kind, if there is one.
    pub(crate) fn reader(&self, is: impl Fn(&BoundInput) -> bool) -> Option<usize> {
        self.stacks.iter().position(|stack| is(&stack.input))
    }

    /// Bytes of weights read for one generated token: all matrices of the generating stack, and
    /// the head.
    pub(crate) fn decode_bytes(&self) -> usize {
        let stack = self.generator().unwrap_or(self.stacks.len() - 1);
        let layers: usize = self.stacks[stack].layers.iter().map(BoundLayer::bytes).sum();
        layers + self.logits().map_or(0, BoundHead::bytes)
    }
}

impl BoundStack {
    /// Rows of the vocabulary, 0 where there is none.
    pub(crate) fn vocab_size(&self) -> usize {
        match &self.input {
            BoundInput::Tokens(tokens) => tokens.vocab_size,
            BoundInput::Patches(_) | BoundInput::Spectrogram(_) | BoundInput::Samples(_) => 0,
        }
    }

    /// Token ids that may be fed: those of the vocabulary, and one that stands for zeros.
    pub(crate) fn n_known(&self) -> usize {
        match &self.input {
            BoundInput::Tokens(tokens) => tokens.n_known,
            BoundInput::Patches(_) | BoundInput::Spectrogram(_) | BoundInput::Samples(_) => 0,
        }
    }

    /// All attention blocks, in execution order.
    pub(crate) fn attentions(&self) -> impl Iterator<Item = &BoundAttention> {
        self.layers
            .iter()
            .flat_map(|layer| &layer.blocks)
            .flat_map(|block| &block.mixers)
            .filter_map(|mixer| match &mixer.work {
                MixerWork::Attention(attention) => Some(&**attention),
                _ => None,
            })
    }
}
