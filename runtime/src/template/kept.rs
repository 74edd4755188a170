//! Bounds what a template keeps in variables: values that hold themselves, or each other many times
//! over, would send the engine, which prints, compares and frees them by recursion, over the end of
//! the stack or on an endless way.
//!
//! The engine has no hook for assignments, so `{% set a = b %}` is compiled as
//! `{% set a = __kept((b)) %}`, and the function looks the value over.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use minijinja::value::{Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind};

use super::depth::tags;

/// Deepest nesting of a value.
const MAX_DEPTH: usize = 64;
/// Most values looked over for a prompt, those within others each time.
const MAX_VALUES: u64 = 2_000_000;
/// For variables, which may be namespaces.
const VARIABLE: &str = "__kept";
/// For what a namespace holds.
const HELD: &str = "__held";

/// The template with every value looked over that it assigns; `None` if it has names of ours.
pub(super) fn guarded(source: &str) -> Option<String> {
    if source.contains(VARIABLE) || source.contains(HELD) {
        return None;
    }
    let mut out = String::with_capacity(source.len());
    let mut copied = 0;
    for tag in tags(source) {
        let mut parts = tag.parts.iter().map(|part| &source[part.clone()]);
        if !tag.is_block || parts.next() != Some("set") {
            continue;
        }
        let Some(equals) = tag.parts.iter().position(|part| &source[part.clone()] == "=") else {
            continue;
        };
        let target: Vec<_> = parts.take(equals - 1).collect();
        if target.contains(&"|") {
            continue; // the filter of a block
        }
        let (start, end) = (tag.parts[equals].end, tag.parts[tag.parts.len() - 1].end);
        let name = if target.contains(&".") { HELD } else { VARIABLE };
        for piece in [&source[copied..start], " ", name, "((", &source[start..end], "))"] {
            out.push_str(piece);
        }
        copied = end;
    }
    out.push_str(&source[copied..]);
    Some(out)
}

/// Adds the functions, with the allowance for one prompt.
pub(super) fn install(environment: &mut Environment<'_>) {
    let left = Arc::new(AtomicU64::new(MAX_VALUES));
    for (name, depth) in [(VARIABLE, 0), (HELD, 1)] {
        let left = Arc::clone(&left);
        environment.add_function(name, move |value: Value| {
            look(&value, depth, &left)
                .map(|()| value)
                .map_err(|reason| Error::new(ErrorKind::InvalidOperation, reason))
        });
    }
}

/// Looks over a value and all that it holds.
fn look(value: &Value, depth: usize, left: &AtomicU64) -> Result<(), &'static str> {
    let spent = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
    spent.map_err(|_| "its values are too large")?;
    let Some(object) = value.as_object() else { return Ok(()) };
    if depth > MAX_DEPTH {
        return Err("its values nest too deeply");
    }
    if depth > 0 && object.type_name().ends_with("::Namespace") {
        return Err("a namespace is held by another value");
    }
    match value.kind() {
        ValueKind::Seq | ValueKind::Iterable => {
            for held in value.try_iter().into_iter().flatten() {
                look(&held, depth + 1, left)?;
            }
        }
        ValueKind::Map => {
            for key in value.try_iter().into_iter().flatten() {
                look(&key, depth + 1, left)?;
                look(&value.get_item(&key).unwrap_or_default(), depth + 1, left)?;
            }
        }
        _ => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_text_is_read(parts in prop::collection::vec("\\{%|%\\}|\\{\\{|\\{#|set|=|['\"\\\\(|.é ]|a", 0..40)) {
            let source = parts.concat();
            let guarded = guarded(&source).unwrap();
            prop_assert!(guarded.len() >= source.len());
        }
    }
}
