//! The one list of a network's tensors: names, dims and use, in execution order.
//!
//! | name | dims | when |
//! |---|---|---|
//! | `{stack}.embed_tokens.weight` | `[vocab_size, width]` | token input with a table of its own; `width` is `hidden_size` unless the input says otherwise |
//! | `{stack}.embed_positions.weight` | `[max_positions, width]`, of patches `[rows, hidden_size]` | learned positions; patches; spectrograms |
//! | `{stack}.embed_segments.weight` | `[n_segments, width]` | segments |
//! | `{stack}.embed_norm.{weight,bias}` | `[width]` | input norm |
//! | `{stack}.embed_proj.{weight,bias}` | `[hidden_size, width]` | token input of another width |
//! | `{stack}.patch_proj.{weight,bias}` | `[hidden_size, channels * patch_size^2]` | patches |
//! | `{stack}.embed_leading.weight` | `[n_leading, hidden_size]` | patches with learned rows before them |
//! | `{stack}.conv.{j}.{weight,bias}` | `[hidden_size, width * channels]`, one moment's channels after another's | convolutions of a spectrogram |
//! | `{stack}.conv.{j}.{weight,bias}` | `[channels, width * channels before]`, the same | convolutions of samples |
//! | `{stack}.conv_norm.{weight,bias}` | `[channels]` | norm of the first of them |
//! | `{stack}.position_buckets.weight` | `[n_heads, n_buckets]` | relative buckets that layers share |
//! | `{stack}.layers.{i}.{block}_norm.{weight,bias}` | `[hidden_size]` | `pre` of a block or of a mixer |
//! | `{stack}.layers.{i}.q_proj.{weight,bias}` | `[n_heads * head_dim, hidden_size]` | |
//! | `{stack}.layers.{i}.k_proj.{weight,bias}`, `v_proj` | `[n_kv_heads * head_dim, hidden_size]` | of the memory's hidden size in cross-attention |
//! | `{stack}.layers.{i}.q_norm.{weight,bias}`, `k_norm` | `[head_dim]`, or the projection's rows | q/k norm |
//! | `{stack}.layers.{i}.position_buckets.weight` | `[n_heads, n_buckets]` | relative buckets by layer |
//! | `{stack}.layers.{i}.position_q.weight`, `position_k` | `[n_heads * 2 n_buckets, head_dim]` | disentangled positions: what keys meet, what queries meet; buckets from the farthest behind to the farthest ahead, head by head |
//! | `{stack}.layers.{i}.o_proj.{weight,bias}` | `[hidden_size, n_heads * head_dim]` | |
//! | `{stack}.layers.{i}.gate_proj.{weight,bias}` | `[intermediate_size, hidden_size]` | gated MLP |
//! | `{stack}.layers.{i}.up_proj.{weight,bias}` | `[intermediate_size, hidden_size]` | |
//! | `{stack}.layers.{i}.down_proj.{weight,bias}` | `[hidden_size, intermediate_size]` | |
//! | `{stack}.layers.{i}.output_gate.weight` | `[1, hidden_size]` | MLP with a gate on its output |
//! | `{stack}.layers.{i}.router.weight` | `[n_experts, hidden_size]` | experts |
//! | `{stack}.layers.{i}.expert_gate_proj.weight`, `expert_up_proj` | `[n_experts * intermediate_size, hidden_size]` | experts, one after another |
//! | `{stack}.layers.{i}.expert_down_proj.weight` | `[n_experts * hidden_size, intermediate_size]` | |
//! | `{stack}.layers.{i}.forget_proj.{weight,bias}`, `cell_proj.weight` | `[hidden_size, hidden_size]` | recurrent unit |
//! | `{stack}.layers.{i}.{block}_post_norm.{weight,bias}` | `[hidden_size]` | `post` |
//! | `{stack}.layers.{i}.{block}_gain.weight` | `[hidden_size]` | gain per channel |
//! | `{stack}.layers.{i}.{block}_after_norm.{weight,bias}` | `[hidden_size]` | `after` |
//! | `{stack}.final_norm.{weight,bias}` | `[hidden_size]` | |
//! | `heads.{h}.pool_scores.weight` | `[n_heads, hidden_size]` | attention of a learned query |
//! | `heads.{h}.pool_{v,o}_proj.{weight,bias}` | `[hidden_size, hidden_size]` | the same |
//! | `heads.{h}.pool_norm.{weight,bias}` | `[hidden_size]` | the same |
//! | `heads.{h}.pool_up_proj.{weight,bias}`, `pool_down_proj` | `[intermediate_size, hidden_size]`, `[hidden_size, intermediate_size]` | the same |
//! | `heads.{h}.dense.{j}.{weight,bias}`, `heads.{h}.dense_norm.{j}.{weight,bias}` | `[size, inputs]`, `[size]` | chain of a head |
//! | `shortlist.offsets`, `shortlist.words` | `[vocab_size + 1]`, `[n_words]` | logits with a shortlist: `u32` |
//! | `lm_head.{weight,bias}` | `[vocab_size, inputs]` | logits that are not tied; their bias |
//!
//! `{block}` is `attn`, `cross` (attention to another stack, whose projections are `cross_q_proj`…),
//! `mlp` or `ssru`: the kind of a block's first mixer.
//!
//! Biases and norms are `f32` rows. Norm weights are stored ready to multiply: a family that
//! multiplies by `1 + w` has the one added by the quantizer. Rotary halves are stored in the
//! `Half` style wherever a row permutation can bring them there.

