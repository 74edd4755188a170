//! Block types whose 4-bit numbers are places in a table, and types of three values.
//!
//! Every expression is the one of ggml's reference decoder, in `f32` without fused operations, so
//! that the results are equal bit for bit.

use super::k_block::scale;

/// The values of the non-linear types: closer together around zero.
const NON_LINEAR: [i8; 16] =
    [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/// The values of 4-bit floats (a sign, two bits of exponent, one of mantissa), doubled.
const FLOAT: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/// Low halves of 16 bytes come first, then the high ones.
fn look_up(factor: f32, table: &[i8; 16], quants: &[u8], out: &mut [f32]) {
    let (low, high) = out.split_at_mut(16);
    for ((low, high), &q) in low.iter_mut().zip(high).zip(quants) {
        *low = factor * f32::from(table[usize::from(q & 0xf)]);
        *high = factor * f32::from(table[usize::from(q >> 4)]);
    }
}

/// `d`, 32 x 4 bits: `d * table[q]`.
pub(super) fn iq4_nl(block: &[u8; 18], out: &mut [f32; 32]) {
    look_up(scale(block, 0), &NON_LINEAR, &block[2..], out);
}

/// `d`, the upper 2 bits of 8 scales, their lower 4 bits, 256 x 4 bits.
pub(super) fn iq4_xs(block: &[u8; 136], out: &mut [f32; 256]) {
    let d = scale(block, 0);
    let (high, low) = (u16::from_le_bytes([block[2], block[3]]), &block[4..8]);
    for (sub, out) in out.chunks_exact_mut(32).enumerate() {
        let low_bits = low[sub / 2] >> (sub % 2 * 4) & 0xf;
        let high_bits = (high >> (sub * 2) & 3) as u8;
        let factor = d * (i32::from(low_bits | high_bits << 4) - 32) as f32;
        look_up(factor, &NON_LINEAR, &block[8 + sub * 16..][..16], out);
    }
}

/// The exponent of a power of two, 32 x 4 bits. Half the power goes with the doubled values.
pub(super) fn mxfp4(block: &[u8; 17], out: &mut [f32; 32]) {
    let exponent = u32::from(block[0]);
    let half = match exponent {
        // Below the smallest normal number.
        0 | 1 => f32::from_bits(0x0020_0000 << exponent),
        _ => f32::from_bits((exponent - 1) << 23),
    };
    look_up(half, &FLOAT, &block[1..], out);
}

/// 240 ternary digits, five in each of 48 bytes; 16 more, four in each of 4 bytes; `d`.
pub(super) fn tq1_0(block: &[u8; 54], out: &mut [f32; 256]) {
    const POWERS: [u8; 5] = [1, 3, 9, 27, 81];
    let d = scale(block, 52);
    let mut values = out.iter_mut();
    // Bytes are fractions of 243 (81) parts of 256: a digit is what three times the byte carries over.
    for (bytes, n_digits) in [(&block[..32], 5), (&block[32..48], 5), (&block[48..52], 4)] {
        for power in &POWERS[..n_digits] {
            for (byte, value) in bytes.iter().zip(&mut values) {
                let digit = (u16::from(byte.wrapping_mul(*power)) * 3) >> 8;
                *value = d * (i32::from(digit) - 1) as f32;
            }
        }
    }
}

/// 256 x 2 bits in the order of the other types of 2 bits, `d`: `d * (q - 1)`.
pub(super) fn tq2_0(block: &[u8; 66], out: &mut [f32; 256]) {
    let d = scale(block, 64);
    for (run, out) in out.chunks_exact_mut(32).enumerate() {
        for (value, &q) in out.iter_mut().zip(&block[run / 4 * 32..]) {
            *value = d * (i32::from(q >> (run % 4 * 2) & 3) - 1) as f32;
        }
    }
}
