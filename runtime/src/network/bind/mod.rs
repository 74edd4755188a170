//! Finds the tensors of a spec in a file.

mod layer;
mod tensors;

use std::collections::HashMap;

use kinglet_formats::kinglet::KingletFile;
use kinglet_formats::spec::{
    AbsolutePositions, Head, Input, ModelSpec, NormKind, Output, PatchInput, Pooling, Rope,
    SampleInput, SpectrogramInput, Stack, TensorSpec, TokenInput,
};

use super::head::{BoundDense, BoundPool, BoundQuery};
use super::*;

pub(super) struct Binder<'a> {
    file: &'a KingletFile,
    spec: &'a ModelSpec,
    n_threads: usize,
    /// Dims by name, from the one list of tensors.
    dims: HashMap<String, TensorSpec>,
    ropes: Vec<(Rope, RopeTable)>,
}

/// Where a stack's layer has its tensors, and what its attention is numbered by.
struct Place {
    prefix: String,
    stack: usize,
}

/// How many there have been of what a sequence keeps: layers number theirs in the order in which they
/// come.
#[derive(Default)]
struct Numbers {
    /// Keys and values of the own sequence.
    own: usize,
    /// Those of another stack's.
    other: usize,
    /// Recurrent states.
    states: usize,
}

impl Numbers {
    fn next(number: &mut usize) -> usize {
        *number += 1;
        *number - 1
    }
}

fn unsupported<T>(what: impl Into<String>) -> Result<T, Error> {
    Err(Error::Unsupported { what: what.into() })
}

impl<'a> Binder<'a> {
    pub(super) fn new(file: &'a KingletFile, spec: &'a ModelSpec, n_threads: usize) -> Self {
        let dims = spec.tensors().into_iter().map(|t| (t.name.clone(), t)).collect();
        Self { file, spec, n_threads, dims, ropes: Vec::new() }
    }

    pub(super) fn network(mut self) -> Result<Network, Error> {
        let mut stacks = Vec::with_capacity(self.spec.stacks.len());
        for (i, stack) in self.spec.stacks.iter().enumerate() {
            stacks.push(self.stack(i, stack)?);
        }
        let heads = self.spec.heads.iter().enumerate().map(|(h, head)| self.head(h, head));
        let heads = heads.collect::<Result<_, _>>()?;
        let ropes = self.ropes.into_iter().map(|(_, table)| table).collect();
        let mut network = Network { stacks, heads, ropes, sizes: Sizes::default() };
        network.sizes = Sizes::of(&network);
        Ok(network)
    }

    fn stack(&mut self, index: usize, stack: &Stack) -> Result<BoundStack, Error> {
        let mut max_positions = self.spec.context_length;
        let input = match &stack.input {
            Input::Tokens(tokens) => {
                BoundInput::Tokens(self.tokens(stack, tokens, &mut max_positions)?)
            }
            Input::Patches(patches) => {
                max_positions = patches.n_rows();
                BoundInput::Patches(self.patches(stack, patches)?)
            }
            Input::Spectrogram(spectrogram) => {
                max_positions = spectrogram.max_positions;
                BoundInput::Spectrogram(self.spectrogram(stack, spectrogram)?)
            }
            Input::Samples(samples) => {
                max_positions = samples.n_rows(samples.max_samples);
                BoundInput::Samples(self.samples(stack, samples)?)
            }
        };
        let mut memory = None;
        for name in stack.attentions().filter_map(|a| a.memory.as_ref()) {
            let Some((other, _)) = self.spec.stack(name) else {
                return unsupported(format!("attention to a stack {name:?} that is not there"));
            };
            if memory.replace(other).is_some_and(|before| before != other) {
                return unsupported("attention to several other stacks");
            }
        }
        let causal = stack.is_causal();
        let n_states = stack.n_states();
        if !causal && (memory.is_some() || n_states > 0 || stack.attentions().any(|a| a.causal)) {
            return unsupported("mixed causal and bidirectional layers");
        }
        if n_states == 0 && stack.attentions().all(|a| a.memory.is_some()) {
            return unsupported("a stack whose positions do not see each other");
        }
        let mut numbers = Numbers::default();
        let mut layers: Vec<BoundLayer> = Vec::with_capacity(stack.layers.len());
        for (i, layer) in stack.layers.iter().enumerate() {
            let owner = layer.weights_of.unwrap_or(i);
            let place = Place { prefix: format!("{}.layers.{owner}.", stack.name), stack: index };
            layers.push(self.layer(&place, layer, &mut numbers)?);
        }
        if max_positions == 0 {
            return unsupported("a model without positions");
        }
        let prefix = format!("{}.", stack.name);
        let final_norm = self.norm(&prefix, "final_norm", stack.final_norm)?;
        let hidden_size = stack.hidden_size;
        Ok(BoundStack {
            hidden_size,
            input,
            layers,
            final_norm,
            causal,
            memory,
            n_states,
            max_positions,
        })
    }