use super::{
    AbsolutePositions, Attention, Block, Experts, Gain, Head, Input, Layer, Mixer, MixerKind, Mlp,
    ModelSpec, Norm, Output, Pooling, Position, QkNormScope, Stack, TokenInput,
};

/// What a tensor is used for; decides how it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TensorUse {
    /// Multiplied with activations: quantized.
    Matrix,
    /// Multiplied with activations, but small and sensitive, a router or a classifier: f16.
    Router,
    /// Looked up by row only, and small: f16.
    Table,
    /// Norm, bias or another vector, or a small table that is added: f32.
    Vector,
    /// Counts or tokens: u32.
    Numbers,
}

/// A tensor of the `.kinglet` file.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorSpec {
    /// Its full name.
    pub name: String,
    /// The stack it belongs to; empty for heads.
    pub stack: String,
    /// Its layer, `None` outside the layers.
    pub layer: Option<usize>,
    /// The module that owns it: `q_proj`, `attn_norm`, `embed_tokens`…
    pub module: String,
    /// `weight` or `bias`.
    pub part: &'static str,
    /// `[rows, cols]` or `[len]`.
    pub dims: Vec<usize>,
    /// What it is used for.
    pub usage: TensorUse,
}

impl ModelSpec {
    /// All tensors of the network, in execution order.
    ///
    /// The spec must have passed [`ModelSpec::validate`]: sizes are multiplied without checks.
    pub fn tensors(&self) -> Vec<TensorSpec> {
        let mut list =
            List { spec: self, tensors: Vec::new(), stack: "", prefix: String::new(), layer: None };
        for stack in &self.stacks {
            list.stack(stack);
        }
        for (h, head) in self.heads.iter().enumerate() {
            list.head(h, head);
        }
        list.tensors
    }
}

struct List<'a> {
    spec: &'a ModelSpec,
    tensors: Vec<TensorSpec>,
    stack: &'a str,
    prefix: String,
    layer: Option<usize>,
}

impl<'a> List<'a> {
    fn stack(&mut self, stack: &'a Stack) {
        let hidden = stack.hidden_size;
        self.enter(stack, None);
        match &stack.input {
            Input::Tokens(tokens) => self.tokens(tokens, hidden),
            Input::Patches(patches) => {
                self.linear("patch_proj", hidden, patches.patch_len(), patches.bias);
                if patches.n_leading > 0 {
                    let dims = [patches.n_leading, hidden];
                    self.push("embed_leading", "weight", &dims, TensorUse::Table);
                }
                let dims = [patches.n_rows(), hidden];
                self.push("embed_positions", "weight", &dims, TensorUse::Table);
                self.norm("embed_norm", patches.norm.as_ref(), hidden);
            }
            Input::Spectrogram(spectrogram) => {
                let mut channels = spectrogram.n_mels;
                for (j, convolution) in spectrogram.convolutions.iter().enumerate() {
                    let cols = convolution.width * channels;
                    self.linear(&format!("conv.{j}"), hidden, cols, true);
                    channels = hidden;
                }
                let dims = [spectrogram.max_positions, hidden];
                self.push("embed_positions", "weight", &dims, TensorUse::Table);
            }
            Input::Samples(samples) => {
                let mut channels = 1;
                for (j, convolution) in samples.convolutions.iter().enumerate() {
                    let cols = convolution.width * channels;
                    channels = convolution.channels;
                    self.linear(&format!("conv.{j}"), channels, cols, convolution.bias);
                    if j == 0 {
                        self.norm("conv_norm", Some(&samples.norm), channels);
                    }
                }
            }
        }
        let buckets = stack.attentions().find_map(|a| match a.position {
            Position::RelativeBuckets { n_buckets, by_layer: false, .. } => {
                Some([a.n_heads, n_buckets])
            }
            _ => None,
        });
        if let Some(dims) = buckets {
            self.push("position_buckets", "weight", &dims, TensorUse::Vector);
        }
        for (i, layer) in stack.layers.iter().enumerate() {
            self.enter(stack, Some(i));
            self.layer(layer, hidden);
        }
        self.enter(stack, None);
        self.norm("final_norm", stack.final_norm.as_ref(), hidden);
    }

