//! The matrix products.

use super::{Random, assert_same, scalar, vector_sets};
use crate::kernels::{
    ACTIVATION_MAX, F16Panels, FloatRows, I4Panels, I8Panels, Kernels, PANEL_ROWS, QuantizedRows,
    TileMut,
};
use half::f16;

/// What the output is filled with beforehand, to see that nothing else is written.
const UNTOUCHED: f32 = -12345.678;

/// int8 weights with float activations; each set quantizes these in its own order.
struct I8Case {
    rows: usize,
    padded_k: usize,
    group: usize,
    whole_row: bool,
    m: usize,
    weights: Vec<i8>,
    weight_scales: Vec<f16>,
    activations: Vec<f32>,
}

impl I8Case {
    fn new(rows: usize, k: usize, group: usize, whole_row: bool, m: usize) -> Self {
        let mut random = Random::new((rows * 7 + k * 31 + group * 3 + m) as u64);
        let padded_k = k.next_multiple_of(group);
        let panels = rows.div_ceil(PANEL_ROWS);
        let scales = panels * PANEL_ROWS * if whole_row { 1 } else { padded_k / group };
        let weights =
            (0..panels * PANEL_ROWS * padded_k).map(|_| random.integer(-127, 127) as i8).collect();
        let weight_scales = (0..scales).map(|_| f16::from_f32(random.float() * 0.01)).collect();
        let mut activations = vec![0.0; m * padded_k];
        for row in activations.chunks_exact_mut(padded_k) {
            row[..k].copy_from_slice(&random.floats(k));
        }
        Self { rows, padded_k, group, whole_row, m, weights, weight_scales, activations }
    }

    fn panels(&self) -> I8Panels<'_> {
        I8Panels {
            rows: self.rows,
            padded_k: self.padded_k,
            group: self.group,
            data: &self.weights,
            scales: &self.weight_scales,
            whole_row: self.whole_row,
        }
    }

    /// `[m][cols]` for the rows from `8 * first_panel` on.
    fn run(&self, set: &Kernels, first_panel: usize, cols: usize) -> Vec<f32> {
        let (q, scales, stride) = quantized(set, &self.activations, self.padded_k, self.group);
        let (m, padded_k, group) = (self.m, self.padded_k, self.group);
        let x = QuantizedRows { m, padded_k, group, q: &q, stride, scales: &scales };
        run_into_tile(self.m, cols, |out| (set.gemm_i8)(&self.panels(), first_panel, &x, out))
    }

    /// All sets at once, as the reference takes longer than they.
    fn check(&self) {
        let expected = self.run(scalar(), 0, self.rows);
        let case = format!(
            "int8 [{}, {}] g{} whole_row {} m {}",
            self.rows, self.padded_k, self.group, self.whole_row, self.m
        );
        for set in vector_sets() {
            assert_same(set.name, &case, &self.run(set, 0, self.rows), &expected);
            // A range of panels from the middle, and the ragged end.
            let panels = self.rows.div_ceil(PANEL_ROWS);
            for (first, cols) in [
                (panels / 3, (panels / 2 - panels / 3) * PANEL_ROWS),
                (panels / 2, self.rows - panels / 2 * PANEL_ROWS),
            ] {
                let part: Vec<f32> = expected
                    .chunks_exact(self.rows)
                    .flat_map(|row| &row[first * PANEL_ROWS..][..cols])
                    .copied()
                    .collect();
                assert_same(set.name, &case, &self.run(set, first, cols), &part);
            }
        }
    }
}

/// Activations `[m][padded_k]` in a set's own order; scales and sums, and their number in a row.
fn quantized(
    set: &Kernels,
    x: &[f32],
    padded_k: usize,
    group: usize,
) -> (Vec<i16>, Vec<f32>, usize) {
    let (m, groups) = (x.len() / padded_k, padded_k / group);
    let (mut q, mut scales) = (vec![0; m * padded_k], vec![0.0; m * 2 * groups]);
    for ((x, q), scales) in x
        .chunks_exact(padded_k)
        .zip(q.chunks_exact_mut(padded_k))
        .zip(scales.chunks_exact_mut(2 * groups))
    {
        let (scales, sums) = scales.split_at_mut(groups);
        (set.quantize_row)(x, group, q, scales);
        (set.group_sums)(x, group, sums);
    }
    (q, scales, 2 * groups)
}

/// 4-bit weights with float activations.
struct I4Case {
    rows: usize,
    padded_k: usize,
    group: usize,
    m: usize,
    weights: Vec<u8>,
    scales: Vec<f16>,
    activations: Vec<f32>,
}

