//! Kinglet's half of the measurements in `peers/` that the command line has no verb for.
//!
//! Reads one JSON request from standard input and answers on standard output:
//! `{"model", "threads", "seconds", "batches": [[text, …], …], "texts": [text, …]}` gives
//! `{"ms": [per batch], "vectors": [per text], "kernels"}`; with `"translate": true` and no batches it
//! gives `{"one_by_one", "together": ms of all texts, "translations": [per text], "kernels"}`.

use std::error::Error;
use std::io::Read;
use std::time::Instant;

use kinglet::{Model, ModelOptions, TranslateOptions};
use serde_json::{Value, json};

#[allow(clippy::print_stdout, reason = "the answer is this program's output")]
fn main() -> Result<(), Box<dyn Error>> {
    let mut request = String::new();
    std::io::stdin().read_to_string(&mut request)?;
    let request: Value = serde_json::from_str(&request)?;
    let path = request["model"].as_str().ok_or("no model")?;
    let threads = usize::try_from(request["threads"].as_u64().ok_or("no threads")?)?;
    let model = Model::open_with(path, &ModelOptions::default().threads(threads))?;
    let mut answer = match request["translate"].as_bool() {
        Some(true) => translate(&model, &request)?,
        _ => embed(&model, &request)?,
    };
    answer["kernels"] = model.kernel_set().into();
    println!("{answer}");
    Ok(())
}

/// The least time of a few rounds, of which the first is not counted.
fn translate(model: &Model, request: &Value) -> Result<Value, Box<dyn Error>> {
    let texts: Vec<String> = serde_json::from_value(request["texts"].clone())?;
    let rounds = request["rounds"].as_u64().unwrap_or(3);
    let options = TranslateOptions::default();
    let mut translations = Vec::new();
    let (mut one_by_one, mut together) = (f64::INFINITY, f64::INFINITY);
    for round in 0..=rounds {
        let start = Instant::now();
        translations.clear();
        for text in &texts {
            translations.push(model.translate(&[text], &options)?.remove(0).text);
        }
        let single = 1000.0 * start.elapsed().as_secs_f64();
        let start = Instant::now();
        model.translate(&texts, &options)?;
        let batch = 1000.0 * start.elapsed().as_secs_f64();
        if round > 0 {
            (one_by_one, together) = (one_by_one.min(single), together.min(batch));
        }
    }
    Ok(json!({ "one_by_one": one_by_one, "together": together, "translations": translations }))
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
