//! Rotary positions in configurations: both spellings of Hugging Face, and GGUF keys.

use kinglet_formats::checkpoint::Checkpoint;
use kinglet_formats::spec::{Rope, RopePairs, RopeScaling};

use super::decoder::Defaults;
use crate::QuantizeError;
use crate::fields::Fields;

/// Rotation of the first `dims` of each head without scaling.
pub(super) fn plain(theta: f32, dims: usize) -> Rope {
    Rope { theta, dims, pairs: RopePairs::Half, scaling: RopeScaling::None }
}

/// Reads `rope_parameters`, or the older `rope_theta` and `rope_scaling`.
///
/// `layer_type` selects an entry where `rope_parameters` has one per type of layer.
pub(super) fn from_config(
    config: &Fields<'_>,
    defaults: &Defaults,
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
    let first = |key: &str| own.clone().find(|fields| fields.has(key));
    let theta = match first("rope_theta") {
        Some(fields) => fields.positive_float("rope_theta")?,
        // The second is GPT-NeoX's.
        None if config.has("rope_theta") => config.positive_float("rope_theta")?,
        None => config.positive_float_or("rotary_emb_base", defaults.rope_theta)?,
    };
    for fields in own.clone().chain([config]) {
        if fields.flag_or("rope_interleaved", false)? {
            return Err(fields.unsupported("rope_interleaved", "true", "false"));
        }
    }
    let dims = rotated(config, first("partial_rotary_factor"), defaults, head_dim)?;
    let scaling = match scaling.as_ref().or(parameters.as_ref()) {
        Some(scaling) => scaling_from_config(scaling, config, defaults, dims)?,
        None => RopeScaling::None,
    };
    Ok(Rope { scaling, ..plain(theta, dims) })
}

/// Dimensions of a head that are rotated.
fn rotated(
    config: &Fields<'_>,
    own: Option<&Fields<'_>>,
    defaults: &Defaults,
    head_dim: usize,
) -> Result<usize, QuantizeError> {
    let (fields, key) = match own {
        Some(own) => (own, "partial_rotary_factor"),
        None if config.has("partial_rotary_factor") => (config, "partial_rotary_factor"),
        // GPT-NeoX's.
        None => (config, "rotary_pct"),
    };
    let factor = fields.opt_float_within(key, 0.0..=1.0)?;
    let Some(default) = defaults.partial_rotary else {
        if let Some(factor) = factor.filter(|&factor| factor != 1.0) {
            return Err(fields.unsupported(key, &factor, "1"));
        }
        return check_even(config, "head_dim", head_dim);
    };
    let factor = factor.unwrap_or(default);
    match (head_dim as f32 * factor) as usize {
        0 => Err(fields.bad(key, &factor, &format!("a part of the head's {head_dim}"))),
        dims => check_even(fields, key, dims),
    }
}

fn scaling_from_config(
    scaling: &Fields<'_>,
    config: &Fields<'_>,
    defaults: &Defaults,
    dims: usize,
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
        // What Phi-3 called so at first.
        "yarn" if scaling.has("short_factor") => long_rope(scaling, config, defaults, dims)?,
        "yarn" => {
            let factor = scaling.positive_float("factor")?;
            RopeScaling::Yarn {
                factor,
                original_context_length: original_context_length(scaling, config)?,
                beta_fast: scaling.positive_float_or("beta_fast", 32.0)?,
                beta_slow: scaling.positive_float_or("beta_slow", 1.0)?,
                attention_factor: match scaling.opt_float("attention_factor")? {
                    Some(x) => x,
                    None => yarn_mscale(scaling, factor)?,
                },
                truncate: scaling.flag_or("truncate", true)?,
            }
        }
        "longrope" | "su" => long_rope(scaling, config, defaults, dims)?,
        other => {
            let supported = "default, linear, dynamic, llama3, yarn, longrope";
            return Err(scaling.unsupported(key, other, supported));
        }
    })
}

/// YaRN's factor on q and k where a configuration gives none: for the extension alone, or the
/// ratio of two with weights.
fn yarn_mscale(scaling: &Fields<'_>, factor: f32) -> Result<f32, QuantizeError> {
    let [above, below] = ["mscale", "mscale_all_dim"].map(|key| scaling.float_or(key, 0.0));
    Ok(match (above?, below?) {
        (above, below) if above != 0.0 && below != 0.0 => {
            yarn_attention_factor(factor, above) / yarn_attention_factor(factor, below)
        }
        _ => yarn_attention_factor(factor, 1.0),
    })
}

