//! How much a text repeats itself.

use flate2::Compression;
use flate2::write::ZlibEncoder;
use std::io::Write;

/// The factor by which a text becomes smaller when it is compressed, 0 for no text.
pub(super) fn of(text: &str) -> f32 {
    if text.is_empty() {
        return 0.0;
    }
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    // Nothing fails that is written into memory.
    let compressed = encoder.write_all(text.as_bytes()).and_then(|()| encoder.finish());
    compressed.map_or(0.0, |compressed| text.len() as f32 / compressed.len() as f32)
}

#[cfg(test)]
mod tests {
    use super::of;

    #[test]
    fn what_repeats_itself_is_told_from_what_does_not() {
        assert_eq!(of(""), 0.0);
        assert!(of("The quick brown fox jumps over the lazy dog.") < 1.0);
        assert!(of(&"thank you. ".repeat(20)) > 2.4);
    }
}
