//! Checkpoints as users have them: a level off, saved by other editors, or no models at all.

#![allow(clippy::unwrap_used, reason = "a test may fail and tell")]

use std::fs;
use std::path::Path;

use kinglet_formats::kinglet::KingletFile;
use kinglet_quantize::{Options, QuantizeError, Source, WeightType, quantize};
use kinglet_tests::gguf_file::{GgufFile, Value};
use kinglet_tests::tiny;
use serde_json::{Value as Json, json};

fn convert(path: &Path) -> Result<KingletFile, QuantizeError> {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.kinglet");
    let options = Options { dtype: WeightType::F16, ..Options::default() };
    quantize(&Source::open(path)?, &options, &out, &mut ())?;
    Ok(KingletFile::open(&out).unwrap())
}

/// The message of a conversion that fails, with all of `parts` in it.
fn fails(path: &Path, parts: &[&str]) {
    let error = convert(path).err().unwrap().to_string();
    for part in parts {
        assert!(error.contains(part), "{part:?} is not in {error:?}");
    }
}

fn change(path: &Path, change: impl FnOnce(&mut Json)) {
    let mut value: Json = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    change(&mut value);
    fs::write(path, value.to_string()).unwrap();
}

/// In the cache, files are links to others whose names are hashes.
#[cfg(unix)]
#[test]
fn links_of_the_cache_keep_their_names() {
    use std::os::unix::fs::symlink;
    let cache = tempfile::tempdir().unwrap();
    let model = cache.path().join("models--org--small");
    let (snapshot, blobs) = (model.join("snapshots/abc"), model.join("blobs"));
    fs::create_dir_all(&snapshot).unwrap();
    fs::create_dir(&blobs).unwrap();
    let folder = tiny::checkpoint("llama");
    for (number, entry) in fs::read_dir(folder.path()).unwrap().enumerate() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), blobs.join(format!("{number:064}"))).unwrap();
        let target = format!("../../blobs/{number:064}");
        symlink(target, snapshot.join(entry.file_name())).unwrap();
    }
    assert_eq!(convert(&model).unwrap().meta().general.name, "small");
    let weights = snapshot.join("model.safetensors");
    assert_eq!(Source::open(&weights).unwrap().name(), "model.safetensors");
    convert(&weights).unwrap();
}

