//! Hugging Face folders: weights, `config.json`, `tokenizer.json` and what may lie beside them.

use std::path::{Path, PathBuf};

use kinglet_formats::checkpoint::{self, Checkpoint};
use kinglet_formats::kinglet::{Dictation, General, Generation, Prompt, Speech};
use serde_json::{Map, Value};

use super::files::Files;
use super::parts::{MAX_CONFIG, Reader, weight_files};
use super::place::{CONFIG, Modules};
use super::tokenizer::{self, FolderTokenizer, TOKENIZER_CONFIG};
use super::{
    Defaults, Prompts, adapter, ct2, file_name, joined, onnx, packed, place, renamed, text,
    text_to_text, tokens,
};
use crate::QuantizeError;
use crate::arch::{self, FolderConfig, SentenceConfig};
use crate::fields::Fields;
use crate::mapping::Mapping;
use crate::speech;

const GENERATION_CONFIG: &str = "generation_config.json";
const SENTENCE: &str = "sentence_bert_config.json";
const PROMPTS: &str = "config_sentence_transformers.json";
const PREPROCESSOR: &str = "preprocessor_config.json";
/// What newer releases write, with the former's content under a key.
const PROCESSOR: &str = "processor_config.json";
const IMAGE_PROCESSOR: &str = "image_processor";

/// What tools wrote beside GPTQ's and AWQ's weights before `quantization_config`.
const PACKED: [&str; 2] = ["quantize_config.json", "quant_config.json"];

type Object = Map<String, Value>;

pub(super) struct Folder {
    files: Files,
    checkpoint: Box<dyn Checkpoint>,
    inputs: Vec<PathBuf>,
    config: Object,
    generation: Option<Object>,
    tokenizer_config: Option<Object>,
    vocabulary: Option<tokenizer::Kind>,
    modules: Option<Modules>,
    pooling: Option<Object>,
    /// Of the dense layers behind the pooling, each with the name of its file.
    dense: Vec<(String, Object)>,
    sentence: Option<Object>,
    prompts: Option<Object>,
    preprocessor: Option<Object>,
    chat_template: Option<String>,
}

impl Folder {
    pub(super) fn open(path: &Path) -> Result<Self, QuantizeError> {
        let path = place::resolved(path);
        if let Some(files) = onnx::above(&path)
            && let Some(first) = onnx::first(&|name| path.join(name).is_file())
        {
            return Self::of_onnx(files, &path.join(first));
        }
        let files = Files::Folder(path.clone());
        let modules = Modules::read(&files, MAX_CONFIG)?;
        let root = modules.as_ref().map_or("", Modules::transformer);
        require(&files, root, "it describes the model")?;
        let weights = weight_files(&files, root)?;
        if weights.is_empty()
            && let Some(error) = adapter::in_folder(&files)
        {
            return Err(error);
        }
        let folder = path.join(root);
        if weights.is_empty()
            && let Some(first) = onnx::first(&|name| folder.join(name).is_file())
        {
            return Self::of_onnx(files, &folder.join(first));
        }
        let checkpoint = match weights.as_slice() {
            [file] => checkpoint::open_file(file)?,
            _ => checkpoint::open_folder(&folder)?,
        };
        adapter::among_weights(&folder, checkpoint.as_ref())?;
        Self::with_weights(files, modules, checkpoint, weights)
    }

    /// The files beside a weight file, with that file's weights.
    pub(super) fn of_file(files: Files, file: &Path) -> Result<Self, QuantizeError> {
        let modules = Modules::read(&files, MAX_CONFIG)?;
        let root = modules.as_ref().map_or("", Modules::transformer);
        require(&files, root, "it describes the model whose weights are in the file")?;
        let checkpoint = files.weights(file)?;
        adapter::among_weights(file, checkpoint.as_ref())?;
        Self::with_weights(files, modules, checkpoint, vec![file.to_owned()])
    }

    /// An ONNX file, with what lies beside it or in the folder above.
    pub(super) fn of_onnx(files: Files, file: &Path) -> Result<Self, QuantizeError> {
        let modules = Modules::read(&files, MAX_CONFIG)?;
        let root = modules.as_ref().map_or("", Modules::transformer);
        require(&files, root, "it describes the model whose weights are in the file")?;
        let (checkpoint, weights) = onnx::open(&files, file)?;
        Self::with_weights(files, modules, checkpoint, weights)
    }

