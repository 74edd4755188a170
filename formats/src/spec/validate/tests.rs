//! Every check fails on a spec that is wrong in one place.

use super::*;
use crate::kinglet::sample;

fn attention(spec: &mut ModelSpec) -> &mut Attention {
    match &mut spec.stacks[0].layers[0].blocks[0].mixers[0].kind {
        MixerKind::Attention(attention) => attention,
        _ => unreachable!("the sample attends first"),
    }
}

fn mlp(layer: &mut Layer) -> &mut Mlp {
    match &mut layer.blocks[1].mixers[0].kind {
        MixerKind::Mlp(mlp) => mlp,
        _ => unreachable!("the sample's second block is an MLP"),
    }
}

fn tokens(spec: &mut ModelSpec) -> &mut TokenInput {
    match &mut spec.stacks[0].input {
        Input::Tokens(tokens) => tokens,
        _ => unreachable!("the sample reads tokens"),
    }
}

fn patches(image_size: usize) -> Input {
    Input::Patches(PatchInput {
        image_size,
        patch_size: 14,
        channels: 3,
        bias: true,
        n_leading: 1,
        norm: None,
    })
}

fn rope(spec: &mut ModelSpec) -> &mut Rope {
    match &mut attention(spec).position {
        Position::Rope(rope) => rope,
        _ => unreachable!("the sample rotates"),
    }
}

fn problem(change: impl FnOnce(&mut ModelSpec)) -> String {
    let mut spec = sample::meta().spec;
    spec.validate().unwrap();
    change(&mut spec);
    spec.validate().unwrap_err().to_string()
}

#[track_caller]
fn check(expected: &str, change: impl FnOnce(&mut ModelSpec)) {
    let problem = problem(change);
    assert!(problem.ends_with(expected), "{problem}\nexpected {expected}");
}

#[test]
fn the_network() {
    check("spec: the number of stacks is 0, possible are 1 to 8", |s| s.stacks.clear());
    check("spec: context_length is 0, possible are 1 to 268435456", |s| s.context_length = 0);
    check("spec: there is no head", |s| s.heads.clear());
    check("stacks.1: two stacks are called \"decoder\"", |s| s.stacks.push(s.stacks[0].clone()));
    check("there is no earlier stack \"encoder\" to attend to", |s| {
        attention(s).memory = Some("encoder".to_owned());
    });
    check("heads.0: there is no stack Some(\"image\")", |s| {
        s.heads[0].stack = Some("image".to_owned());
    });
    check("heads.0: a dense layer is 0, possible are 1 to 16777216", |s| {
        s.heads[0].chain.push(Dense { size: 0, bias: false, activation: None, norm: None });
    });
    check("heads.0: the embeddings have 9 columns, the head has 4", |s| {
        s.heads[0].chain.push(Dense { size: 4, bias: false, activation: None, norm: None });
    });
    check("heads.0: logits need a stack with a vocabulary", |s| s.stacks[0].input = patches(28));
    check("heads.1: there is a second head of logits", |s| s.heads.push(s.heads[0].clone()));
    check("heads.0: soft_cap is 0, a number above zero is needed", |s| {
        s.heads[0].output = Output::Logits {
            tied: true,
            bias: false,
            scale: 1.0,
            soft_cap: Some(0.0),
            shortlist: None,
        };
    });
}

#[test]
fn heads_of_tasks() {
    let head = |pool, sizes: &[usize], output| Head {
        stack: None,
        pool,
        chain: sizes.iter().map(|&size| Dense::plain(size)).collect(),
        output,
    };
    let labels = || Output::Labels { scores: Scores::Softmax };
    check("heads.1: there is no dense layer that gives labels", |s| {
        s.heads.push(head(None, &[], labels()));
    });
    check("heads.1: a span has 2 logits, the chain gives 3", |s| {
        s.heads.push(head(None, &[3], Output::Span));
    });
    check("heads.1: spans are not pooled", |s| {
        s.heads.push(head(Some(Pooling::Cls), &[2], Output::Span));
    });
    check("heads.2: there is a second head of its kind", |s| {
        s.heads.push(head(None, &[5], labels()));
        s.heads.push(head(Some(Pooling::Cls), &[8, 4], labels()));
    });
    let mut spec = sample::meta().spec;
    spec.heads.push(head(None, &[5], labels()));
    spec.heads.push(head(None, &[9, 2], Output::Span));
    spec.validate().unwrap();
    // A classifier is small and sensitive; what comes before it is not.
    let usage = |name: &str| spec.tensors().into_iter().find(|t| t.name == name).unwrap().usage;
    assert_eq!(usage("heads.1.dense.0.weight"), TensorUse::Router);
    assert_eq!(usage("heads.2.dense.0.weight"), TensorUse::Matrix);
    assert_eq!(usage("heads.2.dense.1.weight"), TensorUse::Router);
}

