//! One step of the network: a batch of tokens through all layers.

mod attention;
mod batch;

pub(crate) use attention::{AttentionScratch, MAX_HEAD_DIM};
pub(crate) use batch::Batch;

use kinglet_formats::kinglet::{KingletFile, View};
use kinglet_formats::spec::{NormKind, NormPlacement};

use crate::error::Error;
use crate::kernels::Kernels;
use crate::kv_cache::KvCache;
use crate::linear::{Context, Ops, QuantizeScratch, WorkerScratch, floats};
use crate::memory::Room;
use crate::plan::{BoundLayer, BoundNorm, Network, UpProjection};
use crate::team::Team;

/// Rows in a work item of the functions that go row by row.
const ROWS_PER_ITEM: usize = 8;

/// Buffers of a step, sized once for batches of up to `capacity` tokens.
pub(crate) struct Scratch {
    capacity: usize,
    /// `[m][hidden_size]` residual stream.
    x: Vec<f32>,
    /// `[m][hidden_size]` input or output of a block.
    block: Vec<f32>,
    /// `[m][hidden_size]` output of a block after its norm.
    normed: Vec<f32>,
    /// `[m][q | k | v]`
    qkv: Vec<f32>,
    /// `[m][n_heads * head_dim]`
    attended: Vec<f32>,
    /// `[m][intermediate_size]`
    mlp: Vec<f32>,
    /// `[rope][m][cos | sin]`
    angles: Vec<Vec<f32>>,
    /// Partial results of attention when decoding.
    partials: Vec<f32>,
    quantized: QuantizeScratch,
    workers: Vec<WorkerScratch>,
}

impl Scratch {
    /// Buffers for batches of up to `capacity` tokens on `n_threads` threads.
    pub(crate) fn new(
        network: &Network,
        capacity: usize,
        n_threads: usize,
        room: &mut Room,
    ) -> Result<Self, Error> {
        let m = capacity;
        let angles = network.ropes.iter().map(|rope| room.zeroed(m * 2 * rope.half()));
        let angles = angles.collect::<Result<_, _>>()?;
        let workers =
            (0..n_threads).map(|_| WorkerScratch::new(AttentionScratch::of(network, room)?, room));
        let workers = workers.collect::<Result<_, _>>()?;
        Ok(Self {
            capacity,
            x: room.zeroed(m * network.hidden_size)?,
            block: room.zeroed(m * network.hidden_size)?,
            normed: room.zeroed(m * network.hidden_size)?,
            qkv: room.zeroed(m * network.max_qkv)?,
            attended: room.zeroed(m * network.max_attention)?,
            mlp: room.zeroed(m * network.max_intermediate)?,
            angles,
            partials: room.zeroed(attention::partials_len(network))?,
            quantized: QuantizeScratch::new(m, network.max_k, room)?,
            workers,
        })
    }

    /// Tokens that fit one step.
    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Rows `first ..` of the final hidden states `[m][hidden_size]`, after [`Step::run`].
    pub(crate) fn hidden(&self) -> &[f32] {
        &self.x
    }
}

/// Everything a step works on.
pub(crate) struct Step<'a> {
    pub(crate) file: &'a KingletFile,
    pub(crate) network: &'a Network,
    pub(crate) kernels: &'static Kernels,
    pub(crate) team: &'a Team,
    pub(crate) cache: &'a mut KvCache,
    pub(crate) scratch: &'a mut Scratch,
}

