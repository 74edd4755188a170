//! Block types of 32 elements: one or two `f16` scales and small integers.
//!
//! Every expression is the one of ggml's reference decoder, in `f32` without fused operations, so
//! that the results are equal bit for bit.

use super::k_block::{self, scale};
use super::table_block;
use crate::checkpoint::DType;

/// Decodes `out.len()` elements, whole blocks, from the beginning of `stored`.
pub(crate) fn decode_blocks(dtype: DType, stored: &[u8], out: &mut [f32]) {
    match dtype {
        DType::Q4_0 => each_block(stored, out, q4_0),
        DType::Q4_1 => each_block(stored, out, q4_1),
        DType::Q5_0 => each_block(stored, out, q5_0),
        DType::Q5_1 => each_block(stored, out, q5_1),
        DType::Q8_0 => each_block(stored, out, q8_0),
        DType::Q2_K => each_block(stored, out, k_block::q2_k),
        DType::Q3_K => each_block(stored, out, k_block::q3_k),
        DType::Q4_K => each_block(stored, out, k_block::q4_k),
        DType::Q5_K => each_block(stored, out, k_block::q5_k),
        DType::Q6_K => each_block(stored, out, k_block::q6_k),
        DType::IQ4_NL => each_block(stored, out, table_block::iq4_nl),
        DType::IQ4_XS => each_block(stored, out, table_block::iq4_xs),
        DType::MXFP4 => each_block(stored, out, table_block::mxfp4),
        DType::TQ1_0 => each_block(stored, out, table_block::tq1_0),
        DType::TQ2_0 => each_block(stored, out, table_block::tq2_0),
        _ => debug_assert!(false, "{dtype} is not a block type"),
    }
}

/// `B` bytes hold `N` elements.
fn each_block<const B: usize, const N: usize>(
    stored: &[u8],
    out: &mut [f32],
    decode: impl Fn(&[u8; B], &mut [f32; N]),
) {
    let (out, _) = out.as_chunks_mut::<N>();
    for (block, out) in stored.as_chunks::<B>().0.iter().zip(out) {
        decode(block, out);
    }
}

/// `d`, 32 x 4 bits: `d * (q - 8)`. Low halves of the bytes come first, then the high ones.
fn q4_0(block: &[u8; 18], out: &mut [f32; 32]) {
    let d = scale(block, 0);
    for j in 0..16 {
        let q = block[2 + j];
        out[j] = d * (i32::from(q & 0xf) - 8) as f32;
        out[j + 16] = d * (i32::from(q >> 4) - 8) as f32;
    }
}

/// `d`, `m`, 32 x 4 bits: `d * q + m`.
fn q4_1(block: &[u8; 20], out: &mut [f32; 32]) {
    let (d, m) = (scale(block, 0), scale(block, 2));
    for j in 0..16 {
        let q = block[4 + j];
        out[j] = d * f32::from(q & 0xf) + m;
        out[j + 16] = d * f32::from(q >> 4) + m;
    }
}

/// `d`, 32 fifth bits, 32 x 4 bits: `d * (q - 16)`.
fn q5_0(block: &[u8; 22], out: &mut [f32; 32]) {
    let d = scale(block, 0);
    let high = u32::from_le_bytes([block[2], block[3], block[4], block[5]]);
    for j in 0..16 {
        let (low, upper) = five_bits(block[6 + j], high, j);
        out[j] = d * (i32::from(low) - 16) as f32;
        out[j + 16] = d * (i32::from(upper) - 16) as f32;
    }
}

/// `d`, `m`, 32 fifth bits, 32 x 4 bits: `d * q + m`.
fn q5_1(block: &[u8; 24], out: &mut [f32; 32]) {
    let (d, m) = (scale(block, 0), scale(block, 2));
    let high = u32::from_le_bytes([block[4], block[5], block[6], block[7]]);
    for j in 0..16 {
        let (low, upper) = five_bits(block[8 + j], high, j);
        out[j] = d * f32::from(low) + m;
        out[j + 16] = d * f32::from(upper) + m;
    }
}

/// Elements `j` and `j + 16` of a block, with bits `j` and `j + 16` of `high` as their fifth bits.
fn five_bits(q: u8, high: u32, j: usize) -> (u8, u8) {
    let bit = |at: usize| ((high >> at) as u8 & 1) << 4;
    (q & 0xf | bit(j), q >> 4 | bit(j + 16))
}

/// `d`, 32 x 8 bits: `d * q`.
fn q8_0(block: &[u8; 34], out: &mut [f32; 32]) {
    let d = scale(block, 0);
    for (value, &q) in out.iter_mut().zip(&block[2..]) {
        *value = d * f32::from(q as i8);
    }
}
