//! From what a user writes as MODEL to a `.kinglet` file.

use std::ffi::{OsStr, OsString};
use std::io::ErrorKind;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use kinglet::{Model, ModelOptions};
use kinglet_quantize::WeightType;

use crate::arguments::ModelArguments;
use crate::cache::Cache;
use crate::catalog::{self, Entry, Sampling};
use crate::conversion;
use crate::failure::Failure;
use crate::hub::{self, Remote};
use crate::memory;
use crate::numbers;
use crate::output::say;

/// What a MODEL argument means.
pub(crate) enum Meaning {
    /// A catalog model.
    Named(&'static Entry),
    /// A `.kinglet` file.
    Kinglet(PathBuf),
    /// Something else on disk, to be converted.
    Checkpoint(PathBuf),
    /// A model in the network.
    Remote(Remote),
}

/// Tells catalog names from paths, and both from models in the network; catalog names go first,
/// then what is on disk; `./NAME` is always a path.
pub(crate) fn meaning(model: &OsStr) -> Result<Meaning, Failure> {
    if let Some(entry) = model.to_str().and_then(catalog::find) {
        return Ok(Meaning::Named(entry));
    }
    let path = Path::new(model);
    match path.metadata() {
        Ok(metadata) if metadata.is_dir() => Ok(Meaning::Checkpoint(path.to_owned())),
        Ok(_) if conversion::is_kinglet(path)? => Ok(Meaning::Kinglet(path.to_owned())),
        Ok(_) => Ok(Meaning::Checkpoint(path.to_owned())),
        // A text in place of a path may be longer than a path can be.
        Err(error) if [ErrorKind::NotFound, ErrorKind::InvalidFilename].contains(&error.kind()) => {
            missing(model)
        }
        Err(error) => Err(Failure::from(error).during(path.display())),
    }
}

/// What a name means that is not on disk.
fn missing(model: &OsStr) -> Result<Meaning, Failure> {
    let (path, name) = (Path::new(model), model.to_string_lossy());
    if let Some(remote) = hub::remote(&name)? {
        return Ok(Meaning::Remote(remote));
    }
    if name.contains(['/', '\\']) || path.extension().is_some_and(is_model) {
        return Err(Failure::new(format!(
            "{name}: no such file; check the path, or see `kinglet models` for models that go by \
             name"
        )));
    }
    Err(catalog::unknown(&name))
}

fn is_model(extension: &OsStr) -> bool {
    hub::ENDINGS.iter().any(|known| extension == *known)
}

/// Fails if there is no such model, before anything is read or waited for. If what stands in its
/// place is a text, for it has blanks, it fails with the corrected line.
pub(crate) fn check(
    arguments: &ModelArguments,
    verb: &str,
    words: &[&str],
    usual: &str,
) -> Result<(), Failure> {
    let model = arguments.model()?;
    let text = model.to_string_lossy();
    let Err(failure) = meaning(model) else { return Ok(()) };
    if !text.trim().contains(char::is_whitespace) {
        return Err(failure);
    }
    // A word with a slash is more often a word than a model of the hub.
    let is_name = |word: &&&str| match meaning(OsStr::new(**word)) {
        Ok(Meaning::Remote(remote)) => !remote.is_bare(),
        meaning => meaning.is_ok(),
    };
    let model = words.iter().find(is_name).copied().unwrap_or(usual);
    let quoted = text.replace(['\n', '\r'], " ").replace('"', "\\\"");
    Err(Failure::new(format!(
        "`{text}` is no model: the model comes first, as in\n  kinglet {verb} {model} \"{quoted}\""
    )))
}

/// A `.kinglet` file, with what the catalog knows about it.
pub(crate) struct Resolved {
    /// The file.
    pub(crate) path: PathBuf,
    /// What it is called for short: the catalog's name, or the file's.
    pub(crate) name: String,
    /// Sampling that the model's authors recommend.
    pub(crate) sampling: Sampling,
    /// Whether the file is the cache's and can be made again.
    cached: bool,
}

/// The `.kinglet` file for a MODEL argument; fetches and converts where needed.
pub(crate) fn resolve(model: &OsStr, dtype: Option<WeightType>) -> Result<Resolved, Failure> {
    let wanted = dtype.unwrap_or(WeightType::Auto);
    let mut sampling = Sampling::default();
    let meaning = meaning(model)?;
    let cached = !matches!(meaning, Meaning::Kinglet(_));
    let mut name = file_name(Path::new(model)).to_string_lossy().into_owned();
    let path = match meaning {
        Meaning::Named(entry) => {
            sampling = entry.sampling;
            name = entry.name.to_owned();
            // Nothing in the catalog has 4 bits.
            let wanted = if wanted == WeightType::Auto { WeightType::Int8 } else { wanted };
            conversion::of_entry(entry, wanted, &Cache::locate()?)?
        }
        Meaning::Checkpoint(path) => conversion::of_checkpoint(&path, wanted, &Cache::locate()?)?,
        Meaning::Remote(remote) => {
            name = remote.short_name().to_owned();
            match conversion::of_remote(&remote, wanted, &Cache::locate()?)? {
                (path, true) => path,
                (path, false) => unconverted(path, dtype)?,
            }
        }
        Meaning::Kinglet(path) => unconverted(path, dtype)?,
    };
    Ok(Resolved { path, name, sampling, cached })
}

/// A `.kinglet` file as it is, if nobody asks for another type.
fn unconverted(path: PathBuf, dtype: Option<WeightType>) -> Result<PathBuf, Failure> {
    if dtype.is_none() {
        return Ok(path);
    }
    Err(Failure::new(format!(
        "{} is converted already; --type is for catalog models and checkpoints",
        path.display()
    )))
}

/// The name of a file without what tells its kind, or of a folder.
pub(crate) fn file_name(path: &Path) -> OsString {
    // `.` and `..` have no names of their own.
    let whole = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let path = if path.file_name().is_some() { path } else { &whole };
    let is_known = path.extension().is_some_and(is_model);
    let name = if is_known { path.file_stem() } else { path.file_name() };
    name.unwrap_or(path.as_os_str()).to_owned()
}

/// A model that has been opened, with what the catalog knows about it.
pub(crate) struct Opened {
    pub(crate) model: Model,
    /// What it is called for short.
    pub(crate) name: String,
    /// Sampling that the model's authors recommend.
    pub(crate) sampling: Sampling,
}

/// Opens the model that the arguments name.
pub(crate) fn open(arguments: &ModelArguments) -> Result<Opened, Failure> {
    // Measured now: neither a conversion nor the model has taken memory yet.
    memory::program();
    let name = arguments.model()?;
    let resolved = resolve(name, arguments.dtype)?;
    let threads = arguments.threads.map(NonZeroUsize::get);
    let model = open_file(&resolved, threads)?;
    Ok(Opened { model, name: resolved.name, sampling: resolved.sampling })
}

/// Opens a file with a number of threads; says so if it is more than the machine has.
pub(crate) fn open_file(resolved: &Resolved, threads: Option<usize>) -> Result<Model, Failure> {
    if let Some(note) = threads.and_then(numbers::note_on_threads) {
        say!("{note}");
    }
    let mut options = ModelOptions::default();
    options.threads = threads;
    Model::open_with(&resolved.path, &options).map_err(|error| match error {
        kinglet::Error::File(_) if resolved.cached => Failure::new(format!(
            "{}: {error}; the file is {} in the cache: remove it, and it is made again",
            resolved.name,
            resolved.path.display()
        )),
        error => Failure::from(error).during(resolved.path.display()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_in_the_network_are_told_from_paths() {
        for name in ["Qwen/Qwen3-0.6B", "hf:gpt2", "hf.co/a/b:Q8_0", "https://example.org/m.gguf"] {
            assert!(matches!(meaning(OsStr::new(name)), Ok(Meaning::Remote(_))), "{name}");
        }
        for name in [
            "models/m.gguf",
            "models/m.onnx",
            "./a/b",
            "/a/b",
            "llama3:8b",
            "",
            "hf:",
            "http://a.b/m.gguf",
        ] {
            assert!(meaning(OsStr::new(name)).is_err(), "{name}");
        }
    }

    #[test]
    fn short_names_are_the_files() {
        assert_eq!(file_name(Path::new("a/SmolLM2-135M.Q4_1.gguf")), "SmolLM2-135M.Q4_1");
        assert_eq!(file_name(Path::new("a/Qwen3-0.6B/")), "Qwen3-0.6B");
        assert!(!file_name(Path::new(".")).is_empty());
    }
}
