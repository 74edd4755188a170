//! The largest widths in a network: what buffers must hold.

use super::{BoundInput, MixerWork, Network, Projections, UpProjection};
use crate::ops::Linears;

/// Largest widths of anything in a network.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sizes {
    /// Residual stream.
    pub(crate) hidden: usize,
    /// Input of any matrix.
    pub(crate) k: usize,
    /// Joint output of q, k and v, or of keys and values.
    pub(crate) qkv: usize,
    /// Output of attention, before its projection.
    pub(crate) attention: usize,
    /// Between the projections of an MLP, or of a head's chain.
    pub(crate) mlp: usize,
    /// Rows of all heads' tables of positions.
    pub(crate) positions: usize,
    /// Query heads of a key/value head.
    pub(crate) heads_per_kv: usize,
    /// Width of a head.
    pub(crate) head_dim: usize,
    /// Logits of a router or a gate, and experts for each token.
    pub(crate) experts: usize,
    pub(crate) experts_used: usize,
    /// Frames of a whole spectrogram, and what convolutions make of them, by turns.
    pub(crate) frames: [usize; 2],
    /// Between the projections of an expert.
    pub(crate) expert: usize,
}

impl Sizes {
    pub(super) fn of(network: &Network) -> Self {
        let mut sizes = Self::default();
        for stack in &network.stacks {
            sizes.hidden = sizes.hidden.max(stack.hidden_size);
            match &stack.input {
                BoundInput::Tokens(tokens) => {
                    sizes.hidden = sizes.hidden.max(tokens.width);
                    tokens.projection.iter().for_each(|linears| sizes.input_of(linears));
                }
                BoundInput::Samples(_) => {}
                BoundInput::Patches(patches) => sizes.input_of(&patches.projection),
                BoundInput::Spectrogram(spectrogram) => {
                    for (j, convolution) in spectrogram.convolutions.iter().enumerate() {
                        sizes.input_of(&convolution.linears);
                        let len =
                            spectrogram.padded_len(j, spectrogram.n_frames, stack.hidden_size);
                        let longest = &mut sizes.frames[j % 2];
                        *longest = len.max(*longest);
                    }
                }
            }
            if let BoundInput::Samples(samples) = &stack.input {
                let mut places = samples.spec.max_samples;
                let made = samples.spec.convolutions.iter().zip(&samples.convolutions);
                for (j, (convolution, linears)) in made.enumerate() {
                    sizes.input_of(linears);
                    places = convolution.places(places);
                    let longest = &mut sizes.frames[j % 2];
                    *longest = (places * convolution.channels).max(*longest);
                }
            }
            for mixer in stack.layers.iter().flat_map(|l| &l.blocks).flat_map(|b| &b.mixers) {
                sizes.mixer(&mixer.work);
            }
        }
        for head in &network.heads {
            if let Some(query) = head.pool.as_ref().and_then(|pool| pool.query.as_ref()) {
                for linears in query.linears() {
                    sizes.input_of(linears);
                    sizes.mlp = sizes.mlp.max(linears.width());
                }
            }
            for dense in &head.chain {
                sizes.input_of(&dense.linears);
                let width = dense.linears.width();
                sizes.mlp = sizes.mlp.max(width);
                sizes.hidden = sizes.hidden.max(width);
            }
            if let super::BoundOutput::Logits { linears, .. } = &head.output {
                sizes.input_of(linears);
            }
        }
        sizes
    }

    fn input_of(&mut self, linears: &Linears) {
        self.k = linears.parts().iter().map(|part| part.k).fold(self.k, usize::max);
    }

    fn mixer(&mut self, work: &MixerWork) {
        match work {
            MixerWork::Attention(attention) => {
                match &attention.projections {
                    Projections::Own(qkv) => {
                        self.input_of(qkv);
                        self.qkv = self.qkv.max(qkv.width());
                    }
                    Projections::Other { q, kv } => {
                        self.input_of(q);
                        self.input_of(kv);
                        self.qkv = self.qkv.max(q.width()).max(kv.width());
                    }
                }
                self.input_of(&attention.o_proj);
                let a = &attention.spec;
                self.attention = self.attention.max(a.q_width());
                let positions = attention.disentangled.as_ref().map_or(0, |d| d.queries.rows);
                self.positions = self.positions.max(positions);
                self.heads_per_kv = self.heads_per_kv.max(a.n_heads / a.n_kv_heads);
                self.head_dim = self.head_dim.max(a.head_dim);
            }
            MixerWork::Mlp(mlp) => {
                match &mlp.up {
                    UpProjection::Gated(pair) => {
                        self.k = pair.parts().iter().map(|part| part.k).fold(self.k, usize::max);
                    }
                    UpProjection::Plain(up) => self.input_of(up),
                }
                self.input_of(&mlp.down_proj);
                if mlp.output_gate.is_some() {
                    self.experts = self.experts.max(1);
                }
                self.mlp = self.mlp.max(mlp.width());
            }
            MixerWork::Ssru(unit) => {
                self.input_of(&unit.projections);
                self.qkv = self.qkv.max(unit.projections.width());
            }
            MixerWork::Experts(experts) => {
                self.input_of(&experts.router);
                self.experts = self.experts.max(experts.weights.n_experts);
                self.experts_used = self.experts_used.max(experts.weights.n_used);
                self.expert = self.expert.max(experts.weights.inner());
            }
        }
    }
}
