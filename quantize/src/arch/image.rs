//! What families of images share: the recipe that prepares them, the rows of a tower and its layers.

use kinglet_formats::checkpoint::Checkpoint;
use kinglet_formats::kinglet::{Preprocessing, Resize, ResizeFilter, ResizeTo};
use kinglet_formats::spec::{
    Attention, Block, Dense, Head, Layer, MixerKind, Mlp, Norm, NormKind, Output, PatchInput,
    Pooling,
};
use serde_json::Value;

use super::decoder::even_split;
use super::{FolderConfig, layer_count, task};
use crate::QuantizeError;
use crate::fields::Fields;
use crate::made::{Made, MadeOf, Positions};
use crate::overlay::{read_all, required};

/// What a family's processor assumes where `preprocessor_config.json` is silent.
pub(super) struct Recipe {
    /// A `size` of one number is both sides, not the shorter one.
    pub(super) square: bool,
    pub(super) size: usize,
    /// Side of the part around the middle, if one is cut out.
    pub(super) crop: Option<usize>,
    pub(super) filter: ResizeFilter,
    pub(super) mean: [f32; 3],
    pub(super) std: [f32; 3],
}

pub(super) const IMAGENET: ([f32; 3], [f32; 3]) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
pub(super) const HALVES: ([f32; 3], [f32; 3]) = ([0.5; 3], [0.5; 3]);

impl Recipe {
    /// How images become a network's input, where a file says it.
    pub(super) fn read(
        &self,
        folder: &FolderConfig<'_>,
    ) -> Result<Option<Preprocessing>, QuantizeError> {
        let Some(fields) = &folder.preprocessor else { return Ok(None) };
        for key in ["do_flip_channel_order", "do_pad"] {
            if fields.flag_or(key, false)? {
                return Err(fields.unsupported(key, "true", "false"));
            }
        }
        let resize = match fields.flag_or("do_resize", true)? {
            true => Some(Resize { to: self.size(fields)?, filter: self.filter(fields)? }),
            false => None,
        };
        let crop = match fields.flag_or("do_center_crop", self.crop.is_some())? {
            true => Some(self.crop(fields)?),
            false => None,
        };
        let rescale = match fields.flag_or("do_rescale", true)? {
            true => fields.positive_float_or("rescale_factor", 1.0 / 255.0)?,
            false => 1.0,
        };
        let (mean, std) = match fields.flag_or("do_normalize", true)? {
            true => (
                channels(fields, "image_mean", self.mean)?,
                channels(fields, "image_std", self.std)?,
            ),
            false => ([0.0; 3], [1.0; 3]),
        };
        let recipe = Preprocessing { resize, crop, rescale, mean, std };
        match recipe.size() {
            Some([height, width]) if height == width => Ok(Some(recipe)),
            Some([height, width]) => {
                let found = format!("{height} x {width}");
                Err(fields.unsupported("the size of prepared images", &found, "squares"))
            }
            None => Err(fields.unsupported(
                "do_center_crop",
                "false",
                "true where images keep their proportions",
            )),
        }
    }

    fn size(&self, fields: &Fields<'_>) -> Result<ResizeTo, QuantizeError> {
        let of_one = |side: usize| match self.square {
            true => ResizeTo::Exactly([side; 2]),
            false => ResizeTo::ShortestEdge(side),
        };
        if !fields.has("size") {
            return Ok(of_one(self.size));
        }
        if let Ok(side) = fields.size("size") {
            return Ok(of_one(side));
        }
        let Some(size) = fields.nested("size")? else { return Ok(of_one(self.size)) };
        if size.has("height") && size.has("width") {
            return Ok(ResizeTo::Exactly([size.size("height")?, size.size("width")?]));
        }
        if let (true, false) = (size.has("shortest_edge"), size.has("longest_edge")) {
            return Ok(ResizeTo::ShortestEdge(size.size("shortest_edge")?));
        }
        let keys: Vec<&str> = size.keys().collect();
        Err(fields.unsupported("size", &keys.join(", "), "height and width, or shortest_edge"))
    }

    fn crop(&self, fields: &Fields<'_>) -> Result<[usize; 2], QuantizeError> {
        if !fields.has("crop_size") {
            return Ok([self.crop.unwrap_or(self.size); 2]);
        }
        if let Ok(side) = fields.size("crop_size") {
            return Ok([side; 2]);
        }
        let crop = fields.nested("crop_size")?.ok_or_else(|| fields.missing("crop_size"))?;
        Ok([crop.size("height")?, crop.size("width")?])
    }

    /// By Pillow's numbers.
    fn filter(&self, fields: &Fields<'_>) -> Result<ResizeFilter, QuantizeError> {
        let Some(number) = fields.opt_float("resample")? else { return Ok(self.filter) };
        Ok(match number as i32 {
            0 => ResizeFilter::Nearest,
            1 => ResizeFilter::Lanczos,
            2 => ResizeFilter::Bilinear,
            3 => ResizeFilter::Bicubic,
            4 => ResizeFilter::Box,
            5 => ResizeFilter::Hamming,
            _ => return Err(fields.unsupported("resample", &number, "0 to 5")),
        })
    }
}

