//! Hugging Face folders: weights, `config.json`, `tokenizer.json` and what may lie beside them.

use std::path::{Path, PathBuf};

use kinglet_formats::checkpoint::{self, Checkpoint};
use kinglet_formats::kinglet::{General, Generation};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::files::Files;
use super::{Defaults, file_name, tokens};
use crate::QuantizeError;
use crate::arch::{self, FolderConfig, Mapping, SentenceConfig};
use crate::fields::Fields;
use crate::tokenizer::{RoleNames, compile_json};

/// Largest configuration file that is read.
const MAX_CONFIG: u64 = 16 << 20;
/// Largest `tokenizer.json` that is read.
const MAX_TOKENIZER: u64 = 256 << 20;

/// Weights in one file, in the order in which they are looked for.
pub(super) const WEIGHTS: [&str; 2] = ["model.safetensors", "pytorch_model.bin"];

const CONFIG: &str = "config.json";
const TOKENIZER: &str = "tokenizer.json";
const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
const GENERATION_CONFIG: &str = "generation_config.json";
const MODULES: &str = "modules.json";
const POOLING: &str = "1_Pooling/config.json";
const SENTENCE: &str = "sentence_bert_config.json";
const PROMPTS: &str = "config_sentence_transformers.json";
const TEMPLATE: &str = "chat_template.jinja";
const TEMPLATE_JSON: &str = "chat_template.json";

type Object = Map<String, Value>;

pub(super) struct Folder {
    files: Files,
    checkpoint: Box<dyn Checkpoint>,
    inputs: Vec<PathBuf>,
    config: Object,
    generation: Option<Object>,
    tokenizer_config: Option<Object>,
    modules: Option<Value>,
    pooling: Option<Object>,
    sentence: Option<Object>,
    prompts: Option<Object>,
    chat_template: Option<String>,
}

impl Folder {
    pub(super) fn open(path: &Path) -> Result<Self, QuantizeError> {
        let files = Files::Folder(path.to_owned());
        require(&files, CONFIG, "it describes the model")?;
        let weights = weight_files(&files)?;
        let checkpoint = checkpoint::open_folder(path)?;
        Self::with_weights(files, checkpoint, weights)
    }

    /// The files beside a weight file, with that file's weights.
    pub(super) fn of_file(files: Files, file: &Path) -> Result<Self, QuantizeError> {
        require(&files, CONFIG, "it describes the model whose weights are in the file")?;
        let checkpoint = files.weights(file)?;
        Self::with_weights(files, checkpoint, vec![file.to_owned()])
    }

    fn with_weights(
        files: Files,
        checkpoint: Box<dyn Checkpoint>,
        weights: Vec<PathBuf>,
    ) -> Result<Self, QuantizeError> {
        let mut reader = Reader { files: &files, read: weights };
        let Some(config) = reader.json::<Object>(CONFIG)? else {
            return Err(missing(&files, CONFIG, "it describes the model"));
        };
        let generation = reader.json(GENERATION_CONFIG)?;
        let tokenizer_config = reader.json(TOKENIZER_CONFIG)?;
        let modules: Option<Value> = reader.json(MODULES)?;
        let (pooling, sentence, prompts) = match modules {
            Some(_) => (reader.json(POOLING)?, reader.json(SENTENCE)?, reader.json(PROMPTS)?),
            None => (None, None, None),
        };
        let chat_template = reader.chat_template(tokenizer_config.as_ref())?;
        if files.contains(TOKENIZER) {
            reader.read.push(files.path(TOKENIZER));
        }
        Ok(Self {
            inputs: reader.read,
            files,
            checkpoint,
            config,
            generation,
            tokenizer_config,
            modules,
            pooling,
            sentence,
            prompts,
            chat_template,
        })
    }

    pub(super) fn files(&self) -> &Files {
        &self.files
    }

    pub(super) fn inputs(&self) -> &[PathBuf] {
        &self.inputs
    }

    pub(super) fn checkpoint(&self) -> &dyn Checkpoint {
        self.checkpoint.as_ref()
    }

    pub(super) fn map(&self) -> Result<Mapping, QuantizeError> {
        let sentence = match &self.modules {
            Some(modules) => Some(self.sentence_config(modules)?),
            None => None,
        };
        let folder = FolderConfig {
            config: Fields::json(CONFIG, &self.config),
            sentence,
            max_tokens: self.max_tokens()?,
        };
        arch::map_folder(&folder, self.checkpoint())
    }

