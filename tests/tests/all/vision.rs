//! Models that read images, from a Hugging Face folder to vectors and labels, against the reference.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may fail and tell")]

use std::fs;
use std::path::Path;

use kinglet::{Error, Image, Input, Model, ModelOptions, Task, ZeroShotOptions};
use kinglet_formats::checkpoint::open_file;
use kinglet_formats::kinglet::ResizeFilter;
use kinglet_quantize::{Options, Source, WeightType, quantize};
use kinglet_tests::images::{self, CHECKPOINTS, Golden};
use kinglet_tests::{real, references, tiny};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Of hidden states, relative to the reference's standard deviation: as for texts.
const F16_TOLERANCE: f32 = 0.01;
const INT8_TOLERANCE: f32 = 0.15;
/// Least cosine of vectors.
const COSINES: [(WeightType, f64); 2] = [(WeightType::F16, 0.99999), (WeightType::Int8, 0.999)];
/// Of probabilities.
const F16_SCORE: f32 = 0.002;
const INT8_SCORE: f32 = 0.05;
/// Of prepared values, whose levels are a 255th apart, divided by 0.23 or more: they are of the same
/// levels, and only rounded in another order.
const PIXELS: f32 = 1e-5;

fn convert(name: &str, dtype: WeightType) -> (Model, Golden, TempDir) {
    let folder = tiny::checkpoint(name);
    let model = convert_folder(&folder, dtype).unwrap();
    (model, images::golden(name), folder)
}

fn convert_folder(folder: &TempDir, dtype: WeightType) -> Result<Model, String> {
    let path = folder.path().join("model.kinglet");
    let source = Source::open(folder.path()).map_err(|e| e.to_string())?;
    let options = Options { dtype, ..Options::default() };
    quantize(&source, &options, &path, &mut ()).map_err(|e| e.to_string())?;
    Model::open(&path).map_err(|e| e.to_string())
}

/// A checkpoint of which a file is changed.
fn changed(name: &str, file: &str, change: impl FnOnce(&mut Value)) -> TempDir {
    let folder = tiny::checkpoint(name);
    let path = folder.path().join(file);
    let mut value: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut value);
    fs::write(path, value.to_string()).unwrap();
    folder
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter().zip(b).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum()
    };
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

fn worst(ours: &[Vec<f32>], reference: &[Vec<f32>]) -> f64 {
    assert_eq!(ours.len(), reference.len());
    ours.iter().zip(reference).map(|(a, b)| cosine(a, b)).fold(f64::INFINITY, f64::min)
}

