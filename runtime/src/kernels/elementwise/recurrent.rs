//! One step of a recurrent unit.

use super::exp::times_sigmoid;
use super::fma;

/// `state = f * state + (1 - f) * cell` with `f = sigmoid(forget)`; `cell` becomes `max(state, 0)`.
/// NaN stays NaN.
#[inline(always)]
pub(in crate::kernels) fn recur(forget: &[f32], cell: &mut [f32], state: &mut [f32]) {
    assert!(cell.len() == forget.len() && state.len() == forget.len(), "recur: lengths differ");
    for ((&forget, cell), state) in forget.iter().zip(cell).zip(state) {
        let f = times_sigmoid(1.0, forget);
        *state = fma(f, *state - *cell, *cell);
        *cell = if *state < 0.0 { 0.0 } else { *state };
    }
}
