//! Keyword arguments of generations.

use kinglet::{Form, GenerateOptions};
use pyo3::prelude::*;
use pyo3::types::{PyAnyMethods, PyDict, PyDictMethods};

use crate::errors::OptionError;

/// Reads the keywords of a generation; an unknown one is an error that names it.
pub(crate) fn generate_options(keywords: Option<&Bound<'_, PyDict>>) -> PyResult<GenerateOptions> {
    let mut options = GenerateOptions::default();
    let Some(keywords) = keywords else { return Ok(options) };
    let mut forms = Vec::new();
    for (name, value) in keywords.iter() {
        let name: String = name.extract()?;
        if value.is_none() {
            continue;
        }
        match name.as_str() {
            "max_tokens" => options.max_tokens = Some(value.extract()?),
            "temperature" => options.temperature = Some(value.extract()?),
            "top_k" => options.top_k = Some(value.extract()?),
            "top_p" => options.top_p = Some(value.extract()?),
            "min_p" => options.min_p = Some(value.extract()?),
            "repeat_penalty" => options.repeat_penalty = Some(value.extract()?),
            "repeat_last_n" => options.repeat_last_n = Some(value.extract()?),
            "presence_penalty" => options.presence_penalty = Some(value.extract()?),
            "frequency_penalty" => options.frequency_penalty = Some(value.extract()?),
            "logit_bias" => {
                let biases: std::collections::BTreeMap<u32, f32> = value.extract()?;
                options.logit_bias = biases.into_iter().collect();
            }
            "seed" => options.seed = Some(value.extract()?),
            "stop" => {
                options.stop = match value.extract::<String>() {
                    Ok(text) => vec![text],
                    Err(_) => value.extract()?,
                };
            }
            "ignore_eos" => options.ignore_eos = value.extract()?,
            "json_schema" => forms.push(Form::JsonSchema(json(&value)?)),
            "regex" => forms.push(Form::Regex(value.extract()?)),
            "lark" => forms.push(Form::Lark(value.extract()?)),
            _ => return Err(OptionError::new_err(format!("there is no option {name}"))),
        }
    }
    if forms.len() > 1 {
        return Err(OptionError::new_err("give one of json_schema, regex and lark"));
    }
    options.form = forms.pop();
    Ok(options)
}

/// A schema, as a text of JSON or as what `json.dumps` makes one of.
fn json(value: &Bound<'_, PyAny>) -> PyResult<serde_json::Value> {
    let text: String = match value.extract() {
        Ok(text) => text,
        Err(_) => value.py().import("json")?.call_method1("dumps", (value,))?.extract()?,
    };
    serde_json::from_str(&text)
        .map_err(|error| OptionError::new_err(format!("json_schema is not JSON: {error}")))
}
