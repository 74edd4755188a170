//! Text that a template wants left alone, `{% raw %}…{% endraw %}`: written as text that has nothing
//! to be left alone, so that all that looks at tags sees what the engine sees.

use super::depth::tags;

/// The template without such blocks. The tags stay tags, as white space depends on them.
pub(super) fn unfolded(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some((before, inside, behind)) = first(rest) {
        out.push_str(&before);
        // Behind a tag that is no `raw` the end of the line would go.
        if !before.ends_with("-%}") {
            out.push_str("{{''}}");
        }
        out.push_str(&inside.replace('{', "{{'{'}}"));
        rest = behind;
        let (marks, word) = rest.split_at(rest.find("endraw").unwrap_or(0));
        out.extend([marks, "endif"]);
        rest = word.strip_prefix("endraw").unwrap_or(word);
    }
    out.push_str(rest);
    out
}

/// What stands before the text of the first block (its tag with `if true` in place of `raw`), the
/// text, and the rest from the closing tag on.
fn first(source: &str) -> Option<(String, &str, &str)> {
    let raw = tags(source).find_map(|tag| match tag.parts.as_slice() {
        [word] if tag.is_block && &source[word.clone()] == "raw" => Some(word.clone()),
        _ => None,
    })?;
    let start = raw.end + source[raw.end..].find("%}")? + 2;
    let end = source[start..].match_indices("{%").map(|(at, _)| start + at).find(|at| {
        let word = source[at + 2..].trim_start_matches(['-', '+']).trim_start();
        let behind = word.strip_prefix("endraw").map(str::trim_start);
        behind.is_some_and(|behind| ["%}", "-%}", "+%}"].iter().any(|end| behind.starts_with(end)))
    })?;
    let before = format!("{}if true{}", &source[..raw.start], &source[raw.end..start]);
    Some((before, &source[start..end], &source[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_text_is_read(parts in prop::collection::vec("\\{%|%\\}|\\{\\{|\\{#|-|raw|endraw|['\" é]|a", 0..40)) {
            let source = parts.concat();
            prop_assert!(unfolded(&source).len() >= source.len());
        }
    }
}
