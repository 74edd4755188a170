//! Recognizes files that are no `.kinglet` files, to say what they are instead.

use super::error::KingletError;
use super::limits::MAGIC;

/// The error for a file that begins with `bytes` and not with the magic; `None` where the magic is
/// right, or the file too short to tell.
pub(super) fn recognize(bytes: &[u8]) -> Option<KingletError> {
    if bytes.starts_with(&MAGIC) || MAGIC.starts_with(bytes) {
        return None;
    }
    if let Some(how) = mangled(bytes) {
        return Some(KingletError::Mangled { how });
    }
    Some(match kind(bytes) {
        Some((what, remedy)) => KingletError::OtherFormat { what, remedy },
        None => {
            let mut found = [0; 8];
            let n = bytes.len().min(8);
            found[..n].copy_from_slice(&bytes[..n]);
            KingletError::NotKinglet { found }
        }
    })
}

/// What a transfer has done to the magic.
fn mangled(bytes: &[u8]) -> Option<&'static str> {
    let line_ends = "line ends were converted";
    let transfers: [(&[u8], &str); 5] = [
        (b"\x89KGL\n", line_ends),
        (b"\x89KGL\r\r\n", line_ends),
        (b"\x89KGL\r\n\x1a\r\n", line_ends),
        (b"\x09KGL", "the top bit of every byte was cleared"),
        (b"\xef\xbf\xbdKGL", "bytes were converted to UTF-8 text"),
    ];
    transfers.iter().find(|(start, _)| bytes.starts_with(start)).map(|&(_, how)| how)
}

/// Known formats: what it is, and what to do.
fn kind(bytes: &[u8]) -> Option<(&'static str, &'static str)> {
    const QUANTIZE: &str = "convert it first: kinglet quantize FILE -o MODEL.kinglet";
    let known: [(&[u8], &str, &str); 10] = [
        (b"GGUF", "a GGUF checkpoint", QUANTIZE),
        (b"PK\x03\x04", "a zip archive, as PyTorch checkpoints are", QUANTIZE),
        (b"\x80\x02\x8a\x0al\xfc\x9c\x46", "a PyTorch checkpoint of the old kind", QUANTIZE),
        (b"\x93NUMPY", "a NumPy array", "quantize the checkpoint it came from"),
        (b"\x89HDF\r\n", "an HDF5 file", "quantize the checkpoint as safetensors"),
        (b"\x1f\x8b", "gzip-compressed", "decompress it first: gzip -d"),
        (b"(\xb5/\xfd", "Zstandard-compressed", "decompress it first: zstd -d"),
        (b"version https://git-lfs", "a Git LFS pointer, not the file itself", "run git lfs pull"),
        (b"<!DOCTYPE", "a web page", "the download failed: fetch the file again"),
        (b"<html", "a web page", "the download failed: fetch the file again"),
    ];
    if let Some(&(_, what, remedy)) = known.iter().find(|(start, ..)| bytes.starts_with(start)) {
        return Some((what, remedy));
    }
    // safetensors: the length of a JSON object, then the object.
    let (length, rest) = bytes.split_first_chunk::<8>()?;
    if rest.first() == Some(&b'{') && u64::from_le_bytes(*length) < 1 << 32 {
        return Some(("a safetensors checkpoint", QUANTIZE));
    }
    if bytes.iter().all(|&b| b == 0) {
        return Some(("all zeros where its header should be", "fetch or convert it again"));
    }
    (bytes[0] == b'{').then_some(("a JSON file", "name the .kinglet file instead"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(bytes: &[u8]) -> String {
        recognize(bytes).map_or_else(String::new, |e| e.to_string())
    }

    #[test]
    fn other_formats_are_named_with_a_remedy() {
        let safetensors = [&200u64.to_le_bytes()[..], b"{\"__metadata__\":{}"].concat();
        for (bytes, what) in [
            (&b"GGUF\x03\0\0\0"[..], "GGUF"),
            (b"PK\x03\x04\x14\0", "PyTorch"),
            (&safetensors, "safetensors"),
        ] {
            let message = message(bytes);
            assert!(message.contains(what) && message.contains("kinglet quantize"), "{message}");
        }
        assert!(message(b"<!DOCTYPE html>").contains("download failed"));
        assert!(message(&[0; 200]).contains("zeros"));
        assert!(message(b"hello, world").contains("68, 65, 6c, 6c"));
    }

    #[test]
    fn mangled_transfers_are_named() {
        let text = |bytes: &[u8]| {
            let mut out = Vec::new();
            for &b in bytes {
                if b == b'\n' {
                    out.push(b'\r');
                }
                out.push(b);
            }
            out
        };
        let unix: Vec<u8> = MAGIC.iter().copied().filter(|&b| b != b'\r').collect();
        let seven_bit: Vec<u8> = MAGIC.iter().map(|b| b & 0x7f).collect();
        let lossy = String::from_utf8_lossy(&MAGIC).into_owned().into_bytes();
        for bytes in [text(&MAGIC), unix, seven_bit, lossy] {
            let error = recognize(&bytes);
            assert!(matches!(error, Some(KingletError::Mangled { .. })), "{bytes:x?}");
        }
    }

    #[test]
    fn prefixes_of_the_magic_are_not_foreign() {
        for n in 0..=MAGIC.len() {
            assert!(recognize(&MAGIC[..n]).is_none());
        }
    }
}
