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
        DynamicImage::ImageLuma16(image) => {
            image.pixels().flat_map(|p| [upper(p.0[0]); 3]).collect()
        }
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

/// Whether a file is called as images are.
pub(crate) fn has_ending(path: &Path) -> bool {
    path.extension().and_then(ImageFormat::from_extension).is_some_and(is_known)
}

/// Whether a word among the arguments names an image: by its ending, or by how the file begins.
pub(crate) fn is_image(word: &str) -> bool {
    let path = Path::new(word);
    if has_ending(path) {
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
    let of_texts =
        tasks.contains(&if task == Task::EmbedImages { Task::Embed } else { Task::Classify });
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

#[cfg(test)]
mod tests {
    use ::image::{ImageBuffer, Luma, Rgb, RgbImage, Rgba};

    use super::*;

    fn photo() -> RgbImage {
        RgbImage::from_fn(16, 8, |x, y| Rgb([x as u8 * 16, y as u8 * 32, (x * y) as u8]))
    }

    /// The bytes of a file with this image.
    fn encoded(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
        let mut bytes = std::io::Cursor::new(Vec::new());
        image.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    fn read_bytes(bytes: &[u8], name: &str) -> Result<Image, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        read(&path).map_err(|failure| failure.to_string())
    }

    #[test]
    fn formats_are_told_by_content() {
        let image = DynamicImage::ImageRgb8(photo());
        for format in [ImageFormat::Png, ImageFormat::Bmp, ImageFormat::Tiff, ImageFormat::WebP] {
            let found = read_bytes(&encoded(&image, format), "photo.jpg").unwrap();
            assert_eq!((found.width(), found.height()), (16, 8));
            assert_eq!(found.pixels(), photo().as_raw(), "{format:?}");
        }
        // These lose something.
        for format in [ImageFormat::Jpeg, ImageFormat::Gif] {
            let source =
                if format == ImageFormat::Gif { image.to_rgba8().into() } else { image.clone() };
            let found = read_bytes(&encoded(&source, format), "photo").unwrap();
            let pairs = found.pixels().iter().zip(photo().into_raw());
            let off: u32 = pairs.map(|(&a, b)| u32::from(a.abs_diff(b))).sum();
            assert!(off < 16 * 8 * 3 * 16, "{format:?}: {off}");
        }
    }

    #[test]
    fn other_pixels_become_three_levels() {
        let png =
            |image: DynamicImage| read_bytes(&encoded(&image, ImageFormat::Png), "a").unwrap();
        let clear = ImageBuffer::from_pixel(2, 1, Rgba([10u8, 20, 30, 0]));
        assert_eq!(png(clear.into()).pixels(), [10, 20, 30, 10, 20, 30]);
        let gray = ImageBuffer::from_pixel(1, 2, Luma([77u8]));
        assert_eq!(png(gray.into()).pixels(), [77; 6]);
        let deep = ImageBuffer::from_pixel(1, 1, Rgb([0x01ffu16, 0xfe80, 0xffff]));
        assert_eq!(png(deep.into()).pixels(), [1, 254, 255]);
        let deep_gray = ImageBuffer::from_pixel(1, 1, Luma([0x8001u16]));
        assert_eq!(png(deep_gray.into()).pixels(), [128; 3]);
    }

    #[test]
    fn images_are_turned_the_right_way_up() {
        let jpeg = encoded(&DynamicImage::ImageRgb8(photo()), ImageFormat::Jpeg);
        // After the start of the image: a note of EXIF with one entry, orientation 6.
        let exif = b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
        let len = (exif.len() as u16 + 2).to_be_bytes();
        let noted = [&jpeg[..2], &[0xff, 0xe1], &len, exif, &jpeg[2..]].concat();
        let found = read_bytes(&noted, "photo.jpg").unwrap();
        assert_eq!((found.width(), found.height()), (8, 16));
        // What was at the left is at the top.
        let upright = read_bytes(&jpeg, "photo.jpg").unwrap();
        let first = |image: &Image, x: usize, y: usize| image.pixels()[(y * image.width() + x) * 3];
        assert_eq!(first(&found, 7, 15), first(&upright, 15, 0));
    }

    #[test]
    fn what_is_no_image_is_named() {
        let error = |bytes: &[u8]| read_bytes(bytes, "photo.png").unwrap_err();
        assert!(error(b"a text").contains("photo.png: not an image that is known"));
        assert!(error(b"").contains("not an image that is known"));
        let png = encoded(&DynamicImage::ImageRgb8(photo()), ImageFormat::Png);
        assert!(error(&png[..png.len() / 2]).contains("photo.png: "));
        assert!(read(Path::new("/")).unwrap_err().to_string().contains("it is a folder"));
        assert!(read(Path::new("no such.jpg")).unwrap_err().to_string().contains("no such.jpg"));
    }

    #[test]
    fn huge_images_are_refused_before_they_are_decoded() {
        let mut bmp = encoded(&DynamicImage::ImageRgb8(photo()), ImageFormat::Bmp);
        bmp[18..22].copy_from_slice(&30_000i32.to_le_bytes());
        bmp[22..26].copy_from_slice(&30_000i32.to_le_bytes());
        let error = read_bytes(&bmp, "a.bmp").unwrap_err();
        assert!(error.contains("30000 x 30000 pixels, at most 128 million"), "{error}");
    }

    #[test]
    fn images_are_told_from_texts() {
        assert!(is_image("no such.JPG") && is_image("a.webp"));
        assert!(!is_image("a red car") && !is_image("notes.txt") && !is_image("no such"));
    }
}
