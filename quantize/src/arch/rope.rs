//! Rotary positions in configurations: both spellings of Hugging Face, and GGUF keys.

use kinglet_formats::checkpoint::Checkpoint;
use kinglet_formats::spec::{Rope, RopePairs, RopeScaling};

use crate::QuantizeError;
use crate::fields::Fields;

/// Rotation over whole heads without scaling.
pub(super) fn plain(theta: f32, head_dim: usize) -> Rope {
    Rope { theta, dims: head_dim, pairs: RopePairs::Half, scaling: RopeScaling::None }
}

/// Reads `rope_parameters`, or the older `rope_theta` and `rope_scaling`.
///
/// `layer_type` selects an entry where `rope_parameters` has one per type of layer.
pub(super) fn from_config(
    config: &Fields<'_>,
    default_theta: f32,
    head_dim: usize,
    layer_type: &str,
) -> Result<Rope, QuantizeError> {
    // Extends the context of layers that see all of it.
    let scaling = match layer_type {
        "full_attention" => config.nested("rope_scaling")?,
        _ => None,
    };
    let parameters = match config.nested("rope_parameters")? {
        Some(parameters) if parameters.has(layer_type) => parameters.nested(layer_type)?,
        // Where a configuration has both, the reference takes the older key.
        parameters => parameters.filter(|_| scaling.is_none()),
    };
    let own = [&scaling, &parameters].into_iter().flatten();
    let theta = match own.clone().find(|fields| fields.has("rope_theta")) {
        Some(fields) => fields.positive_float("rope_theta")?,
        None => config.positive_float_or("rope_theta", default_theta)?,
    };
    for fields in own.chain([config]) {
        let factor = fields.float_or("partial_rotary_factor", 1.0)?;
        if factor != 1.0 {
            return Err(fields.unsupported("partial_rotary_factor", &factor, "1"));
        }
        if fields.flag_or("rope_interleaved", false)? {
            return Err(fields.unsupported("rope_interleaved", "true", "false"));
        }
    }
    check_even(config, "head_dim", head_dim)?;
    let scaling = match scaling.or(parameters) {
        Some(scaling) => scaling_from_config(&scaling, config)?,
        None => RopeScaling::None,
    };
    Ok(Rope { scaling, ..plain(theta, head_dim) })
}

fn scaling_from_config(
    scaling: &Fields<'_>,
    config: &Fields<'_>,
) -> Result<RopeScaling, QuantizeError> {
    let key = if scaling.has("rope_type") { "rope_type" } else { "type" };
    Ok(match scaling.opt_text(key)?.unwrap_or("default") {
        // "dynamic" scales beyond `max_position_embeddings`, where no session gets.
        "default" | "dynamic" => RopeScaling::None,
        "linear" => RopeScaling::Linear { factor: scaling.positive_float("factor")? },
        "llama3" => RopeScaling::Llama3 {
            factor: scaling.positive_float("factor")?,
            low_freq_factor: scaling.positive_float("low_freq_factor")?,
            high_freq_factor: scaling.positive_float("high_freq_factor")?,
            original_context_length: original_context_length(scaling, config)?,
        },
        "yarn" => {
            for key in ["mscale", "mscale_all_dim"] {
                if scaling.has(key) {
                    let found = scaling.float(key)?;
                    return Err(scaling.unsupported(key, &found, "yarn without it"));
                }
            }
            if !scaling.flag_or("truncate", true)? {
                return Err(scaling.unsupported("truncate", "false", "true"));
            }
            let factor = scaling.positive_float("factor")?;
            RopeScaling::Yarn {
                factor,
                original_context_length: original_context_length(scaling, config)?,
                beta_fast: scaling.positive_float_or("beta_fast", 32.0)?,
                beta_slow: scaling.positive_float_or("beta_slow", 1.0)?,
                attention_factor: match scaling.opt_float("attention_factor")? {
                    Some(x) => x,
                    None => yarn_attention_factor(factor),
                },
            }
        }
        other => {
            return Err(scaling.unsupported(key, other, "default, linear, dynamic, llama3, yarn"));
        }
    })
}

/// The context that the model had before it was extended. The reference prefers a key beside the
/// parameters to one among them.
fn original_context_length(
    scaling: &Fields<'_>,
    config: &Fields<'_>,
) -> Result<usize, QuantizeError> {
    let key = "original_max_position_embeddings";
    for fields in [config, scaling] {
        if let Some(n) = fields.opt_size(key)? {
            return Ok(n);
        }
    }
    config.size("max_position_embeddings")
}

