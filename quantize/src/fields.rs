//! Typed access to the keys of a configuration, with errors that name the file and the key.
//!
//! `config.json` and GGUF metadata both arrive here as JSON values.

use serde_json::{Map, Value};

use crate::QuantizeError;

/// A view of one object of a configuration.
#[derive(Clone)]
pub(crate) struct Fields<'a> {
    file: &'a str,
    /// Put before every key: the path of parents for nested objects, `llama.` for GGUF.
    prefix: String,
    /// Whether the prefix is part of the stored keys (GGUF) or only shown in errors (JSON).
    stored_prefix: bool,
    map: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    /// The top level of a JSON file.
    pub(crate) fn json(file: &'a str, map: &'a Map<String, Value>) -> Self {
        Self { file, prefix: String::new(), stored_prefix: false, map }
    }

    /// GGUF keys that start with `{architecture}.`.
    pub(crate) fn gguf(file: &'a str, architecture: &str, map: &'a Map<String, Value>) -> Self {
        Self { file, prefix: format!("{architecture}."), stored_prefix: true, map }
    }

    /// The file's name, for errors.
    pub(crate) fn file(&self) -> &'a str {
        self.file
    }

    /// The value of `key`; `null` counts as absent.
    fn value(&self, key: &str) -> Option<&'a Value> {
        let value = if self.stored_prefix {
            self.map.get(&format!("{}{key}", self.prefix))
        } else {
            self.map.get(key)
        };
        value.filter(|v| !v.is_null())
    }

    /// Whether `key` is there, if only as `null`.
    pub(crate) fn mentions(&self, key: &str) -> bool {
        self.map.contains_key(key)
    }

    /// Whether `key` has a value.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.value(key).is_some()
    }

    /// Number of keys.
    pub(crate) fn len(&self) -> usize {
        self.map.len()
    }

    /// All keys of a JSON object, in its order.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.map.keys().map(String::as_str)
    }

    /// The object under `key`.
    pub(crate) fn nested(&self, key: &str) -> Result<Option<Fields<'a>>, QuantizeError> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::Object(map)) => Ok(Some(Fields {
                file: self.file,
                prefix: format!("{}{key}.", self.prefix),
                stored_prefix: false,
                map,
            })),
            Some(other) => Err(self.bad(key, other, "an object")),
        }
    }

    /// A positive whole number below 2^31.
    pub(crate) fn size(&self, key: &str) -> Result<usize, QuantizeError> {
        self.opt_size(key)?.ok_or_else(|| self.missing(key))
    }

    pub(crate) fn size_or(&self, key: &str, default: usize) -> Result<usize, QuantizeError> {
        Ok(self.opt_size(key)?.unwrap_or(default))
    }

    /// A whole number below 2^31, which may be zero.
    pub(crate) fn count_or(&self, key: &str, default: usize) -> Result<usize, QuantizeError> {
        match self.value(key).and_then(Value::as_u64) {
            Some(0) => Ok(0),
            _ => self.size_or(key, default),
        }
    }

    pub(crate) fn opt_size(&self, key: &str) -> Result<Option<usize>, QuantizeError> {
        let Some(value) = self.value(key) else { return Ok(None) };
        let number = if self.stored_prefix { uniform(value) } else { value };
        match number.as_u64() {
            Some(n) if (1..1 << 31).contains(&n) => Ok(Some(n as usize)),
            _ => Err(self.bad(key, value, "a whole number from 1 to 2147483647")),
        }
    }

    /// A finite number.
    pub(crate) fn float(&self, key: &str) -> Result<f32, QuantizeError> {
        self.opt_float(key)?.ok_or_else(|| self.missing(key))
    }

    pub(crate) fn float_or(&self, key: &str, default: f32) -> Result<f32, QuantizeError> {
        Ok(self.opt_float(key)?.unwrap_or(default))
    }

    pub(crate) fn opt_float(&self, key: &str) -> Result<Option<f32>, QuantizeError> {
        let Some(value) = self.value(key) else { return Ok(None) };
        match value.as_f64().map(|x| x as f32) {
            Some(x) if x.is_finite() => Ok(Some(x)),
            _ => Err(self.bad(key, value, "a finite number")),
        }
    }

    /// A number in a range.
    pub(crate) fn opt_float_within(
        &self,
        key: &str,
        range: std::ops::RangeInclusive<f32>,
    ) -> Result<Option<f32>, QuantizeError> {
        match self.opt_float(key)? {
            Some(x) if !range.contains(&x) => {
                let expected = format!("a number from {} to {}", range.start(), range.end());
                Err(self.bad(key, &x, &expected))
            }
            x => Ok(x),
        }
    }

    /// A finite number above zero.
    pub(crate) fn positive_float(&self, key: &str) -> Result<f32, QuantizeError> {
        let x = self.float(key)?;
        self.check_positive(key, x)
    }

    pub(crate) fn positive_float_or(&self, key: &str, default: f32) -> Result<f32, QuantizeError> {
        let x = self.float_or(key, default)?;
        self.check_positive(key, x)
    }

    fn check_positive(&self, key: &str, x: f32) -> Result<f32, QuantizeError> {
        if x > 0.0 { Ok(x) } else { Err(self.bad(key, &x.to_string(), "a number above zero")) }
    }

    pub(crate) fn flag_or(&self, key: &str, default: bool) -> Result<bool, QuantizeError> {
        match self.value(key) {
            None => Ok(default),
            Some(Value::Bool(b)) => Ok(*b),
            Some(other) => Err(self.bad(key, other, "true or false")),
        }
    }

    pub(crate) fn text(&self, key: &str) -> Result<&'a str, QuantizeError> {
        self.opt_text(key)?.ok_or_else(|| self.missing(key))
    }

    pub(crate) fn opt_text(&self, key: &str) -> Result<Option<&'a str>, QuantizeError> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::String(s)) => Ok(Some(s)),
            Some(other) => Err(self.bad(key, other, "a string")),
        }
    }

    /// A string or a list of them.
    pub(crate) fn texts(&self, key: &str) -> Result<Vec<&'a str>, QuantizeError> {
        let Some(value) = self.value(key) else { return Ok(Vec::new()) };
        let list = match value {
            Value::Array(list) => list.as_slice(),
            one => std::slice::from_ref(one),
        };
        list.iter()
            .map(Value::as_str)
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| self.bad(key, value, "a string or a list of strings"))
    }

    /// The list under `key`.
    pub(crate) fn opt_list(&self, key: &str) -> Result<Option<&'a [Value]>, QuantizeError> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::Array(list)) => Ok(Some(list)),
            Some(other) => Err(self.bad(key, other, "a list")),
        }
    }

    /// A token id or a list of them; those below zero and the largest number stand for none.
    pub(crate) fn token_ids(&self, key: &str) -> Result<Vec<u32>, QuantizeError> {
        let Some(value) = self.value(key) else { return Ok(Vec::new()) };
        let list = match value {
            Value::Array(list) => list.as_slice(),
            one => std::slice::from_ref(one),
        };
        let is_none = |id: &&Value| {
            id.as_i64().is_some_and(|id| id < 0) || id.as_u64() == Some(u32::MAX.into())
        };
        list.iter()
            .filter(|id| !is_none(id))
            .map(|id| id.as_u64().and_then(|id| u32::try_from(id).ok()))
            .collect::<Option<Vec<u32>>>()
            .ok_or_else(|| self.bad(key, value, "a token id or a list of token ids"))
    }

    /// The key as errors show it.
    pub(crate) fn full_key(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    pub(crate) fn missing(&self, key: &str) -> QuantizeError {
        QuantizeError::MissingKey { file: self.file.to_owned(), key: self.full_key(key) }
    }

    pub(crate) fn bad(
        &self,
        key: &str,
        found: &(impl ToString + ?Sized),
        expected: &str,
    ) -> QuantizeError {
        QuantizeError::BadKey {
            file: self.file.to_owned(),
            key: self.full_key(key),
            found: shorten(found.to_string()),
            expected: expected.to_owned(),
        }
    }

    pub(crate) fn unsupported(
        &self,
        key: &str,
        found: &(impl ToString + ?Sized),
        supported: &str,
    ) -> QuantizeError {
        QuantizeError::UnsupportedOption {
            file: self.file.to_owned(),
            option: self.full_key(key),
            found: shorten(found.to_string()),
            supported: supported.to_owned(),
        }
    }
}

