//! An answer's tokens to segments, and where the next window begins.

use std::ops::Range;

use kinglet_formats::kinglet::Speech;

/// Frames of a spectrogram in a timestamp's step.
const FRAMES_PER_STEP: usize = 2;
/// Seconds in a step.
const STEP: f64 = 0.02;

/// A part of an answer.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Part {
    /// Its tokens, timestamps included.
    pub(super) tokens: Range<usize>,
    /// Seconds from the beginning of the window.
    pub(super) start: f64,
    /// The same.
    pub(super) end: f64,
}

/// The segments of `answer`, and after how many of the window's `n_frames` frames of sound the next
/// window begins.
pub(super) fn cut(speech: &Speech, answer: &[u32], n_frames: usize) -> (Vec<Part>, usize) {
    let first = speech.first_timestamp;
    let is_time = |token: u32| token >= first;
    let seconds = |token: u32| f64::from(token.saturating_sub(first)) * STEP;
    let pair = |pair: &[u32]| pair.iter().all(|&token| is_time(token));
    let mut cuts: Vec<usize> =
        answer.windows(2).enumerate().filter(|(_, two)| pair(two)).map(|(i, _)| i + 1).collect();
    // Ended by one time alone, all of the window has been written down.
    let whole = matches!(answer, [.., text, end] if !is_time(*text) && is_time(*end));
    if cuts.is_empty() {
        let last = answer.iter().copied().rfind(|&token| token > first);
        let end = last.map_or(n_frames as f64 * STEP / FRAMES_PER_STEP as f64, seconds);
        return (vec![Part { tokens: 0..answer.len(), start: 0.0, end }], n_frames);
    }
    if whole {
        cuts.push(answer.len());
    }
    let starts = std::iter::once(0).chain(cuts.iter().copied());
    let part = |(start, &end): (usize, &usize)| Part {
        tokens: start..end,
        start: seconds(answer[start]),
        end: seconds(answer[end - 1]),
    };
    let parts = starts.zip(&cuts).map(part).collect();
    let last = cuts.last().map_or(0, |&cut| answer[cut - 1].saturating_sub(first) as usize);
    let advance = last * FRAMES_PER_STEP;
    // Time always goes on.
    let advance = if whole || advance == 0 { n_frames } else { advance.min(n_frames) };
    (parts, advance)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn speech() -> Speech {
        Speech {
            start: 11,
            end: 10,
            languages: Vec::new(),
            transcribe: None,
            translate: None,
            previous: None,
            no_speech: None,
            no_timestamps: 12,
            first_timestamp: 20,
            suppressed: Vec::new(),
            suppressed_first: Vec::new(),
            alignment_heads: Vec::new(),
        }
    }

    fn cuts(answer: &[u32]) -> (Vec<(Range<usize>, f64, f64)>, usize) {
        let (parts, advance) = cut(&speech(), answer, 3000);
        (parts.into_iter().map(|part| (part.tokens, part.start, part.end)).collect(), advance)
    }

    #[test]
    fn pairs_of_times_cut_and_the_last_pair_is_where_it_goes_on() {
        let answer = [20, 1, 2, 120, 120, 3, 220, 220];
        let expected = vec![(0..4, 0.0, 2.0), (4..7, 2.0, 4.0)];
        assert_eq!(cuts(&answer), (expected, 400));
        // What follows the last pair is heard again.
        let answer = [20, 1, 2, 120, 120, 3, 4];
        assert_eq!(cuts(&answer), (vec![(0..4, 0.0, 2.0)], 200));
    }

    #[test]
    fn one_time_at_the_end_ends_the_window() {
        let answer = [20, 1, 120, 120, 3, 220];
        assert_eq!(cuts(&answer), (vec![(0..3, 0.0, 2.0), (3..6, 2.0, 4.0)], 3000));
        assert_eq!(cuts(&[20, 1, 2, 120]), (vec![(0..4, 0.0, 2.0)], 3000));
        assert_eq!(cuts(&[20, 1, 2]), (vec![(0..3, 0.0, 30.0)], 3000));
        assert_eq!(cuts(&[]), (vec![(0..0, 0.0, 30.0)], 3000));
    }
}
