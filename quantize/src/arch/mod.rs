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
mod moonshine;
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

use crate::QuantizeError;
use crate::fields::Fields;
use crate::mapping::{ImageUse, Mapping, Names, PositionProducts, Table, Transforms};

pub(crate) use gguf_head::gguf_labels;
pub(crate) use marian::FREQUENT_WORDS;
pub(crate) use moonshine::dictation;
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
    &moonshine::FAMILY,
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
