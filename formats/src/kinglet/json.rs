//! Bounds on JSON before it is parsed: nesting and the number of values.

/// Deepest nesting of arrays and objects.
const MAX_DEPTH: usize = 32;

/// Most values (members of arrays and objects) of a document: parsed values are larger than their
/// text, so this is what bounds memory.
const MAX_VALUES: usize = 1 << 19;

/// Checks the bounds in one pass without recursion. Syntax is left to the parser.
pub(super) fn check_bounds(text: &[u8]) -> Result<(), String> {
    let (mut depth, mut values) = (0usize, 0usize);
    let (mut in_string, mut escaped) = (false, false);
    for &byte in text {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'[' | b'{' => {
                depth += 1;
                values += 1;
                if depth > MAX_DEPTH {
                    return Err(format!("arrays and objects are nested deeper than {MAX_DEPTH}"));
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            b',' => values += 1,
            _ => {}
        }
        if values > MAX_VALUES {
            return Err(format!("it has more than {MAX_VALUES} values"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_and_number_are_bounded() {
        let nested = |n: usize| ["[".repeat(n), "]".repeat(n)].concat();
        assert!(check_bounds(nested(MAX_DEPTH).as_bytes()).is_ok());
        assert!(check_bounds(nested(MAX_DEPTH + 1).as_bytes()).unwrap_err().contains("nested"));
        assert!(check_bounds(nested(1 << 20).as_bytes()).is_err());
        let flat = |n: usize| format!("[{}0]", "0,".repeat(n));
        assert!(check_bounds(flat(MAX_VALUES - 1).as_bytes()).is_ok());
        assert!(check_bounds(flat(MAX_VALUES).as_bytes()).unwrap_err().contains("values"));
    }

    #[test]
    fn strings_do_not_count() {
        let text = format!(r#"["{}\"\\", "{}"]"#, "[{,".repeat(1 << 20), "\\\"[".repeat(100));
        assert!(check_bounds(text.as_bytes()).is_ok());
    }
}
