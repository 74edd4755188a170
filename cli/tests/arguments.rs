//! The command line as people's fingers know it: spellings, values, order and paths.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod place;

use place::{place, stderr, stdout};

#[test]
fn texts_may_begin_with_a_minus() {
    let (llama, bert) = (place("llama"), place("bert"));
    let run = ["run", llama.model(), "--raw", "-q", "-n", "1"];
    for text in ["-5 degrees", "- milk", "-7", "--two words", "-n items"] {
        let out = llama.run(&[&run[..], &[text]].concat());
        assert!(out.status.success(), "{text}: {}", stderr(&out));
        let with_p = llama.json(&["tokenize", llama.model(), "-p", text, "-o", "json"]);
        let word = llama.json(&["tokenize", llama.model(), text, "-o", "json"]);
        assert_eq!(with_p["ids"], word["ids"], "{text}");
    }
    let dashes = bert.json(&["embed", bert.model(), "- milk", "b", "-1", "-o", "json"]);
    let behind = bert.json(&["embed", bert.model(), "-o", "json", "--", "- milk", "b", "-1"]);
    assert_eq!(dashes, behind);
    assert_eq!(dashes["embeddings"].as_array().unwrap().len(), 3);
}

#[test]
fn values_below_zero_are_meant_or_told() {
    let place = place("llama");
    let run = ["run", place.model(), "--raw", "-q", "ab", "-n", "2", "--seed", "-1"];
    let out = place.run(&run);
    assert!(out.status.success(), "{}", stderr(&out));
    for (option, value, told) in [
        ("--seed", "-2", "0 or more, or -1"),
        ("-n", "-2", "0 or more, or -1"),
        ("--temp", "-1", "0 or more"),
        ("--temp", "nan", "0 or more"),
        ("--top-k", "-1", "0 or more"),
        ("--top-p", "-0.5", "from 0 to 1"),
        ("--min-p", "2", "from 0 to 1"),
        ("--repeat-penalty", "-1", "more than 0"),
        ("--repeat-last-n", "-1", "0 or more"),
        ("-c", "-1", "1 or more"),
        ("--kv", "q8_0", "int8 is the nearest"),
        ("-t", "-1", "1 or more"),
        ("-t", "0", "1 or more"),
        ("-t", "10000", "at most 256"),
    ] {
        let message = place.fails(2, &["run", place.model(), "--raw", option, value, "x"]);
        assert!(message.contains(told) && message.contains(value), "{option} {value}: {message}");
        assert!(!message.contains("non-zero type"), "{message}");
    }
    for option in ["-p", "-n", "-d", "-r", "-t"] {
        let message = place.fails(2, &["bench", place.model(), option, "-1"]);
        assert!(message.contains("invalid value '-1'"), "{option}: {message}");
    }
    for verb in [&["bench"][..], &["show", "--plan"], &["quantize"], &["perplexity", "-f", "x"]] {
        let arguments = [verb, &[place.model(), "-t", "10000"]].concat();
        assert!(place.fails(2, &arguments).contains("at most 256"), "{verb:?}");
    }
}

#[test]
fn numbers_beyond_the_machine_and_the_model_get_a_note() {
    let place = place("llama");
    let run = ["run", place.model(), "--raw", "-q", "-n", "1", "ab"];
    let note = |arguments: &[&str]| {
        let out = place.run(&[&run[..], arguments].concat());
        assert!(out.status.success(), "{}", stderr(&out));
        stderr(&out)
    };
    assert!(note(&["-t", "256"]).contains("256 threads on"));
    assert!(note(&["-c", "999999"]).contains("made for 64 tokens"));
    assert_eq!(note(&["-c", "0"]).trim(), "");
    assert_eq!(note(&["-c", "64", "-t", "1"]).trim(), "");
    let plan = place.run(&["show", place.model(), "--plan", "-c", "999999"]);
    assert!(stderr(&plan).contains("made for 64 tokens"));
}