    fn enter(&mut self, stack: &'a Stack, layer: Option<usize>) {
        self.stack = &stack.name;
        self.layer = layer;
        self.prefix = match layer {
            Some(i) => format!("{}.layers.{i}.", stack.name),
            None => format!("{}.", stack.name),
        };
    }

    fn tokens(&mut self, tokens: &TokenInput, hidden: usize) {
        let width = tokens.width.unwrap_or(hidden);
        if tokens.table_of.is_none() {
            let dims = [tokens.vocab_size, width];
            self.push("embed_tokens", "weight", &dims, TensorUse::Matrix);
        }
        if let AbsolutePositions::Learned { max_positions, .. } = tokens.positions {
            self.push("embed_positions", "weight", &[max_positions, width], TensorUse::Table);
        }
        if tokens.n_segments > 0 {
            self.push("embed_segments", "weight", &[tokens.n_segments, width], TensorUse::Table);
        }
        self.norm("embed_norm", tokens.norm.as_ref(), width);
        if tokens.width.is_some() {
            self.linear("embed_proj", hidden, width, true);
        }
    }

    fn layer(&mut self, layer: &Layer, hidden: usize) {
        if layer.weights_of.is_none() {
            layer.blocks.iter().for_each(|block| self.block(block, hidden));
        }
    }

    fn block(&mut self, block: &Block, hidden: usize) {
        let name = block.name();
        self.norm(&format!("{name}_norm"), block.pre.as_ref(), hidden);
        block.mixers.iter().for_each(|mixer| self.mixer(mixer, hidden));
        self.norm(&format!("{name}_post_norm"), block.post.as_ref(), hidden);
        if block.gain == Gain::Vector {
            self.push(&format!("{name}_gain"), "weight", &[hidden], TensorUse::Vector);
        }
        self.norm(&format!("{name}_after_norm"), block.after.as_ref(), hidden);
    }

    fn mixer(&mut self, mixer: &Mixer, hidden: usize) {
        self.norm(&format!("{}_norm", mixer.kind.name()), mixer.pre.as_ref(), hidden);
        match &mixer.kind {
            MixerKind::Attention(attention) => self.attention(attention, hidden),
            MixerKind::Mlp(mlp) => self.mlp(mlp, hidden),
            MixerKind::Experts(experts) => self.experts(experts, hidden),
            MixerKind::Ssru => {
                self.linear("forget_proj", hidden, hidden, true);
                self.linear("cell_proj", hidden, hidden, false);
            }
        }
    }

    fn attention(&mut self, a: &Attention, hidden: usize) {
        let memory = a.memory.as_ref().and_then(|name| self.spec.stack(name));
        let memory = memory.map_or(hidden, |(_, stack)| stack.hidden_size);
        let prefix = if a.memory.is_some() { "cross_" } else { "" };
        let (q, kv) = (a.q_width(), a.kv_width());
        self.linear(&format!("{prefix}q_proj"), q, hidden, a.q_bias);
        self.linear(&format!("{prefix}k_proj"), kv, memory, a.k_bias);
        self.linear(&format!("{prefix}v_proj"), kv, memory, a.v_bias);
        if let Some(qk) = &a.qk_norm {
            let (q, k) = match qk.scope {
                QkNormScope::Head => (a.head_dim, a.head_dim),
                QkNormScope::Projection => (q, kv),
            };
            self.norm(&format!("{prefix}q_norm"), Some(&qk.norm), q);
            self.norm(&format!("{prefix}k_norm"), Some(&qk.norm), k);
        }
        if let Position::RelativeBuckets { n_buckets, by_layer: true, .. } = a.position {
            self.push("position_buckets", "weight", &[a.n_heads, n_buckets], TensorUse::Vector);
        }
        if let Position::Disentangled { n_buckets, .. } = a.position {
            for module in ["position_q", "position_k"] {
                let dims = [a.n_heads * 2 * n_buckets, a.head_dim];
                self.push(module, "weight", &dims, TensorUse::Router);
            }
        }
        self.linear(&format!("{prefix}o_proj"), hidden, q, a.output_bias);
    }

