//! Options from JavaScript objects.

use js_sys::{Array, Error};
use kinglet::GenerateOptions;
use wasm_bindgen::prelude::{JsCast, JsValue, wasm_bindgen};

use crate::{error, object};

#[wasm_bindgen(typescript_custom_section)]
const TYPES: &str = r#"
/** How to generate. What is left out follows the model file. */
export interface GenerateOptions {
  /** Most tokens to generate; without it, to the end of the context. */
  maxTokens?: number;
  /** 0 always takes the likeliest token. */
  temperature?: number;
  topK?: number;
  topP?: number;
  minP?: number;
  repeatPenalty?: number;
  repeatLastN?: number;
  /** Taken from the logits of tokens that are among the recent ones. */
  presencePenalty?: number;
  /** Taken from the logits of recent tokens as often as they are among them. */
  frequencyPenalty?: number;
  /** Start of the random sequence: a whole number. */
  seed?: number;
  /** Texts that end the answer; they are not part of it. */
  stop?: string | string[];
  /** Go on after an end-of-text token. */
  ignoreEos?: boolean;
}
"#;

#[wasm_bindgen]
extern "C" {
    /// `GenerateOptions` or `undefined`.
    #[wasm_bindgen(typescript_type = "GenerateOptions | undefined | null")]
    pub type JsOptions;
}

/// Largest whole number that a JavaScript number holds exactly.
const MAX_SAFE: f64 = 9_007_199_254_740_991.0;

pub(crate) fn read(options: &JsValue) -> Result<GenerateOptions, Error> {
    check(options)?;
    Ok(GenerateOptions {
        max_tokens: size(options, "maxTokens")?,
        temperature: number(options, "temperature")?.map(|v| v as f32),
        top_k: size(options, "topK")?,
        top_p: number(options, "topP")?.map(|v| v as f32),
        min_p: number(options, "minP")?.map(|v| v as f32),
        repeat_penalty: number(options, "repeatPenalty")?.map(|v| v as f32),
        repeat_last_n: size(options, "repeatLastN")?,
        seed: whole(options, "seed")?.map(|v| v as u64),
        stop: texts(options, "stop")?.unwrap_or_default(),
        ignore_eos: flag(options, "ignoreEos"),
        presence_penalty: number(options, "presencePenalty")?.map(|v| v as f32),
        frequency_penalty: number(options, "frequencyPenalty")?.map(|v| v as f32),
        ..GenerateOptions::default()
    })
}

/// An error if these are no options.
pub(crate) fn check(options: &JsValue) -> Result<(), Error> {
    if options.is_undefined() || options.is_null() || options.is_object() {
        return Ok(());
    }
    Err(error::new("invalid-option", "options must be an object"))
}

pub(crate) fn flag(options: &JsValue, name: &str) -> bool {
    object::get(options, name).is_some_and(|v| v.is_truthy())
}

fn number(options: &JsValue, name: &str) -> Result<Option<f64>, Error> {
    let Some(value) = object::get(options, name) else { return Ok(None) };
    value.as_f64().map(Some).ok_or_else(|| invalid(name, "a number"))
}

fn whole(options: &JsValue, name: &str) -> Result<Option<f64>, Error> {
    match number(options, name)? {
        Some(v) if v.fract() == 0.0 && (0.0..=MAX_SAFE).contains(&v) => Ok(Some(v)),
        Some(_) => Err(invalid(name, "a whole number, 0 or more")),
        None => Ok(None),
    }
}

/// Saturates where `usize` has fewer bits.
pub(crate) fn size(options: &JsValue, name: &str) -> Result<Option<usize>, Error> {
    // `Infinity` is a way of saying "no limit".
    if number(options, name)? == Some(f64::INFINITY) {
        return Ok(None);
    }
    Ok(whole(options, name)?.map(|v| v as usize))
}

/// The same, where "no limit" is as many as there may be.
pub(crate) fn count(options: &JsValue, name: &str) -> Result<Option<usize>, Error> {
    if number(options, name)? == Some(f64::INFINITY) {
        return Ok(Some(usize::MAX));
    }
    size(options, name)
}

pub(crate) fn text(options: &JsValue, name: &str) -> Result<Option<String>, Error> {
    let Some(value) = object::get(options, name) else { return Ok(None) };
    value.as_string().map(Some).ok_or_else(|| invalid(name, "a string"))
}

/// Strings; a single one is a list of one.
pub(crate) fn texts(options: &JsValue, name: &str) -> Result<Option<Vec<String>>, Error> {
    let Some(value) = object::get(options, name) else { return Ok(None) };
    if let Some(text) = value.as_string() {
        return Ok(Some(vec![text]));
    }
    let texts = strings(&value).ok_or_else(|| invalid(name, "a string or an array of strings"))?;
    Ok(Some(texts))
}

/// The strings of an argument.
pub(crate) fn list(value: &JsValue, name: &str) -> Result<Vec<String>, Error> {
    strings(value).ok_or_else(|| invalid(name, "an array of strings"))
}

fn strings(value: &JsValue) -> Option<Vec<String>> {
    value.dyn_ref::<Array>()?.iter().map(|item| item.as_string()).collect()
}

pub(crate) fn invalid(name: &str, expected: &str) -> Error {
    error::new("invalid-option", &format!("{name} must be {expected}"))
}
