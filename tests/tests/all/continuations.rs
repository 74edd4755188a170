//! What real models continue texts with, beside llama.cpp's continuations, and their perplexity.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may fail and tell")]

use kinglet::{KvType, Model, SessionOptions};
use kinglet_tests::references::Continuation;

/// Tokens of a chunk of which the second half is scored.
pub(crate) const CONTEXT: usize = 512;

/// The first greedy tokens after a prompt, `n` at most.
pub(crate) fn greedy(model: &Model, prompt: &[u32], n: usize) -> Vec<u32> {
    let mut session = model.session().unwrap();
    let mut ids = Vec::new();
    session.feed(prompt).unwrap();
    while ids.len() < n {
        let id = kinglet::argmax(session.logits());
        ids.push(id);
        if model.meta().generation.eos.contains(&id) {
            break;
        }
        session.feed(&[id]).unwrap();
    }
    ids
}

/// Continuations equal to llama.cpp's, all of their tokens.
pub(crate) fn equal(model: &Model, continuations: &[Continuation]) -> usize {
    let mut n = 0;
    for golden in continuations {
        let ids = greedy(model, &golden.prompt_ids, golden.ids.len());
        let same = ids.iter().zip(&golden.ids).take_while(|(a, b)| a == b).count();
        if same == golden.ids.len() {
            n += 1;
        } else {
            println!("{:?}: token {same} differs, decided by {}", golden.prompt, golden.gaps[same]);
        }
    }
    n
}

/// Log-probabilities of the scored half of a chunk: `[row][vocab_size]`, and the tokens to come.
pub(crate) fn scored(
    model: &Model,
    kv: KvType,
    chunk: &[u32],
    mut visit: impl FnMut(usize, &[f64]),
) {
    let options = SessionOptions::default().context_length(CONTEXT).kv(kv);
    let mut session = model.session_with(&options).unwrap();
    let mut logprobs = vec![0.0; model.vocab_size()];
    let visit = |i: usize, logits: &[f32]| {
        if i + 1 < chunk.len() {
            let max = logits.iter().copied().fold(f32::MIN, f32::max);
            let sum: f64 = logits.iter().map(|&x| f64::from(x - max).exp()).sum();
            let normalizer = f64::from(max) + sum.ln();
            for (p, &x) in logprobs.iter_mut().zip(logits) {
                *p = f64::from(x) - normalizer;
            }
            visit(i, &logprobs);
        }
    };
    session.score(chunk, CONTEXT / 2, visit).unwrap();
}
