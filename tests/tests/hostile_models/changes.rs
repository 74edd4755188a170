//! Other values for every place of a model's description.

use serde_json::{Value, json};

/// Pointers (`/a/0/b`) to everything in a value.
pub(crate) fn pointers(value: &Value, at: &str, out: &mut Vec<String>) {
    out.push(at.to_owned());
    match value {
        Value::Object(map) => map.iter().for_each(|(k, v)| pointers(v, &format!("{at}/{k}"), out)),
        Value::Array(list) => {
            list.iter().enumerate().for_each(|(i, v)| pointers(v, &format!("{at}/{i}"), out));
        }
        _ => {}
    }
}

/// Other values for one place of the meta section.
pub(crate) fn instead_of(value: &Value) -> Vec<Value> {
    let mut values = vec![Value::Null];
    match value {
        Value::Bool(flag) => values.push(json!(!flag)),
        Value::Number(n) => {
            let twice = n
                .as_u64()
                .map(|n| [n.saturating_mul(2), n / 2, n.saturating_add(1), n.saturating_sub(1)]);
            values.extend(twice.into_iter().flatten().map(|n| json!(n)));
            values.extend([json!(0), json!(1), json!(3), json!(-1), json!(1u32 << 24)]);
            values.extend([json!(1u32 << 28), json!(u32::MAX), json!(u64::MAX), json!("NaN")]);
            values.extend([json!(1e-30), json!(3e38), json!(1e300), json!(-0.5)]);
        }
        Value::String(_) => {
            for word in [
                "",
                "rms",
                "layer",
                "pre",
                "post",
                "sandwich",
                "silu",
                "gelu",
                "gelu_tanh",
                "relu",
                "encoder",
                "decoder",
                "attention",
                "mlp",
                "experts",
                "head",
                "projection",
                "patches",
                "vector",
                "logits",
                "scalar",
                "mean",
                "cls",
                "last",
                "max",
                "half",
                "adjacent",
                "none",
                "rope",
                "tokens",
                "{% for a in range(99999) %}{{ bos_token * 99999 }}{% endfor %}",
                "{{ messages[7].content }}",
                "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
            ] {
                values.push(json!(word));
            }
        }
        Value::Array(list) => {
            values.push(json!([]));
            values.push(list.iter().take(list.len() / 2).cloned().collect());
            values.push(list.iter().chain(list.last()).cloned().collect());
            values.push(list.iter().rev().cloned().collect());
            values.push(json!([0, 4_000_000_000u32, 70_000]));
        }
        Value::Object(_) => values.push(json!({})),
        Value::Null => {}
    }
    values
}

