//! Checkpoints that are wrong, spelled otherwise, or have more than is needed.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may fail and tell")]

use std::fs;
use std::path::Path;

use kinglet_formats::kinglet::KingletFile;
use kinglet_quantize::{Options, Source};
use kinglet_tests::tiny;
use serde_json::{Value, json};

use crate::conversion::{convert, f16, values};

/// Changes `config.json` and tells what the conversion says.
fn with_config(family: &str, change: impl FnOnce(&mut Value)) -> String {
    let folder = tiny::checkpoint(family);
    let path = folder.path().join("config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut config);
    fs::write(&path, config.to_string()).unwrap();
    convert(folder.path(), &f16()).err().map_or_else(String::new, |error| error.to_string())
}

#[test]
fn what_a_configuration_gets_wrong_is_named() {
    type Change = fn(&mut Value);
    let cases: &[(&str, Change, &[&str])] = &[
        (
            "llama",
            |c| c["architectures"] = json!(["MambaForCausalLM"]),
            &["MambaForCausalLM", "LlamaForCausalLM", "BertModel"],
        ),
        ("llama", |c| c["hidden_act"] = json!("mish"), &["hidden_act", "mish", "silu"]),
        (
            "llama",
            |c| c["rope_parameters"]["rope_type"] = json!("ntk"),
            &["rope_parameters.rope_type", "ntk", "yarn"],
        ),
        ("llama", |c| c["num_key_value_heads"] = json!(3), &["num_key_value_heads", "3"]),
        ("llama", |c| c["num_hidden_layers"] = json!(4_000_000), &["num_hidden_layers", "4000000"]),
        ("llama", |c| c["num_hidden_layers"] = json!(2), &["9 tensors", "model.layers.2."]),
        (
            "llama",
            |c| c["num_hidden_layers"] = json!(4),
            &["decoder.layers.3.attn_norm.weight", "model.layers.3.input_layernorm.weight"],
        ),
        (
            "llama",
            |c| c["intermediate_size"] = json!(177),
            &["gate_proj", "[176, 64]", "[177, 64]"],
        ),
        ("llama", |c| c["attention_bias"] = json!(true), &["model.layers.0.self_attn.q_proj.bias"]),
        (
            "llama",
            |c| c["quantization_config"] = json!({"quant_method": "bitsandbytes"}),
            &["quantization_config.quant_method", "bitsandbytes", "dequantize()"],
        ),
        ("llama", |c| c["hidden_size"] = json!(null), &["hidden_size", "missing"]),
        (
            "llama",
            |c| c["num_hidden_layers"] = json!([3]),
            &["config.json", "num_hidden_layers", "[3]"],
        ),
        ("llama", |c| c["rms_norm_eps"] = json!(-1.0), &["rms_norm_eps", "-1"]),
        ("gemma3", |c| c["layer_types"] = json!(["full_attention"]), &["layer_types", "4 layers"]),
        (
            "gemma3",
            |c| c["use_bidirectional_attention"] = json!(true),
            &["use_bidirectional_attention"],
        ),
        (
            "bert",
            |c| c["position_embedding_type"] = json!("relative_key"),
            &["position_embedding_type", "absolute"],
        ),
        (
            "bert",
            |c| c["architectures"] = json!(["BertForMultipleChoice"]),
            &["BertForMultipleChoice"],
        ),
    ];
    for (family, change, parts) in cases {
        let error = with_config(family, change);
        for part in *parts {
            assert!(error.contains(part), "{part:?} is not in {error:?}");
        }
    }
}

/// Hugging Face's Gemma 3 does not read the cap on attention scores that its configuration class
/// took over from Gemma 2.
#[test]
fn gemma_3_has_no_cap_on_attention_scores() {
    let folder = tiny::checkpoint("gemma3");
    let path = folder.path().join("config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let before = Source::open(folder.path()).unwrap().spec().unwrap();
    config["attn_logit_softcapping"] = json!(50.0);
    fs::write(&path, config.to_string()).unwrap();
    assert_eq!(Source::open(folder.path()).unwrap().spec().unwrap(), before);
    config["final_logit_softcapping"] = json!(30.0);
    fs::write(&path, config.to_string()).unwrap();
    assert_ne!(Source::open(folder.path()).unwrap().spec().unwrap(), before);
}

#[test]
fn an_empty_vocabulary_is_refused() {
    let folder = tiny::checkpoint("llama");
    let path = folder.path().join("tokenizer.json");
    for model in
        [json!({"type": "BPE", "vocab": {}, "merges": []}), json!({"type": "Unigram", "vocab": []})]
    {
        fs::write(&path, json!({ "model": model, "added_tokens": [] }).to_string()).unwrap();
        let error = convert(folder.path(), &f16()).err().unwrap().to_string();
        let named = error.contains("tokenizer.json") && error.contains("vocabulary is empty");
        assert!(named, "{error}");
    }
}

#[test]
fn missing_files_are_named() {
    for (file, parts) in [
        ("config.json", ["config.json", "describes the model"]),
        ("tokenizer.json", ["tokenizer.json", "holds the tokenizer"]),
        ("model.safetensors", ["model.safetensors", "pytorch_model.bin"]),
        ("1_Pooling/config.json", ["1_Pooling/config.json", "modules.json"]),
    ] {
        let folder = tiny::checkpoint("bert");
        fs::remove_file(folder.path().join(file)).unwrap();
        let error = convert(folder.path(), &f16()).err().unwrap().to_string();
        for part in parts {
            assert!(error.contains(part), "{part:?} is not in {error:?}");
        }
    }
}

#[test]
fn other_files_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    for (content, expected) in [
        (&b"\x89KGL\r\n\x1a\n"[..], ".kinglet file already"),
        (b"{}", "JSON"),
        (b"", "empty"),
        (b"hello", "no known kind"),
    ] {
        let path = folder.path().join("file");
        fs::write(&path, content).unwrap();
        let error = Source::open(&path).err().unwrap().to_string();
        assert!(error.contains(expected) && error.contains("GGUF"), "{error}");
    }
    assert!(Source::open(folder.path().join("none")).is_err());
}

#[test]
fn a_weight_that_is_not_finite_is_located() {
    let folder = tiny::checkpoint("llama");
    let path = folder.path().join("model.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    let header_len = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..8 + header_len]).unwrap();
    let name = "model.layers.1.mlp.up_proj.weight";
    let start = header[name]["data_offsets"][0].as_u64().unwrap() as usize;
    // Row 100, column 5 of [176, 64].
    let at = 8 + header_len + start + (100 * 64 + 5) * 4;
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        fs::write(&path, &bytes).unwrap();
        for options in [f16(), Options::default()] {
            let error = convert(folder.path(), &options).err().unwrap().to_string();
            for part in [name, "row 100", "column 5", &value.to_string()] {
                assert!(error.contains(part), "{part:?} is not in {error:?}");
            }
        }
    }
}

/// Rewrites the names of a checkpoint's tensors, and drops those that lose theirs.
fn rename(folder: &Path, name: impl Fn(&str) -> Option<String>) {
    let path = folder.join("model.safetensors");
    let bytes = fs::read(&path).unwrap();
    let header_len = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..8 + header_len]).unwrap();
    let entries = header.as_object().unwrap().iter().filter(|(key, _)| *key != "__metadata__");
    let (mut renamed, mut data) = (serde_json::Map::new(), Vec::<u8>::new());
    for (key, entry) in entries {
        let Some(key) = name(key) else { continue };
        let [start, end] = [0, 1].map(|i| entry["data_offsets"][i].as_u64().unwrap() as usize);
        let mut entry = entry.clone();
        entry["data_offsets"] = json!([data.len(), data.len() + end - start]);
        data.extend(&bytes[8 + header_len..][start..end]);
        renamed.insert(key, entry);
    }
    let mut header = Value::Object(renamed).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header);
    bytes.extend(data);
    fs::write(&path, bytes).unwrap();
}