#[test]
fn the_cache_of_hugging_face_is_looked_through() {
    let cache = tempfile::tempdir().unwrap();
    let model = cache.path().join("models--org--a--small");
    let snapshot = model.join("snapshots/abc");
    fs::create_dir_all(model.join("snapshots")).unwrap();
    fs::create_dir(model.join("refs")).unwrap();
    fs::rename(tiny::checkpoint("llama").keep(), &snapshot).unwrap();
    fs::write(model.join("refs/main"), "abc").unwrap();
    let source = Source::open(&model).unwrap();
    assert_eq!(source.name(), "small");
    assert!(source.inputs().iter().all(|input| input.starts_with(&snapshot)));
    assert_eq!(convert(&model).unwrap().meta().general.name, "small");
    assert_eq!(Source::open(&snapshot).unwrap().name(), "small");
    // Its files are links to what is called by hashes.
    #[cfg(unix)]
    {
        let (weights, blobs) = (snapshot.join("model.safetensors"), model.join("blobs"));
        fs::create_dir(&blobs).unwrap();
        fs::rename(&weights, blobs.join("0123abcd")).unwrap();
        std::os::unix::fs::symlink("../../blobs/0123abcd", &weights).unwrap();
        assert_eq!(Source::open(&weights).unwrap().name(), "model.safetensors");
    }
    // The only snapshot is meant where no name says which.
    fs::remove_dir_all(model.join("refs")).unwrap();
    assert_eq!(Source::open(&model).unwrap().name(), "small");
    // Of two it might be either, unless the main branch is one of them.
    fs::create_dir(model.join("snapshots/def")).unwrap();
    fs::write(model.join("snapshots/def/config.json"), r#"{"model_type": "llama"}"#).unwrap();
    fails(&model, &["snapshots/abc or ", "snapshots/def"]);
    fs::create_dir(model.join("refs")).unwrap();
    fs::write(model.join("refs/main"), "abc\n").unwrap();
    convert(&model).unwrap();
    for outside in ["../../other", "/", "", "none"] {
        fs::write(model.join("refs/main"), outside).unwrap();
        fails(&model, &["snapshots/abc or "]);
    }
    fails(&model.join("snapshots"), &["config.json is missing", "snapshots/abc or "]);
}

#[test]
fn a_folder_off_names_the_one_that_would_do() {
    let above = tempfile::tempdir().unwrap();
    let folder = above.path().join("model");
    fs::rename(tiny::checkpoint("bert").keep(), &folder).unwrap();
    fails(above.path(), &["config.json is missing", "the model is in", "/model"]);
    // The pooling's folder has a configuration too, which is none of a model.
    fails(&folder.join("1_Pooling"), &["1_Pooling"]);
    fs::create_dir(folder.join("onnx")).unwrap();
    fails(&folder.join("onnx"), &["onnx: config.json is missing; the model is in", "/model"]);
    let files = tempfile::tempdir().unwrap();
    fs::write(files.path().join("a.gguf"), "GGUF").unwrap();
    fails(files.path(), &["config.json is missing; the model is in", "a.gguf"]);
}

#[test]
fn files_saved_by_other_editors_are_read() {
    let folder = tiny::checkpoint("llama");
    let plain = convert(folder.path()).unwrap();
    let wide = |text: &str| {
        let units = text.encode_utf16().flat_map(u16::to_le_bytes);
        [0xff, 0xfe].into_iter().chain(units).collect::<Vec<u8>>()
    };
    for name in ["config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json"]
    {
        let path = folder.path().join(name);
        let Ok(text) = fs::read_to_string(&path) else { continue };
        for bytes in [format!("\u{feff}{text}").into_bytes(), wide(&text)] {
            fs::write(&path, bytes).unwrap();
            let file = convert(folder.path()).unwrap();
            assert_eq!(
                (&file.meta().spec, file.meta().generation.eos.clone()),
                (&plain.meta().spec, plain.meta().generation.eos.clone())
            );
        }
        for (content, part) in [
            ("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "git lfs pull"),
            ("<!DOCTYPE html>\n<html></html>\n", "web page"),
            ("", "empty"),
        ] {
            fs::write(&path, content).unwrap();
            fails(folder.path(), &[name, part]);
        }
        fs::write(&path, text).unwrap();
    }
    let template = folder.path().join("chat_template.jinja");
    fs::write(&template, "version https://git-lfs.github.com/spec/v1\n").unwrap();
    fails(folder.path(), &["chat_template.jinja", "git lfs pull"]);
}

#[test]
fn infinities_in_a_configuration() {
    let folder = tiny::checkpoint("llama");
    let path = folder.path().join("config.json");
    let text = fs::read_to_string(&path).unwrap();
    let with = |addition: &str| text.replacen('{', &format!("{{{addition},"), 1);
    fs::write(&path, with(r#""time_step_limit": [0.0, Infinity], "x": NaN"#)).unwrap();
    convert(folder.path()).unwrap();
    fs::write(&path, text).unwrap();
    change(&path, |config| {
        config.as_object_mut().unwrap().remove("rms_norm_eps");
    });
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replacen('{', r#"{"rms_norm_eps": -Infinity,"#, 1)).unwrap();
    fails(folder.path(), &["rms_norm_eps", "-Infinity", "finite number"]);
}

#[test]
fn tokens_without_an_id() {
    let folder = tiny::checkpoint("llama");
    change(&folder.path().join("config.json"), |config| {
        config["pad_token_id"] = json!(-1);
        config["bos_token_id"] = json!(-1);
        config["eos_token_id"] = json!([-1, 2]);
    });
    fs::remove_file(folder.path().join("generation_config.json")).ok();
    let file = convert(folder.path()).unwrap();
    assert_eq!(file.meta().generation.bos, None);
    assert!(file.meta().generation.eos.contains(&2));
}

#[test]
fn tokens_that_only_the_configuration_of_the_tokenizer_knows() {
    let folder = tiny::checkpoint("llama");
    let path = folder.path().join("tokenizer_config.json");
    if !path.exists() {
        fs::write(&path, "{}").unwrap();
    }
    change(&path, |config| {
        config["pad_token"] = json!("[PAD]");
        config["added_tokens_decoder"] = json!({"999": {"content": "<|new|>", "special": true}});
    });
    let file = convert(folder.path()).unwrap();
    let tokenizer = kinglet::tokenizer::Tokenizer::from_bytes(file.tokenizer()).unwrap();
    assert!(tokenizer.id_of("<|new|>").is_some_and(|id| tokenizer.is_special(id)));
    assert_eq!(tokenizer.pad(), None);
}

#[test]
fn parts_lie_where_modules_json_says() {
    let folder = tiny::checkpoint("bert");
    let plain = convert(folder.path()).unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::create_dir(path("0_Transformer")).unwrap();
    for entry in fs::read_dir(folder.path()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let stays =
            ["modules.json", "0_Transformer", "1_Pooling", "config_sentence_transformers.json"];
        if !stays.contains(&name.as_str()) {
            fs::rename(path(&name), path("0_Transformer").join(&name)).unwrap();
        }
    }
    fs::rename(path("1_Pooling"), path("pool")).unwrap();
    change(&path("modules.json"), |modules| {
        for module in modules.as_array_mut().unwrap() {
            let kind = module["type"].as_str().unwrap().to_owned();
            let place = [("Transformer", "0_Transformer"), ("Pooling", "pool")];
            for (end, place) in place {
                if kind.ends_with(end) {
                    module["path"] = json!(place);
                }
            }
        }
    });
    let moved = convert(folder.path()).unwrap();
    assert_eq!(moved.meta().spec, plain.meta().spec);
    assert_eq!(moved.tokenizer(), plain.tokenizer());
    let inputs: Vec<_> = Source::open(folder.path()).unwrap().inputs().to_vec();
    for name in ["0_Transformer/model.safetensors", "0_Transformer/config.json", "pool/config.json"]
    {
        assert!(inputs.contains(&path(name)), "{name}");
    }
    change(&path("modules.json"), |modules| modules[0]["path"] = json!("../elsewhere"));
    fails(folder.path(), &["modules.json", "../elsewhere", "inside"]);
}

#[test]
fn adapters_are_no_models() {
    let folder = tiny::checkpoint("llama");
    let path = |name: &str| folder.path().join(name);
    let adapter = r#"{"peft_type": "LORA", "base_model_name_or_path": "org/base"}"#;
    fs::write(path("adapter_config.json"), adapter).unwrap();
    // A whole model may lie beside its adapter.
    convert(folder.path()).unwrap();
    fs::rename(path("model.safetensors"), path("adapter_model.safetensors")).unwrap();
    fails(folder.path(), &["an adapter of org/base", "merge"]);
    fs::remove_file(path("config.json")).unwrap();
    fails(folder.path(), &["an adapter of org/base", "merge"]);
    fails(&path("adapter_model.safetensors"), &["an adapter of org/base", "merge"]);
}

#[test]
fn files_of_gguf_that_are_no_models() {
    let text = |text: &str| Value::Text(text.to_owned());
    let tensor = [0.0; 4];
    let file = |keys: &[(&str, &str)]| {
        let mut file = GgufFile::default();
        for (key, value) in keys {
            file.set(key, text(value));
        }
        file.float("t", &[2, 2], &tensor);
        file
    };
    let mut vocabulary = GgufFile::default();
    vocabulary.vocabulary(300).set("general.architecture", text("llama"));
    for (file, part) in [
        (file(&[("general.architecture", "llama"), ("general.type", "adapter")]), "LoRA adapter"),
        (file(&[("general.type", "imatrix")]), "importance matrix"),
        (file(&[("general.architecture", "clip")]), "sees or hears"),
        (vocabulary, "vocabulary without weights"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file.gguf");
        file.write(&path);
        fails(&path, &["file.gguf: this is", part, "not a model"]);
    }
}

#[test]
fn weights_may_have_any_name_where_they_are_the_only_ones() {
    let folder = tiny::checkpoint("llama");
    let path = |name: &str| folder.path().join(name);
    let mut last = "model.safetensors";
    for name in ["model.fp16.safetensors", "model-00001-of-00001.safetensors"] {
        fs::rename(path(last), path(name)).unwrap();
        convert(folder.path()).unwrap();
        assert!(Source::open(folder.path()).unwrap().inputs().contains(&path(name)));
        last = name;
    }
}

#[test]
fn a_bad_default_of_generation_is_blamed_on_its_file() {
    let folder = tiny::checkpoint("llama");
    for (key, value) in [
        ("temperature", json!(-1)),
        ("top_p", json!(1.5)),
        ("min_p", json!(-0.1)),
        ("repetition_penalty", json!(0)),
    ] {
        let defaults = json!({"do_sample": true, key: value});
        fs::write(folder.path().join("generation_config.json"), defaults.to_string()).unwrap();
        fails(folder.path(), &["generation_config.json", key]);
    }
}

/// Rewrites the names of a checkpoint's tensors, which all have lengths that JSON may grow by.
fn rename(folder: &Path, name: impl Fn(&str) -> String) {
    let path = folder.join("model.safetensors");
    let bytes = fs::read(&path).unwrap();
    let end = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: serde_json::Map<String, Json> = serde_json::from_slice(&bytes[8..end]).unwrap();
    let entries = header.into_iter().filter(|(key, _)| key != "__metadata__");
    let header: serde_json::Map<String, Json> =
        entries.map(|(key, entry)| (name(&key), entry)).collect();
    let mut header = Json::Object(header).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    let len = (header.len() as u64).to_le_bytes();
    fs::write(&path, [&len[..], &header, &bytes[end..]].concat()).unwrap();
}

#[test]
fn names_may_tell_how_a_model_was_trained() {
    let folder = tiny::checkpoint("llama");
    let plain = convert(folder.path()).unwrap();
    let marks: [fn(&str) -> String; 5] = [
        |name| format!("_orig_mod.{name}"),
        |name| format!("module.{name}"),
        |name| format!("module._orig_mod.{name}"),
        |name| format!("model.{name}"),
        |name| name.replacen("model.", "model._orig_mod.", 1),
    ];
    for mark in marks {
        let folder = tiny::checkpoint("llama");
        rename(folder.path(), mark);
        let file = convert(folder.path()).unwrap();
        assert_eq!(file.meta().spec, plain.meta().spec);
        assert_eq!(file.tensors().len(), plain.tensors().len());
    }
    // Some names with the mark and some without are of no model that is known.
    rename(folder.path(), |name| match name.contains("q_proj") {
        true => format!("module.{name}"),
        false => name.to_owned(),
    });
    assert!(convert(folder.path()).is_err());
}
