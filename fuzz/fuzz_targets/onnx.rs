//! Any bytes as an ONNX model, which may say that its data is in another file: itself.
#![no_main]

use kinglet_formats::checkpoint::Onnx;
use kinglet_formats::map::Bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let bytes = Bytes::copy_of(data);
    let itself = |_: &str| Some(bytes.clone());
    if let Ok(checkpoint) = Onnx::parse_with(bytes.clone(), "fuzz", &itself) {
        kinglet_fuzz::read_all(&checkpoint, data.len());
    }
});
