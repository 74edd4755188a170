//! The steps of a `tokenizer.json`: normalizers, pre-tokenizers, template and decoders.

use kinglet_formats::tokenizer::{
    Decoder, Normalizer, PreTokenizer, PrependScheme, SplitBehavior, Template, TemplateItem,
};
use serde_json::Value;

use super::build::{Builder, GPT2_PATTERN};
use super::{CompileError, base64, chars};

/// What is in a word for this one step of the reference, which uses another engine than the rest.
const RUST_WORD: &str = r"\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}";

type Result<T> = std::result::Result<T, CompileError>;

fn field(path: &str, expected: &'static str) -> CompileError {
    CompileError::Field { path: path.to_owned(), expected }
}

fn unsupported(kind: &'static str, name: &str) -> CompileError {
    CompileError::UnsupportedComponent { kind, name: name.to_owned() }
}

fn flag(step: &Value, key: &str, default: bool) -> bool {
    step[key].as_bool().unwrap_or(default)
}

fn text(step: &Value, path: &str, key: &str) -> Result<String> {
    let found = step[key].as_str().map(str::to_owned);
    found.ok_or_else(|| field(&format!("{path}.{key}"), "a text"))
}

fn character(step: &Value, path: &str, key: &str) -> Result<char> {
    let text = text(step, path, key)?;
    let mut chars = text.chars();
    match (chars.next(), chars.next()) {
        (Some(c), None) => Ok(c),
        _ => Err(field(&format!("{path}.{key}"), "one character")),
    }
}

fn number(step: &Value, path: &str, key: &str) -> Result<u32> {
    let found = step[key].as_u64().and_then(|n| u32::try_from(n).ok());
    found.ok_or_else(|| field(&format!("{path}.{key}"), "a number"))
}

/// The members of a sequence, or the single step, flattened in order. Nesting is bounded by the
/// JSON reader.
fn flatten<'v>(step: &'v Value, members: &str, out: &mut Vec<&'v Value>) {
    if step["type"] == "Sequence" {
        for member in step[members].as_array().into_iter().flatten() {
            flatten(member, members, out);
        }
    } else if !step.is_null() {
        out.push(step);
    }
}

fn steps<'v>(step: &'v Value, members: &str) -> Vec<(&'v str, &'v Value)> {
    let mut out = Vec::new();
    flatten(step, members, &mut out);
    out.into_iter().map(|step| (step["type"].as_str().unwrap_or("(no type)"), step)).collect()
}

/// The automaton of a pattern given as a text or a regular expression.
fn pattern(builder: &mut Builder, step: &Value, path: &str) -> Result<u32> {
    let pattern = &step["pattern"];
    if let Some(literal) = pattern["String"].as_str() {
        builder.literal(literal)
    } else if let Some(regex) = pattern["Regex"].as_str() {
        builder.regex(regex)
    } else {
        Err(field(&format!("{path}.pattern"), "a String or a Regex"))
    }
}

pub(super) fn normalizer(builder: &mut Builder, value: &Value) -> Result<()> {
    for (name, step) in steps(value, "normalizers") {
        let path = "normalizer";
        let normalizer = match name {
            "NFC" => Normalizer::Nfc,
            "NFD" => Normalizer::Nfd,
            "NFKC" => Normalizer::Nfkc,
            "NFKD" => Normalizer::Nfkd,
            "Lowercase" => Normalizer::Lowercase,
            "StripAccents" => Normalizer::StripAccents,
            "ByteLevel" => Normalizer::ByteAlphabet,
            "BertNormalizer" => {
                let lowercase = flag(step, "lowercase", true);
                Normalizer::Bert {
                    clean_text: flag(step, "clean_text", true),
                    handle_chinese_chars: flag(step, "handle_chinese_chars", true),
                    strip_accents: flag(step, "strip_accents", lowercase),
                    lowercase,
                }
            }
            "Strip" => Normalizer::Strip {
                left: flag(step, "strip_left", true),
                right: flag(step, "strip_right", true),
            },
            "Prepend" => Normalizer::Prepend { text: text(step, path, "prepend")? },
            "Replace" => Normalizer::Replace {
                automaton: pattern(builder, step, path)?,
                content: text(step, path, "content")?,
            },
            "Precompiled" => {
                let map = step["precompiled_charsmap"].as_str().unwrap_or_default();
                if map.is_empty() {
                    continue;
                }
                let map = base64::decode(map);
                builder.charsmaps.push(map.ok_or(field("precompiled_charsmap", "base64"))?);
                Normalizer::Charsmap { charsmap: builder.charsmaps.len() as u32 - 1 }
            }
            "Nmt" => {
                let dropped = |c| matches!(c as u32, 1..=8 | 0xb | 0xe..=0x1f | 0x7f | 0x8f | 0x9f);
                let spaces = |c| {
                    matches!(
                        c as u32,
                        9 | 0xa | 0xc | 0xd | 0x1680 | 0x200b
                            ..=0x200f | 0x2028 | 0x2029 | 0x2581 | 0xfeff | 0xfffd
                    )
                };
                let automaton = builder.class(dropped)?;
                builder.normalizers.push(Normalizer::Replace { automaton, content: "".into() });
                let automaton = builder.class(spaces)?;
                Normalizer::Replace { automaton, content: " ".into() }
            }
            name => return Err(unsupported("normalizer", name)),
        };
        builder.normalizers.push(normalizer);
    }
    Ok(())
}

