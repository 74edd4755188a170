//! Where texts come from, how answers end, and what is said about both.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod place;

use std::io::Write;
use std::process::Stdio;

use place::{TEMPLATE, chat_place, place, place_with, stderr, stdout};
use serde_json::Value;

/// A chat template that leaves out what a system says.
const DEAF: &str = "{% for m in messages %}{% if m.role != 'system' %}{{ m.content }}\n{% endif %}\
                    {% endfor %}";

#[test]
fn piped_text_goes_after_the_prompt() {
    let place = place("llama");
    let text = place.path("text.txt");
    std::fs::write(&text, "ab").unwrap();
    let tokens = |input: &str, words: &[&str]| {
        let run = ["run", place.model(), "--raw", "-o", "json", "-n", "1"];
        let out = place.run_with(input, &[&run[..], words].concat());
        assert!(out.status.success(), "{}", stderr(&out));
        serde_json::from_slice::<Value>(&out.stdout).unwrap()["prompt_tokens"].as_u64().unwrap()
    };
    for prompt in [&["ab"][..], &["-p", "ab"], &["-f", &text]] {
        assert_eq!(tokens("cd\n", prompt), tokens("", &["ab\n\ncd"]), "{prompt:?}");
        assert!(tokens("cd", prompt) > tokens("\n", prompt), "{prompt:?}");
    }
    assert_eq!(tokens("ab", &[]), tokens("", &["ab"]));
    assert_eq!(tokens("ab", &["-f", "-"]), tokens("", &["ab"]));
}

#[test]
fn a_pipe_that_is_not_read_is_said() {
    let (llama, bert) = (place("llama"), place("bert"));
    for (place, verb) in [(&llama, "tokenize"), (&bert, "embed")] {
        let told = stderr(&place.run_with("b", &[verb, place.model(), "a"]));
        assert!(told.contains("standard input is not read"), "{verb}: {told}");
        assert!(!stderr(&place.run(&[verb, place.model(), "a"])).contains("not read"), "{verb}");
    }
}

/// Programs that start others often leave a socket open there, on which nothing ever comes.
#[cfg(unix)]
#[test]
fn a_socket_is_waited_for_a_while() {
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;

    let place = place("llama");
    let run = ["run", place.model(), "--raw", "-q", "-o", "json", "-n", "1", "ab"];
    let ask = |text: Option<&str>| {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut command = place.command(&run);
        command.stdin(OwnedFd::from(theirs)).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().unwrap();
        drop(command);
        let open = match text {
            Some(text) => {
                (&ours).write_all(text.as_bytes()).unwrap();
                drop(ours);
                None
            }
            None => Some(ours),
        };
        let out = child.wait_with_output().unwrap();
        drop(open);
        let answer: Value = serde_json::from_slice(&out.stdout).unwrap();
        (answer["prompt_tokens"].as_u64().unwrap(), stderr(&out))
    };
    let (alone, told) = ask(None);
    assert!(told.contains("going on without it"), "{told}");
    let (both, told) = ask(Some("cd"));
    assert!(both > alone && told.is_empty(), "{told}");
}

#[test]
fn nothing_asked_is_an_error() {
    let place = chat_place(TEMPLATE);
    for arguments in [&[][..], &[""], &["  "], &["-p", ""], &["--raw"], &["--raw", ""]] {
        let message = place.fails(2, &[&["run", place.model()], arguments].concat());
        assert!(message.contains("the prompt is empty"), "{arguments:?}: {message}");
    }
}

#[test]
fn a_system_text_that_is_left_out_is_said() {
    let (deaf, hearing) = (chat_place(DEAF), chat_place(TEMPLATE));
    let run = |place: &place::Place, system: &str| {
        let run = ["run", place.model(), "-q", "-n", "1", "--system", system, "hello"];
        let out = place.run(&run);
        assert!(out.status.success(), "{}", stderr(&out));
        stderr(&out)
    };
    assert!(run(&deaf, "Be brief.").contains("no place for a system text"));
    assert_eq!(run(&deaf, ""), "");
    assert_eq!(run(&hearing, "Be brief."), "");
    let chat = ["chat", deaf.model(), "-n", "1", "-sys", "Be brief."];
    let out = deaf.run_with("/system Be long.\n", &chat);
    assert_eq!(stderr(&out).matches("no place for a system text").count(), 2, "{}", stderr(&out));

    // An empty text is none.
    let prompt = |system: &[&str]| {
        let run = ["run", hearing.model(), "-o", "json", "-n", "0", "hello"];
        hearing.json(&[&run[..], system].concat())["prompt_tokens"].clone()
    };
    assert_eq!(prompt(&["--system", ""]), prompt(&[]));
    assert_ne!(prompt(&["--system", "x"]), prompt(&[]));

    let refusing = chat_place(
        "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') }}\
         {% endif %}{{ m.content }}{% endfor %}",
    );
    let message = refusing.fails(1, &["run", refusing.model(), "--system", "x", "hello"]);
    assert!(message.contains("system text cannot be used"), "{message}");
}

