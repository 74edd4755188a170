//! Heads bound to their tensors: pool, chain of dense layers, output.

use kinglet_formats::spec::{Activation, Pooling, Scores};

use crate::ops::{BoundNorm, Linears};
use crate::weights::Numbers;

/// Something the network offers.
#[derive(Debug)]
pub(crate) struct BoundHead {
    /// Number of the stack it reads.
    pub(crate) stack: usize,
    pub(crate) pool: Option<Pooling>,
    pub(crate) chain: Vec<BoundDense>,
    pub(crate) output: BoundOutput,
    /// Columns of the result.
    pub(crate) width: usize,
}

/// A dense layer: `norm(act(W x + b))`.
#[derive(Debug)]
pub(crate) struct BoundDense {
    pub(crate) linears: Linears,
    pub(crate) activation: Option<Activation>,
    pub(crate) norm: Option<BoundNorm>,
}

/// What comes out.
#[derive(Debug)]
pub(crate) enum BoundOutput {
    /// `[vocab_size]` logits.
    Logits {
        linears: Linears,
        scale: f32,
        soft_cap: Option<f32>,
        shortlist: Option<BoundShortlist>,
    },
    /// What the chain gives.
    Vector { normalize: bool },
    /// A logit for each label.
    Labels { scores: Scores },
    /// Logits that an answer begins and ends at a row.
    Span,
}

/// Which tokens may answer a source.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BoundShortlist {
    /// How many of the first tokens always may.
    pub(crate) n_frequent: usize,
    /// `[vocab_size + 1]`
    pub(crate) offsets: Numbers,
    /// `[n_words]`
    pub(crate) words: Numbers,
}

impl BoundHead {
    /// Bytes of weights read for one row.
    pub(super) fn bytes(&self) -> usize {
        let chain: usize = self.chain.iter().map(|dense| dense.linears.bytes()).sum();
        let output = match &self.output {
            BoundOutput::Logits { linears, .. } => linears.bytes(),
            _ => 0,
        };
        chain + output
    }
}
