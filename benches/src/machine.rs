//! The limits that kernels are measured against: clock rate and streaming read.

use std::hint::black_box;
use std::time::Instant;

/// The shortest of some runs of `f`, in seconds: the one that other programs disturbed least.
pub fn shortest(runs: usize, mut f: impl FnMut()) -> f64 {
    (0..runs)
        .map(|_| {
            let start = Instant::now();
            f();
            start.elapsed().as_secs_f64()
        })
        .fold(f64::INFINITY, f64::min)
}

/// Cycles per second of this thread's core, from a chain of dependent operations that take one
/// cycle each.
pub fn clock_rate() -> f64 {
    const STEPS: u64 = 400_000;
    let seconds = shortest(25, || {
        let (a, b) = (black_box(0x9e37_79b9u64), black_box(0x85eb_ca6bu64));
        let mut x = black_box(1u64);
        for _ in 0..STEPS / 8 {
            x = (x ^ a).wrapping_add(b);
            x = (x ^ a).wrapping_add(b);
            x = (x ^ a).wrapping_add(b);
            x = (x ^ a).wrapping_add(b);
        }
        black_box(x);
    });
    STEPS as f64 / seconds
}

/// Bytes per second of one thread that reads `data` from start to end and does next to nothing
/// with it.
pub fn streaming_read(data: &[u64], runs: usize) -> f64 {
    let seconds = shortest(runs, || {
        let mut sums = [0u64; 32];
        for block in data.chunks_exact(32) {
            for (sum, value) in sums.iter_mut().zip(block) {
                *sum = sum.wrapping_add(*value);
            }
        }
        black_box(sums);
    });
    size_of_val(data) as f64 / seconds
}
