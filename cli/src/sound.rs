//! Sound from files and standard input: any rate and any number of channels, to what models hear.

use std::fs::File;
use std::io::{self, Cursor, Read, Stdin, stdin};
use std::path::Path;

use kinglet::SAMPLE_RATE;
use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Fft, FixedSync, Indexing, Resampler};
use symphonia::core::codecs::audio::AudioDecoder;
use symphonia::core::errors::Error;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatReader, TrackType};
use symphonia::core::io::{MediaSource, MediaSourceStream, ReadOnlySource};

use crate::failure::Failure;
use crate::input::STDIN;
use crate::output::say;

/// Samples that are resampled together, about.
const CHUNK: usize = 1024;
/// Rates that sound may have.
const RATES: std::ops::RangeInclusive<u32> = 1_000..=768_000;
/// Most hours of a sound that is held as samples.
const MOST_HOURS: usize = 6;
/// Bytes of plain samples that are taken at once, at most: a tenth of a second.
const PIECE: usize = SAMPLE_RATE / 10 * 2;
/// How the files begin that standard input may be, besides plain samples, and where.
const STARTS: [(usize, &[u8]); 6] =
    [(0, b"RIFF"), (0, b"fLaC"), (0, b"OggS"), (0, b"ID3"), (0, b"FORM"), (4, b"ftyp")];

/// Takes sound as it comes; what it says against it ends the sound.
type Sink<'a> = dyn FnMut(Vec<f32>) -> Result<(), String> + 'a;

/// The sound of a file, or of standard input for `-`: mono, [`SAMPLE_RATE`] samples a second.
pub(crate) fn read(path: &Path) -> Result<Vec<f32>, Failure> {
    if path == Path::new("-") {
        let mut bytes = Vec::new();
        stdin().lock().read_to_end(&mut bytes)?;
        return match begins_file(&bytes) {
            true => decode(Box::new(Cursor::new(bytes)), Hint::new(), STDIN),
            false => Ok(plain(&bytes)),
        };
    }
    let name = path.display().to_string();
    let file = File::open(path).map_err(|error| Failure::from(error).during(&name))?;
    if file.metadata().is_ok_and(|metadata| metadata.is_dir()) {
        return Err(Failure::new(format!("{name} is a folder, not a file of sound")));
    }
    let mut hint = Hint::new();
    if let Some(extension) = path.extension().and_then(|extension| extension.to_str()) {
        hint.with_extension(extension);
    }
    decode(Box::new(file), hint, &name)
}

/// The sound of a file's bytes.
pub(crate) fn of_bytes(bytes: Vec<u8>) -> Result<Vec<f32>, Failure> {
    decode(Box::new(Cursor::new(bytes)), Hint::new(), "the file")
}

/// The sound of standard input, given away as it comes.
pub(crate) fn follow(sink: &mut Sink<'_>) -> Result<(), Failure> {
    let mut start = Vec::new();
    stdin().lock().take(8).read_to_end(&mut start)?;
    let is_file = begins_file(&start);
    let input = Cursor::new(start).chain(stdin());
    if is_file {
        return decode_into(Box::new(ReadOnlySource::new(input)), Hint::new(), STDIN, sink);
    }
    follow_plain(input, sink)
}

/// Plain samples, given away as they come.
fn follow_plain(
    mut input: io::Chain<Cursor<Vec<u8>>, Stdin>,
    sink: &mut Sink<'_>,
) -> Result<(), Failure> {
    let mut bytes = Vec::new();
    let mut piece = vec![0; PIECE];
    loop {
        let n = match input.read(&mut piece) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            n => n?,
        };
        if n == 0 {
            return Ok(());
        }
        bytes.extend_from_slice(&piece[..n]);
        // Half of a sample waits for its other half.
        let whole = bytes.len() / 2 * 2;
        sink(plain(&bytes[..whole])).map_err(Failure::new)?;
        bytes.drain(..whole);
    }
}

