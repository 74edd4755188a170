//! GGUF files: metadata, vocabulary and weights in one.

use std::path::{Path, PathBuf};

use kinglet_formats::checkpoint::Checkpoint;
use kinglet_formats::checkpoint::gguf::{Array, Gguf, Value};
use kinglet_formats::kinglet::{General, Generation};
use serde_json::{Map, Number, Value as Json};

use super::files::Files;
use super::{Defaults, Prompts, adapter, file_name, text_to_text, tokens};
use crate::QuantizeError;
use crate::arch;
use crate::fields::Fields;
use crate::mapping::Mapping;
use crate::tokenizer::{GgufVocab, compile_gguf};

/// Longer arrays are vocabularies, not configuration.
const MAX_LIST: usize = 4096;
/// Types of tokens that may end a turn: control, user-defined.
const SPECIAL_TYPES: [i64; 2] = [3, 4];

pub(super) struct GgufFile {
    gguf: Gguf,
    files: Files,
    name: String,
    /// The metadata but for long arrays.
    keys: Map<String, Json>,
}

impl GgufFile {
    pub(super) fn open(files: Files, path: &Path) -> Result<Self, QuantizeError> {
        let gguf = match &files {
            Files::Memory { .. } => Gguf::open_with(path, |path| Ok(files.held(path).cloned()))?,
            Files::Folder(_) => Gguf::open(path)?,
        };
        adapter::in_gguf(path, &gguf)?;
        let keys = gguf
            .metadata()
            .iter()
            .filter_map(|(key, value)| Some((key.to_owned(), json(value)?)))
            .collect();
        Ok(Self { gguf, files, name: file_name(path), keys })
    }

    pub(super) fn files(&self) -> &Files {
        &self.files
    }

    pub(super) fn inputs(&self) -> &[PathBuf] {
        self.gguf.files()
    }

    pub(super) fn checkpoint(&self) -> &dyn Checkpoint {
        &self.gguf
    }

    fn fields(&self, section: &str) -> Fields<'_> {
        Fields::gguf(&self.name, section, &self.keys)
    }

    pub(super) fn map(&self) -> Result<Mapping, QuantizeError> {
        arch::map_gguf(&self.fields("general"), |section| self.fields(section), &self.gguf)
    }

    pub(super) fn defaults(&self) -> Result<Defaults, QuantizeError> {
        let general = self.fields("general");
        let tokenizer = self.fields("tokenizer");
        let ids = |key: &str| tokenizer.token_ids(&format!("ggml.{key}_token_id"));
        let mut eos = ids("eos")?;
        for key in ["eot", "eom"] {
            tokens::merge(&mut eos, ids(key)?);
        }
        tokens::merge(&mut eos, self.ends_of_turn());
        let text = |key: &str| Ok::<_, QuantizeError>(general.opt_text(key)?.map(str::to_owned));
        let languages = general.opt_list("languages")?.unwrap_or_default();
        Ok(Defaults {
            general: General {
                name: text("name")?.unwrap_or_else(|| self.name.clone()),
                author: text("author")?.or(text("organization")?),
                description: text("description")?,
                license: text("license")?,
                url: text("url")?.or(text("source.url")?),
                languages: languages.iter().filter_map(|l| l.as_str()).map(str::to_owned).collect(),
            },
            generation: Generation {
                bos: ids("bos")?.first().copied(),
                eos,
                ..Generation::default()
            },
            chat_template: tokenizer.opt_text("chat_template")?.map(str::to_owned),
            labels: arch::gguf_labels(&self.fields(general.text("architecture")?), &self.gguf)?,
            prompts: Prompts::default(),
            translation: None,
            languages: [None, None],
            text_to_text: text_to_text::read(&[self.fields(general.text("architecture")?)])?,
        })
    }

    /// GGUF has no form for such models.
    pub(super) fn without_speech(&self) -> QuantizeError {
        self.fields("general").missing("speech")
    }

    fn ends_of_turn(&self) -> Vec<u32> {
        let metadata = self.gguf.metadata();
        let texts = metadata.array("tokenizer.ggml.tokens");
        let Some(types) = metadata.array("tokenizer.ggml.token_type") else { return Vec::new() };
        let texts = texts.iter().flat_map(Array::byte_strings);
        (0u32..)
            .zip(texts.zip(types.iter()))
            .filter(|(_, (text, kind))| {
                kind.as_i64().is_some_and(|kind| SPECIAL_TYPES.contains(&kind))
                    && std::str::from_utf8(text).is_ok_and(tokens::ends_turn)
            })
            .map(|(id, _)| id)
            .collect()
    }

    pub(super) fn tokenizer(&self) -> Result<Vec<u8>, QuantizeError> {
        let error =
            |source| QuantizeError::Tokenizer { file: self.gguf.files()[0].clone(), source };
        let vocabulary = GgufVocab::read(self.gguf.metadata()).map_err(error)?;
        if vocabulary.tokens.is_empty() {
            return Err(self.fields("tokenizer").missing("ggml.tokens"));
        }
        compile_gguf(&vocabulary).map_err(error)
    }
}

/// The JSON form of a value that may be part of a configuration.
fn json(value: Value<'_>) -> Option<Json> {
    Some(match value {
        Value::Bool(b) => Json::Bool(b),
        Value::String(bytes) => Json::String(std::str::from_utf8(bytes).ok()?.to_owned()),
        Value::F32(x) => Json::Number(Number::from_f64(x.into())?),
        Value::F64(x) => Json::Number(Number::from_f64(x)?),
        Value::U64(n) => Json::from(n),
        Value::Array(array) if array.len() <= MAX_LIST => {
            Json::Array(array.iter().map(json).collect::<Option<_>>()?)
        }
        Value::Array(_) => return None,
        integer => Json::from(integer.as_i64()?),
    })
}
