//! The files of a folder, one after the other: what is read, and that it was.

use std::path::{Path, PathBuf};

use kinglet_formats::checkpoint::{self, WEIGHTS};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::files::Files;
use super::text;
use crate::QuantizeError;

/// Largest configuration file that is read.
pub(super) const MAX_CONFIG: u64 = 16 << 20;

const TEMPLATE: &str = "chat_template.jinja";
const TEMPLATE_JSON: &str = "chat_template.json";

type Object = Map<String, Value>;

/// Reads files and remembers which.
pub(super) struct Reader<'a> {
    pub(super) files: &'a Files,
    /// Before the names of files: nothing, or a folder and a slash.
    pub(super) root: &'a str,
    pub(super) read: Vec<PathBuf>,
}

impl Reader<'_> {
    /// A file of the transformer's folder.
    pub(super) fn json<T: DeserializeOwned>(
        &mut self,
        file: &str,
    ) -> Result<Option<T>, QuantizeError> {
        self.json_at(&format!("{}{file}", self.root))
    }

    /// A file by its whole name.
    pub(super) fn json_at<T: DeserializeOwned>(
        &mut self,
        file: &str,
    ) -> Result<Option<T>, QuantizeError> {
        let bytes = self.bytes(file)?;
        bytes.map(|bytes| text::json(file, bytes)).transpose()
    }

    fn bytes(&mut self, file: &str) -> Result<Option<Vec<u8>>, QuantizeError> {
        let bytes = self.files.read(file, MAX_CONFIG)?;
        if bytes.is_some() {
            self.read.push(self.files.path(file));
        }
        Ok(bytes)
    }

    /// The file with the weights of a module, whose folder ends with a slash.
    pub(super) fn weights_in(&mut self, folder: &str) -> Result<PathBuf, QuantizeError> {
        let names = WEIGHTS.map(|name| format!("{folder}{name}"));
        let found = names.iter().find(|name| self.files.contains(name));
        let path = self.files.path(found.ok_or_else(|| QuantizeError::MissingFile {
            folder: self.files.place().to_owned(),
            file: names[0].clone(),
            why: "it has the weights of a module that modules.json names",
        })?);
        self.read.push(path.clone());
        Ok(path)
    }

    /// The template of a file of its own, else of `tokenizer_config.json`.
    pub(super) fn chat_template(
        &mut self,
        tokenizer_config: Option<&Object>,
    ) -> Result<Option<String>, QuantizeError> {
        let file = format!("{}{TEMPLATE}", self.root);
        if let Some(bytes) = self.bytes(&file)? {
            return text::text(&file, bytes).map(Some);
        }
        let own: Option<Object> = self.json(TEMPLATE_JSON)?;
        Ok([own.as_ref(), tokenizer_config].into_iter().flatten().find_map(template_in))
    }
}

/// `chat_template`: one text, or several with names. Of those `default` is taken, or the only one;
/// `tool_use` and `rag` are for conversations of another kind, but better than none.
fn template_in(object: &Object) -> Option<String> {
    let several: Vec<(&str, &str)> = match object.get("chat_template")? {
        Value::String(template) => return Some(template.clone()),
        Value::Array(list) => list
            .iter()
            .filter_map(|entry| {
                Some((entry.get("name")?.as_str()?, entry.get("template")?.as_str()?))
            })
            .collect(),
        Value::Object(named) => {
            named.iter().filter_map(|(name, text)| Some((name.as_str(), text.as_str()?))).collect()
        }
        _ => return None,
    };
    let named = several.iter().find(|(name, _)| *name == "default").or(several.first());
    named.map(|(_, template)| (*template).to_owned())
}

/// The weight files of a folder, in the order in which a reader looks for them.
pub(super) fn weight_files(files: &Files, root: &str) -> Result<Vec<PathBuf>, QuantizeError> {
    /// The one part of an index that is of interest here.
    #[derive(Deserialize)]
    struct Index {
        weight_map: Map<String, Value>,
    }
    let folder = files.place().join(Path::new(root));
    // Without one, the reader says what it looked for.
    let Some(found) = checkpoint::folder_weights(folder) else { return Ok(Vec::new()) };
    let name = found.file_name().unwrap_or_default().to_string_lossy();
    let mut reader = Reader { files, root, read: Vec::new() };
    let path = |name: &str| files.path(&format!("{root}{name}"));
    match checkpoint::is_index(&found) {
        true => {
            let index = reader.json::<Index>(&name)?;
            let names = index.iter().flat_map(|index| index.weight_map.values());
            let mut parts: Vec<&str> = names.filter_map(Value::as_str).collect();
            parts.sort_unstable();
            parts.dedup();
            reader.read.extend(parts.into_iter().map(path));
        }
        false => reader.read.push(path(&name)),
    }
    Ok(reader.read)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn one_of_several_templates_is_taken() {
        for (template, expected) in [
            (json!("x"), Some("x")),
            (
                json!([{"name": "rag", "template": "r"}, {"name": "default", "template": "d"}]),
                Some("d"),
            ),
            (json!({"rag": "r", "default": "d"}), Some("d")),
            (json!([{"name": "tool_use", "template": "t"}]), Some("t")),
            (json!([]), None),
            (json!(null), None),
        ] {
            let Value::Object(object) = json!({ "chat_template": template }) else {
                unreachable!()
            };
            assert_eq!(template_in(&object).as_deref(), expected);
        }
    }
}
