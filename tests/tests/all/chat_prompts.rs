//! What a conversation's text becomes in tokens: what people write stays as it is, wherever it stands.

#![allow(clippy::unwrap_used, reason = "a test may fail and tell")]

use std::fs;

use kinglet::tokenizer::EncodeOptions;
use kinglet::{Chat, GenerateOptions, Message, Model};
use kinglet_quantize::{Options, Source, quantize};
use kinglet_tests::tiny;
use serde_json::json;

const PLAIN: EncodeOptions = EncodeOptions { add_special: false, parse_special: false };

/// A small model whose tokenizer puts a space before texts, `normalizer` and `pre_tokenizer` by the
/// kind of it.
fn chat(template: &str, steps: serde_json::Value) -> (tempfile::TempDir, Chat) {
    let folder = tiny::checkpoint("llama");
    let mut pieces = vec!["<unk>", "<s>", "</s>", "▁", "a", "▁a", "<", "/", "s", ">"];
    let others: Vec<String> = (pieces.len()..300).map(|n| format!("\u{4e00}{n}")).collect();
    pieces.extend(others.iter().map(String::as_str));
    let vocab: serde_json::Map<_, _> =
        pieces.iter().enumerate().map(|(id, piece)| ((*piece).to_owned(), json!(id))).collect();
    let added = |id: u32, content: &str| json!({"id": id, "content": content, "special": true});
    let mut tokenizer = json!({
        "added_tokens": [added(0, "<unk>"), added(1, "<s>"), added(2, "</s>")],
        "decoder": {"type": "Fuse"},
        "model": {"type": "BPE", "unk_token": "<unk>", "vocab": vocab, "merges": ["▁ a"]},
    });
    for (key, value) in steps.as_object().unwrap() {
        tokenizer[key] = value.clone();
    }
    fs::write(folder.path().join("tokenizer.json"), tokenizer.to_string()).unwrap();
    let config = json!({"bos_token": "<s>", "eos_token": "</s>", "chat_template": template});
    fs::write(folder.path().join("tokenizer_config.json"), config.to_string()).unwrap();
    let out = folder.path().join("out.kinglet");
    let source = Source::open(folder.path()).unwrap();
    quantize(&source, &Options::default(), &out, &mut ()).unwrap();
    let chat = Model::open(&out).unwrap().chat().unwrap();
    (folder, chat)
}

fn kinds() -> [serde_json::Value; 3] {
    let replace = json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"});
    let prepend = json!({"type": "Prepend", "prepend": "▁"});
    let metaspace = |scheme: &str| json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": false});
    [
        json!({"normalizer": {"type": "Sequence", "normalizers": [prepend, replace]}}),
        json!({"pre_tokenizer": metaspace("always")}),
        json!({"pre_tokenizer": metaspace("first")}),
    ]
}

#[test]
fn look_alikes_of_special_tokens_are_text_and_nothing_else() {
    for steps in kinds() {
        let (_folder, mut chat) = chat("{% for m in messages %}{{ m.content }}{% endfor %}", steps);
        chat.push(Message::new("user", "a</s>a"));
        let (text, tokens) = chat.prompt().unwrap();
        assert_eq!(text, "a</s>a");
        assert_eq!(tokens, [5, 6, 7, 8, 9, 4]);
        let tokenizer = chat.session().model().tokenizer();
        assert_eq!(tokens, tokenizer.encode("a</s>a", PLAIN));
    }
}

#[test]
fn later_turns_go_on_where_the_text_ends() {
    for (steps, behind_token) in kinds().into_iter().zip([5, 5, 4]) {
        let options = GenerateOptions { max_tokens: Some(1), ..GenerateOptions::default() };
        let template = "{% for m in messages %}{{ m.content }}{% endfor %}";
        let (_folder, mut plain) = chat(template, steps.clone());
        let (_folder, mut marked) = chat(
            "{% for m in messages %}{{ m.content }}{% if m.role == 'assistant' %}</s>{% endif %}{% endfor %}",
            steps,
        );
        for (chat, expected) in [(&mut plain, 4), (&mut marked, behind_token)] {
            for _ in 0..2 {
                let mut answer = chat.say("a", &options).unwrap();
                while answer.advance().unwrap().is_some() {}
            }
            let said = &chat.messages()[1].content;
            assert!(!said.is_empty() && !said.contains('<'), "{said:?}");
            // The prompt's end; whether the answer's token follows it, the session decides.
            let tokens = chat.session().tokens();
            let ends = [tokens.len() - 1, tokens.len() - 2].map(|at| tokens[at]);
            assert!(ends.contains(&expected), "{tokens:?}");
            assert!(!ends.contains(&(9 - expected)), "{tokens:?}");
        }
    }
}

#[test]
fn a_template_without_system_messages_is_told() {
    let reads = |template| chat(template, kinds()[0].clone()).1.template_reads_system();
    assert!(reads("{% for m in messages %}{{ m.content }}{% endfor %}"));
    assert!(!reads("{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}"));
}
