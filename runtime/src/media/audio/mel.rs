//! Spectra of overlapping pieces of sound, gathered into mel bands, as logarithms.

use std::f64::consts::PI;
use std::sync::Arc;

use rustfft::algorithm::MixedRadix;
use rustfft::algorithm::butterflies::{Butterfly5, Butterfly16};
use rustfft::num_complex::Complex;
use rustfft::{Fft, FftDirection};

use super::filters::{Band, bands};
use super::{HOP, SAMPLE_RATE};

/// Samples of a piece: 25 ms.
const N_FFT: usize = 400;
/// Bins of its spectrum.
const N_BINS: usize = N_FFT / 2 + 1;
/// Least power of which a logarithm is taken.
const LEAST_POWER: f64 = 1e-10;
/// How far below the loudest band anything counts, in tenfold powers.
const RANGE: f32 = 8.0;

/// Makes log-mel spectrograms of sound at [`SAMPLE_RATE`], as Whisper was trained on them
/// (arXiv:2212.04356): a frame every 10 ms, whose piece of 25 ms lies around it; before the sound is
/// its mirror image, after it silence.
pub struct LogMel {
    fft: MixedRadix<f64>,
    window: Vec<f64>,
    bands: Vec<Band>,
    /// A piece, then its spectrum.
    piece: Vec<Complex<f64>>,
    scratch: Vec<Complex<f64>>,
    powers: Vec<f64>,
}

impl std::fmt::Debug for LogMel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogMel").field("n_mels", &self.bands.len()).finish_non_exhaustive()
    }
}

impl LogMel {
    /// For spectrograms of `n_mels` bands.
    pub fn new(n_mels: usize) -> Self {
        // Put together by hand: a planner would bring all that there is into the page's module.
        let forward = FftDirection::Forward;
        let five: Arc<dyn Fft<f64>> = Arc::new(Butterfly5::new(forward));
        let twenty_five = Arc::new(MixedRadix::new(five.clone(), five));
        let fft = MixedRadix::new(twenty_five, Arc::new(Butterfly16::new(forward)));
        let hann = |i: usize| 0.5 - 0.5 * (2.0 * PI * i as f64 / N_FFT as f64).cos();
        Self {
            window: (0..N_FFT).map(hann).collect(),
            bands: bands(n_mels, N_BINS, SAMPLE_RATE as f64 / 2.0),
            piece: vec![Complex::default(); N_FFT],
            scratch: vec![Complex::default(); fft.get_inplace_scratch_len()],
            powers: vec![0.0; N_BINS],
            fft,
        }
    }

    /// The spectrogram `[n_frames][n_mels]` of a sound that is cut, or followed by silence.
    pub fn spectrogram(&mut self, samples: &[f32], n_frames: usize) -> Vec<f32> {
        let samples = &samples[..samples.len().min(n_frames * HOP)];
        let mut frames = vec![0.0; n_frames * self.bands.len()];
        self.logarithms(samples, 0, &mut frames);
        let loudest = frames.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        normalize(&mut frames, loudest);
        frames
    }

    /// Frames from number `first` on, as many as `out` `[n][n_mels]` holds: logarithms of powers.
    pub(crate) fn logarithms(&mut self, samples: &[f32], first: usize, out: &mut [f32]) {
        for (frame, out) in (first..).zip(out.chunks_exact_mut(self.bands.len())) {
            let start = (frame * HOP) as isize - (N_FFT / 2) as isize;
            for (i, (value, weight)) in self.piece.iter_mut().zip(&self.window).enumerate() {
                // Before the beginning is the mirror image.
                let sample = samples.get((start + i as isize).unsigned_abs());
                *value = sample.map_or(0.0, |&sample| f64::from(sample) * weight).into();
            }
            self.fft.process_with_scratch(&mut self.piece, &mut self.scratch);
            for (power, bin) in self.powers.iter_mut().zip(&self.piece) {
                *power = bin.norm_sqr();
            }
            for (out, band) in out.iter_mut().zip(&self.bands) {
                *out = band.gather(&self.powers).max(LEAST_POWER).log10() as f32;
            }
        }
    }

    /// The largest logarithm of all frames of a sound, and of the silence after it.
    pub(crate) fn loudest(&mut self, samples: &[f32]) -> f32 {
        let mut frame = vec![0.0; self.bands.len()];
        let mut loudest = LEAST_POWER.log10() as f32;
        for i in 0..samples.len().div_ceil(HOP) {
            self.logarithms(samples, i, &mut frame);
            loudest = frame.iter().copied().fold(loudest, f32::max);
        }
        loudest
    }
}

/// Logarithms of powers to values around zero, given the largest of the sound.
pub(crate) fn normalize(frames: &mut [f32], loudest: f32) {
    for value in frames {
        *value = (value.max(loudest - RANGE) + 4.0) / 4.0;
    }
}
