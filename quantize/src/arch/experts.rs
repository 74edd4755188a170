//! Experts: their keys and tensor names.

use kinglet_formats::spec::Experts;

use super::Table;
use super::decoder::Decoder;
use crate::QuantizeError;
use crate::fields::Fields;
use crate::take::at;

/// Rows of one expert, where both halves are one tensor for all of them.
pub(super) const GATE_UP: &[&str] = &["expert_gate_proj", "expert_up_proj"];

/// Besides a family's names, in Hugging Face checkpoints: a tensor for each expert, or for all.
pub(super) const IN_LAYER: Table = &[
    ("router", at("mlp.gate")),
    ("expert_gate_proj", at("mlp.experts.{e}.gate_proj")),
    ("expert_gate_proj", at("mlp.experts.gate_up_proj").bare().fused(GATE_UP).per_group()),
    ("expert_up_proj", at("mlp.experts.{e}.up_proj")),
    ("expert_up_proj", at("mlp.experts.gate_up_proj").bare().fused(GATE_UP).per_group()),
    ("expert_down_proj", at("mlp.experts.{e}.down_proj")),
    ("expert_down_proj", at("mlp.experts.down_proj").bare()),
];

/// Besides a family's names, in GGUF files: a tensor for all experts, or, in old files, for each.
pub(super) const GGUF_IN_LAYER: Table = &[
    ("router", at("ffn_gate_inp")),
    ("expert_gate_proj", at("ffn_gate_exps")),
    ("expert_gate_proj", at("ffn_gate.{e}")),
    ("expert_up_proj", at("ffn_up_exps")),
    ("expert_up_proj", at("ffn_up.{e}")),
    ("expert_down_proj", at("ffn_down_exps")),
    ("expert_down_proj", at("ffn_down.{e}")),
];

/// The experts of a GGUF file, if it has some. Whether the weights of the chosen ones are scaled to
/// a sum of one is the family's to know.
pub(super) fn from_gguf(
    fields: &Fields<'_>,
    decoder: &Decoder,
    renormalize: bool,
) -> Result<Option<Experts>, QuantizeError> {
    // Writers put 0 for none.
    if fields.opt_float("expert_count")?.is_none_or(|count| count == 0.0) {
        return Ok(None);
    }
    Ok(Some(Experts {
        n_experts: fields.size("expert_count")?,
        n_used: fields.size("expert_used_count")?,
        intermediate_size: fields
            .size_or("expert_feed_forward_length", decoder.intermediate_size)?,
        activation: decoder.activation,
        renormalize,
    }))
}

/// Reads which layers have an MLP in place of experts: those that `mlp_only_layers` lists, and all
/// but each `decoder_sparse_step`-th.
pub(super) fn dense_layers(
    config: &Fields<'_>,
    decoder: &mut Decoder,
) -> Result<(), QuantizeError> {
    let step = config.size_or("decoder_sparse_step", 1)?;
    let listed = config.opt_list("mlp_only_layers")?.unwrap_or_default();
    for (i, layer) in decoder.layers.iter_mut().enumerate() {
        let listed = listed.iter().any(|number| number.as_u64() == Some(i as u64));
        layer.dense = listed || !(i + 1).is_multiple_of(step);
    }
    Ok(())
}
