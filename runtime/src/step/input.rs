//! What enters the first layer: rows of tables, patches or spectrograms through their stems.

use kinglet_formats::spec::Convolution;

use super::{Step, Workspace};
use crate::kernels::TileMut;
use crate::network::{BoundInput, BoundPatches, BoundPositions, BoundSpectrogram, BoundTokens};
use crate::ops::{Context, ROWS_PER_ITEM, apply_norm};

impl Step<'_, '_> {
    /// Fills the residual stream.
    pub(super) fn embed(&mut self, ctx: &Context<'_>) {
        let stack = self.stack;
        match &stack.input {
            BoundInput::Tokens(tokens) => self.embed_tokens(ctx, tokens),
            BoundInput::Patches(patches) => self.embed_patches(ctx, patches),
            BoundInput::Spectrogram(spectrogram) => self.embed_spectrograms(ctx, spectrogram),
            BoundInput::Samples(samples) => self.embed_samples(ctx, samples),
        }
    }

    fn embed_tokens(&mut self, ctx: &Context<'_>, tokens: &BoundTokens) {
        let ops = ctx.ops;
        let width = tokens.width;
        let Workspace { batch, x, block, .. } = &mut *self.workspace;
        let len = batch.len() * width;
        let (rows, other) = (&mut x[..len], &mut block[..len]);
        ctx.crew.row_pairs((rows, width), (other, width), ROWS_PER_ITEM, |first, x, tmp| {
            let rows = x.chunks_exact_mut(width).zip(tmp.chunks_exact_mut(width));
            for (row, (x, tmp)) in (first..).zip(rows) {
                match batch.tokens[row] as usize {
                    id if id < tokens.vocab_size => tokens.table.row(ops.file, id, x),
                    _ => x.fill(0.0),
                }
                if tokens.scale != 1.0 {
                    (ops.kernels.scale)(x, tokens.scale);
                }
                let position = batch.positions[row] as usize;
                match &tokens.positions {
                    BoundPositions::None => {}
                    BoundPositions::Learned(table, offset) => {
                        table.row(ops.file, position + offset, tmp);
                        (ops.kernels.add)(x, tmp);
                    }
                    BoundPositions::Waves(waves) => (ops.kernels.add)(x, waves.row(position)),
                }
                if let Some((table, _)) = tokens.segments {
                    table.row(ops.file, batch.type_ids[row] as usize, tmp);
                    (ops.kernels.add)(x, tmp);
                }
            }
        });
        if let Some(norm) = &tokens.norm {
            apply_norm(ctx, norm, &x[..len], &mut block[..len], width);
            std::mem::swap(x, block);
        }
        if let Some(projection) = &tokens.projection {
            let Workspace { batch, x, block, quantized, workers, .. } = &mut *self.workspace;
            let input = quantized.input(ctx, &x[..len], projection.parts());
            let wide = &mut block[..batch.len() * projection.width()];
            projection.apply(ctx, &input, workers, wide);
            std::mem::swap(x, block);
        }
    }

    /// Leading rows from their table, the others from patches; positions are added to all.
    fn embed_patches(&mut self, ctx: &Context<'_>, patches: &BoundPatches) {
        let ops = ctx.ops;
        let hidden = self.stack.hidden_size;
        let Workspace { batch, x, block, quantized, workers, .. } = &mut *self.workspace;
        let len = batch.len() * hidden;
        let projection = &patches.projection;
        let image_len = (patches.n_rows - patches.n_leading) * patches.patch_len;
        for (segment, image) in batch.segments.iter().zip(batch.patches.chunks_exact(image_len)) {
            let input = quantized.input(ctx, image, projection.parts());
            let rows = segment.rows.start + patches.n_leading..segment.rows.end;
            let out = &mut x[rows.start * hidden..rows.end * hidden];
            projection.apply(ctx, &input, workers, out);
        }
        let (rows, other) = (&mut x[..len], &mut block[..len]);
        ctx.crew.row_pairs((rows, hidden), (other, hidden), ROWS_PER_ITEM, |first, x, tmp| {
            let rows = x.chunks_exact_mut(hidden).zip(tmp.chunks_exact_mut(hidden));
            for (row, (x, tmp)) in (first..).zip(rows) {
                let position = batch.positions[row] as usize;
                if let Some(leading) = patches.leading.filter(|_| position < patches.n_leading) {
                    leading.row(ops.file, position, x);
                }
                patches.positions.row(ops.file, position, tmp);
                (ops.kernels.add)(x, tmp);
            }
        });
        if let Some(norm) = &patches.norm {
            apply_norm(ctx, norm, &x[..len], &mut block[..len], hidden);
            std::mem::swap(x, block);
        }
    }

