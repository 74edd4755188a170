//! Any bytes as a Marian model, and as a shortlist.
#![no_main]

use kinglet_formats::checkpoint::{Marian, Shortlist};
use kinglet_formats::map::Bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(checkpoint) = Marian::parse(Bytes::copy_of(data), "fuzz") {
        kinglet_fuzz::read_all(&checkpoint, data.len());
    }
    if let Ok(shortlist) = Shortlist::parse(Bytes::copy_of(data), "fuzz") {
        kinglet_fuzz::read_all(&shortlist, data.len());
    }
});