/// Index and planes of both are the same.
fn assert_same_tensors(a: &KingletFile, b: &KingletFile) {
    assert_eq!(a.tensors(), b.tensors());
    for i in 0..a.tensors().len() {
        assert_eq!(values(a, i), values(b, i), "{}", a.tensors()[i].name);
    }
}

#[test]
fn names_of_other_releases_are_found() {
    let convert = |folder: &Path| convert(folder, &f16()).unwrap();

    let folder = tiny::checkpoint("bert");
    let (plain, _) = convert(folder.path());
    rename(folder.path(), |name| {
        let name = name.replace("LayerNorm.weight", "LayerNorm.gamma");
        Some(format!("bert.{}", name.replace("LayerNorm.bias", "LayerNorm.beta")))
    });
    let (prefixed, report) = convert(folder.path());
    assert_same_tensors(&plain, &prefixed);
    assert_eq!(report.ignored, ["bert.pooler.dense.bias", "bert.pooler.dense.weight"]);

    let folder = tiny::checkpoint("gemma3");
    let (plain, _) = convert(folder.path());
    rename(folder.path(), |name| Some(name.replace("model.", "language_model.model.")));
    let (nested, _) = convert(folder.path());
    assert_same_tensors(&plain, &nested);
    rename(folder.path(), |name| {
        Some(name.replace("language_model.model.", "model.language_model."))
    });
    let (nested, _) = convert(folder.path());
    assert_same_tensors(&plain, &nested);
}

