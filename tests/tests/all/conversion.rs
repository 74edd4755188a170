//! Checkpoints of every family become `.kinglet` files that say what the checkpoint says.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may fail and tell")]

use std::fs;
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::path::Path;

use kinglet_formats::kinglet::{KingletFile, View};
use kinglet_quantize::{
    Group, Options, QuantizeError, Report, Source, Stage, Update, WeightType, quantize,
};
use kinglet_tests::tiny::{self, ConfigSpelling};

pub(crate) fn convert(
    input: &Path,
    options: &Options,
) -> Result<(KingletFile, Report), QuantizeError> {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.kinglet");
    let report = quantize(&Source::open(input)?, options, &out, &mut ())?;
    // The mapping outlives the name.
    Ok((KingletFile::open(&out).unwrap(), report))
}

pub(crate) fn f16() -> Options {
    Options { dtype: WeightType::F16, ..Options::default() }
}

/// All values of a tensor, row by row.
pub(crate) fn values(file: &KingletFile, index: usize) -> Vec<f32> {
    match file.view(index) {
        View::F32 { data, .. } => data.to_vec(),
        View::U32 { data } => data.iter().map(|&n| n as f32).collect(),
        View::I8(matrix) => rows(matrix.rows, matrix.cols, |r, out| matrix.row(r, out)),
        View::I4(matrix) => rows(matrix.rows, matrix.cols, |r, out| matrix.row(r, out)),
        View::F16(matrix) => rows(matrix.rows, matrix.cols, |r, out| matrix.row(r, out)),
    }
}

fn rows(n: usize, cols: usize, row: impl Fn(usize, &mut [f32])) -> Vec<f32> {
    let mut all = vec![0.0; n * cols];
    for (r, out) in all.chunks_exact_mut(cols).enumerate() {
        row(r, out);
    }
    all
}

/// Root mean square of the difference over that of `expected`.
fn relative_error(found: &[f32], expected: &[f32]) -> f64 {
    let sum = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>();
    let pairs = found.iter().zip(expected);
    let error = sum(&mut pairs.map(|(a, b)| f64::from(a - b)));
    (error / sum(&mut expected.iter().map(|&x| f64::from(x)))).sqrt()
}

#[test]
fn every_family_keeps_its_weights() {
    for family in tiny::families() {
        let folder = tiny::checkpoint(family);
        let (file, report) = convert(folder.path(), &f16()).unwrap();
        file.verify(&mut |_, _| ()).unwrap();
        let tensors = tiny::tensors(family);
        let find = |name: &str| tensors.iter().find(|t| t.name == name);
        // What the converter has made of a table has its own name.
        let sources = report.tensors.iter().map(|t| t.source.as_str());
        let mut sources: Vec<&str> = sources.filter(|name| find(name).is_some()).collect();
        sources.sort_unstable();
        sources.dedup();
        let experts = tensors.iter().filter(|t| t.name.contains("experts.")).count();
        let first_experts = tensors.iter().filter(|t| t.name.contains("experts.0.")).count();
        // Each is used, or known to be superfluous; of all experts the report names the first.
        let projected = [
            "encoder.rel_embeddings.weight",
            "encoder.LayerNorm.weight",
            "encoder.LayerNorm.bias",
            "embeddings.cls_token",
            "embeddings.position_embeddings",
        ];
        let projected = projected.into_iter().filter(|name| find(name).is_some()).count();
        let used = sources.len() + experts - first_experts + projected;
        assert_eq!(used + report.ignored.len(), tensors.len(), "{family}");
        for (index, tensor) in report.tensors.iter().enumerate() {
            let Some(source) = find(&tensor.source) else {
                let made = [".position_", ".embed_leading.", ".embed_positions."];
                let made = made.iter().any(|part| tensor.name.contains(part));
                assert!(projected > 0 && made, "{}", tensor.name);
                continue;
            };
            let n: usize = tensor.dims.iter().product();
            let reordered = family == "gpt2"
                || tensor.name.ends_with("position_buckets.weight")
                || family.starts_with("cohere") && source.name.contains("self_attn");
            if n != source.len() || (reordered && tensor.dims.len() == 2) {
                // Parts, stacks and other orders: their results are compared.
                continue;
            }
            let one_added = family.contains("gemma") && source.dims.len() == 1;
            let expected: Vec<f32> =
                source.values().map(|x| if one_added { x + 1.0 } else { x }).collect();
            let found = values(&file, index);
            match source.dims.len() {
                1 => assert_eq!(found, expected, "{family} {}", tensor.name),
                _ => {
                    let error = relative_error(&found, &expected);
                    assert!(error < 3e-4, "{family} {}: {error}", tensor.name);
                    assert!((error - f64::from(tensor.relative_error)).abs() < 1e-6);
                }
            }
        }
    }
}

#[test]
fn int8_reports_the_error_it_makes() {
    let folder = tiny::checkpoint("qwen3");
    for group in [Group::G32, Group::G64, Group::G128, Group::Row] {
        let options = Options { group, ..Options::default() };
        let (file, report) = convert(folder.path(), &options).unwrap();
        let tensors = tiny::tensors("qwen3");
        for (index, tensor) in report.tensors.iter().enumerate() {
            let source = tensors.iter().find(|t| t.name == tensor.source).unwrap();
            let expected: Vec<f32> = source.values().collect();
            let error = relative_error(&values(&file, index), &expected);
            assert!(error < 0.006, "{group} {}: {error}", tensor.name);
            assert!((error - f64::from(tensor.relative_error)).abs() < 1e-5);
            assert_eq!(file.tensors()[index].relative_error, tensor.relative_error);
        }
        assert!(report.worst().unwrap().relative_error > 0.002);
    }
}