    fn tokens(
        &mut self,
        stack: &Stack,
        tokens: &TokenInput,
        max_positions: &mut usize,
    ) -> Result<BoundTokens, Error> {
        let prefix = format!("{}.", stack.name);
        let positions = match tokens.positions {
            AbsolutePositions::None => BoundPositions::None,
            AbsolutePositions::Learned { max_positions: rows, offset } => {
                *max_positions = (*max_positions).min(rows.saturating_sub(offset));
                BoundPositions::Learned(self.table(&prefix, "embed_positions")?, offset)
            }
            AbsolutePositions::Sinusoidal { max_positions: rows, offset, closed } => {
                *max_positions = (*max_positions).min(rows);
                let width = tokens.width.unwrap_or(stack.hidden_size);
                BoundPositions::Waves(Waves::new(width, rows, offset, closed)?)
            }
        };
        let segments = match tokens.n_segments {
            0 => None,
            rows => Some((self.table(&prefix, "embed_segments")?, rows)),
        };
        let owner = tokens.table_of.as_ref().map(|name| format!("{name}."));
        let projection = match tokens.width {
            Some(_) => Some(self.linears(&prefix, &["embed_proj"])?),
            None => None,
        };
        Ok(BoundTokens {
            vocab_size: tokens.vocab_size,
            n_known: tokens.n_known(),
            width: tokens.width.unwrap_or(stack.hidden_size),
            scale: tokens.scale,
            table: self.table(owner.as_deref().unwrap_or(&prefix), "embed_tokens")?,
            positions,
            segments,
            norm: self.norm(&prefix, "embed_norm", tokens.norm)?,
            projection,
        })
    }

    fn patches(&mut self, stack: &Stack, patches: &PatchInput) -> Result<BoundPatches, Error> {
        let prefix = format!("{}.", stack.name);
        let leading = match patches.n_leading {
            0 => None,
            _ => Some(self.table(&prefix, "embed_leading")?),
        };
        Ok(BoundPatches {
            n_rows: patches.n_rows(),
            n_leading: patches.n_leading,
            image_size: patches.image_size,
            patch_size: patches.patch_size,
            patch_len: patches.patch_len(),
            projection: self.linears(&prefix, &["patch_proj"])?,
            leading,
            positions: self.table(&prefix, "embed_positions")?,
            norm: self.norm(&prefix, "embed_norm", patches.norm)?,
        })
    }

    fn spectrogram(
        &mut self,
        stack: &Stack,
        spectrogram: &SpectrogramInput,
    ) -> Result<BoundSpectrogram, Error> {
        let prefix = format!("{}.", stack.name);
        let convolutions = spectrogram.convolutions.iter().enumerate().map(|(j, &spec)| {
            Ok(BoundConvolution { spec, linears: self.linears(&prefix, &[&format!("conv.{j}")])? })
        });
        Ok(BoundSpectrogram {
            n_mels: spectrogram.n_mels,
            n_frames: spectrogram.n_frames(),
            convolutions: convolutions.collect::<Result<_, Error>>()?,
            activation: spectrogram.activation,
            positions: self.table(&prefix, "embed_positions")?,
        })
    }

