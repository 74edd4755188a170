//! Every family, from a Hugging Face folder to logits, against the reference implementation.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may fail and tell")]

use kinglet::{GenerateOptions, Model, ModelOptions};
use kinglet_quantize::{Group, Options, Source, WeightType, quantize};
use kinglet_tests::tiny::{self, Golden};

/// Largest error relative to the reference's standard deviation. fp16 weights and cached keys and
/// values are rounded to 11 bits, 2^-12 on average, a few times on the way; int8 ones to a 254th
/// of the largest in their group.
const F16_TOLERANCE: f32 = 0.01;
const INT8_TOLERANCE: f32 = 0.15;

struct Converted {
    model: Model,
    golden: Golden,
    _folder: tempfile::TempDir,
}

fn convert(family: &str, dtype: WeightType, options: &ModelOptions) -> Converted {
    convert_with(family, &Options { dtype, ..Options::default() }, options)
}

fn convert_with(family: &str, conversion: &Options, options: &ModelOptions) -> Converted {
    let folder = tiny::checkpoint(family);
    let path = folder.path().join("model.kinglet");
    let source = Source::open(folder.path()).unwrap();
    quantize(&source, conversion, &path, &mut ()).unwrap();
    let model = Model::open_with(&path, options).unwrap();
    Converted { model, golden: tiny::golden(family), _folder: folder }
}

fn decoders() -> impl Iterator<Item = &'static str> {
    tiny::families().iter().copied().filter(|family| *family != "bert")
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

fn prefill_logits(model: &Model, tokens: &[u32]) -> Vec<Vec<f32>> {
    let mut rows = Vec::new();
    let mut session = model.session().unwrap();
    session.score(tokens, 0, |_, logits| rows.push(logits.to_vec())).unwrap();
    rows
}

fn decode_logits(model: &Model, tokens: &[u32]) -> Vec<Vec<f32>> {
    let mut session = model.session().unwrap();
    let mut row = |token: &u32| {
        session.feed(&[*token]).unwrap();
        session.logits().to_vec()
    };
    tokens.iter().map(&mut row).collect()
}

#[test]
fn decoders_match_the_reference() {
    for family in decoders() {
        for (dtype, tolerance) in
            [(WeightType::F16, F16_TOLERANCE), (WeightType::Int8, INT8_TOLERANCE)]
        {
            let Converted { model, golden, .. } = convert(family, dtype, &ModelOptions::default());
            let prefill = error(&prefill_logits(&model, &golden.tokens), &golden.logits);
            let decode = error(&decode_logits(&model, &golden.tokens), &golden.logits);
            println!("{family} {dtype}: prefill {prefill:.5}, decode {decode:.5}");
            assert!(prefill < tolerance, "{family} {dtype}: prefill is off by {prefill}");
            assert!(decode < tolerance, "{family} {dtype}: decode is off by {decode}");
        }
    }
}

#[test]
fn every_group_and_mixed_weights_match_the_reference() {
    let groups = [Group::G32, Group::G128, Group::Row].map(|group| (group, Vec::new()));
    let mixed = (Group::G64, vec!["*.k_proj.*".to_owned(), "*.down_proj.*".to_owned()]);
    for (group, keep_f16) in groups.into_iter().chain([mixed]) {
        let conversion = Options { group, keep_f16: keep_f16.clone(), ..Options::default() };
        for family in ["llama", "gemma3"] {
            let options = ModelOptions::default();
            let Converted { model, golden, .. } = convert_with(family, &conversion, &options);
            let prefill = error(&prefill_logits(&model, &golden.tokens), &golden.logits);
            let decode = error(&decode_logits(&model, &golden.tokens), &golden.logits);
            println!("{family} {group} {keep_f16:?}: prefill {prefill:.5}, decode {decode:.5}");
            assert!(prefill.max(decode) < INT8_TOLERANCE, "{family} {group}: {prefill} {decode}");
        }
    }
}

#[test]
fn greedy_continuations_match_the_reference() {
    for family in decoders() {
        let Converted { model, golden, .. } =
            convert(family, WeightType::F16, &ModelOptions::default());
        let mut session = model.session().unwrap();
        session.feed(&golden.tokens).unwrap();
        for (i, (&expected, &gap)) in golden.greedy.iter().zip(&golden.greedy_gaps).enumerate() {
            if gap < 0.02 {
                assert!(i > 0, "{family}: the reference itself is undecided at the first token");
                break;
            }
            let token = kinglet::argmax(session.logits());
            assert_eq!(token, expected, "{family}: token {i}, decided by {gap}");
            session.feed(&[token]).unwrap();
        }
    }
}

