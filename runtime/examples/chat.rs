//! A conversation over standard input:
//! `cargo run --release -p kinglet --example chat -- MODEL.kinglet`
#![allow(clippy::print_stdout)]

use std::io::{BufRead, Write};

use kinglet::{GenerateOptions, Message, Model};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("usage: chat MODEL.kinglet")?;
    let mut chat = Model::open(path)?.chat()?;
    chat.push(Message::new("system", "You are a friendly ornithologist. Be brief."));
    for line in std::io::stdin().lock().lines() {
        // Each turn computes only what is new.
        let mut answer = chat.say(line?, &GenerateOptions::default().max_tokens(200))?;
        while let Some(piece) = answer.advance()? {
            print!("{piece}");
            std::io::stdout().flush()?;
        }
        println!();
    }
    Ok(())
}