    fn sentence_config<'a>(
        &'a self,
        modules: &'a Value,
    ) -> Result<SentenceConfig<'a>, QuantizeError> {
        let kinds = modules.as_array().map(|list| {
            let kinds = list.iter().map(|module| module.get("type").and_then(Value::as_str));
            // `sentence_transformers.models.Pooling`
            kinds.map(|kind| kind.and_then(|kind| kind.rsplit('.').next()))
        });
        let modules = kinds.and_then(|kinds| kinds.collect::<Option<Vec<_>>>());
        let pooling = self.pooling.as_ref();
        let sentence = self.sentence.as_ref().map(|map| Fields::json(SENTENCE, map));
        if let Some(sentence) = &sentence
            && sentence.flag_or("do_lower_case", false)?
            && !lowercases(&self.tokenizer_parts()?.normalizer)
        {
            let supported = "false, or a tokenizer that turns text to lower case itself";
            return Err(sentence.unsupported("do_lower_case", "true", supported));
        }
        self.check_prompt()?;
        Ok(SentenceConfig {
            modules: modules.ok_or_else(|| QuantizeError::MissingKey {
                file: MODULES.to_owned(),
                key: "type".to_owned(),
            })?,
            pooling: Fields::json(
                POOLING,
                pooling.ok_or_else(|| {
                    missing(&self.files, POOLING, "modules.json says that it describes the pooling")
                })?,
            ),
        })
    }

    /// Vectors are of texts as they are given: a prompt that belongs before each of them is an error.
    fn check_prompt(&self) -> Result<(), QuantizeError> {
        let Some(map) = &self.prompts else { return Ok(()) };
        let config = Fields::json(PROMPTS, map);
        let Some(name) = config.opt_text("default_prompt_name")? else { return Ok(()) };
        let prompts = config.nested("prompts")?;
        let prompt = match &prompts {
            Some(prompts) => prompts.opt_text(name)?,
            None => None,
        };
        let Some(prompt) = prompt else {
            return Err(config.unsupported(
                "default_prompt_name",
                name,
                "a name of prompts, or null",
            ));
        };
        if prompt.is_empty() {
            return Ok(());
        }
        let supported = format!("null, with {prompt:?} put before each text by who embeds it");
        Err(config.unsupported("default_prompt_name", name, &supported))
    }

    /// `max_seq_length` of sentence-transformers; its newer releases write the tokenizer's
    /// `model_max_length` only, which is a number of 31 digits where there is no limit.
    fn max_tokens(&self) -> Result<Option<usize>, QuantizeError> {
        let read = |file, map: &Option<Object>, key| match map {
            Some(map) => Fields::json(file, map).opt_float(key),
            None => Ok(None),
        };
        let tokens = match read(SENTENCE, &self.sentence, "max_seq_length")? {
            Some(tokens) => Some(tokens),
            None => read(TOKENIZER_CONFIG, &self.tokenizer_config, "model_max_length")?,
        };
        Ok(tokens.filter(|&tokens| tokens >= 1.0).map(|tokens| tokens as usize))
    }

    pub(super) fn defaults(&self) -> Result<Defaults, QuantizeError> {
        let config = Fields::json(CONFIG, &self.config);
        let mut sources = vec![config.clone()];
        sources.extend(config.nested("text_config")?);
        let empty = Object::new();
        let generation =
            Fields::json(GENERATION_CONFIG, self.generation.as_ref().unwrap_or(&empty));
        sources.insert(0, generation.clone());
        let (mut bos, mut eos) = (Vec::new(), Vec::new());
        for fields in &sources {
            tokens::merge(&mut bos, fields.token_ids("bos_token_id")?);
            tokens::merge(&mut eos, fields.token_ids("eos_token_id")?);
        }
        let named = self.tokenizer_token("eos_token");
        let added = self.tokenizer_parts()?.added_tokens;
        let ends = added.iter().filter(|token| {
            Some(token.content.as_str()) == named || tokens::ends_turn(&token.content)
        });
        tokens::merge(&mut eos, ends.map(|token| token.id));
        Ok(Defaults {
            general: General {
                // `_name_or_path` is often that of the model it was trained from.
                name: file_name(self.files.place()),
                license: self.license(),
                ..General::default()
            },
            generation: Generation {
                bos: bos.first().copied(),
                eos,
                temperature: match generation.flag_or("do_sample", true)? {
                    true => generation.opt_float("temperature")?,
                    false => Some(0.0),
                },
                // 0 and -1 stand for "all".
                top_k: generation.opt_float("top_k")?.filter(|&k| k >= 1.0).map(|k| k as u32),
                top_p: generation.opt_float("top_p")?,
                min_p: generation.opt_float("min_p")?,
                repeat_penalty: generation.opt_float("repetition_penalty")?,
            },
            chat_template: self.chat_template.clone(),
        })
    }

    pub(super) fn tokenizer(&self) -> Result<Vec<u8>, QuantizeError> {
        let bytes = self.tokenizer_json()?;
        let names = RoleNames {
            bos: self.tokenizer_token("bos_token"),
            eos: self.tokenizer_token("eos_token"),
            pad: self.tokenizer_token("pad_token"),
        };
        compile_json(&bytes, &names)
            .map_err(|source| QuantizeError::Tokenizer { file: self.files.path(TOKENIZER), source })
    }

    fn tokenizer_json(&self) -> Result<Vec<u8>, QuantizeError> {
        let why = "it holds the tokenizer; `AutoTokenizer.from_pretrained(…).save_pretrained(…)` writes it";
        let bytes = self.files.read(TOKENIZER, MAX_TOKENIZER)?;
        bytes.ok_or_else(|| missing(&self.files, TOKENIZER, why))
    }

    /// Text of a token that `tokenizer_config.json` gives a role.
    fn tokenizer_token(&self, role: &str) -> Option<&str> {
        match self.tokenizer_config.as_ref()?.get(role)? {
            Value::String(text) => Some(text),
            Value::Object(token) => token.get("content")?.as_str(),
            _ => None,
        }
    }

    fn tokenizer_parts(&self) -> Result<TokenizerParts, QuantizeError> {
        serde_json::from_slice(&self.tokenizer_json()?)
            .map_err(|source| QuantizeError::Json { file: TOKENIZER.to_owned(), source })
    }

    /// `license:` of the model card's head.
    fn license(&self) -> Option<String> {
        let card = self.files.read("README.md", MAX_CONFIG).ok()??;
        let card = String::from_utf8_lossy(&card);
        let head = card.strip_prefix("---")?.split("\n---").next()?;
        let license = head.lines().find_map(|line| line.strip_prefix("license:"))?;
        let license = license.trim().trim_matches(['"', '\'']);
        (!license.is_empty()).then(|| license.to_owned())
    }
}

