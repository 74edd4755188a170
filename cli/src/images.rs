//! Images from files: decoded, turned the right way up, three channels of 8 bits.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use ::image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};
use kinglet::{Image, Model, Task};

use crate::failure::Failure;

/// Most pixels of an image, which are held as levels; what a camera makes has fewer.
const MOST_PIXELS: u64 = 128 << 20;
/// Most bytes that a decoder takes besides.
const MOST_BYTES: u64 = 1 << 30;
/// Bytes by which a format is known.
const START: usize = 16;

/// The image of a file.
pub(crate) fn read(path: &Path) -> Result<Image, Failure> {
    let named = |failure: Failure| failure.during(path.display());
    let file = File::open(path).map_err(|error| named(error.into()))?;
    if file.metadata().is_ok_and(|metadata| metadata.is_dir()) {
        return Err(named(Failure::new("it is a folder, not an image")));
    }
    decode(BufReader::new(file)).map_err(named)
}

fn decode(input: BufReader<File>) -> Result<Image, Failure> {
    let reader = ImageReader::new(input).with_guessed_format()?;
    if reader.format().is_none_or(|format| !is_known(format)) {
        return Err(Failure::new(
            "not an image that is known; JPEG, PNG, WebP, GIF, BMP and TIFF are read",
        ));
    }
    let mut decoder = reader.into_decoder()?;
    let (width, height) = decoder.dimensions();
    // Before there is memory for any of them.
    if u64::from(width) * u64::from(height) > MOST_PIXELS {
        let most = MOST_PIXELS >> 20;
        return Err(Failure::new(format!(
            "{width} x {height} pixels, at most {most} million are read; make it smaller"
        )));
    }
    let mut limits = Limits::default();
    limits.max_alloc = Some(MOST_BYTES);
    decoder.set_limits(limits)?;
    // A damaged note on how it was held is no reason not to look at it.
    let orientation = decoder.orientation().ok();
    let mut decoded = DynamicImage::from_decoder(decoder)?;
    if let Some(orientation) = orientation {
        decoded.apply_orientation(orientation);
    }
    let (width, height) = (decoded.width() as usize, decoded.height() as usize);
    Ok(Image::new(width, height, levels(decoded))?)
}

/// Levels of 8 bits, `[height][width][3]`. What is seen through is not mixed with anything, of 16 bits the
/// upper 8 count, gray is all three colours: as Pillow has it.
fn levels(image: DynamicImage) -> Vec<u8> {
    let upper = |level: u16| (level >> 8) as u8;
    match image {
        DynamicImage::ImageRgb8(image) => image.into_raw(),
        DynamicImage::ImageLuma16(image) => image.pixels().flat_map(|p| [upper(p.0[0]); 3]).collect(),
        DynamicImage::ImageLumaA16(image) => {
            image.pixels().flat_map(|p| [upper(p.0[0]); 3]).collect()
        }
        DynamicImage::ImageRgb16(image) => image.pixels().flat_map(|p| p.0.map(upper)).collect(),
        DynamicImage::ImageRgba16(image) => {
            image.pixels().flat_map(|p| [p.0[0], p.0[1], p.0[2]].map(upper)).collect()
        }
        other => other.into_rgb8().into_raw(),
    }
}

fn is_known(format: ImageFormat) -> bool {
    use ImageFormat::{Bmp, Gif, Jpeg, Png, Tiff, WebP};
    [Jpeg, Png, WebP, Gif, Bmp, Tiff].contains(&format)
}

/// Whether a word among the arguments names an image: by its ending, or by how the file begins.
fn is_image(word: &str) -> bool {
    let path = Path::new(word);
    if path.extension().and_then(ImageFormat::from_extension).is_some_and(is_known) {
        return true;
    }
    let mut start = [0; START];
    let Ok(mut file) = File::open(path) else { return false };
    let read = file.read(&mut start).unwrap_or(0);
    ::image::guess_format(&start[..read]).is_ok_and(is_known)
}

/// Whether words are images for `model`: always if it reads nothing else, never if it reads none, otherwise
/// by their looks, in which all must agree.
pub(crate) fn are_images(model: &Model, task: Task, words: &[String]) -> Result<bool, Failure> {
    let tasks = model.tasks();
    if !tasks.contains(&task) {
        return Ok(false);
    }
    let of_texts = tasks.contains(&if task == Task::EmbedImages { Task::Embed } else { Task::Classify });
    let n = words.iter().filter(|word| is_image(word)).count();
    match (of_texts, n) {
        (false, _) => Ok(true),
        (true, 0) => Ok(false),
        (true, n) if n == words.len() => Ok(true),
        _ => {
            let text = words.iter().find(|word| !is_image(word));
            let text = text.map_or("", String::as_str);
            Err(Failure::usage(format!(
                "some of them are images, and `{text}` is none: give images and texts to runs of their own"
            )))
        }
    }
}
