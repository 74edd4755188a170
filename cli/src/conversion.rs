//! Conversions kept in the cache, under names that change with everything they depend on.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Instant, UNIX_EPOCH};

use kinglet_formats::kinglet;
use kinglet_quantize::{Options, QuantizeError, Report, Source, WeightType, quantize};
use sha2::{Digest, Sha256};

use crate::cache::{Cache, create_folder, remove_leftovers};
use crate::catalog::{self, Entry};
use crate::failure::Failure;
use crate::interrupt::Guard;
use crate::output::say;
use crate::progress::ConversionProgress;
use crate::units;
use crate::wheel::hex;

/// The conversion of a catalog model, made now if the cache does not have it.
pub(crate) fn of_entry(
    entry: &'static Entry,
    dtype: WeightType,
    cache: &Cache,
) -> Result<PathBuf, Failure> {
    let options = Options { dtype, ..Options::default() };
    let mut key = Key::new(&options);
    for file in entry.files {
        key.add(file.sha256);
    }
    let path = key.path(cache, entry.name, &options);
    if path.is_file() {
        return Ok(path);
    }
    let checkpoint = catalog::fetch(entry.name, cache)?;
    make(entry.name, || Ok(Source::open(&checkpoint)?), &options, &path, cache)
}

/// The conversion of a checkpoint on disk, made now if the cache does not have it.
pub(crate) fn of_checkpoint(
    path: &Path,
    dtype: WeightType,
    cache: &Cache,
) -> Result<PathBuf, Failure> {
    let source = Source::open(path)?;
    let options = Options { dtype, ..Options::default() };
    let mut key = Key::new(&options);
    for input in source.inputs() {
        let metadata = fs::metadata(input).map_err(|e| Failure::from(e).during(input.display()))?;
        let modified = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
        key.add(&fs::canonicalize(input)?.to_string_lossy());
        key.add(&format!("{} {}", metadata.len(), modified.as_nanos()));
    }
    let name = stem(source.name());
    let target = key.path(cache, &name, &options);
    if target.is_file() {
        return Ok(target);
    }
    make(&name, || Ok(source), &options, &target, cache)
}

/// Everything that a conversion depends on.
struct Key(Sha256);

impl Key {
    fn new(options: &Options) -> Self {
        let mut key = Self(Sha256::new());
        let (major, minor) = kinglet::VERSION;
        key.add(concat!("kinglet ", env!("CARGO_PKG_VERSION")));
        key.add(&format!("format {major}.{minor} {options}"));
        key
    }

    fn add(&mut self, part: &str) {
        self.0.update((part.len() as u64).to_le_bytes());
        self.0.update(part.as_bytes());
    }

    fn path(self, cache: &Cache, name: &str, options: &Options) -> PathBuf {
        let kind = match options.dtype {
            WeightType::Int8 => format!("int8-g{}", options.group),
            other => other.to_string(),
        };
        let key = hex(&self.0.finalize()[..6]);
        cache.models().join(format!("{name}-{kind}-{key}.kinglet"))
    }
}

/// A file name out of a checkpoint's: no extension, no characters that a shell treats specially.
fn stem(name: &str) -> String {
    let name = Path::new(name).file_stem().unwrap_or_default().to_string_lossy();
    let plain = |c: char| if c.is_alphanumeric() || "._-".contains(c) { c } else { '_' };
    name.chars().take(80).map(plain).collect()
}

fn make(
    name: &str,
    source: impl FnOnce() -> Result<Source, Failure>,
    options: &Options,
    target: &Path,
    cache: &Cache,
) -> Result<PathBuf, Failure> {
    create_folder(&cache.models())?;
    let lock = target.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let _lock = cache.lock(&lock)?;
    if !target.is_file() {
        remove_leftovers(&cache.models(), &format!(".{lock}."));
        let start = Instant::now();
        let report = convert(name, &source()?, options, target)?;
        say!(
            "converted {name} to {}: {}, {:.2} bits per weight, in {:.1} s",
            options.dtype,
            units::bytes(report.output_bytes),
            report.bits_per_weight(),
            start.elapsed().as_secs_f64()
        );
    }
    Ok(target.to_owned())
}

/// Converts with a progress bar; Ctrl-C stops it and leaves nothing behind.
pub(crate) fn convert(
    name: &str,
    source: &Source,
    options: &Options,
    target: &Path,
) -> Result<Report, Failure> {
    let guard = Guard::wait();
    let result = quantize(source, options, target, &mut ConversionProgress::new(name, &guard));
    match result {
        Err(QuantizeError::Cancelled) => Err(Failure::Interrupted),
        other => Ok(other?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stems_are_file_names() {
        assert_eq!(stem("SmolLM2-135M.Q4_1.gguf"), "SmolLM2-135M.Q4_1");
        assert_eq!(stem("my model/.."), "");
        assert_eq!(stem("a b$c"), "a_b_c");
    }

    #[test]
    fn the_key_tells_options_and_inputs_apart() {
        let int8 = Options::default();
        let f16 = Options { dtype: WeightType::F16, ..Options::default() };
        let digest = |options: &Options, parts: &[&str]| {
            let mut key = Key::new(options);
            parts.iter().for_each(|part| key.add(part));
            hex(&key.0.finalize())
        };
        assert_ne!(digest(&int8, &["a"]), digest(&f16, &["a"]));
        assert_ne!(digest(&int8, &["ab", "c"]), digest(&int8, &["a", "bc"]));
        assert_eq!(digest(&int8, &["a"]), digest(&int8, &["a"]));
    }
}
