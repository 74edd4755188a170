//! Which kernel sets this machine can run, and which of them to use.

use super::{Kernels, scalar};
use std::ffi::OsStr;

#[cfg(target_arch = "aarch64")]
use super::aarch64;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
use super::wasm;
#[cfg(target_arch = "x86_64")]
use super::x86;

/// The environment variable that names the kernel set to use.
const OVERRIDE: &str = "KINGLET_ISA";

/// Why there is no such kernel set.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// The name is unknown, or the processor lacks the instructions.
    #[error("kernel set `{name}` is not available on this machine; it can run: {}", available.join(", "))]
    Unavailable {
        /// The name asked for.
        name: String,
        /// The sets that this machine can run, best first.
        available: Vec<&'static str>,
    },
}

/// Every kernel set this machine can run, best first; the last one is `scalar`, which runs
/// everywhere.
pub fn available() -> Vec<&'static Kernels> {
    let mut sets = Vec::new();
    #[cfg(target_arch = "x86_64")]
    x86::detect(&mut sets);
    #[cfg(target_arch = "aarch64")]
    aarch64::detect(&mut sets);
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
    wasm::detect(&mut sets);
    sets.push(&scalar::KERNELS);
    sets
}

/// The kernel set of this name, if this machine can run it.
pub fn by_name(name: &str) -> Result<&'static Kernels, KernelError> {
    let sets = available();
    sets.iter().find(|set| set.name == name).copied().ok_or_else(|| KernelError::Unavailable {
        name: name.to_owned(),
        available: sets.iter().map(|set| set.name).collect(),
    })
}

/// The best kernel set of this machine, or the one that the environment variable `KINGLET_ISA`
/// names.
pub fn select() -> Result<&'static Kernels, KernelError> {
    best_unless(std::env::var_os(OVERRIDE).as_deref())
}

fn best_unless(name: Option<&OsStr>) -> Result<&'static Kernels, KernelError> {
    match name {
        Some(name) if !name.is_empty() => by_name(&name.to_string_lossy()),
        _ => Ok(available()[0]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_available_set_is_found_by_its_name() {
        let sets = available();
        assert_eq!(sets.last().unwrap().name, "scalar");
        for set in sets {
            assert!(std::ptr::eq(by_name(set.name).unwrap(), set));
        }
    }

    #[test]
    fn the_override_wins_over_the_best() {
        assert_eq!(best_unless(None).unwrap().name, available()[0].name);
        assert_eq!(best_unless(Some(OsStr::new(""))).unwrap().name, available()[0].name);
        assert_eq!(best_unless(Some(OsStr::new("scalar"))).unwrap().name, "scalar");
        assert!(best_unless(Some(OsStr::new("Scalar"))).is_err());
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_possible_ones() {
        let message = by_name("mmx").err().unwrap().to_string();
        assert!(message.contains("`mmx`") && message.contains("scalar"), "{message}");
    }
}
