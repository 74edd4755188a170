//! The built command's verbs for encoders with heads of tasks.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod place;

use place::{Place, place, stderr, stdout};
use serde_json::Value;

fn array(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What a command that must succeed writes.
fn written(place: &Place, arguments: &[&str]) -> String {
    let out = place.run(arguments);
    assert!(out.status.success(), "{arguments:?}: {}", stderr(&out));
    stdout(&out)
}

#[test]
fn classify_gives_labels() {
    let place = place("bert-sequences");
    let model = place.model();
    let found = place.json(&["classify", model, "the wren", "- a king", "-o", "json"]);
    let results = array(&found["results"]);
    assert_eq!(results.len(), 2);
    for labels in results {
        let scores: Vec<f64> =
            array(labels).iter().map(|one| one["score"].as_f64().unwrap()).collect();
        assert!(scores.len() == 3 && scores.is_sorted_by(|a, b| a >= b), "{found}");
        assert!((scores.iter().sum::<f64>() - 1.0).abs() < 1e-5);
    }
    let best = written(&place, &["classify", model, "the wren", "--top", "1"]);
    let label = results[0][0]["label"].as_str().unwrap();
    assert!(best.starts_with(label) && best.lines().count() == 1, "{best}");
    let any = ["classify", model, "the wren", "--labels", "bird, ship", "-o", "json"];
    let any = place.json(&[&any[..], &["--template", "It is a {}."]].concat());
    let names: Vec<&str> =
        array(&any["results"][0]).iter().map(|one| one["label"].as_str().unwrap()).collect();
    assert!(names.contains(&"bird") && names.contains(&"ship"), "{any}");
    let plain = ["classify", model, "a", "--labels", "b", "--template", "c"];
    assert!(place.fails(1, &plain).contains("{} where the label goes"));
    let long = "wren ".repeat(100);
    let cut = place.run(&["classify", model, &long, "-o", "jsonl"]);
    assert!(stderr(&cut).contains("102 tokens and was cut: the model takes 64"));
    let line = &lines(&stdout(&cut))[0];
    assert_eq!((&line["truncated"], &line["tokens"]), (&true.into(), &102.into()));
    let whole = place.json(&["classify", model, "the wren", &long, "-o", "json"]);
    let lengths = array(&whole["texts"]);
    assert_eq!((&lengths[0]["truncated"], &lengths[1]["truncated"]), (&false.into(), &true.into()));
    assert_eq!(lengths[1]["tokens"], 102);
    let error = place.fails(1, &["tag", model, "a"]);
    assert!(error.contains("it is for `classify`"), "{error}");
    assert!(place.fails(2, &["classify", model]).contains("there is no text"));
    let shown = place.json(&["show", model, "-o", "json"]);
    assert_eq!(shown["tasks"], serde_json::json!(["classify"]));
    assert_eq!(array(&shown["labels"]).len(), 3);
    let shown = written(&place, &["show", model]);
    assert!(shown.contains("entailment") && shown.contains("classify"), "{shown}");
}

#[test]
fn files_of_texts_become_json_lines() {
    let place = place("bert-sequences");
    let model = place.model();
    let texts: Vec<String> = (0..600).map(|i| format!("the wren {i}")).collect();
    let file = place.path("texts.txt");
    std::fs::write(&file, texts.join("\n")).unwrap();
    let all = written(&place, &["classify", model, "-f", &file, "--quiet"]);
    let of_file = lines(&all);
    assert_eq!(of_file.len(), 600);
    for (i, line) in of_file.iter().enumerate() {
        assert_eq!(line["index"], i);
    }
    let alone = place.json(&["classify", model, &texts[599], "-o", "json"]);
    assert_eq!(alone["results"][0], of_file[599]["results"]);
    // The same texts from other files, and from standard input.
    let csv = place.path("texts.csv");
    let rows: Vec<String> = texts.iter().enumerate().map(|(i, t)| format!("{i},\"{t}\"")).collect();
    std::fs::write(&csv, format!("id,review\n{}\n", rows.join("\n"))).unwrap();
    let read = ["classify", model, "--quiet", "-f", &csv, "--column", "review"];
    assert_eq!(written(&place, &read), all);
    let error = place.fails(1, &["classify", model, "-f", &csv]);
    assert!(error.contains("there is no \"text\" among the columns id, review"), "{error}");
    let jsonl = place.path("texts.jsonl");
    let rows: Vec<String> =
        texts.iter().map(|t| serde_json::json!({"text": t}).to_string()).collect();
    std::fs::write(&jsonl, rows.join("\n")).unwrap();
    assert_eq!(written(&place, &["classify", model, "--quiet", "-f", &jsonl]), all);
    let piped = place.run_with(&texts.join("\n"), &["classify", model, "--quiet"]);
    assert_eq!(stdout(&piped), all);
    let report = place.run(&["classify", model, "-f", &file]);
    assert!(stderr(&report).contains("600 texts in"), "{}", stderr(&report));

    // A run that was ended goes on behind its last whole line.
    let out = place.path("out.jsonl");
    assert_eq!(written(&place, &["classify", model, "-f", &file, "-O", &out]), "");
    assert_eq!(std::fs::read_to_string(&out).unwrap(), all);
    let half = all.len() / 2;
    std::fs::write(&out, &all[..half]).unwrap();
    written(&place, &["classify", model, "-f", &file, "-O", &out, "--resume"]);
    assert_eq!(std::fs::read_to_string(&out).unwrap(), all);
    written(&place, &["classify", model, "-f", &file, "-O", &out, "--resume"]);
    assert_eq!(std::fs::read_to_string(&out).unwrap(), all);
    let short = place.path("short.txt");
    std::fs::write(&short, "a\n").unwrap();
    let error = place.fails(1, &["classify", model, "-f", &short, "-O", &out, "--resume"]);
    assert!(error.contains("600 results are there already"), "{error}");
    assert!(place.fails(2, &["classify", model, "-f", &file, "--resume"]).contains("--out"));

    // What another command has written stays as it is, up to the line that it had begun.
    let begun = format!("{all}{{\"ind");
    std::fs::write(&out, &begun).unwrap();
    let words = format!("{}\n", texts[1..].join("\n"));
    let others = place.path("others.txt");
    std::fs::write(&others, words + "a text\n").unwrap();
    let f16 = place.path("f16.kinglet");
    let folder = place.path(".");
    written(&place, &["quantize", &folder, "--type", "f16", "-o", &f16, "-q"]);
    let gone_on: [&[&str]; 4] = [
        &["classify", model, "--top", "2", "-f", &file],
        &["classify", model, "--labels", "a,b", "-f", &file],
        &["classify", &f16, "-f", &file],
        &["classify", model, "-f", &others],
    ];
    for command in gone_on {
        let error = place.fails(1, &[command, &["-O", &out, "--resume"]].concat());
        assert!(error.contains("not what this command makes of these texts"), "{error}");
        assert_eq!(std::fs::read_to_string(&out).unwrap(), begun);
    }
    std::fs::write(&out, &all).unwrap();

    // The texts themselves are no place for results, by whatever path.
    let other = format!("{}/./texts.txt", place.path("."));
    for arguments in [&["-O", &file][..], &["-O", &other], &["-O", &file, "--resume"]] {
        let error = place.fails(2, &[&["classify", model, "-f", &file], arguments].concat());
        assert!(error.contains("the file of the texts itself"), "{error}");
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), texts.join("\n"));
    // Results stay where the model or the texts turn out wrong.
    let broken = place.path("broken.kinglet");
    std::fs::write(&broken, "no model").unwrap();
    for (model, file) in [(broken.as_str(), file.as_str()), (model, "no-such-file")] {
        place.fails(1, &["classify", model, "-f", file, "-O", &out]);
    }
    assert_eq!(std::fs::read_to_string(&out).unwrap(), all);
    // A file and standard input are read alike.
    let marked = "\u{feff}the wren\r\nthe king\n";
    std::fs::write(&file, marked).unwrap();
    let of_file = written(&place, &["classify", model, "--quiet", "-f", &file]);
    let piped = place.run_with(marked, &["classify", model, "--quiet", "-f", "-"]);
    assert_eq!(stdout(&piped), of_file);
    let plain = place.run_with("the wren\nthe king", &["classify", model, "--quiet"]);
    assert_eq!(stdout(&plain), of_file);

    let vectors = place::place("bert");
    let read = ["embed", vectors.model(), "-q", "-o", "jsonl", "-f", &csv, "--column", "review"];
    let all = written(&vectors, &read);
    assert_eq!(lines(&all).len(), 600);
    let read = ["embed", vectors.model(), "-q", "-f", &csv, "--column", "review", "-O", &out];
    let resumed = [&read[..], &["--resume"]].concat();
    assert_eq!(written(&vectors, &read), "");
    assert_eq!(std::fs::read_to_string(&out).unwrap(), all);
    std::fs::write(&out, &all[..all.len() / 2]).unwrap();
    written(&vectors, &resumed);
    assert_eq!(std::fs::read_to_string(&out).unwrap(), all);
    assert!(vectors.fails(2, &[&read[..], &["-o", "csv"]].concat()).contains("leave -o away"));
    std::fs::write(&out, all.replace("599,\"tokens\"", "599,\"token\"")).unwrap();
    assert!(vectors.fails(1, &resumed).contains("not what this command makes"));
}