#[test]
fn the_text_half_of_a_model_that_sees() {
    let folder = tiny::checkpoint("gemma3");
    let (plain, _) = convert(folder.path(), &f16()).unwrap();
    let path = folder.path().join("config.json");
    let text: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let config = json!({
        "architectures": ["Gemma3ForConditionalGeneration"], "model_type": "gemma3",
        "text_config": text, "vision_config": {"hidden_size": 8}, "eos_token_id": [2, 106]
    });
    fs::write(&path, config.to_string()).unwrap();
    let (nested, _) = convert(folder.path(), &f16()).unwrap();
    assert_eq!(plain.meta().spec, nested.meta().spec);
    assert_same_tensors(&plain, &nested);
    assert_eq!(nested.meta().generation.bos, Some(1));
    assert_eq!(nested.meta().generation.eos[..2], [2, 106]);
}

#[test]
fn a_checkpoint_in_several_files() {
    let folder = tiny::checkpoint("qwen2");
    let (single, _) = convert(folder.path(), &f16()).unwrap();
    // The second part: a copy of the folder, so that each drops what the other keeps.
    let other = tiny::checkpoint("qwen2");
    let second = |name: &str| name.contains(".layers.1.");
    rename(folder.path(), |name| (!second(name)).then(|| name.to_owned()));
    rename(other.path(), |name| second(name).then(|| name.to_owned()));
    let parts = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
    fs::rename(folder.path().join("model.safetensors"), folder.path().join(parts[0])).unwrap();
    fs::copy(other.path().join("model.safetensors"), folder.path().join(parts[1])).unwrap();
    let map: serde_json::Map<String, Value> = tiny::tensors("qwen2")
        .into_iter()
        .map(|t| (t.name.clone(), json!(parts[usize::from(second(&t.name))])))
        .collect();
    let index = folder.path().join("model.safetensors.index.json");
    fs::write(&index, json!({"weight_map": map}).to_string()).unwrap();
    let (sharded, _) = convert(folder.path(), &f16()).unwrap();
    assert_same_tensors(&single, &sharded);
    let inputs = &sharded.meta().provenance.inputs;
    let names: Vec<&str> = inputs.iter().map(|input| input.name.as_str()).collect();
    assert_eq!(names[..3], ["model.safetensors.index.json", parts[0], parts[1]]);
}

#[test]
fn a_tied_head_may_be_stored_twice() {
    let folder = tiny::checkpoint("qwen2");
    let (plain, _) = convert(folder.path(), &f16()).unwrap();
    let other = tiny::checkpoint("qwen2");
    rename(other.path(), |name| name.contains("embed_tokens").then(|| "lm_head.weight".to_owned()));
    let parts = ["a.safetensors", "b.safetensors"];
    fs::rename(folder.path().join("model.safetensors"), folder.path().join(parts[0])).unwrap();
    fs::copy(other.path().join("model.safetensors"), folder.path().join(parts[1])).unwrap();
    let mut map: serde_json::Map<String, Value> =
        tiny::tensors("qwen2").into_iter().map(|t| (t.name, json!(parts[0]))).collect();
    map.insert("lm_head.weight".to_owned(), json!(parts[1]));
    let index = folder.path().join("model.safetensors.index.json");
    fs::write(&index, json!({"weight_map": map}).to_string()).unwrap();
    let (doubled, report) = convert(folder.path(), &f16()).unwrap();
    assert_same_tensors(&plain, &doubled);
    assert_eq!(report.ignored, ["lm_head.weight"]);

    // One that differs is the model's head, whatever the configuration says.
    let other = tiny::checkpoint("qwen3");
    rename(other.path(), |name| (name == "lm_head.weight").then(|| name.to_owned()));
    fs::copy(other.path().join("model.safetensors"), folder.path().join(parts[1])).unwrap();
    let error = convert(folder.path(), &f16()).unwrap_err().to_string();
    assert!(error.contains("lm_head.weight"), "{error}");
}

