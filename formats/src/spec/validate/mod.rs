//! Bounds on a [`ModelSpec`]: after this check, sizes computed from it cannot overflow and nothing
//! divides by zero.

mod attention;
mod head;
mod network;
#[cfg(test)]
mod tests;

use thiserror::Error;

use super::*;

/// Largest width of anything: vocabulary, MLP, heads together.
const MAX_SIZE: usize = 1 << 24;

/// Most layers of a stack.
const MAX_LAYERS: usize = 1 << 12;

/// Longest sequence of which the positions are computed waves.
const MAX_WAVES: usize = 1 << 14;

/// Longest sequence.
const MAX_POSITIONS: usize = 1 << 28;

/// A model description that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the model's description is impossible: {at}: {problem}")]
pub struct SpecError {
    /// Which part of the description, for example `decoder.layers.3.attn`.
    pub at: String,
    /// What is wrong with it, with the numbers.
    pub problem: String,
}

/// Where a check happens: built only when it fails.
type Place<'a> = &'a dyn Fn() -> String;

fn fail(at: Place<'_>, problem: impl Into<String>) -> Result<(), SpecError> {
    Err(SpecError { at: at(), problem: problem.into() })
}

/// Checks that `value` is in 1 to `most`.
fn size(at: Place<'_>, what: &str, value: usize, most: usize) -> Result<(), SpecError> {
    if (1..=most).contains(&value) {
        return Ok(());
    }
    fail(at, format!("{what} is {value}, possible are 1 to {most}"))
}

/// Checks that a matrix of `f32` can be addressed.
fn matrix(at: Place<'_>, what: &str, rows: usize, cols: usize) -> Result<(), SpecError> {
    match rows.checked_mul(cols).and_then(|n| n.checked_mul(4)) {
        Some(n) if isize::try_from(n).is_ok() => Ok(()),
        _ => fail(at, format!("{what} [{rows}, {cols}] cannot be addressed on this machine")),
    }
}

/// Checks that `value` is a finite number above zero.
fn positive(at: Place<'_>, what: &str, value: f32) -> Result<(), SpecError> {
    if value.is_finite() && value > 0.0 {
        return Ok(());
    }
    fail(at, format!("{what} is {value}, a number above zero is needed"))
}

fn norm(at: Place<'_>, norm: Option<&Norm>) -> Result<(), SpecError> {
    match norm {
        Some(norm) if !(norm.eps.is_finite() && norm.eps >= 0.0) => {
            fail(at, format!("eps is {}, a number from zero on is needed", norm.eps))
        }
        _ => Ok(()),
    }
}
