use super::*;

fn listing(files: &[&str]) -> Listing {
    Listing::of_names(files.iter().map(|file| (*file).to_owned()))
}

fn chosen(files: &[&str], word: Option<&str>) -> Result<Choice, Error> {
    choose("org/name", &listing(files), word)
}

fn alone(files: &[&str], word: Option<&str>) -> Vec<String> {
    match chosen(files, word) {
        Ok(Choice::Alone(parts)) => parts,
        other => panic!("{files:?}, {word:?}: {other:?}"),
    }
}

#[test]
fn folders_go_before_single_files() {
    for files in [
        &["config.json", "model.safetensors", "model.gguf"][..],
        &["config.json", "model.safetensors.index.json", "model-00001-of-00002.safetensors"],
        &["config.json", "pytorch_model.bin", "onnx/model.onnx"],
        &["config.json", "weights.fp16.safetensors"],
        &["modules.json", "0_Transformer/config.json", "0_Transformer/model.safetensors"],
        // The conversion names the base model.
        &["adapter_config.json", "adapter_model.safetensors"],
    ] {
        assert_eq!(chosen(files, None).unwrap(), Choice::Folder, "{files:?}");
    }
}

#[test]
fn the_only_file_is_taken() {
    assert_eq!(alone(&["README.md", "m-Q4_K_M.gguf", "mmproj-F16.gguf"], None), ["m-Q4_K_M.gguf"]);
    assert_eq!(alone(&["config.json", "m.gguf"], None), ["m.gguf"]);
    assert_eq!(alone(&["m.kinglet"], None), ["m.kinglet"]);
    let parts = ["big/m-00001-of-00002.gguf", "big/m-00002-of-00002.gguf"];
    assert_eq!(alone(&parts, None), parts);
}

const GGUFS: [&str; 7] = [
    "m-IQ2_XS.gguf",
    "m-Q4_K_M.gguf",
    "m-Q4_K.gguf",
    "m-Q8_0.gguf",
    "m-f16.gguf",
    "big/m-Q6_K-00001-of-00002.gguf",
    "big/m-Q6_K-00002-of-00002.gguf",
];

#[test]
fn one_of_several_is_named() {
    for (word, expected) in [
        ("Q8_0", "m-Q8_0.gguf"),
        ("q8_0", "m-Q8_0.gguf"),
        ("Q4_K", "m-Q4_K.gguf"),
        ("Q4_K_M", "m-Q4_K_M.gguf"),
        ("m-f16.gguf", "m-f16.gguf"),
        ("m-IQ2_XS", "m-IQ2_XS.gguf"),
    ] {
        assert_eq!(alone(&GGUFS, Some(word)), [expected], "{word}");
    }
    assert_eq!(alone(&GGUFS, Some("Q6_K")).len(), 2);
    assert_eq!(alone(&GGUFS, Some("m-Q6_K-00001-of-00002.gguf")).len(), 2);
    assert!(matches!(chosen(&GGUFS, Some("Q5_0")), Err(Error::NoMatch { .. })));
    // Part of a word is none.
    assert!(matches!(chosen(&GGUFS, Some("Q4")), Err(Error::NoMatch { .. })));
    let two = ["a-Q8_0-long.gguf", "a-Q8_0.gguf"];
    assert_eq!(alone(&two, Some("Q8_0")), ["a-Q8_0.gguf"]);
}

#[test]
fn a_choice_is_listed_with_the_best_first() {
    let Err(Error::Choice { files, .. }) = chosen(&GGUFS, None) else { panic!() };
    let files: Vec<&str> = files.iter().map(|(file, _)| file.as_str()).collect();
    let sorted = [
        "m-Q8_0.gguf",
        "m-f16.gguf",
        "big/m-Q6_K-00001-of-00002.gguf",
        "m-Q4_K_M.gguf",
        "m-IQ2_XS.gguf",
        "m-Q4_K.gguf",
    ];
    assert_eq!(files, sorted);
    let message = chosen(&GGUFS, None).unwrap_err().to_string();
    assert!(message.contains("\n  hf:org/name:m-Q8_0.gguf\n"), "{message}");
}

