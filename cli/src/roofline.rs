//! How fast threads can read a model's bytes without doing anything with them: the limit of
//! decoding, which reads all weights for each token.

use std::hint::black_box;
use std::sync::Barrier;
use std::time::Instant;

const PASSES: usize = 8;

/// Bytes per second that `threads` threads together read of `data`, in the fastest of some passes.
pub(crate) fn read_rate(data: &[u8], threads: usize) -> f64 {
    let share = data.len().div_ceil(threads).max(1);
    let barrier = Barrier::new(threads);
    let passes = |part: &[u8]| {
        let mut seconds = f64::INFINITY;
        for _ in 0..PASSES {
            barrier.wait();
            let start = Instant::now();
            black_box(sum(part));
            barrier.wait();
            seconds = seconds.min(start.elapsed().as_secs_f64());
        }
        seconds
    };
    let seconds = std::thread::scope(|scope| {
        let mut parts = (0..threads).map(|i| {
            let start = (i * share).min(data.len());
            &data[start..(start + share).min(data.len())]
        });
        let own = parts.next().unwrap_or_default();
        for part in parts {
            scope.spawn(move || passes(part));
        }
        passes(own)
    });
    data.len() as f64 / seconds
}

/// Enough independent sums for loads to be the only limit.
fn sum(data: &[u8]) -> u64 {
    let mut sums = [0u64; 16];
    for block in data.as_chunks::<128>().0 {
        for (sum, &value) in sums.iter_mut().zip(block.as_chunks::<8>().0) {
            *sum = sum.wrapping_add(u64::from_le_bytes(value));
        }
    }
    sums.iter().fold(0, |all, &sum| all.wrapping_add(sum))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_number_of_threads_reads_any_length() {
        for length in [0, 1, 1000] {
            for threads in [1, 3] {
                assert!(read_rate(&vec![1; length], threads).is_finite());
            }
        }
    }

    #[test]
    fn every_whole_block_is_read() {
        assert_eq!(sum(&[1u8; 256]), 32 * 0x0101_0101_0101_0101);
    }
}
