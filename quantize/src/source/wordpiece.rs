//! `vocab.txt` of BERT and its kin, where a folder has no `tokenizer.json`: one piece a line. What else
//! there is to say follows from the class, and is written down as a `tokenizer.json`.

use serde_json::{Map, Value, json};

use crate::tokenizer::CompileError;

/// Classes of transformers, fast or not, whose `vocab.txt` is BERT's, and values of `model_type` that
/// have them.
const CLASSES: [&str; 3] = ["BertTokenizer", "DistilBertTokenizer", "ElectraTokenizer"];
const MODELS: [&str; 3] = ["bert", "distilbert", "electra"];

/// Roles and their usual tokens, in the order of BERT's vocabulary.
const SPECIAL: [(&str, &str); 5] = [
    ("pad_token", "[PAD]"),
    ("unk_token", "[UNK]"),
    ("cls_token", "[CLS]"),
    ("sep_token", "[SEP]"),
    ("mask_token", "[MASK]"),
];

/// The `tokenizer.json` that says the same as `vocab`. `class` and `model` are what the folder says of
/// its kind, `setting` looks up `tokenizer_config.json`. An error is what is not supported.
pub(super) fn tokenizer_json<'a>(
    vocab: &str,
    class: Option<&str>,
    model: Option<&str>,
    setting: impl Fn(&str) -> Option<&'a Value>,
) -> Result<Value, CompileError> {
    let unsupported = |setting| Err(CompileError::UnsupportedVocabulary { setting });
    let known = match class {
        Some(class) => CLASSES.contains(&class.strip_suffix("Fast").unwrap_or(class)),
        None => model.is_some_and(|model| MODELS.contains(&model)),
    };
    if !known {
        let name = class.or(model).unwrap_or("an unnamed class");
        return unsupported(format!("the vocab.txt of `{name}`"));
    }
    let flag = |key, default| setting(key).and_then(Value::as_bool).unwrap_or(default);
    if !flag("do_basic_tokenize", true) {
        return unsupported("`do_basic_tokenize` = false".to_owned());
    }
    let mut pieces = Map::new();
    for (id, piece) in vocab.lines().enumerate() {
        pieces.insert(piece.to_owned(), id.into());
    }
    let token = |role: &str, usual: &str| -> String {
        let named = setting(role);
        let named = named.and_then(|token| token.as_str().or_else(|| token["content"].as_str()));
        named.unwrap_or(usual).to_owned()
    };
    let added: Vec<Value> = SPECIAL
        .iter()
        .map(|(role, usual)| token(role, usual))
        .filter_map(|content| {
            let id = pieces.get(&content)?;
            Some(json!({"id": id, "content": content, "special": true}))
        })
        .collect();
    let [unk, cls, sep] = [1, 2, 3].map(|at| token(SPECIAL[at].0, SPECIAL[at].1));
    let special = |token: &str| {
        let id = pieces.get(token).ok_or_else(|| CompileError::UnknownToken {
            role: "a special token",
            token: token.to_owned(),
        })?;
        Ok::<Value, CompileError>(json!({"id": token, "ids": [id], "tokens": [token]}))
    };
    let lowercase = flag("do_lower_case", true);
    let at = |token: &str, type_id: u32| json!({"SpecialToken": {"id": token, "type_id": type_id}});
    let text = |id: &str, type_id: u32| json!({"Sequence": {"id": id, "type_id": type_id}});
    Ok(json!({
        "added_tokens": added,
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": true,
            "handle_chinese_chars": flag("tokenize_chinese_chars", true),
            "strip_accents": flag("strip_accents", lowercase),
            "lowercase": lowercase,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [at(&cls, 0), text("A", 0), at(&sep, 0)],
            "pair": [at(&cls, 0), text("A", 0), at(&sep, 0), text("B", 1), at(&sep, 1)],
            "special_tokens": {&cls: special(&cls)?, &sep: special(&sep)?},
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
        "model": {
            "type": "WordPiece",
            "unk_token": unk,
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": pieces,
        },
    }))
}
