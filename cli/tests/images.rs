//! The built command's verbs with files of images.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod place;

use kinglet_tests::images;
use place::{Place, place, stderr, stdout};
use serde_json::Value;

/// A model, and the golden's images as files.
fn with_images(name: &str) -> (Place, Vec<String>) {
    let place = place(name);
    let write = |(i, image): (usize, &kinglet::Image)| {
        let path = place.path(&format!("photo {i}.png"));
        let (width, height) = (image.width() as u32, image.height() as u32);
        let levels = image.pixels().to_vec();
        image::RgbImage::from_raw(width, height, levels).unwrap().save(&path).unwrap();
        path
    };
    let paths = images::golden(name).images.iter().enumerate().map(write).collect();
    (place, paths)
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

#[test]
fn a_classifier_gives_labels_of_images() {
    let (place, paths) = with_images("vit-classifier");
    let (model, golden) = (place.model(), images::golden("vit-classifier"));
    let all: Vec<&str> = paths.iter().map(String::as_str).collect();
    let found = place.json(&[&["classify", model, "-o", "json"], &all[..]].concat());
    let results = found["results"].as_array().unwrap();
    assert_eq!(results.len(), paths.len());
    for (labels, scores) in results.iter().zip(&golden.scores) {
        let best = scores.iter().copied().fold(0.0, f32::max);
        assert!((labels[0]["score"].as_f64().unwrap() - f64::from(best)).abs() < 0.05, "{found}");
    }
    let shown = stdout(&place.run(&["show", model]));
    assert!(shown.contains("labels of images") && shown.contains("classify"), "{shown}");
    // A list of paths, and where results go on.
    let (list, out) = (place.path("list.txt"), place.path("out.jsonl"));
    std::fs::write(&list, all.join("\n")).unwrap();
    for resumed in [&[][..], &["--resume"]] {
        let run = ["classify", model, "-f", &list, "-O", &out, "--quiet"];
        let run = place.run(&[&run[..], resumed].concat());
        assert!(run.status.success(), "{}", stderr(&run));
        let lines = std::fs::read_to_string(&out).unwrap();
        let first: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
        assert_eq!((lines.lines().count(), &first["results"]), (paths.len(), &results[0]));
    }
    let missing = place.fails(1, &["classify", model, "no such.jpg"]);
    assert!(missing.contains("no such.jpg"), "{missing}");
    let text = place.fails(1, &["classify", model, &list]);
    assert!(text.contains("not an image that is known"), "{text}");
}

#[test]
fn towers_give_vectors_of_images_and_texts() {
    let (place, paths) = with_images("clip");
    let (model, golden) = (place.model(), images::golden("clip"));
    let json = place.json(&["embed", model, &paths[0], &paths[1], "-o", "json"]);
    let vectors: Vec<Vec<f64>> =
        json["embeddings"].as_array().unwrap().iter().map(numbers).collect();
    let cosine: f64 =
        vectors[1].iter().zip(&golden.image_embeds[1]).map(|(a, &b)| a * f64::from(b)).sum();
    assert!(cosine > 0.999, "{cosine}");
    let texts = place.json(&["embed", model, "a red car", "-o", "json"]);
    assert_eq!(numbers(&texts["embeddings"][0]).len(), vectors[0].len());
    assert_eq!(texts["texts"][0]["truncated"], false);
    let both = place.fails(2, &["embed", model, "a red car", &paths[0]]);
    assert!(both.contains("`a red car` is none"), "{both}");

    let npy = place.run(&["embed", model, &paths[0], &paths[1], &paths[2], "-o", "npy"]);
    assert!(npy.stdout.starts_with(b"\x93NUMPY"), "{}", stderr(&npy));
    assert_eq!(npy.stdout.len(), 128 + 3 * vectors[0].len() * 4);
    let first = f32::from_le_bytes(npy.stdout[128..132].try_into().unwrap());
    assert!((f64::from(first) - vectors[0][0]).abs() < 1e-6);

    let labels = ["--labels", "a cat, a dog", "-o", "jsonl"];
    let scored = place.run(&[&["classify", model, &paths[0]], &labels[..]].concat());
    let line: Value = serde_json::from_str(stdout(&scored).trim()).unwrap();
    let sum: f64 =
        line["results"].as_array().unwrap().iter().map(|one| one["score"].as_f64().unwrap()).sum();
    assert!((sum - 1.0).abs() < 1e-5, "{line}");
    let unlabelled = place.fails(1, &["classify", model, &paths[0]]);
    assert!(unlabelled.contains("--labels"), "{unlabelled}");
}

#[test]
fn a_model_of_texts_takes_names_of_files_as_texts() {
    let place = place("bert");
    let json = place.json(&["embed", place.model(), "photo.jpg", "-o", "json"]);
    assert_eq!(json["embeddings"].as_array().unwrap().len(), 1);
}

#[test]
fn a_folder_is_searched_and_each_image_read_once() {
    let (place, paths) = with_images("clip");
    let model = place.model();
    let folder = place.path("photos");
    std::fs::create_dir_all(format!("{folder}/more")).unwrap();
    for (i, path) in paths.iter().enumerate() {
        let below = if i % 2 == 0 { "" } else { "more/" };
        std::fs::copy(path, format!("{folder}/{below}{i}.png")).unwrap();
    }
    std::fs::write(format!("{folder}/broken.jpg"), "a text").unwrap();
    let like = ["search", model, &folder, &paths[1], "-o", "json", "--top", "3"];
    let first = place.run(&like);
    assert!(first.status.success(), "{}", stderr(&first));
    let said = stderr(&first);
    assert!(
        said.contains("reading images (6 images)") && said.contains("1 image left out"),
        "{said}"
    );
    assert!(said.contains("broken.jpg: not an image"), "{said}");
    let found: Value = serde_json::from_str(&stdout(&first)).unwrap();
    let results = found["results"].as_array().unwrap();
    assert_eq!(results.len(), 3);
    assert!(results[0]["path"].as_str().unwrap().ends_with("1.png"), "{found}");
    assert!(results[0]["score"].as_f64().unwrap() > 0.9999, "{found}");
    // Again: nothing but what failed is read, and the answer is the same.
    let again = place.run(&like);
    assert!(stderr(&again).contains("reading images (1 images)"), "{}", stderr(&again));
    assert_eq!(stdout(&again), stdout(&first));
    let by_text = place.run(&["search", model, &folder, "a red car", "--quiet"]);
    assert_eq!(stdout(&by_text).lines().count(), paths.len());
    let empty = tempfile::tempdir().unwrap();
    let none = place.fails(1, &["search", model, empty.path().to_str().unwrap(), "a"]);
    assert!(none.contains("there are no images"), "{none}");
}
