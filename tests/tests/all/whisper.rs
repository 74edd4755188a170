//! Speech to text: a tiny random Whisper against the reference implementation.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may fail and tell")]

use std::path::Path;

use kinglet::{AudioContext, Error, Input, LogMel, Model, ModelOptions, Task, TranscribeOptions};
use kinglet_quantize::{Options, Source, WeightType, quantize};
use kinglet_tests::{tiny, whisper};

/// Largest error relative to the reference's standard deviation: as for other families.
const F16_TOLERANCE: f32 = 0.01;
const INT8_TOLERANCE: f32 = 0.15;

fn convert(checkpoint: &Path, dtype: WeightType) -> Model {
    let target = tempfile::tempdir().unwrap();
    let path = target.path().join("model.kinglet");
    let source = Source::open(checkpoint).unwrap();
    quantize(&source, &Options { dtype, ..Options::default() }, &path, &mut ()).unwrap();
    Model::open_with(&path, &ModelOptions::default().read_into_memory(true)).unwrap()
}

fn tiny_model(dtype: WeightType) -> Model {
    convert(whisper::checkpoint().path(), dtype)
}

fn spectrogram() -> Vec<f32> {
    LogMel::new(16).spectrogram(&whisper::sound(), 3000)
}

/// One answer, whatever it is worth.
fn greedy() -> TranscribeOptions {
    TranscribeOptions::default().temperatures([0.0])
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
fn spectrograms_match_the_reference() {
    let golden = whisper::golden();
    for (n_mels, expected) in &golden.mels {
        let frames = LogMel::new(*n_mels).spectrogram(&whisper::sound(), 3000);
        for (frame, expected) in golden.frames.iter().zip(expected) {
            let ours = &frames[frame * n_mels..][..*n_mels];
            let difference =
                ours.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(difference < 1e-4, "frame {frame} of {n_mels} bands is off by {difference}");
        }
    }
}

#[test]
fn states_and_logits_match_the_reference() {
    let golden = whisper::golden();
    let frames = spectrogram();
    for (dtype, tolerance) in [(WeightType::F16, F16_TOLERANCE), (WeightType::Int8, INT8_TOLERANCE)]
    {
        let model = tiny_model(dtype);
        assert_eq!(model.tasks(), [Task::Transcribe]);
        let all = model.hidden_states(Input::Spectrogram(&frames)).unwrap();
        assert_eq!(all.len(), 1500);
        let states: Vec<_> = golden.rows.iter().map(|&row| all[row].clone()).collect();
        let states = error(&states, &golden.states);
        let mut session = model.session().unwrap();
        assert!(session.set_spectrogram(&frames).unwrap());
        let mut logits = Vec::new();
        let every_seventh = |row: &[f32]| row.iter().step_by(7).copied().collect::<Vec<_>>();
        let visit = |_: usize, row: &[f32]| logits.push(every_seventh(row));
        assert!(session.score(&golden.tokens, 0, visit).unwrap());
        let prefill = error(&logits, &golden.logits);
        session.reset();
        let row = |token: &u32| {
            session.feed(&[*token]).unwrap();
            every_seventh(session.logits())
        };
        let decode = error(&golden.tokens.iter().map(row).collect::<Vec<_>>(), &golden.logits);
        println!("{dtype}: states {states:.5}, prefill {prefill:.5}, decode {decode:.5}");
        assert!(
            states.max(prefill).max(decode) < tolerance,
            "{dtype}: {states} {prefill} {decode}"
        );
    }
}

#[test]
fn cut_spectrograms_are_read_as_the_reference_reads_them() {
    let (golden, cut) = (whisper::golden(), whisper::cut());
    let frames = LogMel::new(16).spectrogram(&whisper::sound(), 2 * cut.n_rows);
    for (dtype, tolerance) in [(WeightType::F16, F16_TOLERANCE), (WeightType::Int8, INT8_TOLERANCE)]
    {
        let model = tiny_model(dtype);
        let all = model.hidden_states(Input::Spectrogram(&frames)).unwrap();
        assert_eq!(all.len(), cut.n_rows);
        let states: Vec<_> = cut.rows.iter().map(|&row| all[row].clone()).collect();
        let states = error(&states, &cut.states);
        let mut session = model.session().unwrap();
        assert!(session.set_spectrogram(&frames).unwrap());
        let mut logits: Vec<Vec<f32>> = Vec::new();
        let visit = |_: usize, row: &[f32]| logits.push(row.iter().step_by(7).copied().collect());
        assert!(session.score(&golden.tokens, 0, visit).unwrap());
        let logits = error(&logits, &cut.logits);
        println!("{dtype}: states {states:.5}, logits {logits:.5}");
        assert!(states.max(logits) < tolerance, "{dtype}: {states} {logits}");
    }
}

#[test]
fn the_encoder_reads_as_much_as_it_is_told() {
    let model = tiny_model(WeightType::F16);
    let sound = whisper::sound();
    let rows = |context: AudioContext| {
        let options = greedy().language("en").audio_context(context).words(true);
        let transcript = model.transcribe(&sound, &options).unwrap();
        assert!(transcript.segments.iter().all(|segment| segment.end <= 30.0));
        transcript
    };
    // All of a window is what is read without being told.
    assert_eq!(rows(AudioContext::Seconds(30.0)), rows(AudioContext::Whole));
    // Three seconds of sound and the silence after them are five seconds.
    assert_eq!(rows(AudioContext::Seconds(5.0)), rows(AudioContext::Sound));
    assert_ne!(rows(AudioContext::Sound), rows(AudioContext::Whole));
    // A window that is shorter than the sound is followed by another.
    let mut transcription =
        model.transcription(&sound, &greedy().audio_context(AudioContext::Seconds(1.0))).unwrap();
    let ends: Vec<f64> = transcription.by_ref().map(|segment| segment.unwrap().end).collect();
    assert!(transcription.heard() == 3.0, "{ends:?}");
    let options = greedy().audio_context(AudioContext::Seconds(31.0));
    let error = model.transcribe(&sound, &options).unwrap_err().to_string();
    assert!(error.contains("audio context is 31"), "{error}");
}

#[test]
fn an_answer_follows_the_reference_and_its_rules() {
    let golden = whisper::golden();
    assert!(golden.gaps.iter().all(|&gap| gap > 0.02), "the reference is undecided");
    let model = tiny_model(WeightType::F16);
    let transcript = model.transcribe(&whisper::sound(), &greedy().language("en")).unwrap();
    assert_eq!(transcript.language.as_deref(), Some("en"));
    // The first segment ends with a time that is followed by another.
    let [segment] = &transcript.segments[..] else { panic!("{transcript:?}") };
    let pair = golden.answer.windows(2).position(|two| two.iter().all(|&token| token >= 267));
    assert_eq!(segment.tokens, golden.answer[..=pair.unwrap()]);
    let seconds = |token: u32| f64::from(token - 267) * 0.02;
    assert_eq!(segment.start, seconds(golden.answer[0]));
    assert_eq!(segment.end, seconds(*segment.tokens.last().unwrap()));
    assert!((segment.no_speech - golden.no_speech).abs() < 1e-4 * golden.no_speech.max(0.1));
}

#[test]
fn words_are_spoken_when_the_reference_says() {
    let golden = whisper::words();
    let model = tiny_model(WeightType::F16);
    let options = greedy().language("en");
    let words = model.align(&whisper::sound(), &golden.text, &options).unwrap();
    let texts: Vec<&str> = words.iter().map(|word| word.text.trim()).collect();
    assert_eq!(texts.join(" "), golden.text);
    // Each token is a byte. A word begins with its blank, and punctuation takes no time of it.
    let row = |seconds: f64| (seconds / 0.02).round() as usize;
    let (mut at, mut near, mut all) = (0, 0, 0);
    for word in &words {
        let place = golden.text.len().min(at);
        let inner = word.text.trim().trim_start_matches(['"', '(']);
        let before = word.text.len() - word.text.trim_start().len();
        let opening = word.text.trim().len() - inner.len();
        let core = inner.trim_end_matches([',', ':', '"', ')', '!']).len();
        // The mark before a word has the blank.
        let first = place + if opening > 0 { before + opening } else { 0 };
        let end = place + before + opening + core;
        for (seconds, token) in [(word.start, first), (word.end, end)] {
            all += 1;
            near += usize::from(row(seconds).abs_diff(golden.begins[token]) <= 1);
        }
        let n = end - first;
        let expected = golden.probabilities[first..end].iter().sum::<f32>() / n as f32;
        let error = (word.probability - expected).abs();
        assert!(error < 0.02 * expected.max(0.05), "{:?}: {error}", word.text);
        at += word.text.len();
    }
    println!("{near} of {all} times within 20 ms");
    assert!(near * 10 >= all * 9, "{near} of {all}");
    let error = model.align(&vec![0.1; 31 * 16_000], "a", &options).unwrap_err();
    assert!(matches!(error, Error::ContextFull { wanted: 3100, context_length: 3000, .. }));
}

#[test]
fn segments_have_words() {
    let model = tiny_model(WeightType::F16);
    let options = greedy().language("en");
    let plain = model.transcribe(&whisper::sound(), &options).unwrap();
    assert!(plain.segments.iter().all(|segment| segment.words.is_empty()));
    let timed = model.transcribe(&whisper::sound(), &options.words(true)).unwrap();
    assert_eq!(timed.text, plain.text);
    for segment in &timed.segments {
        let text: String = segment.words.iter().map(|word| word.text.as_str()).collect();
        // What is no UTF-8 is told otherwise in pieces.
        let known = |text: &str| text.replace(char::REPLACEMENT_CHARACTER, "");
        assert_eq!(known(&text), known(&segment.text));
        assert!(segment.words.is_sorted_by(|a, b| a.start <= b.start));
        for word in &segment.words {
            assert!(word.start <= word.end && word.end <= 3.0, "{word:?}");
            assert!((0.0..=1.0).contains(&word.probability), "{word:?}");
        }
    }
}

#[test]
fn live_speech_ends_as_its_words_came() {
    let model = tiny_model(WeightType::F16);
    let mut transcriber = model.transcriber(&greedy().language("en")).unwrap();
    let sound = whisper::sound();
    let (mut written, mut stable) = (String::new(), String::new());
    for _ in 0..4 {
        for piece in sound.chunks(4_000) {
            let heard = transcriber.push(piece).unwrap();
            written.extend(heard.segments.iter().map(|segment| segment.text.as_str()));
            // What was stable stays, and only becomes longer.
            let known = format!("{written}{}", heard.stable);
            assert!(known.starts_with(&stable), "{known:?} after {stable:?}");
            stable = known;
        }
    }
    assert_eq!(transcriber.seconds(), 12.0);
    let heard = transcriber.finish().unwrap();
    written.extend(heard.segments.iter().map(|segment| segment.text.as_str()));
    assert!(written.starts_with(&stable), "{written:?} after {stable:?}");
    assert_eq!((heard.stable.as_str(), heard.tentative.as_str()), ("", ""));
    assert!(!written.is_empty());
    assert!(matches!(transcriber.push(&[f32::NAN]), Err(Error::NotANumber { at: 0, .. })));
    // Silence is nothing, however long it is.
    let mut transcriber = model.transcriber(&greedy()).unwrap();
    for _ in 0..50 {
        assert_eq!(transcriber.push(&[0.0; 16_000]).unwrap(), Default::default());
    }
    assert_eq!(transcriber.finish().unwrap(), Default::default());
}

#[test]
fn the_language_is_the_likeliest_one() {
    let model = tiny_model(WeightType::F16);
    let transcript = model.transcribe(&whisper::sound(), &greedy()).unwrap();
    // Its logit is 9 above the others', see reference/tiny_whisper.py.
    assert_eq!(transcript.language.as_deref(), Some("de"));
}

#[test]
fn ct2_models_are_the_same_models() {
    let frames = spectrogram();
    let reference = tiny_model(WeightType::F16);
    let expected = reference.hidden_states(Input::Spectrogram(&frames)).unwrap();
    let model = convert(whisper::ct2_checkpoint(false).path(), WeightType::F16);
    assert_eq!(model.hidden_states(Input::Spectrogram(&frames)).unwrap(), expected);
    assert_eq!(model.meta().speech, reference.meta().speech);
    let answers = [&model, &reference]
        .map(|model| model.transcribe(&whisper::sound(), &greedy().language("en")).unwrap());
    assert_eq!(answers[0], answers[1]);
    // 8 bits of theirs, and then f16.
    let model = convert(whisper::ct2_checkpoint(true).path(), WeightType::F16);
    let states = model.hidden_states(Input::Spectrogram(&frames)).unwrap();
    assert!(error(&states, &expected) < INT8_TOLERANCE);
    assert_ne!(states, expected);
}

#[test]
fn models_of_whisper_cpp_are_the_same_models() {
    let frames = spectrogram();
    let reference = tiny_model(WeightType::F16);
    let expected = reference.hidden_states(Input::Spectrogram(&frames)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let converted = |f16: bool| {
        let path = folder.path().join("ggml-tiny.bin");
        std::fs::write(&path, whisper::ggml_file(f16)).unwrap();
        convert(&path, WeightType::F16)
    };
    let model = converted(false);
    assert_eq!(model.hidden_states(Input::Spectrogram(&frames)).unwrap(), expected);
    // They have no lists of heads, and tell their languages by numbers alone.
    let (ours, theirs) =
        (model.meta().speech.clone().unwrap(), reference.meta().speech.clone().unwrap());
    let codes: Vec<&str> = ours.languages.iter().map(|language| language.code.as_str()).collect();
    assert_eq!(codes, ["en", "zh", "de"]);
    assert_eq!(
        (ours.start, ours.end, ours.translate, ours.transcribe, ours.previous, ours.no_speech),
        (
            theirs.start,
            theirs.end,
            theirs.translate,
            theirs.transcribe,
            theirs.previous,
            theirs.no_speech
        )
    );
    assert_eq!(ours.first_timestamp, theirs.first_timestamp);
    let text = "The wren (small) sings!";
    let plain = kinglet::tokenizer::EncodeOptions { add_special: false, parse_special: false };
    let ids = model.tokenizer().encode(text, plain);
    assert_eq!(ids, reference.tokenizer().encode(text, plain));
    assert_eq!(model.tokenizer().decode(&ids, true), text);
    assert!(model.transcribe(&whisper::sound(), &greedy().words(true)).is_ok());
    // Rounded once more.
    let states = converted(true).hidden_states(Input::Spectrogram(&frames)).unwrap();
    assert!(error(&states, &expected) < F16_TOLERANCE);
}

#[test]
fn sound_that_cannot_be_heard_is_named() {
    let model = tiny_model(WeightType::F16);
    let message = |samples: &[f32], options: &TranscribeOptions| {
        model.transcribe(samples, options).unwrap_err().to_string()
    };
    assert_eq!(message(&[], &greedy()), "the sound is empty");
    let mut samples = whisper::sound();
    samples[7] = f32::NAN;
    assert_eq!(
        message(&samples, &greedy()),
        "the sound has a value that is no finite number, at 7"
    );
    samples[7] = 0.0;
    let unknown = message(&samples, &greedy().language("xx"));
    assert_eq!(unknown, "the model does not know the language \"xx\"; it knows en, de, haw");
    let none = message(&samples, &TranscribeOptions::default().temperatures([]));
    assert!(none.contains("the list of temperatures is empty"), "{none}");
    assert!(message(&samples, &greedy().temperatures([-1.0])).contains("temperature is -1"));
    // Silence is heard, and nothing is said.
    let silence = model.transcribe(&[1e-5; 40_000], &greedy()).unwrap();
    assert_eq!((silence.text.as_str(), silence.language, silence.segments.len()), ("", None, 0));
    // One sample is enough to be sound.
    model.transcribe(&[0.5], &greedy()).unwrap();
}

#[test]
fn what_hears_and_what_reads_are_told_apart() {
    let listener = tiny_model(WeightType::F16);
    let mut session = listener.session().unwrap();
    let error = session.set_source(&[1, 2]).unwrap_err().to_string();
    assert!(error.contains("it hears sound"), "{error}");
    let error = session.set_spectrogram(&[0.0; 16]).unwrap_err().to_string();
    assert!(
        error.contains("3000 frames of 16 or fewer, a multiple of 2; 16 values are given"),
        "{error}"
    );
    let mut frames = spectrogram();
    frames[5] = f32::INFINITY;
    assert!(matches!(session.set_spectrogram(&frames), Err(Error::NotANumber { at: 5, .. })));
    let reader = convert(tiny::checkpoint("t5").path(), WeightType::F16);
    let error = reader.transcribe(&[0.5; 100], &greedy()).unwrap_err().to_string();
    assert!(error.contains("it hears nothing"), "{error}");
    let error = reader.session().unwrap().set_spectrogram(&[]).unwrap_err().to_string();
    assert!(error.contains("it reads text"), "{error}");
}

#[test]
fn plans_count_what_hearing_takes() {
    let model = tiny_model(WeightType::F16);
    let plan = model.memory_plan(&Default::default()).unwrap();
    let mut session = model.session().unwrap();
    assert!(session.set_spectrogram(&spectrogram()).unwrap());
    // What is read of the encoder, and what passes through it, are in the plan besides.
    let rows = 1500usize.next_multiple_of(128);
    // In fp16: three layers of 3 heads of 16, and one of 4 heads of 12, of which values take panels of 8.
    let kept = 3 * 3 * (16 + 16) + 4 * (12 + 16);
    assert_eq!(plan.scratch - session.scratch_bytes(), rows * kept * 2);
}

#[test]
fn a_cancelled_transcription_ends() {
    let model = tiny_model(WeightType::F16);
    let samples = whisper::sound();
    let mut transcription = model.transcription(&samples, &greedy()).unwrap();
    transcription.cancel_token().cancel();
    assert!(transcription.next().is_none());
    assert!(transcription.next().is_none());
}
