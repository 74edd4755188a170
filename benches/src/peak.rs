//! The arithmetic limit of one core: multiplications per second of chains of nothing but
//! multiply-adds, with the instructions that a kernel set is made of.

/// Multiply-adds per second.
#[derive(Clone, Copy)]
pub struct Peak {
    /// Of 16-bit integers, which all int8 products here consist of.
    pub int16: f64,
    /// Of single-precision floats.
    pub f32: f64,
}

/// The peak of a kernel set, by its name; `None` where none is measured.
#[must_use]
pub fn of(set: &str) -> Option<Peak> {
    #[cfg(target_arch = "x86_64")]
    let peak = x86::of(set);
    #[cfg(not(target_arch = "x86_64"))]
    let peak = None.filter(|_: &Peak| !set.is_empty());
    peak
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Peak;
    use crate::machine::shortest;
    use std::arch::x86_64::*;
    use std::hint::black_box;

    /// Independent sums: a latency of six cycles hides behind two instructions a cycle.
    const SUMS: usize = 12;
    const STEPS: usize = 20_000;

    pub(super) fn of(set: &str) -> Option<Peak> {
        let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        let avxvnni = avx2 && is_x86_feature_detected!("avxvnni");
        let avx512 = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vnni");
        // SAFETY: each chain runs only where its instructions have been detected.
        unsafe {
            match set {
                "avx2" if avx2 => {
                    Some(Peak { int16: rate(16, || madd_256()), f32: rate(8, || fma_256()) })
                }
                "avxvnni" if avxvnni => {
                    Some(Peak { int16: rate(16, || dot_256()), f32: rate(8, || fma_256()) })
                }
                "avx512vnni" if avx512 => {
                    Some(Peak { int16: rate(32, || dot_512()), f32: rate(16, || fma_512()) })
                }
                _ => None,
            }
        }
    }

    fn rate(lanes: usize, mut chain: impl FnMut()) -> f64 {
        (lanes * SUMS * STEPS) as f64 / shortest(40, &mut chain)
    }

    #[target_feature(enable = "avx2")]
    fn madd_256() {
        let b = _mm256_set1_epi16(black_box(3));
        let mut sums: [__m256i; SUMS] = std::array::from_fn(|i| _mm256_set1_epi16(i as i16));
        for _ in 0..STEPS {
            for sum in &mut sums {
                // Through the sum, or the product would be made once for all steps.
                *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(*sum, b));
            }
        }
        black_box(sums);
    }

    #[target_feature(enable = "avx2,avxvnni")]
    fn dot_256() {
        let (a, b) = (_mm256_set1_epi16(black_box(3)), _mm256_set1_epi16(black_box(5)));
        let mut sums = [_mm256_setzero_si256(); SUMS];
        for _ in 0..STEPS {
            for sum in &mut sums {
                *sum = _mm256_dpwssd_avx_epi32(*sum, a, b);
            }
        }
        black_box(sums);
    }

    #[target_feature(enable = "avx512f,avx512vnni")]
    fn dot_512() {
        let (a, b) = (_mm512_set1_epi16(black_box(3)), _mm512_set1_epi16(black_box(5)));
        let mut sums = [_mm512_setzero_si512(); SUMS];
        for _ in 0..STEPS {
            for sum in &mut sums {
                *sum = _mm512_dpwssd_epi32(*sum, a, b);
            }
        }
        black_box(sums);
    }

    #[target_feature(enable = "avx2,fma")]
    fn fma_256() {
        let (a, b) = (_mm256_set1_ps(black_box(0.5)), _mm256_set1_ps(black_box(0.25)));
        let mut sums = [_mm256_setzero_ps(); SUMS];
        for _ in 0..STEPS {
            for sum in &mut sums {
                *sum = _mm256_fmadd_ps(a, b, *sum);
            }
        }
        black_box(sums);
    }

    #[target_feature(enable = "avx512f")]
    fn fma_512() {
        let (a, b) = (_mm512_set1_ps(black_box(0.5)), _mm512_set1_ps(black_box(0.25)));
        let mut sums = [_mm512_setzero_ps(); SUMS];
        for _ in 0..STEPS {
            for sum in &mut sums {
                *sum = _mm512_fmadd_ps(a, b, *sum);
            }
        }
        black_box(sums);
    }
}
