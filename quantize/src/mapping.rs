//! What a family says of a checkpoint: the network, where its tensors are, and what happens to them on the way.

use kinglet_formats::kinglet::Preprocessing;
use kinglet_formats::spec::{ModelSpec, TensorSpec};

use crate::made::Made;
use crate::take::Origin;

/// What a family makes of a checkpoint.
pub(crate) struct Mapping {
    /// The family's name.
    pub(crate) family: &'static str,
    /// The network.
    pub(crate) spec: ModelSpec,
    /// Where its tensors are, for each stack; heads are found with the last one's.
    pub(crate) names: Vec<Names>,
    /// What happens to them on the way.
    pub(crate) transforms: Transforms,
    /// Patterns of tensors that may be left over: buffers that follow from the configuration,
    /// and parts that the result does without.
    pub(crate) ignored: &'static [&'static str],
    /// Longest text an embedding model was made for, special tokens included.
    pub(crate) max_tokens: Option<usize>,
    /// What there is to say of a model that reads images.
    pub(crate) images: ImageUse,
}

/// How a model that reads images is used.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ImageUse {
    /// How they become its input, where a file says it.
    pub(crate) preprocessing: Option<Preprocessing>,
    /// Whether the texts that go with them are filled up to the limit, with the tokenizer's padding.
    pub(crate) fills_texts: bool,
}

/// Modules and where a checkpoint keeps them.
pub(crate) type Table = &'static [(&'static str, Origin)];

/// Where a checkpoint keeps the canonical tensors of a stack.
pub(crate) struct Names {
    /// The stack.
    pub(crate) stack: &'static str,
    /// Before every name: `model.`, `bert.`, nothing.
    pub(crate) prefix: String,
    /// Before a layer's number, after `prefix`: `layers.`, `blk.`.
    pub(crate) layers: &'static str,
    /// Canonical module -> the checkpoint's, inside a layer: what a family spells in its own way
    /// comes before what it shares with others. A table may have several places for a module, of
    /// which the first one counts that a checkpoint has. Modules that a network lacks are not looked
    /// for.
    pub(crate) in_layer: &'static [Table],
    /// Canonical module -> the checkpoint's, outside the layers.
    pub(crate) outside: Table,
    /// Endings under which old checkpoints keep tensors: (now, then).
    pub(crate) former_endings: &'static [(&'static str, &'static str)],
}

impl Names {
    /// Where the module of a canonical tensor may be, best first: what the first table that has it
    /// says.
    pub(crate) fn places(&self, tensor: &TensorSpec) -> Vec<Origin> {
        let tables = if tensor.layer.is_some() { self.in_layer } else { &[self.outside][..] };
        let of = |table: &Table| -> Vec<Origin> {
            let own = table.iter().filter(|(module, _)| *module == tensor.module);
            own.map(|(_, from)| *from).collect()
        };
        tables.iter().map(of).find(|places| !places.is_empty()).unwrap_or_default()
    }

    /// The checkpoint's name of a canonical tensor.
    pub(crate) fn stored(&self, from: &Origin, tensor: &TensorSpec) -> String {
        let name = match (tensor.layer, from.name.strip_prefix('/')) {
            (Some(i), _) => format!("{}{}{i}.{}", self.prefix, self.layers, from.name),
            (None, Some(absolute)) => absolute.to_owned(),
            (None, None) => format!("{}{}", self.prefix, from.name),
        };
        if from.bare { name } else { format!("{name}.{}", tensor.part) }
    }
}

/// How a model's table of distances is projected.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct PositionProducts {
    /// The table `[rows or more, hidden_size]`, after the stack's prefix.
    pub(crate) table: &'static str,
    /// The norm of its rows, if there is one, and its epsilon.
    pub(crate) norm: Option<(&'static str, f32)>,
    /// Modules in a layer, after the prefix of layers and the layer's number: of queries, of keys.
    pub(crate) projections: [&'static str; 2],
    /// Rows of the table that are used.
    pub(crate) rows: usize,
    pub(crate) n_heads: usize,
    pub(crate) n_layers: usize,
}

/// Changes of values and row orders between a checkpoint and the canonical form.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Transforms {
    /// Rows of `q_proj` and `k_proj` are ordered for rotations of adjacent pairs.
    pub(crate) adjacent_rope_rows: bool,
    /// Norm weights `w` are meant as `1 + w`.
    pub(crate) norm_plus_one: bool,
    /// A table of distances is projected once and for all.
    pub(crate) position_products: Option<PositionProducts>,
    /// Tensors that are made of stored ones.
    pub(crate) made: Vec<Made>,
}
