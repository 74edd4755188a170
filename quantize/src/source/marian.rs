//! Models of Firefox Translations: Marian's binary, a vocabulary of SentencePiece beside it, perhaps a
//! lexical shortlist, and in their names the languages.

use std::path::{Path, PathBuf};

use kinglet_formats::checkpoint::{
    Checkpoint, CheckpointError, Joined, Marian, Shortlist, TensorInfo, TensorProblem, is_marian,
    is_shortlist,
};
use kinglet_formats::kinglet::{General, Generation, TextLanguage, TextToText, Translation};
use kinglet_formats::map::Bytes;
use serde_json::{Map, Value};

use super::files::Files;
use super::{Defaults, Prompts, file_name};
use crate::QuantizeError;
use crate::arch::{self, FolderConfig};
use crate::fields::Fields;
use crate::mapping::Mapping;
use crate::tokenizer::{SentencePieceOptions, compile_sentencepiece};

/// How messages call the configuration in the binary.
const CONFIG: &str = "special:model.yml";
/// The architecture that the mapping knows such a model by.
const ARCHITECTURE: &str = "MarianBinary";
const MAX_VOCABULARY: u64 = 64 << 20;

/// Ids of the pieces that every vocabulary begins with.
const END: u32 = 0;
const UNKNOWN: u32 = 1;

pub(super) struct MarianModel {
    files: Files,
    checkpoint: Box<dyn Checkpoint>,
    config: Map<String, Value>,
    name: String,
    vocabulary: String,
    inputs: Vec<PathBuf>,
}

