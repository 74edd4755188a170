use proptest::prelude::*;

use super::*;

fn random(seed: u64) -> impl FnMut() -> f32 {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 40) as f32 / 8_388_608.0 - 1.0
    }
}

struct Encoded {
    data: Vec<u8>,
    scales: Vec<f16>,
    error: BlockError,
}

fn encode(rows: &[f32], n_rows: usize, k: usize, group: u32, weights: Option<&[f32]>) -> Encoded {
    let planes = plane_lengths(Layout::I4R8K16, &[n_rows as u64, k as u64], group).unwrap();
    let mut data = vec![0xaa; planes.lengths()[0] as usize];
    let mut scales = vec![f16::MAX; planes.lengths()[1] as usize / 2];
    let error = encode_panels(rows, n_rows, k, group, weights, &mut data, &mut scales).unwrap();
    Encoded { data, scales, error }
}

proptest! {
    #[test]
    fn values_come_back_within_a_step(n_rows in 1usize..20, k in 1usize..150, seed: u64) {
        let mut next = random(seed);
        let rows: Vec<f32> = (0..n_rows * k).map(|_| next() + 0.25).collect();
        for group in [32, 64, 128] {
            let encoded = encode(&rows, n_rows, k, group, None);
            let matrix = Matrix::new(n_rows, k, group, &encoded.data, &encoded.scales).unwrap();
            prop_assert_eq!(matrix.flaw().map(|flaw| flaw.0), None);
            let mut out = vec![0.0; k];
            for (r, row) in rows.chunks_exact(k).enumerate() {
                matrix.row(r, &mut out);
                for (&a, &b) in out.iter().zip(row) {
                    // The range of a group is at most 2; the smallest step that is tried cuts a fifth
                    // of a range from each end.
                    prop_assert!((a - b).abs() <= 2.0 / 15.0 * 3.0, "{a} for {b}");
                }
            }
            prop_assert!(encoded.error.relative() < 0.1);
        }
    }

    #[test]
    fn sixteen_levels_are_kept(seed: u64, scale in 1u16..2000, minimum in -2000i16..2000) {
        // All integers appear, the step is a power of two: nothing can be rounded.
        let (scale, minimum) = (f32::from(scale) / 1024.0, f32::from(minimum) / 64.0);
        let mut next = random(seed);
        let mut q: Vec<f32> = (0..64).map(|i| (i % 16) as f32).collect();
        for i in (1..64).rev() {
            q.swap(i, ((next() + 1.0) * 0.5 * i as f32) as usize);
        }
        let scale = f16::from_f32(scale).to_f32();
        let minimum = f16::from_f32(minimum).to_f32();
        let rows: Vec<f32> = q.iter().map(|q| scale * q + minimum).collect();
        prop_assert!(encode(&rows, 1, 64, 64, None).error.relative() < 2e-3);
    }
}

#[test]
fn place_of_a_value() {
    let mut rows = vec![0.0f32; 9 * 40];
    for (i, row) in rows.chunks_exact_mut(40).enumerate() {
        row[0] = 15.0;
        row[10] = i as f32 + 1.0;
    }
    let encoded = encode(&rows, 9, 40, 32, None);
    // Row 2, column 10: panel 0, line 0, byte 2 of the row, high half.
    assert_eq!(encoded.data[2 * 8 + 2], 3 << 4);
    // Row 8: the second panel of 64 columns.
    assert_eq!(encoded.data[64 * 4 + 2], 9 << 4);
    assert_eq!(encoded.data[64 * 4], 15);
    assert_eq!(encoded.scales[0], f16::ONE);
}

#[test]
fn weights_say_where_errors_cost() {
    let mut next = random(7);
    let rows: Vec<f32> = (0..64).map(|_| next()).collect();
    let mut weights = vec![1e-3; 64];
    weights[..8].fill(1.0);
    let part = |encoded: &Encoded| {
        let matrix = Matrix::new(1, 64, 64, &encoded.data, &encoded.scales).unwrap();
        let mut out = [0.0; 64];
        matrix.row(0, &mut out);
        out[..8].iter().zip(&rows).map(|(a, b)| (a - b) * (a - b)).sum::<f32>()
    };
    let (plain, weighted) =
        (encode(&rows, 1, 64, 64, None), encode(&rows, 1, 64, 64, Some(&weights)));
    assert!(part(&weighted) < 0.7 * part(&plain), "{} {}", part(&weighted), part(&plain));
    assert!(weighted.error.relative() > plain.error.relative());
}

#[test]
fn groups_of_one_value_and_of_zeros() {
    for value in [0.0f32, -3.25, 1e-9, 60000.0] {
        let encoded = encode(&[value; 32], 1, 32, 32, None);
        let matrix = Matrix::new(1, 32, 32, &encoded.data, &encoded.scales).unwrap();
        let mut out = [1.0; 32];
        matrix.row(0, &mut out);
        assert!(out.iter().all(|v| (v - value).abs() <= value.abs() / 2048.0 + 3e-8), "{out:?}");
    }
}

