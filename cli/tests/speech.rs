//! The built command's verb for speech.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod place;

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use kinglet_quantize::WeightType;
use kinglet_tests::{real, whisper};
use place::{Place, stderr, stdout};
use serde_json::Value;

/// The tiny random Whisper, converted.
fn place() -> Place {
    let folder = whisper::checkpoint();
    let place = Place { model: folder.path().join("model.kinglet"), folder };
    let checkpoint = place.folder.path().to_str().unwrap();
    let out = place.run(&["quantize", checkpoint, "--type", "f16", "-o", place.model()]);
    assert!(out.status.success(), "{}", stderr(&out));
    place
}

fn goldens() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/goldens/whisper")
}

/// Samples of 16 bits, which are those of the sound after rounding.
fn samples() -> Vec<u8> {
    let round = |x: &f32| ((x * 32768.0).round() as i16).to_le_bytes();
    whisper::sound().iter().flat_map(round).collect()
}

/// A WAV file of samples of 16 bits.
fn wav(channels: u16, rate: u32, samples: &[u8]) -> Vec<u8> {
    let mut file = b"RIFF".to_vec();
    file.extend((36 + samples.len() as u32).to_le_bytes());
    file.extend(b"WAVEfmt \x10\0\0\0\x01\0");
    file.extend(channels.to_le_bytes());
    file.extend(rate.to_le_bytes());
    file.extend((rate * u32::from(channels) * 2).to_le_bytes());
    file.extend((channels * 2).to_le_bytes());
    file.extend(16u16.to_le_bytes());
    file.extend(b"data");
    file.extend((samples.len() as u32).to_le_bytes());
    file.extend(samples);
    file
}