#[test]
fn spellings_of_other_programs_work() {
    let place = place("llama");
    let run = ["run", place.model(), "--raw", "ab", "--temp", "0", "--json"];
    for option in ["-n", "--predict", "--max-tokens", "--num-predict", "--n-predict"] {
        let answer = place.json(&[&run[..], &[option, "2"]].concat());
        assert_eq!(answer["generated_tokens"], 2, "{option}");
    }
    for verb in ["show", "verify"] {
        assert!(place.json(&[verb, place.model(), "--json"]).is_object(), "{verb}");
    }
    assert!(place.json(&["tokenize", place.model(), "--json", "a"])["ids"].is_array());
    for list in [&["list"][..], &["ls"], &["models", "ls"], &["models"]] {
        let listing = place.json(&[list, &["--json"]].concat());
        assert!(listing["catalog"].is_array(), "{list:?}");
    }
    assert!(place.run(&["-v"]).status.success());
    let out = place.run(&["run", place.model(), "--raw", "-v", "-n", "1", "ab"]);
    assert!(stderr(&out).contains("kernels"), "{}", stderr(&out));
    assert!(place.fails(1, &["pull", "smolm2"]).contains("smollm2"));
    assert!(place.fails(1, &["rm", "nothing"]).contains("nothing"));
    let help = stdout(&place.run(&["run", "--help"]));
    let names = |option: &str| help.split_whitespace().any(|word| word == option);
    assert!(names("--output") && !names("--max-tokens") && !names("--json"), "{help}");
    let sampling = help.split("Sampling:").nth(1).unwrap();
    assert!(sampling.contains("--temp") && !sampling.contains("--output"), "{help}");
}

#[test]
fn tips_lead_on() {
    let place = place("llama");
    let message = place.fails(2, &["run", place.model(), "--tempp", "1", "x"]);
    assert!(message.contains("--temp") && !message.contains("-- --tempp"), "{message}");
    let message = place.fails(2, &["show", place.model(), "--no-such-option"]);
    assert!(!message.contains("-- --no-such-option"), "{message}");
    let message = place.fails(2, &["tokenize", place.model(), "--strange"]);
    assert!(message.contains("a text that begins with a minus"), "{message}");
    for (name, near) in [("q4", "int4"), ("Q4_K_M", "int4"), ("bf16", "f16")] {
        let message = place.fails(2, &["quantize", place.model(), "--type", name]);
        assert!(message.contains(&format!("{near} is the nearest")), "{message}");
        place.fails(2, &["run", place.model(), "--type", name, "x"]);
        place.fails(2, &["bench", place.model(), "--type", name]);
    }
}

#[test]
fn what_is_no_local_file_is_fetched_or_missed() {
    let place = place("llama");
    for name in ["no-such/model", "hf.co/no-such/model", "https://example.org/m.gguf"] {
        for verb in ["run -p x", "chat", "quantize", "show", "pull"] {
            let verb: Vec<&str> = verb.split(' ').collect();
            let message = place.fails(1, &[&verb, &[name, "--offline"][..]].concat());
            let name = name.trim_start_matches("hf.co/");
            assert!(message.contains(name), "{verb:?}: {message}");
            assert!(message.contains("nothing is fetched"), "{verb:?} {name}: {message}");
        }
    }
}

#[test]
fn a_question_in_the_models_place_is_put_in_order() {
    let place = place("llama");
    let question = "Why is the sky blue?";
    let message = place.fails(1, &["run", question]);
    assert!(message.contains("the model comes first"), "{message}");
    assert!(message.contains("kinglet run smollm2-135m \"Why is the sky blue?\""), "{message}");
    let message = place.fails(1, &["run", question, place.model()]);
    assert!(message.contains(&format!("kinglet run {} \"Why", place.model())), "{message}");
    let long = "Why is the sky blue? ".repeat(500);
    assert!(place.fails(1, &["run", &long]).contains("the model comes first"));
    assert!(place.fails(1, &["embed", "a small bird"]).contains("kinglet embed minilm"));
    assert!(place.fails(1, &["tokenize", "a small bird"]).contains("the model comes first"));
}

