//! From an image of any size to the patches that a network reads.

use kinglet_formats::kinglet::{Preprocessing, ResizeFilter, ResizeTo};

use super::resample::resampled;
use super::{CHANNELS, Image};

/// The patches of `image`, one after another, each `[3][y][x]`: prepared by `recipe`, and of that the square
/// of `image_size` pixels at the top and the left. The recipe has been checked to make at least that.
pub(crate) fn patches(
    image: &Image,
    recipe: &Preprocessing,
    image_size: usize,
    patch_size: usize,
) -> Vec<f32> {
    let levels = prepared(image, recipe, image_size);
    let channel = |c: usize| {
        let (mean, std) = (recipe.mean[c], recipe.std[c]);
        move |level: usize| (level as f32 * recipe.rescale - mean) / std
    };
    // Of each channel and level, the value.
    let values: Vec<f32> = (0..CHANNELS).flat_map(|c| (0..256).map(channel(c))).collect();
    let mut patches = Vec::with_capacity(levels.len());
    let starts = || (0..image_size / patch_size).map(|i| i * patch_size);
    for (top, left) in starts().flat_map(|top| starts().map(move |left| (top, left))) {
        for (values, c) in values.chunks_exact(256).zip(0..) {
            for y in top..top + patch_size {
                let start = (y * image_size + left) * CHANNELS;
                let line = &levels[start..start + patch_size * CHANNELS];
                patches
                    .extend(line.iter().skip(c).step_by(CHANNELS).map(|&l| values[usize::from(l)]));
            }
        }
    }
    patches
}

/// The square `[side][side][3]` at the top and the left of what `recipe` makes of an image.
fn prepared(image: &Image, recipe: &Preprocessing, side: usize) -> Vec<u8> {
    let filter = recipe.resize.map_or(ResizeFilter::Nearest, |resize| resize.filter);
    let size = match recipe.resize.map(|resize| resize.to) {
        None => [image.height, image.width],
        Some(ResizeTo::Exactly(size)) => size,
        Some(ResizeTo::ShortestEdge(edge)) => {
            let shortest = image.height.min(image.width);
            [image.height, image.width].map(|side| scaled(side, edge, shortest))
        }
    };
    let crop = recipe.crop.unwrap_or(size);
    let [rows, columns] = [0, 1].map(|i| Span::of(size[i], crop[i], side));
    let part = resampled(image, size, filter, rows.from..rows.end(), columns.from..columns.end());
    if [rows.len, columns.len] == [side; 2] {
        return part;
    }
    let mut square = vec![0; side * side * CHANNELS];
    let lines = square.chunks_exact_mut(side * CHANNELS).skip(rows.at);
    for (line, part) in lines.zip(part.chunks_exact((columns.len * CHANNELS).max(1))) {
        line[columns.at * CHANNELS..][..part.len()].copy_from_slice(part);
    }
    square
}

/// `side * edge / shortest`, rounded down: at least 1, as `side` is not shorter than `shortest`.
fn scaled(side: usize, edge: usize, shortest: usize) -> usize {
    let scaled = side as u128 * edge as u128 / shortest as u128;
    usize::try_from(scaled).unwrap_or(usize::MAX)
}

/// What a crop keeps of a side.
#[derive(Debug, PartialEq)]
struct Span {
    /// The first pixel that is kept.
    from: usize,
    /// How many there are.
    len: usize,
    /// Where the first one comes to lie: an image smaller than the crop is put in its middle.
    at: usize,
}

impl Span {
    /// Of `size` pixels those in the middle `crop`, and of these the first `most`.
    fn of(size: usize, crop: usize, most: usize) -> Self {
        if size >= crop {
            return Self { from: (size - crop) / 2, len: most.min(crop), at: 0 };
        }
        let at = (crop - size).div_ceil(2);
        Self { from: 0, len: size.min(most.saturating_sub(at)), at: at.min(most) }
    }

    fn end(&self) -> usize {
        self.from + self.len
    }
}

#[cfg(test)]
mod tests {
    use kinglet_formats::kinglet::Resize;

    use super::*;

    fn recipe(to: Option<ResizeTo>, crop: Option<[usize; 2]>) -> Preprocessing {
        let resize = to.map(|to| Resize { to, filter: ResizeFilter::Bilinear });
        Preprocessing { resize, crop, rescale: 1.0, mean: [0.0, 1.0, 2.0], std: [1.0, 1.0, 0.5] }
    }

    /// Pixel `y, x` has the levels `16 y + x`, and the same plus 100 and plus 50.
    fn image(width: usize, height: usize) -> Image {
        let pixel = |i: usize| {
            let level = (16 * (i / width) + i % width) as u8;
            [level, level + 100, level + 50]
        };
        Image::new(width, height, (0..width * height).flat_map(pixel).collect()).unwrap()
    }

    #[test]
    fn patches_by_hand() {
        let patches = patches(&image(6, 5), &recipe(None, Some([4, 4])), 4, 2);
        assert_eq!(patches.len(), 4 * 12);
        // The crop begins at line 0 and column 1; the second patch two columns later.
        assert_eq!(patches[..4], [1.0, 2.0, 17.0, 18.0]);
        assert_eq!(patches[4..8], [100.0, 101.0, 116.0, 117.0]);
        assert_eq!(patches[8..12], [98.0, 100.0, 130.0, 132.0]);
        assert_eq!(patches[12..16], [3.0, 4.0, 19.0, 20.0]);
        assert_eq!(patches[24..28], [33.0, 34.0, 49.0, 50.0]);
    }

    #[test]
    fn what_a_crop_keeps() {
        let span = |size, crop, most| {
            let Span { from, len, at } = Span::of(size, crop, most);
            (from, len, at)
        };
        assert_eq!(span(7, 4, 4), (1, 4, 0));
        assert_eq!(span(8, 4, 3), (2, 3, 0));
        assert_eq!(span(4, 4, 4), (0, 4, 0));
        // Python rounds the half of a negative number down.
        assert_eq!(span(1, 4, 4), (0, 1, 2));
        assert_eq!(span(3, 4, 4), (0, 3, 1));
        assert_eq!(span(1, 9, 3), (0, 0, 3));
        assert_eq!(span(5, 9, 4), (0, 2, 2));
    }

    #[test]
    fn small_images_lie_in_the_middle() {
        let patches = patches(&image(1, 1), &recipe(None, Some([4, 4])), 4, 4);
        let lit: Vec<usize> = (0..16).filter(|&i| patches[16 + i] > 0.0).collect();
        assert_eq!(lit, [10]);
    }

    #[test]
    fn sides_are_rounded_down() {
        assert_eq!([scaled(480, 224, 480), scaled(640, 224, 480)], [224, 298]);
        assert_eq!(scaled(usize::MAX, 8192, 1), usize::MAX);
    }

    #[test]
    fn images_of_any_proportion() {
        for (width, height) in [(1, 1), (1, 3000), (3000, 1), (15, 15), (31, 2)] {
            for to in [ResizeTo::ShortestEdge(9), ResizeTo::Exactly([8, 9])] {
                let image = Image::new(width, height, vec![7; width * height * 3]).unwrap();
                let values = patches(&image, &recipe(Some(to), Some([8, 8])), 8, 4);
                assert_eq!(values.len(), 8 * 8 * 3);
                assert!(values[..16].iter().all(|&value| value == 7.0), "{width} {height}");
            }
        }
    }
}