fn write(place: &Place, name: &str, bytes: &[u8]) -> String {
    let path = place.path(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

/// What a command makes of bytes on standard input.
fn heard(place: &Place, input: &[u8], arguments: &[&str]) -> String {
    let mut command = place.command(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let out = child.wait_with_output().unwrap();
    assert!(out.status.success(), "{}", stderr(&out));
    stdout(&out)
}

#[test]
fn files_and_standard_input_are_heard_alike() {
    let place = place();
    let model = place.model();
    let mono = write(&place, "mono.wav", &wav(1, 16_000, &samples()));
    let found = place.json(&["transcribe", model, &mono, "-l", "en", "-o", "json"]);
    assert_eq!((&found["seconds"], &found["language"]), (&3.0.into(), &"en".into()));
    assert_eq!(found["file"], mono);
    let text = found["text"].as_str().unwrap();
    // Two channels that are the same are one.
    let twice: Vec<u8> = samples().chunks_exact(2).flat_map(|x| [x, x].concat()).collect();
    let stereo = write(&place, "stereo.wav", &wav(2, 16_000, &twice));
    let both = place.json(&["transcribe", model, &mono, &stereo, "-l", "en", "-o", "json"]);
    assert_eq!(both[1]["segments"], found["segments"]);
    let arguments = ["transcribe", model, "-", "-l", "en", "-o", "json"];
    for input in [samples(), wav(1, 16_000, &samples())] {
        let piped: Value = serde_json::from_str(&heard(&place, &input, &arguments)).unwrap();
        assert_eq!(piped["segments"], found["segments"]);
    }
    let named = place.run(&["transcribe", "-m", model, &mono, "-l", "en"]);
    assert_eq!(stdout(&named).replace('\n', ""), text);
    assert!(stderr(&named).contains("3.0 s of sound, en in"), "{}", stderr(&named));
}

#[test]
fn the_audio_context_is_a_number_or_auto() {
    let place = place();
    let file = write(&place, "sound.wav", &wav(1, 16_000, &samples()));
    let found = |context: &[&str]| {
        let arguments = ["transcribe", place.model(), &file, "-l", "en", "-o", "json"];
        place.json(&[&arguments[..], context].concat())["segments"].clone()
    };
    assert_eq!(found(&["--audio-context", "30"]), found(&[]));
    assert_eq!(found(&["--audio-context", "5"]), found(&["--audio-context", "auto"]));
    assert_ne!(found(&["--audio-context", "5"]), found(&[]));
    for wrong in ["0", "31", "all"] {
        let arguments = ["transcribe", place.model(), &file, "--audio-context", wrong];
        assert!(place.fails(2, &arguments).contains("1 to 30, or auto"));
    }
}

#[test]
fn words_are_written_while_sound_comes() {
    let place = place();
    let arguments = ["transcribe", place.model(), "-", "--live", "-l", "en", "-q"];
    let mut command = place.command(&arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let (mut input, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    // The header of a file whose length nobody knows yet, as recorders write it.
    let mut header = wav(1, 16_000, &[]);
    header[4..8].fill(0xff);
    header[40..44].fill(0xff);
    input.write_all(&header).unwrap();
    // Sound comes until a word has come back, and only then it ends.
    let (sender, receiver) = std::sync::mpsc::channel::<Vec<u8>>();
    let reader = std::thread::spawn(move || {
        let mut piece = [0; 1024];
        while let Ok(n @ 1..) = output.read(&mut piece) {
            let _ = sender.send(piece[..n].to_vec());
        }
    });
    let sound = samples();
    let pieces = sound.chunks(8_000).cycle();
    let mut first = Vec::new();
    for piece in pieces.take(600) {
        input.write_all(piece).unwrap();
        if let Ok(bytes) = receiver.recv_timeout(std::time::Duration::from_millis(100)) {
            first = bytes;
            break;
        }
    }
    assert!(!first.is_empty(), "nothing was written before the end");
    drop(input);
    assert!(child.wait().unwrap().success());
    reader.join().unwrap();
    let rest: Vec<u8> = receiver.try_iter().flatten().collect();
    let all = [first, rest].concat();
    assert!(all.ends_with(b"\n"), "{:?}", String::from_utf8_lossy(&all));
    let file = write(&place, "sound.wav", &wav(1, 16_000, &sound));
    let error = place.fails(2, &["transcribe", place.model(), &file, "--live"]);
    assert!(error.contains("--live hears standard input"), "{error}");
}

#[test]
fn live_sound_is_the_sound_of_a_file() {
    let place = place();
    let model = place.model();
    let arguments = ["transcribe", model, "-", "--live", "-q", "-l", "en", "-o", "json"];
    let stereo: Vec<u8> = samples().chunks_exact(2).flat_map(|x| [x, x].concat()).collect();
    let odd = [&samples()[..], &[7]].concat();
    for input in [wav(1, 16_000, &samples()), samples(), odd, wav(2, 16_000, &stereo)] {
        let piped: Value = serde_json::from_str(&heard(&place, &input, &arguments)).unwrap();
        assert_eq!(piped["seconds"], 3.0);
        assert_eq!((&piped["file"], &piped["language"]), (&"-".into(), &"en".into()));
        assert!(piped["segments"][0]["text"].is_string(), "{piped}");
    }
    // At another rate.
    let slow = wav(1, 8_000, &samples()[..48_000]);
    let piped: Value = serde_json::from_str(&heard(&place, &slow, &arguments)).unwrap();
    assert_eq!(piped["seconds"], 3.0);
    let mut command = place.command(&arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"RIFF, and then something else").unwrap();
    let out = child.wait_with_output().unwrap();
    assert!(stderr(&out).contains("not a file of sound that is known"), "{}", stderr(&out));
}

#[test]
fn subtitles_have_numbers_and_times() {
    let place = place();
    let file = write(&place, "sound.wav", &wav(1, 16_000, &samples()));
    let subtitles = |form: &str| {
        let out = place.run(&["transcribe", place.model(), &file, "-l", "en", "-q", "-o", form]);
        assert!(out.status.success() && out.stderr.is_empty(), "{}", stderr(&out));
        stdout(&out)
    };
    let found = place.json(&["transcribe", place.model(), &file, "-l", "en", "-o", "json"]);
    let (mut srt, mut vtt) = (String::new(), "WEBVTT\n\n".to_owned());
    for (number, segment) in (1..).zip(found["segments"].as_array().unwrap()) {
        // All within the first minute.
        let time = |key: &str| format!("00:00:{:06.3}", segment[key].as_f64().unwrap());
        let (start, end) = (time("start"), time("end"));
        let text = segment["text"].as_str().unwrap().trim();
        vtt += &format!("{start} --> {end}\n{text}\n\n");
        let times = format!("{start} --> {end}").replace('.', ",");
        srt += &format!("{number}\n{times}\n{text}\n\n");
    }
    assert_eq!(subtitles("srt"), srt);
    assert_eq!(subtitles("vtt"), vtt);
    let two = ["transcribe", place.model(), &file, &file, "-o", "srt"];
    assert!(place.fails(2, &two).contains("subtitles are of one file"));
}

#[test]
fn times_of_words_are_told_in_json() {
    let place = place();
    let file = write(&place, "sound.wav", &wav(1, 16_000, &samples()));
    let arguments = ["transcribe", place.model(), &file, "-l", "en", "--words"];
    assert!(place.fails(2, &arguments).contains("add -o json"));
    let found = place.json(&[&arguments[..], &["-o", "json"]].concat());
    for segment in found["segments"].as_array().unwrap() {
        let words = segment["words"].as_array().unwrap();
        let text: String = words.iter().map(|word| word["word"].as_str().unwrap()).collect();
        // What is no UTF-8 is told otherwise in pieces.
        let known = |text: &str| text.replace(char::REPLACEMENT_CHARACTER, "");
        assert_eq!(known(&text), known(segment["text"].as_str().unwrap()));
        for word in words {
            let at = |key: &str| word[key].as_f64().unwrap();
            assert!(at("start") <= at("end") && (0.0..=1.0).contains(&at("probability")));
        }
    }
    let plain = place.json(&["transcribe", place.model(), &file, "-l", "en", "-o", "json"]);
    assert_eq!((&plain["text"], plain["segments"][0].get("words")), (&found["text"], None));
}

#[test]
fn files_of_other_formats_are_heard() {
    let place = place();
    let model = place.model();
    let sounds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/goldens/sound");
    let seconds = |out: &std::process::Output| {
        assert!(out.status.success(), "{}", stderr(out));
        let found: Value = serde_json::from_slice(&out.stdout).unwrap();
        found["seconds"].as_f64().unwrap()
    };
    for name in ["speech.mp3", "speech.ogg", "speech.m4a"] {
        let path = sounds.join(name);
        let out = place.run(&["transcribe", model, path.to_str().unwrap(), "-o", "json"]);
        let whole = seconds(&out);
        // Coders begin with some silence, and end with a whole frame.
        assert!((2.0..2.2).contains(&whole), "{name}: {whole} s");
        let bytes = std::fs::read(&path).unwrap();
        let piped: Value =
            serde_json::from_str(&heard(&place, &bytes, &["transcribe", model, "-", "-o", "json"]))
                .unwrap();
        assert_eq!(piped["seconds"], whole, "{name}");
        // Half of a file is half of the sound, or an error that names it; its table may stand at its end.
        let cut = write(&place, &format!("cut-{name}"), &bytes[..bytes.len() / 2]);
        let out = place.run(&["transcribe", model, &cut, "-o", "json"]);
        match out.status.success() {
            true => assert!((0.5..1.6).contains(&seconds(&out)), "{name}: {}", seconds(&out)),
            false => assert!(stderr(&out).contains(&cut), "{}", stderr(&out)),
        }
    }
    let opus = sounds.join("speech.opus");
    let error = place.fails(1, &["transcribe", model, opus.to_str().unwrap()]);
    assert!(error.contains("speech.opus") && error.contains("Ogg Vorbis"), "{error}");
}

#[test]
fn samples_that_are_no_numbers_are_named() {
    let place = place();
    // Samples of 32 bits, of type 3: floating point.
    let samples: Vec<u8> =
        [0.1f32, 0.2, f32::NAN, 0.4].iter().flat_map(|x| x.to_le_bytes()).collect();
    let mut file = wav(1, 16_000, &samples);
    file[20] = 3;
    file[28..32].copy_from_slice(&64_000u32.to_le_bytes());
    (file[32], file[34]) = (4, 32);
    let file = write(&place, "nan.wav", &file);
    let error = place.fails(1, &["transcribe", place.model(), &file]);
    assert!(error.contains("no finite number, at 2"), "{error}");
}

#[test]
fn what_is_no_sound_is_named() {
    let place = place();
    let model = place.model();
    let fails = |code: i32, arguments: &[&str]| {
        place.fails(code, &[&["transcribe", model], arguments].concat())
    };
    assert!(fails(2, &[]).contains("no FILE given"));
    assert!(fails(1, &["none.wav"]).contains("none.wav"));
    let text = write(&place, "notes.txt", b"hello\n");
    assert!(fails(1, &[&text]).contains("not a file of sound that is known"));
    let folder = place.folder.path().to_str().unwrap();
    assert!(fails(1, &[folder]).contains("is a folder"));
    let empty = write(&place, "empty.wav", &wav(1, 16_000, &[]));
    assert!(fails(1, &[&empty]).contains("the sound is empty"));
    let quiet = write(&place, "quiet.wav", &wav(1, 8_000, &[0; 32_000]));
    let found = place.json(&["transcribe", model, &quiet, "-o", "json"]);
    assert_eq!((&found["text"], &found["seconds"]), (&"".into(), &2.0.into()));
    assert!(fails(1, &[&quiet, "-l", "xx"]).contains("does not know the language \"xx\""));
    // What was cut is used as far as it goes.
    let flac = std::fs::read(goldens().join("english.flac")).unwrap();
    let cut = write(&place, "cut.flac", &flac[..flac.len() / 2]);
    let out = place.run(&["transcribe", model, &cut, "-o", "json"]);
    assert!(stderr(&out).contains("ends before it should"), "{}", stderr(&out));
    let found: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert!((2.0..4.0).contains(&found["seconds"].as_f64().unwrap()), "{found}");
    let text_model = place::place("llama");
    let error = text_model.fails(1, &["transcribe", text_model.model(), &quiet]);
    assert!(error.contains("it hears nothing"), "{error}");
}

#[test]
#[ignore = "downloads 210 MB; .ci/full runs it"]
fn real_weights_write_what_the_reference_writes() {
    let golden = std::fs::read(goldens().join("real.json")).unwrap();
    let golden: Value = serde_json::from_slice(&golden).unwrap();
    let place = place();
    for name in ["whisper-tiny.en", "whisper-base"] {
        let model = real::converted("speech", name, WeightType::Int8);
        for expected in golden[name].as_array().unwrap() {
            // Of what nobody understood there is no one translation.
            if expected["task"] != "transcribe" {
                continue;
            }
            let file = goldens().join(expected["recording"].as_str().unwrap());
            let (model, file) = (model.to_str().unwrap(), file.to_str().unwrap());
            let found = place.json(&["transcribe", model, file, "-o", "json"]);
            assert_eq!(found["text"], expected["text"].as_str().unwrap().trim());
            let code =
                expected["language"].as_str().map(|token| token.trim_matches(['<', '|', '>']));
            assert_eq!(found["language"].as_str(), code);
        }
    }
}