    fn with_weights(
        files: Files,
        modules: Option<Modules>,
        checkpoint: Box<dyn Checkpoint>,
        weights: Vec<PathBuf>,
    ) -> Result<Self, QuantizeError> {
        let root = modules.as_ref().map_or("", Modules::transformer);
        let mut reader = Reader { files: &files, root, read: weights };
        let Some(mut config) = reader.json::<Object>(CONFIG)? else {
            return Err(files.missing(CONFIG, "it describes the model"));
        };
        let generation = reader.json(GENERATION_CONFIG)?;
        let tokenizer_config = reader.json(TOKENIZER_CONFIG)?;
        let (pooling, sentence, prompts) = match &modules {
            Some(modules) => {
                reader.read.push(files.path(Modules::file()));
                (
                    reader.json_at(modules.pooling())?,
                    reader.json(SENTENCE)?,
                    reader.json_at(PROMPTS)?,
                )
            }
            None => (None, None, None),
        };
        let preprocessor = preprocessor(&mut reader)?;
        let chat_template = reader.chat_template(tokenizer_config.as_ref())?;
        let vocabulary = tokenizer::Kind::of(&files, root);
        let tokenizer = vocabulary.iter().flat_map(|kind| kind.files(&files, root));
        reader.read.extend(tokenizer.map(|name| files.path(&name)));
        let (mut dense, mut dense_weights) = (Vec::new(), Vec::new());
        for folder in modules.iter().flat_map(Modules::dense) {
            let file = format!("{folder}{CONFIG}");
            let why = "modules.json says that it describes a dense layer";
            let config = reader.json_at(&file)?.ok_or_else(|| files.missing(&file, why))?;
            dense.push((file, config));
            let weights = reader.weights_in(folder)?;
            dense_weights.push(files.weights(&weights)?);
        }
        let checkpoint = ct2::plain(files.place(), checkpoint, &mut config)?;
        let checkpoint = renamed::plain(files.place(), checkpoint)?;
        let checkpoint = packed_weights(&mut reader, &config, checkpoint)?;
        let checkpoint =
            joined::with_dense(&files.path(Modules::file()), checkpoint, dense_weights)?;
        Ok(Self {
            inputs: reader.read,
            files,
            checkpoint,
            config,
            generation,
            tokenizer_config,
            vocabulary,
            modules,
            pooling,
            dense,
            sentence,
            prompts,
            preprocessor,
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
            preprocessor: self.preprocessor.as_ref().map(|map| Fields::json(PREPROCESSOR, map)),
        };
        arch::map_folder(&folder, self.checkpoint())
    }

    fn sentence_config<'a>(
        &'a self,
        modules: &'a Modules,
    ) -> Result<SentenceConfig<'a>, QuantizeError> {
        let pooling = self.pooling.as_ref();
        let sentence = self.sentence.as_ref().map(|map| Fields::json(SENTENCE, map));
        if let Some(sentence) = &sentence
            && sentence.flag_or("do_lower_case", false)?
            && !self.vocabulary().lowercases()?
        {
            let supported = "false, or a tokenizer that turns text to lower case itself";
            return Err(sentence.unsupported("do_lower_case", "true", supported));
        }
        Ok(SentenceConfig {
            modules: modules.kinds().ok_or_else(|| QuantizeError::MissingKey {
                file: Modules::file().to_owned(),
                key: "type".to_owned(),
            })?,
            dense: self.dense.iter().map(|(file, config)| Fields::json(file, config)).collect(),
            pooling: Fields::json(
                modules.pooling(),
                pooling.ok_or_else(|| {
                    let why = "modules.json says that it describes the pooling";
                    self.files.missing(modules.pooling(), why)
                })?,
            ),
        })
    }

    /// What goes before texts, in the order of the file.
    fn prompts(&self) -> Result<Prompts, QuantizeError> {
        let Some(map) = &self.prompts else { return Ok(Prompts::default()) };
        let config = Fields::json(PROMPTS, map);
        let mut list = Vec::new();
        if let Some(prompts) = config.nested("prompts")? {
            for name in prompts.keys() {
                // `null` is a prompt that adds nothing.
                let text = prompts.opt_text(name)?.unwrap_or_default().to_owned();
                list.push(Prompt { name: name.to_owned(), text });
            }
        }
        let default = config.opt_text("default_prompt_name")?.map(str::to_owned);
        if let Some(name) = &default
            && !list.iter().any(|prompt| prompt.name == *name)
        {
            let supported = "a name of prompts, or null";
            return Err(config.unsupported("default_prompt_name", name, supported));
        }
        let pooling = self.modules.as_ref().zip(self.pooling.as_ref());
        let pooling = pooling.map(|(modules, map)| Fields::json(modules.pooling(), map));
        let pooled = pooling.map_or(Ok(true), |pooling| pooling.flag_or("include_prompt", true))?;
        Ok(Prompts { list, default, unpooled: !pooled })
    }

    /// `max_seq_length` of sentence-transformers; its newer releases write the tokenizer's
    /// `model_max_length` only, which is a number of 31 digits where there is no limit.
    fn max_tokens(&self) -> Result<Option<usize>, QuantizeError> {
        let read = |file, map: &Option<Object>, key| match map {
            // No limit, as some write it.
            Some(map) if map.get(key).is_some_and(|value| value == text::INFINITY) => Ok(None),
            Some(map) => Fields::json(file, map).opt_float(key),
            None => Ok(None),
        };
        let tokens = match read(SENTENCE, &self.sentence, "max_seq_length")? {
            Some(tokens) => Some(tokens),
            None => read(TOKENIZER_CONFIG, &self.tokenizer_config, "model_max_length")?,
        };
        Ok(tokens.filter(|&tokens| tokens >= 1.0).map(|tokens| tokens as usize))
    }

    pub(super) fn defaults(&self, compiled: &[u8]) -> Result<Defaults, QuantizeError> {
        let config = Fields::json(CONFIG, &self.config);
        let mut sources = vec![config.clone()];
        sources.extend(config.nested("text_config")?);
        let empty = Object::new();
        let generation =
            Fields::json(GENERATION_CONFIG, self.generation.as_ref().unwrap_or(&empty));
        // Where there is a configuration of generation, others have no say in it.
        let search = match self.generation {
            Some(_) => text_to_text::read(&[generation.clone(), config.clone()])?,
            None => text_to_text::read(&sources)?,
        };
        sources.insert(0, generation.clone());
        let (mut bos, mut eos) = (Vec::new(), Vec::new());
        for fields in &sources {
            tokens::merge(&mut bos, fields.token_ids("bos_token_id")?);
            tokens::merge(&mut eos, fields.token_ids("eos_token_id")?);
        }
        tokens::merge(&mut eos, self.vocabulary().ends(compiled));
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
                    true => generation.opt_float_within("temperature", 0.0..=1e3)?,
                    false => Some(0.0),
                },
                // 0 and -1 stand for "all".
                top_k: generation.opt_float("top_k")?.filter(|&k| k >= 1.0).map(|k| k as u32),
                top_p: generation.opt_float_within("top_p", 0.0..=1.0)?,
                min_p: generation.opt_float_within("min_p", 0.0..=1.0)?,
                repeat_penalty: generation.opt_float_within("repetition_penalty", 1e-3..=1e3)?,
            },
            chat_template: self.chat_template.clone(),
            // Who classifies has asked for them before.
            labels: arch::labels(&config).unwrap_or_default(),
            prompts: self.prompts()?,
            text_to_text: search,
            translation: None,
            languages: ["source_lang", "target_lang"].map(|key| {
                let value = self.tokenizer_config.as_ref()?.get(key)?;
                value.as_str().map(str::to_owned)
            }),
        })
    }

    /// How the model writes speech down.
    pub(super) fn speech(&self, compiled: &[u8]) -> Result<Speech, QuantizeError> {
        let generation = self.generation.as_ref();
        let generation = generation.map(|map| Fields::json(GENERATION_CONFIG, map));
        let sources = generation.into_iter().chain([Fields::json(CONFIG, &self.config)]);
        speech::find(compiled, &sources.collect::<Vec<_>>())
    }

    /// How a model of samples writes speech down.
    pub(super) fn dictation(&self) -> Result<Dictation, QuantizeError> {
        arch::dictation(&Fields::json(CONFIG, &self.config))
    }

    pub(super) fn tokenizer(&self) -> Result<Vec<u8>, QuantizeError> {
        self.vocabulary().compile()
    }

    fn vocabulary(&self) -> FolderTokenizer<'_> {
        FolderTokenizer {
            files: &self.files,
            root: self.modules.as_ref().map_or("", Modules::transformer),
            kind: self.vocabulary.as_ref(),
            config: &self.config,
            tokenizer_config: self.tokenizer_config.as_ref(),
        }
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

