//! Published configurations of encoders.

use super::*;

#[test]
fn positions_begin_behind_padding() {
    let mut config = json!({
        "architectures": ["XLMRobertaModel"], "hidden_act": "gelu", "hidden_size": 384,
        "intermediate_size": 1536, "layer_norm_eps": 1e-5, "max_position_embeddings": 514,
        "model_type": "xlm-roberta", "num_attention_heads": 12, "num_hidden_layers": 12,
        "pad_token_id": 1, "position_embedding_type": "absolute", "type_vocab_size": 1,
        "vocab_size": 250037
    });
    let spec = folder(config.clone()).unwrap();
    let positions = AbsolutePositions::Learned { max_positions: 514, offset: 2 };
    assert_eq!((tokens(&spec).positions, tokens(&spec).n_segments), (positions, 1));
    assert_eq!(spec.context_length, 512);
    for other in ["CamembertForMaskedLM", "RobertaModel"] {
        config["architectures"] = json!([other]);
        assert_eq!(folder(config.clone()).unwrap(), spec);
    }
    config["max_position_embeddings"] = json!(2);
    let error = folder(config).unwrap_err().to_string();
    assert!(error.contains("max_position_embeddings"), "{error}");
}

#[test]
fn distilbert_and_electra_have_their_own_keys() {
    let spec = folder(json!({
        "activation": "gelu", "architectures": ["DistilBertModel"], "dim": 768,
        "hidden_dim": 3072, "max_position_embeddings": 512, "model_type": "distilbert",
        "n_heads": 12, "n_layers": 6, "sinusoidal_pos_embds": false, "vocab_size": 30522
    }))
    .unwrap();
    assert_eq!((spec.stacks[0].layers.len(), tokens(&spec).n_segments), (6, 0));
    assert_eq!(heads(&layer(&spec, 0).attention), (12, 12, 64));
    assert_eq!(layer(&spec, 0).mlp.intermediate_size, 3072);

    let mut electra = json!({
        "architectures": ["ElectraForPreTraining"], "embedding_size": 128, "hidden_size": 256,
        "intermediate_size": 1024, "max_position_embeddings": 512, "model_type": "electra",
        "num_attention_heads": 4, "num_hidden_layers": 12, "type_vocab_size": 2,
        "vocab_size": 30522
    });
    assert_eq!(tokens(&folder(electra.clone()).unwrap()).width, Some(128));
    electra["embedding_size"] = json!(256);
    assert_eq!(tokens(&folder(electra).unwrap()).width, None);
}

#[test]
fn all_mpnet_base_v2() {
    let mut config = json!({
        "architectures": ["MPNetForMaskedLM"], "hidden_act": "gelu", "hidden_size": 768,
        "intermediate_size": 3072, "layer_norm_eps": 1e-5, "max_position_embeddings": 514,
        "model_type": "mpnet", "num_attention_heads": 12, "num_hidden_layers": 12,
        "pad_token_id": 1, "relative_attention_num_buckets": 32, "vocab_size": 30527
    });
    let spec = folder(config.clone()).unwrap();
    assert_eq!((spec.context_length, tokens(&spec).n_segments), (512, 0));
    let buckets = Position::RelativeBuckets {
        n_buckets: 32,
        max_distance: 128,
        two_way: true,
        by_layer: false,
    };
    assert_eq!(layer(&spec, 11).attention.position, buckets);
    config["relative_attention_num_buckets"] = json!(16);
    let error = folder(config).unwrap_err().to_string();
    assert!(error.contains("relative_attention_num_buckets"), "{error}");
}

