//! How a model writes speech down: its tokens by their texts, its lists from the configuration.

use kinglet_formats::kinglet::{Language, Speech};
use kinglet_formats::tokenizer::Layout;

use crate::QuantizeError;
use crate::fields::Fields;

const END: &str = "<|endoftext|>";
const START: &str = "<|startoftranscript|>";
const NO_TIMESTAMPS: &str = "<|notimestamps|>";
/// Its text in current vocabularies, and in those of the first releases.
const NO_SPEECH: [&str; 2] = ["<|nospeech|>", "<|nocaptions|>"];

/// Reads the tokens of a compiled tokenizer and the lists of the first of `sources` that has them.
///
/// # Errors
/// If a token or a list is missing that no answer can do without.
pub(crate) fn find(compiled: &[u8], sources: &[Fields<'_>]) -> Result<Speech, QuantizeError> {
    let tokens = Tokens::read(compiled);
    let start = tokens.required(START)?;
    let no_timestamps = tokens.required(NO_TIMESTAMPS)?;
    let first = |keys: &[&'static str]| {
        let has = |&(fields, key): &(&Fields<'_>, &'static str)| fields.has(key);
        let mut places =
            sources.iter().flat_map(|fields| keys.iter().map(move |&key| (fields, key)));
        places.find(has).map_or(Ok(Vec::new()), |(fields, key)| fields.token_ids(key))
    };
    let mut suppressed = first(&["suppress_tokens", "suppress_ids"])?;
    let suppressed_first = first(&["begin_suppress_tokens", "suppress_ids_begin"])?;
    let (transcribe, translate) = (tokens.id("<|transcribe|>"), tokens.id("<|translate|>"));
    let (previous, no_speech) =
        (tokens.id("<|startofprev|>"), NO_SPEECH.iter().find_map(|text| tokens.id(text)));
    let never =
        [Some(start), transcribe, translate, tokens.id("<|startoflm|>"), previous, no_speech];
    suppressed.extend(never.into_iter().flatten());
    suppressed.sort_unstable();
    suppressed.dedup();
    let multilingual = is_multilingual(sources, start)?;
    let languages = if multilingual { tokens.languages() } else { Vec::new() };
    Ok(Speech {
        start,
        end: tokens.required(END)?,
        transcribe: transcribe.filter(|_| multilingual),
        translate: translate.filter(|_| multilingual),
        languages,
        previous,
        no_speech,
        no_timestamps,
        first_timestamp: no_timestamps + 1,
        suppressed,
        suppressed_first,
        alignment_heads: alignment_heads(sources)?,
    })
}

/// Whether the model tells languages apart. Vocabularies of English alone have their tokens too, but
/// all ids are one less, as their text has one token less.
fn is_multilingual(sources: &[Fields<'_>], start: u32) -> Result<bool, QuantizeError> {
    const ENGLISH_START: u32 = 50_257;
    let said = sources.iter().find(|fields| fields.has("is_multilingual"));
    said.map_or(Ok(start != ENGLISH_START), |fields| fields.flag_or("is_multilingual", true))
}

/// Pairs of a layer and a head.
fn alignment_heads(sources: &[Fields<'_>]) -> Result<Vec<(usize, usize)>, QuantizeError> {
    const KEY: &str = "alignment_heads";
    let Some(fields) = sources.iter().find(|fields| fields.has(KEY)) else { return Ok(Vec::new()) };
    let pair = |value: &serde_json::Value| {
        let number = |at: usize| value.get(at)?.as_u64().and_then(|n| usize::try_from(n).ok());
        number(0).zip(number(1)).filter(|_| value.as_array().is_some_and(|list| list.len() == 2))
    };
    let list = fields.opt_list(KEY)?.unwrap_or_default();
    let pairs: Option<Vec<_>> = list.iter().map(pair).collect();
    pairs.ok_or_else(|| fields.bad(KEY, "another list", "a list of pairs of a layer and a head"))
}

/// Texts and ids of the tokens that stand beside a vocabulary's pieces, in the order of ids.
struct Tokens(Vec<(String, u32)>);

impl Tokens {
    fn read(compiled: &[u8]) -> Self {
        let Ok((layout, _)) = Layout::read(compiled) else { return Self(Vec::new()) };
        let tables = layout.tables(compiled);
        let added = (0..tables.n_added()).filter_map(|index| tables.added(index));
        let mut tokens: Vec<_> = added.map(|token| (token.content.to_owned(), token.id)).collect();
        tokens.sort_by_key(|(_, id)| *id);
        Self(tokens)
    }

    fn id(&self, text: &str) -> Option<u32> {
        self.0.iter().find(|(content, _)| content == text).map(|(_, id)| *id)
    }

    fn required(&self, text: &str) -> Result<u32, QuantizeError> {
        self.id(text).ok_or_else(|| QuantizeError::MissingToken { token: text.to_owned() })
    }

    /// The tokens of two or three letters.
    fn languages(&self) -> Vec<Language> {
        let code = |text: &str| {
            let code = text.strip_prefix("<|")?.strip_suffix("|>")?;
            let letters = code.bytes().all(|byte| byte.is_ascii_lowercase());
            (letters && (2..=3).contains(&code.len())).then(|| code.to_owned())
        };
        let found = self.0.iter().filter_map(|(text, id)| Some((code(text)?, *id)));
        found.map(|(code, token)| Language { code, token }).collect()
    }
}