#[test]
fn poolings_and_similarities_of_images() {
    let head = |pool, output| Head { stack: None, pool: Some(pool), chain: Vec::new(), output };
    let vector = |similarity| Output::Vector { normalize: true, similarity };
    let query = |n_heads| {
        let norm = Norm { kind: NormKind::Layer, eps: 1e-6, bias: true };
        let activation = Activation::Gelu;
        Pooling::Attention(AttentionPool { n_heads, norm, intermediate_size: 20, activation })
    };
    // The sample's width is 9, an image of 28 has 5 rows.
    let with = |pool: Pooling, similarity: Option<Similarity>| {
        move |s: &mut ModelSpec| {
            s.stacks[0].input = patches(28);
            s.heads = vec![head(pool, vector(similarity))];
        }
    };
    check("its pooling is one of images, and its stack reads none", |s| {
        s.heads = vec![head(Pooling::ClsAndPatches, vector(None))];
    });
    check("leading rows is 2, possible are 1 to 1", with(Pooling::Leading { rows: 2 }, None));
    check("heads of the pooling is 6, possible are 1 to 5", with(query(6), None));
    check("2 heads of 9", with(query(2), None));
    let similarity = Similarity { scale: 0.0, bias: 0.0, scores: Scores::Softmax };
    check("the scale of similarities is 0, a number above zero is needed", {
        with(Pooling::Cls, Some(similarity))
    });
    let similarity = Similarity { scale: 1.0, bias: f32::NAN, scores: Scores::Softmax };
    check("the bias of similarities is NaN", with(Pooling::Cls, Some(similarity)));
    let similarity = Similarity { scale: 1.0, bias: 0.0, scores: Scores::Raw };
    check("similarities have no scores", with(Pooling::Cls, Some(similarity)));

    let mut spec = sample::meta().spec;
    with(query(3), None)(&mut spec);
    spec.validate().unwrap();
    let dims = |name: &str| spec.tensors().into_iter().find(|t| t.name == name).unwrap().dims;
    assert_eq!(dims("heads.0.pool_scores.weight"), [3, 9]);
    assert_eq!(dims("heads.0.pool_down_proj.weight"), [9, 20]);
    with(Pooling::ClsAndPatches, None)(&mut spec);
    spec.heads[0].chain = vec![Dense::plain(4)];
    spec.validate().unwrap();
    let dims = |name: &str| spec.tensors().into_iter().find(|t| t.name == name).unwrap().dims;
    assert_eq!(dims("heads.0.dense.0.weight"), [4, 18]);
}

#[test]
fn stacks_and_inputs() {
    check("\"../x\" is not 1 to 32 of a-z, 0-9, _", |s| s.stacks[0].name = "../x".to_owned());
    check("decoder: the number of layers is 0, possible are 1 to 4096", |s| {
        s.stacks[0].layers.clear();
    });
    check("decoder.input: vocab_size is 0, possible are 1 to 16777216", |s| {
        tokens(s).vocab_size = 0;
    });
    check("decoder.input: offset 2 of 2 positions", |s| {
        tokens(s).positions = AbsolutePositions::Learned { max_positions: 2, offset: 2 };
    });
    check("decoder.input: patch_size 14 does not divide 30", |s| {
        s.stacks[0].input = patches(30);
    });
    check("decoder.input: no earlier stack \"encoder\" has a table of that size", |s| {
        tokens(s).table_of = Some("encoder".to_owned());
    });
    for own in [0, 1, usize::MAX] {
        let problem = problem(|s| s.stacks[0].layers[0].weights_of = Some(own));
        assert!(problem.contains("not an earlier layer"), "{problem}");
    }
    check("decoder.final_norm: eps is NaN, a number from zero on is needed", |s| {
        s.stacks[0].final_norm.as_mut().unwrap().eps = f32::NAN;
    });
}

#[test]
fn layers_that_share_weights() {
    let mut spec = sample::meta().spec;
    let mut user = spec.stacks[0].layers[0].clone();
    user.weights_of = Some(0);
    spec.stacks[0].layers.push(user.clone());
    spec.validate().unwrap();
    // Not through a third layer, and not with another size.
    spec.stacks[0].layers.push(Layer { weights_of: Some(1), ..user.clone() });
    assert!(spec.validate().is_err());
    spec.stacks[0].layers[2].weights_of = Some(0);
    spec.validate().unwrap();
    mlp(&mut spec.stacks[0].layers[2]).intermediate_size += 1;
    assert!(spec.validate().is_err());
}

