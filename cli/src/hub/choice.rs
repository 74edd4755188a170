//! Which files of a repository make a model.

use kinglet_formats::checkpoint::{is_index, onnx_files, onnx_parts, weights_of};
use serde::Deserialize;
use serde_json::Value;

use super::Error;
use super::listing::Listing;
use super::name::{is_path, last};
use super::single::{choice, ggufs, has_ending, has_word, of_kind, stem};

const CONFIG: &str = "config.json";
const MODULES: &str = "modules.json";
/// Names an adapter's base model: the conversion says what to do about one.
const ADAPTER: &str = "adapter_config.json";
/// Endings of files that describe a model.
const DESCRIPTIONS: [&str; 5] = ["json", "jinja", "txt", "model", "spm"];
/// Records of a training, which can be large and describe no model.
const RECORDS: [&str; 4] =
    ["trainer_state.json", "all_results.json", "train_results.json", "eval_results.json"];
/// Most files that a message names.
const SHOWN: usize = 12;

/// What of a repository is the model.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// A file that is complete in itself; a large one may be in several parts.
    Alone(Vec<String>),
    /// A file of weights and those that belong to it, and what describes them beside it.
    Described(Vec<String>),
    /// The whole folder, with the weights that its own files name.
    Folder,
}

/// Chooses among the files of the repository `name`; `word` is a file's name or a part of it.
pub(super) fn choose(name: &str, listing: &Listing, word: Option<&str>) -> Result<Choice, Error> {
    if let Some(word) = word {
        return named(name, listing, word);
    }
    let is_sentences = listing.has(MODULES);
    let has_config = listing.has(CONFIG)
        || is_sentences && listing.names().any(|file| file.ends_with("/config.json"));
    let has_weights = is_sentences || weights(listing, "").is_some();
    if has_config && has_weights || listing.has(ADAPTER) && !listing.has(CONFIG) {
        return Ok(Choice::Folder);
    }
    for models in [ggufs(listing), of_kind(listing, "kinglet")] {
        match models.len() {
            0 => {}
            1 => return Ok(Choice::Alone(models.into_iter().next().unwrap_or_default())),
            _ => return Err(choice(name, listing, &models)),
        }
    }
    if has_config && !onnx(listing).is_empty() {
        return Ok(Choice::Folder);
    }
    let files: Vec<&str> = listing.names().collect();
    let looked_for = match weights(listing, "") {
        None => {
            "model.safetensors, pytorch_model.bin, their indices, a GGUF, .kinglet or ONNX file"
        }
        Some(_) => "config.json, which describes its weights, or a GGUF or .kinglet file",
    };
    Err(Error::NothingReadable { name: name.to_owned(), looked_for, there: shown(&files) })
}

/// The file that a user names.
fn named(name: &str, listing: &Listing, word: &str) -> Result<Choice, Error> {
    let lower = word.to_ascii_lowercase();
    let models: Vec<Vec<String>> =
        [ggufs(listing), of_kind(listing, "kinglet")].into_iter().flatten().collect();
    let is_it = |parts: &&Vec<String>| parts.iter().any(|file| file == word || last(file) == word);
    if let Some(parts) = models.iter().find(is_it) {
        return Ok(Choice::Alone(parts.clone()));
    }
    if listing.has(word) {
        let is_weights = ["safetensors", "bin", "pt", "pth"].iter().any(|e| has_ending(word, e));
        if is_weights {
            return Ok(Choice::Described(vec![word.to_owned()]));
        }
        if has_ending(word, "onnx") {
            let folder = word.strip_suffix(last(word)).unwrap_or_default();
            let parts = onnx_parts(last(word), &|name| listing.has(&format!("{folder}{name}")));
            let mut files = vec![word.to_owned()];
            files.extend(parts.iter().map(|name| format!("{folder}{name}")));
            return Ok(Choice::Described(with_data(listing, files)));
        }
        if word.ends_with(".gguf") {
            return Ok(Choice::Alone(vec![word.to_owned()]));
        }
    }
    let mut fitting = models;
    fitting.retain(|parts| has_word(&stem(&parts[0]).to_ascii_lowercase(), &lower));
    // Of `a-Q8_0` and `a-Q8_0-long` the first is the one that ends with the word.
    if fitting.len() > 1 {
        let ends = |parts: &Vec<String>| stem(&parts[0]).to_ascii_lowercase().ends_with(&lower);
        let n = fitting.iter().filter(|parts| ends(parts)).count();
        if n == 1 {
            fitting.retain(ends);
        }
    }
    match fitting.len() {
        1 => Ok(Choice::Alone(fitting.swap_remove(0))),
        0 => {
            let files: Vec<&str> = listing.names().collect();
            let (name, word) = (name.to_owned(), word.to_owned());
            Err(Error::NoMatch { name, word, there: shown(&files) })
        }
        _ => Err(choice(name, listing, &fitting)),
    }
}