impl I4Case {
    fn new(rows: usize, k: usize, group: usize, m: usize) -> Self {
        let mut random = Random::new((rows * 7 + k * 31 + group * 3 + m + 1) as u64);
        let padded_k = k.next_multiple_of(group);
        let panels = rows.div_ceil(PANEL_ROWS);
        let weights = (0..panels * PANEL_ROWS * padded_k / 2).map(|_| random.bits() as u8);
        let weights = weights.collect();
        let scales = panels * 2 * PANEL_ROWS * padded_k / group;
        let scales = (0..scales).map(|_| f16::from_f32(random.float() * 0.1)).collect();
        let mut activations = vec![0.0; m * padded_k];
        for row in activations.chunks_exact_mut(padded_k) {
            row[..k].copy_from_slice(&random.floats(k));
        }
        Self { rows, padded_k, group, m, weights, scales, activations }
    }

    /// `[m][cols]` for the rows from `8 * first_panel` on.
    fn run(&self, set: &Kernels, first_panel: usize, cols: usize) -> Vec<f32> {
        let (q, scales, stride) = quantized(set, &self.activations, self.padded_k, self.group);
        let (m, padded_k, group) = (self.m, self.padded_k, self.group);
        let x = QuantizedRows { m, padded_k, group, q: &q, stride, scales: &scales };
        let (data, scales) = (&self.weights[..], &self.scales[..]);
        let w = I4Panels { rows: self.rows, padded_k, group, data, scales };
        run_into_tile(m, cols, |out| (set.gemm_i4)(&w, first_panel, &x, out))
    }

    fn check(&self) {
        let expected = self.run(scalar(), 0, self.rows);
        let (panels, rows) = (self.rows.div_ceil(PANEL_ROWS), self.rows);
        let case = format!("4 bits [{rows}, {}] g{} m {}", self.padded_k, self.group, self.m);
        for set in vector_sets() {
            assert_same(set.name, &case, &self.run(set, 0, rows), &expected);
            let (first, cols) = (panels / 2, rows - panels / 2 * PANEL_ROWS);
            let part: Vec<f32> = expected
                .chunks_exact(rows)
                .flat_map(|row| &row[first * PANEL_ROWS..])
                .copied()
                .collect();
            assert_same(set.name, &case, &self.run(set, first, cols), &part);
        }
    }

    /// A weight, from the description of the layout.
    fn weight(&self, r: usize, k: usize) -> f64 {
        let (panel, row) = (r / 8, r % 8);
        let byte = self.weights[panel * 4 * self.padded_k + k / 16 * 64 + row * 8 + k % 8];
        let q = if k % 16 < 8 { byte & 15 } else { byte >> 4 };
        let group = panel * (self.padded_k / self.group) + k / self.group;
        let at = |i: usize| self.scales[group * 16 + i * 8 + row].to_f64();
        at(0) * f64::from(q) + at(1)
    }
}

#[test]
fn scalar_4_bits_equals_the_contract() {
    for group in [32, 64, 128] {
        let case = I4Case::new(21, 200, group, 3);
        let got = case.run(scalar(), 0, case.rows);
        for t in 0..case.m {
            for r in 0..case.rows {
                let x = &case.activations[t * case.padded_k..][..case.padded_k];
                let terms = x.iter().enumerate().map(|(k, &x)| case.weight(r, k) * f64::from(x));
                let exact: f64 = terms.sum();
                // Half a step of 1/32512 in each activation (values near 1), times weights of up to
                // 1.6, and f32 sums.
                let error = (f64::from(got[t * case.rows + r]) - exact).abs();
                assert!(error <= 2e-3, "{group} [{t}][{r}]: {error}");
            }
        }
    }
}

#[test]
fn products_of_4_bits_equal_the_scalar_ones() {
    for m in [1, 2, 3, 4, 5, 6, 7, 8, 9, 33] {
        for (rows, k) in [(8, 16), (1, 64), (24, 40), (37, 200), (72, 576), (13, 1536)] {
            for group in [32, 64, 128] {
                I4Case::new(rows, k, group, m).check();
            }
        }
    }
    I4Case::new(40, 1536, 32, 300).check();
    I4Case::new(16, 8192, 32, 17).check();
}