/// A number for each channel, or one for all.
fn channels(fields: &Fields<'_>, key: &str, default: [f32; 3]) -> Result<[f32; 3], QuantizeError> {
    if !fields.has(key) {
        return Ok(default);
    }
    if let Ok(one) = fields.float(key) {
        return Ok([one; 3]);
    }
    let list = fields.opt_list(key)?.unwrap_or_default();
    let numbers: Option<Vec<f32>> =
        list.iter().map(|value| Some(Value::as_f64(value)? as f32)).collect();
    numbers
        .and_then(|numbers| numbers.try_into().ok())
        .ok_or_else(|| fields.bad(key, "another list", "three numbers"))
}

/// The rows of an image tower.
pub(super) struct Rows {
    /// Side of the images that the checkpoint was trained on.
    pub(super) image_size: usize,
    pub(super) patch_size: usize,
    pub(super) channels: usize,
    /// Whether the stem has a bias.
    pub(super) bias: bool,
    /// Tensors of the rows before the patches, with how many rows they hold.
    pub(super) leading: Vec<(String, usize)>,
    /// How many of these rows have positions; they come first.
    pub(super) n_positioned: usize,
    pub(super) positions: String,
    pub(super) antialias: bool,
    pub(super) norm: Option<Norm>,
}

impl Rows {
    /// What enters the tower if images are prepared by `recipe`, and the tensors that are made for it.
    pub(super) fn input(
        &self,
        config: &Fields<'_>,
        recipe: Option<&Preprocessing>,
        hidden_size: usize,
    ) -> Result<(PatchInput, Vec<Made>), QuantizeError> {
        let prepared = recipe.and_then(Preprocessing::size);
        let image = prepared.map_or(self.image_size, |[side, _]| side);
        // What is left at the right and at the bottom is not looked at.
        let side = image / self.patch_size;
        if side == 0 {
            let expected = format!("at most the side of an image, {image}");
            return Err(config.bad("patch_size", &self.patch_size, &expected));
        }
        let n_leading = self.leading.iter().map(|(_, rows)| rows).sum();
        let patches = PatchInput {
            image_size: side * self.patch_size,
            patch_size: self.patch_size,
            channels: self.channels,
            bias: self.bias,
            n_leading,
            norm: self.norm,
        };
        let mut made = Vec::new();
        if n_leading > 0 {
            made.push(Made {
                name: "image.embed_leading.weight".to_owned(),
                dims: vec![n_leading, hidden_size],
                of: MadeOf::Joined(self.leading.clone()),
            });
        }
        made.push(Made {
            name: "image.embed_positions.weight".to_owned(),
            dims: vec![patches.n_rows(), hidden_size],
            of: MadeOf::Positions(Positions {
                table: self.positions.clone(),
                n_own: self.n_positioned,
                n_leading,
                side,
                antialias: self.antialias,
            }),
        });
        Ok((patches, made))
    }
}

/// What the configurations of ViT and DINOv2 say in the same words.
pub(super) struct Body {
    pub(super) hidden_size: usize,
    pub(super) n_layers: usize,
    pub(super) norm: Norm,
    pub(super) attention: Attention,
}

impl Body {
    pub(super) fn read(
        config: &Fields<'_>,
        checkpoint: &dyn Checkpoint,
        norm_eps: f32,
    ) -> Result<Self, QuantizeError> {
        let hidden_size = config.size_or("hidden_size", 768)?;
        let n_heads = config.size_or("num_attention_heads", 12)?;
        let head_dim = even_split(config, "num_attention_heads", hidden_size, n_heads)?;
        let eps = config.positive_float_or("layer_norm_eps", norm_eps)?;
        let qkv_bias = config.flag_or("qkv_bias", true)?;
        Ok(Self {
            hidden_size,
            n_layers: layer_count(config, "num_hidden_layers", checkpoint, Some(12))?,
            norm: Norm { kind: NormKind::Layer, eps, bias: true },
            attention: Attention {
                output_bias: true,
                ..Attention::plain(n_heads, head_dim).biased(qkv_bias)
            },
        })
    }
}

/// Layers of attention and MLP, each behind a norm.
pub(super) fn layers(n: usize, norm: Norm, attention: Attention, mlp: Mlp) -> Vec<Layer> {
    let block = |kind| Block { pre: Some(norm), ..Block::of(kind) };
    let blocks = vec![block(MixerKind::Attention(attention)), block(MixerKind::Mlp(mlp))];
    vec![Layer { blocks, weights_of: None }; n]
}

/// The head of a classifier of images.
pub(super) fn classifier(config: &Fields<'_>, pool: Pooling) -> Result<Head, QuantizeError> {
    let scores = task::scores(config)?;
    let chain = vec![Dense::plain(task::labels(config)?.len())];
    Ok(Head { stack: None, pool: Some(pool), chain, output: Output::Labels { scores } })
}

/// The one number of a tensor.
pub(super) fn number(checkpoint: &dyn Checkpoint, name: &str) -> Result<f32, QuantizeError> {
    let index = required(checkpoint, "a number of the model", name.to_owned())?;
    let info = &checkpoint.tensors()[index];
    if info.dims.iter().product::<usize>() != 1 {
        return Err(QuantizeError::shape(info, vec![1]));
    }
    Ok(read_all(checkpoint, index)?[0])
}

/// Whether an architecture of the configuration ends with `end`.
pub(super) fn is_for(config: &Fields<'_>, end: &str) -> Result<bool, QuantizeError> {
    let names = config.opt_list("architectures")?.unwrap_or_default();
    Ok(names.iter().filter_map(Value::as_str).any(|name| name.ends_with(end)))
}
