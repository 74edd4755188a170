//! Specs of decoders' published configurations, shortened to the keys that matter here.

use kinglet_formats::spec::{
    Activation, Attention, Gain, Mixer, MixerKind, ModelSpec, Norm, NormKind, Output, Position,
    RopeScaling,
};
use serde_json::{Value, json};

use super::tests::folder;

fn of(config: Value) -> ModelSpec {
    folder(config).unwrap()
}

fn mixers(spec: &ModelSpec, layer: usize) -> Vec<&Mixer> {
    spec.stacks[0].layers[layer].blocks.iter().flat_map(|block| &block.mixers).collect()
}

fn attention(spec: &ModelSpec, layer: usize) -> &Attention {
    spec.stacks[0].attentions().nth(layer).unwrap()
}

fn rotated(spec: &ModelSpec, layer: usize) -> Option<usize> {
    match &attention(spec, layer).position {
        Position::Rope(rope) => Some(rope.dims),
        _ => None,
    }
}

fn logits(spec: &ModelSpec) -> (bool, bool, f32, Option<f32>) {
    match spec.heads[0].output {
        Output::Logits { tied, bias, scale, soft_cap, .. } => (tied, bias, scale, soft_cap),
        _ => panic!("no logits"),
    }
}

#[test]
fn phi_4_mini() {
    let spec = of(json!({
        "architectures": ["Phi3ForCausalLM"], "hidden_size": 3072, "intermediate_size": 8192,
        "max_position_embeddings": 131072, "num_attention_heads": 24, "num_hidden_layers": 32,
        "num_key_value_heads": 8, "original_max_position_embeddings": 4096,
        "partial_rotary_factor": 0.75, "rms_norm_eps": 1e-5, "sliding_window": 262144,
        "rope_scaling": {"type": "longrope", "long_factor": vec![2; 48], "short_factor": vec![1; 48]},
        "rope_theta": 10000.0, "tie_word_embeddings": true, "vocab_size": 200064
    }));
    assert_eq!((rotated(&spec, 31), attention(&spec, 31).sliding_window), (Some(96), None));
    let Position::Rope(rope) = &attention(&spec, 0).position else { panic!() };
    let RopeScaling::LongRope { short, long, original_context_length, attention_factor } =
        &rope.scaling
    else {
        panic!("{rope:?}")
    };
    assert_eq!((short.len(), long[47], *original_context_length), (48, 2.0, 4096));
    // As the reference computes it.
    assert!((attention_factor - 1.190_238_1).abs() < 1e-6);
}

#[test]
fn phi_2_stands_side_by_side_behind_one_norm() {
    let spec = of(json!({
        "architectures": ["PhiForCausalLM"], "hidden_act": "gelu_new", "hidden_size": 2560,
        "intermediate_size": 10240, "layer_norm_eps": 1e-5, "max_position_embeddings": 2048,
        "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": null,
        "partial_rotary_factor": 0.4, "qk_layernorm": false, "rope_scaling": null,
        "rope_theta": 10000.0, "tie_word_embeddings": false, "vocab_size": 51200
    }));
    let [block] = &spec.stacks[0].layers[0].blocks[..] else { panic!() };
    let norm = Norm { kind: NormKind::Layer, eps: 1e-5, bias: true };
    assert_eq!((block.pre, block.mixers.len()), (Some(norm), 2));
    assert!(block.mixers.iter().all(|mixer| mixer.pre.is_none()));
    assert_eq!((rotated(&spec, 0), attention(&spec, 0).n_kv_heads), (Some(32), 32));
    assert_eq!(logits(&spec), (false, true, 1.0, None));
}

#[test]
fn pythia_norms_its_input_twice() {
    let config = json!({
        "architectures": ["GPTNeoXForCausalLM"], "hidden_act": "gelu", "hidden_size": 768,
        "intermediate_size": 3072, "layer_norm_eps": 1e-5, "max_position_embeddings": 2048,
        "num_attention_heads": 12, "num_hidden_layers": 12, "rotary_emb_base": 10000,
        "rotary_pct": 0.25, "tie_word_embeddings": false, "use_parallel_residual": true,
        "vocab_size": 50304
    });
    let spec = of(config.clone());
    let [block] = &spec.stacks[0].layers[0].blocks[..] else { panic!() };
    assert!(block.pre.is_none() && block.mixers.iter().all(|mixer| mixer.pre.is_some()));
    assert_eq!(rotated(&spec, 0), Some(16));
    let MixerKind::Mlp(mlp) = &block.mixers[1].kind else { panic!() };
    assert_eq!((mlp.activation, mlp.gated, mlp.bias), (Activation::Gelu, false, true));
    let mut serial = config;
    serial["use_parallel_residual"] = json!(false);
    assert_eq!(of(serial).stacks[0].layers[0].blocks.len(), 2);
}

