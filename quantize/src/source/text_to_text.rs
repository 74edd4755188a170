//! How answers to a source are searched for, as configurations say it.

use kinglet_formats::kinglet::{EarlyStopping, TextToText};

use super::tokens;
use crate::QuantizeError;
use crate::fields::Fields;

/// What configurations say, those before others first; `None` where none says what answers start
/// from. The first of them is the one that is about generation.
pub(super) fn read(sources: &[Fields<'_>]) -> Result<Option<TextToText>, QuantizeError> {
    let (mut starts, mut last_resort) = (Vec::new(), Vec::new());
    for fields in sources {
        tokens::merge(&mut starts, fields.token_ids("decoder_start_token_id")?);
        for key in ["bos_token_id", "pad_token_id"] {
            tokens::merge(&mut last_resort, fields.token_ids(key)?);
        }
    }
    let start = starts.first().or(last_resort.first());
    let (Some(&start), Some(fields)) = (start, sources.first()) else { return Ok(None) };
    let token = |key: &str| Ok::<_, QuantizeError>(fields.token_ids(key)?.first().copied());
    let number = |key: &str| Ok::<_, QuantizeError>(fields.opt_size(key)?.map(|n| n as u32));
    let mut suppressed = Vec::new();
    for list in fields.opt_list("bad_words_ids")?.unwrap_or_default() {
        let ids: Option<Vec<u32>> = list.as_array().and_then(|ids| {
            ids.iter().map(|id| id.as_u64().and_then(|id| u32::try_from(id).ok())).collect()
        });
        match ids.as_deref() {
            Some(&[id]) => tokens::merge(&mut suppressed, [id]),
            _ => {
                let supported = "lists of one token each";
                return Err(fields.unsupported("bad_words_ids", list, supported));
            }
        }
    }
    if fields.has("suppress_tokens") {
        tokens::merge(&mut suppressed, fields.token_ids("suppress_tokens")?);
    }
    let early_stopping = match fields.opt_text("early_stopping") {
        Ok(Some("never")) => EarlyStopping::Never,
        _ if fields.flag_or("early_stopping", false)? => EarlyStopping::Full,
        _ => EarlyStopping::Unlikely,
    };
    Ok(Some(TextToText {
        forced_first: token("forced_bos_token_id")?,
        forced_last: token("forced_eos_token_id")?,
        suppressed,
        beams: number("num_beams")?.unwrap_or(1),
        length_penalty: fields.float_or("length_penalty", 1.0)?,
        early_stopping,
        no_repeat_ngram: fields.count_or("no_repeat_ngram_size", 0)? as u32,
        min_length: fields.count_or("min_length", 0)? as u32,
        max_length: number("max_length")?,
        ..TextToText::greedy(start)
    }))
}
