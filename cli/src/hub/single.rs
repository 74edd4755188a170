//! Models in one file, or in the parts of one: GGUF and `.kinglet`.

use super::Error;
use super::listing::Listing;
use super::name::last;

/// GGUF files whose names say that they are none of a model.
const PARTS: [&str; 3] = ["mmproj", "imatrix", "vocab"];
/// Types of GGUF in the order in which they are worth choosing: Kinglet's own int8 takes over
/// Q8_0 as it is, and loses least from those with more bits.
const ORDER: [&str; 10] =
    ["q8_0", "bf16", "f16", "q6_k", "f32", "q5_k_m", "q5_k_s", "q5_0", "q4_k_m", "q4_k_s"];

/// The error for several models, with the ones worth choosing first.
pub(super) fn choice(name: &str, listing: &Listing, models: &[Vec<String>]) -> Error {
    let rank = |file: &str| {
        let file = file.to_ascii_lowercase();
        ORDER.iter().position(|kind| has_word(&file, kind)).unwrap_or(ORDER.len())
    };
    let mut files: Vec<(String, Option<u64>)> = models
        .iter()
        .map(|parts| (parts[0].clone(), parts.iter().map(|part| listing.bytes(part)).sum()))
        .collect();
    files.sort_by_key(|(file, _)| rank(file));
    Error::Choice { name: name.to_owned(), files }
}

/// The models in GGUF, each with all its parts.
pub(super) fn ggufs(listing: &Listing) -> Vec<Vec<String>> {
    let mut models = of_kind(listing, "gguf");
    models.retain(|parts| {
        let name = last(&parts[0]).to_ascii_lowercase();
        !PARTS.iter().any(|part| name.contains(part))
    });
    models
}

/// The files with an ending, those that are parts of one together.
pub(super) fn of_kind(listing: &Listing, ending: &str) -> Vec<Vec<String>> {
    let mut models: Vec<Vec<String>> = Vec::new();
    for file in listing.names().filter(|file| has_ending(file, ending)) {
        match models.last_mut() {
            Some(parts) if is_part(file) && stem(&parts[0]) == stem(file) => {
                parts.push(file.to_owned());
            }
            _ => models.push(vec![file.to_owned()]),
        }
    }
    models
}

pub(super) fn has_ending(file: &str, ending: &str) -> bool {
    file.rsplit_once('.').is_some_and(|(_, found)| found.eq_ignore_ascii_case(ending))
}

/// Whether a name ends like `-00001-of-00002.gguf`.
pub(super) fn is_part(file: &str) -> bool {
    stem(file).len() < file.rfind('.').unwrap_or(file.len())
}

/// A name without its ending and the number of its part.
pub(super) fn stem(file: &str) -> &str {
    let name = file.rsplit_once('.').map_or(file, |(name, _)| name);
    let number = |text: &str| text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    let cut = || {
        let (start, n) = name.rsplit_once("-of-").filter(|(_, n)| number(n))?;
        let (start, part) = start.rsplit_once('-')?;
        (number(part) && number(n)).then_some(start)
    };
    cut().unwrap_or(name)
}

/// Whether a word stands in a name, with no letter, digit or underscore beside it.
pub(super) fn has_word(name: &str, word: &str) -> bool {
    let is_edge = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric() && c != '_');
    name.match_indices(word).any(|(at, _)| {
        is_edge(name[..at].chars().next_back()) && is_edge(name[at + word.len()..].chars().next())
    })
}
