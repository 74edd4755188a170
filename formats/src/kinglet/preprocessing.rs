//! The part of the meta section that says how an image becomes what a network reads.

use serde::{Deserialize, Serialize};

use crate::spec::ModelSpec;

/// Longest side of an image that a recipe makes.
const MAX_SIDE: usize = 1 << 13;

/// From an RGB image of any size to values of pixels: resize, crop around the middle, and
/// `(level * rescale - mean) / std` for each channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocessing {
    /// The new size of the whole image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resize: Option<Resize>,
    /// Height and width of the part around the middle that is kept; what the image does not fill is
    /// level 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crop: Option<[usize; 2]>,
    /// Factor on levels from 0 to 255.
    pub rescale: f32,
    /// Subtracted from each channel.
    pub mean: [f32; 3],
    /// Divides each channel.
    pub std: [f32; 3],
}

/// A new size and how it is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resize {
    /// The new size.
    pub to: ResizeTo,
    /// What pixels are weighed with.
    pub filter: ResizeFilter,
}

/// The size of a resized image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ResizeTo {
    /// The shorter side becomes so long, the other one keeps the proportion, rounded down.
    ShortestEdge(usize),
    /// Height and width, whatever the proportion was.
    Exactly([usize; 2]),
}

/// What pixels are weighed with where an image is resized. All but the nearest pixel are as wide as the
/// image is shrunk, so that nothing is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResizeFilter {
    /// The pixel at the place.
    Nearest,
    /// A square.
    Box,
    /// A triangle.
    Bilinear,
    /// Cubic pieces, with a = -0.5.
    Bicubic,
    /// A sinc under a sinc, three zeros to either side.
    Lanczos,
    /// A sinc under a Hamming window, one zero to either side.
    Hamming,
}

impl Preprocessing {
    /// Height and width of what comes out, if that does not depend on the image.
    pub fn size(&self) -> Option<[usize; 2]> {
        self.crop.or(match self.resize?.to {
            ResizeTo::Exactly(size) => Some(size),
            ResizeTo::ShortestEdge(_) => None,
        })
    }

    /// What is wrong, if something is.
    pub(super) fn problem(&self, spec: &ModelSpec) -> Option<String> {
        let Some((_, patches)) = spec.image_stack() else {
            return Some("preprocessing is there, but nothing reads images".to_owned());
        };
        if patches.channels != 3 {
            let channels = patches.channels;
            return Some(format!("preprocessing makes 3 channels, the network reads {channels}"));
        }
        let least = patches.image_size;
        match self.size() {
            None => return Some("preprocessing makes images of no fixed size".to_owned()),
            Some(size) if size.into_iter().any(|side| !(least..=MAX_SIDE).contains(&side)) => {
                return Some(format!(
                    "preprocessing makes images of {size:?}, possible are {least} to {MAX_SIDE}"
                ));
            }
            Some(_) => {}
        }
        let sides = match self.resize.map(|resize| resize.to) {
            Some(ResizeTo::ShortestEdge(side)) => [side; 2],
            Some(ResizeTo::Exactly(sides)) => sides,
            None => [1; 2],
        };
        if sides.into_iter().any(|side| !(1..=MAX_SIDE).contains(&side)) {
            return Some(format!(
                "preprocessing resizes to {sides:?}, possible are 1 to {MAX_SIDE}"
            ));
        }
        let numbers = [self.rescale].into_iter().chain(self.mean).chain(self.std);
        if numbers.into_iter().any(|x| !x.is_finite()) {
            return Some("preprocessing has numbers that are not finite".to_owned());
        }
        // Down to what a level can still be divided by.
        let is_zero = self.std.iter().any(|std| !(1e-6..=1e6).contains(std));
        is_zero.then(|| format!("preprocessing divides by {:?}", self.std))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinglet::sample;
    use crate::spec::{Input, PatchInput};

    fn recipe() -> Preprocessing {
        Preprocessing {
            resize: Some(Resize { to: ResizeTo::ShortestEdge(32), filter: ResizeFilter::Bicubic }),
            crop: Some([28, 30]),
            rescale: 1.0 / 255.0,
            mean: [0.5, 0.25, 0.125],
            std: [0.5; 3],
        }
    }

    fn problem(change: impl FnOnce(&mut Preprocessing, &mut PatchInput)) -> Option<String> {
        let (mut recipe, mut spec) = (recipe(), sample::meta().spec);
        let (image_size, patch_size, n_leading) = (28, 14, 1);
        let mut patches =
            PatchInput { image_size, patch_size, channels: 3, bias: true, n_leading, norm: None };
        change(&mut recipe, &mut patches);
        spec.stacks[0].input = Input::Patches(patches);
        recipe.problem(&spec)
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        assert_eq!(problem(|_, _| ()), None);
        let check = |expected: &str, change: &dyn Fn(&mut Preprocessing, &mut PatchInput)| {
            let problem = problem(change).unwrap();
            assert!(problem.ends_with(expected), "{problem}");
        };
        check("the network reads 1", &|_, patches| patches.channels = 1);
        check("of no fixed size", &|recipe, _| recipe.crop = None);
        check("images of [27, 28], possible are 28 to 8192", &|r, _| r.crop = Some([27, 28]));
        check("resizes to [0, 0], possible are 1 to 8192", &|recipe, _| {
            recipe.resize =
                Some(Resize { to: ResizeTo::ShortestEdge(0), filter: ResizeFilter::Box });
        });
        check("not finite", &|recipe, _| recipe.mean[1] = f32::NAN);
        check("divides by [0.5, 0.0, 0.5]", &|recipe, _| recipe.std[1] = 0.0);
        let reads_text = sample::meta().spec;
        assert!(recipe().problem(&reads_text).unwrap().contains("nothing reads images"));
    }

    #[test]
    fn recipes_are_short_in_json() {
        let json = serde_json::to_string(&recipe().resize).unwrap();
        assert_eq!(json, r#"{"to":{"shortest_edge":32},"filter":"bicubic"}"#);
    }
}
