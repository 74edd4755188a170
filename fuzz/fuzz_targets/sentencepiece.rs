//! Any bytes as a model of SentencePiece: what compiles opens, and is used.
#![no_main]

use kinglet::tokenizer::Tokenizer;
use kinglet_quantize::tokenizer::{SentencePieceOptions, compile_sentencepiece};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(section) = compile_sentencepiece(data, &SentencePieceOptions::default()) {
        let tokenizer = Tokenizer::from_bytes(&section).expect("a compiled tokenizer opens");
        kinglet_fuzz::use_tokenizer(&tokenizer);
    }
});
