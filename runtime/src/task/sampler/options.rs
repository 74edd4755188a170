//! What a sampler can be asked for.

use std::fmt;
use std::str::FromStr;

use crate::error::Error;

/// Settings of the sampler.
#[derive(Clone, Debug, PartialEq)]
pub struct SamplerOptions {
    /// Divides (multiplies, if negative) the logits of recent tokens; 1 is off.
    pub repeat_penalty: f32,
    /// How many recent tokens count as repeated.
    pub repeat_last_n: usize,
    /// Taken from the logits of tokens that are among the recent ones; 0 is off.
    pub presence_penalty: f32,
    /// Taken from the logits of recent tokens as often as they are among them; 0 is off.
    pub frequency_penalty: f32,
    /// Added to the logits of these tokens; `-inf` forbids one.
    pub logit_bias: Vec<(u32, f32)>,
    /// Keep the `k` likeliest tokens; 0 keeps all.
    pub top_k: usize,
    /// Keep the likeliest tokens that together reach this probability; 1 keeps all.
    pub top_p: f32,
    /// Keep tokens at least this fraction as likely as the likeliest; 0 keeps all.
    pub min_p: f32,
    /// Logits are divided by this; 0 always takes the likeliest token.
    pub temperature: f32,
    /// Start of the random sequence.
    pub seed: u64,
    /// What is off unless asked for, and the order of all.
    pub extras: SamplerExtras,
}

impl Default for SamplerOptions {
    fn default() -> Self {
        Self {
            repeat_penalty: 1.0,
            repeat_last_n: 64,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            logit_bias: Vec::new(),
            top_k: 40,
            top_p: 0.95,
            min_p: 0.05,
            temperature: 0.8,
            seed: 0,
            extras: SamplerExtras::default(),
        }
    }
}

/// Stages of a sampler that are off unless asked for, and the order in which all of them act. Names
/// and defaults are llama.cpp's.
#[derive(Clone, Debug, PartialEq)]
pub struct SamplerExtras {
    /// The order; what is left out is off.
    pub order: Vec<SamplerStage>,
    /// Keep tokens whose logit is within so many standard deviations of the largest; 0 keeps all
    /// (arXiv:2411.07641).
    pub top_n_sigma: f32,
    /// Keep the tokens nearest to the expected surprise that together reach this probability; 1
    /// keeps all (arXiv:2202.00666).
    pub typical_p: f32,
    /// Leaves out the likeliest tokens.
    pub xtc: Xtc,
    /// Against repeated sequences.
    pub dry: Dry,
    /// A temperature that follows how sure the model is.
    pub dynamic_temperature: DynamicTemperature,
    /// Holds the surprise of the text at a level; takes the place of all stages but the temperature.
    pub mirostat: Option<Mirostat>,
}

impl Default for SamplerExtras {
    fn default() -> Self {
        Self {
            order: SamplerStage::ALL.to_vec(),
            top_n_sigma: 0.0,
            typical_p: 1.0,
            xtc: Xtc { probability: 0.0, threshold: 0.1 },
            dry: Dry {
                multiplier: 0.0,
                base: 1.75,
                allowed_length: 2,
                last_n: None,
                breakers: ["\n", ":", "\"", "*"].map(String::from).to_vec(),
            },
            dynamic_temperature: DynamicTemperature { range: 0.0, exponent: 1.0 },
            mirostat: None,
        }
    }
}

/// "Exclude top choices": at times, all but the least likely of the tokens that are likely enough are
/// left out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Xtc {
    /// How often; 0 is off.
    pub probability: f32,
    /// The probability at which a token is likely enough. Above 0.5 there is never a second one.
    pub threshold: f32,
}

/// "Don't repeat yourself": a token that would lengthen a repetition of `n` tokens loses
/// `multiplier * base^(n - allowed_length)` from its logit.
#[derive(Clone, Debug, PartialEq)]
pub struct Dry {
    /// 0 is off.
    pub multiplier: f32,
    /// 1 or more.
    pub base: f32,
    /// Repetitions shorter than this cost nothing.
    pub allowed_length: usize,
    /// How many recent tokens are looked at; `None` for all.
    pub last_n: Option<usize>,
    /// Texts that end a sequence: nothing before one of them counts as repeated with what follows.
    pub breakers: Vec<String>,
}

/// The temperature lies within `range` of the one set, the lower the surer the model is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DynamicTemperature {
    /// 0 is off.
    pub range: f32,
    /// The power of the normalized entropy that it follows.
    pub exponent: f32,
}

/// Mirostat (arXiv:2007.14966).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mirostat {
    /// Which of the two algorithms.
    pub version: MirostatVersion,
    /// The surprise to hold, in bits.
    pub tau: f32,
    /// How fast errors are made up for.
    pub eta: f32,
}

impl Default for Mirostat {
    fn default() -> Self {
        Self { version: MirostatVersion::Two, tau: 5.0, eta: 0.1 }
    }
}

/// How [`Mirostat`] chooses how many tokens to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MirostatVersion {
    /// By an estimate of how fast probabilities fall.
    One,
    /// By the surprise of each token.
    Two,
}

