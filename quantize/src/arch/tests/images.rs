//! Published configurations of models of images.

use kinglet_formats::kinglet::{ResizeFilter, ResizeTo};
use kinglet_formats::spec::{Gain, Output, PatchInput, Scores};

use super::*;

/// What is made of a configuration and a recipe, and of numbers that the weights hold.
fn mapped(config: Value, recipe: Option<Value>) -> Result<Mapping, QuantizeError> {
    let (config, recipe) = (object(config), recipe.map(object));
    let folder = FolderConfig {
        config: Fields::json("config.json", &config),
        sentence: None,
        max_tokens: None,
        preprocessor: recipe
            .as_ref()
            .map(|recipe| Fields::json("preprocessor_config.json", recipe)),
    };
    let mapping = map_folder(&folder, &Shapes::new(&[("logit_scale", &[]), ("logit_bias", &[1])]))?;
    mapping.spec.validate().unwrap();
    Ok(mapping)
}

fn patches(mapping: &Mapping) -> PatchInput {
    mapping.spec.image_stack().unwrap().1.clone()
}

#[test]
fn dinov2_small_reads_smaller_images_than_it_was_trained_on() {
    let config = json!({
        "architectures": ["Dinov2Model"], "hidden_act": "gelu", "hidden_size": 384,
        "image_size": 518, "layer_norm_eps": 1e-6, "layerscale_value": 1.0, "mlp_ratio": 4,
        "model_type": "dinov2", "num_attention_heads": 6, "num_channels": 3,
        "num_hidden_layers": 12, "patch_size": 14, "qkv_bias": true, "use_swiglu_ffn": false
    });
    let recipe = json!({
        "crop_size": {"height": 224, "width": 224}, "do_center_crop": true,
        "do_convert_rgb": true, "do_normalize": true, "do_rescale": true, "do_resize": true,
        "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225], "resample": 3,
        "rescale_factor": 0.003_921_568_627_450_98, "size": {"shortest_edge": 256}
    });
    let mapping = mapped(config.clone(), Some(recipe)).unwrap();
    assert_eq!((patches(&mapping).image_size, mapping.spec.context_length), (224, 257));
    let recipe = mapping.images.preprocessing.unwrap();
    let resize = recipe.resize.unwrap();
    assert_eq!((resize.to, resize.filter), (ResizeTo::ShortestEdge(256), ResizeFilter::Bicubic));
    assert_eq!((recipe.crop, recipe.mean[1]), (Some([224, 224]), 0.456));
    let layer = parts(&mapping.spec.stacks[0].layers[11]);
    assert_eq!((layer.block.gain, layer.mlp.intermediate_size), (Gain::Vector, 1536));
    // Without a recipe, as it was trained.
    let mapping = mapped(config, None).unwrap();
    assert_eq!((patches(&mapping).image_size, mapping.spec.context_length), (518, 1370));
    assert!(mapping.images.preprocessing.is_none());
}

#[test]
fn dinov2_giant_is_gated() {
    let mapping = mapped(
        json!({
            "architectures": ["Dinov2WithRegistersModel"], "hidden_size": 1536, "image_size": 518,
            "mlp_ratio": 4, "model_type": "dinov2_with_registers", "num_attention_heads": 24,
            "num_hidden_layers": 40, "num_register_tokens": 4, "patch_size": 14,
            "use_swiglu_ffn": true
        }),
        None,
    );
    let mapping = mapping.unwrap();
    let mlp = parts(&mapping.spec.stacks[0].layers[0]).mlp;
    assert_eq!((mlp.gated, mlp.intermediate_size, mlp.activation), (true, 4096, Activation::Silu));
    assert_eq!(patches(&mapping).n_leading, 5);
}