fn behavior(step: &Value, default: Option<SplitBehavior>) -> Result<SplitBehavior> {
    match step["behavior"].as_str() {
        Some("Removed") => Ok(SplitBehavior::Removed),
        Some("Isolated") => Ok(SplitBehavior::Isolated),
        Some("MergedWithPrevious") => Ok(SplitBehavior::MergedWithPrevious),
        Some("MergedWithNext") => Ok(SplitBehavior::MergedWithNext),
        Some("Contiguous") => Ok(SplitBehavior::Contiguous),
        _ => default.ok_or(field("pre_tokenizer.behavior", "a known behavior")),
    }
}

pub(super) fn pre_tokenizer(builder: &mut Builder, value: &Value) -> Result<()> {
    use SplitBehavior::{Contiguous, Isolated, Removed};
    for (name, step) in steps(value, "pretokenizers") {
        let path = "pre_tokenizer";
        let split =
            |automaton, behavior| PreTokenizer::Split { automaton, behavior, invert: false };
        let step = match name {
            "ByteLevel" => {
                if flag(step, "add_prefix_space", true) {
                    builder.pre_tokenizers.push(PreTokenizer::PrefixSpace);
                }
                if flag(step, "use_regex", true) {
                    let words = split(builder.regex(GPT2_PATTERN)?, Isolated);
                    builder.pre_tokenizers.push(words);
                }
                PreTokenizer::ByteAlphabet
            }
            "Split" => PreTokenizer::Split {
                automaton: pattern(builder, step, path)?,
                behavior: behavior(step, None)?,
                invert: flag(step, "invert", false),
            },
            "Digits" => {
                let individual = flag(step, "individual_digits", false);
                let digits = builder.class(char::is_numeric)?;
                split(digits, if individual { Isolated } else { Contiguous })
            }
            "Whitespace" => PreTokenizer::Split {
                // Here a word has joiners in it, and no fractions.
                automaton: builder.regex(&format!("[{RUST_WORD}]+|[^{RUST_WORD}\\s]+"))?,
                behavior: Removed,
                invert: true,
            },
            "WhitespaceSplit" => split(builder.class(char::is_whitespace)?, Removed),
            "BertPreTokenizer" => {
                bert_words(builder)?;
                continue;
            }
            "Punctuation" => {
                split(builder.class(chars::is_punctuation)?, behavior(step, Some(Isolated))?)
            }
            "CharDelimiterSplit" => {
                let delimiter = character(step, path, "delimiter")?;
                split(builder.class(|c| c == delimiter)?, Removed)
            }
            "Metaspace" => PreTokenizer::Metaspace {
                replacement: character(step, path, "replacement")?,
                prepend: prepend_scheme(step)?,
                split: flag(step, "split", true),
            },
            "FixedLength" => PreTokenizer::FixedLength {
                length: step["length"].as_u64().map_or(5, |n| u32::try_from(n).unwrap_or(u32::MAX)),
            },
            name => return Err(unsupported("pre-tokenizer", name)),
        };
        builder.pre_tokenizers.push(step);
    }
    Ok(())
}

/// Words of BERT: between white space, every punctuation mark on its own.
pub(super) fn bert_words(builder: &mut Builder) -> Result<()> {
    let spaces = builder.class(char::is_whitespace)?;
    let marks = builder.class(chars::is_punctuation)?;
    for (automaton, behavior) in
        [(spaces, SplitBehavior::Removed), (marks, SplitBehavior::Isolated)]
    {
        builder.pre_tokenizers.push(PreTokenizer::Split { automaton, behavior, invert: false });
    }
    Ok(())
}

fn prepend_scheme(step: &Value) -> Result<PrependScheme> {
    if step["add_prefix_space"] == false {
        return Ok(PrependScheme::Never);
    }
    match step["prepend_scheme"].as_str() {
        Some("first") => Ok(PrependScheme::First),
        Some("never") => Ok(PrependScheme::Never),
        Some("always") | None => Ok(PrependScheme::Always),
        Some(_) => Err(field("Metaspace.prepend_scheme", "first, never or always")),
    }
}

