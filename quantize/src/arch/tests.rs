//! Specs of published configurations, shortened to the keys that matter here.

use kinglet_formats::checkpoint::{Checkpoint, CheckpointError, DType, TensorInfo};
use kinglet_formats::spec::{
    AbsolutePositions, Activation, Attention, Block, Head, Input, Layer, MixerKind, Mlp, ModelSpec,
    NormKind, Pooling, Position, Rope, RopeScaling, TokenInput,
};
use serde_json::{Map, Value, json};

use super::*;

mod encoders;
mod images;
mod sound;

/// Tensors with names and dims, without values.
struct Shapes(Vec<TensorInfo>);

impl Shapes {
    /// Enough tensors for many layers, and the given ones.
    fn new(tensors: &[(&str, &[usize])]) -> Self {
        let info = |name: String, dims: &[usize]| TensorInfo {
            name,
            dims: dims.to_vec(),
            dtype: DType::F32,
        };
        let mut list: Vec<_> = (0..100).map(|i| info(format!("filler.{i}"), &[1])).collect();
        list.extend(tensors.iter().map(|(name, dims)| info((*name).to_owned(), dims)));
        Self(list)
    }
}

impl Checkpoint for Shapes {
    fn tensors(&self) -> &[TensorInfo] {
        &self.0
    }

    fn read_rows(&self, _: usize, _: usize, out: &mut [f32]) -> Result<(), CheckpointError> {
        out.fill(1.0);
        Ok(())
    }

    fn raw(&self, _: usize) -> Result<&[u8], CheckpointError> {
        Ok(&[])
    }
}

