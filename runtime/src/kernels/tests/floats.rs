//! The elementwise functions.

use super::{Random, assert_same, scalar, vector_sets};
use crate::kernels::Kernels;
use crate::kernels::elementwise::FUSED;
use kinglet_formats::spec::Activation;

/// Lengths around the widths of lanes and blocks.
fn lengths() -> impl Iterator<Item = usize> {
    (1..=70).chain([96, 127, 128, 576, 1001])
}

/// Every elementwise function on inputs of this length, as one vector.
fn everything(set: &Kernels, len: usize, special: bool) -> Vec<f32> {
    let mut random = Random::new(len as u64);
    let mut x: Vec<f32> = (0..len).map(|_| random.float() * 20.0).collect();
    if special {
        let values = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e30, -1e30, 1e-40, -0.0];
        for i in 0..len {
            if i % 3 == 0 {
                x[i] = values[i / 3 % values.len()];
            }
        }
    }
    let y = random.floats(len);
    let z = random.floats(len);
    let mut all = Vec::new();
    let mut out = vec![0.0; len];
    (set.rms_norm)(&x, &y, 1e-5, &mut out);
    all.extend_from_slice(&out);
    (set.layer_norm)(&x, &y, &z, 1e-12, &mut out);
    all.extend_from_slice(&out);
    (set.layer_norm)(&x, &y, &[], 1e-12, &mut out);
    all.extend_from_slice(&out);
    let mut in_place = |f: &dyn Fn(&mut [f32])| {
        out.copy_from_slice(&x);
        f(&mut out);
        all.extend_from_slice(&out);
    };
    for kind in ACTIVATIONS {
        in_place(&|x| (set.activate)(kind, x));
    }
    in_place(&|x| (set.mul)(x, &y));
    in_place(&|x| (set.add)(x, &y));
    in_place(&|x| (set.scale_add)(x, 0.3, &y));
    in_place(&|x| (set.scale)(x, 0.3));
    if len.is_multiple_of(2) {
        in_place(&|x| (set.rotate_half)(x, &y[..len / 2], &z[..len / 2]));
    }
    out.copy_from_slice(&x);
    let (max, sum) = (set.softmax_exp)(&mut out);
    all.extend_from_slice(&out);
    all.extend([max, sum]);
    all
}

/// A step of a recurrent unit of this width, its output and its state.
fn recurrent(set: &Kernels, len: usize) -> Vec<f32> {
    let mut random = Random::new(len as u64 + 7);
    let forget: Vec<f32> = (0..len).map(|_| random.float() * 20.0).collect();
    let (mut cell, mut state) = (random.floats(len), random.floats(len));
    (set.recur)(&forget, &mut cell, &mut state);
    [cell, state].concat()
}

const ACTIVATIONS: [Activation; 5] = [
    Activation::Silu,
    Activation::Gelu,
    Activation::GeluTanh,
    Activation::QuickGelu,
    Activation::Relu,
];

#[test]
fn elementwise_functions_equal_the_scalar_ones() {
    for set in vector_sets() {
        for len in lengths() {
            for special in [false, true] {
                let case = format!("length {len}, special values {special}");
                let expected = everything(scalar(), len, special);
                assert_same(set.name, &case, &everything(set, len, special), &expected);
            }
            let expected = recurrent(scalar(), len);
            assert_same(set.name, &format!("recur, {len}"), &recurrent(set, len), &expected);
        }
    }
}

/// On ARM and in WebAssembly all sets share one form of these functions, which the comparison above
/// cannot fault: there it is compared with what an x86 computed (or, where products are not fused, with
/// what WebAssembly did).
#[test]
fn elementwise_functions_give_the_same_bits_on_every_machine() {
    let both = |len| [false, true].map(|special| everything(scalar(), len, special)).concat();
    let hash = hash(lengths().flat_map(both));
    let expected = if FUSED { 0x5fef_a2d7_c0f2_e56d } else { 0x3558_3ae3_ee0f_ff72 };
    assert_eq!(hash, expected, "{hash:#018x}");
}

/// The same for recurrent units.
#[test]
fn recurrent_units_give_the_same_bits_on_every_machine() {
    let hash = hash(lengths().flat_map(|len| recurrent(scalar(), len)));
    let expected = if FUSED { 0xc0d4_5dd1_eece_9a00 } else { 0x7ef0_8dca_6a43_94c3 };
    assert_eq!(hash, expected, "{hash:#018x}");
}

