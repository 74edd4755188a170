//! AVX-512 with VNNI: Intel servers since 2019, Intel laptops of 2019 to 2021, AMD since 2022.

mod gemm_f16;
mod gemm_int;

use super::avx2::{quantize_row, to_f16};
use crate::kernels::Kernels;
use crate::kernels::elementwise::elementwise_for;
use std::arch::x86_64::*;

/// The table; to be handed out where `avx512f`, `avx512bw`, `avx512vl`, `avx512dq`, `avx512vnni`
/// and what AVX2 needs were detected.
pub(super) static KERNELS: Kernels = Kernels {
    name: "avx512vnni",
    quantize_row,
    gemm_i8: gemm_int::gemm_i8,
    gemm_i4: gemm_int::gemm_i4,
    gemm_f16: gemm_f16::gemm_f16,
    rms_norm,
    layer_norm,
    softmax_exp,
    activate,
    mul,
    add,
    scale_add,
    scale,
    rotate_half,
    group_sums,
    recur,
    to_f16,
};

elementwise_for!("avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,f16c");

/// 8 fp16 values from `low` and 8 from `high` as 16 floats.
///
/// # Safety
/// Both must be valid for 8 elements.
#[target_feature(enable = "avx512f,avx512vl")]
#[inline]
unsafe fn load_pair(low: *const half::f16, high: *const half::f16) -> __m512 {
    // SAFETY: as the caller promises.
    unsafe {
        let (low, high) = (_mm_loadu_si128(low.cast()), _mm_loadu_si128(high.cast()));
        _mm512_cvtph_ps(_mm256_inserti128_si256::<1>(_mm256_castsi128_si256(low), high))
    }
}

/// Writes the first `cols` of 16 elements.
///
/// # Safety
/// `out` must be valid for them.
#[target_feature(enable = "avx512f")]
#[inline]
unsafe fn store(out: *mut f32, v: __m512, cols: usize) {
    let mask = ((1u32 << cols.min(16)) - 1) as __mmask16;
    // SAFETY: as the caller promises; a masked store touches the selected elements only.
    unsafe { _mm512_mask_storeu_ps(out, mask, v) }
}