#[test]
fn a_long_prompt_says_what_to_do() {
    let place = place("llama");
    let long = "abc ".repeat(100);
    let message = place.fails(1, &["run", place.model(), "--raw", "-c", "8", &long]);
    assert!(message.contains("raise -c (up to 64), or shorten the text"), "{message}");
    let message = place.fails(1, &["run", place.model(), "--raw", &long]);
    assert!(message.contains("shorten the text") && !message.contains("raise -c"), "{message}");
    assert!(!message.contains("session"), "{message}");
}

#[test]
fn an_answer_that_repeats_itself_is_ended() {
    // Layers that add nothing: the likeliest token depends on the one before it alone, so that a
    // greedy answer goes round in a circle.
    let place = place_with("llama", |folder, config| {
        std::fs::write(folder.join("chat_template.jinja"), TEMPLATE).unwrap();
        config["max_position_embeddings"] = 4096.into();
        silence(&folder.join("model.safetensors"));
    });
    let run = ["run", place.model(), "--raw", "--temp", "0", "-n", "3000", "ab"];
    let out = place.run(&run);
    assert!(out.status.success(), "{}", stderr(&out));
    assert!(stderr(&out).contains("the same again and again"), "{}", stderr(&out));
    let answer = place.json(&[&run[..], &["-o", "json"]].concat());
    assert_eq!(answer["finish"], "repeat");
    let whole = place.json(&[&run[..], &["-o", "json", "--no-repeat-stop"]].concat());
    assert_eq!(whole["finish"], "max_tokens");
    assert!(whole["text"].as_str().unwrap().starts_with(answer["text"].as_str().unwrap()));
    let chat = place.run_with("ab\n", &["chat", place.model(), "--temp", "0", "-n", "3000"]);
    assert!(stderr(&chat).contains("the same again and again"), "{}", stderr(&chat));
}

#[test]
fn the_figures_are_a_line_unless_all_are_wanted() {
    let place = place("llama");
    let run = |arguments: &[&str]| {
        let run = ["run", place.model(), "--raw", "ab", "--temp", "0"];
        stderr(&place.run(&[&run[..], arguments].concat()))
    };
    let terse = run(&["-n", "5"]);
    assert_eq!(terse.trim().lines().count(), 1, "{terse}");
    assert!(terse.contains("5 tokens, ") && terse.contains("tok/s"), "{terse}");
    assert!(!terse.contains("kernels") && !terse.contains("memory"), "{terse}");
    let whole = run(&["-n", "5", "--verbose"]);
    assert!(whole.contains("kernels") && whole.contains("prompt"), "{whole}");
    assert!(!run(&["-n", "0"]).contains("0.0 tok/s"));
    assert!(!run(&["-n", "0", "--verbose"]).contains("0.0 tok/s"));
    assert_eq!(run(&["-n", "5", "-q"]), "");

    let bert = self::place("bert");
    let embed = |arguments: &[&str]| {
        stderr(&bert.run(&[&["embed", bert.model(), "a"], arguments].concat()))
    };
    assert!(embed(&[]).starts_with("1 text in") && !embed(&[]).contains("kernels"));
    assert!(embed(&["--verbose"]).contains("kernels"));
}

