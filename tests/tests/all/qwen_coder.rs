//! Qwen2.5-Coder-Instruct of both sizes, from GGUF files, against llama.cpp.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may fail and tell")]

use kinglet::tokenizer::EncodeOptions;
use kinglet::{GenerateOptions, KvType, Model};
use kinglet_quantize::WeightType;
use kinglet_tests::real;
use kinglet_tests::references;

use super::continuations::{CONTEXT, equal, scored};

/// All figures of one size in fp16.
fn compare(name: &str) {
    let golden = references::coder(name);
    let model = Model::open(real::converted("qwen_coder", name, WeightType::F16)).unwrap();
    for one in &golden.chat {
        let mut chat = model.chat().unwrap();
        chat.push(kinglet::Message::new("user", &*one.prompt));
        let (text, ids) = chat.prompt().unwrap();
        assert_eq!((&text, &ids), (&one.text, &one.prompt_ids));
    }
    let (chat, raw) = (equal(&model, &golden.chat), equal(&model, &golden.raw));
    println!("{name}: {chat} of 10 chat prompts and {raw} of 10 plain ones equal");

    let mut infilled = 0;
    for gap in &golden.infill {
        let options = GenerateOptions::greedy().max_tokens(gap.ids.len());
        let mut session = model.session().unwrap();
        let filled: Result<String, _> =
            session.infill(&gap.prefix, &gap.suffix, &options).unwrap().collect();
        println!("{name}: {:?} + {:?}", gap.prefix, filled.unwrap());
        infilled += usize::from(session.tokens() == [&gap.prompt_ids[..], &gap.ids].concat());
    }
    assert!(chat >= 9 && raw >= 9, "{chat} of 10 chat prompts, {raw} of 10 plain ones equal");
    assert_eq!(infilled, golden.infill.len(), "gaps filled alike");

    let text = include_str!("../../goldens/smollm2/text.txt");
    let options = EncodeOptions { add_special: true, parse_special: false };
    let (mut n, mut surprise) = (0, 0.0);
    for chunk in model.tokenizer().encode(text, options).chunks_exact(CONTEXT) {
        scored(&model, KvType::F16, chunk, |i, logprobs| {
            surprise -= logprobs[chunk[i + 1] as usize];
            n += 1;
        });
    }
    let perplexity = (surprise / f64::from(n)).exp();
    println!("{name}: perplexity {perplexity:.4}, llama.cpp's {:.4}", golden.perplexity_f16);
    let ratio = perplexity / golden.perplexity_f16;
    assert!((ratio - 1.0).abs() < 0.001, "perplexity is {ratio} of llama.cpp's");
}

#[test]
#[ignore = "downloads 480 MB"]
fn qwen_coder_small_says_what_llama_cpp_says() {
    compare("qwen2.5-coder-0.5b");
}
