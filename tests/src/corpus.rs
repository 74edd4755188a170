//! The texts of the tokenizer tests.

use std::path::Path;

/// The corpus: texts, and `[text, times]` for long repetitions.
///
/// # Panics
/// If it cannot be read.
pub fn corpus() -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("goldens/tokenizers/corpus.json");
    let json = std::fs::read(path).expect("the corpus");
    let texts: Vec<serde_json::Value> = serde_json::from_slice(&json).expect("a list of texts");
    let text = |value: &serde_json::Value| match value.as_str() {
        Some(text) => text.to_owned(),
        None => {
            let times = value[1].as_u64().expect("a number of times");
            value[0].as_str().expect("a text").repeat(times as usize)
        }
    };
    texts.iter().map(text).collect()
}

/// FNV-1a.
pub fn fnv(bytes: &[u8]) -> u32 {
    let step = |state: u32, byte: &u8| (state ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
    bytes.iter().fold(0x811c_9dc5, step)
}
