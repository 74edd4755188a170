//! Which tokens may come next: Whisper's rules for timestamps, and what is never written.

use kinglet_formats::kinglet::Speech;

use crate::kernels::Kernels;

/// The latest time at which an answer may begin, in timestamps: one second.
const LATEST_BEGINNING: u32 = 50;

/// Takes tokens away that may not follow `answer`, what has been written so far. `logits` are overwritten;
/// `probabilities` are those of what is left, and their sum is given with the largest logit.
pub(super) fn apply(
    kernels: &Kernels,
    speech: &Speech,
    answer: &[u32],
    logits: &mut [f32],
    probabilities: &mut [f32],
) -> (f32, f32) {
    let never = speech.suppressed.iter().chain([&speech.no_timestamps]);
    let at_first = speech.suppressed_first.iter().filter(|_| answer.is_empty());
    for &token in never.chain(at_first) {
        logits[token as usize] = f32::NEG_INFINITY;
    }
    take_timestamps(speech, answer, logits);
    let sums = exponentials(kernels, logits, probabilities);
    // Time is told where that is more probable than any one token of text.
    let (text, timestamps) = probabilities.split_at(speech.first_timestamp as usize);
    let most_of_text = text.iter().copied().fold(0.0, f32::max);
    if timestamps.iter().sum::<f32>() > most_of_text {
        logits[..speech.first_timestamp as usize].fill(f32::NEG_INFINITY);
        return exponentials(kernels, logits, probabilities);
    }
    sums
}

/// `probabilities` become the exponentials of `logits` less the largest of them; gives that one and the
/// sum.
fn exponentials(kernels: &Kernels, logits: &[f32], probabilities: &mut [f32]) -> (f32, f32) {
    probabilities.copy_from_slice(logits);
    (kernels.softmax_exp)(probabilities)
}

/// Timestamps come in pairs, the end of a segment and the beginning of the next, and never go back.
fn take_timestamps(speech: &Speech, answer: &[u32], logits: &mut [f32]) {
    let first = speech.first_timestamp;
    let is_time = |token: Option<&u32>| token.is_some_and(|&token| token >= first);
    let mut take = |from: u32, to: u32| {
        let to = (to as usize).min(logits.len());
        logits[(from as usize).min(to)..to].fill(f32::NEG_INFINITY);
    };
    let Some((last, before)) = answer.split_last() else {
        take(0, first);
        take(first + LATEST_BEGINNING + 1, u32::MAX);
        return;
    };
    let single = is_time(Some(last)) && !before.is_empty() && !is_time(before.last());
    if single {
        take(0, speech.end);
    } else if is_time(Some(last)) {
        take(first, u32::MAX);
    }
    if let Some(&latest) = answer.iter().rev().find(|&&token| token >= first) {
        // A segment has a length; the next one may begin where it ends.
        take(first, if single { latest } else { latest + 1 });
    }
    take(speech.last_timestamp() + 1, u32::MAX);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels;

    /// Text is 0 to 9, the end 10, timestamps from 20 on.
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
            suppressed: vec![3, 11],
            suppressed_first: vec![4, 10],
            alignment_heads: Vec::new(),
        }
    }

    /// What may follow `answer` if all tokens but timestamps are alike.
    fn allowed(answer: &[u32], timestamps: f32) -> Vec<u32> {
        let mut logits = [0.0; 1521];
        logits[20..].fill(timestamps);
        let mut probabilities = logits;
        let kernels = kernels::by_name("scalar").unwrap();
        apply(kernels, &speech(), answer, &mut logits, &mut probabilities);
        let is_allowed = |&token: &u32| logits[token as usize] > f32::NEG_INFINITY;
        (0..1521).filter(is_allowed).collect()
    }

    #[test]
    fn an_answer_begins_with_a_time_of_its_first_second() {
        assert_eq!(allowed(&[], -50.0), (20..=70).collect::<Vec<_>>());
    }

    #[test]
    fn text_follows_a_pair_of_times_and_one_time_is_followed_by_another() {
        let text = [0, 1, 2, 4, 5, 6, 7, 8, 9, 10, 13, 14, 15, 16, 17, 18, 19];
        assert_eq!(allowed(&[20], -50.0), text);
        assert_eq!(allowed(&[20, 5, 30, 30], -50.0), text);
        // The end of a segment: its own time again, a later one, or the end of all.
        let ends = allowed(&[20, 5, 30], -50.0);
        assert_eq!(ends[..3], [10, 13, 14]);
        assert!(ends.contains(&30) && !ends.contains(&29) && ends.contains(&1520));
        // Within text: a time after the last one.
        let within = allowed(&[20, 5], -50.0);
        assert!(within.contains(&21) && !within.contains(&20) && within.contains(&5));
    }

    #[test]
    fn time_is_told_when_it_is_more_probable_than_any_text() {
        // 1,500 timestamps of a thousandth each are more than one token.
        assert_eq!(allowed(&[20, 5], (1e-3f32).ln()), (21..=1520).collect::<Vec<_>>());
        assert!(allowed(&[20, 5], (1e-4f32).ln()).contains(&5));
    }
}
