//! What transformers' tokenizer classes make of a model of SentencePiece: how its pieces are
//! numbered, which tokens there are beside them, and what stands around a text.

use kinglet_formats::tokenizer::{Template, TemplateItem, added_flags};

use super::{SentencePieceOptions, languages};
use crate::tokenizer::build::Builder;
use crate::tokenizer::{CompileError, ExtraToken};

/// How a checkpoint uses a model of SentencePiece.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SentencePieceClass {
    /// As the model says; nothing around a text unless it is asked for.
    #[default]
    Plain,
    /// Llama, Mistral, Gemma: BOS before a text.
    Llama,
    /// T5: EOS behind a text, tokens for gaps numbered down to the end of the vocabulary.
    T5,
    /// SigLIP: EOS behind a text, which has no punctuation.
    Siglip,
    /// ALBERT: `[CLS]` and `[SEP]` around a text.
    Albert,
    /// XLM-RoBERTa: four tokens before the pieces in fairseq's order, `<mask>` behind them.
    XlmRoberta,
    /// CamemBERT: five tokens before the pieces, of which two are never used.
    Camembert,
    /// mBART: numbered as XLM-RoBERTa, EOS and the language behind a text.
    Mbart,
    /// mBART-50: the language before a text, EOS behind.
    Mbart50,
    /// NLLB: numbered as XLM-RoBERTa, the language before a text, EOS behind.
    Nllb,
    /// Marian (OPUS-MT), numbered by a list of names: EOS behind a text.
    Marian,
    /// M2M100, numbered by a list of names: the language before a text, EOS behind.
    M2m100,
    /// The M2M100 of WMT 2021, which has other languages.
    Wmt21,
}

/// Tokens that fairseq puts before the pieces.
const FAIRSEQ: [&str; 4] = ["<s>", "<pad>", "</s>", "<unk>"];
const CAMEMBERT: [&str; 5] = ["<s>NOTUSED", "<pad>", "</s>NOTUSED", "<unk>", "<unk>NOTUSED"];

const N_MBART: usize = 25;

