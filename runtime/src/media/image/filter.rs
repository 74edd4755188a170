//! What the pixels of a line weigh in those of a longer or shorter one.

use std::f64::consts::PI;
use std::ops::Range;

use kinglet_formats::kinglet::ResizeFilter;

/// Bits behind the point of a weight: a sum of levels from 0 to 255, times weights that add up to one and
/// may overshoot, stays within 32 bits.
pub(super) const WEIGHT_BITS: u32 = 32 - 8 - 2;

/// The pixels that one new pixel is made of.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Weights {
    /// The first of them.
    pub(super) first: usize,
    /// In fixed point.
    pub(super) weights: Vec<i32>,
}

impl Weights {
    /// One pixel as it is.
    fn one(first: usize) -> Self {
        Self { first, weights: vec![1 << WEIGHT_BITS] }
    }

    /// Behind the last pixel.
    pub(super) fn end(&self) -> usize {
        self.first + self.weights.len()
    }
}

/// The weights for pixels `wanted` of a line of `from` pixels that becomes one of `to`, in the order and the
/// fixed point of Pillow, which image models were trained behind. None of the sizes is 0.
pub(super) fn weights(
    filter: ResizeFilter,
    from: usize,
    to: usize,
    wanted: Range<usize>,
) -> Vec<Weights> {
    if from == to {
        return wanted.map(Weights::one).collect();
    }
    let scale = from as f64 / to as f64;
    let Some((reach, curve)) = curve(filter) else {
        let nearest = |x: usize| ((x as f64 + 0.5) * scale) as usize;
        return wanted.map(|x| Weights::one(nearest(x).min(from - 1))).collect();
    };
    // A shrinking filter is as wide as the pixels that become one.
    let width = scale.max(1.0);
    let (reach, narrow) = (reach * width, 1.0 / width);
    let of = |x: usize| {
        let center = (x as f64 + 0.5) * scale;
        let first = ((center - reach + 0.5).max(0.0)) as usize;
        let end = ((center + reach + 0.5) as usize).min(from);
        let at = |i: usize| curve((i as f64 - center + 0.5) * narrow);
        let mut weights: Vec<f64> = (first..end).map(at).collect();
        let sum: f64 = weights.iter().sum();
        if sum != 0.0 {
            weights.iter_mut().for_each(|weight| *weight /= sum);
        }
        let fixed =
            |weight: f64| (weight * f64::from(1 << WEIGHT_BITS) + 0.5f64.copysign(weight)) as i32;
        Weights { first, weights: weights.into_iter().map(fixed).collect() }
    };
    wanted.map(of).collect()
}

/// The weight of a pixel by its distance.
type Curve = fn(f64) -> f64;

/// How far a filter reaches to either side, and its curve; `None` for the nearest pixel.
fn curve(filter: ResizeFilter) -> Option<(f64, Curve)> {
    let (reach, curve): (f64, Curve) = match filter {
        ResizeFilter::Nearest => return None,
        ResizeFilter::Box => (0.5, |x| if x > -0.5 && x <= 0.5 { 1.0 } else { 0.0 }),
        ResizeFilter::Bilinear => (1.0, |x| (1.0 - x.abs()).max(0.0)),
        ResizeFilter::Hamming => (1.0, |x| match x.abs() {
            0.0 => 1.0,
            x if x >= 1.0 => 0.0,
            x => (PI * x).sin() / (PI * x) * (0.54 + 0.46 * (PI * x).cos()),
        }),
        ResizeFilter::Bicubic => (2.0, |x| {
            const A: f64 = -0.5;
            match x.abs() {
                x if x < 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
                x if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * A,
                _ => 0.0,
            }
        }),
        ResizeFilter::Lanczos => (3.0, |x| match (-3.0..3.0).contains(&x) {
            true => sinc(x) * sinc(x / 3.0),
            false => 0.0,
        }),
    };
    Some((reach, curve))
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 { 1.0 } else { (PI * x).sin() / (PI * x) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_add_up_to_one() {
        let filters = [
            ResizeFilter::Nearest,
            ResizeFilter::Box,
            ResizeFilter::Bilinear,
            ResizeFilter::Hamming,
            ResizeFilter::Bicubic,
            ResizeFilter::Lanczos,
        ];
        for filter in filters {
            for (from, to) in [(1, 1), (1, 7), (7, 1), (5, 5), (13, 4), (4, 13), (100, 3)] {
                for weights in weights(filter, from, to, 0..to) {
                    assert!(weights.end() <= from && !weights.weights.is_empty(), "{weights:?}");
                    let sum: i32 = weights.weights.iter().sum();
                    let n = weights.weights.len() as i32;
                    assert!((sum - (1 << WEIGHT_BITS)).abs() <= n, "{filter:?} {from} {to}");
                }
            }
        }
    }

    #[test]
    fn bilinear_by_hand() {
        let one = f64::from(1 << WEIGHT_BITS);
        let shares = |weights: &Weights| -> Vec<f64> {
            weights.weights.iter().map(|&w| (f64::from(w) / one * 1e4).round() / 1e4).collect()
        };
        // Four pixels become two: each sees the outer neighbours with a quarter of the inner ones.
        let half = weights(ResizeFilter::Bilinear, 4, 2, 0..2);
        assert_eq!(shares(&half[0]), [0.4286, 0.4286, 0.1429]);
        assert_eq!((half[1].first, half[1].end()), (1, 4));
        // Two become four.
        let double = weights(ResizeFilter::Bilinear, 2, 4, 1..3);
        assert_eq!(shares(&double[0]), [0.75, 0.25]);
        assert_eq!(shares(&double[1]), [0.25, 0.75]);
    }
}