#[test]
fn modernbert_base_in_either_spelling() {
    let mut config = json!({
        "architectures": ["ModernBertForMaskedLM"], "attention_bias": false,
        "global_attn_every_n_layers": 3, "global_rope_theta": 160000.0,
        "hidden_activation": "gelu", "hidden_size": 768, "intermediate_size": 1152,
        "local_attention": 128, "local_rope_theta": 10000.0, "max_position_embeddings": 8192,
        "mlp_bias": false, "model_type": "modernbert", "norm_bias": false, "norm_eps": 1e-5,
        "num_attention_heads": 12, "num_hidden_layers": 22, "vocab_size": 50368
    });
    let older = folder(config.clone()).unwrap();
    assert_eq!(full_layers(&older), [0, 3, 6, 9, 12, 15, 18, 21]);
    let (full, local) = (layer(&older, 3), layer(&older, 4));
    assert_eq!((rope(&full.attention).theta, rope(&local.attention).theta), (160_000.0, 10_000.0));
    assert_eq!(local.attention.sliding_window, Some(65));
    assert!(layer(&older, 0).block.pre.is_none() && full.block.pre.is_some_and(|n| !n.bias));
    assert!(full.mlp.gated && !full.mlp.bias && !full.attention.q_bias);
    assert!(older.stacks[0].final_norm.is_some() && tokens(&older).norm.is_some());

    for key in ["global_attn_every_n_layers", "global_rope_theta", "local_rope_theta"] {
        config.as_object_mut().unwrap().remove(key);
    }
    let kind = |i| if i % 3 == 0 { "full_attention" } else { "sliding_attention" };
    config["layer_types"] = (0..22).map(kind).collect();
    config["rope_parameters"] = json!({
        "full_attention": {"rope_theta": 160000.0, "rope_type": "default"},
        "sliding_attention": {"rope_theta": 10000.0, "rope_type": "default"}
    });
    assert_eq!(folder(config).unwrap(), older);
}

#[test]
fn nomic_embed_text_in_either_spelling() {
    let config = json!({
        "activation_function": "swiglu", "architectures": ["NomicBertModel"], "causal": false,
        "layer_norm_epsilon": 1e-12, "max_trained_positions": 2048, "mlp_fc1_bias": false,
        "mlp_fc2_bias": false, "model_type": "nomic_bert", "n_embd": 768, "n_head": 12,
        "n_inner": 3072, "n_layer": 12, "n_positions": 8192, "parallel_block": false,
        "prenorm": false, "qkv_proj_bias": false, "rotary_emb_base": 1000,
        "rotary_emb_fraction": 1.0, "rotary_emb_interleaved": false, "type_vocab_size": 2,
        "use_rms_norm": false, "vocab_size": 30528
    });
    let published = folder(config.clone()).unwrap();
    assert_eq!(published.context_length, 2048);
    let layer = layer(&published, 11);
    assert_eq!((rope(&layer.attention).theta, heads(&layer.attention)), (1000.0, (12, 12, 64)));
    assert_eq!((layer.mlp.activation, layer.mlp.gated), (Activation::Silu, true));
    assert!(!layer.mlp.bias && !layer.attention.v_bias && layer.block.after.is_some());
    let reference = folder(json!({
        "architectures": ["NomicBertModel"], "head_dim": 64, "hidden_act": "silu",
        "hidden_size": 768, "intermediate_size": 3072, "layer_norm_eps": 1e-12,
        "max_position_embeddings": 2048, "num_attention_heads": 12, "num_hidden_layers": 12,
        "rope_parameters": {"rope_theta": 1000.0, "rope_type": "default"}, "vocab_size": 30528
    }));
    assert_eq!(reference.unwrap(), published);
    for (key, value) in [
        ("prenorm", json!(true)),
        ("qkv_proj_bias", json!(true)),
        ("moe_every_n_layers", json!(2)),
        ("rotary_emb_fraction", json!(0.5)),
        ("activation_function", json!("gelu")),
    ] {
        let mut config = config.clone();
        config[key] = value;
        let error = folder(config).unwrap_err().to_string();
        assert!(error.contains(key), "{error}");
    }
}

