//! DINOv2 (arXiv:2304.07193), without registers and with them (arXiv:2309.16588).

use kinglet_formats::checkpoint::Checkpoint;
use kinglet_formats::kinglet::ResizeFilter;
use kinglet_formats::spec::{Activation, Gain, Head, Input, Mlp, ModelSpec, Pooling, Stack};

use super::image::{Body, IMAGENET, Recipe, Rows, classifier, is_for, layers};
use super::vit::layers_prefix;
use super::{
    Family, FolderConfig, ImageUse, Mapping, Names, Table, Transforms, activation, find_prefix,
};
use crate::QuantizeError;
use crate::fields::Fields;
use crate::take::at;

pub(super) const DINOV2: Family = Family {
    name: "dinov2",
    architectures: &["Dinov2Model", "Dinov2ForImageClassification"],
    model_type: "dinov2",
    gguf: None,
    from_config: |folder, checkpoint| from_config(false, folder, checkpoint),
};

pub(super) const WITH_REGISTERS: Family = Family {
    name: "dinov2_with_registers",
    architectures: &["Dinov2WithRegistersModel", "Dinov2WithRegistersForImageClassification"],
    model_type: "dinov2_with_registers",
    gguf: None,
    from_config: |folder, checkpoint| from_config(true, folder, checkpoint),
};

const RECIPE: Recipe = Recipe {
    square: false,
    size: 256,
    crop: Some(224),
    filter: ResizeFilter::Bicubic,
    mean: IMAGENET.0,
    std: IMAGENET.1,
};

const IN_LAYER: Table = &[
    ("attn_norm", at("norm1")),
    ("q_proj", at("attention.attention.query")),
    ("q_proj", at("attention.q_proj")),
    ("k_proj", at("attention.attention.key")),
    ("k_proj", at("attention.k_proj")),
    ("v_proj", at("attention.attention.value")),
    ("v_proj", at("attention.v_proj")),
    ("o_proj", at("attention.output.dense")),
    ("o_proj", at("attention.o_proj")),
    ("attn_gain", at("layer_scale1.lambda1").bare()),
    ("mlp_norm", at("norm2")),
    ("gate_proj", at("mlp.weights_in").fused(GATED)),
    ("gate_proj", at("mlp.gate_up_proj").fused(GATED)),
    ("mlp_gain", at("layer_scale2.lambda1").bare()),
];

const GATED: &[&str] = &["gate_proj", "up_proj"];

/// The projections of an MLP that has no gate.
const PLAIN: Table = &[("up_proj", at("mlp.fc1")), ("down_proj", at("mlp.fc2"))];

/// Those of one that has.
const SWIGLU: Table = &[
    ("up_proj", at("mlp.weights_in").fused(GATED)),
    ("up_proj", at("mlp.gate_up_proj").fused(GATED)),
    ("down_proj", at("mlp.weights_out")),
    ("down_proj", at("mlp.down_proj")),
];

const OUTSIDE: Table = &[
    ("patch_proj", at("embeddings.patch_embeddings.projection")),
    ("final_norm", at("layernorm")),
];

const CLASSIFIER: Table = &[("dense.0", at("/classifier"))];

/// What pre-training needs besides.
const IGNORED: &[&str] = &["*embeddings.mask_token", "classifier.*"];

fn from_config(
    registers: bool,
    folder: &FolderConfig<'_>,
    checkpoint: &dyn Checkpoint,
) -> Result<Mapping, QuantizeError> {
    let config = &folder.config;
    let Body { hidden_size, n_layers, norm, attention } = Body::read(config, checkpoint, 1e-6)?;
    let mlp = mlp(config, hidden_size)?;
    let gated = mlp.gated;
    let prefixes = ["", "dinov2.", "dinov2_with_registers.", "backbone."];
    let prefix = find_prefix(checkpoint, &prefixes, "embeddings.cls_token");
    let recipe = RECIPE.read(folder)?;
    let mut leading = vec![(format!("{prefix}embeddings.cls_token"), 1)];
    if registers {
        let n = config.count_or("num_register_tokens", 4)?;
        leading.push((format!("{prefix}embeddings.register_tokens"), n));
    }
    let rows = Rows {
        image_size: config.size_or("image_size", 224)?,
        patch_size: config.size_or("patch_size", if registers { 16 } else { 14 })?,
        channels: config.size_or("num_channels", 3)?,
        bias: true,
        leading,
        n_positioned: 1,
        positions: format!("{prefix}embeddings.position_embeddings"),
        antialias: registers,
        norm: None,
    };
    let (patches, made) = rows.input(config, recipe.as_ref(), hidden_size)?;
    let context_length = patches.n_rows();
    let classifies = is_for(config, "ForImageClassification")?;
    let head = match classifies {
        true => classifier(config, Pooling::ClsAndPatches)?,
        false => Head::embedding(Pooling::Cls, false),
    };
    let mut layers = layers(n_layers, norm, attention, mlp);
    for block in layers.iter_mut().flat_map(|layer| &mut layer.blocks) {
        block.gain = Gain::Vector;
    }
    let names = |stack, layers, in_layer, outside| Names {
        stack,
        prefix: prefix.clone(),
        layers,
        in_layer,
        outside,
        former_endings: &[],
    };
    let in_layer: &[Table] = if gated { &[IN_LAYER, SWIGLU] } else { &[IN_LAYER, PLAIN] };
    let tower = layers_prefix(checkpoint, &prefix);
    Ok(Mapping {
        family: if registers { WITH_REGISTERS.name } else { DINOV2.name },
        spec: ModelSpec {
            stacks: vec![Stack {
                name: "image".to_owned(),
                hidden_size,
                input: Input::Patches(patches),
                layers,
                final_norm: Some(norm),
            }],
            heads: vec![head],
            context_length,
        },
        names: vec![names("image", tower, in_layer, OUTSIDE), names("", "", &[], CLASSIFIER)],
        transforms: Transforms { made, ..Transforms::default() },
        ignored: if classifies { &IGNORED[..1] } else { IGNORED },
        max_tokens: None,
        images: ImageUse { preprocessing: recipe, fills_texts: false },
    })
}

/// The feed-forward block. Gated, it is narrower by a third: as many weights, in multiples of 8.
fn mlp(config: &Fields<'_>, hidden_size: usize) -> Result<Mlp, QuantizeError> {
    let ratio = f64::from(config.positive_float_or("mlp_ratio", 4.0)?);
    let width = (hidden_size as f64 * ratio) as usize;
    let gated = config.flag_or("use_swiglu_ffn", false)?;
    let act = activation::from_config(config, "hidden_act", Activation::Gelu)?;
    Ok(Mlp {
        intermediate_size: if gated { (width * 2 / 3).next_multiple_of(8) } else { width },
        activation: if gated { Activation::Silu } else { act },
        gated,
        bias: true,
        output_bias: false,
        output_gate: false,
    })
}
