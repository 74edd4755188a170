//! Two sessions of one model on two threads:
//! `cargo run --release -p kinglet --example two_sessions -- MODEL.kinglet`
#![allow(clippy::print_stdout)]

use std::thread;

use kinglet::{Error, GenerateOptions, Model};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("usage: two_sessions MODEL.kinglet")?;
    let model = Model::open(path)?;
    let continue_text = |text: &'static str| {
        // Weights and threads are shared; a session has its own tokens and cache.
        let mut session = model.session()?;
        let options = GenerateOptions::greedy().max_tokens(30);
        let answer: Result<String, Error> = session.generate(text, &options)?.collect();
        Ok::<String, Error>(format!("{text}{}", answer?))
    };
    thread::scope(|scope| {
        let texts = ["The sky is", "The sea is"];
        let threads = texts.map(|text| scope.spawn(move || continue_text(text)));
        for thread in threads {
            println!("{}\n", thread.join().map_err(|_| "a thread panicked")??);
        }
        Ok(())
    })
}