#[test]
fn decoders_become_embedders_by_their_folder() {
    let config = json!({
        "architectures": ["Qwen3ForCausalLM"], "head_dim": 128, "hidden_act": "silu",
        "hidden_size": 1024, "intermediate_size": 3072, "max_position_embeddings": 32768,
        "num_attention_heads": 16, "num_hidden_layers": 28, "num_key_value_heads": 8,
        "rms_norm_eps": 1e-6, "rope_theta": 1000000, "tie_word_embeddings": true,
        "vocab_size": 151669
    });
    assert!(folder(config.clone()).unwrap().logits_head().is_some());
    let map = object(config);
    let pooling = object(json!({"pooling_mode_lasttoken": true, "word_embedding_dimension": 1024}));
    let modules = |modules: &[&'static str]| FolderConfig {
        config: Fields::json("config.json", &map),
        sentence: Some(SentenceConfig {
            modules: modules.to_vec(),
            pooling: Fields::json("1_Pooling/config.json", &pooling),
            dense: Vec::new(),
        }),
        max_tokens: None,
        preprocessor: None,
    };
    let mapping =
        map_folder(&modules(&["Transformer", "Pooling", "Normalize"]), &Shapes::new(&[])).unwrap();
    assert_eq!(mapping.spec.heads, [Head::embedding(Pooling::Last, true)]);
    assert_eq!(mapping.max_tokens, Some(32768));
    assert!(map_folder(&modules(&["Transformer", "Pooling", "LSTM"]), &Shapes::new(&[])).is_err());
}

#[test]
fn deberta_v3_base() {
    let config = json!({
        "architectures": ["DebertaV2Model"], "hidden_act": "gelu", "hidden_size": 768,
        "intermediate_size": 3072, "layer_norm_eps": 1e-7, "max_position_embeddings": 512,
        "max_relative_positions": -1, "model_type": "deberta-v2", "norm_rel_ebd": "layer_norm",
        "num_attention_heads": 12, "num_hidden_layers": 12, "pos_att_type": "p2c|c2p",
        "position_biased_input": false, "position_buckets": 256, "relative_attention": true,
        "share_att_key": true, "type_vocab_size": 0, "vocab_size": 128100
    });
    let spec = folder(config.clone()).unwrap();
    let attention = &layer(&spec, 11).attention;
    let position = Position::Disentangled { n_buckets: 256, max_distance: 512 };
    assert_eq!(attention.position, position);
    assert_eq!(attention.scale, (1.0 / 192f64.sqrt()) as f32);
    assert_eq!((tokens(&spec).n_segments, spec.context_length), (0, 512));
    assert_eq!(tokens(&spec).positions, AbsolutePositions::None);
    for (key, value) in [
        ("relative_attention", json!(false)),
        ("share_att_key", json!(false)),
        ("pos_att_type", json!("p2c")),
        ("conv_kernel_size", json!(3)),
        ("embedding_size", json!(512)),
        ("pooler_hidden_act", json!("relu")),
        ("position_buckets", json!(-1)),
    ] {
        let mut config = config.clone();
        config[key] = value;
        let error = folder(config).unwrap_err().to_string();
        assert!(error.contains(key), "{error}");
    }
}

#[test]
fn slopes_are_made_for_a_bounded_number_of_heads() {
    let config = |n: usize| {
        json!({
            "architectures": ["JinaBertModel"], "feed_forward_type": "geglu",
            "hidden_size": n, "intermediate_size": 64, "model_type": "bert",
            "num_attention_heads": n, "num_hidden_layers": 1, "position_embedding_type": "alibi",
            "vocab_size": 64
        })
    };
    let spec = folder(config(48)).unwrap();
    let Position::LinearBias { slopes } = &layer(&spec, 0).attention.position else {
        panic!("{spec:?}")
    };
    assert_eq!(slopes.len(), 48);
    let error = folder(config(1 << 30)).unwrap_err().to_string();
    assert!(error.contains("`num_attention_heads` is 1073741824"), "{error}");
}
