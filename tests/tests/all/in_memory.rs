//! Checkpoints that are bytes in memory become the same files as those on disk.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::fs;
use std::io::Cursor;
use std::path::Path;

use kinglet_formats::map::Bytes;
use kinglet_quantize::{Options, QuantizeError, Source, quantize, quantize_to};
use kinglet_tests::gguf_file::{GgufFile, Value};
use kinglet_tests::{real, tiny};

type Files = Vec<(String, Bytes)>;

/// The files of a folder and of those in it, by their names below `root`.
fn files(root: &Path, folder: &Path) -> Files {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let file = |path: &Path| {
        let name = path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/");
        (name, Bytes::read(path).unwrap())
    };
    entries
        .flat_map(|path| if path.is_dir() { files(root, &path) } else { vec![file(&path)] })
        .collect()
}

fn on_disk(path: &Path) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.kinglet");
    let source = Source::open(path).unwrap();
    let report = quantize(&source, &Options::default(), &out, &mut ()).unwrap();
    let bytes = fs::read(out).unwrap();
    assert_eq!(report.output_bytes, bytes.len() as u64);
    bytes
}

fn in_memory(name: &str, files: Files) -> Result<Vec<u8>, QuantizeError> {
    let source = Source::from_files(name, files)?;
    let out = Cursor::new(Vec::new());
    let (out, report) = quantize_to(&source, &Options::default(), out, &mut ())?;
    assert_eq!(report.output_bytes, out.get_ref().len() as u64);
    Ok(out.into_inner())
}

fn name(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

#[test]
fn a_folder() {
    let minilm = real::checkpoint("minilm");
    let tiny: Vec<_> = tiny::families().map(tiny::checkpoint).collect();
    let folders = tiny.iter().map(|folder| folder.path()).chain([minilm.as_path()]);
    for folder in folders {
        let bytes = in_memory(name(folder), files(folder, folder)).unwrap();
        assert!(bytes == on_disk(folder), "{}", folder.display());
    }
}

#[test]
fn a_gguf_file() {
    let path = real::checkpoint("smollm2-135m");
    let file = (name(&path).to_owned(), Bytes::read(&path).unwrap());
    assert!(in_memory(name(&path), vec![file]).unwrap() == on_disk(&path));
}

#[test]
fn what_is_missing_is_named() {
    let folder = tiny::checkpoint("llama");
    let all = files(folder.path(), folder.path());
    let without =
        |name: &str| all.iter().filter(|(file, _)| file != name).cloned().collect::<Files>();
    let only = |name: &str| all.iter().filter(|(file, _)| file == name).cloned().collect::<Files>();
    let mut twice = without("model.safetensors");
    for part in ["a.safetensors", "b.safetensors"] {
        twice.push((part.to_owned(), only("model.safetensors")[0].1.clone()));
    }
    let mut gguf = GgufFile::default();
    gguf.set("general.architecture", Value::Text("unheard".to_owned()));
    let path = folder.path().join("unheard.gguf");
    gguf.write(&path);

    for (files, expected) in [
        (Files::new(), "my model: there are no files"),
        (without("model.safetensors"), "my model: none of the files has weights"),
        (without("config.json"), "my model: config.json is missing"),
        (without("tokenizer.json"), "my model: tokenizer.json is missing"),
        (twice, "my model: several files have weights"),
        (only("config.json"), "config.json: it is a JSON file"),
        (vec![("empty".to_owned(), Bytes::copy_of(&[]))], "empty: the file is empty"),
        (vec![("unheard.gguf".to_owned(), Bytes::read(&path).unwrap())], "`unheard`"),
    ] {
        let error = in_memory("my model", files).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    // A name that the folder's own weights go before.
    let mut more = all.clone();
    more.push(("other.safetensors".to_owned(), only("model.safetensors")[0].1.clone()));
    assert!(in_memory(name(folder.path()), more).unwrap() == on_disk(folder.path()));
}