/// FNV-1a over the words of `values`.
fn hash(values: impl Iterator<Item = f32>) -> u64 {
    values.fold(0xcbf2_9ce4_8422_2325, |hash, value| {
        let value = if value.is_nan() { f32::NAN } else { value };
        (hash ^ u64::from(value.to_bits())).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// In f64.
#[test]
fn a_recurrent_unit_by_hand() {
    let mut random = Random::new(5);
    for len in lengths() {
        let forget: Vec<f32> = (0..len).map(|_| random.float() * 8.0).collect();
        let (cell, state) = (random.floats(len), random.floats(len));
        let (mut out, mut after) = (cell.clone(), state.clone());
        (scalar().recur)(&forget, &mut out, &mut after);
        for i in 0..len {
            let f = 1.0 / (1.0 + (-f64::from(forget[i])).exp());
            let exact = f * f64::from(state[i]) + (1.0 - f) * f64::from(cell[i]);
            assert!((f64::from(after[i]) - exact).abs() < 4e-7, "{exact} {}", after[i]);
            assert_eq!(out[i], after[i].max(0.0));
        }
    }
}

#[test]
fn vector_arithmetic_is_exactly_rounded() {
    let mut random = Random::new(4);
    for set in vector_sets().into_iter().chain([scalar()]) {
        for len in lengths() {
            let (x, y) = (random.floats(len), random.floats(len));
            let check = |name: &str, f: &dyn Fn(&mut [f32]), exact: &dyn Fn(f64, f64) -> f64| {
                let mut got = x.clone();
                f(&mut got);
                for i in 0..len {
                    // Sums and products of two floats are exact in f64 here, or as good as.
                    let exact = exact(f64::from(x[i]), f64::from(y[i])) as f32;
                    assert_eq!(got[i], exact, "{} {name} of {len}: {i}", set.name);
                }
            };
            check("mul", &|x| (set.mul)(x, &y), &|x, y| x * y);
            check("add", &|x| (set.add)(x, &y), &|x, y| x + y);
            check("scale", &|x| (set.scale)(x, 0.3), &|x, _| x * f64::from(0.3f32));
            // The values are multiples of 2^-23, so that x * 0.75 + y is exact in f64. Where the
            // product is rounded too, its rounding from f64 is the one of f32.
            let product = |x: f64| if FUSED { x * 0.75 } else { f64::from((x * 0.75) as f32) };
            check("scale_add", &|x| (set.scale_add)(x, 0.75, &y), &|x, y| product(x) + y);
        }
    }
}

#[test]
fn norms_are_near_the_exact_ones() {
    let mut random = Random::new(5);
    for len in lengths() {
        // A mean far from zero is what makes the variance hard.
        let x: Vec<f32> = (0..len).map(|_| random.float() + 3.0).collect();
        let (weight, bias) = (random.floats(len), random.floats(len));
        let n = len as f64;
        let mean = x.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
        let variance = x.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n;
        let square = x.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() / n;
        let eps = 1e-5;
        let mut rms = vec![0.0; len];
        (scalar().rms_norm)(&x, &weight, eps as f32, &mut rms);
        let mut layer = vec![0.0; len];
        (scalar().layer_norm)(&x, &weight, &bias, eps as f32, &mut layer);
        for i in 0..len {
            let (v, w, b) = (f64::from(x[i]), f64::from(weight[i]), f64::from(bias[i]));
            let exact = v * w / (square + eps).sqrt();
            // Five roundings, and half the relative error of a mean over len / 32 additions.
            let tolerance = exact.abs() * (6.0 + n / 64.0) * f64::from(f32::EPSILON) / 2.0;
            assert!((f64::from(rms[i]) - exact).abs() <= tolerance, "rms_norm of {len}: {i}");
            let factor = 1.0 / (variance + eps).sqrt();
            let exact = (v - mean) * factor * w + b;
            // The mean of values near 3 is off by a few of their roundings.
            let tolerance = (3.0 * factor * (2.0 + n / 64.0) + 6.0) * f64::from(f32::EPSILON);
            assert!((f64::from(layer[i]) - exact).abs() <= tolerance, "layer_norm of {len}: {i}");
        }
    }
}

#[test]
fn softmax_is_near_the_exact_one() {
    let mut random = Random::new(6);
    for len in lengths() {
        let scores: Vec<f32> = (0..len).map(|_| random.float() * 30.0).collect();
        let mut got = scores.clone();
        let (max, sum) = (scalar().softmax_exp)(&mut got);
        let exact_max = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        assert_eq!(max, exact_max);
        let mut exact_sum = 0.0;
        for (&got, &score) in got.iter().zip(&scores) {
            let exact = f64::from(score - max).exp();
            exact_sum += exact;
            // 1.1 ulp of the exponential.
            assert!((f64::from(got) - exact).abs() <= exact * 1.1 * f64::from(f32::EPSILON));
        }
        let tolerance = exact_sum * (3.0 + len as f64 / 64.0) * f64::from(f32::EPSILON);
        assert!((f64::from(sum) - exact_sum).abs() <= tolerance, "{len}");
    }
}

#[test]
fn masked_scores_become_zeros() {
    for set in vector_sets().into_iter().chain([scalar()]) {
        let hidden = f32::NEG_INFINITY;
        for len in [1, 5, 32, 77] {
            let mut scores = vec![hidden; len];
            assert_eq!((set.softmax_exp)(&mut scores), (hidden, 0.0));
            assert!(scores.iter().all(|&score| score == 0.0));
            scores.fill(hidden);
            scores[len / 2] = -3.0;
            assert_eq!((set.softmax_exp)(&mut scores), (-3.0, 1.0));
            assert_eq!(scores.iter().sum::<f32>(), 1.0);
        }
        assert_eq!((set.softmax_exp)(&mut []), (hidden, 0.0));
    }
}

#[test]
fn rotation_keeps_lengths_and_turns_by_the_angle() {
    for set in vector_sets().into_iter().chain([scalar()]) {
        let (sin, cos) = 0.5f32.sin_cos();
        let mut x = [1.0, 2.0, 0.0, -1.0];
        (set.rotate_half)(&mut x, &[cos, cos], &[sin, sin]);
        let exact = [cos, 2.0 * cos + sin, sin, 2.0 * sin - cos];
        for (got, exact) in x.iter().zip(exact) {
            assert!((got - exact).abs() < 3e-7, "{}: {x:?}", set.name);
        }
    }
}
