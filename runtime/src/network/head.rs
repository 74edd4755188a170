//! Heads bound to their tensors: pool, chain of dense layers, output.

use kinglet_formats::spec::{Activation, Pooling, Scores, Similarity};

use crate::ops::{BoundNorm, Linears};
use crate::weights::{Numbers, Vector};

/// Something the network offers.
#[derive(Clone, Debug)]
pub(crate) struct BoundHead {
    /// Number of the stack it reads.
    pub(crate) stack: usize,
    pub(crate) pool: Option<BoundPool>,
    pub(crate) chain: Vec<BoundDense>,
    pub(crate) output: BoundOutput,
    /// Columns of the result.
    pub(crate) width: usize,
}

/// How rows become one.
#[derive(Clone, Debug)]
pub(crate) struct BoundPool {
    pub(crate) kind: Pooling,
    /// Columns of what a sequence's rows become before `query` has been applied.
    pub(crate) width: usize,
    /// Rows of an image before its patches.
    pub(crate) n_leading: usize,
    /// Where a learned query attends to the rows.
    pub(crate) query: Option<BoundQuery>,
}

/// The attention of a learned query, and the feed-forward block behind it.
#[derive(Clone, Debug)]
pub(crate) struct BoundQuery {
    pub(crate) n_heads: usize,
    /// `[n_heads][hidden_size]`
    pub(crate) scores: Vector,
    pub(crate) v_proj: Linears,
    pub(crate) o_proj: Linears,
    pub(crate) norm: BoundNorm,
    pub(crate) up_proj: Linears,
    pub(crate) activation: Activation,
    pub(crate) down_proj: Linears,
}

impl BoundQuery {
    /// All matrices.
    pub(super) fn linears(&self) -> [&Linears; 4] {
        [&self.v_proj, &self.o_proj, &self.up_proj, &self.down_proj]
    }
}

/// A dense layer: `norm(act(W x + b))`.
#[derive(Clone, Debug)]
pub(crate) struct BoundDense {
    pub(crate) linears: Linears,
    pub(crate) activation: Option<Activation>,
    pub(crate) norm: Option<BoundNorm>,
}

/// What comes out.
#[derive(Clone, Debug)]
pub(crate) enum BoundOutput {
    /// `[vocab_size]` logits.
    Logits {
        linears: Linears,
        scale: f32,
        soft_cap: Option<f32>,
        shortlist: Option<BoundShortlist>,
    },
    /// What the chain gives.
    Vector { normalize: bool, similarity: Option<Similarity> },
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
    /// The same, whose vectors are not scaled to length one.
    pub(crate) fn unscaled(&self) -> Self {
        let mut head = self.clone();
        if let BoundOutput::Vector { normalize, .. } = &mut head.output {
            *normalize = false;
        }
        head
    }

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
