//! Any bytes as a GGUF file; metadata is read, too.
#![no_main]

use kinglet_formats::checkpoint::Gguf;
use kinglet_formats::checkpoint::gguf::{Array, Value};
use kinglet_formats::map::Bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(gguf) = Gguf::parse(Bytes::copy_of(data), "fuzz") {
        let metadata = gguf.metadata();
        for (key, value) in metadata.iter() {
            let again = metadata.value(key).expect("a listed key is found");
            assert_eq!(again.kind(), value.kind());
            let _ = (metadata.str(key), metadata.strs(key));
            if let Value::Array(array) = value {
                walk(array);
            }
        }
        kinglet_fuzz::read_all(&gguf, data.len());
    }
});

/// Recursion is bounded: the reader accepts few levels.
fn walk(array: Array<'_>) {
    let mut count = 0;
    for value in array.iter() {
        count += 1;
        if let Value::Array(inner) = value {
            walk(inner);
        }
    }
    assert_eq!(count, array.len());
}
