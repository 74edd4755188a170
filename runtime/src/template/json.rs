//! JSON as the reference's `tojson` writes it: Python's `json.dumps`, with the spaces and numbers of
//! Python and without escapes for HTML.

use std::io::{self, Write};

use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{Error, State};
use serde::Serialize;
use serde_json::Value as Json;
use serde_json::ser::{CharEscape, Formatter, Serializer};

use super::cost::invalid;
use super::{Limited, MAX_PROMPT};

/// Most spaces by which a level is indented.
const MAX_INDENT: usize = 16;
/// Longest text between the members of a list or a map.
const MAX_SEPARATOR: usize = 16;

/// `tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False)`. A number
/// that stands first is the indent, as Jinja itself has it, and truth values the reference's order.
pub(super) fn to_json(
    _state: &State<'_, '_>,
    value: &Value,
    first: Option<Value>,
    second: Option<Value>,
    kwargs: Kwargs,
) -> Result<Value, Error> {
    let is_indent = |value: &Value| matches!(value.kind(), ValueKind::Number | ValueKind::String);
    let (ascii, indent) = match first {
        Some(first) if second.is_none() && is_indent(&first) => (None, Some(first)),
        first => (first, second),
    };
    let keyword = |name| kwargs.get::<Option<Value>>(name);
    let ascii = ascii.or(keyword("ensure_ascii")?).is_some_and(|value| value.is_true());
    let indent = indent.or(keyword("indent")?).filter(|value| !value.is_none());
    let separators = keyword("separators")?.filter(|value| !value.is_none());
    let sorted = keyword("sort_keys")?.is_some_and(|value| value.is_true());
    kwargs.assert_all_used()?;

    let indent = indent.as_ref().map(indentation).transpose()?;
    let (between, behind_key) = match &separators {
        Some(separators) => pair(separators)?,
        None if indent.is_some() => (",".to_owned(), ": ".to_owned()),
        None => (", ".to_owned(), ": ".to_owned()),
    };
    let style = Style { ascii, indent, between, behind_key, depth: 0, is_empty: true };
    let mut out = Limited::new(MAX_PROMPT);
    let mut writer = Serializer::with_formatter(&mut out, style);
    let written = match sorted {
        true => {
            serde_json::to_value(value).map(in_order).and_then(|json| json.serialize(&mut writer))
        }
        false => value.serialize(&mut writer),
    };
    written.map_err(|error| invalid(error.to_string()))?;
    out.into_string().map(Value::from).map_err(invalid)
}

/// What a level is indented by: a number of spaces, or a text.
fn indentation(value: &Value) -> Result<String, Error> {
    let indent = match value.as_str() {
        Some(text) => text.to_owned(),
        None => match i64::try_from(value.clone())? {
            n if n > MAX_INDENT as i64 => return Err(invalid("the indent is too large")),
            n => " ".repeat(usize::try_from(n).unwrap_or(0)),
        },
    };
    if indent.len() > MAX_INDENT { Err(invalid("the indent is too large")) } else { Ok(indent) }
}

fn pair(separators: &Value) -> Result<(String, String), Error> {
    let parts: Vec<Value> = separators.try_iter()?.take(3).collect();
    match parts.as_slice() {
        [a, b] => match (a.as_str(), b.as_str()) {
            (Some(a), Some(b)) if a.len().max(b.len()) <= MAX_SEPARATOR => {
                Ok((a.to_owned(), b.to_owned()))
            }
            _ => Err(invalid("separators must be short texts")),
        },
        _ => Err(invalid("separators must be two texts")),
    }
}

/// With the keys of all maps in order. Nesting is bounded by what made the value.
fn in_order(json: Json) -> Json {
    match json {
        Json::Array(list) => list.into_iter().map(in_order).collect(),
        Json::Object(map) => {
            let mut entries: Vec<(String, Json)> =
                map.into_iter().map(|(key, value)| (key, in_order(value))).collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            Json::Object(entries.into_iter().collect())
        }
        other => other,
    }
}

/// How JSON is laid out.
struct Style {
    /// Everything beyond ASCII is escaped.
    ascii: bool,
    indent: Option<String>,
    between: String,
    behind_key: String,
    depth: usize,
    /// Nothing has been written into the innermost list or map.
    is_empty: bool,
}

impl Style {
    fn line<W: ?Sized + Write>(&self, writer: &mut W) -> io::Result<()> {
        let Some(indent) = &self.indent else { return Ok(()) };
        writer.write_all(b"\n")?;
        (0..self.depth).try_for_each(|_| writer.write_all(indent.as_bytes()))
    }

    fn open<W: ?Sized + Write>(&mut self, writer: &mut W, bracket: u8) -> io::Result<()> {
        self.depth += 1;
        self.is_empty = true;
        writer.write_all(&[bracket])
    }

    fn close<W: ?Sized + Write>(&mut self, writer: &mut W, bracket: u8) -> io::Result<()> {
        self.depth -= 1;
        if !std::mem::replace(&mut self.is_empty, false) {
            self.line(writer)?;
        }
        writer.write_all(&[bracket])
    }

    fn member<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.is_empty = false;
        if !first {
            writer.write_all(self.between.as_bytes())?;
        }
        self.line(writer)
    }
}

impl Formatter for Style {
    fn write_f64<W: ?Sized + Write>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        writer.write_all(python_float(value).as_bytes())
    }

    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        if !self.ascii {
            return writer.write_all(fragment.as_bytes());
        }
        for c in fragment.chars() {
            match c {
                ' '..='~' => writer.write_all(&[c as u8])?,
                c => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        write!(writer, "\\u{unit:04x}")?;
                    }
                }
            }
        }
        Ok(())
    }

    fn write_char_escape<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        escape: CharEscape,
    ) -> io::Result<()> {
        let letter = match escape {
            CharEscape::AsciiControl(byte) => return write!(writer, "\\u{byte:04x}"),
            CharEscape::Quote => b'"',
            CharEscape::ReverseSolidus => b'\\',
            CharEscape::Solidus => b'/',
            CharEscape::Backspace => b'b',
            CharEscape::FormFeed => b'f',
            CharEscape::LineFeed => b'n',
            CharEscape::CarriageReturn => b'r',
            CharEscape::Tab => b't',
        };
        writer.write_all(&[b'\\', letter])
    }

    fn begin_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.open(writer, b'[')
    }

    fn end_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.close(writer, b']')
    }

    fn begin_array_value<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        self.member(writer, first)
    }

    fn end_array_value<W: ?Sized + Write>(&mut self, _writer: &mut W) -> io::Result<()> {
        self.is_empty = false;
        Ok(())
    }

    fn begin_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.open(writer, b'{')
    }

    fn end_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.close(writer, b'}')
    }

    fn begin_object_key<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        self.member(writer, first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(self.behind_key.as_bytes())
    }

    fn end_object_value<W: ?Sized + Write>(&mut self, _writer: &mut W) -> io::Result<()> {
        self.is_empty = false;
        Ok(())
    }
}

/// The shortest digits that say the number, with Python's choice of an exponent.
fn python_float(x: f64) -> String {
    let digits = format!("{x:e}");
    let Some((mantissa, exponent)) = digits.split_once('e') else { return digits };
    match exponent.parse::<i32>() {
        Ok(exponent) if !(-4..16).contains(&exponent) => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{mantissa}e{sign}{:02}", exponent.abs())
        }
        _ => format!("{x:?}"),
    }
}