#[test]
fn json_comes_in_lines_too() {
    let place = place("llama");
    let lines = |arguments: &[&str]| -> Vec<Value> {
        let out = place.run(&[arguments, &["-o", "jsonl"]].concat());
        assert!(out.status.success(), "{arguments:?}: {}", stderr(&out));
        stdout(&out).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let model = place.model();
    let answer = lines(&["run", model, "--raw", "-n", "4", "ab"]);
    let (last, pieces) = answer.split_last().unwrap();
    assert_eq!(last["generated_tokens"], 4);
    assert!(pieces.iter().all(|piece| piece["piece"].is_string()));
    assert_eq!(lines(&["tokenize", model, "ab"])[0]["piece"], "a");
    assert!(lines(&["show", model])[0]["name"].is_string());
    assert_eq!(lines(&["show", model, "--plan"]).len(), 1);
    assert_eq!(lines(&["verify", model])[0]["sound"], true);
    assert_eq!(lines(&["bench", model, "-p", "4", "-n", "2", "-r", "1"]).len(), 2);
    assert!(lines(&["models"]).iter().any(|line| line["list"] == "catalog"));
    let text = place.path("text.txt");
    std::fs::write(&text, "abc def ".repeat(60)).unwrap();
    assert!(lines(&["perplexity", model, "-f", &text, "-c", "32"])[0]["perplexity"].is_f64());
}

#[test]
fn texts_that_are_cut_are_told() {
    let place = place("bert");
    let long = "a b ".repeat(2000);
    let texts = ["a", &long, "b"];
    let embed = [&["embed", place.model(), "-q"], &texts[..]].concat();
    let out = place.run(&embed);
    assert_eq!(stderr(&out).matches("was cut").count(), 1, "{}", stderr(&out));
    assert!(stderr(&out).contains("text 2 has 4002 tokens"), "{}", stderr(&out));
    let whole = place.json(&[&embed[..], &["-o", "json"]].concat());
    assert_eq!(whole["embeddings"].as_array().unwrap().len(), 3);
    let told = &whole["texts"];
    assert_eq!((&told[1]["truncated"], &told[1]["tokens"]), (&true.into(), &4002.into()));
    assert_eq!((&told[0]["truncated"], &told[0]["tokens"]), (&false.into(), &3.into()));
    let out = place.run(&[&embed[..], &["-o", "jsonl"]].concat());
    let lines: Vec<Value> =
        stdout(&out).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[1]["truncated"], true);
    assert_eq!(lines[2]["index"], 2);
    assert_eq!(lines[0]["embedding"], whole["embeddings"][0]);
    assert_eq!(stderr(&place.run(&["embed", place.model(), "-q", "a"])), "");
}

#[test]
fn vectors_come_before_the_input_ends() {
    use std::io::{BufRead, BufReader};
    use std::sync::mpsc::channel;
    use std::time::Duration;

    let place = place("bert");
    for format in ["md", "jsonl"] {
        let mut command = place.command(&["embed", place.model(), "-q", "-o", format]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap()).lines();
        let (sender, vectors) = channel();
        std::thread::spawn(move || output.for_each(|line| sender.send(line.unwrap()).unwrap()));
        for text in ["a", "b"] {
            writeln!(input, "{text}").unwrap();
            assert!(vectors.recv_timeout(Duration::from_secs(30)).unwrap().len() > 10);
        }
        drop(input);
        assert!(vectors.recv().is_err());
        assert!(child.wait().unwrap().success());
    }
}

#[test]
fn models_go_by_short_names_and_sizes_are_right() {
    let place = place("llama");
    let bench =
        place.json(&["bench", place.model(), "-p", "4", "-n", "0", "-r", "1", "-o", "json"]);
    assert_eq!(bench[0]["model"], "model int8 g64");
    let shown = stdout(&place.run(&["show", place.model()]));
    assert!(shown.starts_with("| model "), "{shown}");
    assert!(shown.contains("| full name "), "{shown}");
    let out = place.run(&["verify", place.model()]);
    let size = std::fs::metadata(&place.model).unwrap().len() as f64 / 1e3;
    assert!(stderr(&out).contains(&format!("verifying ({size:.1} kB)")), "{}", stderr(&out));
}

#[test]
fn conversations_are_saved_loaded_and_set() {
    let place = chat_place(TEMPLATE);
    for name in ["talk.md", "talk.json"] {
        let file = place.path(name);
        let chat = ["chat", place.model(), "-n", "3", "--temp", "0"];
        let out = place.run_with(&format!("ab\ncd\n/save {file}\n"), &chat);
        assert!(stderr(&out).contains("saved"), "{}", stderr(&out));
        let again = place.path("again.md");
        let first = std::fs::read_to_string(&file).unwrap();
        place.run_with(&format!("/load {file}\n/save {again}\n"), &chat);
        if name == "talk.md" {
            assert_eq!(std::fs::read_to_string(&again).unwrap(), first);
        }
        let out = place.run_with(&format!("/load {file}\n/forget\n/load nothing\n"), &chat);
        let told = stderr(&out);
        assert!(
            told.contains("4 messages loaded") && told.contains("2 messages forgotten"),
            "{told}"
        );
        assert!(told.contains("error: nothing"), "{told}");
    }
    let out = place.run_with(
        "/set\n/set temp -1\n/set temp 0.5\n/set temp\n",
        &["chat", place.model(), "-n", "7"],
    );
    let told = stderr(&out);
    assert!(
        told.contains("predict 7") && told.contains("top-k ") && told.contains("seed "),
        "{told}"
    );
    assert!(told.contains("0 or more") && told.matches("temp 0.5").count() == 2, "{told}");
    let first = place.run_with("", &["chat", place.model(), "-n", "3", "-p", "ab"]);
    assert!(!stdout(&first).trim().is_empty(), "{}", stderr(&first));
}

