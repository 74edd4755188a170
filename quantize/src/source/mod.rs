//! Checkpoints as they lie on disk or in memory: a GGUF file, a Hugging Face folder, or one of its
//! weight files, also in ONNX; a model of Firefox Translations, or of whisper.cpp.

mod adapter;
mod ct2;
mod files;
mod folder;
mod ggml;
mod gguf;
mod joined;
mod marian;
mod onnx;
mod packed;
mod parts;
mod place;
mod renamed;
mod text;
mod text_to_text;
mod tokenizer;
mod tokens;
mod wordpiece;

use std::path::{Path, PathBuf};

use kinglet_formats::checkpoint::gguf::part_names;
use kinglet_formats::checkpoint::{Checkpoint, WEIGHTS, is_ct2, is_ggml, is_marian, is_onnx};
use kinglet_formats::kinglet::{
    Dictation, General, Generation, Prompt, Speech, TextToText, Translation,
};
use kinglet_formats::map::Bytes;
use kinglet_formats::spec::ModelSpec;

use crate::mapping::Mapping;
use crate::{QuantizeError, WeightType};
use files::Files;
use folder::Folder;
use ggml::GgmlModel;
use gguf::GgufFile;
use marian::MarianModel;

/// A checkpoint that has been found, opened and recognised. Weights are untouched so far.
pub struct Source {
    name: String,
    kind: Kind,
}

enum Kind {
    Ggml(Box<GgmlModel>),
    Gguf(Box<GgufFile>),
    Folder(Box<Folder>),
    Marian(Box<MarianModel>),
}

/// What a checkpoint says about itself and its use.
pub(crate) struct Defaults {
    pub(crate) general: General,
    pub(crate) generation: Generation,
    pub(crate) chat_template: Option<String>,
    /// Names of what a classifier tells apart.
    pub(crate) labels: Vec<String>,
    pub(crate) prompts: Prompts,
    /// Of a model that reads a source.
    pub(crate) text_to_text: Option<TextToText>,
    /// Of a translator, where the vocabulary does not tell.
    pub(crate) translation: Option<Translation>,
    /// Those that a translator of one pair translates from and to, as files call them.
    pub(crate) languages: [Option<String>; 2],
}

/// What goes before texts that are embedded.
#[derive(Default)]
pub(crate) struct Prompts {
    pub(crate) list: Vec<Prompt>,
    /// The name of the one that goes before every text unless another is asked for.
    pub(crate) default: Option<String>,
    /// Whether its rows are left out when rows are pooled.
    pub(crate) unpooled: bool,
}