    /// Frames through the convolutions, of which the last one makes the rows; positions are added.
    fn embed_spectrograms(&mut self, ctx: &Context<'_>, spectrogram: &BoundSpectrogram) {
        let ops = ctx.ops;
        let hidden = self.stack.hidden_size;
        let Workspace { batch, x, block, frames, quantized, workers, capacity, .. } =
            &mut *self.workspace;
        let len = batch.len() * hidden;
        let activate = |out: &mut TileMut<'_>| {
            for r in 0..out.rows() {
                (ops.kernels.activate)(spectrogram.activation, out.row(r));
            }
        };
        let mut rest = &batch.frames[..];
        for segment in &batch.segments {
            let n_frames = segment.rows.len() * spectrogram.frames_per_row();
            let given;
            (given, rest) = rest.split_at(n_frames * spectrogram.n_mels);
            let [read, made] = frames;
            let (mut read, mut made) = (read, made);
            let mut channels = spectrogram.n_mels;
            pad(read, given, spectrogram.convolutions[0].spec.padding() * channels);
            for (j, convolution) in spectrogram.convolutions.iter().enumerate() {
                let Convolution { width, step } = convolution.spec;
                let next = spectrogram.convolutions.get(j + 1).map(|next| next.spec.padding());
                let padded = spectrogram.padded_len(j, n_frames, hidden);
                let n = (padded / channels - 2 * convolution.spec.padding()) / step;
                let out = match next {
                    Some(padding) => {
                        let padding = padding * hidden;
                        made[..padding].fill(0.0);
                        made[padding + n * hidden..][..padding].fill(0.0);
                        &mut made[padding..][..n * hidden]
                    }
                    None => &mut x[segment.rows.start * hidden..segment.rows.end * hidden],
                };
                // As many places at a time as there is room for.
                for (part, out) in out.chunks_mut(*capacity * hidden).enumerate() {
                    let stride = step * channels;
                    let rows = out.len() / hidden;
                    let first = part * *capacity * stride;
                    let seen = &read[first..][..(rows - 1) * stride + width * channels];
                    let linears = &convolution.linears;
                    let input = quantized.overlapping(ctx, seen, stride, linears.parts());
                    linears.apply_then(ctx, &input, workers, out, activate);
                }
                channels = hidden;
                std::mem::swap(&mut read, &mut made);
            }
        }
        let (rows, other) = (&mut x[..len], &mut block[..len]);
        ctx.crew.row_pairs((rows, hidden), (other, hidden), ROWS_PER_ITEM, |first, x, tmp| {
            let rows = x.chunks_exact_mut(hidden).zip(tmp.chunks_exact_mut(hidden));
            for (row, (x, tmp)) in (first..).zip(rows) {
                spectrogram.positions.row(ops.file, batch.positions[row] as usize, tmp);
                (ops.kernels.add)(x, tmp);
            }
        });
    }

    /// Cosines and sines of the rows' positions, for each kind of rotation.
    pub(super) fn angles(&mut self) {
        let Workspace { batch, angles, .. } = &mut *self.workspace;
        for (rope, angles) in self.network.ropes.iter().zip(angles) {
            let half = rope.half();
            let mut rows = batch.positions.iter().zip(angles.chunks_exact_mut(2 * half));
            for segment in &batch.segments {
                for (&position, angles) in rows.by_ref().take(segment.rows.len()) {
                    let (cos, sin) = angles.split_at_mut(half);
                    rope.angles(position, segment.limit, cos, sin);
                }
            }
        }
    }
}

/// Puts `values` into `padded`, after `padding` zeros and before as many.
fn pad(padded: &mut [f32], values: &[f32], padding: usize) {
    padded[..padding].fill(0.0);
    padded[padding..][..values.len()].copy_from_slice(values);
    padded[padding + values.len()..][..padding].fill(0.0);
}
