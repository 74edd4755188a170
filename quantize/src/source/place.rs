//! Where in a folder a model lies: in the cache of Hugging Face, in the folders that
//! sentence-transformers names, or a level above or below.

use std::io::Read;
use std::path::{Path, PathBuf};

use kinglet_formats::map::stays_inside;
use serde_json::Value;

use super::files::Files;
use crate::QuantizeError;

/// Describes a model, in a folder.
pub(super) const CONFIG: &str = "config.json";

/// Most entries of a folder that are looked at in search of a model.
const MAX_ENTRIES: usize = 1000;
/// Most bytes of a configuration that are looked at.
const MAX_LOOKED_AT: u64 = 1 << 20;
/// Most places that a message names.
const MAX_NEARBY: usize = 4;
const MODULES: &str = "modules.json";

/// The folder with the files of a model: of a model's folder in the cache of Hugging Face
/// (`models--org--name`) the snapshot of its main branch, or the only one.
pub(super) fn resolved(path: &Path) -> PathBuf {
    let snapshots = path.join("snapshots");
    if path.join(CONFIG).exists() || !snapshots.is_dir() {
        return path.to_owned();
    }
    let main = std::fs::read_to_string(path.join("refs/main")).ok();
    let main = main.map(|name| snapshots.join(name.trim())).filter(|main| {
        // A plain name, so that nothing leads out of the folder.
        main.parent() == Some(&snapshots) && main.file_name().is_some() && main.is_dir()
    });
    main.or_else(|| match folders(&snapshots).as_slice() {
        [only] => Some(only.clone()),
        _ => None,
    })
    .unwrap_or_else(|| path.to_owned())
}

/// The name of the model whose snapshot in the cache of Hugging Face is at `path`.
pub(super) fn name_in_cache(path: &Path) -> Option<String> {
    let snapshots = path.parent().filter(|parent| parent.ends_with("snapshots"))?;
    let model = snapshots.parent()?.file_name()?.to_string_lossy();
    let (_, name) = model.strip_prefix("models--")?.rsplit_once("--")?;
    Some(name.to_owned())
}

/// Places near a folder without a model that have one: folders below, snapshots in the cache, GGUF
/// files in it, or the folder above.
pub(super) fn nearby(path: &Path) -> Vec<PathBuf> {
    let has_config = |folder: &PathBuf| is_of_model(&folder.join(CONFIG));
    let mut found: Vec<PathBuf> = folders(path).into_iter().filter(has_config).collect();
    found.extend(folders(&path.join("snapshots")).into_iter().filter(has_config));
    found.extend(entries(path).into_iter().filter(|entry| {
        entry.extension().is_some_and(|end| end.eq_ignore_ascii_case("gguf")) && entry.is_file()
    }));
    if found.is_empty()
        && let Some(above) =
            path.canonicalize().ok().and_then(|path| Some(path.parent()?.to_owned()))
        && has_config(&above)
    {
        found.push(above);
    }
    found.truncate(MAX_NEARBY);
    found
}

/// Whether a configuration is that of a model: parts of one have their own.
pub(super) fn is_of_model(config: &Path) -> bool {
    let mut text = String::new();
    let read = std::fs::File::open(config)
        .and_then(|file| file.take(MAX_LOOKED_AT).read_to_string(&mut text));
    read.is_ok() && ["\"model_type\"", "\"architectures\""].iter().any(|key| text.contains(key))
}

fn folders(path: &Path) -> Vec<PathBuf> {
    entries(path).into_iter().filter(|entry| entry.is_dir()).collect()
}

/// What is in a folder, in the order of names.
fn entries(path: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(path) else { return Vec::new() };
    let mut paths: Vec<PathBuf> =
        entries.take(MAX_ENTRIES).filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    paths
}

/// What `modules.json` of sentence-transformers says about the folders of a model's parts.
pub(super) struct Modules {
    json: Value,
    /// Before the names of the transformer's files: nothing, or a folder and a slash.
    transformer: String,
    /// The configuration of the pooling.
    pooling: String,
    /// Before the names of the files of each dense layer.
    dense: Vec<String>,
}

impl Modules {
    pub(super) fn read(files: &Files, limit: u64) -> Result<Option<Self>, QuantizeError> {
        let Some(bytes) = files.read(MODULES, limit)? else { return Ok(None) };
        let json: Value = super::text::json(MODULES, bytes)?;
        let path_of = |kind: &str| {
            let module = kinds(&json).position(|found| found == Some(kind))?;
            json.get(module)?.get("path")?.as_str()
        };
        let inside = |path: Option<&str>, or: &str| {
            let path = path.unwrap_or(or).trim_end_matches('/');
            if !path.is_empty() && !stays_inside(path) {
                return Err(QuantizeError::BadKey {
                    file: MODULES.to_owned(),
                    key: "path".to_owned(),
                    found: path.chars().take(120).collect(),
                    expected: "a folder inside the model's".to_owned(),
                });
            }
            Ok(if path.is_empty() { String::new() } else { format!("{path}/") })
        };
        let mut dense = Vec::new();
        for (i, _) in kinds(&json).enumerate().filter(|(_, kind)| *kind == Some("Dense")) {
            let path = json.get(i).and_then(|module| module.get("path")).and_then(Value::as_str);
            dense.push(inside(path, &format!("{i}_Dense"))?);
        }
        Ok(Some(Self {
            transformer: inside(path_of("Transformer"), "")?,
            pooling: inside(path_of("Pooling"), "1_Pooling")? + CONFIG,
            dense,
            json,
        }))
    }

    /// The file itself.
    pub(super) fn file() -> &'static str {
        MODULES
    }

    /// How a file of the transformer is called, seen from the model's folder.
    pub(super) fn transformer(&self) -> &str {
        &self.transformer
    }

    /// The file with the configuration of the pooling.
    pub(super) fn pooling(&self) -> &str {
        &self.pooling
    }

    /// The folders of the dense layers, each with a slash behind it, in their order.
    pub(super) fn dense(&self) -> &[String] {
        &self.dense
    }

    /// The types of the modules by their last component (`Transformer`, `Pooling`…).
    pub(super) fn kinds(&self) -> Option<Vec<&str>> {
        self.json.is_array().then(|| kinds(&self.json).collect::<Option<Vec<_>>>()).flatten()
    }
}

/// `sentence_transformers.models.Pooling` is called `Pooling`.
fn kinds(modules: &Value) -> impl Iterator<Item = Option<&str>> {
    modules.as_array().into_iter().flatten().map(|module| {
        module.get("type").and_then(Value::as_str).and_then(|kind| kind.rsplit('.').next())
    })
}