#[test]
fn clip_vit_base_as_first_published() {
    let config = json!({
        "architectures": ["CLIPModel"], "logit_scale_init_value": 2.6592, "model_type": "clip",
        "projection_dim": 512,
        "text_config": {"bos_token_id": 0, "eos_token_id": 2, "hidden_act": "quick_gelu",
            "hidden_size": 512, "intermediate_size": 2048, "layer_norm_eps": 1e-5,
            "max_position_embeddings": 77, "num_attention_heads": 8, "num_hidden_layers": 12,
            "vocab_size": 49408},
        "vision_config": {"hidden_act": "quick_gelu", "hidden_size": 768, "image_size": 224,
            "intermediate_size": 3072, "num_attention_heads": 12, "num_hidden_layers": 12,
            "patch_size": 32}
    });
    let recipe = json!({
        "crop_size": 224, "do_center_crop": true, "do_normalize": true, "do_resize": true,
        "feature_extractor_type": "CLIPFeatureExtractor",
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711], "resample": 3, "size": 224
    });
    let mapping = mapped(config, Some(recipe)).unwrap();
    let [image, text] = &mapping.spec.stacks[..] else { panic!() };
    assert_eq!((image.name.as_str(), text.name.as_str()), ("image", "text"));
    assert!(text.is_causal() && !image.is_causal());
    assert_eq!(parts(&text.layers[0]).mlp.activation, Activation::QuickGelu);
    assert_eq!((patches(&mapping).n_rows(), mapping.max_tokens), (50, Some(77)));
    assert!(patches(&mapping).norm.is_some() && !patches(&mapping).bias);
    let recipe = mapping.images.preprocessing.unwrap();
    assert_eq!(recipe.resize.unwrap().to, ResizeTo::ShortestEdge(224));
    let Output::Vector { similarity: Some(similarity), .. } = mapping.spec.heads[0].output else {
        panic!("{:?}", mapping.spec.heads)
    };
    assert_eq!((similarity.scores, similarity.scale), (Scores::Softmax, 1f32.exp()));
    assert_eq!(mapping.spec.heads[1].pool, Some(Pooling::Last));
}

#[test]
fn siglip_says_little_and_pools_by_attention() {
    let config = |vision: Value| {
        json!({
            "architectures": ["SiglipModel"], "model_type": "siglip",
            "text_config": {"model_type": "siglip_text_model"}, "vision_config": vision
        })
    };
    let recipe = json!({
        "do_normalize": true, "do_rescale": true, "do_resize": true, "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5], "resample": 3, "size": {"height": 384, "width": 384}
    });
    let vision = json!({
        "hidden_size": 1152, "image_size": 384, "intermediate_size": 4304,
        "num_attention_heads": 16, "num_hidden_layers": 27, "patch_size": 14
    });
    let mapping = mapped(config(vision), Some(recipe)).unwrap();
    // The last six pixels are not looked at.
    assert_eq!((patches(&mapping).image_size, patches(&mapping).n_rows()), (378, 729));
    let Some(Pooling::Attention(pool)) = mapping.spec.heads[0].pool else {
        panic!("{:?}", mapping.spec.heads)
    };
    assert_eq!((pool.n_heads, pool.intermediate_size), (16, 4304));
    assert!(mapping.images.fills_texts && mapping.max_tokens == Some(64));
    let error = mapped(config(json!({"vision_use_head": false})), None).err().unwrap().to_string();
    assert!(error.contains("vision_config.vision_use_head"), "{error}");
}

#[test]
fn deit_has_two_classifiers_or_one() {
    let config = |architecture: &str| {
        json!({
            "architectures": [architecture], "hidden_size": 192, "image_size": 224,
            "intermediate_size": 768, "model_type": "deit", "num_attention_heads": 3,
            "num_hidden_layers": 12, "patch_size": 16, "id2label": {"0": "a", "1": "b", "2": "c"}
        })
    };
    let pool = |architecture: &str| {
        let mapping = mapped(config(architecture), None).unwrap();
        (mapping.spec.heads[0].pool, mapping.transforms.made.len())
    };
    assert_eq!(
        pool("DeiTForImageClassificationWithTeacher"),
        (Some(Pooling::Leading { rows: 2 }), 4)
    );
    assert_eq!(pool("DeiTForImageClassification"), (Some(Pooling::Cls), 2));
    let mapping = mapped(config("DeiTModel"), None).unwrap();
    assert_eq!((patches(&mapping).n_leading, patches(&mapping).n_rows()), (2, 198));
}