#[test]
fn gemma_2_2b() {
    let config = json!({
        "architectures": ["Gemma2ForCausalLM"], "attn_logit_softcapping": 50.0,
        "final_logit_softcapping": 30.0, "head_dim": 256, "hidden_size": 2304,
        "intermediate_size": 9216, "num_attention_heads": 8, "num_hidden_layers": 26,
        "num_key_value_heads": 4, "query_pre_attn_scalar": 256, "sliding_window": 4096,
        "max_position_embeddings": 8192, "vocab_size": 256000
    });
    let spec = of(config.clone());
    let windows: Vec<_> = (0..3).map(|i| attention(&spec, i).sliding_window).collect();
    assert_eq!(windows, [Some(4096), None, Some(4096)]);
    assert_eq!((attention(&spec, 0).soft_cap, attention(&spec, 0).scale), (Some(50.0), 1.0 / 16.0));
    assert_eq!(logits(&spec), (true, false, 1.0, Some(30.0)));
    let mut changed = config.clone();
    changed["attn_logit_softcapping"] = json!(null);
    assert_eq!(attention(&of(changed.clone()), 0).soft_cap, None);
    changed.as_object_mut().unwrap().remove("attn_logit_softcapping");
    assert_eq!(attention(&of(changed), 0).soft_cap, Some(50.0));
}

#[test]
fn granite_3_1_2b_has_factors() {
    let spec = of(json!({
        "architectures": ["GraniteForCausalLM"], "attention_multiplier": 0.015625,
        "embedding_multiplier": 12.0, "hidden_size": 2048, "intermediate_size": 8192,
        "logits_scaling": 8.0, "max_position_embeddings": 131072, "num_attention_heads": 32,
        "num_hidden_layers": 40, "num_key_value_heads": 8, "residual_multiplier": 0.22,
        "rms_norm_eps": 1e-5, "rope_theta": 5000000.0, "tie_word_embeddings": true,
        "vocab_size": 49155
    }));
    let gains = spec.stacks[0].layers[0].blocks.iter().map(|block| block.gain);
    assert!(gains.eq([Gain::Scalar { factor: 0.22 }; 2]));
    assert_eq!(attention(&spec, 0).scale, 1.0 / 64.0);
    assert_eq!(logits(&spec), (true, false, 0.125, None));
}

#[test]
fn smollm3_does_not_rotate_every_fourth_layer() {
    let config = json!({
        "architectures": ["SmolLM3ForCausalLM"], "hidden_size": 2048, "intermediate_size": 11008,
        "num_attention_heads": 16, "num_hidden_layers": 36, "num_key_value_heads": 4,
        "rope_theta": 5000000.0, "use_sliding_window": false, "vocab_size": 128256
    });
    let spec = of(config.clone());
    let rotates: Vec<_> = (0..5).map(|i| rotated(&spec, i).is_some()).collect();
    assert_eq!(rotates, [true, true, true, false, true]);
    let mut other = config;
    other["no_rope_layers"] = json!([1, 0]);
    assert!(folder(other).unwrap_err().to_string().contains("no_rope_layers"));
}

#[test]
fn qwen_1_5_moe_and_qwen_3_30b() {
    let config = json!({
        "architectures": ["Qwen2MoeForCausalLM"], "decoder_sparse_step": 1, "hidden_size": 2048,
        "intermediate_size": 5632, "moe_intermediate_size": 1408, "norm_topk_prob": false,
        "num_attention_heads": 16, "num_experts": 60, "num_experts_per_tok": 4,
        "num_hidden_layers": 24, "num_key_value_heads": 16,
        "shared_expert_intermediate_size": 5632, "use_sliding_window": false, "vocab_size": 151936
    });
    let spec = of(config.clone());
    let [_, experts, shared] = &mixers(&spec, 0)[..] else { panic!() };
    let (MixerKind::Experts(experts), MixerKind::Mlp(shared)) = (&experts.kind, &shared.kind)
    else {
        panic!()
    };
    assert_eq!((experts.n_experts, experts.n_used, experts.renormalize), (60, 4, false));
    assert_eq!((shared.intermediate_size, shared.output_gate), (5632, true));
    let mut mixed = config;
    (mixed["decoder_sparse_step"], mixed["mlp_only_layers"]) = (json!(2), json!([1]));
    let mixed = of(mixed);
    let sparse = |layer| mixers(&mixed, layer).iter().any(|mixer| mixer.kind.is_experts());
    assert_eq!([0, 1, 2, 3].map(sparse), [false, false, false, true]);

    let spec = of(json!({
        "architectures": ["Qwen3MoeForCausalLM"], "head_dim": 128, "hidden_size": 2048,
        "intermediate_size": 6144, "moe_intermediate_size": 768, "norm_topk_prob": true,
        "num_attention_heads": 32, "num_experts": 128, "num_experts_per_tok": 8,
        "num_hidden_layers": 48, "num_key_value_heads": 4, "vocab_size": 151936
    }));
    let [_, experts] = &mixers(&spec, 0)[..] else { panic!() };
    let MixerKind::Experts(experts) = &experts.kind else { panic!() };
    assert_eq!((experts.intermediate_size, experts.renormalize), (768, true));
}

#[test]
fn options_without_a_block_are_named() {
    let small = |architecture: &str, key: &str| {
        let mut config = json!({
            "architectures": [architecture], "hidden_size": 64, "intermediate_size": 8,
            "num_attention_heads": 4, "num_hidden_layers": 1, "num_key_value_heads": 4,
            "vocab_size": 9
        });
        config[key] = json!(true);
        folder(config).unwrap_err().to_string()
    };
    for (architecture, key) in [
        ("StableLmForCausalLM", "qk_layernorm"),
        ("CohereForCausalLM", "use_qk_norm"),
        ("Gemma2ForCausalLM", "use_bidirectional_attention"),
        ("OlmoeForCausalLM", "clip_qkv"),
    ] {
        let error = small(architecture, key);
        assert!(error.contains(key), "{error}");
    }
}
