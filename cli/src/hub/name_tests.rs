use super::*;

fn endpoint() -> Url {
    Url::parse("https://huggingface.co").unwrap()
}

fn parse(text: &str) -> Option<Remote> {
    Remote::parse(text, &endpoint()).unwrap()
}

/// Name, revision, file.
fn repository(text: &str) -> (String, String, Option<String>) {
    match parse(text) {
        Some(Remote::Repository(found)) => (found.name, found.revision, found.file),
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn repositories_are_named_in_many_ways() {
    for (text, name, revision, file) in [
        ("Qwen/Qwen3-0.6B", "Qwen/Qwen3-0.6B", "main", None),
        ("hf:Qwen/Qwen3-0.6B", "Qwen/Qwen3-0.6B", "main", None),
        ("hf:gpt2", "gpt2", "main", None),
        ("HF://a/b", "a/b", "main", None),
        ("a/b:Q8_0", "a/b", "main", Some("Q8_0")),
        ("hf:a/b@v1.0", "a/b", "v1.0", None),
        ("hf:a/b@refs/pr/1:sub/m.gguf", "a/b", "refs/pr/1", Some("sub/m.gguf")),
        ("hf:a/b:m.gguf@v1", "a/b", "v1", Some("m.gguf")),
        ("hf.co/a/b:Q4_K_M", "a/b", "main", Some("Q4_K_M")),
        ("https://huggingface.co/a/b", "a/b", "main", None),
        ("https://huggingface.co/a/b/tree/dev", "a/b", "dev", None),
        ("https://hf.co/a/b/blob/main/m.gguf", "a/b", "main", Some("m.gguf")),
        (
            "https://huggingface.co/a/b/resolve/main/x/m.gguf?download=true",
            "a/b",
            "main",
            Some("x/m.gguf"),
        ),
        ("https://huggingface.co/a/b/tree/refs%2Fpr%2F1", "a/b", "refs/pr/1", None),
        (
            "https://huggingface.co/gpt2/resolve/main/model.safetensors",
            "gpt2",
            "main",
            Some("model.safetensors"),
        ),
    ] {
        let expected = (name.to_owned(), revision.to_owned(), file.map(str::to_owned));
        assert_eq!(repository(text), expected, "{text}");
    }
}

#[test]
fn paths_are_not_repositories() {
    for text in [
        "models/m.gguf",
        "models/m.onnx",
        "./a/b",
        "../b",
        "a/b/c",
        "/a",
        "~/a",
        "m.gguf",
        "llama3:8b",
        "",
        "a b/c",
        "C:/models/x",
        "a/-b",
        "a/b..c",
        "what is 3/4?",
        "a/b:",
        "a/..",
    ] {
        assert_eq!(parse(text), None, "{text}");
    }
}

#[test]
fn other_addresses_are_files() {
    let text = "https://example.org/x/m.gguf?sig=1";
    let Some(Remote::Address(url)) = parse(text) else { panic!() };
    assert_eq!(url.to_string(), text);
    assert_eq!(parse(text).unwrap().short_name(), "m");
    assert_eq!(parse("https://example.org/m.onnx").unwrap().short_name(), "m");
    assert_eq!(parse("a/b:Q8_0").unwrap().short_name(), "b");
}

#[test]
fn what_begins_like_a_name_and_is_none_is_an_error() {
    for text in [
        "hf:",
        "hf:a/b/c",
        "hf:a/b:../x",
        "hf:a/b@../x",
        "hf:a/b:",
        "hf:../b",
        "http://example.org/m.gguf",
        "https://huggingface.co/datasets/a/b",
        "https://huggingface.co/a/b/resolve/main/..%2Fx",
    ] {
        assert!(matches!(Remote::parse(text, &endpoint()), Err(Error::Name { .. })), "{text}");
    }
}

#[test]
fn a_mirror_has_names_too() {
    let mirror = Url::parse("https://mirror.example/hub").unwrap();
    let found = Remote::parse("https://mirror.example/hub/a/b", &mirror).unwrap();
    assert!(matches!(found, Some(Remote::Repository(r)) if r.name == "a/b"));
    // Another page of the same server is a file.
    for other in ["https://mirror.example/other/m", "https://mirror.example/hub/x/m.gguf"] {
        let found = Remote::parse(other, &mirror).unwrap();
        assert!(matches!(found, Some(Remote::Address(_))), "{other}");
    }
}