#[test]
fn attention_and_positions() {
    check("attn: n_heads is 0, possible are 1 to 65536", |s| attention(s).n_heads = 0);
    check("3 key/value heads do not divide 8 heads", |s| {
        (attention(s).n_heads, attention(s).n_kv_heads) = (8, 3);
    });
    check("n_kv_heads is 4, possible are 1 to 2", |s| attention(s).n_kv_heads = 4);
    check("head_dim is 0, possible are 1 to 65536", |s| attention(s).head_dim = 0);
    check("n_heads * head_dim is 33554432, possible are 1 to 16777216", |s| {
        (attention(s).n_heads, attention(s).head_dim) = (1 << 16, 1 << 9);
    });
    check("scale is inf, a number above zero is needed", |s| {
        attention(s).scale = f32::INFINITY;
    });
    check("decoder.layers.0.attn: sliding_window is 0", |s| {
        attention(s).sliding_window = Some(0);
    });
    check("dims is 6, possible are 1 to 4", |s| rope(s).dims = 6);
    check("dims is 3, an even number is needed", |s| rope(s).dims = 3);
    check("theta is 0, a number above zero is needed", |s| rope(s).theta = 0.0);
    check("attn.position: 2 factors expected, 3 found", |s| {
        rope(s).scaling =
            RopeScaling::PerFrequency { factors: vec![1.0; 3], attention_factor: 1.0 };
    });
    check("a factor is 0, a number above zero is needed", |s| {
        rope(s).scaling =
            RopeScaling::PerFrequency { factors: vec![1.0, 0.0], attention_factor: 1.0 };
    });
    check("high_freq_factor - low_freq_factor is 0, a number above zero is needed", |s| {
        rope(s).scaling = RopeScaling::Llama3 {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 1.0,
            original_context_length: 8192,
        };
    });
    check("two mixers of a kind have the same tensors", |s| {
        let block = s.stacks[0].layers[0].blocks[0].clone();
        s.stacks[0].layers[0].blocks.push(block);
    });
    check("attn: the block and a mixer both norm their input", |s| {
        let block = &mut s.stacks[0].layers[0].blocks[0];
        block.mixers[0].pre = block.pre;
    });
    check("attn: 7 buckets up to a distance of 20", |s| {
        attention(s).position = Position::RelativeBuckets {
            n_buckets: 7,
            max_distance: 20,
            two_way: false,
            by_layer: false,
        };
    });
    for (n_buckets, max_distance) in [(6, 20), (8, 5), (8, 3)] {
        let problem = format!("attn: {n_buckets} buckets up to a distance of {max_distance}");
        check(&problem, |s| {
            attention(s).position = Position::Disentangled { n_buckets, max_distance };
        });
    }
    check("attention in both directions, a key head a query head", |s| {
        attention(s).position = Position::Disentangled { n_buckets: 8, max_distance: 20 };
    });
    check("attn: 2 slopes expected, 1 found", |s| {
        attention(s).position = Position::LinearBias { slopes: vec![0.5] };
    });
    check("a slope is NaN, a number above zero is needed", |s| {
        attention(s).position = Position::LinearBias { slopes: vec![0.5, f32::NAN] };
    });
    check("mlp: intermediate_size is 0, possible are 1 to 16777216", |s| {
        mlp(&mut s.stacks[0].layers[0]).intermediate_size = 0;
    });
}

#[test]
fn an_mlp_may_stand_beside_experts() {
    let experts = |spec: &mut ModelSpec| {
        let inner = 16;
        let experts = Experts {
            n_experts: 4,
            n_used: 2,
            intermediate_size: inner,
            activation: Activation::Silu,
            renormalize: true,
        };
        let pre = spec.stacks[0].layers[0].blocks[1].mixers[0].pre;
        Mixer { pre, kind: MixerKind::Experts(experts) }
    };
    let mut spec = sample::meta().spec;
    let beside = experts(&mut spec);
    spec.stacks[0].layers[0].blocks[1].mixers.insert(0, beside.clone());
    spec.validate().unwrap();
    let names: Vec<String> = spec.tensors().into_iter().map(|tensor| tensor.name).collect();
    let mut once = names.clone();
    once.sort();
    once.dedup();
    assert_eq!(once.len(), names.len());
    // In a block of its own, its norm would be called as the other's.
    check("two mixers of a kind have the same tensors", |s| {
        let block = Block { mixers: vec![experts(s)], ..s.stacks[0].layers[0].blocks[1].clone() };
        s.stacks[0].layers[0].blocks.push(block);
    });
    check("mlp: an MLP with a gate on its output has biases", |s| {
        let mlp = mlp(&mut s.stacks[0].layers[0]);
        (mlp.bias, mlp.output_gate) = (true, true);
    });
}