fn object(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

pub(super) fn folder(config: Value) -> Result<ModelSpec, QuantizeError> {
    let map = object(config);
    let folder = FolderConfig {
        config: Fields::json("config.json", &map),
        sentence: None,
        max_tokens: None,
        preprocessor: None,
    };
    let spec = map_folder(&folder, &Shapes::new(&[]))?.spec;
    spec.validate().unwrap();
    Ok(spec)
}

fn gguf(keys: Value, tensors: &[(&str, &[usize])]) -> Result<ModelSpec, QuantizeError> {
    let map = object(keys);
    let fields = |section: &str| Fields::gguf("model.gguf", section, &map);
    let spec = map_gguf(&fields("general"), fields, &Shapes::new(tensors))?.spec;
    spec.validate().unwrap();
    Ok(spec)
}

/// A layer of two blocks.
#[derive(Clone)]
struct Parts {
    block: Block,
    attention: Attention,
    mlp: Mlp,
}

fn parts(layer: &Layer) -> Parts {
    let [block, second] = &layer.blocks[..] else { panic!("{layer:?}") };
    let (MixerKind::Attention(attention), MixerKind::Mlp(mlp)) =
        (&block.mixers[0].kind, &second.mixers[0].kind)
    else {
        panic!("{layer:?}")
    };
    Parts { block: block.clone(), attention: attention.clone(), mlp: mlp.clone() }
}

fn layer(spec: &ModelSpec, i: usize) -> Parts {
    parts(&spec.stacks[0].layers[i])
}

fn tokens(spec: &ModelSpec) -> &TokenInput {
    match &spec.stacks[0].input {
        Input::Tokens(tokens) => tokens,
        other => panic!("{other:?}"),
    }
}

fn rope(attention: &Attention) -> &Rope {
    match &attention.position {
        Position::Rope(rope) => rope,
        other => panic!("{other:?}"),
    }
}

fn heads(attention: &Attention) -> (usize, usize, usize) {
    (attention.n_heads, attention.n_kv_heads, attention.head_dim)
}

fn tied(spec: &ModelSpec) -> bool {
    spec.heads == [Head::language_model(true)]
}

#[test]
fn smollm2_135m() {
    let spec = folder(json!({
        "architectures": ["LlamaForCausalLM"], "attention_bias": false, "hidden_act": "silu",
        "hidden_size": 576, "intermediate_size": 1536, "max_position_embeddings": 8192,
        "mlp_bias": false, "num_attention_heads": 9, "num_hidden_layers": 30,
        "num_key_value_heads": 3, "rms_norm_eps": 1e-5, "rope_interleaved": false,
        "rope_scaling": null, "rope_theta": 100000, "tie_word_embeddings": true,
        "vocab_size": 49152
    }))
    .unwrap();
    assert!(spec.stacks[0].is_causal());
    assert_eq!((spec.context_length, spec.stacks[0].layers.len()), (8192, 30));
    assert!(tied(&spec));
    let layer = layer(&spec, 29);
    assert_eq!(heads(&layer.attention), (9, 3, 64));
    assert_eq!(layer.attention.scale, 0.125);
    assert!(layer.attention.causal && !layer.attention.q_bias);
    assert_eq!((rope(&layer.attention).theta, rope(&layer.attention).dims), (100_000.0, 64));
    assert!(layer.block.post.is_none() && layer.block.after.is_none());
    let norm = layer.block.pre.unwrap();
    assert_eq!((norm.kind, norm.eps), (NormKind::Rms, 1e-5));
    assert_eq!((layer.mlp.activation, layer.mlp.gated), (Activation::Silu, true));
}

#[test]
fn llama_3_2_1b() {
    let config = json!({
        "architectures": ["LlamaForCausalLM"], "attention_bias": false, "head_dim": 64,
        "hidden_act": "silu", "hidden_size": 2048, "intermediate_size": 8192,
        "max_position_embeddings": 131072, "mlp_bias": false, "num_attention_heads": 32,
        "num_hidden_layers": 16, "num_key_value_heads": 8, "rms_norm_eps": 1e-5,
        "rope_scaling": {"factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
                         "original_max_position_embeddings": 8192, "rope_type": "llama3"},
        "rope_theta": 500000.0, "tie_word_embeddings": true, "vocab_size": 128256
    });
    let spec = folder(config.clone()).unwrap();
    let expected = RopeScaling::Llama3 {
        factor: 32.0,
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_context_length: 8192,
    };
    assert_eq!(rope(&layer(&spec, 0).attention).scaling, expected);

    let mut incomplete = config;
    incomplete["rope_scaling"].as_object_mut().unwrap().remove("low_freq_factor");
    let error = folder(incomplete).unwrap_err().to_string();
    assert_eq!(error, "config.json: key `rope_scaling.low_freq_factor` is missing");
}

fn mistral_7b() -> Value {
    json!({
        "architectures": ["MistralForCausalLM"], "hidden_act": "silu", "hidden_size": 4096,
        "intermediate_size": 14336, "max_position_embeddings": 32768, "num_attention_heads": 32,
        "num_hidden_layers": 32, "num_key_value_heads": 8, "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0, "sliding_window": 4096, "tie_word_embeddings": false,
        "vocab_size": 32000
    })
}

#[test]
fn mistral_has_a_window_unless_it_says_null() {
    let window =
        |config: &Value| layer(&folder(config.clone()).unwrap(), 31).attention.sliding_window;
    let mut config = mistral_7b();
    assert_eq!(window(&config), Some(4096));
    config["sliding_window"] = json!(null);
    assert_eq!(window(&config), None);
    config.as_object_mut().unwrap().remove("sliding_window");
    assert_eq!(window(&config), Some(4096));
    config["max_position_embeddings"] = json!(4096);
    assert_eq!(window(&config), None);
    assert!(!tied(&folder(config.clone()).unwrap()));
    config["sliding_window"] = json!(512);
    config["num_hidden_layers"] = json!(3);
    config["layer_types"] = json!(["sliding_attention", "full_attention", "sliding_attention"]);
    assert_eq!(full_layers(&folder(config).unwrap()), [1]);
}

#[test]
fn qwen_2_5_and_3() {
    let mut config = json!({
        "architectures": ["Qwen2ForCausalLM"], "hidden_act": "silu", "hidden_size": 896,
        "intermediate_size": 4864, "max_position_embeddings": 32768, "max_window_layers": 21,
        "num_attention_heads": 14, "num_hidden_layers": 24, "num_key_value_heads": 2,
        "rms_norm_eps": 1e-6, "rope_theta": 1000000.0, "sliding_window": 32768,
        "tie_word_embeddings": true, "use_sliding_window": false, "vocab_size": 151936
    });
    let spec = folder(config.clone()).unwrap();
    let attention = &layer(&spec, 23).attention;
    assert_eq!(heads(attention), (14, 2, 64));
    assert!(attention.q_bias && !attention.output_bias && attention.qk_norm.is_none());
    assert_eq!(attention.sliding_window, None);

    config["use_sliding_window"] = json!(true);
    config["sliding_window"] = json!(4096);
    let spec = folder(config.clone()).unwrap();
    let windows: Vec<_> =
        spec.stacks[0].layers.iter().map(|l| parts(l).attention.sliding_window).collect();
    assert_eq!((windows[20], windows[21]), (None, Some(4096)));

    config["architectures"] = json!(["Qwen3ForCausalLM"]);
    config["use_sliding_window"] = json!(false);
    config["head_dim"] = json!(128);
    let spec = folder(config).unwrap();
    let attention = &layer(&spec, 0).attention;
    assert_eq!(heads(attention), (14, 2, 128));
    assert!(!attention.q_bias && !attention.output_bias);
    assert_eq!(attention.qk_norm.unwrap().norm.eps, 1e-6);
}

/// Layers of a Gemma that see everything.
fn full_layers(spec: &ModelSpec) -> Vec<usize> {
    let layers = spec.stacks[0].layers.iter().enumerate();
    layers.filter(|(_, l)| parts(l).attention.sliding_window.is_none()).map(|(i, _)| i).collect()
}

#[test]
#[cfg(target_pointer_width = "64")] // embeddings beyond what 32 bits address
fn gemma_3_4b_leaves_most_keys_out() {
    let spec = folder(json!({
        "architectures": ["Gemma3ForConditionalGeneration"], "model_type": "gemma3",
        "eos_token_id": [1, 106],
        "text_config": {
            "hidden_size": 2560, "intermediate_size": 10240, "model_type": "gemma3_text",
            "num_hidden_layers": 34, "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
            "sliding_window": 1024
        },
        "vision_config": {"hidden_size": 1152}
    }))
    .unwrap();
    assert_eq!(full_layers(&spec), [5, 11, 17, 23, 29]);
    let TokenInput { vocab_size, scale, .. } = *tokens(&spec);
    assert_eq!((vocab_size, scale), (262_208, 2560f32.sqrt()));
    let (local, full) = (&layer(&spec, 0).attention, &layer(&spec, 5).attention);
    assert_eq!(heads(local), (8, 4, 256));
    assert_eq!((local.scale, local.sliding_window), (0.0625, Some(1024)));
    assert_eq!((rope(local).theta, &rope(local).scaling), (10_000.0, &RopeScaling::None));
    let linear = RopeScaling::Linear { factor: 8.0 };
    assert_eq!((rope(full).theta, &rope(full).scaling), (1e6, &linear));
    let block = layer(&spec, 0).block;
    assert!(block.pre.is_some() && block.post.is_some() && block.after.is_none());
    assert_eq!(layer(&spec, 0).mlp.activation, Activation::GeluTanh);
    assert!(local.qk_norm.is_some() && tied(&spec));
}

#[test]
#[cfg(target_pointer_width = "64")] // embeddings beyond what 32 bits address
fn gemma_3_in_gguf() {
    let keys = |block_count: u32, heads: u32, hidden: u32| {
        json!({
            "general.architecture": "gemma3", "gemma3.context_length": 32768,
            "gemma3.embedding_length": hidden, "gemma3.block_count": block_count,
            "gemma3.feed_forward_length": 2048, "gemma3.attention.head_count": heads,
            "gemma3.attention.layer_norm_rms_epsilon": 1e-6,
            "gemma3.attention.key_length": 256, "gemma3.attention.value_length": 256,
            "gemma3.rope.freq_base": 1e6, "gemma3.attention.sliding_window": 512,
            "gemma3.attention.head_count_kv": 1
        })
    };
    let spec = gguf(keys(18, 4, 640), &[("token_embd.weight", &[262_144, 640])]).unwrap();
    assert_eq!(full_layers(&spec), [5, 11, 17]);
    assert_eq!(rope(&layer(&spec, 4).attention).theta, 10_000.0);
    assert_eq!(rope(&layer(&spec, 5).attention).theta, 1e6);
    assert_eq!(layer(&spec, 0).attention.scale, 0.0625);
    assert!(tied(&spec));
    // The 27B model divides by the square root of 5376 / 32.
    let spec = gguf(keys(62, 32, 5376), &[("token_embd.weight", &[262_144, 5376])]).unwrap();
    assert_eq!(layer(&spec, 0).attention.scale, (1.0 / 168f64.sqrt()) as f32);
    let error = gguf(keys(2_000_000, 4, 640), &[]).unwrap_err().to_string();
    assert!(error.contains("gemma3.block_count"), "{error}");
}

#[test]
fn minilm() {
    let mut config = json!({
        "architectures": ["BertModel"], "hidden_act": "gelu", "hidden_size": 384,
        "intermediate_size": 1536, "layer_norm_eps": 1e-12, "max_position_embeddings": 512,
        "model_type": "bert", "num_attention_heads": 12, "num_hidden_layers": 6,
        "position_embedding_type": "absolute", "type_vocab_size": 2, "vocab_size": 30522
    });
    let spec = folder(config.clone()).unwrap();
    assert!(!spec.stacks[0].is_causal());
    let TokenInput { vocab_size, positions, n_segments, norm, .. } = *tokens(&spec);
    assert_eq!((vocab_size, n_segments), (30522, 2));
    assert_eq!(positions, AbsolutePositions::Learned { max_positions: 512, offset: 0 });
    assert!(norm.is_some_and(|n| n.bias && n.kind == NormKind::Layer && n.eps == 1e-12));
    let layer = layer(&spec, 5);
    assert_eq!(heads(&layer.attention), (12, 12, 32));
    assert!(!layer.attention.causal && layer.attention.q_bias && layer.attention.output_bias);
    assert_eq!(layer.attention.position, Position::None);
    assert!(layer.block.pre.is_none() && layer.block.after.is_some());
    assert_eq!((layer.mlp.activation, layer.mlp.gated), (Activation::Gelu, false));
    // A plain encoder becomes what sentence-transformers makes of it.
    assert_eq!(spec.heads, [Head::embedding(Pooling::Mean, false)]);

    config["is_decoder"] = json!(true);
    assert!(folder(config).unwrap_err().to_string().contains("is_decoder"));
}

/// The head that a pooling configuration leads to, or the error.
fn head(modules: &[&'static str], pooling: Value) -> Result<Head, String> {
    let config = object(json!({
        "architectures": ["BertModel"], "hidden_size": 384, "intermediate_size": 1536,
        "num_attention_heads": 12, "num_hidden_layers": 6, "vocab_size": 30522
    }));
    let pooling = object(pooling);
    let folder = FolderConfig {
        config: Fields::json("config.json", &config),
        sentence: Some(SentenceConfig {
            modules: modules.to_vec(),
            pooling: Fields::json("1_Pooling/config.json", &pooling),
            dense: Vec::new(),
        }),
        max_tokens: Some(256),
        preprocessor: None,
    };
    let mapping = map_folder(&folder, &Shapes::new(&[])).map_err(|error| error.to_string())?;
    assert_eq!(mapping.max_tokens, Some(256));
    Ok(mapping.spec.heads[0].clone())
}

#[test]
fn pooling_configurations() {
    let full = ["Transformer", "Pooling", "Normalize"];
    let mean = json!({"word_embedding_dimension": 384, "pooling_mode_mean_tokens": true,
                      "pooling_mode_cls_token": false});
    let expected = Head::embedding(Pooling::Mean, true);
    assert_eq!(head(&full, mean.clone()), Ok(expected));
    let cls = json!({"pooling_mode_cls_token": true});
    let expected = Head::embedding(Pooling::Cls, false);
    assert_eq!(head(&full[..2], cls.clone()), Ok(expected));
    for (mode, pooling) in [
        (json!("mean"), Pooling::Mean),
        (json!(["cls"]), Pooling::Cls),
        (json!("lasttoken"), Pooling::Last),
        (json!("max"), Pooling::Max),
        (json!("mean_sqrt_len"), Pooling::MeanSqrtLen),
        (json!("weightedmean"), Pooling::WeightedMean),
    ] {
        let config = json!({"embedding_dimension": 384, "pooling_mode": mode});
        let expected = Head::embedding(pooling, true);
        assert_eq!(head(&full, config), Ok(expected));
    }
    for (modules, pooling, part) in [
        (&full[..], json!({"pooling_mode": ["cls", "mean"]}), "cls, mean"),
        (&full[..], json!({"pooling_mode": "mean", "embedding_dimension": 32}), "32"),
        (&full[..1], mean.clone(), "modules.json"),
        (&["Transformer", "Pooling", "Dense"][..], mean, "Dense"),
        (
            &full[..],
            json!({"pooling_mode_cls_token": true, "pooling_mode_max_tokens": true}),
            "cls_token",
        ),
        (&full[..], json!({}), "none"),
        (&full[..], json!({"word_embedding_dimension": 768}), "768"),
    ] {
        let error = head(modules, pooling).unwrap_err();
        assert!(error.contains(part), "{error}");
    }
}

fn scaled(scaling: Value) -> Result<RopeScaling, String> {
    let mut config = mistral_7b();
    config["rope_scaling"] = scaling;
    let spec = folder(config).map_err(|error| error.to_string())?;
    Ok(rope(&layer(&spec, 0).attention).scaling.clone())
}

#[test]
fn rope_scaling_of_folders() {
    let linear = Ok(RopeScaling::Linear { factor: 2.0 });
    assert_eq!(scaled(json!({"type": "linear", "factor": 2.0})), linear);
    assert_eq!(scaled(json!({"rope_type": "default"})), Ok(RopeScaling::None));
    assert_eq!(scaled(json!({"type": "dynamic", "factor": 2.0})), Ok(RopeScaling::None));
    let yarn = |attention_factor, truncate| RopeScaling::Yarn {
        factor: 4.0,
        original_context_length: 8192,
        beta_fast: 32.0,
        beta_slow: 1.0,
        attention_factor,
        truncate,
    };
    let mscale = |weight: f32| 0.1 * weight * 4f32.ln() + 1.0;
    for (more, expected) in [
        (json!({}), yarn(mscale(1.0), true)),
        (json!({"mscale": 0.7}), yarn(mscale(1.0), true)),
        (json!({"mscale": 0.7, "mscale_all_dim": 0.5}), yarn(mscale(0.7) / mscale(0.5), true)),
        (json!({"attention_factor": 1.5, "truncate": false}), yarn(1.5, false)),
    ] {
        let mut keys =
            json!({"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 8192});
        keys.as_object_mut().unwrap().extend(object(more));
        assert_eq!(scaled(keys), Ok(expected));
    }
    let (short, long) = (vec![1.0; 64], vec![2.0; 64]);
    let lists = json!({
        "type": "su", "short_factor": short, "long_factor": long,
        "original_max_position_embeddings": 4096,
    });
    // From 4096 to the configuration's 32768.
    let attention_factor = (1.0 + 8f32.ln() / 4096f32.ln()).sqrt();
    let original_context_length = 4096;
    let long_rope =
        RopeScaling::LongRope { short, long, original_context_length, attention_factor };
    assert_eq!(scaled(lists), Ok(long_rope));
    for (scaling, part) in [
        (json!({"type": "longrope", "factor": 2.0}), "rope_scaling.short_factor"),
        (
            json!({"type": "longrope", "short_factor": [1, 1], "long_factor": vec![1; 64]}),
            "rope_scaling.short_factor` is 2 numbers",
        ),
        (json!({"type": "ntk", "factor": 2.0}), "rope_scaling.type = ntk"),
        (json!({"type": "linear"}), "rope_scaling.factor"),
        (json!({"type": "linear", "factor": 0.0}), "rope_scaling.factor"),
        (json!("linear"), "rope_scaling"),
    ] {
        let error = scaled(scaling).unwrap_err();
        assert!(error.contains(part), "{error}");
    }
    let mut config = mistral_7b();
    config["partial_rotary_factor"] = json!(0.5);
    assert!(folder(config).unwrap_err().to_string().contains("partial_rotary_factor"));
    let mut config = mistral_7b();
    config["head_dim"] = json!(1 << 30);
    assert!(folder(config).unwrap_err().to_string().contains("`head_dim` is 1073741824"));
}

#[test]
fn of_two_spellings_of_rotation_the_older_one_counts() {
    let mut config = mistral_7b();
    config["rope_parameters"] = json!({"rope_type": "default", "rope_theta": 5e5});
    config["rope_scaling"] = json!({"rope_type": "linear", "factor": 4.0});
    let of = |config: &Value| rope(&layer(&folder(config.clone()).unwrap(), 0).attention).clone();
    assert_eq!(
        (of(&config).theta, of(&config).scaling),
        (1e4, RopeScaling::Linear { factor: 4.0 })
    );
    config["rope_scaling"]["rope_theta"] = json!(2e4);
    assert_eq!(of(&config).theta, 2e4);
}

#[test]
fn the_original_context_is_looked_for_in_three_places() {
    let mut config = mistral_7b();
    config["rope_scaling"] = json!({"rope_type": "yarn", "factor": 4.0});
    let original =
        |config: &Value| match &rope(&layer(&folder(config.clone()).unwrap(), 0).attention).scaling
        {
            RopeScaling::Yarn { original_context_length, .. } => *original_context_length,
            other => panic!("{other:?}"),
        };
    assert_eq!(original(&config), 32768);
    config["rope_scaling"]["original_max_position_embeddings"] = json!(8192);
    assert_eq!(original(&config), 8192);
    config["original_max_position_embeddings"] = json!(4096);
    assert_eq!(original(&config), 4096);
}

#[test]
fn rope_scaling_of_gguf() {
    let scaled = |keys: Value, divisors: bool| -> Result<RopeScaling, String> {
        let mut map = object(json!({
            "general.architecture": "llama", "llama.context_length": 4096,
            "llama.embedding_length": 64, "llama.block_count": 1, "llama.feed_forward_length": 64,
            "llama.attention.head_count": 4, "llama.attention.layer_norm_rms_epsilon": 1e-5
        }));
        map.extend(object(keys));
        let mut tensors: Vec<(&str, &[usize])> = vec![("token_embd.weight", &[100, 64])];
        if divisors {
            tensors.push(("rope_freqs.weight", &[8]));
        }
        let spec = gguf(Value::Object(map), &tensors).map_err(|error| error.to_string())?;
        Ok(rope(&layer(&spec, 0).attention).scaling.clone())
    };
    let linear = Ok(RopeScaling::Linear { factor: 4.0 });
    assert_eq!(scaled(json!({}), false), Ok(RopeScaling::None));
    assert_eq!(scaled(json!({"llama.rope.scale_linear": 4.0}), false), linear);
    let keys = json!({"llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 4.0});
    assert_eq!(scaled(keys.clone(), false), linear);
    let keys = json!({"llama.rope.scaling.type": "none", "llama.rope.scaling.factor": 4.0});
    assert_eq!(scaled(keys, false), Ok(RopeScaling::None));
    let divisors = RopeScaling::PerFrequency { factors: vec![1.0; 8], attention_factor: 1.0 };
    assert_eq!(scaled(json!({}), true), Ok(divisors));
    let both = scaled(json!({"llama.rope.scaling.factor": 4.0}), true).unwrap_err();
    assert!(both.contains("rope.scaling.type"), "{both}");
}
