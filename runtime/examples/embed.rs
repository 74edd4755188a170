//! The likeness of two texts:
//! `cargo run --release -p kinglet --example embed -- MODEL.kinglet TEXT TEXT`
#![allow(clippy::print_stdout)]

use kinglet::Model;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [path, one, other] = &arguments[..] else {
        return Err("usage: embed MODEL.kinglet TEXT TEXT".into());
    };
    let vectors = Model::open(path)?.embed(&[one, other])?;
    // The vectors have length one, so their product is the cosine of the angle between them.
    let cosine: f32 = vectors[0].iter().zip(&vectors[1]).map(|(a, b)| a * b).sum();
    println!("{cosine:.3}");
    Ok(())
}
