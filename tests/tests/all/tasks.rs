//! Encoders with heads of tasks, against the pipelines of the reference implementation.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may fail and tell")]

use kinglet::{
    Aggregation, AnswerOptions, Classification, Error, Model, ModelOptions, TagOptions, Task,
    ZeroShotOptions,
};
use kinglet_quantize::{Options, Source, WeightType, quantize};
use kinglet_tests::{tasks, tiny};
use serde_json::Value;

/// Largest difference of a score in fp16.
const F16_TOLERANCE: f64 = 1e-3;
const INT8_TOLERANCE: f64 = 0.05;

/// The tiny checkpoint called `name` with its configuration changed, converted and opened.
fn changed(name: &str, dtype: WeightType, change: impl FnOnce(&mut Value)) -> Model {
    let folder = tiny::checkpoint(name);
    let path = folder.path().join("config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    change(&mut config);
    std::fs::write(&path, config.to_string()).unwrap();
    let model = folder.path().join("model.kinglet");
    let options = Options { dtype, ..Options::default() };
    quantize(&Source::open(folder.path()).unwrap(), &options, &model, &mut ()).unwrap();
    Model::open_with(&model, &ModelOptions::default().read_into_memory(true)).unwrap()
}

fn open(name: &str, dtype: WeightType) -> Model {
    changed(name, dtype, |_| ())
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

fn texts(value: &Value) -> Vec<&str> {
    list(value).iter().map(|text| text.as_str().unwrap()).collect()
}

/// Each label's score must be that of the golden's `[label, score]`.
#[track_caller]
fn check_labels(found: &Classification, golden: &[Value], tolerance: f64) {
    assert_eq!(found.scores.len(), golden.len());
    assert!(found.scores.is_sorted_by(|a, b| a.score >= b.score));
    for pair in golden {
        let score = found.scores.iter().find(|one| one.label == pair[0].as_str().unwrap()).unwrap();
        let off = (f64::from(score.score) - pair[1].as_f64().unwrap()).abs();
        assert!(off < tolerance, "{}: off by {off}", score.label);
    }
}

#[test]
fn texts_get_the_labels_of_the_pipeline() {
    for name in tasks::checkpoints_of("sequences") {
        let golden = tasks::golden(name);
        let rows = list(&golden["rows"]);
        let of_texts: Vec<&str> = rows
            .iter()
            .filter(|row| list(&row["text"]).len() == 1)
            .map(|row| row["text"][0].as_str().unwrap())
            .collect();
        for (dtype, tolerance) in
            [(WeightType::F16, F16_TOLERANCE), (WeightType::Int8, INT8_TOLERANCE)]
        {
            let model = open(name, dtype);
            assert_eq!(model.tasks(), [Task::Classify]);
            let found = model.classify(&of_texts).unwrap();
            assert_eq!(found.len(), list(&golden["classified"]).len());
            for (i, found) in found.iter().enumerate() {
                check_labels(found, list(&golden["classified"][i]), tolerance);
                assert_eq!(found.length.tokens, list(&rows[i]["ids"]).len());
                assert!(!found.length.truncated);
            }
        }
    }
}

/// Pairs have segments and a template of their own.
#[test]
fn pairs_get_the_logits_of_the_reference() {
    for name in tasks::checkpoints_of("sequences").chain(["bert-rerank"]) {
        // Bare logits.
        let raw = |config: &mut Value| config["problem_type"] = "regression".into();
        let model = changed(name, WeightType::F16, raw);
        let golden = tasks::golden(name);
        let mut n = 0;
        for row in list(&golden["rows"]) {
            let [first, second] = texts(&row["text"])[..] else { continue };
            let found = &model.classify_pairs(&[(first, second)]).unwrap()[0];
            assert_eq!(found.length.tokens, list(&row["ids"]).len());
            let labels = model.labels().iter().map(|label| Value::from(label.as_str()));
            let logits: Vec<Value> = labels
                .zip(list(&row["logits"][0]))
                .map(|(label, logit)| Value::from(vec![label, logit.clone()]))
                .collect();
            check_labels(found, &logits, 0.005);
            n += 1;
        }
        assert_eq!(n, 3);
    }
}

#[test]
fn labels_that_are_given_get_the_scores_of_the_pipeline() {
    for name in tasks::checkpoints_of("sequences") {
        let model = open(name, WeightType::F16);
        for case in list(&tasks::golden(name)["zero_shot"]) {
            let options = ZeroShotOptions::default()
                .template(case["template"].as_str().unwrap())
                .multi(case["multi"].as_bool().unwrap());
            let text = case["text"].as_str().unwrap();
            let found = model.classify_zero_shot(&[text], &texts(&case["labels"]), &options);
            let found = &found.unwrap()[0];
            let sorted = list(&case["sorted"]).iter().zip(list(&case["scores"]));
            let golden: Vec<Value> =
                sorted.map(|(label, score)| vec![label.clone(), score.clone()].into()).collect();
            check_labels(found, &golden, F16_TOLERANCE);
        }
    }
}

#[test]
fn many_texts_get_the_bits_of_each_alone() {
    let model = open("bert-sequences", WeightType::Int8);
    let texts: Vec<String> = (0..60).map(|i| "the wren is small ".repeat(i % 9)).collect();
    let together = model.classify(&texts).unwrap();
    for (text, together) in texts.iter().zip(&together) {
        assert_eq!(model.classify(&[text]).unwrap()[0], *together);
    }
}

#[test]
fn what_is_cut_is_told() {
    let model = open("bert-sequences", WeightType::F16);
    let long = "wren ".repeat(100);
    let found = &model.classify(&[&long]).unwrap()[0];
    assert!(found.length.truncated && found.length.tokens == 102);
    // The reference reads the first 62 of them.
    assert_eq!(found.scores, model.classify(&["wren ".repeat(62)]).unwrap()[0].scores);
    let options = ZeroShotOptions::default();
    let found = &model.classify_zero_shot(&[&long], &["bird"], &options).unwrap()[0];
    assert!(found.length.truncated);
}

#[test]
fn what_cannot_be_classified_is_an_error() {
    let model = open("bert-sequences", WeightType::F16);
    let none: [&str; 0] = [];
    assert!(matches!(model.classify(&none), Err(Error::Empty { .. })));
    let options = ZeroShotOptions::default();
    let zero_shot = |labels: &[&str], options: &ZeroShotOptions| {
        model.classify_zero_shot(&["a"], labels, options).unwrap_err().to_string()
    };
    assert_eq!(zero_shot(&[], &options), "the list of labels is empty");
    let plain = options.clone().template("about it");
    assert!(zero_shot(&["a"], &plain).contains("{} where the label goes"));
    let embeds = open("bert", WeightType::F16);
    let error = embeds.classify(&["a"]).unwrap_err().to_string();
    assert_eq!(error, "the model cannot classify texts: it is for `embed`");
    let other =
        |config: &mut Value| config["id2label"] = serde_json::json!({"0": "a", "1": "b", "2": "c"});
    let model = changed("bert-sequences", WeightType::F16, other);
    let error = model.classify_zero_shot(&["a"], &["b"], &options).unwrap_err().to_string();
    assert!(error.contains("natural language inference"), "{error}");
}

#[test]
fn labels_that_do_not_fit_the_weights_are_an_error() {
    let folder = tiny::checkpoint("bert-sequences");
    let path = folder.path().join("config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    config["id2label"] = serde_json::json!({"0": "yes", "1": "no"});
    std::fs::write(&path, config.to_string()).unwrap();
    let source = Source::open(folder.path()).unwrap();
    let target = folder.path().join("model.kinglet");
    let error = quantize(&source, &Options::default(), &target, &mut ()).unwrap_err().to_string();
    assert!(error.contains("classifier.weight") && error.contains("[3, 64]"), "{error}");
}

/// An encoder that fills masks gives vectors too; without its head's weights, only these.
#[test]
fn a_masked_language_model_embeds_too() {
    for name in tasks::checkpoints_of("masks") {
        let model = open(name, WeightType::F16);
        assert_eq!(model.tasks(), [Task::FillMask, Task::Embed]);
        assert!(!model.is_generative());
        assert_eq!(model.embed(&["the wren"]).unwrap()[0].len(), 64);
    }
}

fn close(found: f32, golden: &Value, tolerance: f64) -> bool {
    (f64::from(found) - golden.as_f64().unwrap()).abs() < tolerance
}

#[test]
fn texts_get_the_entities_of_the_pipeline() {
    tasks::checkpoints_of("tokens").for_each(check_entities);
}

fn check_entities(name: &str) {
    let model = open(name, WeightType::F16);
    assert_eq!(model.tasks(), [Task::Tag]);
    for case in list(&tasks::golden(name)["tokens"]) {
        let aggregation: Aggregation = case["strategy"].as_str().unwrap().parse().unwrap();
        let mut options = TagOptions::default().aggregation(aggregation).characters(true);
        options.stride = case["stride"].as_u64().map(|stride| stride as usize);
        let text = case["text"].as_str().unwrap();
        let found = model.tag(&[text], &options).unwrap().remove(0);
        let golden = list(&case["entities"]);
        let of = format!("{name}: {aggregation} of {text:?}");
        assert_eq!(found.windows > 1, case["stride"].is_u64(), "{of}");
        assert_eq!(found.entities.len(), golden.len(), "{of}: {:?}", found.entities);
        for (found, golden) in found.entities.iter().zip(golden) {
            assert_eq!(found.label, golden[0].as_str().unwrap(), "{of}");
            assert!(close(found.score, &golden[1], F16_TOLERANCE), "{of}: {found:?}, not {golden}");
            assert_eq!(
                [&golden[2], &golden[3]],
                [found.start, found.end].map(Value::from).each_ref()
            );
        }
    }
}

#[test]
fn places_are_bytes_of_the_text() {
    let model = open("bert-tokens", WeightType::F16);
    let text = "Café Zoë, 東京 and the king's 🐦 bird in range(10)";
    for aggregation in Aggregation::ALL {
        let options = TagOptions::default().aggregation(aggregation);
        let found = model.tag(&[text, "", text], &options).unwrap();
        assert!(found[1].entities.is_empty() && found[1].tokens == 0);
        assert_eq!(found[0], found[2]);
        for entity in &found[0].entities {
            assert_eq!(text[entity.start..entity.end], entity.text);
        }
    }
}

#[test]
fn windows_cover_a_long_text() {
    let model = open("bert-tokens", WeightType::F16);
    let text = "the wren is small and the king is in the model ".repeat(30);
    let options = TagOptions::default().aggregation(Aggregation::None).stride(20);
    let found = &model.tag(&[&text], &options).unwrap()[0];
    let tokens = model.tokenizer().encode_traced(&text);
    // Every token is labelled once; what is labelled "O" is left out.
    assert!(found.windows > 5 && found.tokens == tokens.len());
    assert!(found.entities.windows(2).all(|two| two[0].end <= two[1].start));
    assert!(found.entities.last().unwrap().end + 60 > text.len());
    let error = model.tag(&[&text], &options.stride(62)).unwrap_err().to_string();
    assert!(error.contains("the stride is 62"), "{error}");
    assert!(
        "all".parse::<Aggregation>().unwrap_err().to_string().contains("first, average or max")
    );
}

#[test]
fn masks_get_the_tokens_of_the_pipeline() {
    tasks::checkpoints_of("masks").for_each(check_masks);
}

fn check_masks(name: &str) {
    let golden = tasks::golden(name);
    let model = open(name, WeightType::F16);
    assert_eq!(model.mask().unwrap(), "[MASK]");
    for case in list(&golden["masks"]) {
        let text = case["text"].as_str().unwrap();
        let found = model.fill_mask(text, 4).unwrap();
        assert_eq!(found.len(), list(&case["masks"]).len());
        for (found, golden) in found.iter().zip(list(&case["masks"])) {
            for (fill, golden) in found.iter().zip(list(golden)) {
                assert_eq!(Value::from(fill.id), golden[0], "{name}: {text}");
                assert_eq!(fill.token, golden[1].as_str().unwrap());
                assert!(close(fill.score, &golden[2], F16_TOLERANCE), "{name}: {text}: {fill:?}");
            }
        }
    }
}

#[test]
fn masks_that_cannot_be_filled_are_errors() {
    let model = open("bert-masks", WeightType::F16);
    assert_eq!(model.fill_mask("a [MASK] model!", 1).unwrap()[0][0].text, "a [unused62] model!");
    let message = |text: &str, k| model.fill_mask(text, k).unwrap_err().to_string();
    assert!(message("a <mask> b", 1).contains("this model's mask is spelled `[MASK]`"));
    assert!(message("[MASK]", 0).contains("1 or more"));
    let long = "a ".repeat(70) + "[MASK]";
    assert!(message(&long, 1).contains("text 1 has 73 tokens, the model takes 64"));
    // Another special token in the text is no special token.
    let ids = model.tokenizer().encode("[SEP]", Default::default());
    assert!(ids.len() > 3);
    assert_eq!(model.fill_mask("[SEP] [MASK]", 1).unwrap()[0][0].text.matches("[SEP]").count(), 0);
}

#[test]
fn questions_get_the_answers_of_the_pipeline() {
    let model = open("bert-answers", WeightType::F16);
    assert_eq!(model.tasks(), [Task::Answer]);
    for case in list(&tasks::golden("bert-answers")["answers"]) {
        let given = &case["options"];
        let number = |name: &str| given[name].as_u64().map(|n| n as usize);
        let mut options = AnswerOptions::default().characters(true);
        options.top = number("top_k").unwrap_or(options.top);
        options.window = number("max_seq_len").unwrap_or(options.window);
        options.stride = number("doc_stride");
        options.max_tokens = number("max_answer_len").unwrap_or(options.max_tokens);
        options.no_answer = given["handle_impossible_answer"] == true;
        let (question, context) = (&case["question"], &case["context"]);
        let found =
            model.answer(question.as_str().unwrap(), context.as_str().unwrap(), &options).unwrap();
        let golden = list(&case["answers"]);
        assert_eq!(found.len(), golden.len(), "{given}: {found:?}");
        for (found, golden) in found.iter().zip(golden) {
            assert_eq!(found.text, golden[0].as_str().unwrap(), "{given} of {question}");
            assert!(close(found.score, &golden[1], F16_TOLERANCE), "{found:?}, not {golden}");
            assert_eq!(
                [&golden[2], &golden[3]],
                [found.start, found.end].map(Value::from).each_ref()
            );
        }
    }
    let options = AnswerOptions::default();
    let message = |question: &str, context: &str, options: &AnswerOptions| {
        model.answer(question, context, options).unwrap_err().to_string()
    };
    assert_eq!(message("", "a", &options), "the question is empty");
    assert_eq!(message("a?", " ", &options), "the context is empty");
    assert!(message(&"a ".repeat(61), "b", &options).contains("the question, with a token"));
    assert!(message("a?", "b", &options.clone().top(0)).contains("1 or more"));
    let error = model.classify(&["a"]).unwrap_err().to_string();
    assert!(error.ends_with("it is for `answer`"), "{error}");
}

#[test]
fn documents_get_the_scores_of_a_cross_encoder() {
    let model = open("bert-rerank", WeightType::F16);
    assert_eq!(model.tasks(), [Task::Rerank, Task::Classify]);
    let golden = &tasks::golden("bert-rerank")["rerank"];
    let query = golden["query"].as_str().unwrap();
    let documents = texts(&golden["documents"]);
    let ranked = model.rerank(query, &documents).unwrap();
    assert!(ranked.is_sorted_by(|a, b| a.score >= b.score) && ranked.len() == documents.len());
    for one in &ranked {
        assert!(close(one.score, &golden["scores"][one.index], F16_TOLERANCE), "{one:?}");
        assert!((one.score - 1.0 / (1.0 + (-one.logit).exp())).abs() < 1e-6);
    }
    let identity = |config: &mut Value| {
        config["sentence_transformers"] =
            serde_json::json!({"activation_fn": "torch.nn.modules.linear.Identity"});
    };
    let raw = changed("bert-rerank", WeightType::F16, identity);
    for one in raw.rerank(query, &documents).unwrap() {
        assert_eq!(one.score, one.logit);
    }
    let none: [&str; 0] = [];
    assert!(matches!(model.rerank(query, &none), Err(Error::Empty { .. })));
    assert!(matches!(model.rerank(" ", &documents), Err(Error::Empty { .. })));
    let long = "wren ".repeat(100);
    assert!(model.rerank(query, &[&long]).unwrap()[0].length.truncated);
}
