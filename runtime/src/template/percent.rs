//! `%` as Python has it: of a text it formats, of numbers it is the remainder.
//!
//! The engine has no hook for operators, so `a % b` is compiled as `__percent((a),(b))`.

use minijinja::formatting::{FormatStyle, format};
use minijinja::value::{Value, ValueKind};
use minijinja::{Environment, Error, State};

use super::cost::{affordable, invalid};
use super::depth::{Parts, tags};

/// The name of the function.
const NAME: &str = "__percent";
/// Most of them in one tag: each is a level of recursion in the engine.
const MAX_IN_TAG: usize = 32;
/// Words that stand between operands, or before them.
const WORDS: [&str; 7] = ["and", "or", "not", "in", "if", "else", "recursive"];

/// The template with every `%` replaced, or why it is refused.
pub(super) fn replaced(source: &str) -> Result<String, &'static str> {
    if source.contains(NAME) {
        return Err("it has names that are kept for the engine");
    }
    let mut out = String::with_capacity(source.len());
    let mut copied = 0;
    for tag in tags(source) {
        let edits = edits(source, &tag);
        if edits.iter().filter(|edit| edit.kind == Kind::Sign).count() > MAX_IN_TAG {
            return Err("a tag has more than 32 signs `%`");
        }
        for edit in edits {
            out.push_str(&source[copied..edit.at]);
            copied = edit.at;
            match edit.kind {
                Kind::Close => out.push_str("))"),
                Kind::Open => out.extend([NAME, "(("]),
                Kind::Sign => {
                    out.push_str("),(");
                    copied += 1;
                }
            }
        }
    }
    out.push_str(&source[copied..]);
    Ok(out)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Close,
    Open,
    Sign,
}

/// A change of the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Edit {
    at: usize,
    kind: Kind,
}

/// What is known inside one pair of brackets.
#[derive(Clone, Copy, Default)]
struct Level {
    /// Where the product begins that is being read.
    product: Option<usize>,
    /// A right operand is being read.
    is_right: bool,
    /// The last part was an operand, or its end.
    is_operand: bool,
    /// A member or a filter is named next, or the kind of a test.
    is_name: bool,
}

/// The changes of one tag, in order.
fn edits(source: &str, tag: &Parts) -> Vec<Edit> {
    let mut edits = Vec::new();
    let mut levels = vec![Level::default()];
    // Where the part before ends.
    let mut end = 0;
    let parts = if tag.is_block { tag.parts.get(1..).unwrap_or_default() } else { &tag.parts[..] };
    for (number, part) in parts.iter().enumerate() {
        let text = &source[part.clone()];
        let doubled = |at: usize| {
            parts.get(at).is_some_and(|other| {
                &source[other.clone()] == text && other.start.abs_diff(part.start) == 1
            })
        };
        let power = text == "*" && (doubled(number + 1) || number > 0 && doubled(number - 1));
        let Some(level) = levels.last_mut() else { break };
        let is_word = WORDS.contains(&text) && !level.is_name;
        let is_unary = matches!(text, "-" | "+") && !level.is_operand;
        let is_factor = matches!(text, "%" | "/") || text == "*" && !power;
        let ends_product = is_word
            || matches!(text, "," | ":" | "=" | "<" | ">" | "!" | "~")
            || matches!(text, "-" | "+") && !is_unary;
        let closes = matches!(text, ")" | "]" | "}");
        if level.is_right && (is_factor || ends_product || closes) {
            edits.push(Edit { at: end, kind: Kind::Close });
            level.is_right = false;
        }
        let was_name = std::mem::replace(&mut level.is_name, matches!(text, "." | "|" | "is"));
        if ends_product {
            level.product = None;
            level.is_operand = false;
        } else if closes {
            if levels.len() > 1 {
                levels.pop();
            }
            if let Some(level) = levels.last_mut() {
                level.is_operand = true;
            }
        } else if is_factor {
            if text == "%"
                && let Some(at) = level.product
            {
                edits.push(Edit { at, kind: Kind::Open });
                edits.push(Edit { at: part.start, kind: Kind::Sign });
                level.is_right = true;
            }
            level.is_operand = false;
        } else {
            level.product.get_or_insert(part.start);
            level.is_operand = !(is_unary || power || text == "." || text == "|");
            // `is not` goes on to name a test.
            level.is_name |= was_name && text == "not";
            if matches!(text, "(" | "[" | "{") {
                levels.push(Level::default());
            }
        }
        end = part.end;
    }
    if levels.last().is_some_and(|level| level.is_right) {
        edits.push(Edit { at: end, kind: Kind::Close });
    }
    edits.sort();
    edits
}

