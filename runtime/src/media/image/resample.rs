//! A part of a resized image, level for level as Pillow 13 makes it: along one axis, rounded to 8 bits, then
//! along the other.

use std::ops::Range;

use kinglet_formats::kinglet::ResizeFilter;

use super::filter::{WEIGHT_BITS, Weights, weights};
use super::{CHANNELS, Image};

/// Half a level.
const HALF: i32 = 1 << (WEIGHT_BITS - 1);

/// The pixels `rows` x `columns` of `image` once it is `[height, width]`, as `[rows][columns][3]`.
///
/// Memory beyond the image is for the part alone, or for a line, however large the whole would be. Sizes are
/// not 0, and the part lies within.
pub(super) fn resampled(
    image: &Image,
    [height, width]: [usize; 2],
    filter: ResizeFilter,
    rows: Range<usize>,
    columns: Range<usize>,
) -> Vec<u8> {
    let across = weights(filter, image.width, width, columns);
    let down = weights(filter, image.height, height, rows);
    // Pillow's rule: columns first where more than two lines go for each column.
    let (lines, columns) = (image.height.saturating_sub(height), image.width.saturating_sub(width));
    match columns.saturating_mul(2) < lines {
        true => columns_first(image, &across, &down),
        false => lines_first(image, &across, &down),
    }
}

/// Every line across, to 8 bits, and then added to the new lines that it is part of.
fn lines_first(image: &Image, across: &[Weights], down: &[Weights]) -> Vec<u8> {
    let line_len = across.len() * CHANNELS;
    let mut sums = vec![HALF; down.len() * line_len];
    let mut line = vec![0; line_len];
    let first = down.first().map_or(0, |weights| weights.first);
    let end = down.last().map_or(0, Weights::end);
    // The new lines that an old one is part of move down with it.
    let mut open = 0;
    for y in first..end {
        while down.get(open).is_some_and(|weights| weights.end() <= y) {
            open += 1;
        }
        let mut parts = down[open..].iter().take_while(|weights| weights.first <= y).peekable();
        if parts.peek().is_none() {
            continue;
        }
        across_line(image.line(y), across, &mut line);
        for (weights, sums) in parts.zip(sums[open * line_len..].chunks_exact_mut(line_len)) {
            let Some(&weight) = weights.weights.get(y - weights.first) else { continue };
            for (sum, &level) in sums.iter_mut().zip(&line) {
                *sum += i32::from(level) * weight;
            }
        }
    }
    sums.into_iter().map(level).collect()
}

/// The old lines of every new one together, to 8 bits, and then across.
fn columns_first(image: &Image, across: &[Weights], down: &[Weights]) -> Vec<u8> {
    let line_len = across.len() * CHANNELS;
    let mut out = vec![0; down.len() * line_len];
    let mut sums = vec![HALF; image.width * CHANNELS];
    let mut line = vec![0; sums.len()];
    for (weights, out) in down.iter().zip(out.chunks_exact_mut(line_len.max(1))) {
        sums.fill(HALF);
        for (y, &weight) in (weights.first..).zip(&weights.weights) {
            for (sum, &level) in sums.iter_mut().zip(image.line(y)) {
                *sum += i32::from(level) * weight;
            }
        }
        line.iter_mut().zip(&sums).for_each(|(out, &sum)| *out = level(sum));
        across_line(&line, across, out);
    }
    out
}

/// A line `[width][3]` resized to `[across.len()][3]`.
fn across_line(line: &[u8], across: &[Weights], out: &mut [u8]) {
    let (pixels, _) = line.as_chunks::<CHANNELS>();
    let (out, _) = out.as_chunks_mut::<CHANNELS>();
    for (out, Weights { first, weights }) in out.iter_mut().zip(across) {
        let mut sums = [HALF; CHANNELS];
        for (pixel, &weight) in pixels[*first..].iter().zip(weights) {
            for (sum, &level) in sums.iter_mut().zip(pixel) {
                *sum += i32::from(level) * weight;
            }
        }
        *out = sums.map(level);
    }
}

/// The level that a sum in fixed point stands for.
fn level(sum: i32) -> u8 {
    (sum >> WEIGHT_BITS).clamp(0, 255) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Levels that follow no line.
    fn image(width: usize, height: usize) -> Image {
        let level = |i: usize| ((i * i * 31 + i * 97) % 251) as u8;
        Image::new(width, height, (0..width * height * 3).map(level).collect()).unwrap()
    }

    #[test]
    fn a_part_is_that_of_the_whole() {
        let image = image(23, 17);
        for filter in [ResizeFilter::Bilinear, ResizeFilter::Bicubic, ResizeFilter::Lanczos] {
            for [height, width] in [[40, 9], [5, 60], [17, 23], [1, 1], [16, 24], [4, 21]] {
                let whole = resampled(&image, [height, width], filter, 0..height, 0..width);
                let (rows, columns) =
                    (height / 3..height - height / 4, width / 4..width - width / 3);
                let part =
                    resampled(&image, [height, width], filter, rows.clone(), columns.clone());
                let line = columns.len() * 3;
                for (y, part) in rows.zip(part.chunks_exact(line)) {
                    let start = (y * width + columns.start) * 3;
                    assert_eq!(part, &whole[start..start + line], "{filter:?} {height} {width}");
                }
            }
        }
    }

    #[test]
    fn the_same_size_changes_nothing() {
        let image = image(7, 5);
        let same = resampled(&image, [5, 7], ResizeFilter::Lanczos, 0..5, 0..7);
        assert_eq!(same, image.pixels);
    }

    #[test]
    fn sharp_edges_overshoot_and_stay_levels() {
        let levels = [0, 0, 0, 255, 255, 255].map(|level| [level; 3]);
        let edge = Image::new(6, 1, levels.concat()).unwrap();
        let wide = resampled(&edge, [1, 60], ResizeFilter::Lanczos, 0..1, 0..60);
        assert_eq!((wide.iter().min(), wide.iter().max()), (Some(&0), Some(&255)));
    }

    #[test]
    fn extreme_proportions_take_no_memory() {
        let line = image(1, 4000);
        let part = resampled(&line, [4_000 * 8192, 8192], ResizeFilter::Bicubic, 5..9, 100..108);
        assert_eq!(part.len(), 4 * 8 * 3);
    }
}
