//! The exponential function and what is built on it, without branches.
//!
//! Error bounds are measured against f64 by the tests of `activation.rs` and of this file.

use super::fma;

/// Arguments below give zero (half the smallest subnormal is about `exp(-103.97)`).
const EXP_MIN: f32 = -104.0;
/// Arguments above give infinity (`exp(88.73)` is beyond f32).
const EXP_MAX: f32 = 89.0;
/// `1.5 * 2^23`: adding it rounds to the nearest integer, which then sits in the low bits.
const ROUND: f32 = 12_582_912.0;
/// ln 2 in two parts; the first has so few bits that its products with integers are exact.
const LN2_HIGH: f32 = 0.693_359_4;
const LN2_LOW: f32 = -2.121_944_4e-4;
/// Minimax coefficients of `(exp(r) - 1 - r) / r^2` for `|r| <= ln(2) / 2`, relative error 3e-9.
const EXP: [f32; 5] = [0.499_999_94, 0.166_665_2, 0.041_668_393, 0.008_368_781, 0.001_381_446_5];

/// `exp(x)` within 1.1 ulp, subnormal results within half the smallest subnormal more;
/// NaN gives NaN. Where `fma` rounds twice, its products add less than 0.06 ulp to an error that
/// is below 1.04 ulp: in `r` half an ulp of `n LN2_LOW < 2^-5`, in the last one half an ulp of
/// `r^2 q < 2^-4` (below 2^-3 where the result's ulp is twice as large); the others are multiplied
/// by `r^2 < 1/8`.
///
/// `x = n ln 2 + r`, and `2^n` is multiplied in two steps, so that both halves are normal numbers
/// and subnormal results and infinity come out of the last multiplication by themselves.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    // Comparisons that keep NaN, unlike `clamp` of vector instruction sets.
    let x = if x < EXP_MIN { EXP_MIN } else { x };
    let x = if x > EXP_MAX { EXP_MAX } else { x };
    let shifted = fma(x, std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = fma(n, -LN2_HIGH, x);
    let r = fma(n, -LN2_LOW, r);
    let q = fma(EXP[4], r, EXP[3]);
    let q = fma(q, r, EXP[2]);
    let q = fma(q, r, EXP[1]);
    let q = fma(q, r, EXP[0]);
    let power = fma(r * r, q, r) + 1.0;
    // The integer n from the low bits of `shifted`; wraps harmlessly when x is NaN.
    let n = (shifted.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    let half = n >> 1;
    power * power_of_two(half) * power_of_two(n.wrapping_sub(half))
}

/// `2^n` for `-126 <= n <= 127`; some number for others.
#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) as u32) << 23)
}

/// `x * sigmoid(factor * x)`.
#[inline(always)]
pub(super) fn times_sigmoid(x: f32, argument: f32) -> f32 {
    x / (1.0 + exp(-argument))
}

/// Coefficients in `t = 1 / (1 + ERFC_P z)`, from `t^1` on, of `erfc(z) exp(z^2)` for
/// `0 <= z <= 10`, relative error 1e-8 before rounding.
const ERFC: [f32; 10] = [
    0.197_483_78,
    0.197_138_35,
    0.187_902_39,
    0.151_186_21,
    0.146_042_14,
    0.087_018_82,
    -0.027_705_673,
    0.181_461_2,
    -0.158_928_26,
    0.038_401_045,
];
const ERFC_P: f32 = 0.35;

/// `x * Phi(x)` with the normal distribution's `Phi`, by the complementary error function of the
/// tail, so that large negative x keep their relative accuracy.
#[inline(always)]
pub(super) fn times_phi(x: f32) -> f32 {
    let magnitude = if x.abs() > 15.0 { 15.0 } else { x.abs() };
    let t = 1.0 / fma(magnitude, ERFC_P * std::f32::consts::FRAC_1_SQRT_2, 1.0);
    let mut poly = ERFC[9];
    for i in (0..9).rev() {
        poly = fma(poly, t, ERFC[i]);
    }
    // exp(-x^2 / 2), with the rounding error of the square put back as a factor.
    let half = 0.5 * magnitude;
    let square = half * magnitude;
    let lost = fma(half, magnitude, -square);
    let gauss = exp(-square);
    let gauss = fma(gauss, -lost, gauss);
    let tail = 0.5 * (poly * t) * gauss;
    x * if x < 0.0 { tail } else { 1.0 - tail }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Distance in units of the last place of the exact value, at least of the smallest subnormal.
    fn ulps(got: f32, exact: f64) -> f64 {
        let near = exact as f32;
        let ulp = f64::from(f32::from_bits(near.to_bits() + 1)) - f64::from(near);
        (f64::from(got) - exact).abs() / ulp
    }

    #[test]
    fn exp_is_within_its_bound() {
        let mut worst = (0.0, 0.0);
        for i in -1_030_000..=887_000 {
            let x = i as f32 * 1e-4;
            let error = ulps(exp(x), f64::from(x).exp());
            if error > worst.0 {
                worst = (error, x);
            }
        }
        assert!(worst.0 <= 1.1, "{} ulp at {}", worst.0, worst.1);
    }

    #[test]
    fn exp_at_the_edges() {
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(-104.5), 0.0);
        assert_eq!(exp(f32::INFINITY), f32::INFINITY);
        assert_eq!(exp(88.8), f32::INFINITY);
        assert!(exp(88.7).is_finite());
        assert!(exp(f32::NAN).is_nan());
        assert!(exp(-103.0) > 0.0, "subnormal results are not flushed");
    }
}