#[test]
fn what_cannot_be_stored_is_named() {
    let mut rows = vec![0.5f32; 10 * 40];
    rows[9 * 40 + 35] = f32::NAN;
    let mut data = vec![0; 16 * 64 / 2];
    let mut scales = vec![f16::ZERO; 2 * 2 * 16];
    let err = encode_panels(&rows, 10, 40, 32, None, &mut data, &mut scales).unwrap_err();
    assert!(matches!(err, EncodeError::NonFinite { row: 9, col: 35, .. }), "{err}");
    rows[9 * 40 + 35] = 1e6;
    let err = encode_panels(&rows, 10, 40, 32, None, &mut data, &mut scales).unwrap_err();
    assert!(matches!(err, EncodeError::NonFinite { row: 9, col: 35, .. }), "{err}");
    assert!(encode_panels(&rows, 10, 40, 16, None, &mut data, &mut scales).is_err());
    assert!(Matrix::new(10, 40, 32, &data[1..], &scales).is_err());
}

#[test]
fn flaws_are_found() {
    let clean = encode(&[0.5, -1.0, 2.0], 1, 3, 32, None);
    let flaw = |change: &dyn Fn(&mut [u8], &mut [f16])| {
        let (mut data, mut scales) = (clean.data.clone(), clean.scales.clone());
        change(&mut data, &mut scales);
        Matrix::new(1, 3, 32, &data, &scales).unwrap().flaw().map(|flaw| flaw.0)
    };
    assert_eq!(flaw(&|_, _| ()), None);
    assert_eq!(flaw(&|data, _| data[2] |= 0x10), Some("padding columns that are not zero"));
    assert_eq!(flaw(&|data, _| data[3] |= 1), Some("padding columns that are not zero"));
    assert_eq!(flaw(&|data, _| data[8] |= 1), Some("padding rows that are not zero"));
    assert_eq!(flaw(&|_, scales| scales[9] = f16::ONE), Some("padding rows that are not zero"));
    let not_finite = Some("a scale or a minimum that is not finite");
    assert_eq!(flaw(&|_, scales| scales[8] = f16::NAN), not_finite);
}

/// Decoded by this crate's own reader of GGUF, which is held to llama.cpp's.
#[test]
fn blocks_of_gguf_keep_their_values() {
    use crate::checkpoint::DType;
    use crate::checkpoint::gguf::decode_blocks;
    for (kind, dtype) in
        [(Packed::Q4_0, DType::Q4_0), (Packed::Q4_1, DType::Q4_1), (Packed::Q4K, DType::Q4_K)]
    {
        let k = 512;
        let row_bytes = k / kind.block_values() * kind.block_bytes();
        let mut blocks: Vec<u8> = (0..9 * row_bytes).map(|i| (i * 37 % 251) as u8).collect();
        for block in blocks.chunks_exact_mut(kind.block_bytes()) {
            // Scales of ordinary size: the high byte of an f16 near 0.03.
            block[1] = 0x28;
            if kind != Packed::Q4_0 {
                block[3] = 0x28;
            }
        }
        let mut data = vec![0; 16 * k / 2];
        let mut scales = vec![f16::ZERO; 2 * (k / 32) * GROUP_SCALES];
        pack_blocks(kind, &blocks, 9, k, &mut data, &mut scales).unwrap();
        let matrix = Matrix::new(9, k, 32, &data, &scales).unwrap();
        assert!(matrix.flaw().is_none());
        let (mut out, mut expected) = (vec![0.0; k], vec![0.0; k]);
        for (r, row) in blocks.chunks_exact(row_bytes).enumerate() {
            matrix.row(r, &mut out);
            decode_blocks(dtype, row, &mut expected);
            for (i, (got, expected)) in out.iter().zip(&expected).enumerate() {
                // One sum in f32; K-quants besides: two roundings to f16, of scales up to 2 and 15 steps.
                let tolerance = if kind == Packed::Q4K { 17.0 * 2.0 / 2048.0 } else { 4e-7 };
                assert!((got - expected).abs() <= tolerance, "{kind:?} {r} {i}: {got} {expected}");
            }
        }
        blocks[..2].copy_from_slice(&[0, 0x7c]);
        let err = pack_blocks(kind, &blocks, 9, k, &mut data, &mut scales).unwrap_err();
        assert!(matches!(err, EncodeError::NonFinite { row: 0, .. }), "{err}");
        assert!(pack_blocks(kind, &blocks, 9, k - 1, &mut data, &mut scales).is_err());
    }
}
