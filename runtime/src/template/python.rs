//! What templates written for Python's Jinja expect beyond the engine's own: methods of strings and
//! maps, JSON as Python writes it, and the date.

use std::fmt::Write;
use std::io;

use chrono::Local;
use minijinja::value::{Kwargs, Value};
use minijinja::{Environment, Error, ErrorKind, State};
use minijinja_contrib::pycompat::unknown_method_callback;
use serde::Serialize;
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};

use super::{Limited, MAX_PROMPT};

/// Longest string that `str.format` may make.
const MAX_FORMATTED: usize = 64 << 10;
/// Longest form of a date.
const MAX_DATE_FORMAT: usize = 256;
/// Most spaces by which JSON is indented.
const MAX_INDENT: usize = 16;

pub(super) fn install(environment: &mut Environment<'static>) {
    environment.set_unknown_method_callback(method);
    environment.add_filter("tojson", to_json);
    environment.add_function("strftime_now", strftime_now);
}

/// The template without the meaning of `{% generation %}…{% endgeneration %}`, by which the
/// reference marks what a model is trained on. The tags stay tags, as white space depends on them.
pub(super) fn without_generation_tags(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some((before, tag)) = rest.split_once("{%") {
        let word = tag.trim_start_matches(['-', '+']).trim_start();
        let end = word.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(word.len());
        let instead = match &word[..end] {
            "generation" => Some("if true"),
            "endgeneration" => Some("endif"),
            _ => None,
        };
        out.push_str(before);
        out.push_str("{%");
        rest = tag;
        if let Some(instead) = instead {
            out.push_str(&tag[..tag.len() - word.len()]);
            out.push_str(instead);
            rest = &word[end..];
        }
    }
    out.push_str(rest);
    out
}

fn invalid(reason: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, reason.into())
}

fn method(
    state: &mut State<'_, '_>,
    value: &Value,
    method: &str,
    args: &[Value],
) -> Result<Value, Error> {
    if method == "format"
        && let Some(format) = value.as_str()
    {
        check_format(format, args)?;
    }
    unknown_method_callback(state, value, method, args)
}

/// The engine counts what `str.format` made when it is made already.
fn check_format(format: &str, args: &[Value]) -> Result<(), Error> {
    if format.contains(':') && format.contains('{') {
        return Err(invalid("format specifications are not supported"));
    }
    let longest = args.iter().map(|arg| arg.as_str().map_or(0, str::len)).max().unwrap_or(0);
    let made = format.matches('{').count().saturating_mul(longest).saturating_add(format.len());
    match made <= MAX_FORMATTED {
        true => Ok(()),
        false => Err(invalid("the formatted string is too long")),
    }
}

/// `datetime.now().strftime(format)`: the local time, in English.
fn strftime_now(format: &str) -> Result<String, Error> {
    let mut out = String::new();
    let is_short = format.len() <= MAX_DATE_FORMAT;
    if is_short && write!(out, "{}", Local::now().format(format)).is_ok() {
        return Ok(out);
    }
    Err(invalid(format!("{:?} is no form of a date", format.chars().take(32).collect::<String>())))
}

/// `json.dumps(value, ensure_ascii=False, indent=indent)`: unlike the engine's own filter it does
/// not escape for HTML, and puts a space behind commas and colons.
fn to_json(value: &Value, indent: Option<usize>, kwargs: Kwargs) -> Result<Value, Error> {
    let indent = match indent {
        Some(indent) => Some(indent),
        None => kwargs.get::<Option<usize>>("indent")?,
    };
    // Whatever else Python's `dumps` takes changes nothing here.
    let mut out = Limited::new(MAX_PROMPT);
    let written = match indent {
        Some(indent) if indent > MAX_INDENT => return Err(invalid("the indent is too large")),
        Some(indent) => {
            let spaces = " ".repeat(indent);
            let formatter = PrettyFormatter::with_indent(spaces.as_bytes());
            value.serialize(&mut Serializer::with_formatter(&mut out, formatter))
        }
        None => value.serialize(&mut Serializer::with_formatter(&mut out, Spaced)),
    };
    written.map_err(|error| invalid(error.to_string()))?;
    out.into_string().map(Value::from).map_err(invalid)
}

/// One line with a space behind commas and colons.
struct Spaced;

impl Formatter for Spaced {
    fn begin_array_value<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }
}
