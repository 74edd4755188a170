//! Heads by configuration.

use serde_json::{Map, Value, json};

use super::*;

fn object(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn with<T>(config: Value, read: impl FnOnce(&Fields<'_>) -> T) -> T {
    read(&Fields::json("config.json", &object(config)))
}

#[test]
fn labels_are_in_the_order_of_their_numbers() {
    let names = with(json!({"id2label": {"1": "B", "0": "A", "2": "C"}}), labels).unwrap();
    assert_eq!(names, ["A", "B", "C"]);
    assert_eq!(with(json!({}), labels).unwrap(), ["LABEL_0", "LABEL_1"]);
    assert_eq!(with(json!({"num_labels": 1}), labels).unwrap(), ["LABEL_0"]);
    for (config, problem) in [
        (json!({"id2label": {"0": "A", "2": "C"}}), "key `id2label.1` is missing"),
        (json!({"id2label": {}}), "key `id2label` is empty"),
        (json!({"id2label": {"0": 7}}), "key `id2label.0` is 7, expected a string"),
        (json!({"num_labels": 1_000_000_000}), "expected at most 65536"),
    ] {
        let error = with(config, labels).unwrap_err().to_string();
        assert!(error.contains(problem), "{error}");
    }
}

#[test]
fn scores_follow_problem_type_and_number_of_labels() {
    let one = json!({"0": "relevant"});
    for (config, expected) in [
        (json!({}), Scores::Softmax),
        (json!({"problem_type": "multi_label_classification"}), Scores::Sigmoid),
        (json!({"problem_type": "single_label_classification"}), Scores::Softmax),
        (json!({"problem_type": "regression"}), Scores::Raw),
        (json!({"id2label": one}), Scores::Sigmoid),
        (json!({"id2label": one, "problem_type": "regression"}), Scores::Raw),
        (
            json!({"id2label": one, "sbert_ce_default_activation_function":
                "torch.nn.modules.linear.Identity"}),
            Scores::Raw,
        ),
        (
            json!({"id2label": one, "sentence_transformers":
                {"activation_fn": "torch.nn.modules.activation.Sigmoid"}}),
            Scores::Sigmoid,
        ),
        (
            json!({"sentence_transformers": {"activation_fn": "torch.nn.modules.linear.Identity"}}),
            Scores::Softmax,
        ),
    ] {
        let found = with(config.clone(), scores).unwrap();
        assert_eq!(found, expected, "{config}");
    }
    for config in [
        json!({"problem_type": "ranking"}),
        json!({"id2label": one, "sentence_transformers": {"activation_fn": "torch.nn.Tanh"}}),
    ] {
        assert!(with(config, scores).is_err());
    }
}