    fn mlp(&mut self, mlp: &Mlp, hidden: usize) {
        if mlp.gated {
            self.linear("gate_proj", mlp.intermediate_size, hidden, mlp.bias);
        }
        self.linear("up_proj", mlp.intermediate_size, hidden, mlp.bias);
        let bias = mlp.bias || mlp.output_bias;
        self.linear("down_proj", hidden, mlp.intermediate_size, bias);
        if mlp.output_gate {
            self.push("output_gate", "weight", &[1, hidden], TensorUse::Router);
        }
    }

    fn experts(&mut self, experts: &Experts, hidden: usize) {
        let (n, inner) = (experts.n_experts, experts.intermediate_size);
        self.push("router", "weight", &[n, hidden], TensorUse::Router);
        self.linear("expert_gate_proj", n * inner, hidden, false);
        self.linear("expert_up_proj", n * inner, hidden, false);
        self.linear("expert_down_proj", n * hidden, inner, false);
    }

    fn head(&mut self, h: usize, head: &Head) {
        let Some((_, stack)) = self.spec.stack_of(head) else { return };
        self.stack = "";
        self.layer = None;
        self.prefix = format!("heads.{h}.");
        let hidden = stack.hidden_size;
        if let Some(Pooling::Attention(pool)) = &head.pool {
            self.push("pool_scores", "weight", &[pool.n_heads, hidden], TensorUse::Vector);
            self.linear("pool_v_proj", hidden, hidden, true);
            self.linear("pool_o_proj", hidden, hidden, true);
            self.norm("pool_norm", Some(&pool.norm), hidden);
            self.linear("pool_up_proj", pool.intermediate_size, hidden, true);
            self.linear("pool_down_proj", hidden, pool.intermediate_size, true);
        }
        let mut k = head.inputs(hidden);
        let classifies = matches!(head.output, Output::Labels { .. } | Output::Span);
        for (j, dense) in head.chain.iter().enumerate() {
            let last = j + 1 == head.chain.len();
            let usage = if classifies && last { TensorUse::Router } else { TensorUse::Matrix };
            self.linear_of(usage, &format!("dense.{j}"), dense.size, k, dense.bias);
            self.norm(&format!("dense_norm.{j}"), dense.norm.as_ref(), dense.size);
            k = dense.size;
        }
        self.prefix.clear();
        if let (Output::Logits { tied, bias, shortlist, .. }, Input::Tokens(tokens)) =
            (&head.output, &stack.input)
        {
            if !tied {
                self.push("lm_head", "weight", &[tokens.vocab_size, k], TensorUse::Matrix);
            }
            if *bias {
                self.push("lm_head", "bias", &[tokens.vocab_size], TensorUse::Vector);
            }
            if let Some(shortlist) = shortlist {
                let offsets = tokens.vocab_size + 1;
                self.push("shortlist", "offsets", &[offsets], TensorUse::Numbers);
                self.push("shortlist", "words", &[shortlist.n_words], TensorUse::Numbers);
            }
        }
    }

    fn norm(&mut self, module: &str, norm: Option<&Norm>, len: usize) {
        let Some(norm) = norm else { return };
        self.push(module, "weight", &[len], TensorUse::Vector);
        if norm.bias {
            self.push(module, "bias", &[len], TensorUse::Vector);
        }
    }

    fn linear(&mut self, module: &str, rows: usize, cols: usize, bias: bool) {
        self.linear_of(TensorUse::Matrix, module, rows, cols, bias);
    }

    fn linear_of(&mut self, usage: TensorUse, module: &str, rows: usize, cols: usize, bias: bool) {
        self.push(module, "weight", &[rows, cols], usage);
        if bias {
            self.push(module, "bias", &[rows], TensorUse::Vector);
        }
    }

    fn push(&mut self, module: &str, part: &'static str, dims: &[usize], usage: TensorUse) {
        self.tensors.push(TensorSpec {
            name: format!("{}{module}.{part}", self.prefix),
            stack: self.stack.to_owned(),
            layer: self.layer,
            module: module.to_owned(),
            part,
            dims: dims.to_vec(),
            usage,
        });
    }
}
