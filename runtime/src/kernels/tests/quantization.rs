//! Quantization of activations, and conversion to fp16.

use super::{Random, assert_same, scalar, vector_sets};
use crate::kernels::{ACTIVATION_MAX, I8Panels, Kernels, QuantizedRows, TileMut};
use half::f16;

fn quantize(set: &Kernels, x: &[f32], group: usize) -> (Vec<i16>, Vec<f32>) {
    let padded_k = x.len().next_multiple_of(group);
    let mut q = vec![-1; padded_k];
    let mut scales = vec![-1.0; padded_k / group];
    (set.quantize_row)(x, group, &mut q, &mut scales);
    (q, scales)
}

#[test]
fn scalar_activations_are_within_half_a_step() {
    let mut random = Random::new(1);
    for group in [32, 64, 128] {
        let x = random.floats(1000);
        let (q, scales) = quantize(scalar(), &x, group);
        for (i, (&q, &x)) in q.iter().zip(&x).enumerate() {
            let scale = scales[i / group];
            // Half a step, and the roundings of the factor, the product and the scale.
            let tolerance = scale * (0.5 + 3.0 * 32512.0 * f32::EPSILON / 2.0);
            assert!((f32::from(q) * scale - x).abs() <= tolerance, "{i}: {q} * {scale} for {x}");
            assert!(q.abs() <= ACTIVATION_MAX);
        }
        assert!(q[1000..].iter().all(|&q| q == 0), "padding is zero");
    }
}

#[test]
fn quantized_activations_equal_the_scalar_ones() {
    let mut random = Random::new(2);
    for set in vector_sets() {
        for group in [32, 64, 128] {
            for k in [0, 1, 7, 8, 9, 31, 32, 64, 100, 576, 1000] {
                let x: Vec<f32> = (0..k).map(|_| random.float() * 3.0).collect();
                compare(set, &x, group);
            }
        }
    }
}

fn compare(set: &Kernels, x: &[f32], group: usize) {
    let (q, scales) = quantize(set, x, group);
    let (expected, expected_scales) = quantize(scalar(), x, group);
    assert_same(set.name, "activation scales", &scales, &expected_scales);
    assert_eq!(values(set, &q), expected, "{}", set.name);
}

/// The values in their natural order. How a set keeps them is its own affair, so its product with
/// the identity matrix, run by run, has to tell.
fn values(set: &Kernels, q: &[i16]) -> Vec<i16> {
    let identity: [i8; 64] = std::array::from_fn(|i| i8::from(i % 8 == i / 8));
    let scales = [f16::ONE; 8];
    let mut data = [0; 64 * 4];
    let mut values = Vec::with_capacity(q.len());
    for q in q.chunks_exact(32) {
        for run in 0..4 {
            data.fill(0);
            data[64 * run..][..64].copy_from_slice(&identity);
            let w = I8Panels {
                rows: 8,
                padded_k: 32,
                group: 32,
                data: &data,
                scales: &scales,
                whole_row: false,
            };
            let scales = &[1.0];
            let x = QuantizedRows { m: 1, padded_k: 32, group: 32, q, stride: 1, scales };
            let mut out = [0.0; 8];
            (set.gemm_i8)(&w, 0, &x, &mut TileMut::new(&mut out, 8));
            values.extend(out.map(|v| v as i16));
        }
    }
    values
}

#[test]
fn extreme_activations() {
    for set in vector_sets().into_iter().chain([scalar()]) {
        for value in [0.0, -0.0, 1e-45, 1e-38, 1e-35, -1e-34, 1.0, f32::MAX, f32::MIN] {
            let mut x = vec![value; 64];
            x[5] = value / 3.0;
            compare(set, &x, 32);
            let (q, _) = quantize(set, &x, 32);
            let q = values(set, &q);
            assert!(q.iter().all(|&q| q.abs() <= ACTIVATION_MAX && (q == 0 || value != 0.0)));
        }
        for value in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut x = vec![1.0; 64];
            x[5] = value;
            let (q, scales) = quantize(set, &x, 32);
            let q = values(set, &q);
            assert!(scales[0].is_nan() && q[..32].iter().all(|&q| q == 0), "{}", set.name);
            assert!(scales[1] > 0.0 && q[32..].iter().all(|&q| q == ACTIVATION_MAX));
        }
    }
}

#[test]
fn ties_round_to_even() {
    for set in vector_sets().into_iter().chain([scalar()]) {
        let mut x = vec![0.0; 32];
        x[0] = f32::from(ACTIVATION_MAX);
        x[8..14].copy_from_slice(&[0.5, 1.5, 2.5, -0.5, -1.5, -2.5]);
        let (q, _) = quantize(set, &x, 32);
        assert_eq!(values(set, &q)[8..16], [0, 2, 2, 0, -2, -2, 0, 0], "{}", set.name);
    }
}

#[test]
fn conversion_to_f16_equals_the_scalar_one() {
    let mut random = Random::new(3);
    for set in vector_sets() {
        for len in (0..70).chain([1000]) {
            let mut x: Vec<f32> = (0..len)
                .map(|_| random.float() * (random.integer(-30, 18) as f32).exp2())
                .collect();
            for (x, edge) in
                x.iter_mut().zip([65504.0, 65519.9, 65520.0, f32::INFINITY, 1e-8, -0.0])
            {
                *x = edge;
            }
            let mut got = vec![f16::NAN; len];
            let mut expected = got.clone();
            (set.to_f16)(&x, &mut got);
            (scalar().to_f16)(&x, &mut expected);
            let bits = |v: &[f16]| v.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&got), bits(&expected), "{}", set.name);
        }
        let mut nan = [f16::ZERO; 9];
        (set.to_f16)(&[f32::NAN; 9], &mut nan);
        assert!(nan.iter().all(|v| v.is_nan()));
    }
}
