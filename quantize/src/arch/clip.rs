//! CLIP (arXiv:2103.00020): a tower of images and one of texts, whose vectors are compared.

use kinglet_formats::checkpoint::Checkpoint;
use kinglet_formats::kinglet::ResizeFilter;
use kinglet_formats::spec::{
    AbsolutePositions, Activation, Attention, Dense, Head, Input, ModelSpec, Norm, NormKind,
    Output, Pooling, Scores, Similarity, Stack, TokenInput,
};
use serde_json::Map;

use super::decoder::even_split;
use super::encoder::plain_mlp;
use super::image::{Recipe, Rows, layers, number};
use super::{
    Family, FolderConfig, ImageUse, Mapping, Names, Table, Transforms, activation, find_prefix,
    layer_count,
};
use crate::QuantizeError;
use crate::fields::Fields;
use crate::made::{Made, MadeOf};
use crate::take::at;

pub(super) const FAMILY: Family = Family {
    name: "clip",
    architectures: &["CLIPModel"],
    model_type: "clip",
    gguf: None,
    from_config,
};

const RECIPE: Recipe = Recipe {
    square: false,
    size: 224,
    crop: Some(224),
    filter: ResizeFilter::Bicubic,
    mean: [0.481_454_66, 0.457_827_5, 0.408_210_73],
    std: [0.268_629_55, 0.261_302_6, 0.275_777_1],
};

pub(super) const IN_LAYER: Table = &[
    ("attn_norm", at("layer_norm1")),
    ("q_proj", at("self_attn.q_proj")),
    ("k_proj", at("self_attn.k_proj")),
    ("v_proj", at("self_attn.v_proj")),
    ("o_proj", at("self_attn.out_proj")),
    ("o_proj", at("self_attn.o_proj")),
    ("mlp_norm", at("layer_norm2")),
    ("up_proj", at("mlp.fc1")),
    ("down_proj", at("mlp.fc2")),
];

pub(super) const OUTSIDE: Table = &[
    ("embed_tokens", at("embeddings.token_embedding")),
    ("embed_positions", at("embeddings.position_embedding")),
    ("patch_proj", at("embeddings.patch_embedding")),
    ("embed_norm", at("pre_layrnorm")),
    ("final_norm", at("final_layer_norm")),
    ("final_norm", at("post_layernorm")),
];

/// Numbers that follow from the configuration, and those that have been read.
pub(super) const IGNORED: &[&str] = &["*.position_ids", "logit_scale", "logit_bias"];

/// What both towers' families agree on, and where they differ.
pub(super) struct Tower<'a> {
    /// `text_config` or `vision_config`.
    pub(super) config: Fields<'a>,
    pub(super) hidden_size: usize,
    pub(super) n_heads: usize,
    pub(super) norm: Norm,
}

/// The defaults of a tower.
pub(super) struct Defaults {
    pub(super) hidden_size: usize,
    pub(super) intermediate_size: usize,
    pub(super) n_layers: usize,
    pub(super) n_heads: usize,
    pub(super) norm_eps: f32,
    pub(super) activation: Activation,
}

const TEXT: Defaults = Defaults {
    hidden_size: 512,
    intermediate_size: 2048,
    n_layers: 12,
    n_heads: 8,
    norm_eps: 1e-5,
    activation: Activation::QuickGelu,
};

const IMAGE: Defaults = Defaults { hidden_size: 768, intermediate_size: 3072, n_heads: 12, ..TEXT };

impl<'a> Tower<'a> {
    pub(super) fn read(config: Fields<'a>, defaults: &Defaults) -> Result<Self, QuantizeError> {
        let hidden_size = config.size_or("hidden_size", defaults.hidden_size)?;
        let n_heads = config.size_or("num_attention_heads", defaults.n_heads)?;
        let eps = config.positive_float_or("layer_norm_eps", defaults.norm_eps)?;
        let norm = Norm { kind: NormKind::Layer, eps, bias: true };
        Ok(Self { config, hidden_size, n_heads, norm })
    }

    /// The tower as a stack that reads `input`.
    pub(super) fn stack(
        &self,
        name: &str,
        input: Input,
        causal: bool,
        checkpoint: &dyn Checkpoint,
        defaults: &Defaults,
    ) -> Result<Stack, QuantizeError> {
        let config = &self.config;
        let head_dim = even_split(config, "num_attention_heads", self.hidden_size, self.n_heads)?;
        let plain = Attention::plain(self.n_heads, head_dim).biased(true);
        let n = layer_count(config, "num_hidden_layers", checkpoint, Some(defaults.n_layers))?;
        let mlp = plain_mlp(
            config.size_or("intermediate_size", defaults.intermediate_size)?,
            activation::from_config(config, "hidden_act", defaults.activation)?,
        );
        Ok(Stack {
            name: name.to_owned(),
            hidden_size: self.hidden_size,
            input,
            layers: layers(n, self.norm, Attention { causal, ..plain }, mlp),
            final_norm: Some(self.norm),
        })
    }