impl SentencePieceClass {
    /// The class with this name in transformers, fast or not.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name.strip_suffix("Fast").unwrap_or(name) {
            "LlamaTokenizer" | "CodeLlamaTokenizer" | "GemmaTokenizer" => Self::Llama,
            "T5Tokenizer" => Self::T5,
            "SiglipTokenizer" => Self::Siglip,
            "AlbertTokenizer" => Self::Albert,
            "XLMRobertaTokenizer" => Self::XlmRoberta,
            "CamembertTokenizer" => Self::Camembert,
            "MBartTokenizer" => Self::Mbart,
            "MBart50Tokenizer" => Self::Mbart50,
            "NllbTokenizer" => Self::Nllb,
            "MarianTokenizer" => Self::Marian,
            "M2M100Tokenizer" => Self::M2m100,
            _ => return None,
        })
    }

    /// The class that models of this `model_type` have.
    pub fn of_model(model_type: &str) -> Option<Self> {
        Some(match model_type {
            "llama" | "mistral" | "mixtral" => Self::Llama,
            name if name.starts_with("gemma") => Self::Llama,
            "t5" | "mt5" | "umt5" => Self::T5,
            "siglip" => Self::Siglip,
            "albert" => Self::Albert,
            "xlm-roberta" | "xlm-roberta-xl" => Self::XlmRoberta,
            "camembert" => Self::Camembert,
            "mbart" => Self::Mbart,
            "marian" => Self::Marian,
            "m2m_100" => Self::M2m100,
            _ => return None,
        })
    }

    /// Whether ids are those of a list of names.
    pub fn is_named(self) -> bool {
        matches!(self, Self::Marian | Self::M2m100 | Self::Wmt21)
    }

    /// Its languages in the order of their ids, as their tokens spell them.
    pub(super) fn languages(self) -> Vec<String> {
        let (codes, n, mark) = match self {
            Self::Mbart => (languages::MBART, N_MBART, ""),
            Self::Mbart50 => (languages::MBART, usize::MAX, ""),
            Self::Nllb => (languages::NLLB, usize::MAX, ""),
            Self::M2m100 => (languages::M2M100, usize::MAX, "__"),
            Self::Wmt21 => (languages::WMT21, usize::MAX, "__"),
            _ => return Vec::new(),
        };
        codes.split_whitespace().take(n).map(|code| format!("{mark}{code}{mark}")).collect()
    }

    /// Tokens with fixed ids, and what is added to the ids of all other pieces.
    fn numbering(self) -> (&'static [&'static str], u32) {
        match self {
            Self::XlmRoberta | Self::Mbart | Self::Mbart50 | Self::Nllb => (&FAIRSEQ, 1),
            Self::Camembert => (&CAMEMBERT, 4),
            _ => (&[], 0),
        }
    }

    /// The id of a piece that is number `id` in the model's file.
    pub(super) fn id(self, id: u32, text: &str) -> u32 {
        let (fixed, offset) = self.numbering();
        let at = fixed.iter().position(|token| *token == text);
        at.map_or(id.saturating_add(offset), |at| at as u32)
    }

    /// The tokens beside the `n` pieces of the model.
    pub(super) fn tokens(self, n: usize, options: &SentencePieceOptions<'_>) -> Vec<ExtraToken> {
        let (fixed, offset) = self.numbering();
        let special = |content: &str, id: usize, flags| ExtraToken {
            content: content.to_owned(),
            id: u32::try_from(id).ok(),
            flags: added_flags::SPECIAL | flags,
        };
        let mut tokens: Vec<ExtraToken> =
            (0..).zip(fixed).map(|(id, token)| special(token, id, 0)).collect();
        // What stands for the unknown is text where it is spelled.
        tokens.retain(|token| token.content != "<unk>");
        let mut next = n + offset as usize;
        match self {
            _ if self.is_named() => {}
            Self::T5 => {
                let n_gaps = options.extra_ids.unwrap_or(100);
                let gap = |at: usize| special(&format!("<extra_id_{at}>"), n + n_gaps - 1 - at, 0);
                tokens.extend((0..n_gaps).rev().map(gap));
            }
            _ => {
                for language in self.languages() {
                    tokens.push(special(&language, next, 0));
                    next += 1;
                }
            }
        }
        if !fixed.is_empty() {
            tokens.push(special("<mask>", next, added_flags::LSTRIP));
        }
        tokens
    }

    /// What is replaced before anything else: (what, by what).
    pub(super) fn replacements(self) -> &'static [(&'static str, &'static str)] {
        if self == Self::Albert { &[("``", "\""), ("''", "\"")] } else { &[] }
    }

    /// The same by regular expressions.
    pub(super) fn patterns(self) -> &'static [(&'static str, &'static str)] {
        if self == Self::Siglip { &[(r"[!-/:-@\[-`{-~]", ""), (r"\s+", " ")] } else { &[] }
    }

    /// What stands around a text.
    pub(super) fn template(
        self,
        builder: &Builder,
        options: &SentencePieceOptions<'_>,
    ) -> Result<Option<Template>, CompileError> {
        use TemplateItem::{First, Second};
        let token = |role, found: Option<u32>, name: &str| {
            let missing = || CompileError::UnknownToken { role, token: name.to_owned() };
            found.map(|id| TemplateItem::Token { id, type_id: 0 }).ok_or_else(missing)
        };
        let bos = || token("BOS", builder.roles.bos, options.names.bos.unwrap_or("<s>"));
        let eos = || token("EOS", builder.roles.eos, options.names.eos.unwrap_or("</s>"));
        let named = |name: &str| token("a special token", builder.find(name), name);
        let (first, second) = (First { type_id: 0 }, Second { type_id: 0 });
        let (single, pair) = match self {
            Self::Albert => {
                let (cls, sep) = (named("[CLS]")?, named("[SEP]")?);
                let last = match sep {
                    TemplateItem::Token { id, .. } => TemplateItem::Token { id, type_id: 1 },
                    other => other,
                };
                (vec![cls, first, sep], vec![cls, first, sep, Second { type_id: 1 }, last])
            }
            Self::XlmRoberta | Self::Camembert => {
                let (bos, eos) = (named("<s>")?, named("</s>")?);
                (vec![bos, first, eos], vec![bos, first, eos, eos, second, eos])
            }
            Self::Mbart | Self::Mbart50 | Self::Nllb | Self::M2m100 | Self::Wmt21 => {
                let language = match self {
                    Self::Nllb => options.language.unwrap_or("eng_Latn").to_owned(),
                    _ if self.is_named() => format!("__{}__", options.language.unwrap_or("en")),
                    _ => options.language.unwrap_or("en_XX").to_owned(),
                };
                let (language, eos) = (named(&language)?, named("</s>")?);
                let around = |texts: &[TemplateItem]| match self {
                    Self::Mbart => [texts, &[eos, language]].concat(),
                    _ => [&[language], texts, &[eos]].concat(),
                };
                (around(&[first]), around(&[first, second]))
            }
            Self::Marian => (vec![first, eos()?], vec![first, second, eos()?]),
            Self::Plain | Self::Llama | Self::T5 | Self::Siglip => {
                let before = options.add_bos.unwrap_or(self == Self::Llama);
                let ends = matches!(self, Self::T5 | Self::Siglip);
                let behind = options.add_eos.unwrap_or(ends);
                if !before && !behind {
                    return Ok(None);
                }
                let before = before.then(bos).transpose()?;
                let behind = behind.then(eos).transpose()?;
                let around = |text| before.into_iter().chain([text]).chain(behind);
                (around(first).collect(), around(first).chain(around(second)).collect())
            }
        };
        Ok(Some(Template { single, pair }))
    }
}
