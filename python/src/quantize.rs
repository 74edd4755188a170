//! Conversions.

use std::path::PathBuf;

use kinglet_quantize::{Group, Options, Source, WeightType};
use pyo3::prelude::*;

use crate::errors::{self, OptionError};

/// Converts a checkpoint to a `.kinglet` file. Gives the bits of a weight.
#[pyfunction]
#[pyo3(signature = (source, target, r#type="auto", group=None))]
pub(crate) fn quantize(
    py: Python<'_>,
    source: PathBuf,
    target: PathBuf,
    r#type: &str,
    group: Option<&str>,
) -> PyResult<f64> {
    let dtype: WeightType = r#type.parse().map_err(|_| {
        OptionError::new_err(format!("type is {type}, but must be auto, int8, int4 or f16"))
    })?;
    let mut options = Options::of(dtype);
    if let Some(group) = group {
        options.group = group.parse::<Group>().map_err(|_| {
            OptionError::new_err(format!("group is {group}, but must be 32, 64, 128 or row"))
        })?;
    }
    if !source.exists() {
        return Err(errors::missing(&source));
    }
    let report = py.detach(|| {
        let source = Source::open(&source)?;
        kinglet_quantize::quantize(&source, &options, &target, &mut ())
    });
    let report = report.map_err(|error| errors::of_conversion(&error))?;
    Ok(report.bits_per_weight())
}