/// Reads `rope.*` of a GGUF file and its tensor of divisors per frequency, if there is one.
pub(super) fn from_gguf(
    fields: &Fields<'_>,
    checkpoint: &dyn Checkpoint,
    default_theta: f32,
    head_dim: usize,
) -> Result<Rope, QuantizeError> {
    let dims = fields.size_or("rope.dimension_count", head_dim)?;
    if dims != head_dim {
        let supported = format!("the whole head, {head_dim}");
        return Err(fields.unsupported("rope.dimension_count", &dims, &supported));
    }
    check_even(fields, "attention.key_length", head_dim)?;
    let theta = fields.positive_float_or("rope.freq_base", default_theta)?;
    let scaling = scaling_from_gguf(fields)?;
    let scaling = match (divisors(checkpoint, head_dim)?, scaling) {
        (None, scaling) => scaling,
        (Some(factors), RopeScaling::None) => {
            RopeScaling::PerFrequency { factors, attention_factor: 1.0 }
        }
        (Some(_), _) => {
            let found = "a factor and a tensor of divisors";
            return Err(fields.unsupported("rope.scaling.type", found, "one of the two"));
        }
    };
    Ok(Rope { scaling, ..plain(theta, head_dim) })
}

fn scaling_from_gguf(fields: &Fields<'_>) -> Result<RopeScaling, QuantizeError> {
    let old = fields.float_or("rope.scale_linear", 1.0)?;
    // Writers put 0 for "no scaling".
    let factor = match fields.float_or("rope.scaling.factor", old)? {
        0.0 => 1.0,
        factor if factor > 0.0 => factor,
        factor => return Err(fields.bad("rope.scaling.factor", &factor, "a number above zero")),
    };
    Ok(match fields.opt_text("rope.scaling.type")?.unwrap_or("linear") {
        "none" => RopeScaling::None,
        "linear" if factor == 1.0 => RopeScaling::None,
        "linear" => RopeScaling::Linear { factor },
        "yarn" => RopeScaling::Yarn {
            factor,
            original_context_length: fields.size("rope.scaling.original_context_length")?,
            beta_fast: fields.positive_float_or("rope.scaling.yarn_beta_fast", 32.0)?,
            beta_slow: fields.positive_float_or("rope.scaling.yarn_beta_slow", 1.0)?,
            // The first multiplies YaRN's own factor, the second is a configuration's
            // `attention_factor`, which stands in its place.
            attention_factor: fields.positive_float_or("rope.scaling.attn_factor", 1.0)?
                * fields.positive_float_or(
                    "rope.scaling.yarn_attn_factor",
                    yarn_attention_factor(factor),
                )?,
        },
        other => {
            return Err(fields.unsupported("rope.scaling.type", other, "none, linear, yarn"));
        }
    })
}

/// The tensor by which GGUF files carry Llama 3's scaling.
fn divisors(
    checkpoint: &dyn Checkpoint,
    head_dim: usize,
) -> Result<Option<Vec<f32>>, QuantizeError> {
    let Some(index) = checkpoint.find("rope_freqs.weight") else { return Ok(None) };
    let info = &checkpoint.tensors()[index];
    if info.dims != [head_dim / 2] {
        return Err(QuantizeError::Shape {
            name: info.name.clone(),
            found: info.dims.clone(),
            expected: vec![head_dim / 2],
        });
    }
    let mut factors = vec![0.0; head_dim / 2];
    checkpoint.read_rows(index, 0, &mut factors)?;
    if let Some(col) = factors.iter().position(|x| !x.is_finite() || *x <= 0.0) {
        return Err(QuantizeError::Encode {
            tensor: info.name.clone(),
            source: kinglet_formats::layout::EncodeError::NonFinite {
                row: 0,
                col,
                value: factors[col],
            },
        });
    }
    Ok(Some(factors))
}

/// The factor YaRN puts on q and k where a configuration does not set one.
fn yarn_attention_factor(factor: f32) -> f32 {
    if factor <= 1.0 { 1.0 } else { 0.1 * factor.ln() + 1.0 }
}

fn check_even(fields: &Fields<'_>, key: &str, head_dim: usize) -> Result<(), QuantizeError> {
    if head_dim.is_multiple_of(2) {
        Ok(())
    } else {
        Err(fields.bad(key, &head_dim, "an even number, as rotations work on pairs"))
    }
}