    fn samples(&mut self, stack: &Stack, samples: &SampleInput) -> Result<BoundSamples, Error> {
        let prefix = format!("{}.", stack.name);
        let convolutions =
            (0..samples.convolutions.len()).map(|j| self.linears(&prefix, &[&format!("conv.{j}")]));
        let convolutions = convolutions.collect::<Result<_, _>>()?;
        let Some(norm) = self.norm(&prefix, "conv_norm", Some(samples.norm))? else {
            return unsupported("samples without a norm");
        };
        if norm.kind != NormKind::Layer {
            return unsupported("samples with another norm than of mean and variance");
        }
        Ok(BoundSamples { spec: samples.clone(), convolutions, norm })
    }

    fn head(&self, h: usize, head: &Head) -> Result<BoundHead, Error> {
        let Some((index, stack)) = self.spec.stack_of(head) else {
            return unsupported("a head without a stack");
        };
        let prefix = format!("heads.{h}.");
        let pool = self.pool(&prefix, head, stack)?;
        let mut width = head.inputs(stack.hidden_size);
        let mut chain = Vec::with_capacity(head.chain.len());
        for (j, dense) in head.chain.iter().enumerate() {
            width = dense.size;
            chain.push(BoundDense {
                linears: self.linears(&prefix, &[&format!("dense.{j}")])?,
                activation: dense.activation,
                norm: self.norm(&prefix, &format!("dense_norm.{j}"), dense.norm)?,
            });
        }
        let output = match (&head.output, &stack.input) {
            (Output::Logits { tied, bias, scale, soft_cap, shortlist }, Input::Tokens(tokens)) => {
                let weight = match (tied, &tokens.table_of) {
                    (false, _) => "lm_head".to_owned(),
                    (true, Some(owner)) => format!("{owner}.embed_tokens"),
                    (true, None) => format!("{}.embed_tokens", stack.name),
                };
                let mut matrix = self.matrix(&weight)?;
                matrix.bias = if *bias { Some(self.vector("lm_head.bias")?) } else { None };
                width = tokens.vocab_size;
                BoundOutput::Logits {
                    linears: Linears::new(vec![matrix], self.n_threads),
                    scale: *scale,
                    soft_cap: *soft_cap,
                    shortlist: match shortlist {
                        Some(shortlist) => Some(BoundShortlist {
                            n_frequent: shortlist.n_frequent,
                            offsets: self.numbers("shortlist.offsets")?,
                            words: self.numbers("shortlist.words")?,
                        }),
                        None => None,
                    },
                }
            }
            (Output::Logits { .. }, _) => return unsupported("logits of what is no text"),
            (Output::Vector { normalize, similarity }, _) => {
                BoundOutput::Vector { normalize: *normalize, similarity: *similarity }
            }
            (Output::Labels { scores }, _) => BoundOutput::Labels { scores: *scores },
            (Output::Span, _) => BoundOutput::Span,
        };
        Ok(BoundHead { stack: index, pool, chain, output, width })
    }

    fn pool(&self, prefix: &str, head: &Head, stack: &Stack) -> Result<Option<BoundPool>, Error> {
        let Some(kind) = head.pool else { return Ok(None) };
        let n_leading = match &stack.input {
            Input::Patches(patches) => patches.n_leading,
            _ => 0,
        };
        let hidden = stack.hidden_size;
        let Pooling::Attention(pool) = kind else {
            let width = kind.width(hidden);
            return Ok(Some(BoundPool { kind, width, n_leading, query: None }));
        };
        let linears = |name: &str| self.linears(prefix, &[name]);
        let Some(norm) = self.norm(prefix, "pool_norm", Some(pool.norm))? else {
            return unsupported("a pooling without a norm");
        };
        let query = BoundQuery {
            n_heads: pool.n_heads,
            scores: self.vector(&format!("{prefix}pool_scores.weight"))?,
            v_proj: linears("pool_v_proj")?,
            o_proj: linears("pool_o_proj")?,
            norm,
            up_proj: linears("pool_up_proj")?,
            activation: pool.activation,
            down_proj: linears("pool_down_proj")?,
        };
        let width = pool.n_heads * hidden;
        Ok(Some(BoundPool { kind, width, n_leading, query: Some(query) }))
    }
}
