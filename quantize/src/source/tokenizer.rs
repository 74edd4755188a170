//! The tokenizer of a folder: `tokenizer.json`; where there is none Mistral's `tekken.json`, a model of
//! SentencePiece (with a list of names beside it, or without), or BERT's `vocab.txt`.

use std::collections::BTreeMap;

use kinglet_formats::tokenizer::{Layout, PrependScheme};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::files::Files;
use super::{text, tokens, wordpiece};
use crate::QuantizeError;
use crate::tokenizer::{
    CompileError, ExtraToken, NamedIds, RoleNames, SentencePieceClass, SentencePieceOptions,
    compile_json, compile_named_sentencepiece, compile_sentencepiece, compile_tekken,
};

/// Largest tokenizer that is read.
const MAX_TOKENIZER: u64 = 256 << 20;

pub(super) const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
const TOKENIZER: &str = "tokenizer.json";
const ADDED_TOKENS: &str = "added_tokens.json";

/// Names of models of SentencePiece, in the order in which they are looked for.
const SENTENCEPIECE: [&str; 7] = [
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "spm.model",
    "sentencepiece.model",
    "tokenizer.spm",
    "source.spm",
];

/// Lists of names beside a model of SentencePiece; the second is that of answers.
const NAMES: [&str; 2] = ["vocab.json", "target_vocab.json"];

const WORDPIECE: &str = "vocab.txt";
const TEKKEN: &str = "tekken.json";

type Object = Map<String, Value>;

/// Which file has the vocabulary.
pub(super) enum Kind {
    Json(String),
    SentencePiece(String),
    WordPiece(String),
    Tekken(String),
}

/// A folder's tokenizer and the configurations that speak of it.
pub(super) struct FolderTokenizer<'a> {
    pub(super) files: &'a Files,
    /// Before the names of files: nothing, or a folder and a slash.
    pub(super) root: &'a str,
    pub(super) kind: Option<&'a Kind>,
    /// `config.json`.
    pub(super) config: &'a Object,
    /// `tokenizer_config.json`.
    pub(super) tokenizer_config: Option<&'a Object>,
}

impl Kind {
    /// That of a folder, if it has a vocabulary.
    pub(super) fn of(files: &Files, root: &str) -> Option<Self> {
        let named = |name: &str| Some(format!("{root}{name}")).filter(|name| files.contains(name));
        let sentencepiece = || SENTENCEPIECE.into_iter().find_map(named).map(Kind::SentencePiece);
        let tekken = || named(TEKKEN).map(Kind::Tekken);
        let wordpiece = || named(WORDPIECE).map(Kind::WordPiece);
        named(TOKENIZER).map(Kind::Json).or_else(tekken).or_else(sentencepiece).or_else(wordpiece)
    }

    /// The files of the tokenizer, by their names; `tokenizer_config.json` aside.
    pub(super) fn files(&self, files: &Files, root: &str) -> Vec<String> {
        let added = Some(format!("{root}{ADDED_TOKENS}")).filter(|name| files.contains(name));
        match self {
            Self::Json(name) | Self::WordPiece(name) | Self::Tekken(name) => vec![name.clone()],
            Self::SentencePiece(name) => {
                let names = NAMES.into_iter().map(|name| format!("{root}{name}"));
                let names = names.filter(|name| files.contains(name));
                std::iter::once(name.clone()).chain(added).chain(names).collect()
            }
        }
    }
}

