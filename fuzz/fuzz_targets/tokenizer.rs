//! Any bytes as the tokenizer section of a `.kinglet` file: what is accepted is used.
#![no_main]

use kinglet::tokenizer::Tokenizer;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(tokenizer) = Tokenizer::from_bytes(data) {
        kinglet_fuzz::use_tokenizer(&tokenizer);
    }
});