/// Whether bytes are the beginning of a file of sound, rather than plain samples.
fn begins_file(bytes: &[u8]) -> bool {
    let begins = |&(at, start): &(usize, &[u8])| {
        bytes.get(at..).is_some_and(|bytes| bytes.starts_with(start))
    };
    STARTS.iter().any(begins)
}

/// Samples of 16 bits, little-endian, mono, at the right rate.
fn plain(bytes: &[u8]) -> Vec<f32> {
    let samples = bytes.as_chunks::<2>().0.iter();
    samples.map(|&sample| f32::from(i16::from_le_bytes(sample)) / 32768.0).collect()
}

/// The sound of a file called `name`.
fn decode(source: Box<dyn MediaSource>, hint: Hint, name: &str) -> Result<Vec<f32>, Failure> {
    let mut samples = Vec::new();
    decode_into(source, hint, name, &mut |more| {
        samples.extend(more);
        match samples.len() / SAMPLE_RATE < MOST_HOURS * 3600 {
            true => Ok(()),
            false => Err(format!("it is longer than {MOST_HOURS} hours")),
        }
    })?;
    Ok(samples)
}

/// The same, given away as it is decoded. What is cut short is said, and what there is of it is given.
fn decode_into(
    source: Box<dyn MediaSource>,
    hint: Hint,
    name: &str,
    sink: &mut Sink<'_>,
) -> Result<(), Failure> {
    let refuse = |problem: String| {
        Failure::new(format!(
            "{name}: {problem}; WAV, AIFF, FLAC, MP3, Ogg Vorbis and AAC or ALAC in MP4 are read"
        ))
    };
    let stream = MediaSourceStream::new(source, Default::default());
    let probe = symphonia::default::get_probe();
    let mut format = probe
        .probe(&hint, stream, Default::default(), Default::default())
        .map_err(|error| refuse(format!("not a file of sound that is known ({error})")))?;
    let track = format
        .default_track(TrackType::Audio)
        .ok_or_else(|| refuse("there is no sound in the file".to_owned()))?;
    let id = track.id;
    let parameters = track.codec_params.as_ref().and_then(|parameters| parameters.audio());
    let parameters = parameters.ok_or_else(|| refuse("its sound has no description".to_owned()))?;
    let mut decoder = symphonia::default::get_codecs()
        .make_audio_decoder(parameters, &Default::default())
        .map_err(|error| refuse(format!("its sound cannot be decoded ({error})")))?;
    let mut sound = Sound::default();
    match packets(format.as_mut(), id, decoder.as_mut(), &mut sound, sink) {
        Ok(()) => {}
        Err(problem) if sound.is_empty() => return Err(refuse(problem)),
        Err(problem) => say!("{name}: {problem}; what comes before is used"),
    }
    let rest = sound.finish().map_err(&refuse)?;
    sink(rest).map_err(refuse)
}

/// Decodes all packets of track number `id`.
fn packets(
    format: &mut dyn FormatReader,
    id: u32,
    decoder: &mut dyn AudioDecoder,
    sound: &mut Sound,
    sink: &mut Sink<'_>,
) -> Result<(), String> {
    let mut damaged = 0;
    let mut samples: Vec<f32> = Vec::new();
    loop {
        let packet = match format.next_packet() {
            Ok(Some(packet)) => packet,
            // Another stream begins: the end of this one.
            Ok(None) | Err(Error::ResetRequired) => break,
            Err(error) => return Err(format!("it ends before it should ({error})")),
        };
        if packet.track_id != id {
            continue;
        }
        match decoder.decode(&packet) {
            Ok(decoded) => {
                let spec = decoded.spec();
                let (rate, channels) = (spec.rate(), spec.channels().count());
                decoded.copy_to_vec_interleaved(&mut samples);
                sound.push(&samples, rate, channels)?;
                sink(sound.take())?;
            }
            Err(Error::DecodeError(_) | Error::IoError(_)) => damaged += 1,
            Err(error) => return Err(error.to_string()),
        }
    }
    match damaged {
        0 => Ok(()),
        n => Err(format!("{n} pieces of it are damaged and left out")),
    }
}

