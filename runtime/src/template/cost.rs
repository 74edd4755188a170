//! What an operation is refused with, and what a formatted string costs before it is made.

use minijinja::value::Value;
use minijinja::{Error, ErrorKind, State};

use super::MAX_PROMPT;

/// Widest field of a formatted string.
const MAX_WIDTH: usize = 1000;

pub(super) fn invalid(reason: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, reason.into())
}

/// Pays for what a format of this many fields, each begun by `mark`, may make: the engine itself
/// counts it when it is made already.
pub(super) fn affordable(
    state: &State<'_, '_>,
    format: &str,
    mark: char,
    args: &[Value],
) -> Result<(), Error> {
    let mut widths = 0usize;
    // Doubled marks are text.
    for field in format.replace(&format!("{mark}{mark}"), "").split(mark).skip(1) {
        let spec = match mark {
            '%' => {
                let spec = field.split_once(')').filter(|_| field.starts_with('('));
                let spec = spec.map_or(field, |(_, spec)| spec);
                let end = spec.find(|c: char| !(c.is_ascii_digit() || "#- +.".contains(c)));
                &spec[..end.unwrap_or(spec.len())]
            }
            _ => field.split('}').next().and_then(|f| f.split_once(':')).map_or("", |(_, f)| f),
        };
        for digits in spec.split(|c: char| !c.is_ascii_digit()).filter(|d| !d.is_empty()) {
            match digits.parse::<usize>() {
                Ok(width) if width <= MAX_WIDTH => widths += width,
                _ => return Err(invalid("a field of the format is too wide")),
            }
        }
    }
    let longest = args
        .iter()
        .map(|arg| arg.as_str().map_or_else(|| arg.to_string().len(), str::len))
        .max()
        .unwrap_or(0);
    let fields = format.matches(mark).count();
    let made = fields.saturating_mul(longest).saturating_add(widths).saturating_add(format.len());
    if made > MAX_PROMPT {
        return Err(invalid("the formatted string is too long"));
    }
    state.consume_fuel(made as u64 / 64)
}
