//! Arguments for stages of the sampler that are off unless asked for.

use clap::Args;
use kinglet::{
    Dry, DynamicTemperature, Mirostat, MirostatVersion, SamplerExtras, SamplerStage, Xtc,
};

use crate::arguments::Text;
use crate::numbers;

/// Stages that are off unless asked for; llama.cpp's names.
#[derive(Args, Debug)]
#[command(next_help_heading = "Rarer stages of sampling")]
pub(super) struct ExtraArguments {
    /// The stages in the order in which they act; what is left out is off
    #[arg(long, value_name = "A;B;…", value_delimiter = ';')]
    #[arg(
        default_value = "penalties;dry;top_n_sigma;top_k;typ_p;top_p;min_p;xtc;temperature",
        hide_default_value = true
    )]
    samplers: Vec<SamplerStage>,
    /// Make this token likelier by X, or less likely (may be repeated); -inf forbids it
    #[arg(short, long, value_name = "ID(+/-)X", value_parser = bias)]
    pub(super) logit_bias: Vec<(u32, f32)>,
    /// Only tokens whose logit is within N standard deviations of the largest; 0 for all
    #[arg(long = "top-nsigma", value_name = "N", default_value = "0", hide_default_value = true)]
    #[arg(alias = "top-n-sigma", allow_negative_numbers = true)]
    top_n_sigma: f32,
    /// Only the tokens nearest to the expected surprise that reach probability P; 1 for all
    #[arg(long = "typical", value_name = "P", default_value = "1", hide_default_value = true)]
    #[arg(alias = "typical-p", value_parser = numbers::probability)]
    typical_p: f32,
    /// How often the likeliest tokens are left out; 0 for never
    #[arg(long, value_name = "P", default_value = "0", hide_default_value = true)]
    #[arg(value_parser = numbers::probability)]
    xtc_probability: f32,
    /// What makes a token one of those, of which the least likely stays
    #[arg(long, value_name = "P", default_value = "0.1", value_parser = numbers::probability)]
    xtc_threshold: f32,
    /// Penalty on tokens that lengthen a repeated sequence; 0 is off, 0.8 is usual
    #[arg(long, value_name = "X", default_value = "0", hide_default_value = true)]
    #[arg(value_parser = numbers::temperature)]
    dry_multiplier: f32,
    /// How much it grows with each token of the sequence
    #[arg(long, value_name = "X", default_value = "1.75", value_parser = numbers::finite)]
    dry_base: f32,
    /// Sequences shorter than this cost nothing
    #[arg(long, value_name = "N", default_value = "2", value_parser = numbers::count)]
    dry_allowed_length: usize,
    /// How many recent tokens are looked at; -1 for all
    #[arg(long, value_name = "N", default_value = "-1", allow_negative_numbers = true)]
    #[arg(value_parser = numbers::predict)]
    dry_penalty_last_n: super::Limit,
    /// A text that no repeated sequence goes beyond (may be repeated); `none` for no such text
    #[arg(long, value_name = "TEXT", value_parser = Text, allow_hyphen_values = true)]
    dry_sequence_breaker: Vec<String>,
    /// How far the temperature may go up and down with the model's sureness; 0 is off
    #[arg(long, value_name = "X", default_value = "0", hide_default_value = true)]
    #[arg(value_parser = numbers::temperature)]
    dynatemp_range: f32,
    /// The power of the entropy that it follows
    #[arg(long = "dynatemp-exp", value_name = "X", default_value = "1")]
    #[arg(value_parser = numbers::finite)]
    dynatemp_exponent: f32,
    /// Hold the surprise of the text at a level, by algorithm 1 or 2; 0 is off
    #[arg(long, value_name = "N", default_value = "0", hide_default_value = true)]
    #[arg(value_parser = clap::value_parser!(u8).range(0..=2))]
    mirostat: u8,
    /// The level, in bits
    #[arg(long = "mirostat-ent", value_name = "X", default_value = "5")]
    #[arg(value_parser = numbers::temperature)]
    mirostat_tau: f32,
    /// How fast errors are made up for
    #[arg(long = "mirostat-lr", value_name = "X", default_value = "0.1")]
    #[arg(value_parser = numbers::temperature)]
    mirostat_eta: f32,
}

impl ExtraArguments {
    pub(super) fn extras(&self) -> SamplerExtras {
        let own = SamplerExtras::default();
        let breakers = match self.dry_sequence_breaker.as_slice() {
            [] => own.dry.breakers,
            [none] if none == "none" => Vec::new(),
            texts => texts.to_vec(),
        };
        let version = match self.mirostat {
            0 => None,
            1 => Some(MirostatVersion::One),
            _ => Some(MirostatVersion::Two),
        };
        SamplerExtras {
            order: self.samplers.clone(),
            top_n_sigma: self.top_n_sigma.max(0.0), // llama.cpp's "off" is -1
            typical_p: self.typical_p,
            xtc: Xtc { probability: self.xtc_probability, threshold: self.xtc_threshold },
            dry: Dry {
                multiplier: self.dry_multiplier,
                base: self.dry_base,
                allowed_length: self.dry_allowed_length,
                last_n: self.dry_penalty_last_n,
                breakers,
            },
            dynamic_temperature: DynamicTemperature {
                range: self.dynatemp_range,
                exponent: self.dynatemp_exponent,
            },
            mirostat: version.map(|version| Mirostat {
                version,
                tau: self.mirostat_tau,
                eta: self.mirostat_eta,
            }),
        }
    }
}

/// `15043+1`, `2-inf`.
fn bias(text: &str) -> Result<(u32, f32), String> {
    let wrong = || "it must be a token's id and what to add, as 15043+1 or 15043-inf".to_owned();
    let at = text.find(['+', '-']).ok_or_else(wrong)?;
    let id = text[..at].parse().map_err(|_| wrong())?;
    let bias: f32 = text[at..].parse().map_err(|_| wrong())?;
    if bias.is_nan() { Err(wrong()) } else { Ok((id, bias)) }
}
