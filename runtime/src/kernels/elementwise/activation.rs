//! The activation functions of the feed-forward blocks.

use super::exp::{times_phi, times_sigmoid};
use kinglet_formats::spec::Activation;

/// Applies `kind` in place.
///
/// With `u` = 2^-24 (one rounding) and `e` = the natural logarithm of x over the result, the
/// relative errors are within: SiLU 5 u, GELU 7 u ((9 + e) u where `fma` rounds twice), GELU by
/// tanh (5 + 5 e) u, quick GELU (5 + 2 e) u. The last two grow in the far negative tail, where the
/// argument of exp is large and so is the effect of its own rounding; the results there are next
/// to nothing.
#[inline(always)]
pub(in crate::kernels) fn activate(kind: Activation, x: &mut [f32]) {
    match kind {
        Activation::Silu => map(x, |v| times_sigmoid(v, v)),
        Activation::Gelu => map(x, times_phi),
        // 0.5 x (1 + tanh(u)) = x sigmoid(2u), which keeps small values accurate.
        Activation::GeluTanh => map(x, |v| times_sigmoid(v, v * (GELU_CUBE * (v * v) + GELU_ONE))),
        Activation::QuickGelu => map(x, |v| times_sigmoid(v, 1.702 * v)),
        Activation::Relu => map(x, |v| if v < 0.0 { 0.0 } else { v }),
        // In heads only: a few hundred values for each text.
        Activation::Tanh => x.iter_mut().for_each(|v| *v = v.tanh()),
    }
}

/// `2 sqrt(2 / pi)`
const GELU_ONE: f32 = 1.595_769;
/// `2 sqrt(2 / pi) * 0.044715`
const GELU_CUBE: f32 = 0.071_354_81;

#[inline(always)]
fn map(x: &mut [f32], f: impl Fn(f32) -> f32) {
    for value in x {
        *value = f(*value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::elementwise::FUSED;

    /// Complementary error function for `z >= 0` in f64: a series below 2, a continued fraction
    /// above.
    fn erfc(z: f64) -> f64 {
        if z < 2.0 {
            let mut term = z;
            let mut sum = z;
            for n in 1..80 {
                term *= -z * z / f64::from(n);
                sum += term / f64::from(2 * n + 1);
            }
            1.0 - sum * 2.0 / std::f64::consts::PI.sqrt()
        } else {
            let mut tail = 0.0;
            for n in (1..200).rev() {
                tail = f64::from(n) / 2.0 / (z + tail);
            }
            (-z * z).exp() / (z + tail) / std::f64::consts::PI.sqrt()
        }
    }

    fn exact(kind: Activation, x: f64) -> f64 {
        let sigmoid = |v: f64| 1.0 / (1.0 + (-v).exp());
        match kind {
            Activation::Silu => x * sigmoid(x),
            Activation::Gelu => {
                let tail = 0.5 * erfc(x.abs() / std::f64::consts::SQRT_2);
                x * if x < 0.0 { tail } else { 1.0 - tail }
            }
            Activation::GeluTanh => {
                x * sigmoid(2.0 * (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x))
            }
            Activation::QuickGelu => x * sigmoid(1.702 * x),
            Activation::Relu => x.max(0.0),
            Activation::Tanh => x.tanh(),
        }
    }

    /// Relative error allowed: `base`, and `slope` for each unit of the exponent, because a
    /// rounding error in the argument of exp is multiplied by the argument.
    fn check(kind: Activation, base: f64, slope: f64) {
        let mut worst: (f64, f32) = (0.0, 0.0);
        for i in -800_000..=200_000 {
            let x = i as f32 * 1e-4;
            let mut y = [x];
            activate(kind, &mut y);
            let exact = exact(kind, f64::from(x));
            // Subnormal results have only an absolute accuracy.
            if exact.abs() < 1e-36 {
                assert!(f64::from(y[0]).abs() < 2e-36, "{kind:?}({x}) = {}", y[0]);
                continue;
            }
            let relative = (f64::from(y[0]) - exact).abs() / exact.abs();
            let exponent = (exact / f64::from(x)).ln().abs();
            let error = relative / (base + slope * exponent);
            if error > worst.0 {
                worst = (error, x);
            }
        }
        assert!(worst.0 <= 1.0, "{kind:?}: {} of the bound at {}", worst.0, worst.1);
    }

    /// One rounding of f32.
    const ROUNDING: f64 = f32::EPSILON as f64 / 2.0;

    #[test]
    fn activations_are_within_their_bounds() {
        check(Activation::Silu, 5.0 * ROUNDING, 0.0);
        if FUSED {
            check(Activation::Gelu, 7.0 * ROUNDING, 0.0);
        } else {
            // The rounding of x^2 / 2, which `lost` no longer mends, is that many roundings of
            // the result; the exponent is larger than x^2 / 2. The products of the polynomial and
            // of t together are off by 2.5 roundings at most (at x = 0), those in exp by 0.1; the
            // one of `lost` is exact instead, which saves one.
            check(Activation::Gelu, 9.0 * ROUNDING, ROUNDING);
        }
        // The argument of exp has four roundings of its own, and two of its constants.
        check(Activation::GeluTanh, 5.0 * ROUNDING, 5.0 * ROUNDING);
        check(Activation::QuickGelu, 5.0 * ROUNDING, 2.0 * ROUNDING);
        check(Activation::Relu, f64::MIN_POSITIVE, 0.0);
    }

    #[test]
    fn not_a_number_stays_visible() {
        for kind in [
            Activation::Silu,
            Activation::Gelu,
            Activation::GeluTanh,
            Activation::QuickGelu,
            Activation::Relu,
        ] {
            let mut x = [f32::NAN, f32::INFINITY, -1e30, 1e30];
            activate(kind, &mut x);
            assert!(x[0].is_nan(), "{kind:?}");
            assert_eq!(x[1], f32::INFINITY, "{kind:?}");
            assert_eq!(x[2], 0.0, "{kind:?}");
            assert_eq!(x[3], 1e30, "{kind:?}");
        }
    }
}
