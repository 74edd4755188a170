//! Families of checkpoints: from a configuration and tensor names to a [`ModelSpec`] and the
//! source of every canonical tensor.
//!
//! One file per family. Each has a `FAMILY` with the names by which checkpoints call it, and two
//! functions that read a Hugging Face configuration and GGUF metadata into the same description.

mod activation;
mod albert;
mod bart;
mod bert;
mod clip;
mod cohere;
mod deberta;
mod decoder;
mod dinov2;
mod distilbert;
mod electra;
mod encoder;
mod experts;
mod gemma;
mod gemma3;
mod gguf_head;
mod gpt2;
mod granite;
mod image;
mod jina;
mod llama;
mod marian;
mod mistral;
mod mixtral;
mod modernbert;
mod mpnet;
mod neox;
mod nomic;
mod olmo;
mod phi;
mod phi3;
mod qwen;
mod qwen_moe;
mod roberta;
mod rope;
mod sentence;
mod siglip;
mod smollm3;
mod stablelm;
mod starcoder2;
mod t5;
mod task;
mod vit;
mod whisper;

use kinglet_formats::checkpoint::Checkpoint;
use kinglet_formats::kinglet::Preprocessing;
use kinglet_formats::spec::{ModelSpec, TensorSpec};

use crate::QuantizeError;
use crate::fields::Fields;
use crate::made::Made;
use crate::take::Origin;

pub(crate) use gguf_head::gguf_labels;
pub(crate) use marian::FREQUENT_WORDS;
pub(crate) use task::labels;

/// All families, in the order in which messages list them.
const FAMILIES: &[&Family] = &[
    &llama::FAMILY,
    &mistral::FAMILY,
    &mixtral::FAMILY,
    &qwen::QWEN2,
    &qwen::QWEN3,
    &qwen_moe::QWEN2_MOE,
    &qwen_moe::QWEN3_MOE,
    &phi3::FAMILY,
    &phi::FAMILY,
    &gemma::GEMMA,
    &gemma::GEMMA2,
    &gemma3::FAMILY,
    &gemma3::EMBEDDING,
    &smollm3::FAMILY,
    &granite::GRANITE,
    &granite::GRANITE_MOE,
    &starcoder2::FAMILY,
    &neox::FAMILY,
    &stablelm::FAMILY,
    &cohere::COHERE,
    &cohere::COHERE2,
    &gpt2::FAMILY,
    &olmo::OLMO2,
    &olmo::OLMOE,
    &bert::FAMILY,
    &roberta::ROBERTA,
    &roberta::XLM_ROBERTA,
    &roberta::CAMEMBERT,
    &distilbert::FAMILY,
    &mpnet::FAMILY,
    &modernbert::FAMILY,
    &nomic::FAMILY,
    &jina::FAMILY,
    &electra::FAMILY,
    &deberta::FAMILY,
    &albert::FAMILY,
    &t5::T5,
    &t5::MT5,
    &t5::UMT5,
    &bart::BART,
    &bart::MBART,
    &bart::M2M100,
    &bart::MARIAN,
    &bart::PEGASUS,
    &marian::FAMILY,
    &vit::VIT,
    &vit::DEIT,
    &dinov2::DINOV2,
    &dinov2::WITH_REGISTERS,
    &clip::FAMILY,
    &siglip::FAMILY,
    &whisper::FAMILY,
];

/// A family of checkpoints.
pub(crate) struct Family {
    /// Its name in messages.
    pub(crate) name: &'static str,
    /// Values of `architectures` in `config.json`.
    pub(crate) architectures: &'static [&'static str],
    /// Value of `model_type`, which counts where there are no `architectures`.
    pub(crate) model_type: &'static str,
    /// Reads a Hugging Face folder.
    pub(crate) from_config:
        fn(&FolderConfig<'_>, &dyn Checkpoint) -> Result<Mapping, QuantizeError>,
    /// Value of `general.architecture` in GGUF files, and what reads their metadata; `None` where
    /// those use another family's, or there are none.
    pub(crate) gguf: Option<(&'static str, FromGguf)>,
}

/// Reads GGUF metadata.
pub(crate) type FromGguf = fn(&Fields<'_>, &dyn Checkpoint) -> Result<Mapping, QuantizeError>;

/// The configuration files of a Hugging Face folder.
pub(crate) struct FolderConfig<'a> {
    /// `config.json`.
    pub(crate) config: Fields<'a>,
    /// What sentence-transformers adds.
    pub(crate) sentence: Option<SentenceConfig<'a>>,
    /// Tokens after which a text is cut, where a file says it.
    pub(crate) max_tokens: Option<usize>,
    /// `preprocessor_config.json`: how images are prepared.
    pub(crate) preprocessor: Option<Fields<'a>>,
}

/// The configuration files that sentence-transformers adds to a folder.
pub(crate) struct SentenceConfig<'a> {
    /// The types of `modules.json`, by their last component: `Transformer`, `Pooling`…
    pub(crate) modules: Vec<&'a str>,
    /// `1_Pooling/config.json`.
    pub(crate) pooling: Fields<'a>,
    /// `2_Dense/config.json` and those of further dense modules, in their order.
    pub(crate) dense: Vec<Fields<'a>>,
}

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

