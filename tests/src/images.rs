//! Tiny random checkpoints that read images, and what Hugging Face makes of images with them;
//! `reference/tiny_images.py` made the goldens. Their checkpoints are those of [`crate::tiny`].

use std::fs;
use std::path::{Path, PathBuf};

use kinglet::Image;
use serde_json::Value;

use crate::tiny;

/// Every checkpoint.
pub const CHECKPOINTS: [&str; 7] = [
    "vit-classifier",
    "deit-teacher",
    "dinov2",
    "dinov2-swiglu",
    "dinov2-registers",
    "clip",
    "siglip",
];

/// A made-up image, the same as the reference's.
///
/// # Panics
/// If a side is 0.
pub fn made_up(width: usize, height: usize) -> Image {
    let level =
        |x: usize, y: usize, c: usize| ((x * (c + 3) + y * (5 - c) + x * y / 7) % 256) as u8;
    let pixel = |i: usize| [0, 1, 2].map(|c| level(i % width, i / width, c));
    Image::new(width, height, (0..width * height).flat_map(pixel).collect()).expect("an image")
}

/// What the reference computed with a checkpoint.
#[derive(Clone, Debug)]
pub struct Golden {
    /// The images that were read.
    pub images: Vec<Image>,
    /// Of the values that these become, one of so many is kept.
    pub stride: usize,
    /// Those, `[3][y][x]`, of each image.
    pub pixels: Vec<Vec<f32>>,
    /// Hidden states of the first image, after the final norm.
    pub hidden: Vec<Vec<f32>>,
    /// Of classifiers: scores of the labels in their order.
    pub scores: Vec<Vec<f32>>,
    /// Of the others: a vector of each image.
    pub image_embeds: Vec<Vec<f32>>,
    /// Texts, for models that read these too.
    pub texts: Vec<String>,
    /// Their token ids.
    pub ids: Vec<Vec<u32>>,
    /// Their vectors.
    pub text_embeds: Vec<Vec<f32>>,
}

/// The golden of the checkpoint called `name`.
///
/// # Panics
/// If there is none, or it is damaged.
pub fn golden(name: &str) -> Golden {
    let json = json(name);
    let size = |size: &Value| {
        let side = |i: usize| size[i].as_u64().expect("a side") as usize;
        made_up(side(0), side(1))
    };
    let text = |text: &Value| text.as_str().expect("a text").to_owned();
    Golden {
        images: tiny::array(&json["sizes"]).iter().map(size).collect(),
        stride: json["stride"].as_u64().expect("a number") as usize,
        pixels: tiny::rows(&json["pixels"]),
        hidden: tiny::rows(&json["hidden"]),
        scores: tiny::rows(&json["scores"]),
        image_embeds: tiny::rows(&json["image_embeds"]),
        texts: tiny::array(&json["texts"]).iter().map(text).collect(),
        ids: tiny::array(&json["ids"]).iter().map(tiny::ids).collect(),
        text_embeds: tiny::rows(&json["text_embeds"]),
    }
}

fn json(name: &str) -> Value {
    tiny::read_json(&tiny::folder(name).join("goldens.json"))
}

/// An image that Pillow resized.
#[derive(Clone, Debug)]
pub struct Resized {
    /// What was resized.
    pub image: Image,
    /// The filter, by Pillow's number.
    pub filter: String,
    /// The new width and height.
    pub size: [usize; 2],
    /// `[height][width][3]`
    pub levels: Vec<u8>,
}

/// What Pillow makes of made-up images.
///
/// # Panics
/// If the golden is missing or damaged.
pub fn resized() -> Vec<Resized> {
    let list = tiny::read_json(&folder().join("resized.json"));
    let levels = fs::read(folder().join("resized.bin")).expect("levels");
    let mut rest = &levels[..];
    let mut next = |row: &Value| {
        let number = |i: usize| row[i].as_u64().expect("a side") as usize;
        let size = [number(3), number(4)];
        let (own, behind) = rest.split_at(size[0] * size[1] * 3);
        rest = behind;
        let filter = row[2].as_str().expect("a filter").to_owned();
        Resized { image: made_up(number(0), number(1)), filter, size, levels: own.to_vec() }
    };
    tiny::array(&list).iter().map(&mut next).collect()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("goldens/images")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_the_reference_bytes() {
        for name in CHECKPOINTS {
            assert_eq!(json(name)["safetensors_sha256"], tiny::sha256(name), "{name}");
        }
    }
}
