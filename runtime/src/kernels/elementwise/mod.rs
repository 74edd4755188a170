//! Everything that is not a matrix product, written once for all instruction sets.
//!
//! The functions here are plain Rust, inlined into each set under its target features by
//! [`elementwise_for`], and vectorised there by the compiler. Element by element they are exactly
//! rounded operations in a fixed order, and their sums run over [`LANES`] partial sums joined by a
//! fixed tree, so every set with a fused multiply-add gives the same bits.

mod activation;
mod exp;
mod norm;
mod recurrent;
mod softmax;
mod vector;

pub(super) use activation::activate;
pub(super) use norm::{layer_norm, rms_norm};
pub(super) use recurrent::recur;
pub(super) use softmax::softmax_exp;
pub(super) use vector::{add, group_sums, mul, rotate_half, scale, scale_add};

/// Partial sums of a reduction: two AVX-512 registers, so that two additions are in flight.
const LANES: usize = 32;

/// Whether [`fma`] rounds once; WebAssembly has no such instruction and rounds twice.
pub(super) const FUSED: bool = !cfg!(target_family = "wasm");

/// `a * b + c`, see [`FUSED`].
#[inline(always)]
pub(super) fn fma(a: f32, b: f32, c: f32) -> f32 {
    if FUSED { a.mul_add(b, c) } else { a * b + c }
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

/// Instantiates the elementwise functions of a kernel set under its target features.
///
/// The wrappers are safe to call only where the features exist; they are private to a set and
/// leave it through its table, which is handed out after detection alone.
#[cfg(target_arch = "x86_64")]
macro_rules! elementwise_for {
    ($features:literal) => {
        $crate::kernels::elementwise::elementwise_for! { $features,
            rms_norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]);
            layer_norm(x: &[f32], weight: &[f32], bias: &[f32], eps: f32, out: &mut [f32]);
            softmax_exp(scores: &mut [f32]) -> (f32, f32);
            activate(kind: kinglet_formats::spec::Activation, x: &mut [f32]);
            mul(x: &mut [f32], y: &[f32]);
            add(x: &mut [f32], y: &[f32]);
            scale_add(x: &mut [f32], factor: f32, y: &[f32]);
            scale(x: &mut [f32], factor: f32);
            rotate_half(x: &mut [f32], cos: &[f32], sin: &[f32]);
            group_sums(x: &[f32], group: usize, sums: &mut [f32]);
            recur(forget: &[f32], cell: &mut [f32], state: &mut [f32]);
        }
    };
    ($features:literal, $($name:ident($($arg:ident: $type:ty),*) $(-> $result:ty)?;)*) => {
        $(pub(super) fn $name($($arg: $type),*) $(-> $result)? {
            #[target_feature(enable = $features)]
            fn instance($($arg: $type),*) $(-> $result)? {
                $crate::kernels::elementwise::$name($($arg),*)
            }
            // SAFETY: reached through the set's table only, which exists where the features do.
            unsafe { instance($($arg),*) }
        })*
    };
}

#[cfg(target_arch = "x86_64")]
pub(super) use elementwise_for;
