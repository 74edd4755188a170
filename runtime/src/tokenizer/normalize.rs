//! Rewrites a text before it is cut into words.

use std::borrow::Cow;
use std::ops::Range;

use kinglet_formats::tokenizer::{
    Charsmap, ClassMap, Layout, Normalizer, byte_letter, class_flags,
};
use unicode_normalization::{
    IsNormalized, UnicodeNormalization, char::is_combining_mark, is_nfc_quick, is_nfd_quick,
    is_nfkc_quick, is_nfkd_quick,
};
use unicode_segmentation::UnicodeSegmentation;

use super::added::AddedSet;
use super::{Place, sentencepiece};

/// What steps look up.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) layout: &'a Layout,
    pub(super) section: &'a [u8],
    /// Pieces that SentencePiece leaves as they are.
    pub(super) whole: &'a AddedSet,
}

/// Applies all steps in order to a text that stands at `place`: nothing is put before one that
/// continues another.
pub(super) fn normalize_at<'t>(
    place: Place,
    steps: &[Normalizer],
    context: Context<'_>,
    text: &'t str,
) -> Cow<'t, str> {
    let mut text = Cow::Borrowed(text);
    for step in steps_at(place, steps) {
        if let Some(changed) = apply(step, context, &text, place) {
            text = Cow::Owned(changed);
        }
    }
    text
}

/// The rules of SentencePiece, if a step has them.
pub(super) fn sentencepiece_rules<'a>(
    step: &Normalizer,
    context: Context<'a>,
) -> Option<sentencepiece::Rules<'a>> {
    let &Normalizer::SentencePiece { charsmap, trim, prepend, behind, mark } = step else {
        return None;
    };
    let Context { layout, section, whole } = context;
    let charsmap = charsmap.and_then(|charsmap| layout.charsmap(section, charsmap));
    Some(sentencepiece::Rules { charsmap, whole, trim, prepend, behind, mark })
}

/// The steps that a text at `place` goes through.
pub(super) fn steps_at(place: Place, steps: &[Normalizer]) -> impl Iterator<Item = &Normalizer> {
    let applies = move |step: &&Normalizer| {
        place != Place::Text || !matches!(step, Normalizer::Prepend { .. })
    };
    steps.iter().filter(applies)
}

/// Calls back with each range of a text that a step replaces, in their order, and with what comes
/// in its place; for steps that do so.
pub(super) fn each_edit(
    step: &Normalizer,
    context: Context<'_>,
    text: &str,
    mut edit: impl FnMut(Range<usize>, &str),
) {
    match step {
        Normalizer::Strip { left, right } => {
            let start = if *left { text.len() - text.trim_start().len() } else { 0 };
            let end = if *right { text.trim_end().len().max(start) } else { text.len() };
            for range in [0..start, end..text.len()] {
                if !range.is_empty() {
                    edit(range, "");
                }
            }
        }
        Normalizer::Prepend { text: prefix } if !text.is_empty() => edit(0..0, prefix),
        Normalizer::Replace { automaton, content } => {
            let automaton = context.layout.automaton(context.section, *automaton);
            let matches = automaton.into_iter().flat_map(|automaton| automaton.matches(text));
            matches.for_each(|(from, to)| edit(from..to, content));
        }
        _ => {}
    }
}

/// A text in which a step has replaced some ranges; `None` where there are none.
fn edited(step: &Normalizer, context: Context<'_>, text: &str) -> Option<String> {
    let (mut out, mut done, mut changed) = (String::new(), 0, false);
    each_edit(step, context, text, |range, content| {
        out.push_str(text.get(done..range.start).unwrap_or_default());
        out.push_str(content);
        (done, changed) = (range.end, true);
    });
    changed.then(|| out + text.get(done..).unwrap_or_default())
}

/// The rewritten text, or `None` where the step leaves it as it is.
pub(super) fn apply(
    step: &Normalizer,
    context: Context<'_>,
    text: &str,
    place: Place,
) -> Option<String> {
    let Context { layout, section, .. } = context;
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
        Normalizer::Strip { .. } | Normalizer::Prepend { .. } | Normalizer::Replace { .. } => {
            edited(step, context, text)
        }
        Normalizer::Charsmap { charsmap } => {
            Some(map_characters(layout.charsmap(section, *charsmap)?, text))
        }
        Normalizer::SentencePiece { .. } => {
            Some(sentencepiece_rules(step, context)?.normalize(text, place, None))
        }
        Normalizer::ByteAlphabet => Some(text.bytes().map(byte_letter).collect()),
    }
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