#[test]
fn defaults_of_generation_come_along() {
    let folder = tiny::checkpoint("llama");
    let write = |name: &str, value: Value| {
        fs::write(folder.path().join(name), value.to_string()).unwrap();
    };
    let meta = || convert(folder.path(), &f16()).unwrap().0.meta().clone();
    let none = meta();
    assert_eq!((none.generation.bos, none.generation.eos.as_slice()), (Some(1), &[2][..]));
    assert_eq!((none.generation.temperature, none.chat_template), (None, None));

    write(
        "generation_config.json",
        json!({"eos_token_id": [7, 2], "temperature": 0.6, "top_k": 20, "top_p": 0.95,
               "repetition_penalty": 1.1, "do_sample": true}),
    );
    write(
        "tokenizer_config.json",
        json!({"chat_template": [{"name": "tool_use", "template": "t"},
                                 {"name": "default", "template": "d"}],
               "eos_token": {"content": "<pad>"}}),
    );
    let some = meta();
    assert_eq!(some.generation.eos, [7, 2, 0]);
    assert_eq!(some.generation.temperature, Some(0.6));
    assert_eq!((some.generation.top_k, some.generation.top_p), (Some(20), Some(0.95)));
    assert_eq!(some.generation.repeat_penalty, Some(1.1));
    assert_eq!(some.chat_template.as_deref(), Some("d"));

    fs::write(folder.path().join("chat_template.jinja"), "of its own file").unwrap();
    write("generation_config.json", json!({"do_sample": false, "top_k": 0}));
    fs::write(folder.path().join("README.md"), "---\nlicense: \"mit\"\n---\n# Text\n").unwrap();
    let own = meta();
    assert_eq!(own.chat_template.as_deref(), Some("of its own file"));
    assert_eq!((own.generation.temperature, own.generation.top_k), (Some(0.0), None));
    assert_eq!(own.general.license.as_deref(), Some("mit"));
}

#[test]
fn lower_case_is_the_tokenizers_business() {
    let folder = tiny::checkpoint("bert");
    let write = |name: &str, value: &Value| {
        fs::write(folder.path().join(name), value.to_string()).unwrap();
    };
    let error = || convert(folder.path(), &f16()).err().map_or(String::new(), |e| e.to_string());
    write("sentence_bert_config.json", &json!({"max_seq_length": 64, "do_lower_case": true}));
    assert_eq!(error(), "");
    let path = folder.path().join("tokenizer.json");
    let mut tokenizer: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    tokenizer["normalizer"]["lowercase"] = json!(false);
    write("tokenizer.json", &tokenizer);
    assert!(error().contains("do_lower_case"), "{}", error());
}

#[test]
fn texts_are_cut_where_the_folder_says() {
    let folder = tiny::checkpoint("bert");
    let write = |name: &str, value: Value| {
        fs::write(folder.path().join(name), value.to_string()).unwrap();
    };
    let limit = || {
        let (file, _) = convert(folder.path(), &f16()).unwrap();
        file.meta().embedding.as_ref().map(|embedding| embedding.max_tokens)
    };
    let huge: Value = serde_json::from_str("1000000000000000019884624838656").unwrap();
    write("sentence_bert_config.json", json!({"transformer_task": "feature-extraction"}));
    for (said, expected) in [(json!(20), 20), (json!(500), 64), (huge, 64), (json!(null), 64)] {
        write("tokenizer_config.json", json!({"model_max_length": said}));
        assert_eq!(limit(), Some(expected));
    }
    write("sentence_bert_config.json", json!({"max_seq_length": 16}));
    assert_eq!(limit(), Some(16));
}