impl Source {
    /// Opens a GGUF file, a Hugging Face folder, or a safetensors, PyTorch, CTranslate2 or ONNX file whose folder
    /// has `config.json` and a tokenizer; those of an ONNX file may lie in the folder above. The
    /// content decides, not the name.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, QuantizeError> {
        let path = path.as_ref();
        let metadata = std::fs::metadata(path).map_err(|error| QuantizeError::io(path, error))?;
        if metadata.is_dir() {
            if let Some(model) = MarianModel::in_folder(path)? {
                let name = file_name(model.files().place());
                return Ok(Self { name, kind: Kind::Marian(Box::new(model)) });
            }
            let folder = Folder::open(path)?;
            return Ok(Self {
                name: file_name(folder.files().place()),
                kind: Kind::Folder(Box::new(folder)),
            });
        }
        let kind = Kind::of_file(Files::beside(path), path)?;
        Ok(Self { name: file_name(path), kind })
    }

    /// Opens a checkpoint called `name` that is in memory, by the names of its files: a GGUF file,
    /// or a safetensors, PyTorch or ONNX file and, with the names they have in a Hugging Face folder
    /// (`1_Pooling/config.json`), those that belong to it.
    pub fn from_files(
        name: &str,
        files: impl IntoIterator<Item = (String, Bytes)>,
    ) -> Result<Self, QuantizeError> {
        let files: Vec<(PathBuf, Bytes)> =
            files.into_iter().map(|(name, bytes)| (name.into(), bytes)).collect();
        let path = weights_among(&files).map_err(|found| QuantizeError::NotACheckpoint {
            path: name.into(),
            found: found.to_owned(),
        })?;
        let kind = Kind::of_file(Files::Memory { name: name.into(), files }, &path)?;
        Ok(Self { name: name.to_owned(), kind })
    }

    /// Name of the file or folder.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The files that the conversion reads.
    pub fn inputs(&self) -> &[PathBuf] {
        match &self.kind {
            Kind::Ggml(model) => model.inputs(),
            Kind::Gguf(file) => file.inputs(),
            Kind::Marian(model) => model.inputs(),
            Kind::Folder(folder) => folder.inputs(),
        }
    }

    /// The type that `dtype` stands for with this checkpoint: [`WeightType::Auto`] is
    /// [`WeightType::Int8`] where it has no 4-bit tensors.
    pub fn weight_type(&self, dtype: WeightType) -> WeightType {
        dtype.resolved(self.checkpoint())
    }

    /// The network that the checkpoint describes, from its configuration alone.
    pub fn spec(&self) -> Result<ModelSpec, QuantizeError> {
        Ok(self.map()?.spec)
    }

    /// The name of an input as records show it: without the folders of this machine.
    pub(crate) fn input_name(&self, path: &Path) -> String {
        let relative = match &self.kind {
            Kind::Ggml(_) | Kind::Gguf(_) | Kind::Marian(_) => None,
            Kind::Folder(_) if self.held(path).is_some() => Some(path),
            Kind::Folder(folder) => path.strip_prefix(folder.files().place()).ok(),
        };
        relative.map_or_else(|| file_name(path), |path| path.to_string_lossy().into_owned())
    }

    /// The bytes of an input that is in memory.
    pub(crate) fn held(&self, path: &Path) -> Option<&Bytes> {
        match &self.kind {
            Kind::Ggml(model) => model.files().held(path),
            Kind::Gguf(file) => file.files().held(path),
            Kind::Marian(model) => model.files().held(path),
            Kind::Folder(folder) => folder.files().held(path),
        }
    }

    pub(crate) fn checkpoint(&self) -> &dyn Checkpoint {
        match &self.kind {
            Kind::Ggml(model) => model.checkpoint(),
            Kind::Gguf(file) => file.checkpoint(),
            Kind::Marian(model) => model.checkpoint(),
            Kind::Folder(folder) => folder.checkpoint(),
        }
    }

    pub(crate) fn map(&self) -> Result<Mapping, QuantizeError> {
        match &self.kind {
            Kind::Ggml(model) => model.map(),
            Kind::Gguf(file) => file.map(),
            Kind::Marian(model) => model.map(),
            Kind::Folder(folder) => folder.map(),
        }
    }

    /// What it says about itself, given its compiled tokenizer.
    pub(crate) fn defaults(&self, compiled: &[u8]) -> Result<Defaults, QuantizeError> {
        match &self.kind {
            Kind::Ggml(model) => Ok(model.defaults()),
            Kind::Gguf(file) => file.defaults(),
            Kind::Marian(model) => model.defaults(),
            Kind::Folder(folder) => folder.defaults(compiled),
        }
    }

    /// How the model writes speech down, given its compiled tokenizer.
    pub(crate) fn speech(&self, compiled: &[u8]) -> Result<Speech, QuantizeError> {
        match &self.kind {
            Kind::Ggml(model) => model.speech(compiled),
            Kind::Gguf(file) => Err(file.without_speech()),
            Kind::Marian(model) => Err(model.without_speech()),
            Kind::Folder(folder) => folder.speech(compiled),
        }
    }

    /// How a model of samples writes speech down.
    pub(crate) fn dictation(&self) -> Result<Dictation, QuantizeError> {
        match &self.kind {
            Kind::Ggml(model) => Err(model.without_dictation()),
            Kind::Gguf(file) => Err(file.without_speech()),
            Kind::Marian(model) => Err(model.without_speech()),
            Kind::Folder(folder) => folder.dictation(),
        }
    }

    /// The compiled tokenizer.
    pub(crate) fn tokenizer(&self) -> Result<Vec<u8>, QuantizeError> {
        match &self.kind {
            Kind::Ggml(model) => model.tokenizer(),
            Kind::Gguf(file) => file.tokenizer(),
            Kind::Marian(model) => model.tokenizer(),
            Kind::Folder(folder) => folder.tokenizer(),
        }
    }
}

