//! Keys and values in f16 and int8: precision, threads, long contexts, sliding windows.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may fail and tell")]

use kinglet::{KvType, Model, ModelOptions, Session, SessionOptions};
use kinglet_quantize::{Options, Source, WeightType, quantize};
use kinglet_tests::tiny;

/// Largest error of some thousand logits, relative to the reference's standard deviation, that int8
/// keys and values may add to fp16 weights. Each is off by a 254th of the largest in its head at
/// most, as int8 weights are, which have the same tolerance against the same references.
const INT8_TOLERANCE: f32 = 0.15;
/// The same between prefill and decode, which differ in the order of f32 sums. A sum that ends on
/// the other side of a rounding of int8 moves by a step: hence the second figure.
const ORDER_TOLERANCE: [(KvType, f32); 2] = [(KvType::F16, 1e-3), (KvType::Int8, 0.02)];

fn decoders() -> impl Iterator<Item = &'static str> {
    tiny::families_of(tiny::Kind::Decoder)
}

fn open(family: &str, threads: usize) -> (Model, tempfile::TempDir) {
    let folder = tiny::checkpoint(family);
    let path = folder.path().join("model.kinglet");
    let source = Source::open(folder.path()).unwrap();
    let options = Options { dtype: WeightType::F16, ..Options::default() };
    quantize(&source, &options, &path, &mut ()).unwrap();
    (Model::open_with(&path, &ModelOptions::default().threads(threads)).unwrap(), folder)
}

fn session(model: &Model, kv: KvType) -> Session {
    let session = model.session_with(&SessionOptions::default().kv(kv)).unwrap();
    assert_eq!(session.kv_type(), kv);
    session
}

fn prefill(model: &Model, kv: KvType, tokens: &[u32]) -> Vec<Vec<f32>> {
    let mut rows = Vec::new();
    session(model, kv).score(tokens, 0, |_, logits| rows.push(logits.to_vec())).unwrap();
    rows
}

fn decode(model: &Model, kv: KvType, tokens: &[u32]) -> Vec<Vec<f32>> {
    let mut session = session(model, kv);
    let mut row = |token: &u32| {
        session.feed(&[*token]).unwrap();
        session.logits().to_vec()
    };
    tokens.iter().map(&mut row).collect()
}

/// Largest difference over the standard deviation of the reference.
fn error(ours: &[Vec<f32>], reference: &[Vec<f32>]) -> f32 {
    assert_eq!(ours.len(), reference.len());
    let all: Vec<f32> = reference.concat();
    let mean = all.iter().sum::<f32>() / all.len() as f32;
    let variance = all.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / all.len() as f32;
    let differences = ours.concat().into_iter().zip(all).map(|(a, b)| (a - b).abs());
    differences.fold(0.0, f32::max) / variance.sqrt()
}

/// More tokens than a span of the cache and a batch hold.
fn long_text(vocab_size: usize) -> Vec<u32> {
    (0..400).map(|i: u32| (i * i + 7 * i) % vocab_size as u32).collect()
}

#[test]
fn int8_is_close_to_the_reference() {
    for family in decoders() {
        let (model, _folder) = open(family, 2);
        let golden = tiny::golden(family);
        let prefill = error(&prefill(&model, KvType::Int8, &golden.tokens), &golden.logits);
        let decode = error(&decode(&model, KvType::Int8, &golden.tokens), &golden.logits);
        println!("{family}: prefill {prefill:.5}, decode {decode:.5}");
        assert!(prefill < INT8_TOLERANCE, "{family}: prefill is off by {prefill}");
        assert!(decode < INT8_TOLERANCE, "{family}: decode is off by {decode}");
    }
}

#[test]
fn prefill_and_decode_agree_over_several_spans() {
    let (model, _folder) = open("llama3-rope-scaling", 2);
    let tokens = long_text(model.vocab_size());
    let exact = prefill(&model, KvType::F16, &tokens);
    for (kv, tolerance) in ORDER_TOLERANCE {
        let (prefill, decode) = (prefill(&model, kv, &tokens), decode(&model, kv, &tokens));
        let order = error(&decode, &prefill);
        let kind = error(&prefill, &exact);
        println!("{kv}: {order:.6} between decode and prefill, {kind:.5} from f16");
        assert!(order < tolerance, "{kv}: decode is {order} from prefill");
        assert!(kind < INT8_TOLERANCE, "{kv}: {kind} from f16");
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    for family in ["llama3-rope-scaling", "gemma3", "mistral"] {
        for kv in [KvType::F16, KvType::Int8] {
            let run = |threads| {
                let (model, _folder) = open(family, threads);
                let tokens = long_text(model.vocab_size());
                let tokens = &tokens[..tokens.len().min(model.context_length())];
                let mut rows = prefill(&model, kv, tokens);
                rows.extend(decode(&model, kv, tokens));
                rows
            };
            let one = run(1);
            for threads in [2, 3, 8] {
                assert!(run(threads) == one, "{family} {kv}: {threads} threads differ from 1");
            }
        }
    }
}

#[test]
fn truncated_and_reset_sessions_forget() {
    for family in ["llama", "gemma3"] {
        let (model, _folder) = open(family, 2);
        let tokens = tiny::golden(family).tokens;
        for kv in [KvType::F16, KvType::Int8] {
            let mut session = session(&model, kv);
            session.feed(&tokens[..10]).unwrap();
            session.feed(&tokens[10..11]).unwrap();
            let logits = session.logits().to_vec();
            session.feed(&tokens[11..]).unwrap();
            session.truncate(10);
            session.feed(&tokens[10..11]).unwrap();
            // The tenth token was computed again, alone instead of in a batch.
            let again = session.logits().to_vec();
            let difference = error(&[again], std::slice::from_ref(&logits));
            assert!(difference < 0.02, "{family} {kv}: {difference}");
            session.reset();
            session.feed(&tokens[..10]).unwrap();
            session.feed(&tokens[10..11]).unwrap();
            assert_eq!(session.logits(), logits, "{family} {kv}");
        }
    }
}
