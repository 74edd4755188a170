//! Images: resized, cropped and cut into patches.

mod filter;
mod patches;
mod resample;

pub(crate) use patches::patches;

use kinglet_formats::kinglet::ResizeFilter;

use crate::error::Error;

/// Channels of a pixel.
pub(crate) const CHANNELS: usize = 3;

/// An image of three channels of 8 bits: red, green, blue.
///
/// Files are decoded by the caller, who also turns an image the right way up.
///
/// ```
/// # fn main() -> Result<(), kinglet::Error> {
/// let red = kinglet::Image::new(2, 1, vec![255, 0, 0, 255, 0, 0])?;
/// assert_eq!((red.width(), red.height()), (2, 1));
/// # Ok(()) }
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Image {
    width: usize,
    height: usize,
    /// `[height][width][3]`
    pixels: Vec<u8>,
}

impl Image {
    /// An image of `pixels` `[height][width][3]`.
    ///
    /// # Errors
    /// If a side is 0, or the number of levels is not `height * width * 3`.
    pub fn new(width: usize, height: usize, pixels: Vec<u8>) -> Result<Self, Error> {
        let expected = width.checked_mul(height).and_then(|n| n.checked_mul(CHANNELS));
        if width == 0 || height == 0 || expected != Some(pixels.len()) {
            return Err(Error::WrongImage { width, height, levels: pixels.len() });
        }
        Ok(Self { width, height, pixels })
    }

    /// Pixels of a line.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Lines.
    pub fn height(&self) -> usize {
        self.height
    }

    /// `[height][width][3]`
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// The image with another size, level for level as Pillow makes it.
    ///
    /// # Errors
    /// If a side is 0, or the new image is too large for memory.
    pub fn resized(
        &self,
        width: usize,
        height: usize,
        filter: ResizeFilter,
    ) -> Result<Self, Error> {
        let levels = width.saturating_mul(height).saturating_mul(CHANNELS);
        if levels == 0 {
            return Err(Error::WrongImage { width, height, levels });
        }
        // Sums have four bytes.
        if levels > isize::MAX as usize / 8 {
            return Err(Error::OutOfMemory { what: "a resized image", bytes: levels });
        }
        let pixels = resample::resampled(self, [height, width], filter, 0..height, 0..width);
        Self::new(width, height, pixels)
    }

    /// Line number `y`, `[width][3]`.
    fn line(&self, y: usize) -> &[u8] {
        let len = self.width * CHANNELS;
        &self.pixels[y * len..][..len]
    }
}

impl std::fmt::Debug for Image {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Image({} x {})", self.width, self.height)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_has_its_pixels() {
        assert!(Image::new(2, 2, vec![0; 12]).is_ok());
        for (width, height, levels) in [(2, 2, 11), (0, 2, 0), (2, 0, 0), (usize::MAX, 2, 12)] {
            let error = Image::new(width, height, vec![0; levels]).unwrap_err();
            assert!(error.to_string().contains("3 levels for each pixel"), "{error}");
        }
    }
}
