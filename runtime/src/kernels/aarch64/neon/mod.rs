//! Plain NEON: every 64-bit ARM processor.

mod gemm_f16;
mod gemm_int;

use super::convert::{quantize_row, to_f16};
use crate::kernels::{Kernels, elementwise};

pub(super) use gemm_f16::gemm_f16;

/// The table.
pub(super) static KERNELS: Kernels = Kernels {
    name: "neon",
    quantize_row: quantize_row::<false>,
    gemm_i8: gemm_int::gemm_i8,
    gemm_i4: gemm_int::gemm_i4,
    gemm_f16,
    rms_norm: elementwise::rms_norm,
    layer_norm: elementwise::layer_norm,
    softmax_exp: elementwise::softmax_exp,
    activate: elementwise::activate,
    mul: elementwise::mul,
    add: elementwise::add,
    scale_add: elementwise::scale_add,
    scale: elementwise::scale,
    rotate_half: elementwise::rotate_half,
    group_sums: elementwise::group_sums,
    recur: elementwise::recur,
    to_f16,
};
