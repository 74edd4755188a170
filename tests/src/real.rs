//! The catalog's real models, fetched once into the cache and converted once per test program.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use kinglet_cli::cache::Cache;
use kinglet_cli::catalog;
use kinglet_quantize::{Options, Source, WeightType, quantize};

static CONVERTED: Mutex<Vec<(String, PathBuf)>> = Mutex::new(Vec::new());

/// The checkpoint called `name` in the catalog: a GGUF file or a Hugging Face folder.
///
/// # Panics
/// If it is not in the cache and cannot be fetched.
pub fn checkpoint(name: &str) -> PathBuf {
    let cache = Cache::locate().expect("a cache folder");
    catalog::fetch(name, &cache).unwrap_or_else(|e| panic!("{name} is needed and missing: {e}"))
}

/// The model called `name`, converted to `dtype` in groups of 64 by the code under test. `test`
/// names the test program, so that two of them do not write the same file.
///
/// # Panics
/// If it cannot be fetched or converted.
pub fn converted(test: &str, name: &str, dtype: WeightType) -> PathBuf {
    let key = format!("{name}-{dtype}");
    let mut converted = CONVERTED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, path)) = converted.iter().find(|(known, _)| *known == key) {
        return path.clone();
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tmp");
    std::fs::create_dir_all(&folder).expect("a folder for converted models");
    let path = folder.join(format!("{key}-{test}.kinglet"));
    let source = Source::open(checkpoint(name)).expect("a sound checkpoint");
    let options = Options { dtype, ..Options::default() };
    quantize(&source, &options, &path, &mut ()).expect("a conversion");
    converted.push((key, path.clone()));
    path
}
