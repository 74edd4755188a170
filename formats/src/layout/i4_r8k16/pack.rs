//! Blocks of GGUF's 4-bit types, taken over with their integers.

use half::f16;

use super::{GROUP_SCALES, put, shape};
use crate::layout::{EncodeError, LayoutError, PANEL_ROWS, check_length};

/// Columns that share a scale in all of these types.
const GROUP: usize = 32;

/// A type of GGUF whose integers this layout holds as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packed {
    /// 32 values `d * (q - 8)`: nothing is rounded.
    Q4_0,
    /// 32 values `d * q + m`: nothing is rounded.
    Q4_1,
    /// 256 values, 8 groups `d * scale * q - dmin * min`: both products are rounded to `f16`.
    Q4K,
}

impl Packed {
    /// Values of a block.
    pub const fn block_values(self) -> usize {
        match self {
            Self::Q4_0 | Self::Q4_1 => GROUP,
            Self::Q4K => 8 * GROUP,
        }
    }

    /// Bytes of a block.
    pub const fn block_bytes(self) -> usize {
        match self {
            Self::Q4_0 => 18,
            Self::Q4_1 => 20,
            Self::Q4K => 144,
        }
    }

    /// Scale, minimum and integers of each group of a block.
    fn groups(self, block: &[u8], mut group: impl FnMut(usize, f16, f16, [u8; GROUP])) {
        let half_at = |at: usize| f16::from_le_bytes([block[at], block[at + 1]]);
        // The low halves of the bytes, then the high ones.
        let halves = |bytes: &[u8]| -> [u8; GROUP] {
            std::array::from_fn(|i| if i < 16 { bytes[i] & 15 } else { bytes[i - 16] >> 4 })
        };
        match self {
            Self::Q4_0 => {
                let scale = half_at(0);
                group(0, scale, f16::from_f32(-8.0 * scale.to_f32()), halves(&block[2..]));
            }
            Self::Q4_1 => group(0, half_at(0), half_at(2), halves(&block[4..])),
            Self::Q4K => {
                let (d, dmin) = (half_at(0).to_f32(), half_at(2).to_f32());
                for g in 0..8 {
                    let (scale, min) = scale_and_min(&block[4..16], g);
                    let bytes = &block[16 + g / 2 * GROUP..][..GROUP];
                    let q = std::array::from_fn(|i| bytes[i] >> (4 * (g % 2)) & 15);
                    let minimum = f16::from_f32(-(dmin * f32::from(min)));
                    group(g, f16::from_f32(d * f32::from(scale)), minimum, q);
                }
            }
        }
    }
}

/// The 6-bit scale and minimum of group `g` of a K-quant block: those of the first four groups lie in
/// the low bits of four bytes each, those of the last four in 4 bits and the two bits left over.
fn scale_and_min(packed: &[u8], g: usize) -> (u8, u8) {
    if g < 4 {
        return (packed[g] & 63, packed[g + 4] & 63);
    }
    let low = packed[g + 4];
    ((low & 15) | (packed[g - 4] >> 6 << 4), (low >> 4) | (packed[g] >> 6 << 4))
}

/// Rearranges whole rows of blocks into this layout with groups of 32; integers stay as they are.
///
/// `k` must be a multiple of a block's values. A scale or a minimum that `f16` does not have is
/// [`EncodeError::NonFinite`].
pub fn pack_blocks(
    kind: Packed,       //
    blocks: &[u8],      // [n_rows][k / block values][block bytes]
    n_rows: usize,      //
    k: usize,           //
    data: &mut [u8],    // [panel][k / 16][8 rows][8 bytes]
    scales: &mut [f16], // [panel][k / 32][2][8 rows]
) -> Result<(), EncodeError> {
    shape(n_rows, k, GROUP as u32, data.len(), scales.len())?;
    let values = kind.block_values();
    if !k.is_multiple_of(values) {
        let (expected, found) = (k.next_multiple_of(values) as u64, k as u64);
        let what = "columns of 4-bit blocks";
        return Err(LayoutError::BufferLength { what, expected, found }.into());
    }
    let row_bytes = k / values * kind.block_bytes();
    check_length("4-bit blocks", n_rows as u64 * row_bytes as u64, blocks.len())?;

    data.fill(0);
    scales.fill(f16::ZERO);
    let panels = data.chunks_exact_mut(k * PANEL_ROWS / 2);
    let panels = panels.zip(scales.chunks_exact_mut(k / GROUP * GROUP_SCALES));
    for (p, ((lines, scales), rows)) in
        panels.zip(blocks.chunks(row_bytes * PANEL_ROWS)).enumerate()
    {
        for (r, row) in rows.chunks_exact(row_bytes).enumerate() {
            let mut wrong = None;
            for (b, block) in row.chunks_exact(kind.block_bytes()).enumerate() {
                kind.groups(block, |g, scale, minimum, q| {
                    let g = b * values / GROUP + g;
                    if let Some(value) = [scale, minimum].into_iter().find(|s| !s.is_finite()) {
                        wrong = wrong.or(Some((g * GROUP, value.to_f32())));
                    }
                    scales[g * GROUP_SCALES + r] = scale;
                    scales[g * GROUP_SCALES + PANEL_ROWS + r] = minimum;
                    put(&q, r, &mut lines[g * GROUP * PANEL_ROWS / 2..]);
                });
            }
            if let Some((col, value)) = wrong {
                return Err(EncodeError::NonFinite { row: p * PANEL_ROWS + r, col, value });
            }
        }
    }
    Ok(())
}
