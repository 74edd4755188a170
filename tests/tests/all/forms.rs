//! Answers that keep to a form, by a model that knows nothing.

#![allow(clippy::unwrap_used, reason = "a test may fail and tell")]

use kinglet::{Error, FinishReason, Form, GenerateOptions, Model};
use kinglet_quantize::{Options, Source, quantize};
use kinglet_tests::tiny;
use serde_json::{Value, json};

fn model() -> (tempfile::TempDir, Model) {
    let folder = tiny::checkpoint("llama3-rope-scaling");
    let path = folder.path().join("model.kinglet");
    quantize(&Source::open(folder.path()).unwrap(), &Options::default(), &path, &mut ()).unwrap();
    let model = Model::open(path).unwrap();
    (folder, model)
}

/// An answer, and whether it ended by itself.
fn answer(model: &Model, form: Form, seed: u64) -> (String, bool) {
    let options = GenerateOptions {
        form: Some(form),
        temperature: Some(1.0),
        top_k: Some(0),
        top_p: Some(1.0),
        min_p: Some(0.0),
        seed: Some(seed),
        ..GenerateOptions::default().max_tokens(300)
    };
    let mut session = model.session().unwrap();
    let mut answer = session.generate("ab", &options).unwrap();
    let mut text = String::new();
    while let Some(piece) = answer.advance().unwrap() {
        text.push_str(piece);
    }
    (text, answer.finish_reason() == Some(FinishReason::Eos))
}

/// A sequence of numbers that look random.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

/// A schema of random depth.
fn schema(dice: &mut Dice, depth: u64) -> Value {
    match dice.below(if depth == 0 { 5 } else { 8 }) {
        0 => json!({"type": "boolean"}),
        1 => json!({"type": "integer", "minimum": -20, "maximum": 300}),
        2 => json!({"type": "string", "maxLength": 4}),
        3 => json!({"enum": ["wren", "kinglet", 7, null]}),
        4 => json!({"type": "number", "minimum": 0, "maximum": 1}),
        5 => {
            let most = 1 + dice.below(3);
            json!({"type": "array", "items": schema(dice, depth - 1), "maxItems": most})
        }
        6 => json!({"anyOf": [schema(dice, depth - 1), schema(dice, depth - 1)]}),
        _ => {
            let n = 1 + dice.below(3);
            let names: Vec<String> = (0..n).map(|i| format!("p{i}")).collect();
            let properties: serde_json::Map<String, Value> =
                names.iter().map(|name| (name.clone(), schema(dice, depth - 1))).collect();
            json!({
                "type": "object", "properties": properties, "required": names,
                "additionalProperties": false,
            })
        }
    }
}

/// Whether the schema, one of those above, describes the value.
fn is_valid(schema: &Value, value: &Value) -> bool {
    if let Some(any) = schema["anyOf"].as_array() {
        return any.iter().any(|schema| is_valid(schema, value));
    }
    if let Some(values) = schema["enum"].as_array() {
        return values.contains(value);
    }
    let within = |x: f64| {
        schema["minimum"].as_f64().unwrap() <= x && x <= schema["maximum"].as_f64().unwrap()
    };
    match schema["type"].as_str().unwrap() {
        "boolean" => value.is_boolean(),
        "integer" => value.as_f64().is_some_and(|x| x.fract() == 0.0 && within(x)),
        "number" => value.as_f64().is_some_and(within),
        "string" => value.as_str().is_some_and(|text| text.chars().count() <= 4),
        "array" => value.as_array().is_some_and(|all| {
            all.len() as u64 <= schema["maxItems"].as_u64().unwrap()
                && all.iter().all(|value| is_valid(&schema["items"], value))
        }),
        _ => value.as_object().is_some_and(|map| {
            let properties = schema["properties"].as_object().unwrap();
            map.len() == properties.len()
                && properties.iter().all(|(name, schema)| {
                    map.get(name).is_some_and(|value| is_valid(schema, value))
                })
        }),
    }
}

#[test]
fn every_answer_that_ends_is_what_its_schema_describes() {
    let (_folder, model) = model();
    let mut dice = Dice(1);
    let mut ended = 0;
    for seed in 0..60 {
        let schema = schema(&mut dice, 3);
        let (text, complete) = answer(&model, Form::JsonSchema(schema.clone()), seed);
        if complete {
            let value: Value = serde_json::from_str(&text)
                .unwrap_or_else(|error| panic!("{error}: {text}, of {schema}"));
            assert!(is_valid(&schema, &value), "{value} is not of {schema}");
            ended += 1;
        }
    }
    assert!(ended > 40, "only {ended} of 60 ended");
}

#[test]
fn expressions_and_grammars_are_kept_to() {
    let (_folder, model) = model();
    for seed in 0..5 {
        let (text, ended) = answer(&model, Form::Regex("[a-f]{3}-[0-9]{2}".to_owned()), seed);
        assert!(ended && text.len() == 6 && text.as_bytes()[3] == b'-', "{text}");
        let lark = "start: \"a \" (\"bird\" | \"ship\")".to_owned();
        let (text, ended) = answer(&model, Form::Lark(lark), seed);
        assert!(ended && ["a bird", "a ship"].contains(&text.as_str()), "{text}");
        let (text, ended) = answer(&model, Form::JsonObject, seed);
        // JSON's numbers may be larger than what reads them holds.
        let sound = match serde_json::from_str::<Value>(&text) {
            Ok(value) => value.is_object(),
            Err(error) => !ended || error.to_string().contains("number out of range"),
        };
        assert!(sound, "{text}");
        assert!(text.trim_start().starts_with('{'), "{text}");
    }
}

#[test]
fn forms_that_cannot_be_are_refused() {
    let (_folder, model) = model();
    let forms = [
        Form::JsonSchema(json!({"type": "bird"})),
        Form::JsonSchema(json!(7)),
        Form::JsonSchema(json!({"$ref": "#/definitions/none"})),
        Form::Regex("(".to_owned()),
        Form::Lark("start: nothing".to_owned()),
        Form::Lark(String::new()),
    ];
    for form in forms {
        let told = format!("{form:?}");
        let options = GenerateOptions { form: Some(form), ..GenerateOptions::default() };
        let mut session = model.session().unwrap();
        match session.generate("ab", &options) {
            Err(Error::Form { reason }) => assert!(!reason.is_empty(), "{told}"),
            other => panic!("{told}: {other:?}"),
        };
        assert_eq!(session.position(), 0);
    }
}
