//! Published ONNX models, found in folders as users have them, against onnxruntime.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may fail and tell")]

use std::fs;
use std::path::Path;

use kinglet::tokenizer::EncodeOptions;
use kinglet::{Input, Model, ModelOptions, SearchOptions};
use kinglet_formats::checkpoint::{Checkpoint, Onnx, open_file, open_folder};
use kinglet_formats::kinglet::KingletFile;
use kinglet_formats::map::Bytes;
use kinglet_quantize::{Options, Source, WeightType, quantize, quantize_to};
use kinglet_tests::{real, references};
use serde_json::json;
use tempfile::TempDir;

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter().zip(b).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum()
    };
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

/// A folder as those of transformers.js: what describes the model, and its weights in `onnx`.
fn minilm_folder() -> TempDir {
    let described = real::checkpoint("all-minilm-l6-v2");
    let folder = tempfile::tempdir().unwrap();
    for inside in ["1_Pooling", "onnx"] {
        fs::create_dir(folder.path().join(inside)).unwrap();
    }
    for file in [
        "1_Pooling/config.json",
        "config.json",
        "modules.json",
        "sentence_bert_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ] {
        fs::copy(described.join(file), folder.path().join(file)).unwrap();
    }
    let weights = real::onnx("minilm-int8-onnx").join("model.onnx");
    fs::copy(weights, folder.path().join("onnx/model_quantized.onnx")).unwrap();
    folder
}

fn convert(path: &Path, dtype: WeightType) -> (Model, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.kinglet");
    let options = Options { dtype, ..Options::default() };
    quantize(&Source::open(path).unwrap(), &options, &out, &mut ()).unwrap();
    (Model::open(&out).unwrap(), folder)
}

/// The file's weights have 8 bits in rows; in fp16 next to nothing is lost of them, and in groups of
/// 8 bits they are rounded once more.
#[test]
fn minilm_gives_the_vectors_of_onnxruntime() {
    let folder = minilm_folder();
    let texts: Vec<String> = references::minilm().texts.into_iter().step_by(3).collect();
    let expected = references::onnx_minilm();
    for (dtype, least) in [(WeightType::F16, 0.9999), (WeightType::Int8, 0.999)] {
        let (model, _kept) = convert(folder.path(), dtype);
        let options = EncodeOptions { add_special: true, parse_special: true };
        let limit = model.text_tokens();
        let tokens: Vec<_> = texts
            .iter()
            .map(|text| model.tokenizer().encode_truncated(text, options, limit))
            .collect();
        let vectors = model.embed_tokens(&tokens).unwrap();
        assert_eq!(vectors.len(), expected.len());
        let cosines = vectors.iter().zip(&expected).map(|(a, b)| cosine(a, b));
        let worst = cosines.fold(f64::INFINITY, f64::min);
        println!("{dtype}: worst cosine {worst:.7}");
        assert!(worst >= least, "{dtype}: cosine {worst}");
    }
}

#[test]
fn a_model_is_found_by_its_folder_its_subfolder_and_its_file() {
    let folder = minilm_folder();
    let written = |source: Source| {
        let out = std::io::Cursor::new(Vec::new());
        let (out, report) = quantize_to(&source, &Options::default(), out, &mut ()).unwrap();
        let weights = report.tensors.len();
        (weights, out.into_inner())
    };
    let inputs = |source: &Source| -> Vec<String> {
        let name =
            |path: &std::path::PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
        source.inputs().iter().map(name).collect()
    };
    let by_file = folder.path().join("onnx/model_quantized.onnx");
    let mut tensors = Vec::new();
    for path in [folder.path(), &folder.path().join("onnx"), &by_file] {
        let source = Source::open(path).unwrap();
        assert!(inputs(&source).contains(&"model_quantized.onnx".to_owned()));
        assert!(inputs(&source).contains(&"tokenizer.json".to_owned()));
        tensors.push(written(source).0);
    }
    assert!(tensors.iter().all(|n| *n == tensors[0]));

    // The page gives files by their names.
    let names = [
        "1_Pooling/config.json",
        "config.json",
        "modules.json",
        "sentence_bert_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "onnx/model_quantized.onnx",
    ];
    let files = names.map(|name| (name.to_owned(), Bytes::read(folder.path().join(name)).unwrap()));
    let (n, bytes) = written(Source::from_files("all-minilm", files).unwrap());
    assert_eq!(n, tensors[0]);
    let file = KingletFile::from_bytes(Bytes::from_vec(bytes)).unwrap();
    let model = Model::from_file(file, &ModelOptions::default()).unwrap();
    assert_eq!(model.embed(&["a bird"]).unwrap()[0].len(), 384);

    // Without what describes it, a model is no model.
    fs::remove_file(folder.path().join("config.json")).unwrap();
    let error = Source::open(&by_file).err().unwrap().to_string();
    assert!(error.contains("config.json is missing"), "{error}");
}

/// Names and dimensions of all tensors.
fn listing(checkpoint: &dyn Checkpoint) -> Vec<String> {
    let line =
        |info: &kinglet_formats::checkpoint::TensorInfo| format!("{} {:?}", info.name, info.dims);
    let mut lines: Vec<String> = checkpoint.tensors().iter().map(line).collect();
    lines.sort();
    lines
}

fn sorted(mut lines: Vec<String>) -> Vec<String> {
    lines.sort();
    lines
}

