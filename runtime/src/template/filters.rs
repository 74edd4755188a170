//! Tests and filters as Jinja has them, where the engine's own differ or are missing.

use minijinja::value::{Kwargs, Rest, Value, ValueKind, from_args};
use minijinja::{Environment, Error};

use super::cost::invalid;

/// Widest text that is centred.
const MAX_WIDTH: usize = 4096;

pub(super) fn install(environment: &mut Environment<'static>) {
    environment.add_test("iterable", is_iterable);
    environment.add_test("sequence", is_sequence);
    environment.add_test("callable", is_callable);
    environment.add_test("number", |value: &Value| {
        matches!(value.kind(), ValueKind::Number | ValueKind::Bool)
    });
    environment.add_filter("int", int);
    environment.add_filter("float", float);
    environment.add_filter("truncate", truncate);
    environment.add_filter("urlencode", urlencode);
    environment.add_filter("center", center);
    environment.add_filter("wordcount", |text: &str| {
        text.split(|c: char| !(c.is_alphanumeric() || c == '_'))
            .filter(|word| !word.is_empty())
            .count()
    });
}

fn is_iterable(value: &Value) -> bool {
    !value.is_none() && value.try_iter().is_ok()
}

/// What has a length and members: texts and maps too.
fn is_sequence(value: &Value) -> bool {
    value.is_undefined()
        || value.len().is_some()
            && matches!(
                value.kind(),
                ValueKind::Seq | ValueKind::Map | ValueKind::String | ValueKind::Iterable
            )
}

/// Functions, macros, and what is not defined, which fails when it is called.
fn is_callable(value: &Value) -> bool {
    let is_function = |name: &str| name.contains("::Macro") || name.contains("::BoxedFunction");
    value.is_undefined() || value.as_object().is_some_and(|object| is_function(object.type_name()))
}

fn int(value: &Value, default: Option<Value>, kwargs: Kwargs) -> Result<Value, Error> {
    let keyword: Option<Value> = kwargs.get("default")?;
    let base = kwargs.get::<Option<u32>>("base")?.unwrap_or(10);
    kwargs.assert_all_used()?;
    if value.is_undefined() {
        return Err(invalid("what is not defined has no number"));
    }
    let default = default.or(keyword).unwrap_or_else(|| Value::from(0));
    if value.is_integer() {
        return Ok(value.clone());
    }
    let whole = value.as_str().filter(|_| (2..=36).contains(&base)).and_then(|text| {
        let text = text.trim().to_ascii_lowercase().replace('_', "");
        let (sign, digits) = match text.strip_prefix('-') {
            Some(digits) => ("-", digits),
            None => ("", text.strip_prefix('+').unwrap_or(&text)),
        };
        let mark = match base {
            16 => "0x",
            8 => "0o",
            2 => "0b",
            _ => "",
        };
        let digits = digits.strip_prefix(mark).unwrap_or(digits);
        i64::from_str_radix(&format!("{sign}{digits}"), base).ok()
    });
    Ok(match whole.or_else(|| real(value).filter(|x| x.abs() < 9e18).map(|x| x as i64)) {
        Some(n) => Value::from(n),
        None => default,
    })
}

fn float(value: &Value, default: Option<Value>, kwargs: Kwargs) -> Result<Value, Error> {
    let keyword: Option<Value> = kwargs.get("default")?;
    kwargs.assert_all_used()?;
    if value.is_undefined() {
        return Err(invalid("what is not defined has no number"));
    }
    let default = default.or(keyword).unwrap_or_else(|| Value::from(0.0));
    Ok(real(value).map_or(default, Value::from))
}

fn real(value: &Value) -> Option<f64> {
    match value.kind() {
        ValueKind::Bool => Some(f64::from(u8::from(value.is_true()))),
        ValueKind::Number => f64::try_from(value.clone()).ok(),
        ValueKind::String => value.as_str()?.trim().replace('_', "").parse().ok(),
        _ => None,
    }
}

type Truncation<'a> = (Option<usize>, Option<bool>, Option<&'a str>, Option<usize>, Kwargs);

fn truncate(text: &str, args: Rest<Value>) -> Result<String, Error> {
    let (length, killwords, end, leeway, kwargs): Truncation<'_> = from_args(&args)?;
    let end_given: Option<String> = kwargs.get("end")?;
    let length = length.or(kwargs.get("length")?).unwrap_or(255);
    let killwords = killwords.or(kwargs.get("killwords")?).unwrap_or(false);
    let leeway = leeway.or(kwargs.get("leeway")?).unwrap_or(5);
    kwargs.assert_all_used()?;
    let end = end.or(end_given.as_deref()).unwrap_or("...");
    let n_end = end.chars().count();
    if length < n_end {
        return Err(invalid(format!("expected length >= {n_end}, got {length}")));
    }
    if text.chars().count() <= length.saturating_add(leeway) {
        return Ok(text.to_owned());
    }
    let kept: String = text.chars().take(length - n_end).collect();
    let kept = match kept.rsplit_once(' ') {
        Some((words, _)) if !killwords => words,
        _ => &kept,
    };
    Ok(format!("{kept}{end}"))
}

fn urlencode(value: &Value) -> Result<String, Error> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    if let Some(text) = value.as_str() {
        return Ok(quoted(text, "/"));
    }
    let query = |key: &Value, value: &Value| {
        format!("{}={}", quoted(&text(key), ""), quoted(&text(value), "")).replace("%20", "+")
    };
    let mut pairs = Vec::new();
    match value.kind() {
        ValueKind::Map => {
            for key in value.try_iter()? {
                pairs.push(query(&key, &value.get_item(&key)?));
            }
        }
        ValueKind::Seq | ValueKind::Iterable => {
            for pair in value.try_iter()? {
                let (key, value) = (pair.get_item_by_index(0)?, pair.get_item_by_index(1)?);
                pairs.push(query(&key, &value));
            }
        }
        _ => return Ok(quoted(&text(value), "/")),
    }
    Ok(pairs.join("&"))
}

fn quoted(text: &str, safe: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        let c = char::from(byte);
        if c.is_ascii_alphanumeric() || "_.-~".contains(c) || c.is_ascii() && safe.contains(c) {
            out.push(c);
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

fn center(text: &str, width: Option<usize>) -> Result<String, Error> {
    let width = width.unwrap_or(80);
    if width > MAX_WIDTH {
        return Err(invalid("the width is too large"));
    }
    let n = width.saturating_sub(text.chars().count());
    let left = n / 2 + (n & width & 1);
    Ok(format!("{}{text}{}", " ".repeat(left), " ".repeat(n - left)))
}