impl FolderTokenizer<'_> {
    /// The compiled tokenizer.
    pub(super) fn compile(&self) -> Result<Vec<u8>, QuantizeError> {
        let json = || {
            let json = self.json()?;
            let added = self.added_tokens();
            Ok::<_, QuantizeError>(compile_json(json.as_bytes(), &self.names(&added)))
        };
        let (name, compiled) = match self.kind {
            Some(Kind::SentencePiece(name)) => {
                let model = self.files.read(name, MAX_TOKENIZER)?.unwrap_or_default();
                (name.as_str(), self.sentencepiece(&model)?)
            }
            Some(Kind::Tekken(name)) => {
                let json = self.files.read(name, MAX_TOKENIZER)?.unwrap_or_default();
                (name.as_str(), compile_tekken(&json))
            }
            Some(Kind::Json(name) | Kind::WordPiece(name)) => (name.as_str(), json()?),
            // The error names the file that there should be.
            None => (TOKENIZER, json()?),
        };
        let file = self.files.path(name);
        compiled.map_err(|source| QuantizeError::Tokenizer { file, source })
    }

    /// Compiles a model of SentencePiece as transformers' class for it has it.
    fn sentencepiece(&self, model: &[u8]) -> Result<Result<Vec<u8>, CompileError>, QuantizeError> {
        if model.starts_with(b"IQ== 0\n") {
            let setting = "a tokenizer.model of tiktoken".to_owned();
            return Ok(Err(CompileError::UnsupportedVocabulary { setting }));
        }
        let class = match self.class() {
            Ok(class) => class,
            Err(setting) => return Ok(Err(CompileError::UnsupportedVocabulary { setting })),
        };
        let mut added = self.added_tokens();
        added.extend(self.added_tokens_file()?);
        let named = if class.is_named() { Some(self.named_ids()?) } else { None };
        let is_albert = class == SentencePieceClass::Albert;
        let lowercases = is_albert || class == SentencePieceClass::Siglip;
        let options = SentencePieceOptions {
            class,
            names: self.names(&added),
            add_bos: self.flag("add_bos_token"),
            add_eos: self.flag("add_eos_token"),
            prepend: match (self.flag("add_prefix_space"), self.flag("legacy")) {
                (Some(false), _) => Some(PrependScheme::Never),
                (_, Some(false)) if class == SentencePieceClass::Llama => {
                    Some(PrependScheme::First)
                }
                _ => None,
            },
            lowercase: lowercases && self.flag("do_lower_case").unwrap_or(true),
            strip_accents: is_albert && !self.flag("keep_accents").unwrap_or(false),
            language: self.token("src_lang"),
            extra_ids: self.setting("extra_ids").and_then(Value::as_u64).map(|n| n as usize),
        };
        Ok(match named {
            Some(named) => compile_named_sentencepiece(model, &named, &options),
            None => compile_sentencepiece(model, &options),
        })
    }

    /// The ids of pieces, where the model of SentencePiece does not say them.
    fn named_ids(&self) -> Result<NamedIds, QuantizeError> {
        let read = |name: &str, why| -> Result<BTreeMap<String, u32>, QuantizeError> {
            let name = format!("{}{name}", self.root);
            let bytes = self.files.read(&name, MAX_TOKENIZER)?;
            text::json(&name, bytes.ok_or_else(|| self.files.missing(&name, why))?)
        };
        let two = self.flag("separate_vocabs").unwrap_or(false);
        let target = two.then(|| read(NAMES[1], "it holds the ids of the pieces of answers"));
        let source = read(NAMES[0], "it holds the ids of the pieces of source.spm")?;
        Ok(NamedIds { source, target: target.transpose()? })
    }

    /// The class that a file names, or that models of the kind have.
    fn class(&self) -> Result<SentencePieceClass, String> {
        let (named, model) = self.class_names();
        let by_name = named.and_then(SentencePieceClass::named);
        let by_model = || model.and_then(SentencePieceClass::of_model);
        let found = by_name.or_else(by_model);
        let codes = self.setting("language_codes").and_then(Value::as_str);
        let found = match (found, codes) {
            (Some(SentencePieceClass::M2m100), Some("wmt21")) => Some(SentencePieceClass::Wmt21),
            // NLLB is of the same kind, and its model numbers its pieces itself.
            (Some(SentencePieceClass::M2m100), _) if by_name.is_none() && !self.has_names() => {
                Some(SentencePieceClass::Nllb)
            }
            (Some(SentencePieceClass::Mbart), Some("ML50")) => Some(SentencePieceClass::Mbart50),
            (Some(SentencePieceClass::Mbart), _)
                if by_name.is_none() && self.has_50_languages() =>
            {
                Some(SentencePieceClass::Mbart50)
            }
            _ => found,
        };
        found.ok_or_else(|| match named.or(model) {
            Some(name) => format!("the tokenizer of `{name}`"),
            None => "a tokenizer without a `tokenizer_class`".to_owned(),
        })
    }

    fn has_names(&self) -> bool {
        self.files.contains(&format!("{}{}", self.root, NAMES[0]))
    }

    /// Whether a model of mBART's kind is mBART-50: it has as many rows as languages.
    fn has_50_languages(&self) -> bool {
        /// Rows of mBART-50, whose 250,000 pieces mBART has too.
        const ROWS: u64 = 250_054;
        self.config.get("vocab_size").and_then(Value::as_u64).is_some_and(|rows| rows >= ROWS)
    }

    /// The class of the tokenizer and the kind of the model, as far as files name them.
    fn class_names(&self) -> (Option<&str>, Option<&str>) {
        let class = self.setting("tokenizer_class").or(self.config.get("tokenizer_class"));
        let model = self.config.get("model_type");
        (class.and_then(Value::as_str), model.and_then(Value::as_str))
    }

    /// Ids of the tokens that end an answer, of those that the compiled tokenizer finds whole; none
    /// where there is no tokenizer.
    pub(super) fn ends(&self, compiled: &[u8]) -> Vec<u32> {
        let named = self.token("eos_token");
        let ends = |text: &str| Some(text) == named || tokens::ends_turn(text);
        let Ok((layout, _)) = Layout::read(compiled) else { return Vec::new() };
        let tables = layout.tables(compiled);
        let added = (0..tables.n_added()).filter_map(|index| tables.added(index));
        let mut ids: Vec<u32> =
            added.filter(|token| ends(token.content)).map(|token| token.id).collect();
        ids.sort_unstable();
        ids
    }

    /// Whether the tokenizer turns texts to lower case.
    pub(super) fn lowercases(&self) -> Result<bool, QuantizeError> {
        /// The part of `tokenizer.json` that is of interest here.
        #[derive(Deserialize)]
        struct Parts {
            #[serde(default)]
            normalizer: Value,
        }
        if let Some(Kind::SentencePiece(_) | Kind::Tekken(_)) = self.kind {
            return Ok(false);
        }
        let parts: Parts = serde_json::from_str(&self.json()?)
            .map_err(|source| QuantizeError::Json { file: TOKENIZER.to_owned(), source })?;
        Ok(lowercases(&parts.normalizer))
    }

    fn json_name(&self) -> String {
        format!("{}{TOKENIZER}", self.root)
    }

    fn json(&self) -> Result<String, QuantizeError> {
        let why = "it holds the tokenizer; `AutoTokenizer.from_pretrained(…).save_pretrained(…)` writes it";
        if let Some(Kind::WordPiece(name)) = self.kind {
            let bytes = self.files.read(name, MAX_TOKENIZER)?.unwrap_or_default();
            let vocab = text::text(name, bytes)?;
            let (class, model) = self.class_names();
            let json = wordpiece::tokenizer_json(&vocab, class, model, |key| self.setting(key));
            let file = self.files.path(name);
            let json = json.map_err(|source| QuantizeError::Tokenizer { file, source })?;
            return Ok(json.to_string());
        }
        let name = self.json_name();
        let bytes = self.files.read(&name, MAX_TOKENIZER)?;
        text::json_text(&name, bytes.ok_or_else(|| self.files.missing(&name, why))?)
    }

    fn names<'a>(&'a self, added: &'a [ExtraToken]) -> RoleNames<'a> {
        RoleNames {
            bos: self.token("bos_token"),
            eos: self.token("eos_token"),
            pad: self.token("pad_token"),
            mask: self.token("mask_token"),
            added,
        }
    }

    /// Tokens that `tokenizer_config.json` lists, in the order of their ids.
    fn added_tokens(&self) -> Vec<ExtraToken> {
        let listed = self.setting("added_tokens_decoder").and_then(Value::as_object);
        let mut tokens: Vec<(u32, ExtraToken)> = listed
            .into_iter()
            .flatten()
            .filter_map(|(id, token)| Some((id.parse().ok()?, ExtraToken::read(token)?)))
            .collect();
        tokens.sort_by_key(|(id, _)| *id);
        tokens.into_iter().map(|(id, token)| token.at(id)).collect()
    }

    /// Tokens of `added_tokens.json`, in the order of their ids. All of them are special, as far as
    /// `tokenizer_config.json` does not say otherwise.
    fn added_tokens_file(&self) -> Result<Vec<ExtraToken>, QuantizeError> {
        let name = format!("{}{ADDED_TOKENS}", self.root);
        let Some(bytes) = self.files.read(&name, MAX_TOKENIZER)? else { return Ok(Vec::new()) };
        let listed: Object = text::json(&name, bytes)?;
        let mut tokens: Vec<(u32, ExtraToken)> = listed
            .iter()
            .filter_map(|(content, id)| {
                let token = serde_json::json!({ "content": content, "special": true });
                Some((u32::try_from(id.as_u64()?).ok()?, ExtraToken::read(&token)?))
            })
            .collect();
        tokens.sort_by_key(|(id, _)| *id);
        Ok(tokens.into_iter().map(|(id, token)| token.at(id)).collect())
    }

    fn setting(&self, key: &str) -> Option<&Value> {
        self.tokenizer_config?.get(key)
    }

    fn flag(&self, key: &str) -> Option<bool> {
        self.setting(key)?.as_bool()
    }

    /// Text of a token that `tokenizer_config.json` gives a role.
    fn token(&self, role: &str) -> Option<&str> {
        match self.setting(role)? {
            Value::String(text) => Some(text),
            Value::Object(token) => token.get("content")?.as_str(),
            _ => None,
        }
    }
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn class(names: bool, config: Value, tokenizer_config: Value) -> SentencePieceClass {
        let bytes = kinglet_formats::map::Bytes::copy_of(b"{}");
        let name = if names { "vocab.json" } else { "other.json" };
        let files = Files::Memory { name: "m".into(), files: vec![(name.into(), bytes)] };
        let object = |value: Value| value.as_object().cloned().unwrap();
        let (config, tokenizer_config) = (object(config), object(tokenizer_config));
        let tokenizer = FolderTokenizer {
            files: &files,
            root: "",
            kind: None,
            config: &config,
            tokenizer_config: Some(&tokenizer_config),
        };
        tokenizer.class().unwrap()
    }

    #[test]
    fn models_of_one_kind_are_told_apart() {
        use SentencePieceClass::{M2m100, Marian, Mbart, Mbart50, Nllb, Wmt21};
        let kind = |model: &str| json!({ "model_type": model });
        let mbart = |rows: u64| json!({ "model_type": "mbart", "vocab_size": rows });
        for (names, config, tokenizer_config, expected) in [
            (true, kind("marian"), json!({}), Marian),
            (true, kind("m2m_100"), json!({}), M2m100),
            (true, kind("m2m_100"), json!({"language_codes": "wmt21"}), Wmt21),
            (false, kind("m2m_100"), json!({}), Nllb),
            (true, kind("m2m_100"), json!({"tokenizer_class": "NllbTokenizerFast"}), Nllb),
            (false, mbart(250_027), json!({}), Mbart),
            (false, mbart(250_054), json!({}), Mbart50),
            (false, mbart(250_054), json!({"tokenizer_class": "MBartTokenizer"}), Mbart),
            (false, kind("mbart"), json!({"language_codes": "ML50"}), Mbart50),
        ] {
            let case = format!("{config} {tokenizer_config}");
            assert_eq!(class(names, config, tokenizer_config), expected, "{case}");
        }
    }
}
