//! ONNX models: one file, or one for the encoder and one for the decoder; beside what describes
//! them or in a folder below that.

use std::path::{Path, PathBuf};

use kinglet_formats::checkpoint::{Checkpoint, CheckpointError, Onnx, onnx_files, onnx_parts};

use super::files::Files;
use super::place::{self, CONFIG};

/// The files of the model that `folder` has ONNX files of, where the configuration lies a folder
/// above them.
pub(super) fn above(folder: &Path) -> Option<Files> {
    // `.` and `..` have no names, and what stands before them is not above them.
    let above = match folder.parent().filter(|_| folder.file_name().is_some()) {
        Some(parent) if parent.as_os_str().is_empty() => PathBuf::from("."),
        Some(parent) => parent.to_owned(),
        None => folder.join(".."),
    };
    let is_here = folder.join(CONFIG).exists();
    (!is_here && place::is_of_model(&above.join(CONFIG))).then_some(Files::Folder(above))
}

/// The first file of the model in a folder, by its name there.
pub(super) fn first(contains: &dyn Fn(&str) -> bool) -> Option<String> {
    onnx_files(contains).into_iter().next()
}

/// Opens the model that the file at `path` is a part of, and tells all files that it was read from.
pub(super) fn open(
    files: &Files,
    path: &Path,
) -> Result<(Box<dyn Checkpoint>, Vec<PathBuf>), CheckpointError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let parts = onnx_parts(&name, &|name| files.has(&path.with_file_name(name)));
    let paths = parts.iter().map(|name| path.with_file_name(name));
    let mut read = Vec::new();
    let mut models = Vec::new();
    for path in paths {
        let model = match files.held(&path) {
            Some(bytes) => Onnx::parse_with(bytes.clone(), &path, &|name| {
                files.held(&path.with_file_name(name)).cloned()
            })?,
            None => Onnx::open(&path)?,
        };
        let data = model.data_files().iter().map(|name| path.with_file_name(name));
        read.extend(data.filter(|data| !read.contains(data)).collect::<Vec<_>>());
        read.push(path);
        models.push(model);
    }
    let whole = models.into_iter().reduce(Onnx::joined);
    // A file is a part of itself.
    let whole = whole.map_or_else(|| Onnx::open(path), Ok)?;
    Ok((Box::new(whole), read))
}
