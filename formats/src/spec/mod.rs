//! The model as data: what the quantizer writes down and the runtime executes.
//!
//! A [`ModelSpec`] describes a network in terms of stacks, residual blocks, mixers and heads, never
//! by the name of an architecture. It is stored as JSON in the meta section of a `.kinglet` file.
//! Every type is closed: an unknown field or variant is a load error, because ignoring one would
//! compute something else than the checkpoint means.
//!
//! The tensors that a spec consists of, with their names, dims and use, are listed in one place:
//! [`ModelSpec::tensors`].

use serde::{Deserialize, Serialize};

mod attention;
mod head;
mod input;
mod layer;
mod mlp;
mod rope;
mod tensors;
mod validate;

pub use attention::{Attention, Position, QkNorm, QkNormScope};
pub use head::{AttentionPool, Dense, Head, Output, Pooling, Scores, Shortlist, Similarity};
pub use input::{
    AbsolutePositions, Convolution, Input, PatchInput, SampleConvolution, SampleInput,
    SpectrogramInput, TokenInput,
};
pub use layer::{Block, Gain, Layer, Mixer, MixerKind, Norm, NormKind};
pub use mlp::{Activation, Experts, Mlp};
pub use rope::{Rope, RopePairs, RopeScaling};
pub use tensors::{TensorSpec, TensorUse};
pub use validate::SpecError;

/// A whole network: one or more stacks of layers and what is read off their output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSpec {
    /// The stacks. One that reads another's output comes after it.
    pub stacks: Vec<Stack>,
    /// What the model offers: at least one head.
    pub heads: Vec<Head>,
    /// Longest sequence the checkpoint was made for, in positions.
    pub context_length: usize,
}

/// A stack of transformer layers with its input and final norm.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stack {
    /// Prefix of the stack's tensor names: `decoder`, `encoder`, `text`, `image`.
    pub name: String,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// What enters the first layer.
    pub input: Input,
    /// The layers, first to last.
    pub layers: Vec<Layer>,
    /// Norm after the last layer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub final_norm: Option<Norm>,
}

impl ModelSpec {
    /// The stack called `name` and its number.
    pub fn stack(&self, name: &str) -> Option<(usize, &Stack)> {
        self.stacks.iter().enumerate().find(|(_, stack)| stack.name == name)
    }

    /// The stack that `head` reads and its number: the one it names, or the last.
    pub fn stack_of(&self, head: &Head) -> Option<(usize, &Stack)> {
        match &head.stack {
            Some(name) => self.stack(name),
            None => self.stacks.iter().enumerate().next_back(),
        }
    }

    /// The head whose output is a logit for each token of the vocabulary, if there is one.
    pub fn logits_head(&self) -> Option<&Head> {
        self.heads.iter().find(|head| matches!(head.output, Output::Logits { .. }))
    }

    /// Whether the network continues texts: it has logits of tokens, of a stack that sees no later
    /// position.
    pub fn generates(&self) -> bool {
        let stack = self.logits_head().and_then(|head| self.stack_of(head));
        stack.is_some_and(|(_, stack)| stack.is_causal())
    }

    /// Whether what it generates is an answer to a source, which another stack reads.
    pub fn reads_source(&self) -> bool {
        let stack = self.logits_head().and_then(|head| self.stack_of(head));
        stack.is_some_and(|(_, stack)| stack.attentions().any(|a| a.memory.is_some()))
    }

    /// The stack that reads images, if there is one, and what enters it.
    pub fn image_stack(&self) -> Option<(&Stack, &PatchInput)> {
        self.stacks.iter().find_map(|stack| match &stack.input {
            Input::Patches(patches) => Some((stack, patches)),
            _ => None,
        })
    }

    /// The head that scores labels, if there is one.
    pub fn labels_head(&self) -> Option<&Head> {
        self.heads.iter().find(|head| matches!(head.output, Output::Labels { .. }))
    }
}

impl Stack {
    /// All attention blocks, in execution order.
    pub fn attentions(&self) -> impl Iterator<Item = &Attention> {
        self.layers
            .iter()
            .flat_map(|layer| &layer.blocks)
            .flat_map(|block| &block.mixers)
            .filter_map(|mixer| match &mixer.kind {
                MixerKind::Attention(attention) => Some(attention),
                _ => None,
            })
    }

    /// Number of recurrent units, each with a state of the stack's width.
    pub fn n_states(&self) -> usize {
        let mixers = self.layers.iter().flat_map(|layer| &layer.blocks);
        let mixers = mixers.flat_map(|block| &block.mixers);
        mixers.filter(|mixer| mixer.kind == MixerKind::Ssru).count()
    }

    /// Whether no position ever sees a later one of its own sequence.
    pub fn is_causal(&self) -> bool {
        self.attentions().all(|a| a.causal || a.memory.is_some())
    }
}

fn is_zero(n: &usize) -> bool {
    *n == 0
}

fn is_false(b: &bool) -> bool {
    !*b
}

fn is_true(b: &bool) -> bool {
    *b
}

fn yes() -> bool {
    true
}

fn one() -> f32 {
    1.0
}

fn is_one(x: &f32) -> bool {
    *x == 1.0
}
