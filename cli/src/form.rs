//! Forms that answers keep to, as options give them.

use kinglet::Form;

/// A JSON schema: a file, or the schema itself.
pub(crate) fn json_schema(text: &str) -> Result<Form, String> {
    let read = match text.trim_start().starts_with('{') {
        true => text.to_owned(),
        false => file(text)?,
    };
    let schema = serde_json::from_str(&read).map_err(|error| format!("it is not JSON: {error}"))?;
    Ok(Form::JsonSchema(schema))
}

/// A regular expression.
pub(crate) fn regex(text: &str) -> Result<Form, String> {
    Ok(Form::Regex(text.to_owned()))
}

/// A file with a grammar.
pub(crate) fn grammar(path: &str) -> Result<Form, String> {
    Ok(Form::Lark(file(path)?))
}

fn file(path: &str) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("cannot read the file: {error}"))
}