#[test]
fn weights_can_be_named() {
    let files = ["config.json", "model.safetensors", "model.fp16.safetensors", "notes.md"];
    let expected = Choice::Described(vec!["model.fp16.safetensors".to_owned()]);
    assert_eq!(chosen(&files, Some("model.fp16.safetensors")).unwrap(), expected);
    assert!(matches!(chosen(&files, Some("notes.md")), Err(Error::NoMatch { .. })));
}

#[test]
fn what_is_there_is_said_where_nothing_can_be_read() {
    for (files, words) in [
        (&["config.json", "tf_model.h5"][..], "tf_model.h5"),
        (&["model.safetensors"], "config.json"),
        (&[], "no files"),
    ] {
        let message = chosen(files, None).unwrap_err().to_string();
        assert!(
            message.contains("no weights that can be read") && message.contains(words),
            "{message}"
        );
    }
}

#[test]
fn descriptions_are_small_files_beside_the_weights() {
    let listing = listing(&[
        "README.md",
        "config.json",
        "tokenizer.json",
        "merges.txt",
        "spiece.model",
        "trainer_state.json",
        "model.safetensors",
        "pytorch_model.bin.index.json",
        "tf_model.h5",
        "chat_template.jinja",
        "1_Pooling/config.json",
        "onnx/config.json",
        "training_args.bin",
    ]);
    let root = [
        "README.md",
        "chat_template.jinja",
        "config.json",
        "merges.txt",
        "spiece.model",
        "tokenizer.json",
    ];
    assert_eq!(descriptions(&listing, ""), root);
    assert_eq!(descriptions(&listing, "1_Pooling/"), ["1_Pooling/config.json"]);
}

#[test]
fn an_index_names_the_weights() {
    let listing = listing(&[
        "model.safetensors.index.json",
        "a.safetensors",
        "b.safetensors",
        "c.safetensors",
    ]);
    let index = br#"{"weight_map":{"x":"b.safetensors","y":"a.safetensors","z":"b.safetensors"}}"#;
    let files = weight_files(&listing, "", |_| Some(index.to_vec()));
    assert_eq!(files, ["a.safetensors", "b.safetensors"]);
    let hostile = br#"{"weight_map":{"x":"../b.safetensors","y":"/a","z":5}}"#;
    assert!(weight_files(&listing, "", |_| Some(hostile.to_vec())).is_empty());
    assert!(weight_files(&listing, "", |_| Some(b"[".to_vec())).is_empty());
}

#[test]
fn modules_name_their_folders() {
    let json =
        br#"[{"path":""},{"path":"1_Pooling"},{"path":"2_Dense/"},{"path":"../x"},{"path":3}]"#;
    assert_eq!(folders(Some(json)), ["", "1_Pooling/", "2_Dense/"]);
    assert_eq!(folders(None), [""]);
    assert_eq!(folders(Some(b"{}")), [""]);
}

#[test]
fn onnx_is_taken_where_nothing_else_is_there() {
    let files =
        ["config.json", "onnx/model.onnx", "onnx/model.onnx_data", "onnx/model_quantized.onnx"];
    assert_eq!(chosen(&files, None).unwrap(), Choice::Folder);
    let weights = weight_files(&listing(&files), "", |_| None);
    assert_eq!(weights, ["onnx/model.onnx", "onnx/model.onnx_data"]);
    let with_gguf = [&files[..], &["m.gguf"]].concat();
    assert_eq!(alone(&with_gguf, None), ["m.gguf"]);
    let named = chosen(&files, Some("onnx/model_quantized.onnx")).unwrap();
    assert_eq!(named, Choice::Described(vec!["onnx/model_quantized.onnx".to_owned()]));
}
