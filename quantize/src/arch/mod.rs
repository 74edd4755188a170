//! Families of checkpoints: from a configuration and tensor names to a [`ModelSpec`] and the
//! source of every canonical tensor.
//!
//! One file per family. Each has a `FAMILY` with the names by which checkpoints call it, and two
//! functions that read a Hugging Face configuration and GGUF metadata into the same description.

mod activation;
mod bert;
mod decoder;
mod gemma3;
mod llama;
mod mistral;
mod qwen;
mod rope;

use kinglet_formats::checkpoint::Checkpoint;
use kinglet_formats::spec::ModelSpec;

use crate::QuantizeError;
use crate::fields::Fields;

/// All families, in the order in which messages list them.
const FAMILIES: [&Family; 6] =
    [&llama::FAMILY, &mistral::FAMILY, &qwen::QWEN2, &qwen::QWEN3, &gemma3::FAMILY, &bert::FAMILY];

/// A family of checkpoints.
pub(crate) struct Family {
    /// Its name in messages.
    pub(crate) name: &'static str,
    /// Values of `architectures` in `config.json`.
    pub(crate) architectures: &'static [&'static str],
    /// Value of `general.architecture` in GGUF files; empty where those use another family's.
    pub(crate) gguf: &'static str,
    /// Reads a Hugging Face folder.
    pub(crate) from_config:
        fn(&FolderConfig<'_>, &dyn Checkpoint) -> Result<Mapping, QuantizeError>,
    /// Reads GGUF metadata.
    pub(crate) from_gguf: fn(&Fields<'_>, &dyn Checkpoint) -> Result<Mapping, QuantizeError>,
}

/// The configuration files of a Hugging Face folder.
pub(crate) struct FolderConfig<'a> {
    /// `config.json`.
    pub(crate) config: Fields<'a>,
    /// What sentence-transformers adds.
    pub(crate) sentence: Option<SentenceConfig<'a>>,
    /// Tokens after which a text is cut, where a file says it.
    pub(crate) max_tokens: Option<usize>,
}

/// The configuration files that sentence-transformers adds to a folder.
pub(crate) struct SentenceConfig<'a> {
    /// The types of `modules.json`, by their last component: `Transformer`, `Pooling`…
    pub(crate) modules: Vec<&'a str>,
    /// `1_Pooling/config.json`.
    pub(crate) pooling: Fields<'a>,
}

/// What a family makes of a checkpoint.
pub(crate) struct Mapping {
    /// The family's name.
    pub(crate) family: &'static str,
    /// The network.
    pub(crate) spec: ModelSpec,
    /// Where its tensors are.
    pub(crate) names: Names,
    /// What happens to them on the way.
    pub(crate) transforms: Transforms,
    /// Patterns of tensors that may be left over: buffers that follow from the configuration,
    /// and parts that the result does without.
    pub(crate) ignored: &'static [&'static str],
    /// Longest text an embedding model was made for, special tokens included.
    pub(crate) max_tokens: Option<usize>,
}

/// Where a checkpoint keeps the canonical tensors.
pub(crate) struct Names {
    /// Before every name: `model.`, `bert.`, nothing.
    pub(crate) prefix: String,
    /// Before a layer's number, after `prefix`: `layers.`, `blk.`.
    pub(crate) layers: &'static str,
    /// Canonical module -> the checkpoint's, inside a layer.
    pub(crate) in_layer: &'static [(&'static str, &'static str)],
    /// Canonical module -> the checkpoint's, outside the layers. A leading `/` means that the
    /// prefix is not put before it.
    pub(crate) outside: &'static [(&'static str, &'static str)],
    /// Endings under which old checkpoints keep tensors: (now, then).
    pub(crate) former_endings: &'static [(&'static str, &'static str)],
}

impl Names {
    /// The checkpoint's name of a canonical tensor.
    pub(crate) fn source(&self, layer: Option<usize>, module: &str, part: &str) -> Option<String> {
        let table = if layer.is_some() { self.in_layer } else { self.outside };
        let (_, theirs) = table.iter().find(|(ours, _)| *ours == module)?;
        Some(match (layer, theirs.strip_prefix('/')) {
            (Some(i), _) => format!("{}{}{i}.{theirs}.{part}", self.prefix, self.layers),
            (None, Some(absolute)) => format!("{absolute}.{part}"),
            (None, None) => format!("{}{theirs}.{part}", self.prefix),
        })
    }
}

/// Changes of values and row orders between a checkpoint and the canonical form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Transforms {
    /// Rows of `q_proj` and `k_proj` are ordered for rotations of adjacent pairs.
    pub(crate) adjacent_rope_rows: bool,
    /// Norm weights `w` are meant as `1 + w`.
    pub(crate) norm_plus_one: bool,
}

/// Maps a Hugging Face folder by the architecture that `config.json` names.
pub(crate) fn map_folder(
    folder: &FolderConfig<'_>,
    checkpoint: &dyn Checkpoint,
) -> Result<Mapping, QuantizeError> {
    let config = &folder.config;
    let list = config.opt_list("architectures")?.ok_or_else(|| config.missing("architectures"))?;
    let names: Vec<&str> = list.iter().filter_map(|name| name.as_str()).collect();
    let family = FAMILIES
        .into_iter()
        .find(|family| names.iter().any(|name| family.architectures.contains(name)))
        .ok_or_else(|| QuantizeError::UnsupportedArchitecture {
            file: config.file().to_owned(),
            found: names.join(", "),
            supported: FAMILIES.map(|family| family.architectures.join(", ")).join(", "),
        })?;
    if config.has("quantization_config") {
        return Err(config.unsupported(
            "quantization_config",
            "already quantized weights",
            "f32, f16 and bf16 weights, or a GGUF file",
        ));
    }
    (family.from_config)(folder, checkpoint)
}

/// Maps a GGUF file by its `general.architecture`.
pub(crate) fn map_gguf<'a>(
    general: &Fields<'a>,
    keys: impl Fn(&str) -> Fields<'a>,
    checkpoint: &dyn Checkpoint,
) -> Result<Mapping, QuantizeError> {
    let architecture = general.text("architecture")?;
    let family = FAMILIES
        .into_iter()
        .find(|family| !family.gguf.is_empty() && family.gguf == architecture)
        .ok_or_else(|| QuantizeError::UnsupportedArchitecture {
            file: general.file().to_owned(),
            found: architecture.to_owned(),
            supported: FAMILIES
                .iter()
                .map(|family| family.gguf)
                .filter(|name| !name.is_empty())
                .collect::<Vec<_>>()
                .join(", "),
        })?;
    let fields = keys(architecture);
    for key in ["expert_count", "expert_used_count"] {
        if let Some(count) = fields.opt_float(key)?.filter(|&count| count != 0.0) {
            return Err(fields.unsupported(key, &count, "models without experts"));
        }
    }
    (family.from_gguf)(&fields, checkpoint)
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
mod tests;
