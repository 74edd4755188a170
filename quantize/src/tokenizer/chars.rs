//! Character classes that BERT's normalizer and whole-word tokens need at run time.

use kinglet_formats::tokenizer::{class_flags, class_map_bytes};
use unicode_categories::UnicodeCategories;

use super::pattern::{ranges_of, split_ranges};

/// Punctuation as BERT's pre-tokenizer sees it.
pub(super) fn is_punctuation(c: char) -> bool {
    c.is_ascii_punctuation() || c.is_punctuation()
}

/// Control characters as BERT's cleaning sees them.
fn is_control(c: char) -> bool {
    matches!(c, '\0' | '\u{fffd}') || (!matches!(c, '\t' | '\n' | '\r') && c.is_other())
}

/// The class table.
pub(super) fn class_table() -> Vec<u8> {
    let word = regex_syntax::parse(r"\w").map(|hir| match hir.into_kind() {
        regex_syntax::hir::HirKind::Class(regex_syntax::hir::Class::Unicode(class)) => {
            class.iter().map(|r| (r.start() as u32, r.end() as u32)).collect()
        }
        _ => Vec::new(),
    });
    let members = [
        (class_flags::CONTROL, ranges_of(is_control)),
        (class_flags::NONSPACING_MARK, ranges_of(|c| c.is_mark_nonspacing())),
        (class_flags::WORD, word.unwrap_or_default()),
    ];
    let mut changes: Vec<(u32, u8)> = members
        .iter()
        .flat_map(|(flag, ranges)| {
            ranges.iter().flat_map(move |&(first, last)| [(first, *flag), (last + 1, *flag)])
        })
        .collect();
    changes.sort_unstable();
    let mut ranges: Vec<(u32, u8)> = vec![(0, 0)];
    let mut class = 0;
    for (code, flag) in changes {
        class ^= flag;
        match ranges.last_mut() {
            Some(last) if last.0 == code => last.1 = class,
            _ if code <= char::MAX as u32 => ranges.push((code, class)),
            _ => {}
        }
    }
    let (ascii, wide) = split_ranges(&ranges);
    let mut bytes = Vec::new();
    class_map_bytes(&ascii, &wide, &mut bytes);
    bytes
}