#[cfg(unix)]
#[test]
fn paths_may_hold_any_bytes_and_texts_may_not() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    let place = place("llama");
    let bytes = OsStr::from_bytes(b"m\xff.kinglet");
    let path = place.folder.path().join(bytes);
    std::fs::copy(&place.model, &path).unwrap();
    for arguments in [
        &["run", "--raw", "-q", "-n", "1", "-p", "ab", "-m"][..],
        &["show", "-m"],
        &["show", "--plan", "-m"],
        &["verify", "-m"],
        &["bench", "-p", "4", "-n", "0", "-r", "1", "-m"],
        &["tokenize", "-p", "ab", "-m"],
    ] {
        let out = place.command(arguments).arg(&path).output().unwrap();
        assert!(out.status.success(), "{arguments:?}: {}", stderr(&out));
    }
    let first = place.command(&["show"]).arg(&path).output().unwrap();
    assert!(first.status.success(), "{}", stderr(&first));
    let target = place.folder.path().join(OsStr::from_bytes(b"o\xff.kinglet"));
    let checkpoint = place.folder.path().to_str().unwrap();
    let made = place.command(&["quantize", checkpoint, "-o"]).arg(&target).output().unwrap();
    assert!(made.status.success(), "{}", stderr(&made));

    let text = OsStr::from_bytes(b"caf\xe9");
    for (arguments, name) in [
        (&["run", place.model(), "-p"][..], "--prompt"),
        (&["run", place.model(), "--system"], "--system"),
        (&["run", place.model(), "--stop"], "--stop"),
        (&["run", place.model()], "PROMPT"),
        (&["embed", place.model()], "TEXT"),
        (&["run", "-m", place.model()], "the first word"),
        (&["run", place.model(), "--seed"], "caf"),
    ] {
        let out = place.command(arguments).arg(text).output().unwrap();
        assert_eq!(out.status.code(), Some(2), "{arguments:?}");
        let message = stderr(&out);
        assert!(message.contains(name) && message.contains("UTF-8"), "{arguments:?}: {message}");
        assert!(message.contains("caf\u{fffd}"), "{arguments:?}: {message}");
    }
}

#[test]
fn quantize_names_its_result_after_its_input() {
    let place = place("llama");
    let checkpoint = place.folder.path().to_str().unwrap();
    let name = place.folder.path().file_name().unwrap().to_str().unwrap();
    let here = tempfile::tempdir().unwrap();
    let quantize = |arguments: &[&str]| {
        let arguments = [&["quantize", checkpoint], arguments].concat();
        place.command(&arguments).current_dir(here.path()).output().unwrap()
    };
    let out = quantize(&[]);
    assert!(out.status.success(), "{}", stderr(&out));
    assert!(here.path().join(format!("{name}.kinglet")).is_file(), "{}", stderr(&out));
    let again = quantize(&[]);
    assert!(stderr(&again).contains("--force"), "{}", stderr(&again));
    assert!(place.fails(1, &["quantize", place.model()]).contains("already"));
    let quiet = quantize(&["--output", "quiet.kinglet", "-q"]);
    assert!(quiet.status.success() && quiet.stderr.is_empty(), "{}", stderr(&quiet));
    assert!(here.path().join("quiet.kinglet").is_file());
    let report = quantize(&["-o", "report.kinglet", "-q", "--report=jsonl"]);
    assert!(stdout(&report).lines().count() > 3);
    assert!(!stderr(&place.run(&["quantize"])).contains("--output"));
    assert!(!stderr(&place.run(&["quantize"])).contains("-o <OUT>"));
}

#[test]
fn shells_learn_the_words() {
    let place = place("llama");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let out = place.run(&["completions", shell]);
        assert!(out.status.success(), "{shell}");
        assert!(stdout(&out).contains("quantize"), "{shell}");
    }
    assert!(place.fails(2, &["completions", "tcsh"]).contains("bash"));
}
