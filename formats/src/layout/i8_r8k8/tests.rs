//! Tests of the `i8.r8k8` codec against the layout's description and its error bound.

use proptest::prelude::*;

use super::*;

struct Encoded {
    rows: usize,
    cols: usize,
    group: u32,
    data: Vec<i8>,
    scales: Vec<f16>,
    error: BlockError,
}

impl Encoded {
    fn matrix(&self) -> Matrix<'_> {
        Matrix::new(self.rows, self.cols, self.group, &self.data, &self.scales).unwrap()
    }

    fn decode(&self) -> Vec<f32> {
        let mut out = vec![0.0; self.rows * self.cols];
        for (r, out) in out.chunks_exact_mut(self.cols).enumerate() {
            self.matrix().row(r, out);
        }
        out
    }
}

/// Buffers of the right size, full of junk that encoding has to overwrite.
fn buffers(rows: usize, cols: usize, group: u32) -> (Vec<i8>, Vec<f16>) {
    let planes = plane_lengths(Layout::I8R8K8, &[rows as u64, cols as u64], group).unwrap();
    let [data, scales] = planes.lengths() else { panic!("two planes") };
    (vec![77; *data as usize], vec![f16::MAX; *scales as usize / 2])
}

fn try_encode(
    values: &[f32],
    cols: usize,
    group: u32,
    search: bool,
) -> Result<Encoded, EncodeError> {
    let rows = values.len() / cols;
    let (mut data, mut scales) = buffers(rows, cols, group);
    let error = encode_panels(values, rows, cols, group, search, &mut data, &mut scales)?;
    Ok(Encoded { rows, cols, group, data, scales, error })
}

fn encode(values: &[f32], cols: usize, group: u32, search: bool) -> Encoded {
    try_encode(values, cols, group, search).unwrap()
}

/// Seeded values, roughly normal, in `±3 * magnitude`.
fn values(n: usize, seed: u64, magnitude: f32) -> Vec<f32> {
    let mut state = seed | 1;
    let mut uniform = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..n).map(|_| (uniform() + uniform() + uniform()) * magnitude).collect()
}

proptest! {
    #[test]
    fn ragged_shapes(
        rows in 1usize..27,
        cols in 1usize..300,
        group in prop::sample::select(vec![32u32, 64, 128, 0]),
        search: bool,
        seed: u64,
        exponent in -30i32..21,
    ) {
        let x = values(rows * cols, seed, 2f32.powi(exponent));
        let encoded = encode(&x, cols, group, search);
        let matrix = encoded.matrix();
        prop_assert!(matrix.flaw().is_none(), "padding is zero");

        // Positions and scales by the description, one element at a time.
        let decoded = encoded.decode();
        let (mut sum_sq_error, mut sum_sq) = (0.0, 0.0);
        for r in 0..rows {
            for c in 0..cols {
                let at = (r / 8) * 8 * matrix.padded_k + (c / 8) * 64 + (r % 8) * 8 + c % 8;
                let groups = matrix.padded_k / matrix.group;
                let scale_at = ((r / 8) * groups + c / matrix.group) * 8 + r % 8;
                let scale = encoded.scales[scale_at].to_f32();
                let expected = scale * f32::from(encoded.data[at]);
                let (x, found) = (x[r * cols + c], decoded[r * cols + c]);
                prop_assert_eq!(found.to_bits(), expected.to_bits());
                // Half a step, plus the rounding of x / scale; a search may clamp a little.
                let bound = if search { 0.601 * scale } else { 0.5001 * scale };
                let smallest = 2f32.powi(-25);
                prop_assert!((x - found).abs() <= bound.max(smallest), "{} {} {}", x, found, scale);
                sum_sq_error += f64::from(x - found).powi(2);
                sum_sq += f64::from(x).powi(2);
            }
        }
        let close = |a: f64, b: f64| (a - b).abs() <= 1e-4 * b + 1e-30;
        prop_assert!(close(encoded.error.sum_sq, sum_sq));
        prop_assert!(close(encoded.error.sum_sq_error, sum_sq_error));
    }

    #[test]
    fn search_never_does_worse(seed: u64, group in prop::sample::select(vec![32u32, 64, 128, 0])) {
        let x = values(8 * 256, seed, 0.05);
        let plain = encode(&x, 256, group, false).error.sum_sq_error;
        let searched = encode(&x, 256, group, true).error.sum_sq_error;
        prop_assert!(searched <= plain);
        // Groups that are not long average little out: the search wins 10 % and more.
        prop_assert!(group != 64 || searched < 0.95 * plain, "{} {}", searched, plain);
    }

    #[test]
    fn encoding_what_was_decoded_changes_nothing(seed: u64) {
        let first = encode(&values(8 * 128, seed, 1.0), 128, 64, false);
        let second = encode(&first.decode(), 128, 64, false);
        prop_assert_eq!(first.decode(), second.decode());
        prop_assert_eq!(second.error.sum_sq_error, 0.0);
    }

    #[test]
    fn q8_0_is_a_permutation(rows in 1usize..20, blocks in 1usize..5, seed: u64) {
        let k = blocks * 32;
        let mut state = seed | 1;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(99);
            (state >> 33) as u32
        };
        let mut bytes = Vec::new();
        for _ in 0..rows * blocks {
            // Any finite scale, negative and subnormal ones too.
            bytes.extend(f16::from_bits(next() as u16 & 0xbbff).to_le_bytes());
            bytes.extend((0..32).map(|_| ((next() % 255) as i32 - 127) as i8 as u8));
        }
        let (mut data, mut scales) = buffers(rows, k, 32);
        pack_q8_0(&bytes, rows, k, &mut data, &mut scales).unwrap();
        let matrix = Matrix::new(rows, k, 32, &data, &scales).unwrap();
        prop_assert!(matrix.flaw().is_none());
        let mut out = vec![0.0; k];
        for (r, row) in bytes.chunks_exact(blocks * Q8_0_BLOCK).enumerate() {
            matrix.row(r, &mut out);
            for (c, v) in out.iter().enumerate() {
                let block = &row[c / 32 * Q8_0_BLOCK..];
                let scale = f16::from_le_bytes([block[0], block[1]]).to_f32();
                let expected = f32::from(block[2 + c % 32] as i8) * scale;
                prop_assert_eq!(v.to_bits(), expected.to_bits());
            }
        }
    }
}