#[test]
fn texts_are_looked_at_before_a_model_is_fetched() {
    let place = place("bert-sequences");
    let remote = "hf:no-such/model";
    for verb in ["classify", "tag", "fill-mask"] {
        let error = place.fails(1, &["--offline", verb, remote, "-f", "no-such-file"]);
        assert!(error.contains("no-such-file"), "{verb}: {error}");
        assert!(place.fails(2, &["--offline", verb, remote]).contains("there is no text"));
        let error = place.fails(1, &["--offline", verb, remote, "a"]);
        assert!(error.contains("no-such/model"), "{verb}: {error}");
        let file = place.path("config.json");
        let error = place.fails(1, &[verb, "no-such-name", "-f", &file]);
        assert!(error.contains("no catalog model"), "{verb}: {error}");
    }
    let rank = ["--offline", "rerank", remote, "query"];
    assert!(place.fails(2, &rank).contains("there are no documents"));
    let error = place.fails(1, &[&rank[..], &["-f", "no-such-file"]].concat());
    assert!(error.contains("no-such-file"), "{error}");
    let error = place.fails(1, &["answer", "no-such-name", "-q", "who?", "-f", "no-such-file"]);
    assert!(error.contains("no catalog model"), "{error}");
}

#[test]
fn tag_gives_places() {
    let place = place("bert-tokens");
    let text = "Café Zoë, 東京 and the king's";
    let found = place.json(&["tag", place.model(), text, "-o", "json"]);
    let entities = array(&found["entities"][0]);
    assert!(!entities.is_empty());
    for entity in entities {
        let place = |key: &str| entity[key].as_u64().unwrap() as usize;
        assert_eq!(&text[place("start")..place("end")], entity["text"].as_str().unwrap());
    }
    let chars = ["tag", place.model(), text, "-o", "json", "--chars", "--aggregation", "first"];
    let last =
        |found: &Value| array(&found["entities"][0]).last().unwrap()["end"].as_u64().unwrap();
    assert!(last(&place.json(&chars)) < last(&found));
    let error = place.fails(2, &["tag", place.model(), "a", "--aggregation", "best"]);
    assert!(error.contains("average"), "{error}");
    assert!(written(&place, &["tag", place.model(), text]).contains('('));
}

