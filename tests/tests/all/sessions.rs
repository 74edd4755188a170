//! What a session keeps, after whatever happened to it, and models that few checkpoints make.

#![allow(clippy::unwrap_used, reason = "a test may fail and tell")]

use kinglet::{
    Error, FinishReason, GenerateOptions, KvType, Model, Session, SessionOptions, TextScores,
};
use kinglet_formats::kinglet::{KingletFile, Meta};
use kinglet_formats::spec::{MixerKind, Output};
use kinglet_quantize::{Group, Options, Source, quantize};
use kinglet_tests::rewrite::rewrite;
use kinglet_tests::tiny;

/// A tiny checkpoint converted, in a folder of its own.
fn converted(family: &str, group: Group) -> (tempfile::TempDir, KingletFile) {
    let folder = tiny::checkpoint(family);
    let path = folder.path().join("model.kinglet");
    let options = Options { group, ..Options::default() };
    quantize(&Source::open(folder.path()).unwrap(), &options, &path, &mut ()).unwrap();
    let file = KingletFile::open(&path).unwrap();
    (folder, file)
}

/// The same file with another meta section.
fn changed(family: &str, change: impl FnOnce(&mut Meta)) -> (tempfile::TempDir, Model) {
    let (folder, file) = converted(family, Group::G64);
    let path = folder.path().join("changed.kinglet");
    rewrite(&file, &path, change, &file, |_| false);
    let model = Model::open(path).unwrap();
    (folder, model)
}

fn logits(model: &Model, tokens: &[u32]) -> Vec<f32> {
    let mut session = model.session().unwrap();
    session.feed(tokens).unwrap();
    session.logits().to_vec()
}

#[test]
fn matrices_that_share_an_input_have_one_group() {
    let (folder, file) = converted("llama", Group::G64);
    let (_other, finer) = converted("llama", Group::G32);
    let path = folder.path().join("mixed.kinglet");
    for (modules, opens) in [("k_proj", false), ("up_proj", false), ("down_proj", true)] {
        rewrite(&file, &path, |_| (), &finer, |name| name.contains(modules));
        match Model::open(&path) {
            Ok(model) => {
                assert!(opens, "{modules}");
                logits(&model, &[1, 5, 9]);
            }
            Err(error) => {
                assert!(!opens, "{modules}: {error}");
                let message = error.to_string();
                assert!(message.contains(modules) && message.contains("groups of 64"), "{message}");
                assert!(message.contains("convert the model again"), "{message}");
            }
        }
    }
}

#[test]
fn logits_are_capped_and_scaled_as_the_spec_says() {
    let tokens = tiny::golden("llama").tokens;
    let with = |new_scale: f32, cap: Option<f32>| {
        let (_folder, model) = changed("llama", |meta| {
            let Output::Logits { scale, soft_cap, .. } = &mut meta.spec.heads[0].output else {
                panic!("a decoder")
            };
            (*scale, *soft_cap) = (new_scale, cap);
        });
        logits(&model, &tokens)
    };
    let plain = with(1.0, None);
    for (capped, x) in with(1.0, Some(2.0)).into_iter().zip(&plain) {
        assert_eq!(capped, 2.0 * (x / 2.0).tanh());
    }
    for (scaled, x) in with(0.25, None).into_iter().zip(&plain) {
        assert_eq!(scaled, 0.25 * x);
    }
}

/// A model of long sequences, whose layers see as far.
fn with_window(
    family: &str,
    context_length: usize,
    window: Option<usize>,
) -> (tempfile::TempDir, Model) {
    changed(family, |meta| {
        meta.spec.context_length = context_length;
        for block in meta.spec.stacks[0].layers.iter_mut().flat_map(|layer| &mut layer.blocks) {
            if let MixerKind::Attention(attention) = &mut block.mixers[0].kind {
                attention.sliding_window = window;
            }
        }
    })
}

