//! Models that read samples of sound.

use kinglet_formats::spec::Stack;

use super::*;

/// Moonshine tiny, with the older spelling of rotations.
fn moonshine() -> Value {
    json!({
        "architectures": ["MoonshineForConditionalGeneration"], "model_type": "moonshine",
        "vocab_size": 32768, "hidden_size": 288, "intermediate_size": 1152,
        "encoder_num_hidden_layers": 6, "decoder_num_hidden_layers": 6,
        "encoder_num_attention_heads": 8, "decoder_num_attention_heads": 8,
        "encoder_num_key_value_heads": 8, "decoder_num_key_value_heads": 8,
        "encoder_hidden_act": "gelu", "decoder_hidden_act": "silu", "attention_bias": false,
        "max_position_embeddings": 194, "partial_rotary_factor": 0.9, "rope_theta": 10000.0,
        "rope_scaling": null, "decoder_start_token_id": 1, "eos_token_id": 2
    })
}

#[test]
fn moonshine_tiny() {
    let spec = folder(moonshine()).unwrap();
    let [encoder, decoder] = &spec.stacks[..] else { panic!("two stacks are expected") };
    let Input::Samples(samples) = &encoder.input else { panic!("samples are expected") };
    assert_eq!((samples.least_samples(), samples.n_rows(480_000)), (895, 1248));
    let channels: Vec<usize> = samples.convolutions.iter().map(|c| c.channels).collect();
    assert_eq!(channels, [288, 576, 288]);
    assert_eq!(spec.context_length, 194);
    assert!(decoder.is_causal() && !encoder.is_causal());
    for attention in encoder.attentions().chain(decoder.attentions()) {
        assert_eq!(heads(attention), (8, 8, 36));
        // 32.4 of 36.
        let rotated = attention.memory.is_none();
        assert_eq!(rotated, matches!(&attention.position, Position::Rope(r) if r.dims == 32));
    }
    let gated = |stack: &Stack| match &stack.layers[0].blocks.last().unwrap().mixers[0].kind {
        MixerKind::Mlp(mlp) => (mlp.gated, mlp.activation),
        other => panic!("{other:?}"),
    };
    assert_eq!(gated(encoder), (false, Activation::Gelu));
    assert_eq!(gated(decoder), (true, Activation::Silu));
    assert!(tied(&spec));
}

#[test]
fn moonshine_has_one_number_of_heads() {
    for key in [
        "encoder_num_attention_heads",
        "encoder_num_key_value_heads",
        "decoder_num_key_value_heads",
    ] {
        let mut config = moonshine();
        config[key] = json!(4);
        let error = folder(config).unwrap_err().to_string();
        assert!(error.contains(key) && error.contains('8'), "{error}");
    }
}