/// Sound that is mixed down and resampled as it comes.
#[derive(Default)]
struct Sound {
    /// The rate it comes at, and what changes it, if that has to be changed.
    rate: Option<(u32, Option<Fft<f32>>)>,
    /// What waits for enough to be resampled.
    waiting: Vec<f32>,
    /// Samples that have come.
    n: u64,
    /// Samples at the other rate that have been taken, those included which come before the sound does.
    taken: usize,
    samples: Vec<f32>,
}

impl Sound {
    fn is_empty(&self) -> bool {
        self.n == 0
    }

    /// Takes interleaved samples.
    fn push(&mut self, samples: &[f32], rate: u32, channels: usize) -> Result<(), String> {
        if samples.is_empty() || channels == 0 {
            return Ok(());
        }
        match self.rate {
            Some((known, _)) if known != rate => {
                return Err(format!("its rate changes from {known} to {rate} samples a second"));
            }
            Some(_) => {}
            None => self.rate = Some((rate, resampler(rate)?)),
        }
        let mean = |frame: &[f32]| frame.iter().sum::<f32>() / channels as f32;
        let mono = samples.chunks_exact(channels).map(mean);
        self.n += mono.len() as u64;
        let Some((_, Some(resampler))) = &mut self.rate else {
            self.samples.extend(mono);
            return Ok(());
        };
        self.waiting.extend(mono);
        let mut used = 0;
        while self.waiting.len() - used >= resampler.input_frames_next() {
            let n = resampler.input_frames_next();
            self.samples.extend(resampled(resampler, &self.waiting[used..used + n], None)?);
            used += n;
        }
        self.waiting.drain(..used);
        Ok(())
    }

    /// The samples that are ready.
    fn take(&mut self) -> Vec<f32> {
        let before = self.delay().saturating_sub(self.taken).min(self.samples.len());
        self.taken += self.samples.len();
        self.samples.drain(..before);
        std::mem::take(&mut self.samples)
    }

    /// Samples that a resampler gives before those of the sound.
    fn delay(&self) -> usize {
        match &self.rate {
            Some((_, Some(resampler))) => resampler.output_delay(),
            _ => 0,
        }
    }

    /// The samples that are left, once everything has come.
    fn finish(mut self) -> Result<Vec<f32>, String> {
        let delay = self.delay();
        let Some((rate, Some(resampler))) = &mut self.rate else { return Ok(self.samples) };
        // Results come late: silence pushes out the rest.
        let expected = (self.n * SAMPLE_RATE as u64).div_ceil(u64::from(*rate)) as usize;
        let n = self.waiting.len();
        self.waiting.resize(resampler.input_frames_next().max(n), 0.0);
        let mut partial = Some(n);
        let left = (delay + expected).saturating_sub(self.taken);
        while self.samples.len() < left {
            self.samples.extend(resampled(resampler, &self.waiting, partial)?);
            partial = Some(0);
        }
        self.samples.truncate(left);
        Ok(self.take())
    }
}

/// What brings sound of this rate to that which is heard; `None` if it has it.
fn resampler(rate: u32) -> Result<Option<Fft<f32>>, String> {
    if !RATES.contains(&rate) {
        let (least, most) = (RATES.start(), RATES.end());
        return Err(format!("it has {rate} samples a second, {least} to {most} are read"));
    }
    if rate as usize == SAMPLE_RATE {
        return Ok(None);
    }
    let resampler = Fft::new(rate as usize, SAMPLE_RATE, CHUNK, 1, FixedSync::Input);
    resampler.map(Some).map_err(|error| error.to_string())
}

