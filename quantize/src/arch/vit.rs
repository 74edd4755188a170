//! Vision transformers: images cut into patches, a class token before them.

use kinglet_formats::checkpoint::Checkpoint;
use kinglet_formats::spec::{
    Activation, Attention, Block, Head, Input, Layer, MixerKind, Mlp, ModelSpec, Norm, NormKind,
    PatchInput, Pooling, Stack,
};

use super::decoder::even_split;
use super::{
    Family, FolderConfig, Mapping, Names, Table, Transforms, activation, find_prefix, layer_count,
};
use crate::QuantizeError;
use crate::take::at;

pub(super) const FAMILY: Family = Family {
    name: "vit",
    architectures: &["ViTModel"],
    model_type: "vit",
    gguf: None,
    from_config,
};

const IN_LAYER: Table = &[
    ("attn_norm", at("layernorm_before")),
    ("q_proj", at("attention.attention.query")),
    ("k_proj", at("attention.attention.key")),
    ("v_proj", at("attention.attention.value")),
    ("o_proj", at("attention.output.dense")),
    ("mlp_norm", at("layernorm_after")),
    ("up_proj", at("intermediate.dense")),
    ("down_proj", at("output.dense")),
];

const OUTSIDE: Table = &[
    ("patch_proj", at("embeddings.patch_embeddings.projection")),
    ("embed_leading", at("embeddings.cls_token").bare()),
    ("embed_positions", at("embeddings.position_embeddings").bare()),
    ("final_norm", at("layernorm")),
];

/// What pre-training needs besides.
const IGNORED: &[&str] = &["*pooler.*", "*embeddings.mask_token", "classifier.*"];

fn from_config(
    folder: &FolderConfig<'_>,
    checkpoint: &dyn Checkpoint,
) -> Result<Mapping, QuantizeError> {
    let config = &folder.config;
    let hidden_size = config.size_or("hidden_size", 768)?;
    let n_heads = config.size_or("num_attention_heads", 12)?;
    let head_dim = even_split(config, "num_attention_heads", hidden_size, n_heads)?;
    let n_layers = layer_count(config, "num_hidden_layers", checkpoint, Some(12))?;
    let eps = config.positive_float_or("layer_norm_eps", 1e-12)?;
    let norm = Norm { kind: NormKind::Layer, eps, bias: true };
    let block = |kind| Block { pre: Some(norm), ..Block::of(kind) };
    let qkv_bias = config.flag_or("qkv_bias", true)?;
    let attention = Attention {
        q_bias: qkv_bias,
        k_bias: qkv_bias,
        v_bias: qkv_bias,
        output_bias: true,
        ..Attention::plain(n_heads, head_dim)
    };
    let mlp = Mlp {
        intermediate_size: config.size_or("intermediate_size", 3072)?,
        activation: activation::from_config(config, "hidden_act", Activation::Gelu)?,
        gated: false,
        bias: true,
        output_bias: false,
        output_gate: false,
    };
    let blocks = vec![block(MixerKind::Attention(attention)), block(MixerKind::Mlp(mlp))];
    let (image_size, patch_size) =
        (config.size_or("image_size", 224)?, config.size_or("patch_size", 16)?);
    if !image_size.is_multiple_of(patch_size) {
        let expected = format!("a divisor of the image's side, {image_size}");
        return Err(config.bad("patch_size", &patch_size, &expected));
    }
    let patches = PatchInput {
        image_size,
        patch_size,
        channels: config.size_or("num_channels", 3)?,
        bias: true,
        n_leading: 1,
        norm: None,
    };
    let context_length = patches.n_rows();
    let spec = ModelSpec {
        stacks: vec![Stack {
            name: "image".to_owned(),
            hidden_size,
            input: Input::Patches(patches),
            layers: vec![Layer { blocks, weights_of: None }; n_layers],
            final_norm: Some(norm),
        }],
        heads: vec![Head::embedding(Pooling::Cls, false)],
        context_length,
    };
    Ok(Mapping {
        family: FAMILY.name,
        spec,
        names: vec![Names {
            stack: "image",
            prefix: find_prefix(checkpoint, &["", "vit."], "embeddings.cls_token"),
            layers: "encoder.layer.",
            in_layer: &[IN_LAYER],
            outside: OUTSIDE,
            former_endings: &[],
        }],
        transforms: Transforms::default(),
        ignored: IGNORED,
        max_tokens: None,
    })
}
