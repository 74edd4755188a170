//! AVX2 with FMA and F16C: Intel since 2013, AMD since 2015.

mod convert;
mod gemm_f16;
mod gemm_int;
mod line;
mod widened;

use crate::kernels::Kernels;
use crate::kernels::elementwise::elementwise_for;

pub(super) use convert::{quantize_row, to_f16};
pub(super) use gemm_f16::gemm_f16;
pub(super) use gemm_int::{gemm_i4, gemm_i8};

/// The table; to be handed out where `avx2`, `fma` and `f16c` were detected.
pub(super) static KERNELS: Kernels = Kernels {
    name: "avx2",
    quantize_row,
    gemm_i8: gemm_i8::<false>,
    gemm_i4: gemm_i4::<false>,
    gemm_f16,
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

elementwise_for!("avx2,fma,f16c");