/// The files that describe what lies in a folder: `""`, or a name with a slash behind it.
pub(super) fn descriptions<'a>(listing: &'a Listing, folder: &str) -> Vec<&'a str> {
    // An index of weights that are not those to be taken.
    let weights = weights(listing, folder);
    let is_other = |file: &str| is_index(file) && weights.as_deref() != Some(file);
    let describes = |file: &str| {
        let Some(name) = file.strip_prefix(folder) else { return false };
        let is_description = DESCRIPTIONS.iter().any(|ending| has_ending(name, ending));
        !name.contains('/')
            && (is_description && !RECORDS.contains(&name) || name == "README.md")
            && !is_other(file)
    };
    listing.names().filter(|file| describes(file)).collect()
}

/// The weights in a folder: one file, or the index of several.
fn weights(listing: &Listing, folder: &str) -> Option<String> {
    let names = listing.names().filter_map(|file| file.strip_prefix(folder));
    let names: Vec<&str> = names.filter(|name| !name.contains('/')).collect();
    weights_of(&names).map(|name| format!("{folder}{name}"))
}

/// The files of an ONNX model, in the folder or in one below.
fn onnx(listing: &Listing) -> Vec<String> {
    with_data(listing, onnx_files(&|name| listing.has(name)))
}

/// Each file of an ONNX model once, and those with its data, which are named after it.
fn with_data(listing: &Listing, files: Vec<String>) -> Vec<String> {
    let is_of = |name: &&str| files.iter().any(|file| name.starts_with(file.as_str()));
    let mut all: Vec<String> = listing.names().filter(is_of).map(str::to_owned).collect();
    // The one that was named stays the first.
    all.sort_by_key(|name| Some(name) != files.first());
    all
}

/// The folders of a model's parts, from `modules.json` of sentence-transformers; without one, the
/// repository itself.
pub(super) fn folders(modules: Option<&[u8]>) -> Vec<String> {
    let modules = modules.and_then(|bytes| serde_json::from_slice::<Value>(bytes).ok());
    let Some(Value::Array(modules)) = modules else { return vec![String::new()] };
    let folder = |module: &Value| {
        let path = module.get("path")?.as_str()?.trim_end_matches('/');
        match path {
            "" => Some(String::new()),
            path => is_path(path).then(|| format!("{path}/")),
        }
    };
    let mut folders: Vec<String> = modules.iter().filter_map(folder).collect();
    folders.dedup();
    folders
}

/// The files of weights in a folder; `read` gives the bytes of an index. One that cannot be read is
/// left to the conversion to describe.
pub(super) fn weight_files(
    listing: &Listing,
    folder: &str,
    read: impl FnOnce(&str) -> Option<Vec<u8>>,
) -> Vec<String> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: serde_json::Map<String, Value>,
    }
    let Some(found) = weights(listing, folder) else {
        return if folder.is_empty() { onnx(listing) } else { Vec::new() };
    };
    if !is_index(&found) {
        return vec![found];
    }
    let index = read(&found).and_then(|bytes| serde_json::from_slice::<Index>(&bytes).ok());
    let Some(index) = index else { return Vec::new() };
    let names = index.weight_map.values().filter_map(Value::as_str);
    let mut files: Vec<String> =
        names.filter(|name| is_path(name)).map(|name| format!("{folder}{name}")).collect();
    files.sort_unstable();
    files.dedup();
    files
}

/// Some names of a list, and how many more there are.
fn shown(files: &[&str]) -> String {
    let names = files[..files.len().min(SHOWN)].join(", ");
    match files.len() {
        0 => "no files".to_owned(),
        n @ ..=SHOWN => names + if n == 1 { " alone" } else { "" },
        n => format!("{names} and {} more", n - SHOWN),
    }
}

#[cfg(test)]
#[path = "choice_tests.rs"]
mod tests;