#[test]
fn both_spellings_of_a_configuration_say_the_same() {
    for family in tiny::families_of(tiny::Kind::Decoder) {
        let spec = |spelling| {
            let folder = tiny::checkpoint_spelled(family, spelling);
            Source::open(folder.path()).unwrap().spec().unwrap()
        };
        assert_eq!(spec(ConfigSpelling::Current), spec(ConfigSpelling::Release4), "{family}");
    }
}

#[test]
fn the_bytes_do_not_depend_on_threads() {
    let folder = tiny::checkpoint("llama");
    let bytes = |threads, options: Options| {
        let options = Options { threads: NonZeroUsize::new(threads), ..options };
        convert(folder.path(), &options).unwrap().0.bytes().to_vec()
    };
    for options in [Options::default(), f16()] {
        let one = bytes(1, options.clone());
        assert_eq!(one, bytes(3, options.clone()));
        assert_eq!(one, bytes(1, options));
    }
}

#[test]
fn a_cancelled_conversion_leaves_nothing() {
    let folder = tiny::checkpoint("llama");
    let source = Source::open(folder.path()).unwrap();
    let target = tempfile::tempdir().unwrap();
    let out = target.path().join("out.kinglet");
    for stop_at in [Stage::Hash, Stage::Tokenizer, Stage::Tensors, Stage::Finish] {
        let mut progress = |update: &Update<'_>| {
            let half = update.stage != Stage::Tensors || update.done * 2 > update.total;
            if update.stage == stop_at && half {
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        };
        let error = quantize(&source, &Options::default(), &out, &mut progress).unwrap_err();
        assert!(matches!(error, QuantizeError::Cancelled), "{error}");
        assert_eq!(fs::read_dir(target.path()).unwrap().count(), 0, "{stop_at:?}");
    }
}

#[test]
fn progress_counts_up_to_the_total() {
    let folder = tiny::checkpoint("llama");
    let mut last = [(0, 0); 2];
    let mut progress = |update: &Update<'_>| {
        let slot = match update.stage {
            Stage::Hash => 0,
            Stage::Tensors => 1,
            _ => return ControlFlow::Continue(()),
        };
        assert!(update.done >= last[slot].0 && update.done <= update.total);
        last[slot] = (update.done, update.total);
        ControlFlow::Continue(())
    };
    let out = tempfile::tempdir().unwrap();
    let out = out.path().join("out.kinglet");
    let source = Source::open(folder.path()).unwrap();
    let report = quantize(&source, &Options::default(), &out, &mut progress).unwrap();
    assert_eq!(last[0], (report.input_bytes, report.input_bytes));
    assert_eq!(last[1], (report.tensor_bytes(), report.tensor_bytes()));
}

#[test]
fn an_input_is_never_overwritten() {
    let folder = tiny::checkpoint("llama");
    let source = Source::open(folder.path()).unwrap();
    for name in ["model.safetensors", "config.json", "tokenizer.json"] {
        let out = folder.path().join(name);
        let before = fs::read(&out).unwrap();
        let error = quantize(&source, &f16(), &out, &mut ()).unwrap_err();
        assert!(matches!(error, QuantizeError::OutputIsInput { .. }), "{error}");
        assert_eq!(fs::read(&out).unwrap(), before);
    }
}

#[test]
fn a_single_weight_file_finds_its_folder() {
    let folder = tiny::checkpoint("mistral");
    let (whole, _) = convert(folder.path(), &f16()).unwrap();
    let (single, _) = convert(&folder.path().join("model.safetensors"), &f16()).unwrap();
    assert_eq!(whole.meta().spec, single.meta().spec);
    assert_eq!(whole.tensors(), single.tensors());
}

#[test]
fn provenance_names_inputs_without_their_folders() {
    let folder = tiny::checkpoint("bert");
    let (file, _) = convert(folder.path(), &Options::default()).unwrap();
    let provenance = &file.meta().provenance;
    let names: Vec<&str> = provenance.inputs.iter().map(|input| input.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "model.safetensors",
            "config.json",
            "modules.json",
            "1_Pooling/config.json",
            "sentence_bert_config.json",
            "tokenizer.json"
        ]
    );
    for input in &provenance.inputs {
        let bytes = fs::read(folder.path().join(&input.name)).unwrap();
        assert_eq!(input.bytes, bytes.len() as u64);
    }
    assert_eq!(provenance.options, "--type int8 --group 64");
    let text = serde_json::to_string(file.meta()).unwrap();
    assert!(!text.contains(folder.path().parent().unwrap().to_str().unwrap()), "{text}");
    assert_eq!(file.meta().embedding.as_ref().unwrap().max_tokens, 64);
}

#[test]
fn chosen_matrices_stay_in_f16() {
    let folder = tiny::checkpoint("llama");
    let options = Options {
        keep_f16: vec!["lm_head.*".to_owned(), "*.layers.0.down_proj.weight".to_owned()],
        ..Options::default()
    };
    let (_, report) = convert(folder.path(), &options).unwrap();
    let kept: Vec<&str> = report
        .tensors
        .iter()
        .filter(|t| t.layout.to_string() == "f16.r8k1")
        .map(|t| t.name.as_str())
        .collect();
    assert_eq!(kept, ["decoder.layers.0.down_proj.weight", "lm_head.weight"]);
    let options = Options { keep_f16: vec!["lm_haed*".to_owned()], ..Options::default() };
    let error = convert(folder.path(), &options).err().unwrap().to_string();
    assert!(error.contains("lm_haed*") && error.contains("lm_head.weight"), "{error}");
}