impl MarianModel {
    /// The one model of a folder without `config.json`, if there is one.
    pub(super) fn in_folder(folder: &Path) -> Result<Option<Self>, QuantizeError> {
        let files = Files::Folder(folder.to_owned());
        if files.contains(super::place::CONFIG) {
            return Ok(None);
        }
        let is_model = |name: &String| {
            name.ends_with(".bin")
                && files.start(&files.path(name), 16).is_ok_and(|start| is_marian(&start))
        };
        let models: Vec<String> = files.names().into_iter().filter(is_model).collect();
        match &models[..] {
            [model] => {
                let path = files.path(model);
                Self::open(files, &path).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// The model in the file at `path`, with the files beside it.
    pub(super) fn open(files: Files, path: &Path) -> Result<Self, QuantizeError> {
        let model = match files.held(path) {
            Some(bytes) => Marian::parse(bytes.clone(), path)?,
            None => Marian::open(path)?,
        };
        let mut config = configuration(model.config());
        config.insert("architectures".to_owned(), Value::from(vec![ARCHITECTURE]));
        let vocabularies: Vec<String> =
            files.names().into_iter().filter(|name| name.ends_with(".spm")).collect();
        let vocabulary = match &vocabularies[..] {
            [one] => one.clone(),
            [] => {
                return Err(QuantizeError::MissingFile {
                    folder: files.place().to_owned(),
                    file: "vocab.spm".to_owned(),
                    why: "it holds the vocabulary of the model",
                });
            }
            several => {
                return Err(QuantizeError::UnsupportedOption {
                    file: files.place().display().to_string(),
                    option: "vocabularies".to_owned(),
                    found: several.join(", "),
                    supported: "one for both languages".to_owned(),
                });
            }
        };
        let mut inputs = vec![path.to_owned(), files.path(&vocabulary)];
        let mut parts: Vec<Box<dyn Checkpoint>> = vec![Box::new(model)];
        if let Some((name, shortlist)) = shortlist(&files)? {
            let vocabularies = config.get("dim-vocabs").and_then(Value::as_array);
            let own = Value::from(shortlist.vocab_size());
            if !vocabularies.is_some_and(|sizes| sizes.iter().all(|size| *size == own)) {
                return Err(QuantizeError::UnsupportedOption {
                    file: name,
                    option: "vocabulary".to_owned(),
                    found: format!("one of {} words", shortlist.vocab_size()),
                    supported: "the model's; take the shortlist that belongs to it, or none"
                        .to_owned(),
                });
            }
            config.insert(arch::FREQUENT_WORDS.to_owned(), Value::from(shortlist.n_frequent()));
            inputs.push(files.path(&name));
            parts.push(Box::new(shortlist));
        }
        let renamed = |_, tensor: &TensorInfo| Some(renamed(&tensor.name));
        let checkpoint = Joined::new(parts, renamed).map_err(|tensor| {
            let problem = TensorProblem::Duplicate;
            CheckpointError::Tensor { file: path.to_owned(), tensor, problem }
        })?;
        Ok(Self {
            inputs,
            checkpoint: Box::new(checkpoint),
            config,
            name: file_name(path),
            vocabulary,
            files,
        })
    }

    pub(super) fn files(&self) -> &Files {
        &self.files
    }

    pub(super) fn inputs(&self) -> &[PathBuf] {
        &self.inputs
    }

    pub(super) fn checkpoint(&self) -> &dyn Checkpoint {
        &*self.checkpoint
    }

    pub(super) fn without_speech(&self) -> QuantizeError {
        Fields::json(CONFIG, &self.config).missing("speech")
    }

    pub(super) fn map(&self) -> Result<Mapping, QuantizeError> {
        let config = Fields::json(CONFIG, &self.config);
        let folder = FolderConfig { config, sentence: None, max_tokens: None, preprocessor: None };
        arch::map_folder(&folder, self.checkpoint())
    }

    pub(super) fn defaults(&self) -> Result<Defaults, QuantizeError> {
        let start = self.map()?.spec.stacks.last().map_or(0, |stack| match &stack.input {
            kinglet_formats::spec::Input::Tokens(tokens) => tokens.vocab_size as u32,
            _ => 0,
        });
        let (from, to) = languages(&self.name);
        let language = |code: String| TextLanguage { code, mark: None };
        Ok(Defaults {
            general: General {
                name: file_name(self.files.place()),
                languages: from.iter().chain(&to).cloned().collect(),
                ..General::default()
            },
            generation: Generation { eos: vec![END], ..Generation::default() },
            chat_template: None,
            labels: Vec::new(),
            prompts: Prompts::default(),
            languages: [None, None],
            text_to_text: Some(TextToText {
                suppressed: vec![UNKNOWN],
                ..TextToText::greedy(start)
            }),
            translation: Some(Translation {
                source_end: END,
                from: from.into_iter().map(language).collect(),
                to: to.into_iter().map(language).collect(),
            }),
        })
    }

    pub(super) fn tokenizer(&self) -> Result<Vec<u8>, QuantizeError> {
        let model = self.files.read(&self.vocabulary, MAX_VOCABULARY)?.unwrap_or_default();
        let options = SentencePieceOptions { add_eos: Some(true), ..Default::default() };
        compile_sentencepiece(&model, &options).map_err(|source| QuantizeError::Tokenizer {
            file: self.files.path(&self.vocabulary),
            source,
        })
    }
}

/// The shortlist beside the model, if there is one.
fn shortlist(files: &Files) -> Result<Option<(String, Shortlist)>, QuantizeError> {
    let is_one = |name: &String| {
        name.ends_with(".bin")
            && files.start(&files.path(name), 8).is_ok_and(|start| is_shortlist(&start))
    };
    let found: Vec<String> = files.names().into_iter().filter(is_one).collect();
    match &found[..] {
        [] => Ok(None),
        [one] => {
            let path = files.path(one);
            let bytes = match files.held(&path) {
                Some(bytes) => bytes.clone(),
                None => Bytes::map(&path).map_err(CheckpointError::from)?,
            };
            Ok(Some((one.clone(), Shortlist::parse(bytes, path)?)))
        }
        several => Err(QuantizeError::UnsupportedOption {
            file: files.place().display().to_string(),
            option: "shortlists".to_owned(),
            found: several.join(", "),
            supported: "the one that belongs to the model".to_owned(),
        }),
    }
}

/// The languages in a name such as `model.enpt.intgemm.alphas.bin`.
fn languages(name: &str) -> (Option<String>, Option<String>) {
    let pair = name.split('.').nth(1).unwrap_or_default();
    let letters = pair.bytes().all(|b| b.is_ascii_lowercase());
    match pair.len() {
        4 | 6 if letters => {
            let (from, to) = pair.split_at(pair.len() / 2);
            (Some(from.to_owned()), Some(to.to_owned()))
        }
        _ => (None, None),
    }
}

/// What Marian writes of its options: `key: value` lines, and lists of `- value`.
fn configuration(yaml: &str) -> Map<String, Value> {
    let mut config: Map<String, Value> = Map::new();
    let mut last = String::new();
    for line in yaml.lines() {
        if let Some(item) = line.trim_start().strip_prefix("- ") {
            if let Some(value) = config.get_mut(&last) {
                if !value.is_array() {
                    *value = Value::from(Vec::<Value>::new());
                }
                value.as_array_mut().into_iter().for_each(|list| list.push(scalar(item)));
            }
        } else if let Some((key, value)) = line.split_once(':') {
            last = key.trim().to_owned();
            config.insert(last.clone(), scalar(value));
        }
    }
    config
}

fn scalar(text: &str) -> Value {
    let text = text.trim();
    serde_json::from_str(text).unwrap_or_else(|_| Value::from(text))
}

/// Marian's names in the manner of others: `encoder_l1_self_Wq` is
/// `encoder.layers.0.self.q.weight`. Names of other kinds stay as they are.
fn renamed(name: &str) -> String {
    let own = || name.to_owned();
    match name {
        "Wemb" => return "embed.weight".to_owned(),
        "decoder_ff_logit_out_b" => return "logits.bias".to_owned(),
        _ => {}
    }
    let Some((stack, rest)) = name.split_once("_l") else { return own() };
    let Some((number, rest)) = rest.split_once('_') else { return own() };
    let (Ok(number), Some((block, part))) = (number.parse::<usize>(), rest.split_once('_')) else {
        return own();
    };
    let (module, part) = match part {
        _ if part.ends_with("ln_scale") => ("norm", "weight"),
        _ if part.ends_with("ln_bias") => ("norm", "bias"),
        "W" => ("cell", "weight"),
        _ => match part.split_at_checked(1) {
            Some(("W", module)) => (module, "weight"),
            Some(("b", module)) => (module, "bias"),
            _ => return own(),
        },
    };
    let Some(layer) = number.checked_sub(1) else { return own() };
    format!("{stack}.layers.{layer}.{block}.{module}.{part}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_are_taken_apart() {
        for (name, expected) in [
            ("encoder_l1_self_Wq", "encoder.layers.0.self.q.weight"),
            ("encoder_l12_self_bo", "encoder.layers.11.self.o.bias"),
            ("decoder_l2_context_Wo_ln_scale", "decoder.layers.1.context.norm.weight"),
            ("decoder_l1_ffn_ffn_ln_bias", "decoder.layers.0.ffn.norm.bias"),
            ("decoder_l1_rnn_W", "decoder.layers.0.rnn.cell.weight"),
            ("decoder_l1_rnn_Wf", "decoder.layers.0.rnn.f.weight"),
            ("decoder_l1_rnn_bf", "decoder.layers.0.rnn.f.bias"),
            ("encoder_l1_ffn_W2", "encoder.layers.0.ffn.2.weight"),
            ("Wemb", "embed.weight"),
            ("encoder_l0_self_Wq", "encoder_l0_self_Wq"),
            ("odd", "odd"),
            ("a_lx_b_c", "a_lx_b_c"),
        ] {
            assert_eq!(renamed(name), expected);
        }
    }

    #[test]
    fn options_are_read() {
        let yaml = "dim-emb: 256\ndim-vocabs:\n  - 32000\n  - 31000\nempty: \"\"\nlist: []\nflag: true\nname: dan\n";
        let expected = json!({
            "dim-emb": 256, "dim-vocabs": [32000, 31000], "empty": "", "list": [], "flag": true,
            "name": "dan",
        });
        assert_eq!(Value::from(configuration(yaml)), expected);
        assert_eq!(configuration("- x\n:\n"), json!({"": ""}).as_object().cloned().unwrap());
    }

    #[test]
    fn languages_stand_in_the_name() {
        let pair = |name| {
            let (from, to) = languages(name);
            (from.unwrap_or_default(), to.unwrap_or_default())
        };
        assert_eq!(pair("model.enpt.intgemm.alphas.bin"), ("en".into(), "pt".into()));
        assert_eq!(pair("model.bin"), ("".into(), "".into()));
    }
}