pub(super) fn decoder(builder: &mut Builder, value: &Value) -> Result<()> {
    for (name, step) in steps(value, "decoders") {
        let path = "decoder";
        let decoder = match name {
            "ByteLevel" => Decoder::ByteLevel { alphabet: true },
            "Metaspace" => Decoder::Metaspace {
                replacement: character(step, path, "replacement")?,
                strip_first: prepend_scheme(step)? != PrependScheme::Never,
            },
            "WordPiece" => Decoder::WordPiece {
                prefix: step["prefix"].as_str().unwrap_or("##").to_owned(),
                cleanup: flag(step, "cleanup", true),
            },
            "ByteFallback" => Decoder::ByteFallback,
            "Fuse" => Decoder::Fuse,
            "Strip" => Decoder::Strip {
                content: character(step, path, "content")?,
                start: number(step, path, "start")?,
                stop: number(step, path, "stop")?,
            },
            "Replace" => Decoder::Replace {
                automaton: pattern(builder, step, path)?,
                content: text(step, path, "content")?,
            },
            "BPEDecoder" => {
                Decoder::Suffix { suffix: step["suffix"].as_str().unwrap_or("</w>").to_owned() }
            }
            name => return Err(unsupported("decoder", name)),
        };
        // What sees all pieces as one text cannot be streamed unless it looks at single characters.
        let fused = builder
            .decoders
            .iter()
            .any(|step| matches!(step, Decoder::Fuse | Decoder::ByteLevel { .. }));
        let streams = match &decoder {
            Decoder::Fuse | Decoder::Strip { .. } | Decoder::Metaspace { .. } => true,
            Decoder::Replace { .. } => {
                step["pattern"]["String"].as_str().is_some_and(|p| p.chars().count() == 1)
            }
            _ => false,
        };
        if fused && !streams {
            return Err(unsupported("decoder", &format!("{name} behind Fuse or ByteLevel")));
        }
        builder.decoders.push(decoder);
    }
    Ok(())
}

pub(super) fn template(value: &Value) -> Result<Option<Template>> {
    let mut template = None;
    for (name, step) in steps(value, "processors") {
        let next = match name {
            "ByteLevel" => continue,
            "TemplateProcessing" => Template {
                single: template_items(step, "single")?,
                pair: template_items(step, "pair")?,
            },
            "BertProcessing" | "RobertaProcessing" => {
                let token = |key: &str, type_id| {
                    let id = step[key][1].as_u64().and_then(|id| u32::try_from(id).ok());
                    let id = id.ok_or_else(|| field(&format!("post_processor.{key}"), "a token"));
                    id.map(|id| TemplateItem::Token { id, type_id })
                };
                let (cls, sep) = (token("cls", 0)?, token("sep", 0)?);
                let first = TemplateItem::First { type_id: 0 };
                let second = |type_id| TemplateItem::Second { type_id };
                let pair = if name == "BertProcessing" {
                    vec![cls, first, sep, second(1), token("sep", 1)?]
                } else {
                    vec![cls, first, sep, sep, second(0), sep]
                };
                Template { single: vec![cls, first, sep], pair }
            }
            name => return Err(unsupported("post-processor", name)),
        };
        if template.replace(next).is_some() {
            return Err(unsupported("post-processor", "two templates in a row"));
        }
    }
    Ok(template)
}

fn template_items(step: &Value, key: &str) -> Result<Vec<TemplateItem>> {
    let mut items = Vec::new();
    for piece in step[key].as_array().into_iter().flatten() {
        let bad = || field(&format!("post_processor.{key}"), "a list of template pieces");
        let type_id = |piece: &Value| piece["type_id"].as_u64().unwrap_or(0) as u32;
        let special = &piece["SpecialToken"];
        let sequence = &piece["Sequence"];
        if let Some(name) = special["id"].as_str() {
            let type_id = type_id(special);
            let ids = step["special_tokens"][name]["ids"].as_array().ok_or_else(bad)?;
            for id in ids {
                let id = id.as_u64().and_then(|id| u32::try_from(id).ok()).ok_or_else(bad)?;
                items.push(TemplateItem::Token { id, type_id });
            }
        } else {
            let type_id = type_id(sequence);
            items.push(match sequence["id"].as_str() {
                Some("A") => TemplateItem::First { type_id },
                Some("B") => TemplateItem::Second { type_id },
                _ => return Err(bad()),
            });
        }
    }
    Ok(items)
}
