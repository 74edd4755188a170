//! Block types of 256 elements: sub-blocks of 16 or 32 with small integer scales of their own.
//!
//! Every expression is the one of ggml's reference decoder, in `f32` without fused operations, so
//! that the results are equal bit for bit.

use half::f16;

/// The `f16` at byte `at` of a block.
pub(super) fn scale<const B: usize>(block: &[u8; B], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

/// 16 bytes of 4-bit scale and minimum, 256 x 2 bits, `d`, `d_min`.
pub(super) fn q2_k(block: &[u8; 84], out: &mut [f32; 256]) {
    let (scales, quants) = (&block[..16], &block[16..80]);
    let (d, d_min) = (scale(block, 80), scale(block, 82));
    for (sub, out) in out.chunks_exact_mut(16).enumerate() {
        let factor = d * f32::from(scales[sub] & 0xf);
        let minimum = d_min * f32::from(scales[sub] >> 4);
        let place = TwoBits::of(sub);
        for (value, &q) in out.iter_mut().zip(&quants[place.start..]) {
            *value = factor * f32::from(q >> place.shift & 3) - minimum;
        }
    }
}

/// 256 third bits, 256 x 2 bits, 16 scales of 6 bits, `d`.
pub(super) fn q3_k(block: &[u8; 110], out: &mut [f32; 256]) {
    let (high, quants, scales) = (&block[..32], &block[32..96], &block[96..108]);
    let d = scale(block, 108);
    for (sub, out) in out.chunks_exact_mut(16).enumerate() {
        let low_bits = scales[sub % 8] >> (sub / 8 * 4) & 0xf;
        let high_bits = scales[8 + sub % 4] >> (sub / 4 * 2) & 3;
        let factor = d * (i32::from(low_bits | high_bits << 4) - 32) as f32;
        let place = TwoBits::of(sub);
        // One bit for each run of 32 elements.
        let mask = 1u8 << (sub / 2);
        let pairs = quants[place.start..].iter().zip(&high[sub % 2 * 16..]);
        for (value, (&q, &h)) in out.iter_mut().zip(pairs) {
            let below = if h & mask == 0 { 4 } else { 0 };
            *value = factor * (i32::from(q >> place.shift & 3) - below) as f32;
        }
    }
}

/// `d`, `d_min`, 8 scales and minima of 6 bits, 256 x 4 bits.
pub(super) fn q4_k(block: &[u8; 144], out: &mut [f32; 256]) {
    let (d, d_min) = (scale(block, 0), scale(block, 2));
    let (scales, quants) = (&block[4..16], &block[16..]);
    for (sub, out) in out.chunks_exact_mut(32).enumerate() {
        let (factor, minimum) = six_bit_scales(scales, sub);
        let (factor, minimum) = (d * factor, d_min * minimum);
        for (value, &q) in out.iter_mut().zip(&quants[sub / 2 * 32..]) {
            *value = factor * f32::from(q >> (sub % 2 * 4) & 0xf) - minimum;
        }
    }
}

/// `d`, `d_min`, 8 scales and minima of 6 bits, 256 fifth bits, 256 x 4 bits.
pub(super) fn q5_k(block: &[u8; 176], out: &mut [f32; 256]) {
    let (d, d_min) = (scale(block, 0), scale(block, 2));
    let (scales, high, quants) = (&block[4..16], &block[16..48], &block[48..]);
    for (sub, out) in out.chunks_exact_mut(32).enumerate() {
        let (factor, minimum) = six_bit_scales(scales, sub);
        let (factor, minimum) = (d * factor, d_min * minimum);
        let pairs = quants[sub / 2 * 32..].iter().zip(high);
        for (value, (&q, &h)) in out.iter_mut().zip(pairs) {
            let q = q >> (sub % 2 * 4) & 0xf | (h >> sub & 1) << 4;
            *value = factor * f32::from(q) - minimum;
        }
    }
}

/// 256 x 4 bits, 256 x 2 more, 16 signed scales, `d`.
pub(super) fn q6_k(block: &[u8; 210], out: &mut [f32; 256]) {
    let (low, high, scales) = (&block[..128], &block[128..192], &block[192..208]);
    let d = scale(block, 208);
    for (sub, out) in out.chunks_exact_mut(16).enumerate() {
        let factor = d * f32::from(scales[sub] as i8);
        // In each half of 128: four runs of 32 elements share 64 low bytes and 32 high ones.
        let (half, run, part) = (sub / 8, sub % 8 / 2, sub % 2 * 16);
        let low = &low[half * 64 + run % 2 * 32 + part..];
        let high = &high[half * 32 + part..];
        for (value, (&l, &h)) in out.iter_mut().zip(low.iter().zip(high)) {
            let q = l >> (run / 2 * 4) & 0xf | (h >> (run * 2) & 3) << 4;
            *value = factor * (i32::from(q) - 32) as f32;
        }
    }
}

/// Where the 2-bit quants of a sub-block of 16 lie: in each half of 128 elements, 32 bytes hold
/// four runs of 32 elements, one above the other.
struct TwoBits {
    start: usize,
    shift: usize,
}

impl TwoBits {
    fn of(sub: usize) -> Self {
        Self { start: sub / 8 * 32 + sub % 2 * 16, shift: sub % 8 / 2 * 2 }
    }
}

/// Scale and minimum of sub-block `sub` out of 12 bytes: the first four pairs lie in the low 6 bits
/// of 8 bytes; the others in the halves of 4 bytes, with their upper 2 bits on top of the first 8.
fn six_bit_scales(scales: &[u8], sub: usize) -> (f32, f32) {
    let (factor, minimum) = if sub < 4 {
        (scales[sub] & 63, scales[sub + 4] & 63)
    } else {
        let both = scales[sub + 4];
        (both & 0xf | scales[sub - 4] >> 6 << 4, both >> 4 | scales[sub] >> 6 << 4)
    };
    (f32::from(factor), f32::from(minimum))
}
