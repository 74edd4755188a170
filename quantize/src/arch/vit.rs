//! Vision transformers (arXiv:2010.11929) and DeiT (arXiv:2012.12877): a class token before the patches of
//! an image, and one of distillation.

use kinglet_formats::checkpoint::Checkpoint;
use kinglet_formats::kinglet::ResizeFilter;
use kinglet_formats::spec::{Activation, Head, Input, ModelSpec, Pooling, Stack};

use super::encoder::plain_mlp;
use super::image::{Body, HALVES, IMAGENET, Recipe, Rows, classifier, is_for, layers};
use super::{
    Family, FolderConfig, ImageUse, Mapping, Names, Table, Transforms, activation, find_prefix,
};
use crate::QuantizeError;
use crate::made::{Made, MadeOf};
use crate::take::at;

pub(super) const VIT: Family = Family {
    name: "vit",
    architectures: &["ViTModel", "ViTForImageClassification"],
    model_type: "vit",
    gguf: None,
    from_config: |folder, checkpoint| from_config(&VIT_KIND, folder, checkpoint),
};

pub(super) const DEIT: Family = Family {
    name: "deit",
    architectures: &[
        "DeiTModel",
        "DeiTForImageClassification",
        "DeiTForImageClassificationWithTeacher",
    ],
    model_type: "deit",
    gguf: None,
    from_config: |folder, checkpoint| from_config(&DEIT_KIND, folder, checkpoint),
};

/// What the two differ in.
struct Kind {
    family: &'static str,
    /// Before the names of a model that is part of a classifier.
    prefix: &'static str,
    /// The rows before the patches, one each.
    leading: &'static [&'static str],
    recipe: Recipe,
}

const VIT_KIND: Kind = Kind {
    family: "vit",
    prefix: "vit.",
    leading: &["cls_token"],
    recipe: Recipe {
        square: true,
        size: 224,
        crop: None,
        filter: ResizeFilter::Bilinear,
        mean: HALVES.0,
        std: HALVES.1,
    },
};

const DEIT_KIND: Kind = Kind {
    family: "deit",
    prefix: "deit.",
    leading: &["cls_token", "distillation_token"],
    recipe: Recipe {
        square: true,
        size: 256,
        crop: Some(224),
        filter: ResizeFilter::Bicubic,
        mean: IMAGENET.0,
        std: IMAGENET.1,
    },
};

/// Under the names of releases before 5 of transformers and those within later ones.
pub(super) const IN_LAYER: Table = &[
    ("attn_norm", at("layernorm_before")),
    ("q_proj", at("attention.attention.query")),
    ("q_proj", at("attention.q_proj")),
    ("k_proj", at("attention.attention.key")),
    ("k_proj", at("attention.k_proj")),
    ("v_proj", at("attention.attention.value")),
    ("v_proj", at("attention.v_proj")),
    ("o_proj", at("attention.output.dense")),
    ("o_proj", at("attention.o_proj")),
    ("mlp_norm", at("layernorm_after")),
    ("up_proj", at("intermediate.dense")),
    ("up_proj", at("mlp.fc1")),
    ("down_proj", at("output.dense")),
    ("down_proj", at("mlp.fc2")),
];

pub(super) const OUTSIDE: Table = &[
    ("patch_proj", at("embeddings.patch_embeddings.projection")),
    ("final_norm", at("layernorm")),
];

const CLASSIFIER: Table = &[("dense.0", at("/classifier"))];

/// What pre-training needs besides.
const IGNORED: &[&str] = &["*pooler.*", "*embeddings.mask_token", "classifier.*"];

/// Before the number of a layer.
pub(super) fn layers_prefix(checkpoint: &dyn Checkpoint, prefix: &str) -> &'static str {
    let in_encoder = |tensor: &kinglet_formats::checkpoint::TensorInfo| {
        tensor.name.strip_prefix(prefix).is_some_and(|name| name.starts_with("encoder.layer."))
    };
    if checkpoint.tensors().iter().any(in_encoder) { "encoder.layer." } else { "layers." }
}

fn from_config(
    kind: &Kind,
    folder: &FolderConfig<'_>,
    checkpoint: &dyn Checkpoint,
) -> Result<Mapping, QuantizeError> {
    let config = &folder.config;
    let Body { hidden_size, n_layers, norm, attention } = Body::read(config, checkpoint, 1e-12)?;
    let mlp = plain_mlp(
        config.size_or("intermediate_size", 3072)?,
        activation::from_config(config, "hidden_act", Activation::Gelu)?,
    );
    let prefix = find_prefix(checkpoint, &["", kind.prefix], "embeddings.cls_token");
    let recipe = kind.recipe.read(folder)?;
    let rows = Rows {
        image_size: config.size_or("image_size", 224)?,
        patch_size: config.size_or("patch_size", 16)?,
        channels: config.size_or("num_channels", 3)?,
        bias: true,
        leading: kind
            .leading
            .iter()
            .map(|name| (format!("{prefix}embeddings.{name}"), 1))
            .collect(),
        n_positioned: kind.leading.len(),
        positions: format!("{prefix}embeddings.position_embeddings"),
        antialias: false,
        norm: None,
    };
    let (patches, mut made) = rows.input(config, recipe.as_ref(), hidden_size)?;
    let context_length = patches.n_rows();
    let both = is_for(config, "ForImageClassificationWithTeacher")?;
    let classifies = both || is_for(config, "ForImageClassification")?;
    let head = match (both, classifies) {
        (true, _) => classifier(config, Pooling::Leading { rows: 2 })?,
        (false, true) => classifier(config, Pooling::Cls)?,
        _ => Head::embedding(Pooling::Cls, false),
    };
    if both {
        let n_labels = head.chain_size();
        // The mean of two classifiers, each of a row of its own.
        for (part, dims) in [("weight", vec![n_labels, 2 * hidden_size]), ("bias", vec![n_labels])]
        {
            let names = ["cls_classifier", "distillation_classifier"];
            let of = MadeOf::Mean(names.map(|name| format!("{name}.{part}")).to_vec());
            made.push(Made { name: format!("heads.0.dense.0.{part}"), dims, of });
        }
    }
    let names = |stack, layers, in_layer, outside| Names {
        stack,
        prefix: prefix.clone(),
        layers,
        in_layer,
        outside,
        former_endings: &[],
    };
    let tower = layers_prefix(checkpoint, &prefix);
    Ok(Mapping {
        family: kind.family,
        spec: ModelSpec {
            stacks: vec![Stack {
                name: "image".to_owned(),
                hidden_size,
                input: Input::Patches(patches),
                layers: layers(n_layers, norm, attention, mlp),
                final_norm: Some(norm),
            }],
            heads: vec![head],
            context_length,
        },
        names: vec![names("image", tower, &[IN_LAYER], OUTSIDE), names("", "", &[], CLASSIFIER)],
        transforms: Transforms { made, ..Transforms::default() },
        ignored: if classifies { &IGNORED[..2] } else { IGNORED },
        max_tokens: None,
        images: ImageUse { preprocessing: recipe, fills_texts: false },
    })
}