#[test]
fn extreme_products_of_4_bits_are_exact() {
    for (weight, sign) in [(0xff, 1.0), (0xff, -1.0), (0x0f, 1.0), (0xf0, -1.0), (0, 1.0)] {
        let mut case = I4Case::new(24, 256, 128, 5);
        case.weights.fill(weight);
        case.activations.fill(sign * f32::from(ACTIVATION_MAX));
        case.activations[300] = f32::NAN;
        case.check();
        for set in vector_sets() {
            let out = case.run(set, 0, 24);
            assert!(out[..24].iter().all(|v| v.is_finite()));
            assert!(out[24..48].iter().all(|v| v.is_nan()), "non-finite activations must show");
        }
    }
}

/// Runs a product into a tile inside a larger matrix and checks that the frame is untouched.
fn run_into_tile(m: usize, cols: usize, product: impl FnOnce(&mut TileMut<'_>)) -> Vec<f32> {
    let stride = cols + 5;
    let mut frame = vec![UNTOUCHED; (m + 2) * stride];
    product(&mut TileMut::new(&mut frame, stride).part(1, m, 2, cols));
    let mut out = Vec::new();
    for (r, row) in frame.chunks_exact(stride).enumerate() {
        let inside = (1..=m).contains(&r);
        for (c, &value) in row.iter().enumerate() {
            if inside && (2..2 + cols).contains(&c) {
                out.push(value);
            } else {
                assert_eq!(value, UNTOUCHED, "written outside the tile at {r}, {c}");
            }
        }
    }
    out
}

#[test]
fn scalar_int8_equals_the_contract() {
    for (group, whole_row) in [(32, false), (64, false), (128, true)] {
        let case = I8Case::new(21, 200, group, whole_row, 3);
        let groups = case.padded_k / group;
        let got = case.run(scalar(), 0, case.rows);
        for t in 0..case.m {
            for r in 0..case.rows {
                let mut exact = 0.0f64;
                let mut magnitude = 0.0f64;
                for k in 0..case.padded_k {
                    let (panel, row) = (r / 8, r % 8);
                    let weight =
                        case.weights[panel * 8 * case.padded_k + k / 8 * 64 + row * 8 + k % 8];
                    let scale = if whole_row { panel } else { panel * groups + k / group };
                    let scale = case.weight_scales[scale * 8 + row].to_f64();
                    let x = f64::from(case.activations[t * case.padded_k + k]);
                    exact += f64::from(weight) * scale * x;
                    magnitude += (f64::from(weight) * scale * x).abs();
                }
                let error = (f64::from(got[t * case.rows + r]) - exact).abs();
                // Half a step of 1/32512 in each activation (values near 1), and f32 sums.
                assert!(error <= magnitude * 1e-4, "{group} [{t}][{r}]: {error} of {magnitude}");
            }
        }
    }
}

#[test]
fn int8_products_equal_the_scalar_ones() {
    for m in [1, 2, 3, 4, 5, 6, 7, 8, 9, 33] {
        for (rows, k) in [(8, 8), (1, 64), (24, 40), (37, 200), (72, 576), (13, 1536)] {
            for group in [32, 64, 128] {
                for whole_row in [false, true] {
                    I8Case::new(rows, k, group, whole_row, m).check();
                }
            }
        }
    }
}

#[test]
fn int8_products_over_several_blocks_equal_the_scalar_ones() {
    I8Case::new(40, 1536, 64, false, 300).check();
    for m in 15..34 {
        I8Case::new(16, 8192, 64, false, m).check();
    }
}

#[test]
fn extreme_int8_products_are_exact() {
    for (weight, sign) in [(127, 1.0), (-127, 1.0), (127, -1.0), (-127, -1.0), (-128, 1.0)] {
        for group in [32, 64, 128] {
            let mut case = I8Case::new(24, 256, group, false, 5);
            case.weights.fill(weight);
            // The largest magnitude makes the scale 1: q equals these values.
            case.activations.fill(sign * f32::from(ACTIVATION_MAX));
            case.check();
            assert!(vector_sets().iter().all(|set| case.run(set, 0, 24)[0].is_finite()));
        }
    }
}

#[test]
fn groups_of_zeros_and_not_a_number() {
    let mut case = I8Case::new(24, 256, 64, false, 3);
    case.activations[64..128].fill(0.0);
    case.activations[300] = f32::NAN;
    case.activations[600] = f32::INFINITY;
    case.check();
    for set in vector_sets() {
        let out = case.run(set, 0, 24);
        assert!(out[..24].iter().all(|v| v.is_finite()));
        assert!(out[24..].iter().all(|v| v.is_nan()), "non-finite activations must show");
    }
}

/// fp16 weights, with room between the panels and between the tokens.
struct F16Case {
    rows: usize,
    k: usize,
    panel_stride: usize,
    m: usize,
    stride: usize,
    weights: Vec<f16>,
    x: Vec<f32>,
}

impl F16Case {
    fn new(rows: usize, k: usize, m: usize) -> Self {
        let mut random = Random::new((rows * 7 + k * 31 + m) as u64);
        let panel_stride = 8 * k + 24;
        let stride = k + 3;
        let panels = rows.div_ceil(PANEL_ROWS);
        // Exactly as long as the contract asks for: the last panel and token without their gaps.
        let weights = (panels - 1) * panel_stride + 8 * k;
        let weights = (0..weights).map(|_| f16::from_f32(random.float())).collect();
        let x = random.floats((m - 1) * stride + k);
        Self { rows, k, panel_stride, m, stride, weights, x }
    }

    fn run(&self, set: &Kernels, first_panel: usize, cols: usize) -> Vec<f32> {
        let w = F16Panels {
            rows: self.rows,
            k: self.k,
            panel_stride: self.panel_stride,
            data: &self.weights,
        };
        let x = FloatRows { m: self.m, k: self.k, stride: self.stride, x: &self.x };
        run_into_tile(self.m, cols, |out| (set.gemm_f16)(&w, first_panel, &x, out))
    }

    /// All sets at once, as the reference takes longer than they.
    fn check(&self) {
        let expected = self.run(scalar(), 0, self.rows);
        let case = format!("f16 [{}, {}] m {}", self.rows, self.k, self.m);
        let first = self.rows.div_ceil(PANEL_ROWS) / 2;
        let cols = self.rows - first * PANEL_ROWS;
        let part: Vec<f32> = expected
            .chunks_exact(self.rows)
            .flat_map(|row| &row[first * PANEL_ROWS..])
            .copied()
            .collect();
        for set in vector_sets() {
            assert_same(set.name, &case, &self.run(set, 0, self.rows), &expected);
            assert_same(set.name, &case, &self.run(set, first, cols), &part);
        }
    }
}

#[test]
fn scalar_f16_is_near_the_exact_product() {
    let case = F16Case::new(19, 300, 2);
    let got = case.run(scalar(), 0, 19);
    for t in 0..2 {
        for r in 0..19 {
            let mut exact = 0.0f64;
            let mut magnitude = 0.0f64;
            for k in 0..case.k {
                let w = case.weights[r / 8 * case.panel_stride + k * 8 + r % 8].to_f64();
                let product = w * f64::from(case.x[t * case.stride + k]);
                exact += product;
                magnitude += product.abs();
            }
            // k roundings of partial sums that stay below the magnitude; they mostly cancel.
            let tolerance = magnitude * case.k as f64 * f64::from(f32::EPSILON) / 2.0;
            assert!((f64::from(got[t * 19 + r]) - exact).abs() <= tolerance);
        }
    }
}

#[test]
fn f16_products_equal_the_scalar_ones() {
    for m in (1..=17).chain([33, 49]) {
        for (rows, k) in [(8, 1), (3, 9), (24, 64), (65, 80), (72, 257), (130, 33), (200, 600)] {
            F16Case::new(rows, k, m).check();
        }
    }
}

#[test]
fn f16_products_over_several_blocks_equal_the_scalar_ones() {
    // The last block of tokens may be smaller than any tile.
    for m in (36..50).chain([300]) {
        F16Case::new(40, 1536, m).check();
    }
    F16Case::new(75, 5000, 1).check();
    F16Case::new(75, 5000, 5).check();
}

#[test]
fn f16_products_keep_extreme_values() {
    let mut case = F16Case::new(24, 40, 6);
    case.weights[3] = f16::INFINITY;
    case.weights[case.panel_stride + 5] = f16::NAN;
    case.weights[9] = f16::from_bits(1);
    case.x[7] = f32::MAX;
    case.check();
}

#[test]
fn empty_products_write_nothing() {
    for set in vector_sets().into_iter().chain([scalar()]) {
        let case = I8Case::new(8, 64, 64, false, 1);
        assert!(case.run(set, 0, 0).is_empty());
        assert!(F16Case::new(8, 8, 1).run(set, 0, 0).is_empty());
        let nothing = FloatRows { m: 1, k: 0, stride: 0, x: &[] };
        let w = F16Panels { rows: 8, k: 0, panel_stride: 0, data: &[] };
        let out = run_into_tile(1, 8, |out| (set.gemm_f16)(&w, 0, &nothing, out));
        assert_eq!(out, [0.0; 8], "a product over no k is zero");
    }
}
