//! Refuses templates whose expressions are so long that the engine, which parses and frees them by
//! recursion, could overflow the stack.

use std::ops::Range;

/// Most names, numbers, strings and signs in one tag; each may be a level of recursion.
const MAX_PARTS: usize = 1000;
/// Most `elif`, each of which is a level below the one before.
const MAX_ELIF: usize = 250;

/// Why a template is refused, if it is.
pub(super) fn refusal(source: &str) -> Option<String> {
    let mut n_elif = 0;
    for tag in tags(source) {
        if tag.parts.len() > MAX_PARTS {
            return Some(format!("a tag has more than {MAX_PARTS} parts"));
        }
        if tag.is_block {
            match tag.parts.first().map(|part| &source[part.clone()]) {
                Some("raw") => return Some("raw blocks are not supported".to_owned()),
                Some("elif") => n_elif += 1,
                _ => {}
            }
        }
        if n_elif > MAX_ELIF {
            return Some(format!("it has more than {MAX_ELIF} elif"));
        }
    }
    None
}

/// A tag, `{{ }}` or `{% %}`, by the places of its parts.
pub(super) struct Parts {
    pub(super) is_block: bool,
    pub(super) parts: Vec<Range<usize>>,
}

/// The tags of a template, one after another.
///
/// Follows the engine's own lexer: text up to `{{`, `{%` or `{#`; comments; tags with strings
/// and balanced brackets.
pub(super) fn tags(source: &str) -> impl Iterator<Item = Parts> + '_ {
    let source = source.as_bytes();
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            let start = tag_start(source, at)?;
            if source[start + 1] == b'#' {
                at = find(source, start + 2, b"#}")? + 2;
                continue;
            }
            let is_block = source[start + 1] == b'%';
            let close: &[u8] = if is_block { b"%}" } else { b"}}" };
            let mut tag = Tag { source, at: start + 2, depth: 0 };
            let mut parts = Vec::new();
            while let Some(part) = tag.next(close) {
                // `{%-` and `{%+` only trim white space.
                if !(part.start == start + 2 && matches!(source[part.start], b'-' | b'+')) {
                    parts.push(part);
                }
            }
            at = tag.at;
            return Some(Parts { is_block, parts });
        }
    })
}

fn tag_start(source: &[u8], from: usize) -> Option<usize> {
    let pairs = source.get(from..)?.windows(2);
    pairs.into_iter().position(|pair| matches!(pair, b"{{" | b"{%" | b"{#")).map(|i| from + i)
}

fn find(source: &[u8], from: usize, what: &[u8]) -> Option<usize> {
    source.get(from..)?.windows(what.len()).position(|at| at == what).map(|i| from + i)
}

/// The inside of a tag, part by part.
struct Tag<'a> {
    source: &'a [u8],
    at: usize,
    /// Open brackets; a tag does not end within them.
    depth: isize,
}

impl Tag<'_> {
    /// The next part, or `None` behind the tag's end.
    fn next(&mut self, close: &[u8]) -> Option<Range<usize>> {
        let rest = &self.source[self.at..];
        self.at += rest.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        let rest = self.source.get(self.at..).filter(|rest| !rest.is_empty())?;
        if self.depth == 0 {
            let trim = usize::from(matches!(rest[0], b'-' | b'+') && rest[1..].starts_with(close));
            if rest[trim..].starts_with(close) {
                self.at += trim + close.len();
                return None;
            }
        }
        let length = match rest[0] {
            quote @ (b'\'' | b'"') => string_length(rest, quote),
            byte if is_word(byte) => rest.iter().take_while(|&&byte| is_word(byte)).count(),
            byte => {
                match byte {
                    b'(' | b'[' | b'{' => self.depth += 1,
                    b')' | b']' | b'}' => self.depth -= 1,
                    _ => {}
                }
                1
            }
        };
        self.at += length;
        Some(self.at - length..self.at)
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || !byte.is_ascii()
}

/// Bytes of the string at the start of `rest`, quotes included.
fn string_length(rest: &[u8], quote: u8) -> usize {
    let mut escaped = false;
    let inside = rest[1..].iter().take_while(|&&byte| {
        let ends = byte == quote && !escaped;
        escaped = byte == b'\\' && !escaped;
        !ends
    });
    (inside.count() + 2).min(rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_tags_are_refused_wherever_they_hide() {
        let dots = format!("a{}", ".b".repeat(1000));
        for start in ["", "{# ' #}", "{{ '}}' }}", "{{ \"\\\"{{\" }}", "{{ {'}}': 1} }}", "it's {"]
        {
            assert!(refusal(&format!("{start}{{{{ {dots} }}}}")).is_some(), "{start}");
            assert!(refusal(&format!("{start}{{% if {dots} %}}")).is_some(), "{start}");
        }
        assert!(refusal(&"{% elif a %}".repeat(251)).is_some());
        assert!(refusal("{%- raw %}{{ ' {% endraw %}").is_some());
    }

    #[test]
    fn ordinary_templates_pass() {
        for template in [
            "",
            "{{ 'a' ",
            "{# open",
            "{{ a }}".repeat(5000).as_str(),
            "{%- if a -%}{% elif raw %}{%+ endif +%}",
            &format!("{{{{ '{}' }}}}", ". ".repeat(5000)),
            &format!("{{# {} #}}", ". ".repeat(5000)),
            &". ".repeat(5000),
        ] {
            assert_eq!(refusal(template), None, "{template:.40}");
        }
    }
}