impl Kind {
    /// A file by its content; weights come with the files beside them.
    fn of_file(files: Files, path: &Path) -> Result<Self, QuantizeError> {
        match sniff(&files.start(path, 64)?) {
            Content::Ggml => Ok(Self::Ggml(Box::new(GgmlModel::open(files, path)?))),
            Content::Gguf => Ok(Self::Gguf(Box::new(GgufFile::open(files, path)?))),
            Content::Marian => Ok(Self::Marian(Box::new(MarianModel::open(files, path)?))),
            Content::Weights => Ok(Self::Folder(Box::new(Folder::of_file(files, path)?))),
            Content::Onnx => {
                let folder = path.parent().unwrap_or(path);
                let files = match &files {
                    Files::Folder(_) => onnx::above(folder).unwrap_or(files),
                    Files::Memory { .. } => files,
                };
                Ok(Self::Folder(Box::new(Folder::of_onnx(files, path)?)))
            }
            Content::Other(found) => {
                let found = found.to_owned();
                Err(QuantizeError::NotACheckpoint { path: path.to_owned(), found })
            }
        }
    }
}

/// The one file of several that has the weights, as [`folder`] would choose it.
fn weights_among(files: &[(PathBuf, Bytes)]) -> Result<PathBuf, &'static str> {
    let has_weights = |(_, bytes): &&(PathBuf, Bytes)| !matches!(sniff(bytes), Content::Other(_));
    let weights: Vec<&Path> =
        files.iter().filter(has_weights).map(|(path, _)| path.as_path()).collect();
    // Parts of one model are opened by any of them.
    if let [first, ..] = weights[..]
        && let Some(names) = part_names(first)
        && weights.iter().all(|path| names.iter().any(|name| name == path))
    {
        return Ok(first.to_path_buf());
    }
    let usual = WEIGHTS.iter().map(Path::new).find(|path| weights.contains(path));
    let onnx = onnx::first(&|name| weights.contains(&Path::new(name))).map(PathBuf::from);
    let usual = usual.or(onnx.as_deref());
    match (usual, &weights[..], files) {
        (Some(path), ..) | (None, &[path], _) => Ok(path.to_path_buf()),
        (None, [], []) => Err("there are no files"),
        // Its content tells what it is instead.
        (None, [], [(path, _)]) => Ok(path.clone()),
        (None, [], _) => Err("none of the files has weights"),
        _ => Err(
            "several files have weights, and from memory only one is converted; open their folder",
        ),
    }
}

enum Content {
    Ggml,
    Gguf,
    Onnx,
    Marian,
    Weights,
    Other(&'static str),
}

/// Tells the kind of a file by its first bytes.
fn sniff(start: &[u8]) -> Content {
    Content::Other(match start {
        [b'G', b'G', b'U', b'F', ..] => return Content::Gguf,
        [0x89, b'K', b'G', b'L', ..] => "it is a .kinglet file already",
        [] => "the file is empty",
        [b'{' | b'[', ..] => "it is a JSON file; name its folder instead",
        // A zip archive, or a pickle of protocol 2 and later.
        [b'P', b'K', 3, 4, ..] | [0x80, 2..=5, ..] => return Content::Weights,
        _ if start.get(8) == Some(&b'{') => return Content::Weights,
        _ if is_ggml(start) => return Content::Ggml,
        _ if is_ct2(start) => return Content::Weights,
        _ if is_marian(start) => return Content::Marian,
        _ if is_onnx(start) => return Content::Onnx,
        _ if start.starts_with(b"version https://git-lfs") => {
            "it is a Git LFS pointer; fetch the file itself with `git lfs pull`"
        }
        [b'<', ..] => "it looks like a web page; the download went wrong",
        _ => "its content is of no known kind",
    })
}

/// The last component of a path, for records that must not name folders of this machine.
fn file_name(path: &Path) -> String {
    // A file may be a link to one without a name, as in the cache of Hugging Face.
    if let Some(name) = path.file_name().filter(|_| path.is_file()) {
        return name.to_string_lossy().into_owned();
    }
    let absolute = std::fs::canonicalize(path);
    let place = absolute.as_deref().unwrap_or(path);
    if let Some(name) = place::name_in_cache(place) {
        return name;
    }
    // A link's own name: what it leads to may be called by a hash. `.` and `..` have none.
    let name = path.file_name().or_else(|| absolute.as_deref().ok()?.file_name());
    name.map_or_else(|| "checkpoint".to_owned(), |name| name.to_string_lossy().into_owned())
}
