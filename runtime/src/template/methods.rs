//! Methods of Python's strings that the engine does not have.

use minijinja::value::{Tuple, Value, from_args};
use minijinja::{Error, ErrorKind, State};
use minijinja_contrib::pycompat::unknown_method_callback;

use super::MAX_PROMPT;
use super::cost::{affordable, invalid};

/// Calls a method that a value does not have by itself.
pub(super) fn call(
    state: &mut State<'_, '_>,
    value: &Value,
    method: &str,
    args: &[Value],
) -> Result<Value, Error> {
    let Some(text) = value.as_str() else {
        return unknown_method_callback(state, value, method, args);
    };
    if method == "format" {
        affordable(state, text, '{', args)?;
    }
    match of_text(state, text, method, args) {
        Err(error) if error.kind() == ErrorKind::UnknownMethod => {
            unknown_method_callback(state, value, method, args)
        }
        result => result,
    }
}

fn of_text(
    state: &State<'_, '_>,
    text: &str,
    method: &str,
    args: &[Value],
) -> Result<Value, Error> {
    let one = || from_args::<(&str,)>(args).map(|(what,)| what);
    let none = || from_args::<()>(args);
    Ok(match method {
        "rsplit" => {
            let (separator, most): (Option<&str>, Option<i64>) = from_args(args)?;
            rsplit(text, separator, most.and_then(|most| usize::try_from(most).ok()))?
        }
        "partition" => {
            let mark = separator(one()?)?;
            let (before, found, behind) = match text.split_once(mark) {
                Some((before, behind)) => (before, mark, behind),
                None => (text, "", ""),
            };
            triple(before, found, behind)
        }
        "rpartition" => {
            let mark = separator(one()?)?;
            let (before, found, behind) = match text.rsplit_once(mark) {
                Some((before, behind)) => (before, mark, behind),
                None => ("", "", text),
            };
            triple(before, found, behind)
        }
        "removeprefix" => Value::from(text.strip_prefix(one()?).unwrap_or(text)),
        "removesuffix" => Value::from(text.strip_suffix(one()?).unwrap_or(text)),
        "index" | "rindex" => {
            let what = one()?;
            let at = if method == "index" { text.find(what) } else { text.rfind(what) };
            let at = at.ok_or_else(|| invalid("substring not found"))?;
            Value::from(text[..at].chars().count())
        }
        "zfill" => {
            let (width,): (usize,) = from_args(args)?;
            let n = padding(state, text, width)?;
            let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
            let sign = &text[..text.len() - digits.len()];
            Value::from(format!("{sign}{}{digits}", "0".repeat(n)))
        }
        "ljust" | "rjust" | "center" => {
            let (width, fill): (usize, Option<char>) = from_args(args)?;
            let n = padding(state, text, width)?;
            let left = match method {
                "ljust" => 0,
                "rjust" => n,
                // Python puts the odd one to the left of texts for an odd width.
                _ => n / 2 + (n & width & 1),
            };
            let fill = |n| std::iter::repeat_n(fill.unwrap_or(' '), n);
            Value::from(fill(left).chain(text.chars()).chain(fill(n - left)).collect::<String>())
        }
        "isdecimal" => {
            none()?;
            Value::from(!text.is_empty() && text.chars().all(|c| c.is_ascii_digit()))
        }
        "swapcase" => {
            none()?;
            let swapped = |c: char| match c.is_uppercase() {
                true => c.to_lowercase().collect::<String>(),
                false => c.to_uppercase().collect(),
            };
            Value::from(text.chars().map(swapped).collect::<String>())
        }
        "casefold" => {
            none()?;
            Value::from(text.to_lowercase().replace('ß', "ss"))
        }
        _ => return Err(Error::from(ErrorKind::UnknownMethod)),
    })
}

fn separator(mark: &str) -> Result<&str, Error> {
    if mark.is_empty() { Err(invalid("empty separator")) } else { Ok(mark) }
}

fn triple(before: &str, found: &str, behind: &str) -> Value {
    Value::from_object(Tuple::new(vec![before.into(), found.into(), behind.into()]))
}

fn rsplit(text: &str, mark: Option<&str>, most: Option<usize>) -> Result<Value, Error> {
    let most = most.unwrap_or(usize::MAX);
    let mut parts: Vec<&str> = Vec::new();
    match mark {
        Some(mark) => parts.extend(text.rsplitn(most.saturating_add(1), separator(mark)?)),
        None => {
            let mut rest = text.trim_end();
            while !rest.is_empty() {
                let start = match rest.rfind(char::is_whitespace) {
                    Some(at) if parts.len() < most => {
                        at + rest[at..].chars().next().map_or(1, char::len_utf8)
                    }
                    _ => 0,
                };
                parts.push(if start == 0 { rest.trim_start() } else { &rest[start..] });
                rest = rest[..start].trim_end();
            }
        }
    }
    parts.reverse();
    Ok(parts.into_iter().map(Value::from).collect())
}

/// How many characters are missing from a width, paid for.
fn padding(state: &State<'_, '_>, text: &str, width: usize) -> Result<usize, Error> {
    let missing = width.saturating_sub(text.chars().count());
    if missing > MAX_PROMPT {
        return Err(invalid("the width is too large"));
    }
    state.consume_fuel(missing as u64 / 16)?;
    Ok(missing)
}
