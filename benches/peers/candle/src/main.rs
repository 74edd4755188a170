//! Candle's half of the measurements: the counterpart of `benches/src/bin/peer.rs`.
//!
//! Reads one JSON request from standard input and answers on standard output.
//! `{"model", "tokenizer", "config", "seconds", "batches": [[text, …], …], "texts": [text, …]}`
//! gives `{"ms": [per batch], "vectors": [per text]}` of a BERT encoder in f32, mean pooling;
//! `{"gguf", "prompt", "tokens"}` gives `{"pp_s", "tg_s"}`, tokens a second of a quantized Llama.
//! Threads are set by RAYON_NUM_THREADS, as for any program that uses candle.

use std::error::Error;
use std::fs::File;
use std::io::Read;
use std::time::Instant;

use candle_core::quantized::gguf_file;
use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::bert::{BertModel, Config};
use candle_transformers::models::quantized_llama::ModelWeights;
use serde_json::{Value, json};
use tokenizers::{PaddingParams, Tokenizer, TruncationParams};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Result<()> {
    let mut request = String::new();
    std::io::stdin().read_to_string(&mut request)?;
    let request: Value = serde_json::from_str(&request)?;
    let answer = if request["gguf"].is_string() { decoder(&request)? } else { embed(&request)? };
    println!("{answer}");
    Ok(())
}

fn path<'a>(request: &'a Value, key: &str) -> Result<&'a str> {
    request[key].as_str().ok_or_else(|| format!("no {key}").into())
}

fn embed(request: &Value) -> Result<Value> {
    let config: Config = serde_json::from_reader(File::open(path(request, "config")?)?)?;
    let bytes = std::fs::read(path(request, "model")?)?;
    let weights = VarBuilder::from_buffered_safetensors(bytes, DType::F32, &Device::Cpu)?;
    let model = BertModel::load(weights, &config)?;
    let mut tokenizer = Tokenizer::from_file(path(request, "tokenizer")?)?;
    let truncation = TruncationParams { max_length: 256, ..Default::default() };
    tokenizer.with_truncation(Some(truncation))?.with_padding(Some(PaddingParams::default()));

    let seconds = request["seconds"].as_f64().ok_or("no seconds")?;
    let batches: Vec<Vec<String>> = serde_json::from_value(request["batches"].clone())?;
    let texts: Vec<String> = serde_json::from_value(request["texts"].clone())?;
    let mut ms = Vec::new();
    for batch in batches {
        vectors(&model, &tokenizer, &batch)?;
        let (start, mut calls) = (Instant::now(), 0);
        while start.elapsed().as_secs_f64() < seconds {
            vectors(&model, &tokenizer, &batch)?;
            calls += 1;
        }
        ms.push(1000.0 * start.elapsed().as_secs_f64() / f64::from(calls));
    }
    let mut found = Vec::new();
    for text in texts {
        found.extend(vectors(&model, &tokenizer, &[text])?);
    }
    Ok(json!({ "ms": ms, "vectors": found }))
}

/// Normalised means of the last hidden states, `[texts][hidden]`.
fn vectors(model: &BertModel, tokenizer: &Tokenizer, texts: &[String]) -> Result<Vec<Vec<f32>>> {
    let encoded = tokenizer.encode_batch(texts.to_vec(), true)?;
    let rows = |row: fn(&tokenizers::Encoding) -> &[u32]| -> Result<Tensor> {
        let rows: Vec<&[u32]> = encoded.iter().map(row).collect();
        let length = rows[0].len();
        Ok(Tensor::from_vec(rows.concat(), (texts.len(), length), &Device::Cpu)?)
    };
    let ids = rows(|e| e.get_ids())?;
    let mask = rows(|e| e.get_attention_mask())?;
    let hidden = model.forward(&ids, &ids.zeros_like()?, Some(&mask))?;
    let mask = mask.to_dtype(DType::F32)?.unsqueeze(2)?;
    let mean = hidden.broadcast_mul(&mask)?.sum(1)?.broadcast_div(&mask.sum(1)?)?;
    let length = mean.sqr()?.sum_keepdim(1)?.sqrt()?;
    Ok(mean.broadcast_div(&length)?.to_vec2()?)
}

fn decoder(request: &Value) -> Result<Value> {
    let mut file = File::open(path(request, "gguf")?)?;
    let content = gguf_file::Content::read(&mut file)?;
    let mut model = ModelWeights::from_gguf(content, &mut file, &Device::Cpu)?;
    let count = |key: &str| request[key].as_u64().map(|n| n as u32).ok_or(format!("no {key}"));
    let (prompt, tokens) = (count("prompt")?, count("tokens")?);
    // The speed does not depend on which ids they are.
    let ids = |range: std::ops::Range<u32>| -> Result<Tensor> {
        let ids: Vec<u32> = range.map(|i| i * 31 % 30_000).collect();
        Ok(Tensor::new(ids, &Device::Cpu)?.unsqueeze(0)?)
    };
    model.forward(&ids(0..16)?, 0)?;
    let start = Instant::now();
    model.forward(&ids(0..prompt)?, 0)?;
    let pp_s = f64::from(prompt) / start.elapsed().as_secs_f64();
    // Decoding starts with an empty cache, as in llama-bench.
    let start = Instant::now();
    for i in 0..tokens {
        model.forward(&ids(i..i + 1)?, i as usize)?;
    }
    Ok(json!({ "pp_s": pp_s, "tg_s": f64::from(tokens) / start.elapsed().as_secs_f64() }))
}
