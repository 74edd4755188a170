//! Damaged bodies on every route: an error that says what is wrong, and nothing worse. A request that
//! is read to its end fails at the model, which cannot be opened here.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use serde_json::{Value, json};
use tower_service::Service;

use crate::models::{Models, Served};
use crate::{ServerOptions, State};

/// Damages of each body.
const ROUNDS: usize = 400;

/// Whole requests, with many fields.
fn requests() -> Vec<(&'static str, Value)> {
    let dials = json!({
        "model": "m", "max_tokens": 4, "temperature": 0.5, "top_k": 3, "top_p": 0.9, "min_p": 0.1, "seed": 1,
        "stop": ["a", "b"], "n": 2, "stream": false, "presence_penalty": 0.1, "frequency_penalty": 0.1,
        "repeat_penalty": 1.1, "repeat_last_n": 64, "logit_bias": {"5": -100, "7": 2.5}, "ignore_eos": false,
        "samplers": ["dry", "top_k", "temperature"], "dry_multiplier": 0.8, "dry_base": 1.75,
        "dry_allowed_length": 2, "dry_penalty_last_n": -1, "dry_sequence_breakers": ["\n"],
        "xtc_probability": 0.5, "xtc_threshold": 0.1, "typical_p": 0.9, "top_n_sigma": 1.0,
        "dynatemp_range": 0.1, "dynatemp_exponent": 1.0, "mirostat": 2, "mirostat_tau": 5.0, "mirostat_eta": 0.1,
        "cache_prompt": true, "user": "u",
    });
    let with = |own: Value| {
        let mut all = dials.clone();
        if let (Value::Object(all), Value::Object(own)) = (&mut all, own) {
            all.extend(own);
        }
        all
    };
    let tool =
        json!({"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}});
    let call = json!({"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}});
    let chat = json!({
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "a"}]},
            {"role": "assistant", "content": null, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "1", "content": "2"},
        ],
        "tools": [tool], "tool_choice": "auto", "parallel_tool_calls": true, "logprobs": true,
        "top_logprobs": 2, "reasoning_effort": "low", "chat_template_kwargs": {"enable_thinking": false},
        "response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "object"}}},
    });
    let streamed = json!({
        "messages": [{"role": "user", "content": "a"}], "stream": true,
        "stream_options": {"include_usage": true}, "response_format": {"type": "json_object"},
    });
    vec![
        ("/v1/chat/completions", with(chat)),
        ("/v1/chat/completions", with(streamed)),
        (
            "/v1/completions",
            with(json!({"prompt": ["a", [1, 2, 3]], "logprobs": 2, "suffix": "b", "echo": false})),
        ),
        ("/infill", with(json!({"input_prefix": "a", "input_suffix": "b"}))),
        (
            "/v1/embeddings",
            json!({"model": "m", "input": ["a", "b"], "encoding_format": "base64", "dimensions": 8}),
        ),
        ("/v1/embeddings", json!({"model": "m", "input": [[1, 2], [3]]})),
        (
            "/v1/rerank",
            json!({"model": "m", "query": "q", "documents": ["a", {"text": "b"}], "top_n": 1, "return_documents": true}),
        ),
        ("/classify", json!({"model": "m", "input": ["a"], "top_n": 2})),
        (
            "/tokenize",
            json!({"model": "m", "content": "a", "add_special": true, "with_pieces": true}),
        ),
        ("/detokenize", json!({"model": "m", "tokens": [1, 2]})),
        ("/apply-template", json!({"model": "m", "messages": [{"role": "user", "content": "a"}]})),
    ]
}

struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) as usize % n.max(1)
    }
}

/// A value that is seldom what was meant.
fn odd(random: &mut Random) -> Value {
    let deep = (0..100).fold(json!(1), |inner, _| json!([inner]));
    let all = [
        json!(null),
        json!(true),
        json!(-1),
        json!(0),
        json!(1e308),
        json!(-1e-308),
        json!(0.5),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(""),
        json!("\u{0}\u{fffd}🦆"),
        json!("x".repeat(5000)),
        json!([]),
        json!({}),
        json!([null]),
        json!({"type": 1, "": []}),
        json!([[[]]]),
        deep,
        json!({"$ref": "#"}),
    ];
    all[random.below(all.len())].clone()
}

/// Puts an odd value in some place, or takes it away, or says it twice.
fn damage(value: &mut Value, random: &mut Random) {
    match value {
        Value::Object(map) if !map.is_empty() && random.below(8) > 0 => {
            let key = map.keys().nth(random.below(map.len())).cloned().unwrap_or_default();
            match random.below(6) {
                0 => drop(map.remove(&key)),
                1 => drop(map.insert(format!("{key}x"), odd(random))),
                _ => damage(&mut map[&key], random),
            }
        }
        Value::Array(all) if !all.is_empty() && random.below(8) > 0 => {
            let at = random.below(all.len());
            match random.below(6) {
                0 => drop(all.remove(at)),
                1 => all.push(odd(random)),
                _ => damage(&mut all[at], random),
            }
        }
        other => *other = odd(random),
    }
}

#[test]
fn damaged_bodies_are_refused_on_every_route() {
    let served = Served {
        name: "m".to_owned(),
        open: Box::new(|| Err("there is no model here".to_owned())),
        defaults: kinglet::GenerateOptions::default(),
    };
    let options = ServerOptions::default();
    let state = Arc::new(State {
        models: Models::new(vec![served], options.scheduler.clone()),
        keys: Vec::new(),
        options,
        started: 0,
    });
    let mut router = super::router(state);
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(1).enable_all().build().unwrap();
    let mut ask = |route: &str, body: Vec<u8>| {
        let request =
            Request::post(route).header("host", "localhost").body(Body::from(body)).unwrap();
        runtime.block_on(async {
            let response = router.call(request).await.unwrap();
            let status = response.status().as_u16();
            (status, axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap())
        })
    };
    let mut random = Random(1);
    for (route, whole) in requests() {
        let (status, said) = ask(route, whole.to_string().into_bytes());
        assert!(status >= 500, "{route} was not read to its end: {status} {said:?}");
        let mut refused = 0;
        for round in 0..ROUNDS {
            let mut value = whole.clone();
            (0..=random.below(3)).for_each(|_| damage(&mut value, &mut random));
            let mut body = value.to_string().into_bytes();
            if round % 4 == 0 {
                // Bytes, not values.
                let at = random.below(body.len());
                match random.below(3) {
                    0 => body.truncate(at),
                    1 => body[at] = random.below(256) as u8,
                    _ => drop(body.splice(at..at, [b'[', b'{', b'"', 0xff])),
                }
            }
            let (status, said) = ask(route, body);
            let error: Value = serde_json::from_slice(&said).unwrap();
            let message = error["error"]["message"].as_str().unwrap_or_default();
            assert!(!message.is_empty() && (400..600).contains(&status), "{route}: {said:?}");
            refused += usize::from(status < 500);
        }
        assert!(refused > ROUNDS / 3, "{route}: {refused}");
    }
}
