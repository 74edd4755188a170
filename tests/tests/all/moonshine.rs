//! Speech to text from samples: a tiny random Moonshine against the reference implementation.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may fail and tell")]

use kinglet::{AudioContext, Error, Input, Model, ModelOptions, Task, TranscribeOptions};
use kinglet_quantize::{Options, Source, WeightType, quantize};
use kinglet_tests::{moonshine, whisper};

/// Largest error relative to the reference's standard deviation: as for other families.
const F16_TOLERANCE: f32 = 0.01;
const INT8_TOLERANCE: f32 = 0.15;

fn tiny_model(dtype: WeightType, n_threads: usize) -> Model {
    let (checkpoint, target) = (moonshine::checkpoint(), tempfile::tempdir().unwrap());
    let path = target.path().join("model.kinglet");
    let source = Source::open(checkpoint.path()).unwrap();
    quantize(&source, &Options { dtype, ..Options::default() }, &path, &mut ()).unwrap();
    let options = ModelOptions::default().read_into_memory(true).threads(n_threads);
    Model::open_with(&path, &options).unwrap()
}

/// Largest difference over the standard deviation of the reference.
fn error(ours: &[Vec<f32>], reference: &[Vec<f32>]) -> f32 {
    assert_eq!(ours.len(), reference.len());
    let all: Vec<f32> = reference.concat();
    let mean = all.iter().sum::<f32>() / all.len() as f32;
    let variance = all.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / all.len() as f32;
    let differences = ours.concat().into_iter().zip(all).map(|(a, b)| (a - b).abs());
    differences.fold(0.0, f32::max) / variance.sqrt()
}

#[test]
fn states_and_logits_match_the_reference() {
    let golden = moonshine::golden();
    let sound = whisper::sound();
    for (dtype, tolerance) in [(WeightType::F16, F16_TOLERANCE), (WeightType::Int8, INT8_TOLERANCE)]
    {
        let model = tiny_model(dtype, 2);
        assert_eq!(model.tasks(), [Task::Transcribe]);
        let states = |samples: &[f32]| model.hidden_states(Input::Samples(samples)).unwrap();
        let all = states(&sound);
        assert_eq!(all.len(), golden.n_rows);
        let every_fourth = |all: Vec<Vec<f32>>| all.into_iter().step_by(4).collect::<Vec<_>>();
        let cut = error(&every_fourth(states(&sound[..golden.cut])), &golden.cut_states);
        let states = error(&every_fourth(all), &golden.states);
        let mut session = model.session().unwrap();
        assert!(session.set_samples(&sound).unwrap());
        let every_third = |row: &[f32]| row.iter().step_by(3).copied().collect::<Vec<_>>();
        let mut logits = Vec::new();
        let visit = |_: usize, row: &[f32]| logits.push(every_third(row));
        assert!(session.score(&golden.tokens, 0, visit).unwrap());
        let prefill = error(&logits, &golden.logits);
        session.reset();
        let row = |token: &u32| {
            session.feed(&[*token]).unwrap();
            every_third(session.logits())
        };
        let decode = error(&golden.tokens.iter().map(row).collect::<Vec<_>>(), &golden.logits);
        println!("{dtype}: states {states:.5}, cut {cut:.5}, prefill {prefill:.5}, {decode:.5}");
        assert!(
            states.max(cut).max(prefill).max(decode) < tolerance,
            "{dtype}: {states} {cut} {prefill} {decode}"
        );
    }
}

#[test]
fn threads_change_no_bit() {
    let states = |n_threads: usize| {
        let model = tiny_model(WeightType::Int8, n_threads);
        model.hidden_states(Input::Samples(&whisper::sound())).unwrap()
    };
    assert_eq!(states(1), states(3));
}

#[test]
fn an_answer_follows_the_reference() {
    let golden = moonshine::golden();
    assert!(golden.gaps.iter().all(|&gap| gap > 0.02), "the reference is undecided");
    let model = tiny_model(WeightType::F16, 2);
    let transcript = model.transcribe(&whisper::sound(), &Default::default()).unwrap();
    let [segment] = &transcript.segments[..] else { panic!("{transcript:?}") };
    assert_eq!(segment.tokens, golden.answer);
    assert_eq!((segment.start, segment.end), (0.0, 3.0));
    assert_eq!(transcript.language, None);
    assert_eq!(transcript.text, segment.text.trim());
    assert!(segment.logprob < 0.0);
}

#[test]
fn long_sound_is_heard_piece_by_piece() {
    let model = tiny_model(WeightType::F16, 2);
    // The sound begins softly every second and a half: one minute of it, and silence.
    let mut sound: Vec<f32> = whisper::sound().repeat(20);
    sound.extend([0.0; 80_000]);
    let mut transcription = model.transcription(&sound, &Default::default()).unwrap();
    let segments: Vec<_> = transcription.by_ref().map(Result::unwrap).collect();
    assert!(segments.len() >= 3, "{segments:?}");
    for pair in segments.windows(2) {
        assert_eq!(pair[0].end, pair[1].start);
        let seconds = pair[0].end - pair[0].start;
        assert!((15.0..=30.0).contains(&seconds), "{seconds} s");
        // Where it is soft.
        assert!(pair[0].end % 1.5 < 0.3, "{}", pair[0].end);
    }
    assert_eq!(transcription.heard(), 65.0);
}

#[test]
fn what_it_cannot_do_is_said() {
    let model = tiny_model(WeightType::F16, 2);
    let sound = whisper::sound();
    let plain = TranscribeOptions::default;
    for (options, reason) in [
        (plain().language("en"), "it knows one alone"),
        (plain().translate(true), "it knows one language alone"),
        (plain().words(true), "it tells no times"),
        (plain().prompt("before"), "it hears sound alone"),
        (plain().audio_context(AudioContext::Sound), "it hears sound alone as it is"),
    ] {
        let error = model.transcribe(&sound, &options).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
    let error = model.transcriber(&plain()).unwrap_err().to_string();
    assert!(error.contains("it hears whole sounds alone"), "{error}");
    let mut session = model.session().unwrap();
    let error = session.set_samples(&sound[..894]).unwrap_err().to_string();
    assert!(error.contains("895 to 480000 samples at once, 894 are given"), "{error}");
    assert!(session.set_samples(&sound[..895]).unwrap());
    let error = session.set_spectrogram(&sound).unwrap_err().to_string();
    assert!(error.contains("see `Session::set_samples`"), "{error}");
    let error = session.set_samples(&[f32::NAN; 1000]).unwrap_err();
    assert!(matches!(error, Error::NotANumber { at: 0, .. }));
    // Less than what makes a row is sound all the same; silence is not heard.
    model.transcribe(&[0.5], &plain()).unwrap();
    let silence = model.transcribe(&[0.0; 40_000], &plain()).unwrap();
    assert_eq!((silence.text.as_str(), silence.segments.len()), ("", 0));
}

#[test]
fn plans_count_what_hearing_takes() {
    let model = tiny_model(WeightType::F16, 2);
    let plan = model.memory_plan(&Default::default()).unwrap();
    let mut session = model.session().unwrap();
    assert!(session.set_samples(&[0.1; 480_000]).unwrap());
    // What is read of the encoder, and what passes through it, are in the plan besides.
    assert!(plan.scratch > session.scratch_bytes());
}