/// How images are prepared, where a file says it.
fn preprocessor(reader: &mut Reader<'_>) -> Result<Option<Object>, QuantizeError> {
    if let Some(own) = reader.json(PREPROCESSOR)? {
        return Ok(Some(own));
    }
    let mut all: Option<Object> = reader.json(PROCESSOR)?;
    Ok(all.as_mut().and_then(|all| all.remove(IMAGE_PROCESSOR)).and_then(|value| match value {
        Value::Object(own) => Some(own),
        _ => None,
    }))
}

/// The checkpoint with plain weights: what packs them is said in `config.json`, or in a file that
/// older tools of GPTQ and AWQ write.
fn packed_weights(
    reader: &mut Reader<'_>,
    config: &Object,
    checkpoint: Box<dyn Checkpoint>,
) -> Result<Box<dyn Checkpoint>, QuantizeError> {
    if let Some(scheme) = Fields::json(CONFIG, config).nested("quantization_config")? {
        return packed::unpacked(checkpoint, Some(&scheme));
    }
    for file in PACKED {
        if let Some(scheme) = reader.json::<Object>(file)? {
            return packed::unpacked(checkpoint, Some(&Fields::json(file, &scheme)));
        }
    }
    packed::unpacked(checkpoint, None)
}

/// The error for a folder without `config.json`, which says what the folder is instead and where a
/// model is.
fn require(files: &Files, root: &str, why: &'static str) -> Result<(), QuantizeError> {
    let config = format!("{root}{CONFIG}");
    if files.contains(&config) {
        return Ok(());
    }
    if let Some(error) = adapter::in_folder(files) {
        return Err(error);
    }
    let Files::Folder(folder) = files else { return Err(files.missing(&config, why)) };
    let nearby = place::nearby(folder);
    match nearby.is_empty() {
        true => Err(files.missing(&config, why)),
        false => Err(QuantizeError::OtherPlace { folder: folder.clone(), nearby }),
    }
}
