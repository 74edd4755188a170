//! Any bytes as the tokenizer section of a `.kinglet` file: what is accepted is used.
#![no_main]

use kinglet::tokenizer::{EncodeOptions, Tokenizer};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(tokenizer) = Tokenizer::from_bytes(data) else { return };
    for parse_special in [false, true] {
        let options = EncodeOptions { add_special: true, parse_special };
        let tokens = tokenizer.encode("Héllo  wörld, 12345!\n\t<s> e\u{301} \u{4f60}\u{597d}", options);
        let _ = tokenizer.decode(&tokens, parse_special);
    }
    for token in [0, 1, 255, u32::MAX] {
        let _ = tokenizer.token(token);
    }
});
