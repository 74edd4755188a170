//! The exponentials of a row of attention scores.

use super::exp::exp;
use super::{LANES, sum_lanes};

/// Replaces each score by `exp(score - max)` and gives `(max, sum)`.
///
/// `-inf` scores become 0, and a row of nothing else gives `(-inf, 0)` and zeros. NaN scores stay
/// NaN and make the sum NaN.
#[inline(always)]
pub(in crate::kernels) fn softmax_exp(scores: &mut [f32]) -> (f32, f32) {
    let max = maximum(scores);
    if max == f32::NEG_INFINITY {
        let mut sum = 0.0;
        for score in scores {
            *score = if *score == f32::NEG_INFINITY { 0.0 } else { f32::NAN };
            sum += *score;
        }
        return (max, sum);
    }
    let mut lanes = [0.0f32; LANES];
    let mut blocks = scores.chunks_exact_mut(LANES);
    for block in &mut blocks {
        exp_block(block, max, &mut lanes);
    }
    let rest = blocks.into_remainder();
    if !rest.is_empty() {
        // Filled up to a whole block, which is one for the vector units; it adds zeros.
        let mut block = [f32::NEG_INFINITY; LANES];
        block[..rest.len()].copy_from_slice(rest);
        exp_block(&mut block, max, &mut lanes);
        rest.copy_from_slice(&block[..rest.len()]);
    }
    (max, sum_lanes(lanes))
}

/// `exp(score - max)` of up to [`LANES`] scores, added lane by lane.
#[inline(always)]
fn exp_block(block: &mut [f32], max: f32, lanes: &mut [f32; LANES]) {
    for (lane, score) in lanes.iter_mut().zip(block) {
        *score = exp(*score - max);
        *lane += *score;
    }
}

/// The largest score, NaN left aside; `-inf` when there is none.
#[inline(always)]
fn maximum(scores: &[f32]) -> f32 {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let mut blocks = scores.chunks_exact(LANES);
    for block in &mut blocks {
        for (lane, &score) in lanes.iter_mut().zip(block) {
            *lane = larger(*lane, score);
        }
    }
    for (lane, &score) in lanes.iter_mut().zip(blocks.remainder()) {
        *lane = larger(*lane, score);
    }
    lanes.into_iter().fold(f32::NEG_INFINITY, larger)
}
