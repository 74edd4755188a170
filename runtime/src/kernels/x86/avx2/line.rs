//! A line of int8 or 4-bit weights and the eight f32 sums of its rows, in registers.

use std::arch::x86_64::*;

/// A run of 8 k of a line in 16 bits: the even k of rows 0 to 3 and of rows 4 to 7, then the odd ones.
/// A line of int8 is one run, a line of 4-bit weights two: the low and the high halves of its bytes.
///
/// # Safety
/// `line` must be valid for 64 bytes.
#[target_feature(enable = "avx2")]
#[inline]
pub(super) unsafe fn widened_run<const FOUR: bool>(line: *const i8, run: usize) -> [__m256i; 4] {
    // SAFETY: as the caller promises.
    let (rows_0, rows_4) =
        unsafe { (_mm256_loadu_si256(line.cast()), _mm256_loadu_si256(line.add(32).cast())) };
    let low = _mm256_set1_epi16(15);
    let masked = |rows| _mm256_and_si256(rows, low);
    match (FOUR, run) {
        (false, _) => [
            _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(rows_0)),
            _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(rows_4)),
            _mm256_srai_epi16::<8>(rows_0),
            _mm256_srai_epi16::<8>(rows_4),
        ],
        (true, 0) => [
            masked(rows_0),
            masked(rows_4),
            masked(_mm256_srli_epi16::<8>(rows_0)),
            masked(_mm256_srli_epi16::<8>(rows_4)),
        ],
        (true, _) => [
            masked(_mm256_srli_epi16::<4>(rows_0)),
            masked(_mm256_srli_epi16::<4>(rows_4)),
            _mm256_srli_epi16::<12>(rows_0),
            _mm256_srli_epi16::<12>(rows_4),
        ],
    }
}

/// Rows 0 1 4 5 2 3 6 7 in order, and the other way round.
#[target_feature(enable = "avx2")]
#[inline]
pub(super) fn swap_middle_pairs(v: __m256) -> __m256 {
    _mm256_castpd_ps(_mm256_permute4x64_pd::<0b11_01_10_00>(_mm256_castps_pd(v)))
}

/// The mask of the first `cols` of 8 elements.
#[target_feature(enable = "avx2")]
#[inline]
fn first_of_8(cols: usize) -> __m256i {
    let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    _mm256_cmpgt_epi32(_mm256_set1_epi32(cols as i32), lanes)
}

/// The first `cols` of 8 elements, zeros behind them.
///
/// # Safety
/// `from` must be valid for them.
#[target_feature(enable = "avx2")]
#[inline]
pub(super) unsafe fn load(from: *const f32, cols: usize) -> __m256 {
    // SAFETY: as the caller promises; a masked load touches the selected elements only.
    unsafe {
        if cols == 8 { _mm256_loadu_ps(from) } else { _mm256_maskload_ps(from, first_of_8(cols)) }
    }
}

/// Writes the first `cols` of 8 elements.
///
/// # Safety
/// `out` must be valid for them.
#[target_feature(enable = "avx2")]
#[inline]
pub(super) unsafe fn store(out: *mut f32, v: __m256, cols: usize) {
    // SAFETY: as the caller promises; a masked store touches the selected elements only.
    unsafe {
        if cols == 8 {
            _mm256_storeu_ps(out, v);
        } else {
            _mm256_maskstore_ps(out, first_of_8(cols), v);
        }
    }
}
