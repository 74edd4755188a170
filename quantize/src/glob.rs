//! Tensor name patterns: `*` stands for any run of characters, `?` for one.

/// Whether `name` as a whole matches `pattern`. Takes at most `pattern.len() * name.len()` steps.
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut p, mut n) = (0, 0);
    // Where to resume when a later character fails: just after the last star, one byte further.
    let mut resume: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                resume = Some((p + 1, n));
                p += 1;
            }
            Some(&c) if c == b'?' || c == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match resume {
                Some((after_star, start)) => {
                    resume = Some((after_star, start + 1));
                    p = after_star;
                    n = start + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|&c| c == b'*')
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn stars_and_question_marks() {
        for (pattern, name, expected) in [
            ("lm_head.weight", "lm_head.weight", true),
            ("lm_head", "lm_head.weight", false),
            ("*down_proj*", "decoder.layers.3.down_proj.weight", true),
            ("*.down_proj", "decoder.layers.3.down_proj.weight", false),
            ("decoder.layers.?.*", "decoder.layers.3.q_proj.weight", true),
            ("decoder.layers.?.*", "decoder.layers.13.q_proj.weight", false),
            ("*a*b*c", "xxaxxbxbxc", true),
            ("*a*b*c", "xxaxxbxbx", false),
            ("*", "", true),
            ("?", "", false),
            ("", "", true),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn many_stars_stay_quadratic() {
        let pattern = "*a".repeat(200) + "b";
        assert!(!matches(&pattern, &"a".repeat(5000)));
    }
}