#[test]
fn masks_are_filled() {
    let place = place("bert-masks");
    let text = "the [MASK] is [MASK]";
    let found = place.json(&["fill-mask", place.model(), text, "-o", "json", "--top", "3"]);
    let fills = array(&found["fills"]);
    assert_eq!(fills.len(), 2);
    for fill in fills.iter().flat_map(array) {
        assert!(fill["token"].is_string() && fill["id"].is_u64() && fill["score"].is_f64());
        assert!(fill["text"].as_str().unwrap().contains("[MASK]"), "{fill}");
    }
    assert_eq!(array(&fills[0]).len(), 3);
    let error = place.fails(1, &["fill-mask", place.model(), "no gap"]);
    assert!(error.contains("spelled `[MASK]`"), "{error}");
    assert_eq!(written(&place, &["fill-mask", place.model(), text]).lines().count(), 11);
}

#[test]
fn questions_are_answered() {
    let place = place("bert-answers");
    let (model, text) = (place.model(), "the wren is small and the kinglet is smaller still");
    let file = place.path("context.txt");
    std::fs::write(&file, text).unwrap();
    let ask = ["answer", model, "-q", "what is small?", "-o", "json"];
    let found = place.json(&[&ask[..], &["-f", &file]].concat());
    let answer = &array(&found["answers"])[0];
    let at = |key: &str| answer[key].as_u64().unwrap() as usize;
    assert_eq!(&text[at("start")..at("end")], answer["text"].as_str().unwrap());
    assert_eq!(place.json(&[&ask[..], &[text]].concat()), found);
    let more = place.json(&[&ask[..], &[text, "--top", "3", "--no-answer"]].concat());
    assert_eq!(array(&more["answers"]).len(), 3);
    let shown = written(&place, &["answer", model, "-q", "what?", text]);
    assert!(shown.trim_end().ends_with("still"), "{shown}");
    assert!(place.fails(2, &["answer", model, text]).contains("--question"));
    assert!(
        place.fails(1, &["answer", model, "-q", "what?", " "]).contains("the context is empty")
    );
}