#[test]
fn both_lists_of_divisors_are_checked() {
    let lists = |short: usize, long: Vec<f32>| RopeScaling::LongRope {
        short: vec![1.0; short],
        long,
        original_context_length: 8,
        attention_factor: 1.0,
    };
    check("attn.position: 2 factors expected, 1 found", |s| {
        rope(s).scaling = lists(1, vec![1.0, 1.0]);
    });
    check("a factor is NaN, a number above zero is needed", |s| {
        rope(s).scaling = lists(2, vec![1.0, f32::NAN]);
    });
}

#[test]
fn sizes_that_multiply_to_more_than_memory() {
    // 2^24 x 2^24 x 4 bytes can be addressed on 64 bits, and not on 32.
    let mut spec = sample::meta().spec;
    spec.stacks[0].hidden_size = MAX_SIZE;
    tokens(&mut spec).vocab_size = MAX_SIZE;
    assert_eq!(spec.validate().is_ok(), usize::BITS == 64);
}

fn spectrogram(width: usize, step: usize) -> Input {
    Input::Spectrogram(SpectrogramInput {
        n_mels: 80,
        convolutions: vec![Convolution { width, step }, Convolution { width: 3, step: 2 }],
        activation: Activation::Gelu,
        max_positions: 1500,
    })
}

#[test]
fn spectrograms() {
    let with = |input: Input| {
        move |s: &mut ModelSpec| {
            s.stacks[0].input = input;
            s.heads = vec![Head::embedding(Pooling::Mean, false)];
        }
    };
    let mut spec = sample::meta().spec;
    with(spectrogram(3, 1))(&mut spec);
    spec.validate().unwrap();
    let tensors = spec.tensors();
    let dims = |name: &str| &tensors.iter().find(|tensor| tensor.name == name).unwrap().dims;
    assert_eq!(*dims("decoder.conv.0.weight"), [9, 240]);
    assert_eq!(*dims("decoder.conv.1.weight"), [9, 27]);
    assert_eq!(*dims("decoder.embed_positions.weight"), [1500, 9]);
    check("decoder.input: width is 4, an odd number is needed", with(spectrogram(4, 1)));
    check("decoder.input: step is 4, possible are 1 to 3", with(spectrogram(3, 4)));
    check("decoder.input: step is 0, possible are 1 to 3", with(spectrogram(3, 0)));
    let Input::Spectrogram(sound) = spectrogram(3, 1) else { unreachable!("it is one") };
    let without =
        Input::Spectrogram(SpectrogramInput { convolutions: Vec::new(), ..sound.clone() });
    check("the number of convolutions is 0, possible are 1 to 8", with(without));
    let long = SpectrogramInput { max_positions: MAX_SIZE, ..sound };
    assert_eq!(problem(with(Input::Spectrogram(long))).split(':').count(), 3);
}

fn samples(width: usize, channels: usize) -> SampleInput {
    let convolution = |width, step, channels, bias| SampleConvolution {
        width,
        step,
        channels,
        bias,
        activation: Activation::Gelu,
    };
    SampleInput {
        sample_rate: 16_000,
        max_samples: 480_000,
        convolutions: vec![convolution(width, 64, 4, false), convolution(7, 3, channels, true)],
        norm: Norm { kind: NormKind::Layer, eps: 1e-5, bias: true },
    }
}

#[test]
fn samples_of_sound() {
    let with = |input: SampleInput| {
        move |s: &mut ModelSpec| {
            s.stacks[0].input = Input::Samples(input);
            s.heads = vec![Head::embedding(Pooling::Mean, false)];
        }
    };
    let mut spec = sample::meta().spec;
    with(samples(127, 9))(&mut spec);
    spec.validate().unwrap();
    let tensors = spec.tensors();
    let dims = |name: &str| tensors.iter().find(|tensor| tensor.name == name).map(|t| &t.dims[..]);
    assert_eq!(dims("decoder.conv.0.weight"), Some(&[4, 127][..]));
    assert_eq!(dims("decoder.conv.0.bias"), None);
    assert_eq!(dims("decoder.conv_norm.bias"), Some(&[4][..]));
    assert_eq!(dims("decoder.conv.1.weight"), Some(&[9, 28][..]));
    assert_eq!(dims("decoder.conv.1.bias"), Some(&[9][..]));
    // Seven places of 64 samples, of which the last one sees 127.
    let sound = samples(127, 9);
    assert_eq!(sound.least_samples(), 6 * 64 + 127);
    assert_eq!([510, 511, 511 + 191, 511 + 192].map(|n| sound.n_rows(n)), [0, 1, 1, 2]);
    check("8 channels enter a stack of 9", with(samples(127, 8)));
    check("decoder.input: step is 64, possible are 1 to 63", with(samples(63, 9)));
    check(
        "decoder.input: the number of places is 0, possible are 1 to 16777216",
        with(SampleInput { max_samples: 9, ..sound }),
    );
}
