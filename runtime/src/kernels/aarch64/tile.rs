//! What the integer products of all sets share: the walk over tiles, weights, scaling and storing.

use crate::kernels::product::{IntProduct, balanced};
use half::f16;
use std::arch::aarch64::*;

/// One panel times a few tokens.
pub(super) struct IntTile {
    pub(super) panel: usize,
    /// First token.
    pub(super) token: usize,
    /// Number of tokens.
    pub(super) tokens: usize,
    /// First element of the output, `[tokens][cols]`.
    out: *mut f32,
    /// At most 8.
    cols: usize,
}

/// Calls `run` for tiles of at most `tokens` of the `m` tokens, and all `cols` columns. The lengths
/// were checked, so that `run` may rely on the panel, the tokens and the output being there.
#[inline(always)]
pub(super) fn for_each_tile(
    product: &IntProduct,
    first_panel: usize,
    (m, cols): (usize, usize),
    tokens: usize,
    run: impl Fn(&IntTile),
) {
    for block in product.token_blocks(m, tokens) {
        for panel in 0..cols.div_ceil(8) {
            let cols = (cols - panel * 8).min(8);
            for tile in balanced(block.clone(), tokens) {
                // SAFETY: the tile lies inside the output.
                let to = unsafe { product.out.add(tile.start * product.out_stride + panel * 8) };
                let panel = first_panel + panel;
                let (token, tokens) = (tile.start, tile.len());
                run(&IntTile { panel, token, tokens, out: to, cols });
            }
        }
    }
}

/// Runs of 8 k in a line of 64 bytes.
pub(super) const fn runs_of_line(four: bool) -> usize {
    if four { 2 } else { 1 }
}

/// Rows `2 * pair` and `2 * pair + 1` of a run of 8 k of a line. A line of int8 is one run, a line of
/// 4-bit weights two: the low and the high halves of its bytes.
///
/// # Safety
/// `line` must be valid for 64 bytes, `pair < 4`.
#[target_feature(enable = "neon")]
#[inline]
pub(super) unsafe fn two_rows<const FOUR: bool>(
    line: *const i8,
    run: usize,
    pair: usize,
) -> int8x16_t {
    // SAFETY: as the caller promises.
    let bytes = unsafe { vld1q_u8(line.add(16 * pair).cast()) };
    vreinterpretq_s8_u8(match (FOUR, run) {
        (false, _) => bytes,
        (true, 0) => vandq_u8(bytes, vdupq_n_u8(15)),
        (true, _) => vshrq_n_u8::<4>(bytes),
    })
}

/// The f32 sums of the 8 rows of a panel.
pub(super) type Sums = [float32x4_t; 2];

#[target_feature(enable = "neon")]
#[inline]
pub(super) fn zero_sums() -> Sums {
    [vdupq_n_f32(0.0); 2]
}

/// The scales of a group's 8 rows.
///
/// # Safety
/// `scales` must point to 8 values.
#[target_feature(enable = "neon")]
#[inline]
pub(super) unsafe fn load_scales(scales: *const f16) -> Sums {
    // SAFETY: as the caller promises.
    let scales = vreinterpretq_f16_u16(unsafe { vld1q_u16(scales.cast()) });
    [vcvt_f32_f16(vget_low_f16(scales)), vcvt_high_f32_f16(scales)]
}

/// `sums += f32(dots) * (scales * x_scale)`, each operation rounded.
#[target_feature(enable = "neon")]
#[inline]
pub(super) fn add_group(sums: &mut Sums, dots: [int32x4_t; 2], scales: Sums, x_scale: f32) {
    for i in 0..2 {
        let scale = vmulq_n_f32(scales[i], x_scale);
        sums[i] = vaddq_f32(sums[i], vmulq_f32(vcvtq_f32_s32(dots[i]), scale));
    }
}

/// `sums += minima * x_sum`, fused.
#[target_feature(enable = "neon")]
#[inline]
pub(super) fn add_minima(sums: &mut Sums, minima: Sums, x_sum: f32) {
    for i in 0..2 {
        sums[i] = vfmaq_n_f32(sums[i], minima[i], x_sum);
    }
}

impl IntTile {
    /// Writes the sums of the `t`-th token of the tile.
    ///
    /// # Safety
    /// `t < self.tokens`, and the tile must come from [`for_each_tile`].
    #[target_feature(enable = "neon")]
    #[inline]
    pub(super) unsafe fn store(&self, product: &IntProduct, t: usize, sums: Sums) {
        // SAFETY: the row lies inside the tile.
        unsafe { store(self.out.add(t * product.out_stride), sums, self.cols) }
    }
}

/// Writes the first `cols` of 8 elements.
///
/// # Safety
/// `out` must be valid for them.
#[target_feature(enable = "neon")]
#[inline]
pub(super) unsafe fn store(out: *mut f32, sums: Sums, cols: usize) {
    // SAFETY: as the caller promises; the last few elements go by way of the stack.
    unsafe {
        if cols == 8 {
            vst1q_f32(out, sums[0]);
            vst1q_f32(out.add(4), sums[1]);
        } else {
            let mut all = [0.0f32; 8];
            vst1q_f32(all.as_mut_ptr(), sums[0]);
            vst1q_f32(all.as_mut_ptr().add(4), sums[1]);
            out.copy_from_nonoverlapping(all.as_ptr(), cols);
        }
    }
}