#[test]
fn golden_line() {
    // One row of 1, 2 … 8 and the maximum 127: the scale is exactly 1.
    let mut row = vec![0.0; 32];
    for (i, v) in row.iter_mut().take(8).enumerate() {
        *v = i as f32 + 1.0;
    }
    row[31] = -127.0;
    let encoded = encode(&row, 32, 32, false);
    assert_eq!(encoded.data[..9], [1, 2, 3, 4, 5, 6, 7, 8, 0]);
    assert_eq!(encoded.data[3 * 64 + 7], -127);
    assert_eq!(encoded.scales[0], f16::ONE);
    assert_eq!(encoded.error.relative(), 0.0);
}

#[test]
fn ties_go_to_even() {
    let row = [127.0, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 3.5];
    assert_eq!(encode(&row, 8, 32, false).data[..8], [127, 0, 2, 2, 0, -2, -2, 4]);
}

#[test]
fn search_finds_a_better_scale() {
    // All values but one sit halfway between two steps of the plain scale.
    let mut row = vec![60.5f32; 64];
    row[0] = 127.0;
    let plain = encode(&row, 64, 64, false).error;
    let searched = encode(&row, 64, 64, true).error;
    assert!(searched.sum_sq_error < 0.9 * plain.sum_sq_error, "{searched:?} {plain:?}");
}

#[test]
fn tiny_groups() {
    // The smallest f16 is 2^-24: from half of it on, numbers are kept, below they become zeros.
    for (value, scale_bits, q) in
        [(2f32.powi(-24), 1, 1), (2f32.powi(-25) * 0.99, 0, 0), (f32::from_bits(1), 0, 0)]
    {
        for search in [false, true] {
            let encoded = encode(&[value, -value], 2, 64, search);
            assert_eq!(encoded.scales[0].to_bits(), scale_bits, "{value}");
            assert_eq!(encoded.data[..2], [q, -q], "{value}");
        }
    }
    // absmax / 127 = 1.4 * 2^-24 would round down to 2^-24 and clamp 177 to 127.
    let value = 1.4 * 127.0 * 2f32.powi(-24);
    let encoded = encode(&[value], 1, 64, false);
    assert_eq!((encoded.scales[0].to_bits(), encoded.data[0]), (2, 89));
    let encoded = encode(&[0.0, -0.0], 2, 64, true);
    assert_eq!(encoded.scales[0].to_bits(), 0);
    assert_eq!(encoded.error, BlockError::default());
}

#[test]
fn huge_groups() {
    let limit = 127.0 * 65504.0;
    let encoded = encode(&[limit, -limit], 2, 64, false);
    assert_eq!(encoded.decode(), [limit, -limit]);
    let mut x = vec![1.0; 10 * 70];
    x[9 * 70 + 69] = -127.0 * 65520.0;
    let err = try_encode(&x, 70, 64, true).err().unwrap();
    assert!(matches!(err, EncodeError::ScaleOverflow { row: 9, col: 69, .. }), "{err}");
    assert!(err.to_string().contains("8319008"), "{err}");
    x[9 * 70 + 69] = f32::MAX;
    assert!(try_encode(&x, 70, 0, false).is_err());
}

