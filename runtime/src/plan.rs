//! From a spec and an index to a network whose every tensor is found and checked.

use kinglet_formats::kinglet::{KingletFile, View};
use kinglet_formats::spec::{
    AbsolutePositions, Activation, Attention, Head, Input, Layer, Mlp, ModelSpec, Norm, NormKind,
    NormPlacement, Position, Rope, RopePairs, Stack, Topology,
};

use crate::error::Error;
use crate::forward::MAX_HEAD_DIM;
use crate::kv_cache::KvShape;
use crate::linear::{Linear, Linears, PairedLinears};
use crate::rope::RopeTable;

/// k per activation scale where the weights have one scale per row.
const ROW_ACTIVATION_GROUP: usize = 64;

/// A stack ready to run.
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) causal: bool,
    pub(crate) hidden_size: usize,
    pub(crate) vocab_size: usize,
    pub(crate) embed_scale: f32,
    pub(crate) embed_tokens: usize,
    /// Table and first row used.
    pub(crate) embed_positions: Option<(usize, usize)>,
    /// Table; texts of one segment use row 0.
    pub(crate) embed_segments: Option<usize>,
    pub(crate) embed_norm: Option<BoundNorm>,
    pub(crate) layers: Vec<BoundLayer>,
    pub(crate) final_norm: Option<BoundNorm>,
    /// Next-token logits.
    pub(crate) lm_head: Option<LmHead>,
    /// Distinct rotations of the layers.
    pub(crate) ropes: Vec<RopeTable>,
    /// Longest sequence the weights can take.
    pub(crate) max_positions: usize,
    /// Widest input of any matrix.
    pub(crate) max_k: usize,
    /// Widest joint output of q, k and v.
    pub(crate) max_qkv: usize,
    /// Widest MLP.
    pub(crate) max_intermediate: usize,
    /// Widest attention output.
    pub(crate) max_attention: usize,
}

/// A norm and its tensors.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BoundNorm {
    pub(crate) kind: NormKind,
    pub(crate) eps: f32,
    pub(crate) weight: usize,
    pub(crate) bias: Option<usize>,
}

/// Output matrix of a language model.
#[derive(Debug)]
pub(crate) struct LmHead {
    pub(crate) linears: Linears,
    pub(crate) soft_cap: Option<f32>,
}

/// A layer and its tensors.
#[derive(Debug)]
pub(crate) struct BoundLayer {
    pub(crate) placement: NormPlacement,
    pub(crate) attn_norm: BoundNorm,
    pub(crate) attn_post_norm: Option<BoundNorm>,
    pub(crate) qkv: Linears,
    pub(crate) q_norm: Option<BoundNorm>,
    pub(crate) k_norm: Option<BoundNorm>,
    pub(crate) attention: Attention,
    /// Index into `Network::ropes`.
    pub(crate) rope: Option<usize>,
    pub(crate) o_proj: Linears,
    pub(crate) mlp_norm: BoundNorm,
    pub(crate) mlp_post_norm: Option<BoundNorm>,
    pub(crate) activation: Activation,
    pub(crate) up: UpProjection,
    pub(crate) down_proj: Linears,
}

/// First half of an MLP.
#[derive(Debug)]
pub(crate) enum UpProjection {
    /// `act(gate x) * up x`
    Gated(PairedLinears),
    /// `act(up x)`
    Plain(Linears),
}

impl BoundLayer {
    pub(crate) fn kv_shape(&self) -> KvShape {
        KvShape { n_kv_heads: self.attention.n_kv_heads, head_dim: self.attention.head_dim }
    }
}

impl Network {
    /// Finds and checks every tensor that `spec` calls for; work is cut for `n_threads`, which
    /// changes no result.
    pub(crate) fn bind(
        file: &KingletFile,
        spec: &ModelSpec,
        n_threads: usize,
    ) -> Result<Self, Error> {
        let causal = match spec.topology {
            Topology::Decoder => true,
            Topology::Encoder => false,
            other => return unsupported(format!("models of topology {other:?}")),
        };
        let [stack] = &spec.stacks[..] else {
            return unsupported(format!("{} stacks in a one-stack model", spec.stacks.len()));
        };
        let mut binder = Binder { file, stack, n_threads, max_k: 0, ropes: Vec::new() };
        binder.network(spec, causal)
    }

