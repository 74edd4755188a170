//! Continues a text:
//! `cargo run --release -p kinglet --example generate -- MODEL.kinglet "Once upon a time"`
#![allow(clippy::print_stdout)]

use std::io::Write;

use kinglet::{GenerateOptions, Model};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("usage: generate MODEL.kinglet [TEXT]")?;
    let text = arguments.next().unwrap_or_else(|| "Once upon a time".to_owned());

    let model = Model::open(path)?;
    let mut session = model.session()?;
    let options = GenerateOptions::default().max_tokens(100);
    let mut generation = session.generate(&text, &options)?;
    while let Some(piece) = generation.advance()? {
        print!("{piece}");
        std::io::stdout().flush()?;
    }
    println!();
    Ok(())
}
