//! The buffers of a step, sized once; a model has one set, as its steps follow one another.

use super::Batch;
use super::attention::{self, AttentionScratch};
use crate::error::Error;
use crate::memory::Room;
use crate::network::Network;
use crate::ops::{ExpertRows, QuantizeScratch, WorkerScratch};

/// Buffers of a step of up to `capacity` rows.
#[derive(Debug, Default)]
pub(crate) struct Workspace {
    pub(super) capacity: usize,
    bytes: usize,
    /// The rows of the step.
    pub(crate) batch: Batch,
    /// `[m][hidden_size]` residual stream.
    pub(super) x: Vec<f32>,
    /// `[m][hidden_size]` normed input of a block.
    pub(super) block: Vec<f32>,
    /// `[m][hidden_size]` sum of a block's mixers, where it is not added to `x` at once.
    pub(super) sum: Vec<f32>,
    /// `[m][q | k | v]`
    pub(super) qkv: Vec<f32>,
    /// `[m][n_heads * head_dim]`
    pub(super) attended: Vec<f32>,
    /// `[m][n_heads * 2 n_buckets]` products of queries with the table that they meet.
    pub(super) of_queries: Vec<f32>,
    /// The same of keys.
    pub(super) of_keys: Vec<f32>,
    /// `[m][intermediate_size]`
    pub(super) mlp: Vec<f32>,
    /// `[frames + padding][channels]` of one spectrogram: what a convolution reads, and what it makes.
    pub(super) frames: [Vec<f32>; 2],
    /// `[m][n_experts]` logits of a router.
    pub(super) router: Vec<f32>,
    /// Rows at their experts.
    pub(super) experts: ExpertRows,
    /// `[rope][m][cos | sin]`
    pub(super) angles: Vec<Vec<f32>>,
    /// Partial results of attention of single rows.
    pub(super) partials: Vec<f32>,
    pub(super) quantized: QuantizeScratch,
    pub(super) workers: Vec<WorkerScratch>,
    pub(super) attention: Vec<AttentionScratch>,
}

impl Workspace {
    /// Buffers for steps of up to `capacity` rows on `n_threads` threads.
    pub(crate) fn new(
        network: &Network,
        capacity: usize,
        n_threads: usize,
        room: &mut Room,
    ) -> Result<Self, Error> {
        let m = capacity;
        let before = room.bytes();
        let sizes = &network.sizes;
        let angles =
            network.ropes.iter().map(|rope| room.zeroed(m.saturating_mul(2 * rope.half())));
        let angles = angles.collect::<Result<_, _>>()?;
        let workers = (0..n_threads).map(|_| WorkerScratch::new(room)).collect::<Result<_, _>>()?;
        let attention = (0..n_threads).map(|_| AttentionScratch::of(sizes, room));
        let attention = attention.collect::<Result<_, _>>()?;
        let mut rows = |width: usize| room.zeroed(m.saturating_mul(width));
        let (x, block, sum) = (rows(sizes.hidden)?, rows(sizes.hidden)?, rows(sizes.hidden)?);
        let (qkv, attended) = (rows(sizes.qkv)?, rows(sizes.attention)?);
        let (of_queries, of_keys) = (rows(sizes.positions)?, rows(sizes.positions)?);
        let (mlp, router) = (rows(sizes.mlp)?, rows(sizes.experts)?);
        let [read, made] = sizes.frames;
        let frames = [room.zeroed(read)?, room.zeroed(made)?];
        let mut workspace = Self {
            capacity,
            bytes: 0,
            batch: if room.is_plan() { Batch::default() } else { Batch::with_capacity(m) },
            x,
            block,
            sum,
            qkv,
            attended,
            of_queries,
            of_keys,
            mlp,
            frames,
            router,
            experts: ExpertRows::new(
                m,
                sizes.experts,
                sizes.experts_used,
                sizes.hidden,
                sizes.expert,
                room,
            )?,
            angles,
            partials: room.zeroed(attention::partials_len(network))?,
            quantized: QuantizeScratch::new(m, sizes.k, room)?,
            workers,
            attention,
        };
        workspace.bytes = room.bytes() - before;
        Ok(workspace)
    }

    /// Bytes of all buffers.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Rows that fit one step.
    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }
}