fn largest_difference(ours: &[Vec<f32>], reference: &[Vec<f32>]) -> f32 {
    let (ours, reference) = (ours.concat(), reference.concat());
    assert_eq!(ours.len(), reference.len());
    ours.iter().zip(&reference).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// Scores in the order of `labels`.
fn in_order(scores: &[kinglet::LabelScore], labels: &[String]) -> Vec<f32> {
    let of = |label: &String| scores.iter().find(|one| one.label == *label).unwrap().score;
    labels.iter().map(of).collect()
}

#[test]
fn images_are_resized_as_pillow_does() {
    for resized in images::resized() {
        let filter = match &*resized.filter {
            "lanczos" => ResizeFilter::Lanczos,
            "bilinear" => ResizeFilter::Bilinear,
            "bicubic" => ResizeFilter::Bicubic,
            "box" => ResizeFilter::Box,
            "hamming" => ResizeFilter::Hamming,
            other => panic!("{other}"),
        };
        let [width, height] = resized.size;
        let ours = resized.image.resized(width, height, filter).unwrap();
        let pairs = ours.pixels().iter().zip(&resized.levels);
        let worst = pairs.map(|(&a, &b)| a.abs_diff(b)).max().unwrap();
        assert_eq!(worst, 0, "{:?} to {width} x {height}, {filter:?}", resized.image);
    }
}

/// The values of patches `[patch][3][y][x]`, as an image `[3][y][x]` of `side` times `side`.
fn unpatched(patches: &[f32], side: usize, patch: usize) -> Vec<f32> {
    let mut pixels = vec![f32::NAN; 3 * side * side];
    let across = side / patch;
    for (i, value) in patches.iter().enumerate() {
        let (x, y, c) = (i % patch, i / patch % patch, i / (patch * patch) % 3);
        let number = i / (3 * patch * patch);
        let (left, top) = (number % across * patch, number / across * patch);
        pixels[(c * side + top + y) * side + left + x] = *value;
    }
    pixels
}

#[test]
fn images_are_prepared_as_the_reference_does() {
    for name in CHECKPOINTS {
        let (model, golden, _folder) = convert(name, WeightType::F16);
        let recipe = model.meta().preprocessing.as_ref().unwrap();
        let [height, width] = recipe.size().unwrap();
        let patches = model.meta().spec.image_stack().unwrap().1;
        let (side, patch) = (patches.image_size, patches.patch_size);
        let mut off = 0.0f32;
        for (image, expected) in golden.images.iter().zip(&golden.pixels) {
            let pixels = unpatched(&model.patches(image).unwrap(), side, patch);
            assert_eq!(expected.len(), (3 * height * width).div_ceil(golden.stride), "{name}");
            for (i, expected) in (0..).step_by(golden.stride).zip(expected) {
                let (x, y, c) = (i % width, i / width % height, i / (width * height));
                // What is left at the right and at the bottom is not looked at.
                if x < side && y < side {
                    off = off.max((pixels[(c * side + y) * side + x] - expected).abs());
                }
            }
        }
        println!("{name}: values off by {off:.7}");
        assert!(off < PIXELS, "{name}: values are off by {off}");
    }
}

#[test]
fn hidden_states_match_the_reference() {
    for name in CHECKPOINTS {
        for (dtype, tolerance) in
            [(WeightType::F16, F16_TOLERANCE), (WeightType::Int8, INT8_TOLERANCE)]
        {
            let (model, golden, _folder) = convert(name, dtype);
            let patches = model.patches(&golden.images[0]).unwrap();
            let ours = model.hidden_states(Input::Patches(&patches)).unwrap();
            let all = golden.hidden.concat();
            let mean = all.iter().sum::<f32>() / all.len() as f32;
            let variance = all.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / all.len() as f32;
            let off = largest_difference(&ours, &golden.hidden) / variance.sqrt();
            println!("{name} {dtype}: hidden states {off:.5}");
            assert!(off < tolerance, "{name} {dtype}: hidden states are off by {off}");
        }
    }
}

#[test]
fn vectors_match_the_reference() {
    for name in ["dinov2", "clip", "siglip"] {
        for (dtype, least) in COSINES {
            let (model, golden, _folder) = convert(name, dtype);
            let vectors = model.embed_images(&golden.images).unwrap();
            let images = worst(&vectors, &golden.image_embeds);
            let texts = match golden.texts.is_empty() {
                true => 1.0,
                false => worst(&model.embed(&golden.texts).unwrap(), &golden.text_embeds),
            };
            println!("{name} {dtype}: cosine of images {images:.7}, of texts {texts:.7}");
            assert!(images > least && texts > least, "{name} {dtype}: {images} {texts}");
        }
    }
}

#[test]
fn texts_of_towers_are_read_as_the_reference_does() {
    for name in ["clip", "siglip"] {
        let (model, golden, _folder) = convert(name, WeightType::F16);
        let ids: Vec<Vec<u32>> = golden.ids;
        let by_ids = model.embed_tokens(&ids).unwrap();
        assert!(by_ids == model.embed(&golden.texts).unwrap(), "{name}");
        // One that is too long is cut, and ends as others do.
        let long = "the king is small ".repeat(40);
        let embedding = &model.embed_with(&[&long], &Default::default()).unwrap()[0];
        assert!(embedding.length.truncated, "{name}");
    }
}

#[test]
fn labels_match_the_reference() {
    for name in ["vit-classifier", "deit-teacher", "dinov2-swiglu", "dinov2-registers"] {
        for (dtype, tolerance) in [(WeightType::F16, F16_SCORE), (WeightType::Int8, INT8_SCORE)] {
            let (model, golden, _folder) = convert(name, dtype);
            assert_eq!(model.tasks(), [Task::ClassifyImages]);
            assert_eq!(model.labels()[3], "no bird, but a stone");
            let scored = model.classify_images(&golden.images).unwrap();
            let ours: Vec<_> = scored.iter().map(|row| in_order(row, model.labels())).collect();
            let off = largest_difference(&ours, &golden.scores);
            println!("{name} {dtype}: scores off by {off:.5}");
            assert!(off < tolerance, "{name} {dtype}: scores are off by {off}");
            assert_eq!(model.classify_image(&golden.images[1]).unwrap(), scored[1]);
        }
    }
}

#[test]
fn any_labels_match_the_reference() {
    for name in ["clip", "siglip"] {
        for (dtype, tolerance) in [(WeightType::F16, F16_SCORE), (WeightType::Int8, INT8_SCORE)] {
            let (model, golden, _folder) = convert(name, dtype);
            assert_eq!(model.tasks(), [Task::EmbedImages, Task::Embed]);
            let options = ZeroShotOptions::for_images().template("{}").multi(name == "siglip");
            let scored = model.classify_images_zero_shot(&golden.images, &golden.texts, &options);
            let scored = scored.unwrap();
            let ours: Vec<_> = scored.iter().map(|row| in_order(row, &golden.texts)).collect();
            let off = largest_difference(&ours, &golden.scores);
            println!("{name} {dtype}: scores off by {off:.5}");
            assert!(off < tolerance, "{name} {dtype}: scores are off by {off}");
        }
    }
}

#[test]
fn images_do_not_see_each_other_and_threads_change_nothing() {
    for name in CHECKPOINTS {
        for dtype in [WeightType::Int8, WeightType::F16] {
            let folder = tiny::checkpoint(name);
            drop(convert_folder(&folder, dtype).unwrap());
            let golden = images::golden(name);
            let run = |threads: usize, images: &[Image]| {
                let options = ModelOptions::default().threads(threads);
                let model =
                    Model::open_with(folder.path().join("model.kinglet"), &options).unwrap();
                match model.tasks()[0] {
                    Task::EmbedImages => model.embed_images(images).unwrap(),
                    _ => {
                        let scored = model.classify_images(images).unwrap();
                        scored.iter().map(|row| in_order(row, model.labels())).collect()
                    }
                }
            };
            let all: Vec<Image> = golden.images.iter().cycle().take(40).cloned().collect();
            let together = run(1, &all);
            for threads in [2, 3] {
                assert!(run(threads, &all) == together, "{name} {dtype}: {threads} threads");
            }
            for (image, vector) in golden.images.iter().zip(&together) {
                let alone = run(1, std::slice::from_ref(image));
                assert!(alone[0] == *vector, "{name} {dtype}: {image:?}");
            }
        }
    }
}

#[test]
fn what_a_model_cannot_do_is_said() {
    let image = images::made_up(9, 9);
    let options = ZeroShotOptions::for_images();
    let (vit, ..) = convert("vit-classifier", WeightType::Int8);
    let message = |result: Result<(), Error>| result.unwrap_err().to_string();
    let error = message(vit.embed(&["a bird"]).map(drop));
    assert!(error.contains("it reads images, for `classify`"), "{error}");
    assert!(
        message(vit.embed_images(std::slice::from_ref(&image)).map(drop)).contains("embed images")
    );
    let error = message(vit.classify_image_zero_shot(&image, &["a"], &options).map(drop));
    assert!(error.contains("embed images"), "{error}");

    let (dino, ..) = convert("dinov2", WeightType::Int8);
    let error = message(dino.classify_image_zero_shot(&image, &["a"], &options).map(drop));
    assert!(error.contains("compare images with texts"), "{error}");

    let (clip, ..) = convert("clip", WeightType::Int8);
    let error = message(clip.classify_image(&image).map(drop));
    assert!(error.contains("classify images: it is for `embed`"), "{error}");
    let error = message(
        clip.classify_image_zero_shot(&image, &["a"], &options.clone().multi(true)).map(drop),
    );
    assert!(error.contains("compares labels with each other"), "{error}");
    assert!(
        message(clip.classify_image_zero_shot(&image, &[""; 0], &options).map(drop))
            .contains("labels")
    );

    let bert = tiny::checkpoint("bert");
    let bert = convert_folder(&bert, WeightType::Int8).unwrap();
    let error = message(bert.embed_images(std::slice::from_ref(&image)).map(drop));
    assert!(error.contains("it reads no images"), "{error}");
    assert!(bert.patches(&image).is_err());
}

/// Without a recipe the network is the same, for whoever prepares images himself.
#[test]
fn a_checkpoint_without_a_processor_takes_patches_alone() {
    let folder = tiny::checkpoint("vit-classifier");
    fs::remove_file(folder.path().join("preprocessor_config.json")).unwrap();
    let model = convert_folder(&folder, WeightType::F16).unwrap();
    let golden = images::golden("vit-classifier");
    let error = model.classify_image(&golden.images[0]).unwrap_err().to_string();
    assert!(error.contains("preprocessor_config.json"), "{error}");
    assert_eq!(model.hidden_states(Input::Patches(&[0.5; 3 * 32 * 32])).unwrap().len(), 17);
}

#[test]
fn newer_folders_keep_the_recipe_in_another_file() {
    let folder = tiny::checkpoint("clip");
    let old = folder.path().join("preprocessor_config.json");
    let recipe: Value = serde_json::from_slice(&fs::read(&old).unwrap()).unwrap();
    let processor = json!({ "image_processor": recipe, "processor_class": "CLIPProcessor" });
    fs::write(folder.path().join("processor_config.json"), processor.to_string()).unwrap();
    fs::remove_file(old).unwrap();
    let model = convert_folder(&folder, WeightType::F16).unwrap();
    let (other, ..) = convert("clip", WeightType::F16);
    assert_eq!(model.meta().preprocessing, other.meta().preprocessing);
    assert!(model.meta().preprocessing.is_some());
}

#[test]
fn recipes_that_cannot_be_followed_are_refused() {
    let refused = |name: &str, change: &dyn Fn(&mut Value), expected: &str| {
        let folder = changed(name, "preprocessor_config.json", change);
        let error = convert_folder(&folder, WeightType::F16).unwrap_err();
        assert!(error.contains(expected), "{error}");
    };
    refused("clip", &|recipe| recipe["do_center_crop"] = json!(false), "do_center_crop = false");
    refused("clip", &|recipe| recipe["size"] = json!({"longest_edge": 32}), "shortest_edge");
    refused("clip", &|recipe| recipe["crop_size"] = json!({"height": 32, "width": 24}), "32 x 24");
    refused("clip", &|recipe| recipe["resample"] = json!(9), "resample");
    refused("clip", &|recipe| recipe["image_mean"] = json!([0.5, 0.5]), "image_mean");
    refused("clip", &|recipe| recipe["image_std"] = json!([0.5, 0.0, 0.5]), "divides by");
    refused(
        "vit-classifier",
        &|recipe| recipe["size"] = json!({"height": 4, "width": 4}),
        "patch_size",
    );
    refused("vit-classifier", &|recipe| recipe["do_pad"] = json!(true), "do_pad");
}

/// Sizes as the first releases wrote them.
#[test]
fn a_size_may_be_one_number() {
    let same = |name: &str, change: &dyn Fn(&mut Value)| {
        let folder = changed(name, "preprocessor_config.json", change);
        let model = convert_folder(&folder, WeightType::F16).unwrap();
        let (other, ..) = convert(name, WeightType::F16);
        assert_eq!(model.meta().preprocessing, other.meta().preprocessing, "{name}");
    };
    same("vit-classifier", &|recipe| recipe["size"] = json!(32));
    same("clip", &|recipe| {
        recipe["size"] = json!(32);
        recipe["crop_size"] = json!(32);
    });
}

/// The tensors of a checkpoint whose names begin with `prefix`, without it, as a safetensors file.
fn write_part(file: &Path, prefix: &str, out: &Path) {
    let checkpoint = open_file(file).unwrap();
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (index, tensor) in checkpoint.tensors().iter().enumerate() {
        let Some(name) = tensor.name.strip_prefix(prefix) else { continue };
        let mut values = vec![0f32; tensor.dims.iter().product()];
        checkpoint.read_rows(index, 0, &mut values).unwrap();
        let start = data.len();
        data.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        let entry =
            json!({"dtype": "F32", "shape": tensor.dims, "data_offsets": [start, data.len()]});
        header.insert(name.to_owned(), entry);
    }
    let header = serde_json::to_vec(&header).unwrap();
    fs::write(out, [&(header.len() as u64).to_le_bytes()[..], &header, &data].concat()).unwrap();
}

/// The file's graph fits a table of 37 x 37 positions to 16 x 16 each time; here it is done once.
#[test]
#[ignore = "downloads 90 MB"]
fn a_published_backbone_gives_the_vectors_of_onnxruntime() {
    let folder = tempfile::tempdir().unwrap();
    let config = json!({
        "architectures": ["Dinov2Model"], "hidden_size": 384, "num_hidden_layers": 12,
        "num_attention_heads": 6, "image_size": 518, "patch_size": 14,
    });
    let recipe = json!({
        "size": {"shortest_edge": 256}, "crop_size": {"height": 224, "width": 224}, "resample": 3,
        "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225],
    });
    fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    fs::write(folder.path().join("preprocessor_config.json"), recipe.to_string()).unwrap();
    let file = real::onnx("vit-s14-onnx").join("vit_s_focus.onnx");
    write_part(&file, "backbone.", &folder.path().join("model.safetensors"));
    let golden = references::onnx_vit();
    let images: Vec<Image> =
        golden.iter().map(|([width, height], _)| images::made_up(*width, *height)).collect();
    let expected: Vec<Vec<f32>> = golden.into_iter().map(|(_, vector)| vector).collect();
    for (dtype, least) in COSINES {
        let model = convert_folder(&folder, dtype).unwrap();
        let worst = worst(&model.embed_images(&images).unwrap(), &expected);
        println!("{dtype}: worst cosine of {} images {worst:.8}", images.len());
        assert!(worst >= least, "{dtype}: cosine {worst}");
    }
}
