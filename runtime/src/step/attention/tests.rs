use kinglet_formats::spec::Attention;

use super::*;
use crate::kernels::{Kernels, TileMut, available};
use crate::kv::{KvLayout, KvShape, SPAN};
use crate::team::{Crew, Team};

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

fn attention(head_dim: usize, soft_cap: Option<f32>) -> Attention {
    Attention { scale: 1.0, causal: true, soft_cap, ..Attention::plain(1, head_dim) }
}

/// A memory of one head with `n` random keys and values, and these.
fn memory(kind: KvType, head_dim: usize, n: usize) -> (KvSequence, Vec<f32>, Vec<f32>) {
    let (keys, values) = (values(1, n * head_dim), values(2, n * head_dim));
    let layout = KvLayout::new(kind, [KvShape { n_kv_heads: 1, head_dim }]);
    let mut memory = KvSequence::new(layout);
    let kernels = available()[0];
    memory.reserve(kernels, 0, n).unwrap();
    let store = |crew: &Crew<'_>| {
        for span in 0..n.div_ceil(SPAN) {
            memory.write_heads(crew, 0, span, false, |writer| {
                for slot in span * SPAN..n.min((span + 1) * SPAN) {
                    let row = slot * head_dim..(slot + 1) * head_dim;
                    writer.store(kernels, slot, &keys[row.clone()], &values[row]);
                }
            });
        }
    };
    Team::new(1, false).unwrap().enter(store).unwrap();
    (memory, keys, values)
}

fn reader(visible: Range<usize>) -> Reader {
    Reader { visible, head: 0, position: 0 }
}

/// The spans of the memory's one head.
fn spans<'a>(kernels: &'static Kernels, memory: &'a KvSequence, a: &'a Attention) -> Spans<'a> {
    Spans { kernels, memory, layer: 0, kv_head: 0, a, positions: None, first_slot: 0, bias: None }
}

/// softmax(q . keys) . values over `visible`, in f64.
fn exact(
    q: &[f32],
    keys: &[f32],
    values: &[f32],
    visible: Range<usize>,
    cap: Option<f32>,
) -> Vec<f64> {
    let dim = q.len();
    let row = |x: &[f32], i: usize| -> Vec<f64> {
        x[i * dim..(i + 1) * dim].iter().map(|&x| f64::from(x)).collect()
    };
    let score = |i: usize| {
        let dot: f64 = row(keys, i).iter().zip(q).map(|(k, &q)| k * f64::from(q)).sum();
        cap.map_or(dot, |cap| f64::from(cap) * (dot / f64::from(cap)).tanh())
    };
    let weights: Vec<f64> = visible.clone().map(|i| score(i).exp()).collect();
    let total: f64 = weights.iter().sum();
    let mut out = vec![0.0; dim];
    for (weight, i) in weights.iter().zip(visible) {
        out.iter_mut().zip(row(values, i)).for_each(|(out, v)| *out += weight / total * v);
    }
    out
}

/// Every kernel set, both types, head sizes that fill their groups and that do not, rows that see
/// different positions, windows that begin inside a span.
#[test]
fn spans_attend_as_the_definition_says() {
    let n = 3 * SPAN + 21;
    for head_dim in [16, 20, 64, 80, 96, 128, 256] {
        for (kind, tolerance) in [
            // Rounding to 11 bits, of keys in scores of size sqrt(head_dim) / 3 and of values.
            (KvType::F16, 2e-3),
            // The same with 7 bits, errors of many positions averaging out.
            (KvType::Int8, 2e-2),
        ] {
            let (memory, keys, values_) = memory(kind, head_dim, n);
            for (start, soft_cap) in [(0, None), (SPAN + 5, None), (3, Some(2.0))] {
                let a = attention(head_dim, soft_cap);
                let q = values(3, 5 * head_dim);
                let rows = FloatRows { m: 5, k: head_dim, stride: head_dim, x: &q };
                let visible = |r: usize| (start + r * 40)..(n - 60 + r * 15);
                let reader = |r: usize| reader(visible(r));
                for kernels in available() {
                    let mut scratch =
                        AttentionScratch::new(8, head_dim, &mut Room::real()).unwrap();
                    let mut out = vec![f32::NAN; 5 * head_dim];
                    let mut tile = TileMut::new(&mut out, head_dim);
                    let spans = spans(kernels, &memory, &a);
                    let (_, sum) = spans.attend(&rows, reader, &mut scratch, &mut tile);
                    for (r, out) in out.chunks_exact(head_dim).enumerate() {
                        let q = &q[r * head_dim..][..head_dim];
                        let exact = exact(q, &keys, &values_, visible(r), soft_cap);
                        for (out, exact) in out.iter().zip(exact) {
                            let error = (f64::from(out / sum[r]) - exact).abs();
                            assert!(
                                error < tolerance,
                                "{kind}, {}, head {head_dim}, row {r} from {start}: {error}",
                                kernels.name
                            );
                        }
                    }
                }
            }
        }
    }
}

/// What another conversation left behind the last position does not shine through.
#[test]
fn positions_that_are_not_seen_do_not_matter() {
    let head_dim = 64;
    for kind in [KvType::F16, KvType::Int8] {
        let attend = |n: usize, end: usize| {
            let (memory, ..) = memory(kind, head_dim, n);
            let a = attention(head_dim, None);
            let q = values(3, head_dim);
            let rows = FloatRows { m: 1, k: head_dim, stride: head_dim, x: &q };
            let mut scratch = AttentionScratch::new(1, head_dim, &mut Room::real()).unwrap();
            let mut out = vec![0.0; head_dim];
            let mut tile = TileMut::new(&mut out, head_dim);
            let kernels = available()[0];
            let spans = spans(kernels, &memory, &a);
            spans.attend(&rows, |_| reader(9..end), &mut scratch, &mut tile);
            out
        };
        for end in [10, 77, SPAN, SPAN + 1, SPAN + 12] {
            assert_eq!(attend(end, end), attend(2 * SPAN, end), "{kind}: {end}");
        }
    }
}