#[test]
fn a_full_context_says_what_can_be_done() {
    let place = chat_place(TEMPLATE);
    let chat = ["chat", place.model(), "-c", "64", "--temp", "0", "--no-repeat-stop"];
    let out = place.run_with("ab\nab\n/forget\n", &chat);
    let told = stderr(&out);
    for way in ["the answer was cut", "do not fit", "/forget", "/reset", "/save", "-c (up to 4096)"]
    {
        assert!(told.contains(way), "{way}: {told}");
    }
}

#[test]
fn messages_have_no_control_characters() {
    let place = chat_place(TEMPLATE);
    let file = place.path("talk.md");
    let chat = ["chat", place.model(), "-n", "1"];
    place.run_with(&format!("a\u{1b}[D\u{1b}[Ab\u{7}\n/save {file}\n"), &chat);
    assert!(std::fs::read_to_string(&file).unwrap().starts_with("**user**: ab\n"));
}

#[cfg(unix)]
#[test]
fn a_termination_leaves_nothing_behind() {
    use std::process::Command;
    use std::time::Duration;

    let place = place("llama");
    let folder = tempfile::tempdir().unwrap();
    // Large enough not to be done at once.
    let weights = place.path("model.safetensors");
    let large = folder.path().join("in");
    std::fs::create_dir(&large).unwrap();
    for name in ["config.json", "tokenizer.json"] {
        std::fs::copy(place.path(name), large.join(name)).unwrap();
    }
    grow(&weights, &large);
    let target = folder.path().join("out").join("m.kinglet");
    std::fs::create_dir(target.parent().unwrap()).unwrap();
    for (signal, code) in [("TERM", 143), ("INT", 130)] {
        let mut command = place.command(&["quantize", large.to_str().unwrap(), "-t", "1", "-o"]);
        let mut child = command.arg(&target).stderr(Stdio::null()).spawn().unwrap();
        let folder = target.parent().unwrap();
        let begun = || std::fs::read_dir(folder).unwrap().next().is_some();
        for _ in 0..15_000 {
            if begun() {
                break;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        assert!(begun());
        let kill = [format!("-{signal}"), child.id().to_string()];
        assert!(Command::new("kill").args(kill).status().unwrap().success());
        assert_eq!(child.wait().unwrap().code(), Some(code), "{signal}");
        assert!(!begun(), "{signal}");
    }
}

/// Zeros what layers add to their input.
fn silence(weights: &std::path::Path) {
    let mut bytes = std::fs::read(weights).unwrap();
    let n = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..8 + n]).unwrap();
    for (name, tensor) in header.as_object().unwrap() {
        if name.contains("o_proj") || name.contains("down_proj") {
            let offset = |i: usize| 8 + n + tensor["data_offsets"][i].as_u64().unwrap() as usize;
            bytes[offset(0)..offset(1)].fill(0);
        }
    }
    std::fs::write(weights, bytes).unwrap();
}

/// A checkpoint like the small one, with more layers: their weights are its first layer's.
#[cfg(unix)]
fn grow(weights: &str, target: &std::path::Path) {
    const LAYERS: usize = 600;
    let bytes = std::fs::read(weights).unwrap();
    let n = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..8 + n]).unwrap();
    let mut grown = header.clone();
    let first = header.as_object().unwrap().iter().filter(|(name, _)| name.contains(".layers.0."));
    let mut data = bytes[8 + n..].to_vec();
    for (name, tensor) in first {
        let offset = |i: usize| tensor["data_offsets"][i].as_u64().unwrap() as usize;
        let (start, end) = (8 + n + offset(0), 8 + n + offset(1));
        for layer in 3..LAYERS {
            let mut tensor = tensor.clone();
            tensor["data_offsets"] = vec![data.len(), data.len() + end - start].into();
            data.extend_from_slice(&bytes[start..end]);
            grown[name.replace(".layers.0.", &format!(".layers.{layer}."))] = tensor;
        }
    }
    let header = grown.to_string();
    let whole = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data].concat();
    std::fs::write(target.join("model.safetensors"), whole).unwrap();
    let config = target.join("config.json");
    let mut fields: Value = serde_json::from_slice(&std::fs::read(&config).unwrap()).unwrap();
    fields["num_hidden_layers"] = LAYERS.into();
    std::fs::write(&config, fields.to_string()).unwrap();
}