impl Step<'_> {
    /// Runs `batch` through all layers and the final norm and stores its keys and values.
    /// The hidden states are left in the scratch.
    ///
    /// `keep_going` is asked between layers; `false` ends the step early and returns `false`.
    pub(crate) fn run(
        &mut self,
        batch: &Batch,
        keep_going: &dyn Fn() -> bool,
    ) -> Result<bool, Error> {
        let vocab_size = self.network.vocab_size;
        if let Some(&id) = batch.tokens.iter().find(|&&id| id as usize >= vocab_size) {
            return Err(Error::TokenOutOfRange { id, vocab_size });
        }
        let team = self.team;
        team.enter(|crew| {
            let ctx = Context { crew, ops: Ops { kernels: self.kernels, file: self.file } };
            self.embed(&ctx, batch);
            self.angles(batch);
            for (i, layer) in self.network.layers.iter().enumerate() {
                if !keep_going() {
                    return false;
                }
                self.layer(&ctx, batch, i, layer);
            }
            if let Some(norm) = &self.network.final_norm {
                let m = batch.len();
                let hidden = self.network.hidden_size;
                let Scratch { x, block, .. } = &mut *self.scratch;
                apply_norm(&ctx, norm, &x[..m * hidden], &mut block[..m * hidden], hidden);
                std::mem::swap(x, block);
            }
            true
        })
    }

    /// Next-token logits `[rows.len()][vocab_size]` of hidden states in the scratch.
    pub(crate) fn logits(
        &mut self,
        rows: std::ops::Range<usize>,
        out: &mut [f32],
    ) -> Result<(), Error> {
        let Some(head) = &self.network.lm_head else {
            return Err(Error::WrongTask {
                task: "compute next-token logits",
                reason: "it has no language-model head".to_owned(),
            });
        };
        let hidden = self.network.hidden_size;
        let Scratch { x, quantized, workers, .. } = &mut *self.scratch;
        let x = &x[rows.start * hidden..rows.end * hidden];
        self.team.enter(|crew| {
            let ctx = Context { crew, ops: Ops { kernels: self.kernels, file: self.file } };
            let input = quantized.input(&ctx, x, head.linears.parts());
            head.linears.apply(&ctx, &input, workers, out);
        })?;
        if let Some(cap) = head.soft_cap {
            out.iter_mut().for_each(|x| *x = cap * (*x / cap).tanh());
        }
        check_finite("logits", out)
    }

    fn embed(&mut self, ctx: &Context<'_>, batch: &Batch) {
        let network = self.network;
        let ops = ctx.ops;
        let hidden = network.hidden_size;
        let m = batch.len();
        let Scratch { x, block, .. } = &mut *self.scratch;
        let (x, block) = (&mut x[..m * hidden], &mut block[..m * hidden]);
        ctx.crew.row_pairs((x, hidden), (block, hidden), ROWS_PER_ITEM, |first, x, tmp| {
            let rows = x.chunks_exact_mut(hidden).zip(tmp.chunks_exact_mut(hidden));
            for (row, (x, tmp)) in (first..).zip(rows) {
                table_row(ops.file, network.embed_tokens, batch.tokens[row] as usize, x);
                if network.embed_scale != 1.0 {
                    (ops.kernels.scale)(x, network.embed_scale);
                }
                if let Some((table, offset)) = network.embed_positions {
                    table_row(ops.file, table, batch.positions[row] as usize + offset, tmp);
                    (ops.kernels.add)(x, tmp);
                }
                if let Some(table) = network.embed_segments {
                    table_row(ops.file, table, 0, tmp);
                    (ops.kernels.add)(x, tmp);
                }
            }
        });
        if let Some(norm) = &network.embed_norm {
            apply_norm(ctx, norm, x, block, hidden);
            std::mem::swap(&mut self.scratch.x, &mut self.scratch.block);
        }
    }

    fn angles(&mut self, batch: &Batch) {
        for (rope, angles) in self.network.ropes.iter().zip(&mut self.scratch.angles) {
            let half = rope.half();
            for (&position, angles) in batch.positions.iter().zip(angles.chunks_exact_mut(2 * half))
            {
                let (cos, sin) = angles.split_at_mut(half);
                rope.angles(position, cos, sin);
            }
        }
    }

    fn layer(&mut self, ctx: &Context<'_>, batch: &Batch, index: usize, layer: &BoundLayer) {
        let ops = ctx.ops;
        let m = batch.len();
        let hidden = self.network.hidden_size;
        let len = m * hidden;
        let before = layer.placement != NormPlacement::Post;

        let Scratch { x, block, qkv, quantized, workers, .. } = &mut *self.scratch;
        let input = if before {
            let make = |row: usize, out: &mut [f32]| {
                norm_row(ops, &layer.attn_norm, &x[row * hidden..][..hidden], out);
            };
            quantized.made_input(ctx, &mut block[..len], layer.qkv.parts(), make)
        } else {
            quantized.input(ctx, &x[..len], layer.qkv.parts())
        };
        layer.qkv.apply(ctx, &input, workers, &mut qkv[..m * layer.qkv.width()]);

        attention::run(ctx, batch, index, layer, self.cache, self.scratch);

        let Scratch { x, block, normed, attended, mlp, quantized, workers, .. } =
            &mut *self.scratch;
        let (mut x, mut block) = (&mut x[..len], &mut block[..len]);
        let width = layer.attention.n_heads * layer.attention.head_dim;
        let input = quantized.input(ctx, &attended[..m * width], layer.o_proj.parts());
        if let Some(post_norm) = &layer.attn_post_norm {
            layer.o_proj.apply(ctx, &input, workers, block);
            add_normed(ctx, post_norm, block, &mut normed[..len], x, hidden);
        } else {
            layer.o_proj.accumulate(ctx, &input, workers, x);
        }

        // After a block the norm's output is the residual stream: the buffers change places, and
        // change back at the end of the layer.
        let norm = if before { &layer.mlp_norm } else { &layer.attn_norm };
        if !before {
            std::mem::swap(&mut x, &mut block);
        }
        let (from, to) = if before { (&*x, &mut *block) } else { (&*block, &mut *x) };
        let make = |row: usize, out: &mut [f32]| {
            norm_row(ops, norm, &from[row * hidden..][..hidden], out);
        };
        let width = layer.down_proj.parts()[0].k;
        let mlp = &mut mlp[..m * width];
        match &layer.up {
            UpProjection::Gated(pair) => {
                let input = quantized.made_input(ctx, to, &pair.parts(), make);
                pair.apply(ctx, &input, workers, mlp, |gate, up| {
                    (ops.kernels.activate)(layer.activation, gate);
                    (ops.kernels.mul)(gate, up);
                });
            }
            UpProjection::Plain(up) => {
                let input = quantized.made_input(ctx, to, up.parts(), make);
                up.apply_then(ctx, &input, workers, mlp, |out| {
                    for r in 0..out.rows() {
                        (ops.kernels.activate)(layer.activation, out.row(r));
                    }
                });
            }
        }
        let input = quantized.input(ctx, mlp, layer.down_proj.parts());
        if let Some(post_norm) = &layer.mlp_post_norm {
            layer.down_proj.apply(ctx, &input, workers, block);
            add_normed(ctx, post_norm, block, &mut normed[..len], x, hidden);
        } else {
            layer.down_proj.accumulate(ctx, &input, workers, x);
        }
        if !before {
            apply_norm(ctx, &layer.mlp_norm, x, block, hidden);
        }
    }
}

