//! Texts in sentences, and what stands between them.

use std::ops::Range;

use unicode_segmentation::UnicodeSegmentation;

/// Words with a full stop that ends no sentence, in lower case: titles, months, measures and the like
/// of European languages.
const ABBREVIATIONS: &[&str] = &[
    "mr", "mrs", "ms", "dr", "prof", "sr", "sra", "srta", "jr", "st", "ste", "vs", "etc", "e.g",
    "i.e", "cf", "ca", "approx", "fig", "figs", "eq", "sec", "ch", "vol", "no", "nos", "nr", "pp",
    "p", "ed", "eds", "al", "inc", "ltd", "co", "corp", "dept", "gen", "col", "capt", "lt", "sgt",
    "rev", "hon", "gov", "sen", "rep", "pres", "jan", "feb", "mar", "apr", "jun", "jul", "aug",
    "sep", "sept", "oct", "nov", "dec", "mon", "tue", "wed", "thu", "fri", "sat", "sun", "av",
    "ave", "blvd", "rd", "mt", "hr", "fr", "bzw", "z.b", "d.h", "u.a", "usw", "evtl", "ggf", "str",
    "tel", "mme", "mlle", "m", "mm", "env", "ex", "p.ex", "dra", "profa", "exmo", "exma", "pág",
    "núm", "art", "ud", "uds", "p.ej", "u.s", "u.k", "a.m", "p.m", "ph.d", "b.c", "a.d",
];

/// The sentences of `text` in order, as ranges of bytes. What lies between them is white space, marks
/// of lists, and lines without letters.
pub(super) fn sentences(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        in_line(line, start, &mut found);
        start += line.len();
    }
    found
}

fn in_line(line: &str, offset: usize, found: &mut Vec<Range<usize>>) {
    let mark = mark_len(line);
    let mut first: Option<usize> = None;
    for (at, piece) in line[mark..].split_sentence_bound_indices() {
        let at = mark + at;
        let begin = *first.get_or_insert(at);
        let end = at + piece.len();
        if goes_on(&line[begin..end], &line[end..]) {
            continue;
        }
        first = None;
        push(line, begin..end, offset, found);
    }
    if let Some(begin) = first {
        push(line, begin..line.len(), offset, found);
    }
}

/// Adds what there is between white space, if it has letters.
fn push(line: &str, range: Range<usize>, offset: usize, found: &mut Vec<Range<usize>>) {
    let piece = &line[range.clone()];
    let trimmed = piece.trim();
    if trimmed.chars().any(char::is_alphabetic) {
        let begin = offset + range.start + (piece.len() - piece.trim_start().len());
        found.push(begin..begin + trimmed.len());
    }
}

/// Whether the end of `sentence` is none, as it is an abbreviation or an initial.
fn goes_on(sentence: &str, rest: &str) -> bool {
    let Some(stem) = sentence.trim_end().strip_suffix('.') else { return false };
    if rest.trim().is_empty() {
        return false;
    }
    let word = stem.rsplit(|c: char| c.is_whitespace() || "([{\"'“‘«".contains(c)).next();
    let word = word.unwrap_or_default();
    let mut chars = word.chars();
    let initial = matches!((chars.next(), chars.next()), (Some(c), None) if c.is_uppercase());
    initial || ABBREVIATIONS.contains(&word.to_lowercase().as_str())
}

/// Bytes of white space and of a mark of a list at the beginning of a line.
fn mark_len(line: &str) -> usize {
    let body = line.trim_start();
    let indent = line.len() - body.len();
    let bullet = body.chars().next().filter(|c| "-*+•–—·>#".contains(*c));
    let mark = match bullet {
        Some(c) => body.len() - body.trim_start_matches(c).len(),
        None => {
            let number = body.len() - body.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            let ended = body[number..].starts_with(['.', ')']);
            if (1..=3).contains(&number) && ended { number + 1 } else { 0 }
        }
    };
    let rest = &body[mark..];
    let space = rest.len() - rest.trim_start().len();
    // A mark is followed by space; `-5` or `*word*` have none.
    if mark > 0 && space > 0 { indent + mark + space } else { indent }
}

/// Two parts of a sentence that is too long: cut behind a clause near the middle, else between words,
/// else between characters. `None` for a single character.
pub(super) fn halves(sentence: &str) -> Option<(&str, &str)> {
    let middle = sentence.len() / 2;
    let near = |places: &mut dyn Iterator<Item = usize>| {
        let inside = places.filter(|&at| at > 0 && at < sentence.len());
        inside.min_by_key(|&at| at.abs_diff(middle))
    };
    let clause = |at: usize, mark: &str| {
        Some(at + mark.len()).filter(|&end| sentence[end..].starts_with(' '))
    };
    let mut clauses =
        sentence.match_indices([',', ';', ':', '…', '—']).filter_map(|(at, mark)| clause(at, mark));
    let clause = near(&mut clauses).filter(|at| at.abs_diff(middle) <= sentence.len() / 4);
    let at = clause
        .or_else(|| near(&mut sentence.match_indices(' ').map(|(at, _)| at)))
        .or_else(|| near(&mut sentence.char_indices().map(|(at, _)| at)))?;
    Some(sentence.split_at(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> Vec<&str> {
        sentences(text).into_iter().map(|range| &text[range]).collect()
    }

    #[test]
    fn sentences_end_where_they_end() {
        assert_eq!(split("One. Two! Three? Four"), ["One.", "Two!", "Three?", "Four"]);
        assert_eq!(
            split("Dr. Smith met J. Doe. They left."),
            ["Dr. Smith met J. Doe.", "They left."]
        );
        assert_eq!(
            split("It cost 3.5 euros, e.g. Today. Yes."),
            ["It cost 3.5 euros, e.g. Today.", "Yes."]
        );
        assert_eq!(split("He said \"Go.\" Then he left."), ["He said \"Go.\"", "Then he left."]);
        assert_eq!(split("今日は。明日は！"), ["今日は。", "明日は！"]);
        assert_eq!(split("It ends with etc."), ["It ends with etc."]);
    }

    #[test]
    fn what_is_no_sentence_is_left_out() {
        let text = "# Title\n\n- first. Second.\n  2) third\n---\n12:30\n\n*word* -5\r\nlast  \n";
        let expected = ["Title", "first.", "Second.", "third", "*word* -5", "last"];
        assert_eq!(split(text), expected);
        for empty in ["", " ", "\n\n", "123", "-", "!!! ???", "\u{1f426}"] {
            assert_eq!(split(empty), [""; 0], "{empty:?}");
        }
    }

    #[test]
    fn long_ones_are_halved() {
        assert_eq!(halves("a b, c d"), Some(("a b,", " c d")));
        assert_eq!(halves("one two"), Some(("one", " two")));
        assert_eq!(halves("äöü"), Some(("ä", "öü")));
        assert_eq!(halves("x"), None);
        assert_eq!(halves(""), None);
    }
}