#[test]
fn documents_are_sorted() {
    let place = place("bert-rerank");
    let (model, documents) = (place.model(), ["the model", "wrens and kings", "data"]);
    let rank = [&["rerank", model, "the small king", "-o", "json"], &documents[..]].concat();
    let found = place.json(&rank);
    let results = array(&found["results"]);
    assert!(results.is_sorted_by(|a, b| a["score"].as_f64() >= b["score"].as_f64()), "{found}");
    let mut numbers: Vec<u64> = results.iter().map(|one| one["index"].as_u64().unwrap()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [0, 1, 2]);
    let file = place.path("documents.txt");
    std::fs::write(&file, documents.join("\n")).unwrap();
    let of_file = ["rerank", model, "the small king", "-f", &file, "-o", "json", "--top", "2"];
    assert_eq!(array(&place.json(&of_file)["results"]), &results[..2]);
    let long = "wren ".repeat(100);
    let cut = place.json(&["rerank", model, "the small king", "data", &long, "-o", "json"]);
    for result in array(&cut["results"]) {
        let truncated = (result["index"] == 1).then_some(&Value::Bool(true));
        assert_eq!(result.get("truncated"), truncated, "{cut}");
    }
    // The scores of many, in their order, and the best of them.
    let texts: Vec<String> = (0..700).map(|i| format!("document {i}")).collect();
    std::fs::write(&file, texts.join("\n")).unwrap();
    let out = place.path("scores.jsonl");
    let rank = ["rerank", model, "the small king", "-f", &file];
    let all = written(&place, &[&rank[..], &["-o", "jsonl"]].concat());
    let into = [&rank[..], &["-O", &out]].concat();
    assert_eq!(written(&place, &into), "");
    let scores = std::fs::read_to_string(&out).unwrap();
    let mut sorted = lines(&scores);
    assert!((0..).zip(&sorted).all(|(i, line)| line["index"] == i));
    sorted.sort_by(|a, b| b["score"].as_f64().unwrap().total_cmp(&a["score"].as_f64().unwrap()));
    assert_eq!(sorted, lines(&all));
    std::fs::write(&out, &scores[..scores.len() / 2]).unwrap();
    let more = ["--resume", "--top", "300", "-o", "jsonl"];
    let best = written(&place, &[&into[..], &more].concat());
    assert_eq!(std::fs::read_to_string(&out).unwrap(), scores);
    assert_eq!(lines(&best), lines(&all)[..300]);
    let other = ["rerank", model, "the large king", "-f", &file, "-O", &out, "--resume"];
    assert!(place.fails(1, &other).contains("not what this command makes"));
    let itself = ["rerank", model, "a", "-f", &file, "-O", &file];
    assert!(place.fails(2, &itself).contains("the file of the texts itself"));
    assert!(place.fails(2, &["rerank", model, "alone"]).contains("no documents"));
    assert!(place.fails(2, &["rerank", model]).contains("QUERY"));
}

