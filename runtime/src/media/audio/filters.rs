//! Triangular filters that gather the bins of a spectrum into bands of equal width on Slaney's mel
//! scale, each of area one: what `librosa.filters.mel` gives by default.

/// Where the scale turns from linear to logarithmic.
const LOG_FROM_HZ: f64 = 1000.0;
/// Hertz of a mel below that.
const HZ_PER_MEL: f64 = 200.0 / 3.0;
const LOG_FROM_MEL: f64 = LOG_FROM_HZ / HZ_PER_MEL;
/// Mels of a factor of e above it: 27 for a factor of 6.4.
fn mels_per_e() -> f64 {
    27.0 / 6.4f64.ln()
}

/// A band: the first bin that it sees, and the weights of it and those that follow.
#[derive(Clone, Debug)]
pub(super) struct Band {
    first_bin: usize,
    weights: Vec<f64>,
}

impl Band {
    /// The weighted sum of the bins.
    pub(super) fn gather(&self, bins: &[f64]) -> f64 {
        self.weights.iter().zip(&bins[self.first_bin..]).map(|(weight, bin)| weight * bin).sum()
    }
}

/// `n_mels` bands over `n_bins` bins from 0 to `top` hertz.
pub(super) fn bands(n_mels: usize, n_bins: usize, top: f64) -> Vec<Band> {
    let hz = |i: usize| top * i as f64 / (n_bins - 1) as f64;
    let top_mel = to_mel(top);
    let corner = |i: usize| to_hz(top_mel * i as f64 / (n_mels + 1) as f64);
    let band = |mel: usize| {
        let (low, middle, high) = (corner(mel), corner(mel + 1), corner(mel + 2));
        let weight = |i: usize| {
            let (rising, falling) =
                ((hz(i) - low) / (middle - low), (high - hz(i)) / (high - middle));
            rising.min(falling).max(0.0) * 2.0 / (high - low)
        };
        let first_bin = (0..n_bins).find(|&i| weight(i) > 0.0).unwrap_or(0);
        let weights = (first_bin..n_bins).map(weight).take_while(|&weight| weight > 0.0);
        Band { first_bin, weights: weights.collect() }
    };
    (0..n_mels).map(band).collect()
}

fn to_mel(hz: f64) -> f64 {
    match hz < LOG_FROM_HZ {
        true => hz / HZ_PER_MEL,
        false => LOG_FROM_MEL + (hz / LOG_FROM_HZ).ln() * mels_per_e(),
    }
}

fn to_hz(mel: f64) -> f64 {
    match mel < LOG_FROM_MEL {
        true => mel * HZ_PER_MEL,
        false => LOG_FROM_HZ * ((mel - LOG_FROM_MEL) / mels_per_e()).exp(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_goes_to_and_fro() {
        for hz in [0.0, 440.0, 999.0, 1000.0, 3000.0, 8000.0] {
            assert!((to_hz(to_mel(hz)) - hz).abs() < 1e-9 * hz.max(1.0));
        }
        // Linear below 1 kHz, 6.4 times as high after 27 mels more.
        assert!((to_mel(500.0) - 7.5).abs() < 1e-12);
        assert!((to_mel(6400.0) - 42.0).abs() < 1e-12);
    }

    #[test]
    fn bands_overlap_by_half_and_weigh_the_same() {
        let bands = bands(80, 201, 8000.0);
        assert_eq!(bands.len(), 80);
        // A flat spectrum gives each wide band its area: one, over bins of 40 Hz.
        for band in &bands[60..] {
            let area = band.gather(&[40.0; 201]);
            assert!((area - 1.0).abs() < 0.02, "{area}");
        }
        assert!(bands.windows(2).all(|pair| pair[0].first_bin <= pair[1].first_bin));
    }
}
