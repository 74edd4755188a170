use half::f16;
use proptest::prelude::*;

use super::*;
use crate::kernels::{FloatRows, TileMut, by_name};
use crate::team::Team;

/// Deterministic values in [-1, 1].
fn values(seed: u64, n: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 40) as f32) / (1 << 23) as f32 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

/// Keys and values `[slot][head][head_dim]` of one layer among others, stored in a cache.
fn filled(kind: KvType, shape: KvShape, slots: Range<usize>) -> (KvSequence, Vec<f32>, Vec<f32>) {
    let other = KvShape { n_kv_heads: 1, head_dim: 24 };
    let mut cache = KvSequence::new(KvLayout::new(kind, [other, shape, other]));
    let width = shape.n_kv_heads * shape.head_dim;
    let (keys, values) = (values(1, slots.end * width), values(2, slots.end * width));
    let kernels = by_name("scalar").unwrap();
    cache.reserve(kernels, slots.start, slots.end).unwrap();
    let write = |crew: &Crew<'_>| {
        for number in slots.start / SPAN..slots.end.div_ceil(SPAN) {
            let span = number * SPAN..(number + 1) * SPAN;
            cache.write_heads(crew, 1, number, false, |writer| {
                for slot in slots.start.max(span.start)..slots.end.min(span.end) {
                    let at = slot * width + writer.head * shape.head_dim;
                    let row = at..at + shape.head_dim;
                    writer.store(kernels, slot, &keys[row.clone()], &values[row]);
                }
            });
        }
    };
    Team::new(2, false).unwrap().enter(write).unwrap();
    (cache, keys, values)
}

/// Key and value `[head_dim]` of one position, read through the panels by their definition.
fn read(head: &Head<'_>, head_dim: usize, at: usize) -> (Vec<f32>, Vec<f32>) {
    match head {
        Head::F16(head) => {
            let (keys, values) = (head.keys(0, SPAN), head.values(0, SPAN));
            let key = |k: usize| keys.data[at / 8 * keys.panel_stride + k * 8 + at % 8].to_f32();
            let value =
                |d: usize| values.data[d / 8 * values.panel_stride + at * 8 + d % 8].to_f32();
            ((0..head_dim).map(key).collect(), (0..head_dim).map(value).collect())
        }
        Head::I8(head) => {
            let (keys, values) = (head.keys(0, SPAN), head.values());
            let key = |k: usize| {
                let q = keys.data[((at / 8 * keys.padded_k / 8 + k / 8) * 8 + at % 8) * 8 + k % 8];
                let group = at / 8 * (keys.padded_k / keys.group) + k / keys.group;
                f32::from(q) * keys.scales[group * 8 + at % 8].to_f32()
            };
            let value = |d: usize| {
                let q = values.data[((d / 8 * SPAN / 8 + at / 8) * 8 + d % 8) * 8 + at % 8];
                f32::from(q) * head.value_scales(at, 1)[0]
            };
            ((0..head_dim).map(key).collect(), (0..head_dim).map(value).collect())
        }
    }
}

fn largest(x: &[f32]) -> f32 {
    x.iter().fold(0.0, |max, x| x.abs().max(max))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// What is stored is what the panels hold, to the precision of the type; nothing else is
    /// touched.
    #[test]
    fn stored_positions_are_read_back(
        head_dim in 1usize..=300,
        n_kv_heads in 1usize..4,
        first in 0usize..200,
        n in 1usize..200,
        int8: bool,
    ) {
        let kind = if int8 { KvType::Int8 } else { KvType::F16 };
        let shape = KvShape { n_kv_heads, head_dim };
        let slots = first..first + n;
        let (cache, keys, values) = filled(kind, shape, slots.clone());
        for slot in 0..slots.end.next_multiple_of(SPAN) {
            for head in 0..n_kv_heads {
                let (key, value) = read(&cache.head(1, head, slot / SPAN), head_dim, slot % SPAN);
                if !slots.contains(&slot) {
                    prop_assert!(largest(&key) == 0.0 && largest(&value) == 0.0);
                    continue;
                }
                let at = (slot * n_kv_heads + head) * head_dim;
                let (key_exact, value_exact) = (&keys[at..][..head_dim], &values[at..][..head_dim]);
                match kind {
                    KvType::F16 => {
                        let rounded = |x: &f32| f16::from_f32(*x).to_f32();
                        prop_assert!(key.iter().copied().eq(key_exact.iter().map(rounded)));
                        prop_assert!(value.iter().copied().eq(value_exact.iter().map(rounded)));
                    }
                    // Half a step of 127, and the rounding of a key's scale to 11 bits, or to 2^-24
                    // where a group (it may have one value) is so small.
                    KvType::Int8 => {
                        let subnormal = 127.0 / (1u32 << 25) as f32;
                        let group = key_group(head_dim);
                        for (x, exact) in key.chunks(group).zip(key_exact.chunks(group)) {
                            let bound =
                                largest(exact) * (0.5 / 127.0 + 1.0 / 2048.0) * 1.001 + subnormal;
                            prop_assert!(x.iter().zip(exact).all(|(a, b)| (a - b).abs() <= bound));
                        }
                        let bound = largest(value_exact) * (0.5 / 127.0) * 1.001;
                        prop_assert!(value.iter().zip(value_exact).all(|(a, b)| (a - b).abs() <= bound));
                    }
                }
            }
        }
        for layer in [0, 2] {
            let (key, value) = read(&cache.head(layer, 0, first / SPAN), 24, first % SPAN);
            prop_assert!(largest(&key) == 0.0 && largest(&value) == 0.0);
        }
    }
}

