//! AVX-VNNI, the 256-bit form of VNNI: Intel laptops and small PCs since 2021, AMD since 2024.

use super::avx2;
use crate::kernels::Kernels;

/// The table; to be handed out where `avxvnni` and what AVX2 needs were detected.
pub(super) static KERNELS: Kernels = Kernels {
    name: "avxvnni",
    gemm_i8: avx2::gemm_i8::<true>,
    gemm_i4: avx2::gemm_i4::<true>,
    ..avx2::KERNELS
};