/// A chunk at the other rate, of which only the first `partial` samples are some.
fn resampled(
    resampler: &mut Fft<f32>,
    chunk: &[f32],
    partial: Option<usize>,
) -> Result<Vec<f32>, String> {
    let input = InterleavedSlice::new(chunk, 1, chunk.len()).map_err(|error| error.to_string())?;
    let indexing = partial.map(|n| Indexing::new().partial_len(n));
    let output = resampler.process(&input, indexing.as_ref()).map_err(|error| error.to_string())?;
    Ok(output.take_data())
}

#[cfg(test)]
mod tests {
    use std::f64::consts::TAU;

    use super::*;

    /// A tone of `hz` as it would be sampled at `rate`.
    fn tone(hz: f64, rate: u32, seconds: f64) -> Vec<f32> {
        let n = (seconds * f64::from(rate)) as usize;
        let angle = |i: usize| TAU * hz * i as f64 / f64::from(rate);
        (0..n).map(|i| 0.5 * angle(i).sin() as f32).collect()
    }

    #[test]
    fn tones_stay_where_they_are_at_any_rate() {
        for rate in [8_000, 11_025, 16_000, 22_050, 44_100, 44_101, 48_000, 96_000] {
            let mut sound = Sound::default();
            // In pieces of any length.
            for piece in tone(440.0, rate, 1.0).chunks(777) {
                let stereo: Vec<f32> = piece.iter().flat_map(|&x| [1.5 * x, 0.5 * x]).collect();
                sound.push(&stereo, rate, 2).unwrap();
            }
            let heard = sound.finish().unwrap();
            assert_eq!(heard.len(), SAMPLE_RATE, "{rate}");
            // The ends have no neighbours; 400 samples are 11 waves.
            let (first, n) = (1_000, 14_000);
            let angle = |i: usize| TAU * 440.0 * (first + i) as f64 / SAMPLE_RATE as f64;
            let part = |wave: fn(f64) -> f64| {
                let sum = (0..n).map(|i| f64::from(heard[first + i]) * wave(angle(i))).sum::<f64>();
                sum * 2.0 / n as f64
            };
            let (sine, cosine) = (part(f64::sin), part(f64::cos));
            assert!((sine.hypot(cosine) - 0.5).abs() < 1e-3, "{rate}: {sine} {cosine}");
            // Blocks of an odd length are late by half a sample, of the slower rate at most.
            let slower = f64::from(rate.min(SAMPLE_RATE as u32));
            let late = cosine.atan2(sine).abs() / (TAU * 440.0) * slower;
            assert!(late < 0.51, "{rate}: late by {late} samples");
            for i in 0..n {
                let expected = sine * angle(i).sin() + cosine * angle(i).cos();
                let error = (f64::from(heard[first + i]) - expected).abs();
                assert!(error < 1e-3, "{rate}: {error} at {i}");
            }
        }
    }

    #[test]
    fn what_cannot_be_heard_is_taken_away() {
        let mut sound = Sound::default();
        sound.push(&tone(12_000.0, 48_000, 1.0), 48_000, 1).unwrap();
        let heard = sound.finish().unwrap();
        let loudest = heard[1_000..15_000].iter().fold(0.0f32, |max, x| max.max(x.abs()));
        assert!(loudest < 1e-3, "{loudest}");
    }

    #[test]
    fn plain_samples_are_16_bits() {
        assert_eq!(plain(&[0, 0x80, 0xff, 0x7f, 0]), [-1.0, 32767.0 / 32768.0]);
    }

    #[test]
    fn a_change_of_rate_ends_it() {
        let mut sound = Sound::default();
        sound.push(&[0.0; 10], 48_000, 1).unwrap();
        assert!(sound.push(&[0.0; 10], 44_100, 1).unwrap_err().contains("48000 to 44100"));
        assert!(Sound::default().push(&[0.0], 10, 1).unwrap_err().contains("10 samples a second"));
    }
}
