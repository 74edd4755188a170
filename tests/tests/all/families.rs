//! Every family, from a Hugging Face folder to logits, against the reference implementation.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may fail and tell")]

use kinglet::{GenerateOptions, Input, Model, ModelOptions, Session};
use kinglet_quantize::{Group, Options, Source, WeightType, quantize};
use kinglet_tests::tiny::{self, Golden, Kind, Tensor};

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
    tiny::families_of(Kind::Decoder)
}

/// A session that has read the golden's source, where it has one.
fn session(model: &Model, golden: &Golden) -> Session {
    let mut session = model.session().unwrap();
    if !golden.source.is_empty() {
        assert!(session.set_source(&golden.source).unwrap());
    }
    session
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

fn prefill_logits(model: &Model, golden: &Golden) -> Vec<Vec<f32>> {
    let mut rows = Vec::new();
    let visit = |_: usize, logits: &[f32]| rows.push(logits.to_vec());
    assert!(session(model, golden).score(&golden.tokens, 0, visit).unwrap());
    rows
}

fn decode_logits(model: &Model, golden: &Golden) -> Vec<Vec<f32>> {
    let mut session = session(model, golden);
    let mut row = |token: &u32| {
        session.feed(&[*token]).unwrap();
        session.logits().to_vec()
    };
    golden.tokens.iter().map(&mut row).collect()
}

/// The patches of the golden's image, `[patch][channel][y][x]`: the tensor "pixels"
/// `[3][32][32]`, cut into squares of 8.
fn patches() -> Vec<f32> {
    let (side, patch) = (32, 8);
    let dims = vec![3, side, side];
    let tensor = Tensor { name: "pixels".to_owned(), dims, base: 0.0, amplitude: 1.0 };
    let pixels: Vec<f32> = tensor.values().collect();
    let mut patches = Vec::with_capacity(pixels.len());
    for (top, left) in
        (0..side).step_by(patch).flat_map(|y| (0..side).step_by(patch).map(move |x| (y, x)))
    {
        for (channel, y) in (0..3).flat_map(|c| (0..patch).map(move |y| (c, y))) {
            let start = (channel * side + top + y) * side + left;
            patches.extend_from_slice(&pixels[start..start + patch]);
        }
    }
    patches
}

#[test]
fn decoders_match_the_reference() {
    for family in decoders().chain(tiny::families_of(Kind::EncoderDecoder)) {
        for (dtype, tolerance) in
            [(WeightType::F16, F16_TOLERANCE), (WeightType::Int8, INT8_TOLERANCE)]
        {
            let Converted { model, golden, .. } = convert(family, dtype, &ModelOptions::default());
            let prefill = error(&prefill_logits(&model, &golden), &golden.logits);
            let decode = error(&decode_logits(&model, &golden), &golden.logits);
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
            let prefill = error(&prefill_logits(&model, &golden), &golden.logits);
            let decode = error(&decode_logits(&model, &golden), &golden.logits);
            println!("{family} {group} {keep_f16:?}: prefill {prefill:.5}, decode {decode:.5}");
            assert!(prefill.max(decode) < INT8_TOLERANCE, "{family} {group}: {prefill} {decode}");
        }
    }
}

#[test]
fn greedy_continuations_match_the_reference() {
    for family in decoders().chain(tiny::families_of(Kind::EncoderDecoder)) {
        let Converted { model, golden, .. } =
            convert(family, WeightType::F16, &ModelOptions::default());
        let mut session = session(&model, &golden);
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
fn encoders_match_the_reference() {
    for family in tiny::families_of(Kind::Encoder) {
        for (dtype, least) in [(WeightType::F16, 0.99999), (WeightType::Int8, 0.999)] {
            let Converted { model, golden, .. } = convert(family, dtype, &ModelOptions::default());
            let vector = &model.embed_tokens(std::slice::from_ref(&golden.tokens)).unwrap()[0];
            let cosine: f32 = vector.iter().zip(&golden.embedding).map(|(a, b)| a * b).sum();
            println!("{family} {dtype}: cosine {cosine:.7}");
            assert!(cosine > least, "{family} {dtype}: cosine {cosine}");
        }
    }
}

#[test]
fn hidden_states_match_the_reference() {
    for kind in [Kind::Encoder, Kind::EncoderDecoder, Kind::Image] {
        for family in tiny::families_of(kind) {
            for (dtype, tolerance) in
                [(WeightType::F16, F16_TOLERANCE), (WeightType::Int8, INT8_TOLERANCE)]
            {
                let Converted { model, golden, .. } =
                    convert(family, dtype, &ModelOptions::default());
                let patches = patches();
                let input = match kind {
                    Kind::Image => Input::Patches(&patches),
                    Kind::EncoderDecoder => Input::Tokens(&golden.source),
                    _ => Input::Tokens(&golden.tokens),
                };
                let hidden = model.hidden_states(input).unwrap();
                let error = error(&hidden, &golden.hidden);
                println!("{family} {dtype}: hidden states {error:.5}");
                assert!(error < tolerance, "{family} {dtype}: hidden states off by {error}");
            }
        }
    }
}

/// A sequence gets the same bits alone and among others, whatever they are doing.
#[test]
fn sequences_in_one_step_get_the_bits_they_get_alone() {
    let families = decoders().chain(tiny::families_of(Kind::EncoderDecoder));
    let dtypes = [WeightType::Int8, WeightType::Int4, WeightType::F16];
    for (family, dtype) in families.zip(dtypes.into_iter().cycle()) {
        for kv in [kinglet::KvType::F16, kinglet::KvType::Int8] {
            let Converted { model, golden, .. } = convert(family, dtype, &ModelOptions::default());
            let options = kinglet::SessionOptions::default().kv(kv);
            let begin = || {
                let mut session = model.session_with(&options).unwrap();
                if !golden.source.is_empty() {
                    session.set_source(&golden.source[..golden.source.len()]).unwrap();
                }
                session
            };
            // Prompts of one token and of many, then token after token.
            let lens = [1, 24, 7, 12, 2];
            let tokens = |i: usize, round: usize| match round {
                0 => &golden.tokens[..lens[i]],
                _ => &golden.tokens[(i + round) % 24..][..1],
            };
            let mut alone: Vec<Session> = lens.iter().map(|_| begin()).collect();
            let mut together: Vec<Session> = lens.iter().map(|_| begin()).collect();
            for round in 0..4 {
                for (i, session) in alone.iter_mut().enumerate() {
                    session.feed(tokens(i, round)).unwrap();
                }
                for (i, session) in together.iter_mut().enumerate() {
                    session.append(tokens(i, round)).unwrap();
                }
                let mut all: Vec<&mut Session> = together.iter_mut().collect();
                Session::compute_all(&mut all).unwrap();
                for (i, (alone, together)) in alone.iter().zip(&together).enumerate() {
                    assert!(
                        alone.logits() == together.logits(),
                        "{family} {dtype} {kv}: sequence {i}, round {round}"
                    );
                }
            }
        }
    }
}

#[test]
fn forks_share_what_they_began_with_and_go_their_own_ways() {
    let Converted { model, golden, .. } =
        convert("llama3-rope-scaling", WeightType::Int8, &ModelOptions::default());
    // Two whole spans and a part of a third.
    let prompt: Vec<u32> = golden.tokens.iter().copied().cycle().take(300).collect();
    let mut first = model.session().unwrap();
    first.feed(&prompt).unwrap();
    let mut second = first.fork().unwrap();
    assert_eq!(first.logits(), second.logits());
    let fresh = |tokens: &[u32]| {
        let mut session = model.session().unwrap();
        session.feed(&prompt).unwrap();
        tokens.iter().for_each(|&token| assert!(session.feed(&[token]).unwrap()));
        session.logits().to_vec()
    };
    for token in [7, 8] {
        first.feed(&[token]).unwrap();
    }
    second.feed(&[9]).unwrap();
    assert_eq!(first.logits(), fresh(&[7, 8]));
    assert_eq!(second.logits(), fresh(&[9]));
    // Back into what is shared: the other one must not notice.
    second.truncate(50);
    second.feed(&[11; 40]).unwrap();
    first.feed(&[10]).unwrap();
    assert_eq!(first.logits(), fresh(&[7, 8, 10]));
}

#[test]
fn a_model_that_reads_a_source_asks_for_it() {
    let Converted { model, golden, .. } = convert("t5", WeightType::Int8, &ModelOptions::default());
    let mut session = model.session().unwrap();
    let error = session.feed(&golden.tokens).unwrap_err().to_string();
    assert!(error.contains("set_source"), "{error}");
    assert!(session.set_source(&[]).is_err());
    let Converted { model, .. } = convert("llama", WeightType::Int8, &ModelOptions::default());
    let error = model.session().unwrap().set_source(&[1]).unwrap_err().to_string();
    assert!(error.contains("continues text"), "{error}");
}

#[test]
fn inputs_of_another_kind_or_size_are_refused() {
    let Converted { model, golden, .. } = convert("vit", WeightType::F16, &ModelOptions::default());
    let message = |input: Input<'_>| model.hidden_states(input).unwrap_err().to_string();
    assert!(message(Input::Tokens(&[1, 2])).contains("reads images"));
    assert!(message(Input::Patches(&[0.0; 10])).contains("3072 values, 10 are given"));
    assert!(model.embed(&["a bird"]).unwrap_err().to_string().contains("reads images"));
    assert!(model.session().is_err() && golden.tokens.is_empty());
    assert_eq!(model.tokenizer().vocab_size(), 0);
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
        // One text of many tokens or of one: either is computed as it is alone.
        assert!(vector == alone, "cosine {cosine}");
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
                if tiny::families_of(Kind::Encoder).any(|encoder| encoder == family) {
                    return model.embed_tokens(&[golden.tokens]).unwrap();
                }
                if family == "vit" {
                    return model.hidden_states(Input::Patches(&patches())).unwrap();
                }
                let mut rows = prefill_logits(&model, &golden);
                rows.extend(decode_logits(&model, &golden));
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

/// The short list of divisors serves sessions that cannot exceed the original context, and those
/// only: two families have the same weights and lists and differ in that length.
#[test]
fn long_rope_follows_the_length_of_the_session() {
    let options = ModelOptions::default();
    let Converted { model, golden: long, .. } = convert("phi3", WeightType::F16, &options);
    let Converted { golden: short, .. } = convert("phi3-short", WeightType::F16, &options);
    let at = 15;
    let last = |context: usize| {
        let mut session = model.session_with_context(context).unwrap();
        session.feed(&long.tokens[..=at]).unwrap();
        (session.logits().to_vec(), session)
    };
    let (within, mut session) = last(16);
    assert!(error(&[within], &short.logits[at..=at]) < F16_TOLERANCE);
    let (beyond, _) = last(17);
    assert!(error(std::slice::from_ref(&beyond), &long.logits[at..=at]) < F16_TOLERANCE);
    assert!(error(&[beyond], &short.logits[at..=at]) > 10.0 * F16_TOLERANCE);

    // Loaded, a session has the model's length: what was computed with the other list is not kept.
    let mut bytes = Vec::new();
    session.save(&mut bytes).unwrap();
    session.reset();
    let mut loaded = Session::load(&model, &mut bytes.as_slice()).unwrap();
    loaded.feed(&long.tokens[at + 1..]).unwrap();
    assert!(error(&[loaded.logits().to_vec()], &long.logits[23..24]) < F16_TOLERANCE);
}