/// Logits depend on the tokens alone, bit for bit: not on whether these came at once, in pieces or
/// one by one, over more spans than threads share at a time, nor on what a session took back.
#[test]
fn logits_do_not_depend_on_how_tokens_came() {
    for (family, window) in [("llama", None), ("mistral", Some(300)), ("gemma3", Some(77))] {
        let (_folder, model) = with_window(family, 5000, window);
        let tokens: Vec<u32> = (0..4400).map(|i| 3 + i * 31 % 290).collect();
        for kv in [KvType::F16, KvType::Int8] {
            let options = SessionOptions::default().kv(kv);
            let mut in_pieces = model.session_with(&options).unwrap();
            let mut fed = 0;
            for (i, n) in [1, 130, 1, 1, 29, 256, 2, 63, 300, 1].into_iter().cycle().enumerate() {
                let end = tokens.len().min(fed + n);
                in_pieces.feed(&tokens[fed..end]).unwrap();
                if i % 10 == 5 {
                    in_pieces.feed(&[5; 40]).unwrap();
                    in_pieces.truncate(end);
                }
                fed = end;
                if fed == tokens.len() {
                    break;
                }
            }
            let mut whole = model.session_with(&options).unwrap();
            whole.feed(&tokens).unwrap();
            assert!(whole.logits() == in_pieces.logits(), "{family}, {kv}");
        }
    }
}

/// A window over several spans, at depths where single rows take their spans in parallel.
#[test]
fn windows_reach_over_spans() {
    let (_folder, model) = with_window("mistral", 2600, Some(300));
    let tokens: Vec<u32> = (0..2500).map(|i| 3 + i * 31 % 290).collect();
    let fed = |first: usize| {
        let mut session = model.session().unwrap();
        session.feed(&tokens[first..2499]).unwrap();
        session.feed(&tokens[2499..]).unwrap();
        session.logits().to_vec()
    };
    let mut session = model.session().unwrap();
    let mut last = Vec::new();
    session.score(&tokens, 2499, |_, logits| last = logits.to_vec()).unwrap();
    let largest = last.iter().fold(0.0f32, |max, x| max.max(x.abs()));
    let close = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-3 * largest);
    assert!(close(&fed(0), &last));
    // Rotations know distances only: two layers of windows reach back 598 positions, and no more.
    assert!(close(&fed(2500 - 600), &last));
    assert!(!close(&fed(2500 - 250), &last));
}

#[test]
fn a_cancelled_session_goes_on_when_it_is_asked_to() {
    let (folder, _file) = converted("llama3-rope-scaling", Group::G64);
    let model = Model::open(folder.path().join("model.kinglet")).unwrap();
    let tokens = tiny::golden("llama3-rope-scaling").tokens;
    let mut session = model.session().unwrap();
    session.cancel_token().cancel();
    assert!(session.feed(&tokens).unwrap());
    let expected = session.logits().to_vec();

    session.reset();
    let cancel = session.cancel_token();
    let long: Vec<u32> = tokens.iter().copied().cycle().take(400).collect();
    let visited = std::cell::Cell::new(0);
    let finished = session.score(&long, 0, |_, _| {
        visited.set(visited.get() + 1);
        cancel.cancel();
    });
    assert!(!finished.unwrap(), "cancelled in the first batch");
    assert!((1..400).contains(&visited.get()) && session.position() < 400);
    session.reset();
    assert!(session.score(&tokens, 0, |_, _| ()).unwrap());
    session.reset();
    assert!(session.feed(&tokens).unwrap());
    assert_eq!(session.logits(), expected);
}

#[test]
fn an_error_leaves_a_session_as_it_was() {
    let (folder, _file) = converted("llama", Group::G64);
    let model = Model::open(folder.path().join("model.kinglet")).unwrap();
    let tokens = tiny::golden("llama").tokens;
    let mut session = model.session_with_context(32).unwrap();
    session.feed(&tokens).unwrap();
    let before = (session.tokens().to_vec(), session.logits().to_vec());
    let bad = GenerateOptions { top_p: Some(7.0), ..GenerateOptions::greedy() };
    assert!(session.generate_from(vec![5, 6], &bad).is_err());
    let too_long = session.generate_from(vec![5; 9], &GenerateOptions::greedy().max_tokens(4));
    assert!(matches!(too_long, Err(Error::ContextFull { used: 24, wanted: 9, .. })));
    assert!(session.append(&[300]).is_err());
    assert_eq!((session.tokens().to_vec(), session.logits().to_vec()), before);
    assert_eq!(session.due(), 0);
}