/// Texts of two kinds with their labels, as CSV.
fn birds_and_ships(label: [&str; 2]) -> String {
    let rows = (0..12).map(|i| {
        let (thing, label) = match i % 2 {
            0 => ("wren", label[0]),
            _ => ("ship", label[1]),
        };
        format!("\"{} {thing}, {i}\",{label}\n", ["a", "the", "one"][i % 3])
    });
    "text,kind\n".to_owned() + &rows.collect::<String>()
}

#[test]
fn fit_learns_labels_on_vectors() {
    let place = place("bert");
    let (model, csv, out) = (place.model(), place.path("kinds.csv"), place.path("kinds.kinglet"));
    std::fs::write(&csv, birds_and_ships(["bird", "vessel"])).unwrap();
    let fit = ["fit", model, &csv, "--label", "kind", "-o", &out];
    let report = place.json(&[&fit[..], &["--format", "json", "--folds", "3"]].concat());
    assert_eq!(report["labels"], serde_json::json!(["bird", "vessel"]));
    assert_eq!((&report["examples"], &report["baseline"]), (&12.into(), &0.5.into()));
    assert!(report["accuracy"].as_f64().unwrap() > 0.8, "{report}");
    let found = place.json(&["classify", &out, "one wren, 1", "a ship, 2", "-o", "json"]);
    let best = |i: usize| found["results"][i][0]["label"].as_str().unwrap();
    assert_eq!((best(0), best(1)), ("bird", "vessel"), "{found}");
    // Everything else is as it was.
    let vectors = |file: &str| written(&place, &["embed", file, "the wren", "-o", "json"]);
    assert_eq!(vectors(&out), vectors(model));
    assert_eq!(
        place.json(&["show", &out, "-o", "json"])["tasks"],
        serde_json::json!(["embed", "classify"])
    );
    assert!(place.run(&["verify", &out]).status.success());

    // Other labels take the place of these; JSON lines, and two layers.
    let (lines, again) = (place.path("kinds.jsonl"), place.path("again.kinglet"));
    let line = |i: usize| {
        format!("{{\"text\": \"{} {i}\", \"label\": {}}}\n", ["wren", "ship"][i % 2], i % 2)
    };
    std::fs::write(&lines, (0..10).map(line).collect::<String>()).unwrap();
    let text = written(&place, &["fit", &out, &lines, "--hidden", "8", "-o", &again]);
    assert!(text.contains("of 10 held-out examples are right") && text.contains("| 0 "), "{text}");
    let found = place.json(&["classify", &again, "wren", "-o", "json"]);
    assert_eq!(found["results"][0][0]["label"], "0");
    let shown = stdout(&place.run(&["show", &again]));
    assert!(!shown.contains("vessel"), "{shown}");
}

#[test]
fn fit_says_what_is_wrong_with_examples() {
    let place = place("bert");
    let (model, csv, out) = (place.model(), place.path("kinds.csv"), place.path("out.kinglet"));
    std::fs::write(&csv, birds_and_ships(["same", "same"])).unwrap();
    let fit =
        |more: &[&str]| place.fails(1, &[&["fit", model, &csv, "-o", &out][..], more].concat());
    assert!(fit(&[]).contains("there is no \"label\" among the columns text, kind"));
    assert!(fit(&["--label", "kind"]).contains("at least two labels"));
    std::fs::write(&csv, birds_and_ships(["bird", "vessel"])).unwrap();
    assert!(fit(&["--label", "kind", "--folds", "1"]).contains("folds is 1, but must be"));
    let onto = ["fit", model, &csv, "--label", "kind", "-o", model];
    assert!(place.fails(2, &onto).contains("OUT is the model itself"));
    assert!(place.fails(2, &["fit", model, "-", "-o", &out]).contains("read twice"));
    assert!(!std::path::Path::new(&out).exists());
    let other = self::place("llama");
    let error = other.fails(1, &["fit", other.model(), &csv, "--label", "kind", "-o", &out]);
    assert!(error.contains("cannot embed texts") || error.contains("it is for `run`"), "{error}");
}
