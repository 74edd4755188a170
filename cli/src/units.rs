//! Numbers as people read them.

use std::time::Duration;

/// Bytes in decimal units: `98.4 MB`.
pub(crate) fn bytes(n: u64) -> String {
    match n {
        0..1_000 => format!("{n} B"),
        1_000..1_000_000 => format!("{:.1} kB", n as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", n as f64 / 1e6),
        _ => format!("{:.2} GB", n as f64 / 1e9),
    }
}

/// A number of parameters: `134.52 M`.
pub(crate) fn parameters(n: u64) -> String {
    match n {
        0..1_000_000 => format!("{:.1} K", n as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.2} M", n as f64 / 1e6),
        _ => format!("{:.2} B", n as f64 / 1e9),
    }
}

/// Things and their number: `1 text`, `2 texts`.
pub(crate) fn count(n: usize, thing: &str) -> String {
    format!("{n} {thing}{}", if n == 1 { "" } else { "s" })
}

/// Things in a second; 0 where no time passed.
pub(crate) fn per_second(n: f64, time: Duration) -> f64 {
    if time.is_zero() { 0.0 } else { n / time.as_secs_f64() }
}

/// Bytes in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Mean and sample standard deviation.
pub(crate) fn mean_and_deviation(samples: &[f64]) -> (f64, f64) {
    let n = samples.len() as f64;
    let mean = samples.iter().sum::<f64>() / n.max(1.0);
    let squares: f64 = samples.iter().map(|x| (x - mean).powi(2)).sum();
    let deviation = if samples.len() > 1 { (squares / (n - 1.0)).sqrt() } else { 0.0 };
    (mean, deviation)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_well() {
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(98_362_432), "98.4 MB");
        assert_eq!(bytes(2_000_000_000), "2.00 GB");
        assert_eq!(parameters(134_515_008), "134.52 M");
    }

    #[test]
    fn one_thing_is_not_several() {
        assert_eq!(count(1, "text"), "1 text");
        assert_eq!(count(0, "text"), "0 texts");
        assert_eq!(count(2, "text"), "2 texts");
    }

    #[test]
    fn deviation_is_that_of_a_sample() {
        assert_eq!(mean_and_deviation(&[1.0, 2.0, 3.0]), (2.0, 1.0));
        assert_eq!(mean_and_deviation(&[5.0]), (5.0, 0.0));
        assert_eq!(mean_and_deviation(&[]), (0.0, 0.0));
    }
}
