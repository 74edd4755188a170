//! Converts a checkpoint and prints what became of each tensor.
//!
//! ```sh
//! cargo run --release --example convert -- CHECKPOINT OUT.kinglet [int8|f16] [32|64|128|row]
//! ```
#![allow(clippy::print_stdout)]

use std::time::Instant;

use kinglet_quantize::{Options, Source, quantize};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [input, output, rest @ ..] = arguments.as_slice() else {
        return Err("usage: convert CHECKPOINT OUT.kinglet [int8|f16] [32|64|128|row]".into());
    };
    let mut options = Options::default();
    if let Some(dtype) = rest.first() {
        options.dtype = dtype.parse()?;
    }
    if let Some(group) = rest.get(1) {
        options.group = group.parse()?;
    }
    let start = Instant::now();
    let report = quantize(&Source::open(input)?, &options, output, &mut ())?;
    for tensor in &report.tensors {
        println!(
            "{:44} {:16} {:9} {:10} bytes  error {:.5}",
            tensor.name,
            format!("{:?}", tensor.dims),
            tensor.layout.to_string(),
            tensor.bytes,
            tensor.relative_error
        );
    }
    println!(
        "{}: {} weights, {:.3} bits each, {} bytes, {:.1} s; ignored: {:?}",
        report.family,
        report.weights(),
        report.bits_per_weight(),
        report.output_bytes,
        start.elapsed().as_secs_f32(),
        report.ignored
    );
    Ok(())
}