/// An error unless all `values` are finite. In integers, so that it costs next to nothing.
pub(crate) fn check_finite(what: &'static str, values: &[f32]) -> Result<(), Error> {
    let largest = values.iter().fold(0, |max: u32, x| max.max(x.abs().to_bits()));
    if largest < f32::INFINITY.to_bits() { Ok(()) } else { Err(Error::NotFinite { what }) }
}

/// `out = norm(x)`, row by row of `[m][width]`.
fn apply_norm(ctx: &Context<'_>, norm: &BoundNorm, x: &[f32], out: &mut [f32], width: usize) {
    let ops = ctx.ops;
    ctx.crew.rows(out, width, ROWS_PER_ITEM, |first, out| {
        let x = x[first * width..].chunks_exact(width);
        for (x, out) in x.zip(out.chunks_exact_mut(width)) {
            norm_row(ops, norm, x, out);
        }
    });
}

/// `x += norm(block)`, row by row of `[m][width]`; `normed` is overwritten.
fn add_normed(
    ctx: &Context<'_>,
    norm: &BoundNorm,
    block: &[f32],
    normed: &mut [f32],
    x: &mut [f32],
    width: usize,
) {
    let ops = ctx.ops;
    ctx.crew.row_pairs((x, width), (normed, width), ROWS_PER_ITEM, |first, x, normed| {
        let rows = x.chunks_exact_mut(width).zip(normed.chunks_exact_mut(width));
        for (block, (x, normed)) in block[first * width..].chunks_exact(width).zip(rows) {
            norm_row(ops, norm, block, normed);
            (ops.kernels.add)(x, normed);
        }
    });
}

fn norm_row(ops: Ops<'_>, norm: &BoundNorm, x: &[f32], out: &mut [f32]) {
    let weight = floats(ops.file, norm.weight);
    match norm.kind {
        NormKind::Rms => (ops.kernels.rms_norm)(x, weight, norm.eps, out),
        NormKind::Layer => {
            let bias = norm.bias.map_or(&[][..], |bias| floats(ops.file, bias));
            (ops.kernels.layer_norm)(x, weight, bias, norm.eps, out);
        }
    }
}

/// Row `row` of an embedding table `[rows, hidden_size]`.
fn table_row(file: &KingletFile, table: usize, row: usize, out: &mut [f32]) {
    match file.view(table) {
        View::I8(m) => m.row(row, out),
        View::F16(m) => m.row(row, out),
        View::F32 { data, .. } => {
            let start = row * out.len();
            out.copy_from_slice(&data[start..start + out.len()]);
        }
    }
}
