//! What a user can choose about a conversion.

use std::fmt;
use std::num::NonZeroUsize;
use std::str::FromStr;

use kinglet_formats::checkpoint::{Checkpoint, DType};
use thiserror::Error;

use crate::Calibration;

/// What a user can choose about a conversion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Type of the matrices.
    pub dtype: WeightType,
    /// Columns that share a scale, for [`WeightType::Int8`] and [`WeightType::Int4`]; 32 for
    /// [`WeightType::Auto`] whatever it says.
    pub group: Group,
    /// Patterns (`*`, `?`) of canonical names of matrices to store in f16 whatever `dtype` says.
    pub keep_f16: Vec<String>,
    /// Try several scales per group and keep the one with the least error.
    pub scale_search: bool,
    /// What goes into the matrices, by which [`WeightType::Int4`] weighs errors; `None` weighs all
    /// columns alike.
    pub calibration: Option<Calibration>,
    /// Number of threads, all of the machine's by default. The result does not depend on it.
    pub threads: Option<NonZeroUsize>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            dtype: WeightType::Int8,
            group: Group::G64,
            keep_f16: Vec::new(),
            scale_search: true,
            calibration: None,
            threads: None,
        }
    }
}

impl Options {
    /// The usual options for a type: groups of 64 for int8, of 32 for int4.
    pub fn of(dtype: WeightType) -> Self {
        let group = if dtype == WeightType::Int4 { Group::G32 } else { Group::G64 };
        Self { dtype, group, ..Self::default() }
    }

    /// The same with a type other than [`WeightType::Auto`], unless `checkpoint` has 4-bit tensors.
    pub(crate) fn resolved(&self, checkpoint: &dyn Checkpoint) -> Self {
        let dtype = self.dtype.resolved(checkpoint);
        let group = if dtype == WeightType::Auto { Group::G32 } else { self.group };
        Self { dtype, group, ..self.clone() }
    }
}

impl fmt::Display for Options {
    /// The options in the words of the command line, as the file's provenance records them.
    /// The number of threads is left out: it changes nothing.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "--type {}", self.dtype)?;
        if self.dtype != WeightType::F16 {
            if self.dtype != WeightType::Auto {
                write!(f, " --group {}", self.group)?;
            }
            if !self.scale_search {
                f.write_str(" --no-scale-search")?;
            }
            if let Some(calibration) = &self.calibration {
                write!(f, " --calibrate {}", calibration.name())?;
            }
            for pattern in &self.keep_f16 {
                write!(f, " --keep-f16 {pattern}")?;
            }
        }
        Ok(())
    }
}

/// Type of the matrices of a `.kinglet` file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightType {
    /// 8-bit integers with f16 scales.
    Int8,
    /// 4-bit integers with f16 scales and minima; 8-bit ones where there is a row for each token.
    Int4,
    /// Half precision.
    F16,
    /// What the checkpoint has: GGUF's 4-bit types with their integers, besides them 8-bit ones;
    /// [`WeightType::Int8`] where there are none of these.
    Auto,
}

impl WeightType {
    pub(crate) fn resolved(self, checkpoint: &dyn Checkpoint) -> Self {
        let four = |dtype| {
            use DType::{IQ4_NL, MXFP4, Q4_0, Q4_1, Q4_K, Q5_0};
            matches!(dtype, Q4_0 | Q4_1 | Q4_K | Q5_0 | IQ4_NL | MXFP4)
        };
        match self == Self::Auto && !checkpoint.tensors().iter().any(|t| four(t.dtype)) {
            true => Self::Int8,
            false => self,
        }
    }
}

impl fmt::Display for WeightType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Int8 => "int8",
            Self::Int4 => "int4",
            Self::F16 => "f16",
            Self::Auto => "auto",
        })
    }
}

impl FromStr for WeightType {
    type Err = InvalidOption;

    fn from_str(text: &str) -> Result<Self, InvalidOption> {
        match text {
            "int8" => Ok(Self::Int8),
            "int4" => Ok(Self::Int4),
            "f16" => Ok(Self::F16),
            "auto" => Ok(Self::Auto),
            _ => Err(InvalidOption { found: text.to_owned(), expected: "auto, int8, int4, f16" }),
        }
    }
}

/// Columns of a row that share a scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// 32: a GGUF Q8_0 tensor is taken over without loss.
    G32,
    /// 64.
    G64,
    /// 128.
    G128,
    /// The whole row.
    Row,
}

impl Group {
    /// The number that stands for this group in a `.kinglet` file.
    pub(crate) fn code(self) -> u32 {
        match self {
            Self::G32 => 32,
            Self::G64 => 64,
            Self::G128 => 128,
            Self::Row => 0,
        }
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Row => f.write_str("row"),
            other => write!(f, "{}", other.code()),
        }
    }
}

impl FromStr for Group {
    type Err = InvalidOption;

    fn from_str(text: &str) -> Result<Self, InvalidOption> {
        match text {
            "32" => Ok(Self::G32),
            "64" => Ok(Self::G64),
            "128" => Ok(Self::G128),
            "row" => Ok(Self::Row),
            _ => Err(InvalidOption { found: text.to_owned(), expected: "32, 64, 128, row" }),
        }
    }
}

/// An option was given a value it does not have.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{found}` is not one of {expected}")]
pub struct InvalidOption {
    /// What was given.
    pub found: String,
    /// What is possible.
    pub expected: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_read_as_they_are_written() {
        for group in [Group::G32, Group::G64, Group::G128, Group::Row] {
            assert_eq!(group.to_string().parse(), Ok(group));
        }
        for dtype in [WeightType::Int8, WeightType::Int4, WeightType::F16, WeightType::Auto] {
            assert_eq!(dtype.to_string().parse(), Ok(dtype));
        }
        assert_eq!(
            "16".parse::<Group>().unwrap_err().to_string(),
            "`16` is not one of 32, 64, 128, row"
        );
        assert_eq!(Options::default().to_string(), "--type int8 --group 64");
        let options = Options {
            group: Group::Row,
            keep_f16: vec!["lm_head*".to_owned()],
            scale_search: false,
            ..Options::default()
        };
        assert_eq!(
            options.to_string(),
            "--type int8 --group row --no-scale-search --keep-f16 lm_head*"
        );
        let f16 = Options { dtype: WeightType::F16, ..options };
        assert_eq!(f16.to_string(), "--type f16");
    }
}
