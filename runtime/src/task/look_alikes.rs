//! Special tokens in what people write are not special.

/// Splits look-alikes of special tokens in what people write; a Unicode noncharacter.
pub(super) const BREAK: char = '\u{fdd0}';

/// Puts a [`BREAK`] into every look-alike of a special token, so that a user cannot end their turn,
/// speak as another role, or end a text that something is put into.
pub(super) fn break_specials(specials: &[String], content: &str) -> String {
    let mut content = content.replace(BREAK, "");
    for special in specials {
        let mut chars = special.chars();
        let Some(first) = chars.next() else { continue };
        // More than once, as one look-alike may overlap another.
        while !chars.as_str().is_empty() && content.contains(special) {
            content = content.replace(special, &format!("{first}{BREAK}{}", chars.as_str()));
        }
    }
    content
}