#[test]
fn values_that_are_not_finite_are_found() {
    for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for group in [32, 64, 128, 0] {
            let mut x = vec![1.0; 10 * 70];
            x[8 * 70 + 67] = bad;
            let err = try_encode(&x, 70, group, true).err().unwrap().in_tensor_from(16);
            match err {
                EncodeError::NonFinite { row: 24, col: 67, value } => {
                    assert_eq!(value.to_bits(), bad.to_bits());
                }
                other => panic!("{other}"),
            }
        }
    }
}

#[test]
fn foreign_q8_0_with_minus_128_is_refused() {
    let mut block = vec![0u8; 3 * Q8_0_BLOCK];
    let (mut data, mut scales) = buffers(1, 96, 32);
    block[Q8_0_BLOCK + 2 + 5] = 0x80;
    let err = pack_q8_0(&block, 1, 96, &mut data, &mut scales).unwrap_err();
    assert_eq!(err, EncodeError::NotSymmetric { row: 0, col: 37 });
    block[1] = 0x7c;
    let err = pack_q8_0(&block, 1, 96, &mut data, &mut scales).unwrap_err();
    assert!(matches!(err, EncodeError::NonFinite { row: 0, col: 0, .. }));
    let (mut data, mut scales) = buffers(1, 95, 32);
    assert!(pack_q8_0(&block, 1, 95, &mut data, &mut scales).is_err());
}

#[test]
fn lengths_are_checked() {
    let x = [0.0; 70];
    let (mut data, mut scales) = buffers(1, 70, 64);
    for group in [1, 16, 65, 256] {
        assert!(encode_panels(&x, 1, 70, group, false, &mut data, &mut scales).is_err());
    }
    assert!(encode_panels(&x[1..], 1, 70, 64, false, &mut data, &mut scales).is_err());
    assert!(encode_panels(&x, 1, 70, 64, false, &mut data[1..], &mut scales).is_err());
    assert!(encode_panels(&x, 1, 70, 64, false, &mut data, &mut scales[1..]).is_err());
    assert!(Matrix::new(9, 70, 64, &data, &scales).is_err());
    assert!(Matrix::new(usize::MAX, usize::MAX, 64, &data, &scales).is_err());
}

#[test]
fn flaws_are_seen() {
    let whole = encode(&values(9 * 70, 1, 1.0), 70, 64, false);
    assert!(whole.matrix().flaw().is_none());
    let row_9 = 8 * 128 + 8;
    let column_70 = 8 * 64 + 6;
    let column_127 = 15 * 64 + 7;
    for (at, value) in [(0, -128), (row_9, 1), (column_70, 1), (column_127, 1)] {
        let mut broken = encode(&values(9 * 70, 1, 1.0), 70, 64, false);
        broken.data[at] = value;
        assert!(broken.matrix().flaw().is_some(), "{at}");
    }
    for (at, value) in [(0, f16::NAN), (2 * 8 + 1, f16::NEG_ZERO)] {
        let mut broken = encode(&values(9 * 70, 1, 1.0), 70, 64, false);
        broken.scales[at] = value;
        assert!(broken.matrix().flaw().is_some(), "{at}");
    }
}

#[test]
fn steps_of_gguf_types_keep_their_integers() {
    use crate::checkpoint::DType;
    use crate::checkpoint::gguf::decode_blocks;
    for dtype in [DType::Q5_0, DType::IQ4_NL, DType::MXFP4] {
        let (n_rows, k) = (9, 96);
        let bytes = n_rows * k / 32 * dtype.block_bytes();
        let mut blocks: Vec<u8> = (0..bytes).map(|i| (i * 89 % 251) as u8).collect();
        for (i, block) in blocks.chunks_exact_mut(dtype.block_bytes()).enumerate() {
            match dtype {
                DType::MXFP4 => block[0] = 120 + (i % 8) as u8,
                // Scales of ordinary size, of either sign.
                _ => block[1] = if i % 2 == 0 { 0x24 } else { 0xa8 },
            }
        }
        let mut x = vec![0.0; n_rows * k];
        decode_blocks(dtype, &blocks, &mut x);
        let steps: Vec<f32> = blocks
            .chunks_exact(dtype.block_bytes())
            .map(|block| dtype.block_step(block).unwrap())
            .collect();
        let (mut data, mut scales) = (vec![0; 16 * k], vec![f16::ZERO; 2 * 3 * 8]);
        let error =
            encode_panels_of_steps(&x, n_rows, k, 32, &steps, &mut data, &mut scales).unwrap();
        assert_eq!(error.sum_sq_error, 0.0, "{dtype:?}");
        let matrix = Matrix::new(n_rows, k, 32, &data, &scales).unwrap();
        let mut row = vec![0.0; k];
        for (r, x) in x.chunks_exact(k).enumerate() {
            matrix.row(r, &mut row);
            assert_eq!(row, x, "{dtype:?} {r}");
        }
    }
}
