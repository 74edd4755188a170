//! GGUF's Q8_0 blocks in this layout.

use half::f16;

use super::{EncodeError, LINE, LINE_COLS, LayoutError, PANEL_ROWS, Shape, check_length};

/// Bytes of a GGUF Q8_0 block: an `f16` scale and 32 integers.
pub const Q8_0_BLOCK: usize = 34;

/// Rearranges whole rows of GGUF Q8_0 blocks into this layout with groups of 32: a permutation,
/// nothing is rounded, and decoding gives the same numbers bit for bit.
///
/// `k` must be a multiple of 32. Q8_0 files from elsewhere may hold -128, which this layout
/// excludes ([`EncodeError::NotSymmetric`]): such a tensor has to be quantized again from its
/// decoded values. A scale that is not finite is [`EncodeError::NonFinite`].
pub fn pack_q8_0(
    blocks: &[u8],      // [n_rows][k / 32][34]
    n_rows: usize,      //
    k: usize,           //
    data: &mut [i8],    // [panel][k / 8][8 rows][8 columns]
    scales: &mut [f16], // [panel][k / 32][8 rows]
) -> Result<(), EncodeError> {
    const GROUP: usize = 32;
    Shape::checked(n_rows, k, GROUP as u32, data.len(), scales.len())?;
    if !k.is_multiple_of(GROUP) {
        let (expected, found) = (k.next_multiple_of(GROUP) as u64, k as u64);
        return Err(LayoutError::BufferLength { what: "columns of Q8_0", expected, found }.into());
    }
    let row_bytes = k / GROUP * Q8_0_BLOCK;
    check_length("Q8_0 bytes", n_rows as u64 * row_bytes as u64, blocks.len())?;

    let panels = data.chunks_exact_mut(k * PANEL_ROWS);
    let panels = panels.zip(scales.chunks_exact_mut(k / GROUP * PANEL_ROWS));
    for (p, ((lines, scales), rows)) in
        panels.zip(blocks.chunks(row_bytes * PANEL_ROWS)).enumerate()
    {
        if rows.len() < row_bytes * PANEL_ROWS {
            lines.fill(0);
            scales.fill(f16::ZERO);
        }
        for (r, row) in rows.chunks_exact(row_bytes).enumerate() {
            let lines = lines.chunks_exact_mut(GROUP * PANEL_ROWS);
            let groups = lines.zip(scales.chunks_exact_mut(PANEL_ROWS));
            for (g, (block, (lines, scales))) in
                row.chunks_exact(Q8_0_BLOCK).zip(groups).enumerate()
            {
                let (scale, integers) = block.split_at(2);
                let scale = f16::from_le_bytes([scale[0], scale[1]]);
                let integers: &[i8] = bytemuck::cast_slice(integers);
                let (row, col) = (p * PANEL_ROWS + r, g * GROUP);
                if !scale.is_finite() {
                    return Err(EncodeError::NonFinite { row, col, value: scale.to_f32() });
                }
                if let Some(at) = integers.iter().position(|&q| q == i8::MIN) {
                    return Err(EncodeError::NotSymmetric { row, col: col + at });
                }
                scales[r] = scale;
                for (q, line) in integers.chunks_exact(LINE_COLS).zip(lines.chunks_exact_mut(LINE))
                {
                    line[r * LINE_COLS..][..LINE_COLS].copy_from_slice(q);
                }
            }
        }
    }
    Ok(())
}
