//! Answers that keep to a form: a JSON schema, a regular expression, a grammar.

#[cfg(feature = "grammar")]
mod matcher;
#[cfg(not(feature = "grammar"))]
mod none;

#[cfg(feature = "grammar")]
pub(super) use matcher::Constraint;
#[cfg(feature = "grammar")]
pub(crate) use matcher::Vocabulary;
#[cfg(not(feature = "grammar"))]
pub(super) use none::Constraint;

/// What an answer must look like. Needs the crate's feature `grammar`.
///
/// An answer that ends by itself has the form; one that is cut by a limit of tokens is the beginning of
/// one that has it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Form {
    /// JSON that a schema describes.
    JsonSchema(serde_json::Value),
    /// Any JSON object.
    JsonObject,
    /// A text that a regular expression matches from its start to its end.
    Regex(String),
    /// A text of a grammar in Lark's notation, as `llguidance` reads it.
    Lark(String),
}

/// A blank, or a line's end and the next one's indentation: without a bound, a model may write white space
/// for ever.
const WHITE_SPACE: &str = "[ ]|\\r?\\n[ \\t]{0,64}";

impl Form {
    /// A schema for which white space between what it describes is short, for use in a grammar:
    /// `%json SCHEMA`. One that says something about white space itself is left as it is.
    pub fn tidy(mut schema: serde_json::Value) -> serde_json::Value {
        if let serde_json::Value::Object(map) = &mut schema
            && !map.contains_key("x-guidance")
        {
            let pattern = serde_json::json!({"whitespace_pattern": WHITE_SPACE});
            map.insert("x-guidance".to_owned(), pattern);
        }
        schema
    }
}