#[test]
fn penalties_do_not_touch_the_logits() {
    let (folder, _file) = converted("llama", Group::G64);
    let model = Model::open(folder.path().join("model.kinglet")).unwrap();
    let prompt = tiny::golden("llama").tokens;
    let options = GenerateOptions {
        repeat_penalty: Some(1.7),
        ignore_eos: true,
        ..GenerateOptions::greedy().max_tokens(6)
    };
    let mut session = model.session().unwrap();
    let mut generation = session.generate_from(prompt.clone(), &options).unwrap();
    while generation.advance().unwrap().is_some() {}
    let answer = session.tokens()[prompt.len()..].to_vec();
    // By hand, each token from logits that were never penalised.
    let mut by_hand = model.session().unwrap();
    by_hand.feed(&prompt).unwrap();
    let mut expected = Vec::new();
    for _ in 0..6 {
        let mut logits = by_hand.logits().to_vec();
        let mut recent = by_hand.tokens()[by_hand.position().saturating_sub(64)..].to_vec();
        recent.sort_unstable();
        recent.dedup();
        for token in recent {
            let logit = &mut logits[token as usize];
            *logit = if *logit > 0.0 { *logit / 1.7 } else { *logit * 1.7 };
        }
        let token = kinglet::argmax(&logits);
        expected.push(token);
        by_hand.feed(&[token]).unwrap();
    }
    assert_eq!(answer, expected);
}

/// Many generations by one driver: none computes by itself, each gets what it would get alone.
#[test]
fn generations_are_driven_together() {
    let (folder, _file) = converted("qwen3", Group::G64);
    let model = Model::open(folder.path().join("model.kinglet")).unwrap();
    let prompts: Vec<Vec<u32>> =
        (1..5).map(|i| tiny::golden("qwen3").tokens[..5 * i].to_vec()).collect();
    let options = |i: usize| GenerateOptions {
        temperature: Some(0.9),
        seed: Some(i as u64),
        ignore_eos: true,
        ..GenerateOptions::default().max_tokens(4 + 3 * i)
    };
    let alone = |i: usize| {
        let mut session = model.session().unwrap();
        let mut answer = session.generate_from(prompts[i].clone(), &options(i)).unwrap();
        while answer.advance().unwrap().is_some() {}
        session.tokens().to_vec()
    };
    let mut sessions: Vec<Session> = prompts.iter().map(|_| model.session().unwrap()).collect();
    let mut states: Vec<_> = sessions
        .iter_mut()
        .enumerate()
        .map(|(i, session)| session.begin_from(&prompts[i], &options(i)).unwrap())
        .collect();
    while states.iter().any(|state| state.finish_reason().is_none()) {
        let mut wanting: Vec<&mut Session> = Vec::new();
        for (session, state) in sessions.iter_mut().zip(&mut states) {
            if state.wants_logits(session) {
                wanting.push(session);
            }
        }
        Session::compute_all(&mut wanting).unwrap();
        for (session, state) in sessions.iter_mut().zip(&mut states) {
            state.draw(session).unwrap();
        }
    }
    for (i, session) in sessions.iter().enumerate() {
        assert_eq!(session.tokens(), alone(i), "{i}");
    }
}

#[test]
fn scores_of_a_text_and_what_cannot_be_scored() {
    let (folder, _file) = converted("llama", Group::G64);
    let model = Model::open(folder.path().join("model.kinglet")).unwrap();
    let tokens = tiny::golden("llama").tokens;
    let (mut session, mut base) = (model.session().unwrap(), model.session().unwrap());
    let mut scores = TextScores::default();
    scores.add_both(&mut session, &mut base, &tokens).unwrap();
    // A model is as far from itself as rounding makes it.
    assert_eq!(scores.own.count(), 11);
    assert_eq!(scores.own.perplexity(), scores.base.perplexity());
    assert!(scores.divergence.mean().0.abs() < 1e-9 && scores.same_top() == 1.0);
    let mut alone = TextScores::default();
    alone.add(&mut session, &tokens).unwrap();
    assert_eq!(alone.own.perplexity(), scores.own.perplexity());

    for bad in [&[][..], &[1, 2, 300]] {
        assert!(alone.add(&mut session, bad).is_err());
        assert!(alone.add_both(&mut session, &mut base, bad).is_err());
    }
    assert_eq!(alone.own.count(), 11);
}