#[test]
fn the_encoder_matches_the_reference() {
    for (dtype, least) in [(WeightType::F16, 0.99999), (WeightType::Int8, 0.999)] {
        let Converted { model, golden, .. } = convert("bert", dtype, &ModelOptions::default());
        let vector = &model.embed_tokens(std::slice::from_ref(&golden.tokens)).unwrap()[0];
        let cosine: f32 = vector.iter().zip(&golden.embedding).map(|(a, b)| a * b).sum();
        println!("bert {dtype}: cosine {cosine:.7}");
        assert!(cosine > least, "bert {dtype}: cosine {cosine}");
    }
}

#[test]
fn texts_do_not_see_each_other_in_a_batch() {
    let Converted { model, golden, .. } =
        convert("bert", WeightType::Int8, &ModelOptions::default());
    let texts: Vec<Vec<u32>> =
        (0..40).map(|i| golden.tokens[i % 7..][..i % 13 + 1].to_vec()).collect();
    let together = model.embed_tokens(&texts).unwrap();
    for (text, vector) in texts.iter().zip(&together) {
        let alone = &model.embed_tokens(std::slice::from_ref(text)).unwrap()[0];
        let cosine: f32 = vector.iter().zip(alone).map(|(a, b)| a * b).sum();
        assert!(cosine > 0.999_999, "cosine {cosine}");
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    for family in tiny::families() {
        for dtype in [WeightType::Int8, WeightType::F16] {
            let run = |threads| {
                let options = ModelOptions::default().threads(threads);
                let Converted { model, golden, .. } = convert(family, dtype, &options);
                assert_eq!(model.n_threads(), threads);
                if *family == "bert" {
                    return model.embed_tokens(&[golden.tokens]).unwrap();
                }
                let mut rows = prefill_logits(&model, &golden.tokens);
                rows.extend(decode_logits(&model, &golden.tokens));
                rows
            };
            let one = run(1);
            for threads in [2, 3, 8] {
                assert!(run(threads) == one, "{family} {dtype}: {threads} threads differ from 1");
            }
        }
    }
}

#[test]
fn sessions_can_be_truncated_reset_and_continued() {
    let Converted { model, golden, .. } =
        convert("llama", WeightType::Int8, &ModelOptions::default());
    let (head, tail) = golden.tokens.split_at(10);
    let mut session = model.session().unwrap();
    session.feed(head).unwrap();
    let after_head = session.logits().to_vec();
    session.feed(tail).unwrap();
    session.truncate(9);
    session.feed(&head[9..]).unwrap();
    let again = session.logits().to_vec();
    assert!(error(&[again], std::slice::from_ref(&after_head)) < 1e-4);
    session.reset();
    session.feed(head).unwrap();
    assert_eq!(session.logits(), after_head);
    assert_eq!(session.position(), 10);
}

#[test]
fn generating_in_two_steps_equals_one() {
    let Converted { model, golden, .. } =
        convert("qwen3", WeightType::Int8, &ModelOptions::default());
    let run = |steps: &[usize]| {
        let mut session = model.session().unwrap();
        let mut prompt = golden.tokens.clone();
        for &n in steps {
            let options = GenerateOptions { ignore_eos: true, ..GenerateOptions::greedy() };
            let mut generation =
                session.generate_from(std::mem::take(&mut prompt), &options.max_tokens(n)).unwrap();
            while generation.advance().unwrap().is_some() {}
            assert_eq!(generation.generated_tokens(), n);
        }
        session.tokens().to_vec()
    };
    assert_eq!(run(&[5, 7]), run(&[12]));
}

#[test]
fn out_of_range_tokens_and_full_contexts_are_errors() {
    let Converted { model, .. } = convert("llama", WeightType::Int8, &ModelOptions::default());
    let mut session = model.session_with_context(16).unwrap();
    let vocab_size = model.vocab_size() as u32;
    assert!(matches!(session.feed(&[vocab_size]), Err(kinglet::Error::TokenOutOfRange { .. })));
    assert!(matches!(session.feed(&[1; 17]), Err(kinglet::Error::ContextFull { .. })));
    assert!(matches!(session.feed(&[]), Err(kinglet::Error::Empty { .. })));
    session.feed(&[1; 16]).unwrap();
    assert!(matches!(session.feed(&[1]), Err(kinglet::Error::ContextFull { .. })));
    session.reset();
    session.feed(&[1; 4]).unwrap();
}
