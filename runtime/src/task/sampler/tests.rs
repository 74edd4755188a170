use super::*;

fn sampler(options: SamplerOptions) -> Sampler {
    Sampler::new(options, 100).unwrap()
}

fn open() -> SamplerOptions {
    SamplerOptions { top_k: 0, top_p: 1.0, min_p: 0.0, temperature: 1.0, ..Default::default() }
}

fn counts(options: SamplerOptions, logits: &[f32]) -> Vec<usize> {
    let mut sampler = sampler(options);
    let mut counts = vec![0; logits.len()];
    for _ in 0..10_000 {
        counts[sampler.sample(&mut logits.to_vec(), &[]) as usize] += 1;
    }
    counts
}

#[test]
fn draws_follow_the_softmax() {
    let logits: Vec<f32> = [0.1f32, 0.2, 0.3, 0.4].iter().map(|p| p.ln()).collect();
    for (count, p) in counts(open(), &logits).into_iter().zip([0.1, 0.2, 0.3, 0.4]) {
        // Four standard deviations of a binomial are below 200.
        assert!((count as f64 - 10_000.0 * p).abs() < 200.0, "{count} for {p}");
    }
}

#[test]
fn filters_keep_what_they_should() {
    let logits: Vec<f32> = [0.1f32, 0.2, 0.3, 0.4].iter().map(|p| p.ln()).collect();
    let kept = |options| -> Vec<bool> { counts(options, &logits).iter().map(|&c| c > 0).collect() };
    assert_eq!(kept(SamplerOptions { top_k: 2, ..open() }), [false, false, true, true]);
    assert_eq!(kept(SamplerOptions { top_p: 0.65, ..open() }), [false, false, true, true]);
    assert_eq!(kept(SamplerOptions { top_p: 0.75, ..open() }), [false, true, true, true]);
    assert_eq!(kept(SamplerOptions { min_p: 0.6, ..open() }), [false, false, true, true]);
    assert_eq!(kept(SamplerOptions { temperature: 0.0, ..open() }), [false, false, false, true]);
}

#[test]
fn top_k_finds_the_best_of_many() {
    let logits: Vec<f32> = (0..5000).map(|i| ((i * 7919) % 5000) as f32).collect();
    let mut s = Sampler::new(SamplerOptions { top_k: 3, ..open() }, 5000).unwrap();
    s.sample(&mut logits.clone(), &[]);
    let mut sorted = logits.clone();
    sorted.sort_by(|a, b| b.total_cmp(a));
    for _ in 0..100 {
        let token = s.sample(&mut logits.clone(), &[]);
        assert!(sorted[..3].contains(&logits[token as usize]));
    }
}

#[test]
fn repeated_tokens_are_penalized_once() {
    let options = SamplerOptions { repeat_penalty: 2.0, temperature: 0.0, ..Default::default() };
    let mut logits = vec![1.5, 2.0, -1.0];
    // 2 becomes 1, once, and the model's logits are left as they were.
    assert_eq!(sampler(options).sample(&mut logits, &[1, 1, 2]), 0);
    assert_eq!(logits, [1.5, 2.0, -1.0]);
    let options = SamplerOptions { repeat_penalty: 1.3, temperature: 0.0, ..Default::default() };
    assert_eq!(sampler(options).sample(&mut logits, &[1, 1, 2]), 1);
}

#[test]
fn biases_and_penalties_of_presence_and_frequency() {
    let greedy = SamplerOptions { temperature: 0.0, ..Default::default() };
    let mut logits = vec![1.0, 2.0, 3.0];
    let mut first = |options| sampler(options).sample(&mut logits, &[2, 2, 1]);
    let presence_penalty = 1.5;
    assert_eq!(first(SamplerOptions { presence_penalty, ..greedy.clone() }), 2);
    // 3 - 2 * 1.5, 2 - 1.5: the first token is left.
    let frequency_penalty = 1.5;
    assert_eq!(first(SamplerOptions { frequency_penalty, ..greedy.clone() }), 0);
    let logit_bias = vec![(2, f32::NEG_INFINITY), (0, 5.0), (0, -4.5), (7, 100.0)];
    assert_eq!(first(SamplerOptions { logit_bias, ..greedy }), 1);
    assert_eq!(logits, [1.0, 2.0, 3.0]);
}

#[test]
fn argmax_finds_the_first_of_the_largest() {
    for n in [1, 15, 16, 17, 100] {
        for best in 0..n {
            let mut values: Vec<f32> = (0..n).map(|i| -((i * 31 % 7) as f32)).collect();
            values[best] = 5.0;
            values[n - 1] = if best < n - 1 { 5.0 } else { values[n - 1] };
            assert_eq!(argmax(&values), best as u32);
        }
    }
    assert_eq!(argmax(&[f32::NAN, 1.0, f32::NAN]), 1);
    assert_eq!(argmax(&[f32::NAN]), 0);
}

#[test]
fn same_seed_same_tokens() {
    let logits: Vec<f32> = (0..100).map(|i| (i % 10) as f32 / 3.0).collect();
    let draw = |seed| -> Vec<u32> {
        let mut s = sampler(SamplerOptions { seed, ..open() });
        (0..50).map(|_| s.sample(&mut logits.clone(), &[])).collect()
    };
    assert_eq!(draw(7), draw(7));
    assert_ne!(draw(7), draw(8));
}

#[test]
fn odd_options_are_refused_by_name() {
    for (options, name) in [
        (SamplerOptions { temperature: -1.0, ..open() }, "temperature"),
        (SamplerOptions { temperature: f32::NAN, ..open() }, "temperature"),
        (SamplerOptions { top_p: 1.5, ..open() }, "top_p"),
        (SamplerOptions { repeat_penalty: 0.0, ..open() }, "repeat_penalty"),
    ] {
        let error = Sampler::new(options, 10).unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
    }
}