/// Fields that a tiny model leaves out.
fn additions() -> Vec<(&'static str, &'static str, Vec<Value>)> {
    let numbers =
        || vec![json!(0), json!(1), json!(3), json!(1e-30), json!(1u64 << 40), json!(3e38)];
    let norm = json!({"kind": "rms", "eps": 0.0});
    vec![
        ("attention", "sliding_window", numbers()),
        ("attention", "soft_cap", numbers()),
        (
            "attention",
            "qk_norm",
            vec![
                json!({"norm": norm.clone(), "scope": "head"}),
                json!({"norm": norm.clone(), "scope": "projection"}),
            ],
        ),
        ("attention", "q_bias", vec![json!(true)]),
        ("attention", "causal", vec![json!(true)]),
        ("attention", "memory", vec![json!("encoder"), json!("decoder"), json!("x")]),
        ("block", "pre", vec![norm.clone()]),
        ("block", "post", vec![norm.clone()]),
        ("block", "after", vec![norm.clone()]),
        (
            "block",
            "gain",
            vec![
                json!({"kind": "vector"}),
                json!({"kind": "scalar", "factor": 3e38}),
                json!({"kind": "scalar", "factor": 0.0}),
            ],
        ),
        ("layer", "weights_of", vec![json!(0), json!(1), json!(u64::MAX)]),
        ("head", "pool", vec![json!("mean"), json!("last")]),
        ("head", "stack", vec![json!("encoder"), json!("decoder"), json!("x")]),
        ("head", "chain", vec![json!([{"size": 3}]), json!([{"size": 64, "activation": "tanh"}])]),
        ("tokens", "width", vec![json!(1), json!(64), json!(1u64 << 40)]),
        ("tokens", "table_of", vec![json!("encoder"), json!("decoder")]),
        ("attention", "output_bias", vec![json!(true)]),
        (
            "attention",
            "position",
            vec![
                json!({"kind": "none"}),
                json!({"kind": "rope", "theta": 1.0, "dims": 2}),
                json!({"kind": "rope", "theta": 1e-38, "dims": 4}),
                json!({"kind": "relative_buckets", "n_buckets": 1, "max_distance": 1,
                       "two_way": true}),
                json!({"kind": "relative_buckets", "n_buckets": 8, "max_distance": 1048576,
                       "two_way": false}),
            ],
        ),
        (
            "position",
            "scaling",
            vec![
                json!({"kind": "linear", "factor": 1e-38}),
                json!({"kind": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
                       "high_freq_factor": 1.000001, "original_context_length": 1}),
                json!({"kind": "yarn", "factor": 4.0, "original_context_length": 1,
                       "beta_fast": 1e-38, "beta_slow": 3e38, "attention_factor": 3e38}),
                json!({"kind": "per_frequency", "factors": [1e-38], "attention_factor": 1.0}),
            ],
        ),
        ("mlp", "bias", vec![json!(true)]),
        ("", "embedding", vec![json!({"max_tokens": 0}), json!({"max_tokens": 1})]),
        ("", "embedding", vec![json!({"max_tokens": u64::MAX}), json!({"max_tokens": 2})]),
        (
            "",
            "chat_template",
            vec![
                json!("{{ messages[0].content }}"),
                json!("{% for m in messages %}{{ bos_token }}{{ m.content }}{% endfor %}"),
                json!("{% for a in range(9999) %}{{ 'x' * 99999 }}{% endfor %}"),
            ],
        ),
        ("generation", "bos", vec![json!(0), json!(u32::MAX), json!(70_000)]),
        ("generation", "eos", vec![json!([]), json!([u32::MAX]), json!([0, 0, 0])]),
        ("generation", "temperature", numbers()),
        ("generation", "top_k", numbers()),
        ("generation", "top_p", numbers()),
        ("generation", "min_p", numbers()),
        ("generation", "repeat_penalty", numbers()),
    ]
}

/// Every change of one place, as the changed meta section.
pub(crate) fn single_changes(meta: &Value) -> Vec<(String, Value)> {
    let (mut paths, mut changed) = (Vec::new(), Vec::new());
    pointers(meta, "", &mut paths);
    for path in &paths {
        for value in instead_of(meta.pointer(path).unwrap()) {
            let mut other = meta.clone();
            let what = format!("{path} = {value}");
            *other.pointer_mut(path).unwrap() = value;
            changed.push((what, other));
        }
        if let Some((parent, key)) = path.rsplit_once('/') {
            let mut other = meta.clone();
            if let Some(map) = other.pointer_mut(parent).and_then(Value::as_object_mut) {
                map.remove(key);
                changed.push((format!("no {path}"), other));
            }
        }
        for (owner, key, values) in additions() {
            let mut names = path.rsplit('/');
            let (last, parent) = (names.next(), names.next());
            let is_number = last.is_some_and(|last| last.parse::<usize>().is_ok());
            let owned = match owner {
                "block" => is_number && parent == Some("blocks"),
                "layer" => is_number && parent == Some("layers"),
                "head" => is_number && parent == Some("heads"),
                "tokens" => last == Some("input"),
                _ => last == Some(owner),
            };
            if !owned {
                continue;
            }
            for value in values {
                let mut other = meta.clone();
                if let Some(map) = other.pointer_mut(path).and_then(Value::as_object_mut) {
                    map.insert(key.to_owned(), value.clone());
                    changed.push((format!("{path}/{key} = {value}"), other));
                }
            }
        }
    }
    changed
}

/// Sets `key` wherever it occurs, so that layers stay alike.
pub(crate) fn set_all(value: &mut Value, key: &str, to: &Value) {
    match value {
        Value::Object(map) => {
            for (k, v) in map.iter_mut() {
                if k == key {
                    *v = to.clone();
                } else {
                    set_all(v, key, to);
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(|v| set_all(v, key, to)),
        _ => {}
    }
}
