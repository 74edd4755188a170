//! SigLIP (arXiv:2303.15343) and those checkpoints of SigLIP 2 (arXiv:2502.14786) that read images of one
//! size: towers of images and of texts, each pair of which is judged by itself.

use kinglet_formats::checkpoint::Checkpoint;
use kinglet_formats::kinglet::ResizeFilter;
use kinglet_formats::spec::{
    Activation, AttentionPool, Dense, Head, Input, ModelSpec, Output, Pooling, Scores, Similarity,
};
use serde_json::Map;

use super::clip::{Defaults, IGNORED, Tower, names, towers};
use super::image::{HALVES, Recipe, Rows, number};
use super::{
    Family, FolderConfig, ImageUse, Mapping, Names, Table, Transforms, activation, find_prefix,
};
use crate::QuantizeError;
use crate::made::{Made, MadeOf, Query};
use crate::take::at;

pub(super) const FAMILY: Family = Family {
    name: "siglip",
    architectures: &["SiglipModel"],
    model_type: "siglip",
    gguf: None,
    from_config,
};

const RECIPE: Recipe = Recipe {
    square: true,
    size: 224,
    crop: None,
    filter: ResizeFilter::Bicubic,
    mean: HALVES.0,
    std: HALVES.1,
};

const DEFAULTS: Defaults = Defaults {
    hidden_size: 768,
    intermediate_size: 3072,
    n_layers: 12,
    n_heads: 12,
    norm_eps: 1e-6,
    activation: Activation::GeluTanh,
};

/// The heads of both towers.
const HEADS: Table = &[
    ("pool_o_proj", at("vision_model.head.attention.out_proj")),
    ("pool_norm", at("vision_model.head.layernorm")),
    ("pool_up_proj", at("vision_model.head.mlp.fc1")),
    ("pool_down_proj", at("vision_model.head.mlp.fc2")),
    ("dense.0", at("text_model.head")),
];

fn from_config(
    folder: &FolderConfig<'_>,
    checkpoint: &dyn Checkpoint,
) -> Result<Mapping, QuantizeError> {
    let (config, empty) = (&folder.config, Map::new());
    let [text_config, image_config] = towers(config, &empty)?;
    let text = Tower::read(text_config, &DEFAULTS)?;
    let image = Tower::read(image_config, &DEFAULTS)?;
    let width = text.config.size_or("projection_size", text.hidden_size)?;
    if !image.config.flag_or("vision_use_head", true)? {
        return Err(image.config.unsupported("vision_use_head", "false", "true"));
    }
    let prefix = find_prefix(checkpoint, &["", "model."], "vision_model.post_layernorm.weight");
    let at_image = |name: &str| format!("{prefix}vision_model.{name}");
    let recipe = RECIPE.read(folder)?;
    let rows = Rows {
        image_size: image.config.size_or("image_size", 224)?,
        patch_size: image.config.size_or("patch_size", 16)?,
        channels: image.config.size_or("num_channels", 3)?,
        bias: true,
        leading: Vec::new(),
        n_positioned: 0,
        positions: at_image("embeddings.position_embedding.weight"),
        antialias: false,
        norm: None,
    };
    let hidden = image.hidden_size;
    let (patches, mut made) = rows.input(&image.config, recipe.as_ref(), hidden)?;
    let in_weight = at_image("head.attention.in_proj_weight");
    let in_bias = at_image("head.attention.in_proj_bias");
    let pooled = |name: &str, dims: &[usize], of| Made {
        name: format!("heads.0.pool_{name}"),
        dims: dims.to_vec(),
        of,
    };
    made.push(pooled("v_proj.weight", &[hidden; 2], MadeOf::Rows(in_weight.clone(), 2 * hidden)));
    made.push(pooled("v_proj.bias", &[hidden], MadeOf::Rows(in_bias.clone(), 2 * hidden)));
    let probe = at_image("head.probe");
    let query = Query { probe, in_weight, in_bias, n_heads: image.n_heads };
    made.push(pooled("scores.weight", &[image.n_heads, hidden], MadeOf::Query(query)));
    let pool = AttentionPool {
        n_heads: image.n_heads,
        norm: image.norm,
        intermediate_size: image.config.size_or("intermediate_size", DEFAULTS.intermediate_size)?,
        activation: activation::from_config(&image.config, "hidden_act", DEFAULTS.activation)?,
    };
    let (tokens, context_length) = text.tokens(32_000, 64)?;
    let similarity = Similarity {
        scale: number(checkpoint, &format!("{prefix}logit_scale"))?.exp(),
        bias: number(checkpoint, &format!("{prefix}logit_bias"))?,
        scores: Scores::Sigmoid,
    };
    let head = |stack: &str, pool, chain, similarity| Head {
        stack: Some(stack.to_owned()),
        pool: Some(pool),
        chain,
        output: Output::Vector { normalize: true, similarity },
    };
    let images = Input::Patches(patches);
    Ok(Mapping {
        family: FAMILY.name,
        spec: ModelSpec {
            stacks: vec![
                image.stack("image", images, false, checkpoint, &DEFAULTS)?,
                text.stack("text", tokens, false, checkpoint, &DEFAULTS)?,
            ],
            heads: vec![
                head("image", Pooling::Attention(pool), Vec::new(), Some(similarity)),
                head("text", Pooling::Last, vec![Dense::plain(width)], None),
            ],
            context_length,
        },
        names: vec![
            names("image", at_image("")),
            names("text", format!("{prefix}text_model.")),
            Names {
                stack: "",
                prefix,
                layers: "",
                in_layer: &[],
                outside: HEADS,
                former_endings: &[],
            },
        ],
        transforms: Transforms { made, ..Transforms::default() },
        ignored: IGNORED,
        max_tokens: Some(context_length),
        images: ImageUse { preprocessing: recipe, fills_texts: true },
    })
}