    /// Tokens with learned positions.
    pub(super) fn tokens(
        &self,
        vocab_size: usize,
        max_positions: usize,
    ) -> Result<(Input, usize), QuantizeError> {
        let max_positions = self.config.size_or("max_position_embeddings", max_positions)?;
        let input = Input::Tokens(TokenInput {
            vocab_size: self.config.size_or("vocab_size", vocab_size)?,
            table_of: None,
            width: None,
            positions: AbsolutePositions::Learned { max_positions, offset: 0 },
            n_segments: 0,
            zero_start: false,
            scale: 1.0,
            norm: None,
        });
        Ok((input, max_positions))
    }
}

/// The configurations of both towers; what is left out is all defaults.
pub(super) fn towers<'a>(
    config: &Fields<'a>,
    empty: &'a Map<String, serde_json::Value>,
) -> Result<[Fields<'a>; 2], QuantizeError> {
    let of = |key: &str| {
        Ok::<_, QuantizeError>(
            config.nested(key)?.unwrap_or_else(|| Fields::json(config.file(), empty)),
        )
    };
    Ok([of("text_config")?, of("vision_config")?])
}

/// Where the tensors of a tower are.
pub(super) fn names(stack: &'static str, prefix: String) -> Names {
    Names {
        stack,
        prefix,
        layers: "encoder.layers.",
        in_layer: &[IN_LAYER],
        outside: OUTSIDE,
        former_endings: &[],
    }
}

fn from_config(
    folder: &FolderConfig<'_>,
    checkpoint: &dyn Checkpoint,
) -> Result<Mapping, QuantizeError> {
    let (config, empty) = (&folder.config, Map::new());
    let [text_config, image_config] = towers(config, &empty)?;
    let text = Tower::read(text_config, &TEXT)?;
    let image = Tower::read(image_config, &IMAGE)?;
    let width = config.size_or("projection_dim", 512)?;
    let [text_at, image_at] = ["text_model.", "vision_model."];
    let text_at = find_prefix(checkpoint, &[text_at, ""], "embeddings.token_embedding.weight");
    let image_at = find_prefix(checkpoint, &[image_at, ""], "embeddings.patch_embedding.weight");
    let recipe = RECIPE.read(folder)?;
    let rows = Rows {
        image_size: image.config.size_or("image_size", 224)?,
        patch_size: image.config.size_or("patch_size", 32)?,
        channels: image.config.size_or("num_channels", 3)?,
        bias: false,
        leading: vec![(format!("{image_at}embeddings.class_embedding"), 1)],
        n_positioned: 1,
        positions: format!("{image_at}embeddings.position_embedding.weight"),
        antialias: false,
        norm: Some(image.norm),
    };
    let (patches, mut made) = rows.input(&image.config, recipe.as_ref(), image.hidden_size)?;
    let (tokens, context_length) = text.tokens(49_408, 77)?;
    // Two heads with a chain of one matrix each.
    let projections = [("visual_projection", &image), ("text_projection", &text)];
    for (h, (module, tower)) in projections.into_iter().enumerate() {
        made.push(Made {
            name: format!("heads.{h}.dense.0.weight"),
            dims: vec![width, tower.hidden_size],
            of: MadeOf::Rows(format!("{module}.weight"), 0),
        });
    }
    let similarity = Similarity {
        scale: number(checkpoint, "logit_scale")?.exp(),
        bias: 0.0,
        scores: Scores::Softmax,
    };
    let head = |stack: &str, pool, similarity| Head {
        stack: Some(stack.to_owned()),
        pool: Some(pool),
        chain: vec![Dense { bias: false, ..Dense::plain(width) }],
        output: Output::Vector { normalize: true, similarity },
    };
    Ok(Mapping {
        family: FAMILY.name,
        spec: ModelSpec {
            stacks: vec![
                image.stack("image", Input::Patches(patches), false, checkpoint, &IMAGE)?,
                text.stack("text", tokens, true, checkpoint, &TEXT)?,
            ],
            // Of a text the row of the token that ends it: nothing follows it.
            heads: vec![
                head("image", Pooling::Cls, Some(similarity)),
                head("text", Pooling::Last, None),
            ],
            context_length,
        },
        names: vec![names("image", image_at), names("text", text_at)],
        transforms: Transforms { made, ..Transforms::default() },
        ignored: IGNORED,
        max_tokens: Some(context_length),
        images: ImageUse { preprocessing: recipe, fills_texts: false },
    })
}
