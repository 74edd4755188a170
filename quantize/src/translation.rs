//! Finds the languages of a translator among its tokens.

use kinglet_formats::kinglet::{Mark, TextLanguage, Translation};
use kinglet_formats::tokenizer::Layout;

/// Languages of the first mBART, which tells them in another way than its successor.
const N_MBART: usize = 25;

/// The languages of a model of `family` with this compiled tokenizer, whose texts end with
/// `source_end`; `named` are those of a model of one pair, where its files say them.
pub(crate) fn find(
    family: &str,
    tokenizer: &[u8],
    source_end: Option<u32>,
    named: [Option<&str>; 2],
) -> Option<Translation> {
    let source_end = source_end?;
    let codes: Vec<(String, u32)> = match family {
        "m2m_100" => {
            let found = marked(tokenizer, |token| token.strip_prefix("__")?.strip_suffix("__"));
            if found.is_empty() { marked(tokenizer, with_script) } else { found }
        }
        "mbart" => marked(tokenizer, with_country),
        "marian" => marked(tokenizer, |token| token.strip_prefix(">>")?.strip_suffix("<<")),
        _ => return None,
    };
    let languages = |mark: fn(u32) -> Mark| {
        let language = |(code, token): &(String, u32)| TextLanguage {
            code: code.clone(),
            mark: Some(mark(*token)),
        };
        codes.iter().map(language).collect::<Vec<_>>()
    };
    let alone = |code: Option<&str>| {
        code.map(|code| TextLanguage { code: code.to_owned(), mark: None }).into_iter().collect()
    };
    let [from, to] = match family {
        "marian" if codes.is_empty() => named.map(alone),
        "marian" => [alone(named[0]), languages(Mark::SourceFirst)],
        // Which language comes out is the model's token to start from.
        "mbart" if codes.len() <= N_MBART => [languages(Mark::SourceLast), Vec::new()],
        _ => [languages(Mark::SourceFirst), languages(Mark::AnswerFirst)],
    };
    Some(Translation { source_end, from, to })
}

/// Tokens that are found whole and of which `code` makes a language's code.
fn marked(tokenizer: &[u8], code: impl Fn(&str) -> Option<&str>) -> Vec<(String, u32)> {
    let Ok((layout, _)) = Layout::read(tokenizer) else { return Vec::new() };
    let tables = layout.tables(tokenizer);
    let added = (0..tables.n_added()).filter_map(|index| tables.added(index));
    let mut found: Vec<(String, u32)> =
        added.filter_map(|token| Some((code(token.content)?.to_owned(), token.id))).collect();
    found.sort();
    found.dedup_by(|a, b| a.0 == b.0);
    found
}

/// `por_Latn`
fn with_script(token: &str) -> Option<&str> {
    let (language, script) = token.split_once('_')?;
    let is = language.len() == 3
        && script.len() == 4
        && language.bytes().all(|b| b.is_ascii_lowercase())
        && script.bytes().all(|b| b.is_ascii_alphabetic());
    is.then_some(token)
}

/// `pt_XX`
fn with_country(token: &str) -> Option<&str> {
    let (language, country) = token.split_once('_')?;
    let is = language.len() == 2
        && country.len() == 2
        && language.bytes().all(|b| b.is_ascii_lowercase())
        && country.bytes().all(|b| b.is_ascii_uppercase());
    is.then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_told_from_other_tokens() {
        assert_eq!(with_script("por_Latn"), Some("por_Latn"));
        assert_eq!(with_country("pt_XX"), Some("pt_XX"));
        for other in ["<mask>", "por_latn2", "pt_Latn", "a_b", "</s>", "extra_id"] {
            assert_eq!((with_script(other), with_country(other)), (None, None), "{other}");
        }
    }
}