#[test]
#[ignore = "downloads 90 MB"]
fn all_parameters_of_a_vision_transformer() {
    let path = real::onnx("vit-s14-onnx").join("vit_s_focus.onnx");
    let vit = open_file(path).unwrap();
    assert_eq!(listing(&*vit), sorted(references::onnx_parameters("vit")));
}

/// The files of the FLAN-T5, and what describes them.
fn flan_t5_folder(files: &Path) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in ["encoder.onnx", "decoder.onnx", "tokenizer.json"] {
        fs::copy(files.join(file), folder.path().join(file)).unwrap();
    }
    let config = json!({
        "architectures": ["T5ForConditionalGeneration"], "vocab_size": 32128, "d_model": 512, "d_kv": 64,
        "d_ff": 1024, "num_layers": 8, "num_decoder_layers": 8, "num_heads": 6,
        "feed_forward_proj": "gated-gelu", "tie_word_embeddings": false,
        "decoder_start_token_id": 0, "pad_token_id": 0, "eos_token_id": 1,
    });
    fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    folder
}

/// The titles of the file's graph in floats: what the file itself writes comes from activations of 8 bits,
/// which make most titles others. In groups of 8 bits weights are rounded once more, which turns what is
/// about equally likely.
#[test]
#[ignore = "downloads 69 MB"]
fn flan_t5_writes_the_titles_of_onnxruntime() {
    let folder = flan_t5_folder(&real::onnx("flan-t5-titles-onnx"));
    let golden = references::onnx_titles();
    let texts: Vec<&str> = golden.iter().map(|title| &*title.text).collect();
    let options = SearchOptions::default().beams(1).max_tokens(24);
    for (dtype, least) in [(WeightType::F16, golden.len()), (WeightType::Int8, 7)] {
        let (model, _kept) = convert(folder.path(), dtype);
        let answers = model.text_to_text(&texts, &options).unwrap();
        let same = |of: &dyn Fn(&references::OnnxTitle) -> &str| {
            golden.iter().zip(&answers).filter(|(title, answer)| of(title) == answer.text).count()
        };
        let (floats, rounded) = (same(&|title| &title.title), same(&|title| &title.rounded));
        println!("{dtype}: {floats} of {} titles, {rounded} of those of 8 bits", golden.len());
        for (title, answer) in golden.iter().zip(&answers) {
            let ids = model.tokenizer().encode(&title.text, EncodeOptions::default());
            assert_eq!(ids, title.ids);
            if answer.text != title.title {
                println!("{:?}, not {:?}", answer.text, title.title);
            }
        }
        assert!(floats >= least, "{dtype}: {floats}");
    }
}

/// onnxruntime rounds the activations of this file to 8 bits with one scale for all tokens, which T5's
/// few large values spoil: its states have a mean cosine of 0.84 to those of the same graph in floats.
/// What is compared closely is that graph, and transformers with these parameters gives its states.
#[test]
#[ignore = "downloads 69 MB"]
fn flan_t5_gives_the_states_and_logits_of_onnxruntime() {
    let files = real::onnx("flan-t5-titles-onnx");
    let joined = open_folder(&files).unwrap();
    assert_eq!(listing(&*joined), sorted(references::onnx_parameters("t5")));
    assert!(Onnx::open(files.join("decoder.onnx")).unwrap().find("m.shared.weight").is_some());

    let folder = flan_t5_folder(&files);
    let golden = references::onnx_t5();
    // The half that is named finds the other.
    let (model, _kept) = convert(&folder.path().join("decoder.onnx"), WeightType::F16);
    let mean = |pairs: Vec<f64>| pairs.iter().sum::<f64>() / pairs.len() as f64;
    for (i, source) in golden.sources.iter().enumerate() {
        let states = model.hidden_states(Input::Tokens(source)).unwrap();
        let pairs = |a: &[Vec<f32>], b: &[Vec<f32>]| -> Vec<f64> {
            a.iter().zip(b).map(|(a, b)| cosine(a, b)).collect()
        };
        let worst = pairs(&states, &golden.states[i]).into_iter().fold(f64::INFINITY, f64::min);
        let noise = mean(pairs(&golden.states[i], &golden.states_int8[i]));
        let to_int8 = mean(pairs(&states, &golden.states_int8[i]));
        println!(
            "source {i}: worst cosine {worst:.7}; to 8 bits {to_int8:.4}, of floats {noise:.4}"
        );
        assert!(worst >= 0.9999, "source {i}: cosine {worst}");
        assert!((to_int8 - noise).abs() < 0.005, "source {i}: {to_int8} {noise}");

        let mut session = model.session().unwrap();
        assert!(session.set_source(source).unwrap());
        let mut off = 0.0f32;
        let mut row = 0;
        let visit = |_: usize, logits: &[f32]| {
            let top = &golden.top[i][row];
            let best = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            assert!(logits[top[0].0 as usize] > best - 0.1, "source {i} row {row}");
            for (id, logit) in top {
                off = off.max((logits[*id as usize] - logit).abs());
            }
            row += 1;
        };
        assert!(session.score(&golden.target, 0, visit).unwrap());
        assert_eq!(row, golden.target.len());
        // Of logits from -54 to 5.
        println!("source {i}: logits off by {off:.4}");
        assert!(off < 0.1, "source {i}: logits are off by {off}");
    }
}