/// Tokens that are guessed and computed ahead are those, with those bits, that would have come.
#[test]
fn guesses_change_nothing_but_the_time() {
    for (family, kv) in [
        ("llama", KvType::F16),
        ("llama", KvType::Int8),
        ("gemma3", KvType::F16),
        ("gpt2", KvType::F16),
    ] {
        let (folder, _file) = converted(family, Group::G64);
        let model = Model::open(folder.path().join("model.kinglet")).unwrap();
        let some = &tiny::golden(family).tokens[..7];
        // A prompt that says the same several times.
        let prompt: Vec<u32> = some.iter().chain(some).chain(some).copied().collect();
        let mut guessed = 0;
        for (temperature, seed) in [(0.0, 0), (0.3, 1), (1.0, 2)] {
            let answer = |lookup| {
                let mut session = model.session_with(&SessionOptions::default().kv(kv)).unwrap();
                let options = GenerateOptions {
                    lookup: Some(lookup),
                    temperature: Some(temperature),
                    // Of few tokens, so that the same ones come together again and again.
                    logit_bias: some[..3].iter().map(|&token| (token, 40.0)).collect(),
                    seed: Some(seed),
                    ignore_eos: true,
                    ..GenerateOptions::default()
                };
                let mut answer = session.generate_from(prompt.clone(), &options).unwrap();
                let mut pieces = 0;
                while answer.advance().unwrap().is_some() {
                    pieces += 1;
                }
                let guessed = answer.state().guessed_tokens();
                assert!(pieces > 30 && answer.finish_reason() == Some(FinishReason::ContextFull));
                // What is said next depends on every bit of the cache.
                let tokens = session.tokens().to_vec();
                session.truncate(tokens.len() - 3);
                session.feed(&[some[0]]).unwrap();
                (tokens, session.logits().to_vec(), guessed)
            };
            let (plain, with) = (answer(0), answer(8));
            assert_eq!((&plain.0, &plain.1), (&with.0, &with.1), "{family} {kv:?} {temperature}");
            assert_eq!(plain.2, 0);
            guessed += with.2;
        }
        assert!(guessed > 10, "{family}: {guessed}");
    }
}

/// A session that holds tokens computed ahead can be forked, grown and cut.
#[test]
fn what_is_computed_ahead_survives_forks() {
    let (folder, _file) = converted("llama", Group::G64);
    let model = Model::open(folder.path().join("model.kinglet")).unwrap();
    let some = &tiny::golden("llama").tokens[..6];
    let prompt: Vec<u32> = some.repeat(4);
    let options = GenerateOptions {
        // Of two tokens, so that guesses are made and come.
        logit_bias: some[..2].iter().map(|&token| (token, 40.0)).collect(),
        ignore_eos: true,
        ..GenerateOptions::greedy()
    };
    let whole = |lookup, step: &dyn Fn(&mut Session, usize)| {
        let mut session = model.session().unwrap();
        let options = GenerateOptions { lookup: Some(lookup), ..options.clone() };
        let mut state = session.begin_from(&prompt, &options).unwrap();
        for i in 0..30 {
            state.advance(&mut session).unwrap();
            step(&mut session, i);
        }
        assert_eq!(lookup > 0, state.guessed_tokens() > 5, "{}", state.guessed_tokens());
        (session.tokens().to_vec(), session.logits().to_vec())
    };
    let plain = whole(0, &|_, _| {});
    let disturbed = whole(8, &|session, i| match i % 3 {
        0 => {
            let mut fork = session.fork().unwrap();
            fork.feed(&[1, 2, 3]).unwrap();
        }
        1 => session.reserve(session.position() + 20).unwrap(),
        _ => {}
    });
    assert_eq!(plain, disturbed);
}
