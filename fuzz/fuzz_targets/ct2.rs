//! Any bytes as a CTranslate2 model.
#![no_main]

use kinglet_formats::checkpoint::Ct2;
use kinglet_formats::map::Bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(checkpoint) = Ct2::parse(Bytes::copy_of(data), "fuzz") {
        kinglet_fuzz::read_all(&checkpoint, data.len());
    }
});