/// Adds the function.
pub(super) fn install(environment: &mut Environment<'static>) {
    environment.add_function(NAME, percent);
}

fn percent(state: &State<'_, '_>, left: Value, right: Value) -> Result<Value, Error> {
    let Some(text) = left.as_str() else { return remainder(&left, &right) };
    let args: Vec<Value> = match right.is_tuple() {
        true => right.try_iter()?.collect(),
        false => vec![right.clone()],
    };
    affordable(state, text, '%', &args)?;
    let n_fields = fields(text);
    let takes_all = right.is_tuple() || right.kind() != ValueKind::Map;
    if takes_all && n_fields < args.len() {
        // A list is one argument that may stay unused, as in Python, where it could be a mapping.
        if right.is_tuple() || right.kind() != ValueKind::Seq {
            return Err(invalid("not all arguments converted during string formatting"));
        }
    }
    format(FormatStyle::Printf, text, &args).map(Value::from)
}

/// How many arguments a format takes.
fn fields(format: &str) -> usize {
    format.replace("%%", "").matches('%').count()
}

/// The remainder with the sign of the divisor.
fn remainder(left: &Value, right: &Value) -> Result<Value, Error> {
    let is_number = |value: &Value| matches!(value.kind(), ValueKind::Number | ValueKind::Bool);
    if !is_number(left) || !is_number(right) {
        return Err(invalid(format!("{} % {} is not possible", left.kind(), right.kind())));
    }
    let whole = |value: &Value| match value.kind() {
        ValueKind::Bool => Some(i128::from(value.is_true())),
        _ if value.is_integer() => i128::try_from(value.clone()).ok(),
        _ => None,
    };
    if let (Some(a), Some(b)) = (whole(left), whole(right)) {
        let rest = a.checked_rem(b).ok_or_else(|| invalid("the divisor is zero"))?;
        let rest = if rest != 0 && (rest < 0) != (b < 0) { rest + b } else { rest };
        return Ok(i64::try_from(rest).map_or_else(|_| Value::from(rest), Value::from));
    }
    let real = |value: &Value| match whole(value) {
        Some(n) => Ok(n as f64),
        None => f64::try_from(value.clone()),
    };
    let (a, b) = (real(left)?, real(right)?);
    if b == 0.0 {
        return Err(invalid("the divisor is zero"));
    }
    let rest = a % b;
    Ok(Value::from(if rest != 0.0 && (rest < 0.0) != (b < 0.0) { rest + b } else { rest }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn operands_are_found() {
        for (source, expected) in [
            ("{{ a % b }}", "{{ __percent((a ),( b)) }}"),
            ("{{ a % b % c }}", "{{ __percent((__percent((a ),( b)) ),( c)) }}"),
            ("{{ 1 + a * b % -c.d | e - f }}", "{{ 1 + __percent((a * b ),( -c.d | e)) - f }}"),
            ("{{ f(a % (b, c)) ~ d }}", "{{ f(__percent((a ),( (b, c)))) ~ d }}"),
            ("{% if not a % b == c %}", "{% if not __percent((a ),( b)) == c %}"),
            ("{{ '%s' }} % {# a % b #}", "{{ '%s' }} % {# a % b #}"),
            ("{{ a % 2 ** 3 is not none }}", "{{ __percent((a ),( 2 ** 3 is not none)) }}"),
        ] {
            assert_eq!(replaced(source).unwrap(), expected);
        }
        assert!(replaced(&format!("{{{{ 1{} }}}}", " % 1".repeat(33))).is_err());
        assert!(replaced("{{ __percent(1, 2) }}").is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_read(parts in prop::collection::vec("\\{%|%\\}|\\{\\{|\\{#|if|%|-|\\*|['\"\\\\(|.é )]|a", 0..40)) {
            let source = parts.concat();
            if let Ok(replaced) = replaced(&source) {
                prop_assert!(replaced.len() >= source.len());
            }
        }
    }
}