/// A list whose elements are all equal stands for one of them: GGUF files may give a number per layer.
fn uniform(value: &Value) -> &Value {
    match value {
        Value::Array(list) => match list.split_first() {
            Some((first, rest)) if rest.iter().all(|x| x == first) => first,
            _ => value,
        },
        _ => value,
    }
}

/// Keeps a hostile value from flooding an error message.
fn shorten(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(120) {
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(text: &str) -> Map<String, Value> {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn errors_name_file_and_key() {
        let map = map(
            r#"{"a": 0, "b": {"c": "x"}, "n": null, "d": -1.5, "big": 4294967296, "list": [1]}"#,
        );
        let fields = Fields::json("config.json", &map);
        // Only GGUF gives a number per layer.
        assert!(fields.size("list").is_err());
        assert_eq!(
            fields.size("a").unwrap_err().to_string(),
            "config.json: key `a` is 0, expected a whole number from 1 to 2147483647"
        );
        assert_eq!(fields.size("n").unwrap_err().to_string(), "config.json: key `n` is missing");
        let nested = fields.nested("b").unwrap().unwrap();
        assert_eq!(
            nested.float("c").unwrap_err().to_string(),
            "config.json: key `b.c` is \"x\", expected a finite number"
        );
        assert!(fields.size("big").is_err());
        assert!(fields.positive_float("d").is_err());
        assert_eq!(fields.float("d").unwrap(), -1.5);
        assert!(fields.mentions("n") && !fields.has("n"));
    }

    #[test]
    fn gguf_keys_carry_the_architecture() {
        let map =
            map(r#"{"llama.block_count": 3, "llama.heads": [4, 4, 4], "llama.mixed": [4, 2]}"#);
        let fields = Fields::gguf("x.gguf", "llama", &map);
        assert_eq!(fields.size("block_count").unwrap(), 3);
        assert_eq!(fields.size("heads").unwrap(), 4);
        assert!(fields.size("mixed").is_err());
        assert_eq!(fields.size("no").unwrap_err().to_string(), "x.gguf: key `llama.no` is missing");
    }

    #[test]
    fn token_ids_are_one_or_many() {
        let map = map(
            r#"{"one": 2, "many": [1, 106], "bad": [1, 0.5], "no": -1, "some": [-1, 7, 4294967295]}"#,
        );
        let fields = Fields::json("g", &map);
        assert_eq!(fields.token_ids("one").unwrap(), [2]);
        assert_eq!(fields.token_ids("many").unwrap(), [1, 106]);
        assert_eq!(fields.token_ids("none").unwrap(), [0u32; 0]);
        assert_eq!(fields.token_ids("no").unwrap(), [0u32; 0]);
        assert_eq!(fields.token_ids("some").unwrap(), [7]);
        assert!(fields.token_ids("bad").is_err());
    }
}
