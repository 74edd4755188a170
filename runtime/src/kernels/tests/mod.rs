//! One test suite for all kernel sets: each against `scalar` for equality, and against f64.

mod floats;
mod products;
mod quantization;

use super::{Kernels, available};

/// The sets to compare with `scalar`: all this machine can run.
fn vector_sets() -> Vec<&'static Kernels> {
    available().into_iter().filter(|set| set.name != "scalar").collect()
}

fn scalar() -> &'static Kernels {
    super::by_name("scalar").unwrap()
}

/// `KINGLET_TEST_ISA=avx2,neon` makes a run fail that could not exercise these sets, so that a
/// change of machine or of detection cannot silently leave a set untested.
#[test]
fn sets_asked_for_are_exercised() {
    let asked = std::env::var("KINGLET_TEST_ISA").unwrap_or_default();
    let sets: Vec<_> = available().iter().map(|set| set.name).collect();
    for name in asked.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        assert!(sets.contains(&name), "{name} was asked for, this machine can run {sets:?}");
    }
}

/// A seeded generator (xorshift64*).
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn bits(&mut self) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) as u32
    }

    /// From `low` to `high`, both included.
    fn integer(&mut self, low: i32, high: i32) -> i32 {
        let span = (i64::from(high) - i64::from(low) + 1) as u64;
        low + ((u64::from(self.bits()) * span) >> 32) as i32
    }

    /// Uniform in `-1.0..1.0`.
    fn float(&mut self) -> f32 {
        (self.bits() >> 8) as f32 / 8_388_608.0 - 1.0
    }

    fn floats(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.float()).collect()
    }
}

/// Equal bits, or NaN on both sides.
#[track_caller]
fn assert_same(name: &str, case: &str, got: &[f32], expected: &[f32]) {
    assert_eq!(got.len(), expected.len());
    for (i, (got, expected)) in got.iter().zip(expected).enumerate() {
        assert!(
            got.to_bits() == expected.to_bits() || (got.is_nan() && expected.is_nan()),
            "{name}, {case}: element {i} is {got}, {expected} expected"
        );
    }
}
