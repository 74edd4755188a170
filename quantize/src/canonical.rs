//! The tensors that a [`ModelSpec`] consists of, in execution order.
//!
//! This is the one place that turns a spec into names and dims; families only say where each
//! tensor comes from.

use kinglet_formats::spec::{
    AbsolutePositions, Attention, Head, Input, Layer, Mlp, ModelSpec, Norm, NormPlacement, Stack,
};

use crate::QuantizeError;

/// What a tensor is used for; decides how it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// Multiplied with activations: quantized.
    Matrix,
    /// Looked up by row only, and small: f16.
    Table,
    /// Norm or bias: f32.
    Vector,
}

/// A tensor of the `.kinglet` file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Canonical {
    /// Its full name.
    pub(crate) name: String,
    /// Its layer, `None` outside the layers.
    pub(crate) layer: Option<usize>,
    /// The module that owns it: `q_proj`, `attn_norm`, `embed_tokens`…
    pub(crate) module: &'static str,
    /// `weight` or `bias`.
    pub(crate) part: &'static str,
    /// `[rows, cols]` or `[len]`.
    pub(crate) dims: Vec<usize>,
    /// What it is used for.
    pub(crate) usage: Use,
}

/// All tensors of `spec`.
pub(crate) fn tensors(spec: &ModelSpec) -> Result<Vec<Canonical>, QuantizeError> {
    let mut list = List { tensors: Vec::new(), prefix: String::new(), layer: None };
    for stack in &spec.stacks {
        list.stack(stack)?;
    }
    for head in &spec.heads {
        list.head(spec, head)?;
    }
    Ok(list.tensors)
}

struct List {
    tensors: Vec<Canonical>,
    prefix: String,
    layer: Option<usize>,
}

impl List {
    fn stack(&mut self, stack: &Stack) -> Result<(), QuantizeError> {
        let hidden = stack.hidden_size;
        self.prefix = format!("{}.", stack.name);
        self.layer = None;
        let Input::Tokens { vocab_size, positions, n_segments, norm, .. } = &stack.input else {
            return Err(not_yet("input", "token embeddings"));
        };
        self.push("embed_tokens", "weight", &[*vocab_size, hidden], Use::Matrix);
        if let AbsolutePositions::Learned { max_positions, .. } = positions {
            self.push("embed_positions", "weight", &[*max_positions, hidden], Use::Table);
        }
        if *n_segments > 0 {
            self.push("embed_segments", "weight", &[*n_segments, hidden], Use::Table);
        }
        if let Some(norm) = norm {
            self.norm("embed_norm", norm, hidden);
        }
        for (i, layer) in stack.layers.iter().enumerate() {
            self.prefix = format!("{}.layers.{i}.", stack.name);
            self.layer = Some(i);
            self.layer(layer, hidden)?;
        }
        self.prefix = format!("{}.", stack.name);
        self.layer = None;
        if let Some(norm) = &stack.final_norm {
            self.norm("final_norm", norm, hidden);
        }
        Ok(())
    }

    fn layer(&mut self, layer: &Layer, hidden: usize) -> Result<(), QuantizeError> {
        if layer.cross_attention.is_some() || layer.shares_weights_of.is_some() || layer.layer_scale
        {
            return Err(not_yet("layer", "self-attention and MLP with weights of their own"));
        }
        match layer.norm_placement {
            NormPlacement::Pre => {
                self.norm("attn_norm", &layer.norm, hidden);
                self.attention(&layer.attention, hidden)?;
                self.norm("mlp_norm", &layer.norm, hidden);
                self.mlp(&layer.mlp, hidden);
            }
            NormPlacement::Post => {
                self.attention(&layer.attention, hidden)?;
                self.norm("attn_norm", &layer.norm, hidden);
                self.mlp(&layer.mlp, hidden);
                self.norm("mlp_norm", &layer.norm, hidden);
            }
            NormPlacement::Sandwich => {
                self.norm("attn_norm", &layer.norm, hidden);
                self.attention(&layer.attention, hidden)?;
                self.norm("attn_post_norm", &layer.norm, hidden);
                self.norm("mlp_norm", &layer.norm, hidden);
                self.mlp(&layer.mlp, hidden);
                self.norm("mlp_post_norm", &layer.norm, hidden);
            }
        }
        Ok(())
    }

    fn attention(&mut self, attention: &Attention, hidden: usize) -> Result<(), QuantizeError> {
        let width = |heads: usize| {
            heads.checked_mul(attention.head_dim).ok_or_else(|| QuantizeError::SizeOverflow {
                name: format!("{}q_proj.weight", self.prefix),
            })
        };
        let (q, kv) = (width(attention.n_heads)?, width(attention.n_kv_heads)?);
        self.linear("q_proj", q, hidden, attention.qkv_bias);
        self.linear("k_proj", kv, hidden, attention.qkv_bias);
        self.linear("v_proj", kv, hidden, attention.qkv_bias);
        if let Some(norm) = &attention.qk_norm {
            self.norm("q_norm", norm, attention.head_dim);
            self.norm("k_norm", norm, attention.head_dim);
        }
        self.linear("o_proj", hidden, q, attention.output_bias);
        Ok(())
    }

    fn mlp(&mut self, mlp: &Mlp, hidden: usize) {
        if mlp.gated {
            self.linear("gate_proj", mlp.intermediate_size, hidden, mlp.bias);
        }
        self.linear("up_proj", mlp.intermediate_size, hidden, mlp.bias);
        self.linear("down_proj", hidden, mlp.intermediate_size, mlp.bias);
    }

    fn head(&mut self, spec: &ModelSpec, head: &Head) -> Result<(), QuantizeError> {
        self.prefix = String::new();
        self.layer = None;
        match head {
            Head::LanguageModel { tied, bias, .. } => {
                let Some(Stack { hidden_size, input: Input::Tokens { vocab_size, .. }, .. }) =
                    spec.stacks.last()
                else {
                    return Err(not_yet("head", "a language model over token embeddings"));
                };
                if !tied {
                    self.push("lm_head", "weight", &[*vocab_size, *hidden_size], Use::Matrix);
                }
                if *bias {
                    self.push("lm_head", "bias", &[*vocab_size], Use::Vector);
                }
                Ok(())
            }
            Head::Embedding { .. } => Ok(()),
            _ => Err(not_yet("head", "language model, embedding")),
        }
    }

    fn norm(&mut self, module: &'static str, norm: &Norm, len: usize) {
        self.push(module, "weight", &[len], Use::Vector);
        if norm.bias {
            self.push(module, "bias", &[len], Use::Vector);
        }
    }

    fn linear(&mut self, module: &'static str, rows: usize, cols: usize, bias: bool) {
        self.push(module, "weight", &[rows, cols], Use::Matrix);
        if bias {
            self.push(module, "bias", &[rows], Use::Vector);
        }
    }

    fn push(&mut self, module: &'static str, part: &'static str, dims: &[usize], usage: Use) {
        self.tensors.push(Canonical {
            name: format!("{}{module}.{part}", self.prefix),
            layer: self.layer,
            module,
            part,
            dims: dims.to_vec(),
            usage,
        });
    }
}

/// A block of the spec that no family uses so far.
fn not_yet(option: &str, supported: &str) -> QuantizeError {
    QuantizeError::UnsupportedOption {
        file: "model spec".to_owned(),
        option: option.to_owned(),
        found: "another kind".to_owned(),
        supported: supported.to_owned(),
    }
}
