//! Any bytes as a model of whisper.cpp.
#![no_main]

use kinglet_formats::checkpoint::Ggml;
use kinglet_formats::map::Bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(checkpoint) = Ggml::parse(Bytes::copy_of(data), "fuzz") {
        assert!(checkpoint.pieces().map(<[u8]>::len).sum::<usize>() <= data.len());
        kinglet_fuzz::read_all(&checkpoint, data.len());
    }
});
