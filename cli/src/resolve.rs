//! From what a user writes as MODEL to a `.kinglet` file.

use std::io::Read;
use std::path::{Path, PathBuf};

use kinglet::{Model, ModelOptions};
use kinglet_formats::map::open_regular;
use kinglet_quantize::WeightType;

use crate::arguments::ModelArguments;
use crate::cache::Cache;
use crate::catalog::{self, Entry, Sampling};
use crate::conversion;
use crate::failure::Failure;
use crate::memory;

/// What a MODEL argument means.
pub(crate) enum Meaning {
    /// A catalog model.
    Named(&'static Entry),
    /// A `.kinglet` file.
    Kinglet(PathBuf),
    /// Something else on disk, to be converted.
    Checkpoint(PathBuf),
}

/// Tells catalog names from paths; catalog names go first, `./NAME` is always a path.
pub(crate) fn meaning(model: &str) -> Result<Meaning, Failure> {
    if let Some(entry) = catalog::find(model) {
        return Ok(Meaning::Named(entry));
    }
    let path = Path::new(model);
    match path.metadata() {
        Ok(metadata) if metadata.is_dir() => Ok(Meaning::Checkpoint(path.to_owned())),
        Ok(_) if is_kinglet(path)? => Ok(Meaning::Kinglet(path.to_owned())),
        Ok(_) => Ok(Meaning::Checkpoint(path.to_owned())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let is_path = model.contains(['/', '\\']) || path.extension().is_some_and(is_model);
            Err(match is_path {
                true => Failure::new(format!(
                    "{model}: no such file; check the path, or see `kinglet models` for models \
                     that go by name"
                )),
                false => catalog::unknown(model),
            })
        }
        Err(error) => Err(Failure::from(error).during(model)),
    }
}

fn is_model(extension: &std::ffi::OsStr) -> bool {
    ["kinglet", "gguf", "safetensors", "bin", "pt", "pth"].iter().any(|known| extension == *known)
}

/// Whether a file is a `.kinglet` by its first bytes, or by its name if it is cut short.
fn is_kinglet(path: &Path) -> Result<bool, Failure> {
    let mut start = [0; 4];
    let named = path.extension().is_some_and(|extension| extension == "kinglet");
    let file = open_regular(path).map_err(|e| Failure::new(e.to_string()))?;
    let n = file.take(4).read(&mut start).map_err(|e| Failure::from(e).during(path.display()))?;
    Ok(named || start[..n] == *b"\x89KGL")
}

/// A `.kinglet` file, with what the catalog knows about it.
pub(crate) struct Resolved {
    /// The file.
    pub(crate) path: PathBuf,
    /// Sampling that the model's authors recommend.
    pub(crate) sampling: Sampling,
    /// Whether the file is the cache's and can be made again.
    cached: bool,
}

/// The `.kinglet` file for a MODEL argument; fetches and converts where needed.
pub(crate) fn resolve(model: &str, dtype: Option<WeightType>) -> Result<Resolved, Failure> {
    let wanted = dtype.unwrap_or(WeightType::Int8);
    let mut sampling = Sampling::default();
    let meaning = meaning(model)?;
    let cached = !matches!(meaning, Meaning::Kinglet(_));
    let path = match meaning {
        Meaning::Named(entry) => {
            sampling = entry.sampling;
            conversion::of_entry(entry, wanted, &Cache::locate()?)?
        }
        Meaning::Checkpoint(path) => conversion::of_checkpoint(&path, wanted, &Cache::locate()?)?,
        Meaning::Kinglet(_) if dtype.is_some() => {
            return Err(Failure::new(format!(
                "{model} is converted already; --type is for catalog models and checkpoints"
            )));
        }
        Meaning::Kinglet(path) => path,
    };
    Ok(Resolved { path, sampling, cached })
}

/// Opens the model that the arguments name.
pub(crate) fn open(arguments: &ModelArguments) -> Result<(Model, Sampling), Failure> {
    // Measured now: neither a conversion nor the model has taken memory yet.
    memory::program();
    let name = arguments.model()?;
    let resolved = resolve(name, arguments.dtype)?;
    let mut options = ModelOptions::default();
    if let Some(threads) = arguments.threads {
        options = options.threads(threads.get());
    }
    let model = Model::open_with(&resolved.path, &options).map_err(|error| match error {
        kinglet::Error::File(_) if resolved.cached => Failure::new(format!(
            "{name}: {error}; the file is {} in the cache: remove it, and it is made again",
            resolved.path.display()
        )),
        error => Failure::from(error).during(name),
    })?;
    Ok((model, resolved.sampling))
}
