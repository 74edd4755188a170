//! Everything that is not a matrix product, written once for all instruction sets.
//!
//! The functions here are plain Rust, inlined into each set under its target features, and vectorised there by the compiler. Element by element they are exactly
//! rounded operations in a fixed order, and their sums run over [`LANES`] partial sums joined by a
//! fixed tree, so every set with a fused multiply-add gives the same bits.

mod activation;
mod exp;
mod norm;
mod softmax;
mod vector;

pub(super) use activation::activate;
pub(super) use norm::{layer_norm, rms_norm};
pub(super) use softmax::softmax_exp;
pub(super) use vector::{add, mul, rotate_half, scale, scale_add};

/// Partial sums of a reduction: two AVX-512 registers, so that two additions are in flight.
const LANES: usize = 32;

/// `a * b + c`, rounded once; WebAssembly has no such instruction and rounds twice.
#[inline(always)]
pub(super) fn fma(a: f32, b: f32, c: f32) -> f32 {
    if cfg!(target_family = "wasm") { a * b + c } else { a.mul_add(b, c) }
}

/// Sum of the partial sums: halves are added until one lane is left.
#[inline(always)]
fn sum_lanes(mut lanes: [f32; LANES]) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            lanes[i] += lanes[i + width];
        }
        width /= 2;
    }
    lanes[0]
}

/// `sum of term(x[i])` by [`LANES`] partial sums: element `i` goes to lane `i % LANES`, in order.
/// `accumulate(sum, x)` adds one element's term.
#[inline(always)]
fn reduce(x: &[f32], accumulate: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let mut blocks = x.chunks_exact(LANES);
    for block in &mut blocks {
        for (lane, &value) in lanes.iter_mut().zip(block) {
            *lane = accumulate(*lane, value);
        }
    }
    for (lane, &value) in lanes.iter_mut().zip(blocks.remainder()) {
        *lane = accumulate(*lane, value);
    }
    sum_lanes(lanes)
}