/// Maps a Hugging Face folder by the architecture that `config.json` names.
pub(crate) fn map_folder(
    folder: &FolderConfig<'_>,
    checkpoint: &dyn Checkpoint,
) -> Result<Mapping, QuantizeError> {
    let config = &folder.config;
    let names: Vec<&str> = match config.opt_list("architectures")? {
        Some(list) if !list.is_empty() => list.iter().filter_map(|name| name.as_str()).collect(),
        _ => vec![config.opt_text("model_type")?.ok_or_else(|| config.missing("architectures"))?],
    };
    let is = |family: &&Family, name: &&str| {
        family.architectures.contains(name) || family.model_type == *name
    };
    let family = FAMILIES
        .iter()
        .find(|family| names.iter().any(|name| is(family, name)))
        .ok_or_else(|| QuantizeError::UnsupportedArchitecture {
            file: config.file().to_owned(),
            found: names.join(", "),
            supported: FAMILIES
                .iter()
                .flat_map(|family| family.architectures)
                .copied()
                .collect::<Vec<_>>()
                .join(", "),
        })?;
    let mut mapping = (family.from_config)(folder, checkpoint)?;
    if sentence::asks_for_vectors(&mapping, folder, &names) {
        sentence::embed(&mut mapping, folder)?;
    }
    Ok(mapping)
}

/// Maps a GGUF file by its `general.architecture`.
pub(crate) fn map_gguf<'a>(
    general: &Fields<'a>,
    keys: impl Fn(&str) -> Fields<'a>,
    checkpoint: &dyn Checkpoint,
) -> Result<Mapping, QuantizeError> {
    let architecture = general.text("architecture")?;
    let known = FAMILIES.iter().filter_map(|family| family.gguf);
    let Some((_, from_gguf)) = known.clone().find(|(name, _)| *name == architecture) else {
        return Err(QuantizeError::UnsupportedArchitecture {
            file: general.file().to_owned(),
            found: architecture.to_owned(),
            supported: known.map(|(name, _)| name).collect::<Vec<_>>().join(", "),
        });
    };
    let fields = keys(architecture);
    let mut mapping = from_gguf(&fields, checkpoint)?;
    gguf_head::add(&mut mapping, &fields, checkpoint)?;
    Ok(mapping)
}

/// An error if a GGUF file has experts.
fn refuse_experts(fields: &Fields<'_>) -> Result<(), QuantizeError> {
    for key in ["expert_count", "expert_used_count"] {
        if let Some(count) = fields.opt_float(key)?.filter(|&count| count != 0.0) {
            return Err(fields.unsupported(key, &count, "models without experts"));
        }
    }
    Ok(())
}

/// Number of layers, checked against the checkpoint: a layer has at least one tensor, so that no
/// configuration can ask for more layers than its file could hold.
fn layer_count(
    fields: &Fields<'_>,
    key: &str,
    checkpoint: &dyn Checkpoint,
    default: Option<usize>,
) -> Result<usize, QuantizeError> {
    let n = match default {
        Some(default) => fields.size_or(key, default)?,
        None => fields.size(key)?,
    };
    let tensors = checkpoint.tensors().len();
    if n > tensors {
        let expected = format!("at most the number of tensors, {tensors}");
        return Err(fields.bad(key, &n, &expected));
    }
    Ok(n)
}

/// The first of `prefixes` under which the checkpoint has a tensor called `name`, else the first.
fn find_prefix(checkpoint: &dyn Checkpoint, prefixes: &[&str], name: &str) -> String {
    prefixes
        .iter()
        .find(|prefix| checkpoint.find(&format!("{prefix}{name}")).is_some())
        .or(prefixes.first())
        .map_or_else(String::new, |prefix| (*prefix).to_owned())
}

/// Dims of the tensor called `name`.
fn dims_of<'a>(
    checkpoint: &'a dyn Checkpoint,
    canonical: &str,
    name: &str,
) -> Result<&'a [usize], QuantizeError> {
    let index = checkpoint.find(name).ok_or_else(|| QuantizeError::MissingTensor {
        canonical: canonical.to_owned(),
        looked_for: name.to_owned(),
    })?;
    Ok(&checkpoint.tensors()[index].dims)
}

#[cfg(test)]
mod decoder_tests;
#[cfg(test)]
mod tests;