    /// Bytes of weights read for one token: all matrices, one row of the embedding.
    pub(crate) fn decode_bytes(&self) -> usize {
        let layers: usize = self.layers.iter().map(BoundLayer::bytes).sum();
        layers + self.lm_head.as_ref().map_or(0, |head| head.linears.bytes())
    }
}

impl BoundLayer {
    fn bytes(&self) -> usize {
        let up = match &self.up {
            UpProjection::Gated(pair) => pair.parts().iter().map(|p| p.bytes).sum(),
            UpProjection::Plain(linears) => linears.bytes(),
        };
        self.qkv.bytes() + self.o_proj.bytes() + up + self.down_proj.bytes()
    }
}

fn unsupported<T>(what: impl Into<String>) -> Result<T, Error> {
    Err(Error::Unsupported { what: what.into() })
}

struct Binder<'a> {
    file: &'a KingletFile,
    stack: &'a Stack,
    n_threads: usize,
    max_k: usize,
    ropes: Vec<(Rope, RopeTable)>,
}

impl Binder<'_> {
    fn network(&mut self, spec: &ModelSpec, causal: bool) -> Result<Network, Error> {
        let hidden = self.stack.hidden_size;
        let Input::Tokens { vocab_size, positions, n_segments, scale, norm } = &self.stack.input
        else {
            return unsupported("inputs other than tokens");
        };
        let mut max_positions = spec.context_length;
        let embed_positions = match *positions {
            AbsolutePositions::None => None,
            AbsolutePositions::Learned { max_positions: rows, offset } => {
                max_positions = max_positions.min(rows.saturating_sub(offset));
                Some((self.table("embed_positions.weight", rows)?, offset))
            }
            AbsolutePositions::Sinusoidal { .. } => return unsupported("sinusoidal positions"),
        };
        let embed_segments = match *n_segments {
            0 => None,
            n => Some(self.table("embed_segments.weight", n)?),
        };
        let embed_tokens = self.table("embed_tokens.weight", *vocab_size)?;
        let embed_norm = norm.map(|n| self.norm("embed_norm", n, hidden)).transpose()?;
        let layers = self
            .stack
            .layers
            .iter()
            .enumerate()
            .map(|(i, layer)| self.layer(i, layer, causal))
            .collect::<Result<Vec<_>, _>>()?;
        if layers.is_empty() || max_positions == 0 {
            return unsupported("a model without layers or positions");
        }
        let final_norm =
            self.stack.final_norm.map(|n| self.norm("final_norm", n, hidden)).transpose()?;
        let lm_head = spec
            .heads
            .iter()
            .find_map(|head| match *head {
                Head::LanguageModel { tied, bias, soft_cap } => Some((tied, bias, soft_cap)),
                _ => None,
            })
            .map(|(tied, bias, soft_cap)| {
                let weight = if tied {
                    format!("{}.embed_tokens.weight", self.stack.name)
                } else {
                    "lm_head.weight".to_owned()
                };
                let bias = bias.then(|| "lm_head.bias".to_owned());
                let linear = self.linear_named(weight, bias, *vocab_size, hidden)?;
                Ok::<_, Error>(LmHead {
                    linears: Linears::new(vec![linear], self.n_threads),
                    soft_cap,
                })
            })
            .transpose()?;
        let max = |f: fn(&BoundLayer) -> usize| layers.iter().map(f).max().unwrap_or(0);
        Ok(Network {
            causal,
            hidden_size: hidden,
            vocab_size: *vocab_size,
            embed_scale: *scale,
            embed_tokens,
            embed_positions,
            embed_segments,
            embed_norm,
            final_norm,
            lm_head,
            ropes: std::mem::take(&mut self.ropes).into_iter().map(|(_, table)| table).collect(),
            max_positions,
            max_k: self.max_k,
            max_qkv: max(|l| l.qkv.width()),
            max_intermediate: max(|l| l.down_proj.parts()[0].k),
            max_attention: max(|l| l.attention.n_heads * l.attention.head_dim),
            layers,
        })
    }

    fn layer(&mut self, i: usize, layer: &Layer, causal: bool) -> Result<BoundLayer, Error> {
        let hidden = self.stack.hidden_size;
        for (present, what) in [
            (layer.cross_attention.is_some(), "cross-attention"),
            (layer.parallel, "parallel blocks"),
            (layer.layer_scale, "layer scale"),
            (layer.shares_weights_of.is_some(), "shared layers"),
            (layer.attention.causal != causal, "mixed causal and bidirectional attention"),
            (layer.attention.sliding_window.is_some() && !causal, "sliding windows in an encoder"),
        ] {
            if present {
                return unsupported(format!("{what} (layer {i})"));
            }
        }
        let sandwich = layer.norm_placement == NormPlacement::Sandwich;
        let norm =
            |this: &Self, name: &str| this.norm(&format!("layers.{i}.{name}"), layer.norm, hidden);
        let attn_norm = norm(self, "attn_norm")?;
        let attn_post_norm = sandwich.then(|| norm(self, "attn_post_norm")).transpose()?;
        let mlp_norm = norm(self, "mlp_norm")?;
        let mlp_post_norm = sandwich.then(|| norm(self, "mlp_post_norm")).transpose()?;

        let a = &layer.attention;
        if a.n_kv_heads == 0 || !a.n_heads.is_multiple_of(a.n_kv_heads) {
            return unsupported(format!("{} heads over {} kv heads", a.n_heads, a.n_kv_heads));
        }
        if a.head_dim > MAX_HEAD_DIM {
            return unsupported(format!("heads of {} (layer {i})", a.head_dim));
        }
        let (q_rows, kv_rows) = (a.n_heads * a.head_dim, a.n_kv_heads * a.head_dim);
        let qkv = vec![
            self.linear(i, "q_proj", q_rows, hidden, a.qkv_bias)?,
            self.linear(i, "k_proj", kv_rows, hidden, a.qkv_bias)?,
            self.linear(i, "v_proj", kv_rows, hidden, a.qkv_bias)?,
        ];
        let o_proj = self.linear(i, "o_proj", hidden, q_rows, a.output_bias)?;
        let head_norm = |this: &Self, name: &str| {
            a.qk_norm.map(|n| this.norm(&format!("layers.{i}.{name}"), n, a.head_dim)).transpose()
        };
        let (q_norm, k_norm) = (head_norm(self, "q_norm")?, head_norm(self, "k_norm")?);
        let rope = match &a.position {
            Position::None => None,
            Position::Rope(rope) => Some(self.rope(rope, a.head_dim)?),
            Position::RelativeBuckets { .. } => {
                return unsupported(format!("relative position buckets (layer {i})"));
            }
        };

        let Mlp { intermediate_size, activation, gated, bias } = layer.mlp;
        let up = self.linear(i, "up_proj", intermediate_size, hidden, bias)?;
        let up = if gated {
            let gate = self.linear(i, "gate_proj", intermediate_size, hidden, bias)?;
            UpProjection::Gated(PairedLinears::new(gate, up, self.n_threads))
        } else {
            UpProjection::Plain(Linears::new(vec![up], self.n_threads))
        };
        let down_proj = self.linear(i, "down_proj", hidden, intermediate_size, bias)?;
        Ok(BoundLayer {
            placement: layer.norm_placement,
            attn_norm,
            attn_post_norm,
            qkv: Linears::new(qkv, self.n_threads),
            q_norm,
            k_norm,
            attention: a.clone(),
            rope,
            o_proj: Linears::new(vec![o_proj], self.n_threads),
            mlp_norm,
            mlp_post_norm,
            activation,
            up,
            down_proj: Linears::new(vec![down_proj], self.n_threads),
        })
    }

    fn rope(&mut self, rope: &Rope, head_dim: usize) -> Result<usize, Error> {
        if let Some(known) = self.ropes.iter().position(|(r, _)| r == rope) {
            return Ok(known);
        }
        if rope.pairs == RopePairs::Adjacent {
            return unsupported("rotary positions over adjacent pairs");
        }
        if rope.dims == 0 || !rope.dims.is_multiple_of(2) || rope.dims > head_dim {
            return unsupported(format!("rotary positions over {} of {head_dim}", rope.dims));
        }
        let table = RopeTable::new(rope)?;
        self.ropes.push((rope.clone(), table));
        Ok(self.ropes.len() - 1)
    }

    fn linear(
        &mut self,
        layer: usize,
        name: &str,
        rows: usize,
        k: usize,
        bias: bool,
    ) -> Result<Linear, Error> {
        let prefix = format!("{}.layers.{layer}.{name}", self.stack.name);
        self.linear_named(
            format!("{prefix}.weight"),
            bias.then(|| format!("{prefix}.bias")),
            rows,
            k,
        )
    }

    fn linear_named(
        &mut self,
        weight_name: String,
        bias_name: Option<String>,
        rows: usize,
        k: usize,
    ) -> Result<Linear, Error> {
        let weight = self.find(&weight_name)?;
        let (found_rows, found_k, group) = match self.file.view(weight) {
            View::I8(m) if m.group == m.padded_k && ![32, 64, 128].contains(&m.group) => {
                (m.rows, m.cols, Some(ROW_ACTIVATION_GROUP))
            }
            View::I8(m) => (m.rows, m.cols, Some(m.group)),
            View::F16(m) => (m.rows, m.cols, None),
            View::F32 { .. } => return Err(self.wrong(weight, "an int8 or f16 matrix")),
        };
        if (found_rows, found_k) != (rows, k) {
            return Err(self.wrong(weight, &format!("[{rows}, {k}]")));
        }
        let bias = bias_name.map(|name| self.vector(&name, rows)).transpose()?;
        self.max_k = self.max_k.max(k);
        let bytes = self.file.tensors()[weight].n_bytes();
        Ok(Linear { rows, k, group, weight, bias, bytes })
    }

    fn norm(&self, name: &str, norm: Norm, len: usize) -> Result<BoundNorm, Error> {
        let name = format!("{}.{name}", self.stack.name);
        Ok(BoundNorm {
            kind: norm.kind,
            eps: norm.eps,
            weight: self.vector(&format!("{name}.weight"), len)?,
            bias: norm.bias.then(|| self.vector(&format!("{name}.bias"), len)).transpose()?,
        })
    }

    /// A matrix looked up by rows, in any layout.
    fn table(&self, name: &str, rows: usize) -> Result<usize, Error> {
        let tensor = self.find(&format!("{}.{name}", self.stack.name))?;
        let dims = [rows, self.stack.hidden_size];
        if self.file.tensors()[tensor].dims[..] != dims {
            return Err(self.wrong(tensor, &format!("{dims:?}")));
        }
        Ok(tensor)
    }

    fn vector(&self, name: &str, len: usize) -> Result<usize, Error> {
        let tensor = self.find(name)?;
        match self.file.view(tensor) {
            View::F32 { data, .. } if data.len() == len => Ok(tensor),
            _ => Err(self.wrong(tensor, &format!("[{len}] f32"))),
        }
    }

    fn find(&self, name: &str) -> Result<usize, Error> {
        self.file.find(name).ok_or_else(|| Error::MissingTensor { name: name.to_owned() })
    }

    fn wrong(&self, tensor: usize, expected: &str) -> Error {
        let tensor = &self.file.tensors()[tensor];
        Error::WrongTensor {
            name: tensor.name.clone(),
            expected: expected.to_owned(),
            found: format!("{:?} {}", tensor.dims, tensor.layout),
        }
    }
}