/// Reads the two lists of LongRoPE, each with a divisor for each pair of the rotated `dims`.
fn long_rope(
    scaling: &Fields<'_>,
    config: &Fields<'_>,
    defaults: &Defaults,
    dims: usize,
) -> Result<RopeScaling, QuantizeError> {
    let factors = |key: &str| -> Result<Vec<f32>, QuantizeError> {
        let list = scaling.opt_list(key)?.ok_or_else(|| scaling.missing(key))?;
        if list.len() != dims / 2 {
            let expected = format!("one for each of the {} pairs", dims / 2);
            return Err(scaling.bad(key, &format!("{} numbers", list.len()), &expected));
        }
        let number = |value: &serde_json::Value| value.as_f64().map(|x| x as f32);
        let numbers: Option<Vec<f32>> = list.iter().map(number).collect();
        numbers.ok_or_else(|| scaling.bad(key, "something else", "a list of numbers"))
    };
    let original_context_length = original_context_length(scaling, config)?;
    let original = original_context_length as f32;
    let longest = config.size_or("max_position_embeddings", defaults.context_length)?;
    let factor = scaling.positive_float_or("factor", longest as f32 / original)?;
    let usual = if factor <= 1.0 { 1.0 } else { (1.0 + factor.ln() / original.ln()).sqrt() };
    Ok(RopeScaling::LongRope {
        short: factors("short_factor")?,
        long: factors("long_factor")?,
        original_context_length,
        attention_factor: scaling.positive_float_or("attention_factor", usual)?,
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

/// Reads `rope.*` of a GGUF file and its tensors of divisors per frequency, if there are some.
pub(super) fn from_gguf(
    fields: &Fields<'_>,
    checkpoint: &dyn Checkpoint,
    defaults: &Defaults,
    head_dim: usize,
) -> Result<Rope, QuantizeError> {
    let key = "rope.dimension_count";
    let dims = check_even(fields, key, fields.size_or(key, head_dim)?)?;
    if dims > head_dim {
        return Err(fields.bad(key, &dims, &format!("at most the head's {head_dim}")));
    }
    let theta = fields.positive_float_or("rope.freq_base", defaults.rope_theta)?;
    let read = |name: &str| divisors(checkpoint, name, dims);
    let lists = (read("rope_factors_short.weight")?, read("rope_factors_long.weight")?);
    let scaling = match (lists, read("rope_freqs.weight")?) {
        ((Some(short), Some(long)), _) => RopeScaling::LongRope {
            short,
            long,
            original_context_length: fields.size("rope.scaling.original_context_length")?,
            attention_factor: fields.positive_float_or("rope.scaling.attn_factor", 1.0)?,
        },
        (_, Some(factors)) => match scaling_from_gguf(fields)? {
            RopeScaling::None => RopeScaling::PerFrequency { factors, attention_factor: 1.0 },
            _ => {
                let found = "a factor and a tensor of divisors";
                return Err(fields.unsupported("rope.scaling.type", found, "one of the two"));
            }
        },
        (_, None) => scaling_from_gguf(fields)?,
    };
    Ok(Rope { scaling, ..plain(theta, dims) })
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
                    yarn_attention_factor(factor, 1.0),
                )?,
            truncate: true,
        },
        other => {
            return Err(fields.unsupported("rope.scaling.type", other, "none, linear, yarn"));
        }
    })
}

/// A tensor of divisors: Llama 3's scaling, or one of LongRoPE's lists.
fn divisors(
    checkpoint: &dyn Checkpoint,
    name: &str,
    dims: usize,
) -> Result<Option<Vec<f32>>, QuantizeError> {
    let Some(index) = checkpoint.find(name) else { return Ok(None) };
    let info = &checkpoint.tensors()[index];
    if info.dims != [dims / 2] {
        return Err(QuantizeError::Shape {
            name: info.name.clone(),
            found: info.dims.clone(),
            expected: vec![dims / 2],
        });
    }
    let mut factors = vec![0.0; dims / 2];
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
fn yarn_attention_factor(factor: f32, weight: f32) -> f32 {
    if factor <= 1.0 { 1.0 } else { 0.1 * weight * factor.ln() + 1.0 }
}

/// `dims`, if they make pairs.
fn check_even(fields: &Fields<'_>, key: &str, dims: usize) -> Result<usize, QuantizeError> {
    if dims.is_multiple_of(2) {
        Ok(dims)
    } else {
        Err(fields.bad(key, &dims, "an even number, as rotations work on pairs"))
    }
}
