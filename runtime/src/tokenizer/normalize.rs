//! Rewrites a text before it is cut into words.

use std::borrow::Cow;

use kinglet_formats::tokenizer::{Charsmap, ClassMap, Layout, Normalizer, class_flags};
use unicode_normalization::{
    IsNormalized, UnicodeNormalization, char::is_combining_mark, is_nfc_quick, is_nfd_quick,
    is_nfkc_quick, is_nfkd_quick,
};
use unicode_segmentation::UnicodeSegmentation;

/// Applies all steps in order.
pub(super) fn normalize<'t>(
    steps: &[Normalizer],
    layout: &Layout,
    section: &[u8],
    text: &'t str,
) -> Cow<'t, str> {
    let mut text = Cow::Borrowed(text);
    for step in steps {
        if let Some(changed) = apply(step, layout, section, &text) {
            text = Cow::Owned(changed);
        }
    }
    text
}

/// The rewritten text, or `None` where the step leaves it as it is.
fn apply(step: &Normalizer, layout: &Layout, section: &[u8], text: &str) -> Option<String> {
    let unless_normal =
        |is_normal| (!text.is_ascii() && is_normal != IsNormalized::Yes).then_some(());
    match step {
        Normalizer::Nfc => unless_normal(is_nfc_quick(text.chars())).map(|()| text.nfc().collect()),
        Normalizer::Nfd => unless_normal(is_nfd_quick(text.chars())).map(|()| text.nfd().collect()),
        Normalizer::Nfkc => {
            unless_normal(is_nfkc_quick(text.chars())).map(|()| text.nfkc().collect())
        }
        Normalizer::Nfkd => {
            unless_normal(is_nfkd_quick(text.chars())).map(|()| text.nfkd().collect())
        }
        Normalizer::Lowercase => Some(text.chars().flat_map(char::to_lowercase).collect()),
        Normalizer::StripAccents => {
            (!text.is_ascii()).then(|| text.chars().filter(|&c| !is_combining_mark(c)).collect())
        }
        &Normalizer::Bert { clean_text, handle_chinese_chars, strip_accents, lowercase } => {
            let classes = layout.classes(section)?;
            let text = clean(text, classes, clean_text, handle_chinese_chars);
            let lower =
                |c: char| if lowercase { Lower::Yes(c.to_lowercase()) } else { Lower::No(Some(c)) };
            if strip_accents && !text.is_ascii() {
                let is_mark = |c| classes.class(c) & class_flags::NONSPACING_MARK != 0;
                Some(text.nfd().filter(|&c| !is_mark(c)).flat_map(lower).collect())
            } else if lowercase {
                Some(text.chars().flat_map(lower).collect())
            } else {
                Some(text)
            }
        }
        &Normalizer::Strip { left, right } => {
            let text = if left { text.trim_start() } else { text };
            Some(if right { text.trim_end() } else { text }.to_owned())
        }
        Normalizer::Prepend { text: prefix } => {
            (!text.is_empty()).then(|| format!("{prefix}{text}"))
        }
        Normalizer::Replace { automaton, content } => {
            let automaton = layout.automaton(section, *automaton)?;
            let mut out = String::new();
            let mut done = 0;
            for (from, to) in automaton.matches(text) {
                out.push_str(text.get(done..from)?);
                out.push_str(content);
                done = to;
            }
            (done > 0).then(|| out + text.get(done..).unwrap_or_default())
        }
        Normalizer::Charsmap { charsmap } => {
            Some(map_characters(layout.charsmap(section, *charsmap)?, text))
        }
        Normalizer::ByteAlphabet => Some(text.bytes().map(byte_letter).collect()),
    }
}

/// The character of the GPT-2 byte alphabet for a byte: visible Latin-1 characters stand for
/// themselves, the others follow from U+0100 on.
pub(super) fn byte_letter(byte: u8) -> char {
    match byte {
        0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff => byte as char,
        0x00..=0x20 => wide(0x100 + u32::from(byte)),
        0x7f..=0xa0 => wide(0x121 + u32::from(byte) - 0x7f),
        0xad => '\u{143}',
    }
}

/// The byte that a character of the byte alphabet stands for.
pub(super) fn letter_byte(letter: char) -> Option<u8> {
    match letter as u32 {
        code @ (0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff) => Some(code as u8),
        code @ 0x100..=0x120 => Some((code - 0x100) as u8),
        code @ 0x121..=0x142 => Some((code - 0x121 + 0x7f) as u8),
        0x143 => Some(0xad),
        _ => None,
    }
}

fn wide(code: u32) -> char {
    char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)
}

/// Lower-cased characters, or the one character as it is.
enum Lower {
    Yes(std::char::ToLowercase),
    No(Option<char>),
}

impl Iterator for Lower {
    type Item = char;

    fn next(&mut self) -> Option<char> {
        match self {
            Lower::Yes(chars) => chars.next(),
            Lower::No(c) => c.take(),
        }
    }
}

/// Control characters dropped, white space made plain, CJK ideographs set apart.
fn clean(text: &str, classes: ClassMap<'_>, clean_text: bool, chinese: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if clean_text && classes.class(c) & class_flags::CONTROL != 0 {
            continue;
        }
        if clean_text && c.is_whitespace() {
            out.push(' ');
        } else if chinese && is_cjk_ideograph(c) {
            out.extend([' ', c, ' ']);
        } else {
            out.push(c);
        }
    }
    out
}

/// The blocks that BERT's original code calls Chinese, with its gap after U+2B81F.
fn is_cjk_ideograph(c: char) -> bool {
    matches!(
        c as u32,
        0x4e00..=0x9fff
            | 0x3400..=0x4dbf
            | 0x20000..=0x2a6df
            | 0x2a700..=0x2b73f
            | 0x2b740..=0x2b81f
            | 0x2b920..=0x2ceaf
            | 0xf900..=0xfaff
            | 0x2f800..=0x2fa1f
    )
}

/// SentencePiece's map, applied to short grapheme clusters first, then to single characters.
fn map_characters(map: Charsmap<'_>, text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for cluster in text.graphemes(true) {
        if cluster.len() < 6
            && let Some(replacement) = map.replacement(cluster)
        {
            out.push_str(replacement);
            continue;
        }
        let mut utf8 = [0; 4];
        for c in cluster.chars() {
            match map.replacement(c.encode_utf8(&mut utf8)) {
                Some(replacement) => out.push_str(replacement),
                None => out.push(c),
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_alphabet_there_and_back() {
        let letters: std::collections::BTreeSet<char> = (0..=255).map(byte_letter).collect();
        assert_eq!(letters.len(), 256);
        assert!((0..=255).all(|byte| letter_byte(byte_letter(byte)) == Some(byte)));
        assert_eq!((byte_letter(b' '), byte_letter(b'\n')), ('Ġ', 'Ċ'));
        assert_eq!(letter_byte(' '), None);
    }
}
