//! The fields for stages of the sampler that are off unless asked for; llama.cpp's names.

use kinglet::{DynamicTemperature, Mirostat, MirostatVersion, SamplerExtras, SamplerStage, Xtc};

use crate::error::ApiError;
use crate::fields::Fields;

/// Most texts that no repeated sequence goes beyond: all tokens are looked through for each.
const MOST_BREAKERS: usize = 16;

pub(super) fn take(fields: &mut Fields) -> Result<SamplerExtras, ApiError> {
    let mut extras = SamplerExtras::default();
    if let Some(names) = fields.optional::<Vec<String>>("samplers")? {
        let stages = names.iter().map(|name| name.parse::<SamplerStage>());
        extras.order =
            stages.collect::<Result<_, _>>().map_err(|error| fields.wrong("samplers", error))?;
    }
    // llama.cpp's "off" is -1.
    let sigma = fields.number("top_n_sigma", -1.0..=f32::MAX)?;
    extras.top_n_sigma = sigma.unwrap_or(0.0).max(0.0);
    extras.typical_p = fields.number("typical_p", f32::MIN_POSITIVE..=1.0)?.unwrap_or(1.0);
    extras.xtc = Xtc {
        probability: fields.number("xtc_probability", 0.0..=1.0)?.unwrap_or(extras.xtc.probability),
        threshold: fields.number("xtc_threshold", 0.0..=1.0)?.unwrap_or(extras.xtc.threshold),
    };
    let dry = &mut extras.dry;
    dry.multiplier = fields.number("dry_multiplier", 0.0..=f32::MAX)?.unwrap_or(dry.multiplier);
    dry.base = fields.number("dry_base", 1.0..=f32::MAX)?.unwrap_or(dry.base);
    let allowed = fields.count("dry_allowed_length", 0..=usize::MAX)?;
    dry.allowed_length = allowed.unwrap_or(dry.allowed_length);
    if let Some(n) = fields.optional::<i64>("dry_penalty_last_n")? {
        if n < -1 {
            return Err(fields.wrong("dry_penalty_last_n", "must be -1, for all, or more"));
        }
        dry.last_n = usize::try_from(n).ok();
    }
    if let Some(texts) = fields.optional::<Vec<String>>("dry_sequence_breakers")? {
        if texts.len() > MOST_BREAKERS {
            let why = format!("has more than {MOST_BREAKERS} texts");
            return Err(fields.wrong("dry_sequence_breakers", why));
        }
        dry.breakers = texts;
    }
    extras.dynamic_temperature = DynamicTemperature {
        range: fields.number("dynatemp_range", 0.0..=100.0)?.unwrap_or(0.0),
        exponent: fields.number("dynatemp_exponent", f32::MIN_POSITIVE..=100.0)?.unwrap_or(1.0),
    };
    let version = match fields.count("mirostat", 0..=2)? {
        None | Some(0) => None,
        Some(1) => Some(MirostatVersion::One),
        Some(_) => Some(MirostatVersion::Two),
    };
    let own = Mirostat::default();
    let tau = fields.number("mirostat_tau", 0.0..=100.0)?.unwrap_or(own.tau);
    let eta = fields.number("mirostat_eta", 0.0..=100.0)?.unwrap_or(own.eta);
    extras.mirostat = version.map(|version| Mirostat { version, tau, eta });
    Ok(extras)
}