/// A stage of a sampler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // each is named after the setting it obeys
pub enum SamplerStage {
    Penalties,
    Dry,
    TopNSigma,
    TopK,
    TypicalP,
    TopP,
    MinP,
    Xtc,
    Temperature,
}

impl SamplerStage {
    /// All of them, in the order in which they act unless told otherwise.
    pub const ALL: [Self; 9] = [
        Self::Penalties,
        Self::Dry,
        Self::TopNSigma,
        Self::TopK,
        Self::TypicalP,
        Self::TopP,
        Self::MinP,
        Self::Xtc,
        Self::Temperature,
    ];

    /// Whether it changes logits by the tokens before, and leaves out none.
    pub(super) fn penalizes(self) -> bool {
        matches!(self, Self::Penalties | Self::Dry)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Penalties => "penalties",
            Self::Dry => "dry",
            Self::TopNSigma => "top_n_sigma",
            Self::TopK => "top_k",
            Self::TypicalP => "typ_p",
            Self::TopP => "top_p",
            Self::MinP => "min_p",
            Self::Xtc => "xtc",
            Self::Temperature => "temperature",
        }
    }
}

impl fmt::Display for SamplerStage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// From llama.cpp's names, in any of their spellings.
impl FromStr for SamplerStage {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let plain = name.trim().to_lowercase().replace('-', "_");
        let plain = match plain.as_str() {
            "temp" => "temperature",
            "typical" | "typical_p" | "typ" => "typ_p",
            "top_nsigma" => "top_n_sigma",
            "nucleus" => "top_p",
            other => other,
        };
        Self::ALL.into_iter().find(|stage| stage.name() == plain).ok_or_else(|| {
            Error::InvalidOption {
                name: "samplers",
                value: name.to_owned(),
                range: "penalties, dry, top_n_sigma, top_k, typ_p, top_p, min_p, xtc, temperature",
            }
        })
    }
}

impl SamplerOptions {
    /// An error that names the first option outside its range.
    pub(super) fn check(&self) -> Result<(), Error> {
        let extras = &self.extras;
        let mirostat = extras.mirostat.unwrap_or_default();
        let fraction = 0.0..=1.0;
        let checks = [
            ("temperature", self.temperature, self.temperature >= 0.0, "0 or more"),
            ("top_p", self.top_p, fraction.contains(&self.top_p), "between 0 and 1"),
            ("min_p", self.min_p, fraction.contains(&self.min_p), "between 0 and 1"),
            ("repeat_penalty", self.repeat_penalty, self.repeat_penalty > 0.0, "above 0"),
            ("presence_penalty", self.presence_penalty, true, "a finite number"),
            ("frequency_penalty", self.frequency_penalty, true, "a finite number"),
            ("top_n_sigma", extras.top_n_sigma, extras.top_n_sigma >= 0.0, "0 or more"),
            (
                "typical_p",
                extras.typical_p,
                extras.typical_p > 0.0 && extras.typical_p <= 1.0,
                "above 0, at most 1",
            ),
            (
                "xtc_probability",
                extras.xtc.probability,
                fraction.contains(&extras.xtc.probability),
                "between 0 and 1",
            ),
            (
                "xtc_threshold",
                extras.xtc.threshold,
                fraction.contains(&extras.xtc.threshold),
                "between 0 and 1",
            ),
            ("dry_multiplier", extras.dry.multiplier, extras.dry.multiplier >= 0.0, "0 or more"),
            ("dry_base", extras.dry.base, extras.dry.base >= 1.0, "1 or more"),
            (
                "dynatemp_range",
                extras.dynamic_temperature.range,
                extras.dynamic_temperature.range >= 0.0,
                "0 or more",
            ),
            (
                "dynatemp_exponent",
                extras.dynamic_temperature.exponent,
                extras.dynamic_temperature.exponent > 0.0,
                "above 0",
            ),
            ("mirostat_tau", mirostat.tau, mirostat.tau >= 0.0, "0 or more"),
            ("mirostat_eta", mirostat.eta, mirostat.eta >= 0.0, "0 or more"),
        ];
        for (name, value, good, range) in checks {
            if !good || !value.is_finite() {
                return Err(Error::InvalidOption { name, value: value.to_string(), range });
            }
        }
        if let Some((_, bias)) = self.logit_bias.iter().find(|(_, bias)| bias.is_nan()) {
            let (value, range) = (bias.to_string(), "a number");
            return Err(Error::InvalidOption { name: "logit_bias", value, range });
        }
        Ok(())
    }

    /// Whether the largest logit is taken, whatever else is asked for: no stage but the penalties,
    /// which come first, can change what it is.
    pub(super) fn is_greedy(&self) -> bool {
        let extras = &self.extras;
        let cold = self.temperature == 0.0 && extras.dynamic_temperature.range == 0.0;
        let ordered = extras.order.is_sorted_by_key(|stage| !stage.penalizes())
            && extras.order.contains(&SamplerStage::Temperature);
        let keeps_best = extras.typical_p == 1.0 && extras.xtc.probability == 0.0;
        cold && (extras.mirostat.is_some() || ordered && keeps_best)
    }
}
