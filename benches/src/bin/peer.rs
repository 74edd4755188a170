//! Kinglet's half of the measurements in `peers/` that the command line has no verb for.
//!
//! Reads one JSON request from standard input and answers on standard output:
//! `{"model", "threads", "seconds", "batches": [[text, …], …], "texts": [text, …]}` gives
//! `{"ms": [per batch], "vectors": [per text], "kernels"}`.

use std::error::Error;
use std::io::Read;
use std::time::Instant;

use kinglet::{Model, ModelOptions};
use serde_json::{Value, json};

#[allow(clippy::print_stdout, reason = "the answer is this program's output")]
fn main() -> Result<(), Box<dyn Error>> {
    let mut request = String::new();
    std::io::stdin().read_to_string(&mut request)?;
    let request: Value = serde_json::from_str(&request)?;
    let path = request["model"].as_str().ok_or("no model")?;
    let threads = usize::try_from(request["threads"].as_u64().ok_or("no threads")?)?;
    let model = Model::open_with(path, &ModelOptions::default().threads(threads))?;
    let mut answer = embed(&model, &request)?;
    answer["kernels"] = model.kernel_set().into();
    println!("{answer}");
    Ok(())
}

fn embed(model: &Model, request: &Value) -> Result<Value, Box<dyn Error>> {
    let seconds = request["seconds"].as_f64().ok_or("no seconds")?;
    let batches: Vec<Vec<String>> = serde_json::from_value(request["batches"].clone())?;
    let texts: Vec<String> = serde_json::from_value(request["texts"].clone())?;
    let mut ms = Vec::new();
    for batch in &batches {
        model.embed(batch)?;
        let (start, mut calls) = (Instant::now(), 0);
        while start.elapsed().as_secs_f64() < seconds {
            model.embed(batch)?;
            calls += 1;
        }
        ms.push(1000.0 * start.elapsed().as_secs_f64() / f64::from(calls));
    }
    Ok(json!({ "ms": ms, "vectors": model.embed(&texts)? }))
}
