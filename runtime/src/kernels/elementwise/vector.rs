//! Vector arithmetic: sums, products, rotations.

use super::{fma, reduce};

/// `x *= y`
#[inline(always)]
pub(in crate::kernels) fn mul(x: &mut [f32], y: &[f32]) {
    assert!(x.len() == y.len(), "mul: lengths differ");
    for (x, &y) in x.iter_mut().zip(y) {
        *x *= y;
    }
}

/// `x += y`
#[inline(always)]
pub(in crate::kernels) fn add(x: &mut [f32], y: &[f32]) {
    assert!(x.len() == y.len(), "add: lengths differ");
    for (x, &y) in x.iter_mut().zip(y) {
        *x += y;
    }
}

/// `x = x * factor + y`
#[inline(always)]
pub(in crate::kernels) fn scale_add(x: &mut [f32], factor: f32, y: &[f32]) {
    assert!(x.len() == y.len(), "scale_add: lengths differ");
    for (x, &y) in x.iter_mut().zip(y) {
        *x = fma(*x, factor, y);
    }
}

/// `x *= factor`
#[inline(always)]
pub(in crate::kernels) fn scale(x: &mut [f32], factor: f32) {
    for x in x {
        *x *= factor;
    }
}

/// The sum of each group of `x`.
#[inline(always)]
pub(in crate::kernels) fn group_sums(x: &[f32], group: usize, sums: &mut [f32]) {
    assert!(x.len().div_ceil(group) <= sums.len(), "group_sums: too few sums");
    for (x, sum) in x.chunks(group).zip(sums) {
        *sum = reduce(x, |sum, x| sum + x);
    }
}

/// Rotates the pairs `(i, i + dims / 2)` by the angles whose cosines and sines are given.
#[inline(always)]
pub(in crate::kernels) fn rotate_half(x: &mut [f32], cos: &[f32], sin: &[f32]) {
    let half = x.len() / 2;
    assert!(x.len() == 2 * half, "rotate_half: odd length");
    assert!(cos.len() == half && sin.len() == half, "rotate_half: lengths differ");
    let (first, second) = x.split_at_mut(half);
    for (((a, b), &cos), &sin) in first.iter_mut().zip(second).zip(cos).zip(sin) {
        let (x, y) = (*a, *b);
        *a = fma(x, cos, -(y * sin));
        *b = fma(y, cos, x * sin);
    }
}
