//! One model under several sessions, and sessions stopped from other threads.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::sync::mpsc;
use std::time::Duration;

use kinglet::{Model, ModelOptions};
use kinglet_quantize::WeightType;
use kinglet_tests::real;

fn model(threads: usize) -> Model {
    let path = real::converted("sharing", "smollm2-135m", WeightType::Int8);
    Model::open_with(path, &ModelOptions::default().threads(threads)).unwrap()
}

fn tokens(n: u32, step: u32) -> Vec<u32> {
    (0..n).map(|i| 100 + i * step % 4000).collect()
}

/// Logits after `tokens`, fed as a prompt and eight single tokens.
fn logits(model: &Model, tokens: &[u32]) -> Vec<f32> {
    let mut session = model.session().unwrap();
    let (prompt, rest) = tokens.split_at(tokens.len() - 8);
    assert!(session.feed(prompt).unwrap());
    for token in rest {
        assert!(session.feed(&[*token]).unwrap());
    }
    session.logits().to_vec()
}

#[test]
fn sessions_on_two_threads_share_a_model() {
    let model = model(3);
    let inputs = [tokens(60, 7), tokens(45, 13)];
    let alone: Vec<_> = inputs.iter().map(|tokens| logits(&model, tokens)).collect();
    std::thread::scope(|scope| {
        for (tokens, alone) in inputs.iter().zip(&alone) {
            let model = model.clone();
            scope.spawn(move || {
                for _ in 0..3 {
                    assert!(logits(&model, tokens) == *alone);
                }
            });
        }
    });
}

#[test]
fn a_session_stopped_in_a_step_goes_on() {
    let model = model(2);
    // Seconds of work, in batches of 256: the stop comes in the middle of one.
    let prompt = tokens(2048, 7);
    let mut session = model.session().unwrap();
    let cancel = session.cancel_token();
    let (started, is_started) = mpsc::channel();
    let mut session = std::thread::scope(|scope| {
        let prompt = &prompt;
        let worker = scope.spawn(move || {
            started.send(()).unwrap();
            assert!(!session.feed(prompt).unwrap(), "it ended before it was stopped");
            session
        });
        is_started.recv().unwrap();
        std::thread::sleep(Duration::from_millis(30));
        cancel.cancel();
        worker.join().unwrap()
    });

    // Whole batches are kept.
    assert!(session.position().is_multiple_of(256) && session.position() < prompt.len());
    assert_eq!(session.tokens(), &prompt[..session.position()]);
    // Where the machine is slow it was stopped in the first batch, and holds nothing.
    session.truncate(40);
    // A stop is over once it has stopped something: the next call begins anew.
    assert!(session.feed(&[5]).unwrap());
    let mut fresh = model.session().unwrap();
    fresh.feed(session.tokens()).unwrap();
    // The batches were cut elsewhere, and sums are taken in another order.
    let largest = fresh.logits().iter().fold(0.0f32, |max, x| max.max(x.abs()));
    let pairs = session.logits().iter().zip(fresh.logits());
    let difference = pairs.fold(0.0f32, |max, (a, b)| max.max((a - b).abs()));
    assert!(difference < 1e-2 * largest, "{difference} of {largest}");
}
