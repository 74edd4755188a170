//! The fields of a request's body, each taken once: what is left over is an error that names it.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::error::ApiError;

/// Most characters of a value that an error shows.
const MOST_SHOWN: usize = 60;

/// A JSON object whose fields are being taken.
#[derive(Debug)]
pub(crate) struct Fields {
    map: Map<String, Value>,
    /// Where it stands, with a dot at the end, or nothing.
    at: String,
}

impl Fields {
    /// Of a body.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let value: Value = serde_json::from_slice(body)
            .map_err(|error| ApiError::invalid(format!("the body is not JSON: {error}")))?;
        Self::of(value, "")
    }

    /// Of an object that stands at `at`.
    pub(crate) fn of(value: Value, at: &str) -> Result<Self, ApiError> {
        match value {
            Value::Object(map) => {
                let at = if at.is_empty() { String::new() } else { format!("{at}.") };
                Ok(Self { map, at })
            }
            other => {
                let name = if at.is_empty() { "the body" } else { at };
                Err(ApiError::field(at, format!("{name} is {}, not an object", shown(&other))))
            }
        }
    }

    /// The path of a field, as errors name it.
    pub(crate) fn path(&self, name: &str) -> String {
        format!("{}{name}", self.at)
    }

    /// An error about a field.
    pub(crate) fn wrong(&self, name: &str, why: impl std::fmt::Display) -> ApiError {
        let path = self.path(name);
        ApiError::field(&*path, format!("{path} {why}"))
    }

    /// A field as it is; `null` is as good as nothing.
    pub(crate) fn value(&mut self, name: &str) -> Option<Value> {
        self.map.remove(name).filter(|value| !value.is_null())
    }

    /// A field that may be missing.
    pub(crate) fn optional<T: DeserializeOwned>(
        &mut self,
        name: &str,
    ) -> Result<Option<T>, ApiError> {
        let Some(value) = self.value(name) else { return Ok(None) };
        let shown = shown(&value);
        let read = serde_json::from_value(value);
        read.map(Some).map_err(|error| self.wrong(name, format_args!("is {shown}: {error}")))
    }

    /// A field that must be there.
    pub(crate) fn required<T: DeserializeOwned>(&mut self, name: &str) -> Result<T, ApiError> {
        self.optional(name)?.ok_or_else(|| self.wrong(name, "is missing"))
    }

    /// A number within a range.
    pub(crate) fn number(
        &mut self,
        name: &str,
        range: std::ops::RangeInclusive<f32>,
    ) -> Result<Option<f32>, ApiError> {
        let Some(number) = self.optional::<f32>(name)? else { return Ok(None) };
        if range.contains(&number) {
            return Ok(Some(number));
        }
        let (least, most) = range.into_inner();
        Err(self.wrong(name, format_args!("is {number}, but must be from {least} to {most}")))
    }

    /// A whole number within a range.
    pub(crate) fn count(
        &mut self,
        name: &str,
        range: std::ops::RangeInclusive<usize>,
    ) -> Result<Option<usize>, ApiError> {
        let Some(number) = self.optional::<usize>(name)? else { return Ok(None) };
        if range.contains(&number) {
            return Ok(Some(number));
        }
        let (least, most) = range.into_inner();
        let range = match most {
            usize::MAX => format!("{least} or more"),
            most => format!("from {least} to {most}"),
        };
        Err(self.wrong(name, format_args!("is {number}, but must be {range}")))
    }

    /// One text or several.
    pub(crate) fn texts(&mut self, name: &str) -> Result<Vec<String>, ApiError> {
        match self.value(name) {
            None => Ok(Vec::new()),
            Some(Value::String(text)) => Ok(vec![text]),
            Some(value) => {
                let shown = shown(&value);
                serde_json::from_value(value).map_err(|_| {
                    self.wrong(name, format_args!("is {shown}, not a string or strings"))
                })
            }
        }
    }

    /// Fields that mean nothing here and change no answer.
    pub(crate) fn ignore(&mut self, names: &[&str]) {
        for name in names {
            self.map.remove(*name);
        }
    }

    /// A field that this server cannot follow: an error, unless it says what goes without saying.
    pub(crate) fn refuse(
        &mut self,
        name: &str,
        unless: &[Value],
        why: &str,
    ) -> Result<(), ApiError> {
        match self.value(name) {
            Some(value) if !unless.contains(&value) => {
                Err(self.wrong(name, format_args!("is {}: {why}", shown(&value))))
            }
            _ => Ok(()),
        }
    }

    /// No other fields may be there.
    pub(crate) fn end(self) -> Result<(), ApiError> {
        match self.map.iter().find(|(_, value)| !value.is_null()) {
            Some((name, _)) => Err(self.wrong(name, "is not known to this server; leave it out")),
            None => Ok(()),
        }
    }
}

/// A value as errors show it.
pub(crate) fn shown(value: &Value) -> String {
    let mut text = value.to_string();
    if let Some((cut, _)) = text.char_indices().nth(MOST_SHOWN) {
        text.truncate(cut);
        text.push('…');
    }
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail and tell")]
mod tests {
    use super::*;

    fn fields(text: &str) -> Fields {
        Fields::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn errors_name_the_field() {
        let mut body =
            fields(r#"{"n": "two", "t": 3, "k": null, "deep": {"odd": 1}, "stop": [1]}"#);
        assert!(body.optional::<usize>("n").unwrap_err().message.contains("n is \"two\""));
        let error = body.number("t", 0.0..=2.0).unwrap_err();
        assert_eq!(error.message, "t is 3, but must be from 0 to 2");
        assert_eq!(body.optional::<usize>("k").unwrap(), None);
        assert!(body.required::<usize>("gone").unwrap_err().message.contains("gone is missing"));
        assert!(body.texts("stop").unwrap_err().message.contains("stop is [1], not"));
        let deep = body.value("deep").unwrap();
        let error = Fields::of(deep, "deep").unwrap().end().unwrap_err();
        assert_eq!(error.message, "deep.odd is not known to this server; leave it out");
        body.end().unwrap();
    }

    #[test]
    fn bodies_that_are_no_objects() {
        for text in ["", "[]", "1", "{", "nul", "{\"a\":1}}"] {
            assert!(Fields::parse(text.as_bytes()).is_err(), "{text}");
        }
        let deep = "[".repeat(100_000);
        assert!(Fields::parse(deep.as_bytes()).is_err());
    }
}