/// The parts of `tokenizer.json` that are of interest here.
#[derive(Deserialize)]
struct TokenizerParts {
    #[serde(default)]
    added_tokens: Vec<AddedToken>,
    #[serde(default)]
    normalizer: Value,
}

#[derive(Deserialize)]
struct AddedToken {
    id: u32,
    content: String,
}

/// Whether a normalizer of `tokenizer.json` turns text to lower case.
fn lowercases(normalizer: &Value) -> bool {
    match normalizer["type"].as_str() {
        Some("Lowercase") => true,
        Some("BertNormalizer") => normalizer["lowercase"] == true,
        Some("Sequence") => {
            normalizer["normalizers"].as_array().is_some_and(|list| list.iter().any(lowercases))
        }
        _ => false,
    }
}

/// Reads files and remembers which.
struct Reader<'a> {
    files: &'a Files,
    read: Vec<PathBuf>,
}

impl Reader<'_> {
    fn json<T: for<'de> Deserialize<'de>>(
        &mut self,
        file: &str,
    ) -> Result<Option<T>, QuantizeError> {
        let Some(bytes) = self.bytes(file)? else { return Ok(None) };
        serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|source| QuantizeError::Json { file: file.to_owned(), source })
    }

    fn bytes(&mut self, file: &str) -> Result<Option<Vec<u8>>, QuantizeError> {
        let bytes = self.files.read(file, MAX_CONFIG)?;
        if bytes.is_some() {
            self.read.push(self.files.path(file));
        }
        Ok(bytes)
    }

    /// The template of a file of its own, else of `tokenizer_config.json`.
    fn chat_template(
        &mut self,
        tokenizer_config: Option<&Object>,
    ) -> Result<Option<String>, QuantizeError> {
        if let Some(bytes) = self.bytes(TEMPLATE)? {
            let template = String::from_utf8(bytes).map_err(|_| QuantizeError::BadKey {
                file: TEMPLATE.to_owned(),
                key: "the whole file".to_owned(),
                found: "not UTF-8".to_owned(),
                expected: "text".to_owned(),
            })?;
            return Ok(Some(template));
        }
        let own: Option<Object> = self.json(TEMPLATE_JSON)?;
        Ok([own.as_ref(), tokenizer_config].into_iter().flatten().find_map(template_in))
    }
}

/// `chat_template`: one text, or several with names, of which `default` is taken.
fn template_in(object: &Object) -> Option<String> {
    match object.get("chat_template")? {
        Value::String(template) => Some(template.clone()),
        Value::Array(list) => {
            let named = |name: &str| {
                list.iter().find(|entry| entry.get("name").and_then(Value::as_str) == Some(name))
            };
            named("default")?.get("template")?.as_str().map(str::to_owned)
        }
        _ => None,
    }
}

/// The weight files of a folder, in the order in which a reader looks for them.
fn weight_files(files: &Files) -> Result<Vec<PathBuf>, QuantizeError> {
    /// The one part of an index that is of interest here.
    #[derive(Deserialize)]
    struct Index {
        weight_map: Map<String, Value>,
    }
    for stem in WEIGHTS {
        if files.path(stem).exists() {
            return Ok(vec![files.path(stem)]);
        }
        let name = format!("{stem}.index.json");
        let mut reader = Reader { files, read: Vec::new() };
        if let Some(index) = reader.json::<Index>(&name)? {
            let mut parts: Vec<&str> =
                index.weight_map.values().filter_map(Value::as_str).collect();
            parts.sort_unstable();
            parts.dedup();
            reader.read.extend(parts.iter().map(|part| files.path(part)));
            return Ok(reader.read);
        }
    }
    // The reader says what it looked for.
    Ok(Vec::new())
}

fn require(files: &Files, file: &str, why: &'static str) -> Result<(), QuantizeError> {
    if files.contains(file) { Ok(()) } else { Err(missing(files, file, why)) }
}

fn missing(files: &Files, file: &str, why: &'static str) -> QuantizeError {
    QuantizeError::MissingFile { folder: files.place().to_owned(), file: file.to_owned(), why }
}