#[test]
fn panels_are_what_the_kernels_take() {
    for (kind, head_dim) in [(KvType::F16, 20), (KvType::Int8, 20), (KvType::Int8, 128)] {
        let (cache, keys, _) = filled(kind, KvShape { n_kv_heads: 2, head_dim }, 0..150);
        let kernels = by_name("scalar").unwrap();
        let q = values(3, head_dim);
        let mut scores = [0.0; 22];
        let mut tile = TileMut::new(&mut scores, 22);
        // Positions 128 .. 150 of head 1.
        match cache.head(1, 1, 1) {
            Head::F16(head) => {
                let q = FloatRows { m: 1, k: head_dim, stride: head_dim, x: &q };
                (kernels.gemm_f16)(&head.keys(0, 22), 0, &q, &mut tile);
            }
            Head::I8(head) => {
                let panels = head.keys(0, 22);
                let mut quantized = vec![0; panels.padded_k];
                let mut scales = vec![0.0; panels.padded_k / panels.group];
                (kernels.quantize_row)(&q, panels.group, &mut quantized, &mut scales);
                let q = crate::kernels::QuantizedRows {
                    m: 1,
                    padded_k: panels.padded_k,
                    group: panels.group,
                    q: &quantized,
                    stride: panels.padded_k / panels.group,
                    scales: &scales,
                };
                (kernels.gemm_i8)(&panels, 0, &q, &mut tile);
            }
        }
        for (i, score) in scores.iter().enumerate() {
            let key = &keys[((128 + i) * 2 + 1) * head_dim..][..head_dim];
            let exact: f32 = key.iter().zip(&q).map(|(a, b)| a * b).sum();
            // Each of up to 128 products errs by half a step of 127 at most.
            assert!((score - exact).abs() < 0.005 * head_dim as f32, "{score} for {exact}");
        }
    }
}

#[test]
fn what_is_no_number_stays_none() {
    let kernels = by_name("scalar").unwrap();
    for kind in [KvType::F16, KvType::Int8] {
        for bad in [f32::NAN, f32::INFINITY] {
            let layout = KvLayout::new(kind, [KvShape { n_kv_heads: 1, head_dim: 40 }]);
            let mut cache = KvSequence::new(layout);
            cache.reserve(kernels, 0, 1).unwrap();
            let mut x = vec![1.0; 40];
            x[35] = bad;
            let team = Team::new(1, false).unwrap();
            team.enter(|crew| {
                cache.write_heads(crew, 0, 0, true, |writer| writer.store(kernels, 0, &x, &x));
            })
            .unwrap();
            let (key, value) = read(&cache.head(0, 0, 0), 40, 0);
            assert!(!key[35].is_finite() && !value[35].is_finite());
        }
    }
}

#[test]
fn int8_takes_about_half_the_bytes() {
    for (head_dim, ratio) in [(64, 0.53), (128, 0.52), (256, 0.52), (80, 0.60)] {
        let shape = KvShape { n_kv_heads: 2, head_dim };
        let bytes = |kind| KvLayout::new(kind, [shape]).bytes_per_position() as f64;
        assert!(bytes(KvType::Int8) < ratio * bytes(KvType::F16), "{head_dim}");
    }
}

#[test]
fn types_have_names() {
    for kind in [KvType::F16, KvType::Int8] {
        assert_eq!(kind.to_string().parse::<KvType>().unwrap(), kind);
    }
    let error = "q4".parse::<KvType>().unwrap_err().to_string();
    assert!(error.contains("q4") && error.contains("int8"), "{error}");
}

/// What a sequence wrote, its forks read; what one of them writes, no other sees.
#[test]
fn forks_share_spans_until_they_write() {
    let kernels = by_name("scalar").unwrap();
    let shape = KvShape { n_kv_heads: 1, head_dim: 8 };
    for kind in [KvType::F16, KvType::Int8] {
        let (mut first, keys, _) = filled(kind, shape, 0..300);
        let mut fork = first.fork(kernels, 300).unwrap();
        let shared = |a: &KvSequence, b: &KvSequence| {
            a.spans.iter().zip(&b.spans).map(|(a, b)| Arc::ptr_eq(a, b)).collect::<Vec<_>>()
        };
        assert_eq!(shared(&first, &fork), [true, true, false]);
        // Back to position 100, which lies in a shared span: only what comes before it is kept.
        fork.reserve(kernels, 100, 101).unwrap();
        assert_eq!(shared(&first, &fork), [false, true, false]);
        let other = [9.0; 8];
        let write = |crew: &Crew<'_>| {
            fork.write_heads(crew, 1, 0, true, |writer| writer.store(kernels, 100, &other, &other));
        };
        Team::new(1, false).unwrap().enter(write).unwrap();
        let key = |of: &KvSequence, at| read(&of.head(1, 0, 0), 8, at).0;
        assert_eq!(key(&fork, 99), key(&first, 99));
        assert!(key(&fork, 100).iter().all(|x| (x - 9.0).abs() < 0.01));
        assert_eq!(key(&fork, 101), [0.0; 8]);
        assert!((key(&first, 100)[0] - keys[800]).abs() < 0.01);
        // The first may write without a copy where nobody else reads any more.
        drop(fork);
        let before = Arc::as_ptr(&first.spans[1]);
        first.reserve(kernels, 130, 300).unwrap();
        assert_eq!(Arc::as_ptr(&first.spans[1]), before);
    }
}
