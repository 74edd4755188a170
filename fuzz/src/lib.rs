//! What targets share: reading all of an accepted checkpoint, using an accepted tokenizer, and
//! sealing `.kinglet` files.

pub mod kinglet;

use ::kinglet::tokenizer::{EncodeOptions, Tokenizer};
use kinglet_formats::checkpoint::Checkpoint;

/// Reads all rows and bytes of all tensors, and checks that the file bounds what a caller allocates.
pub fn read_all(checkpoint: &dyn Checkpoint, file_len: usize) {
    // Tensors may share their bytes, so reading all of them may take long; some suffice.
    let mut budget = 64 * file_len + 4096;
    for (index, info) in checkpoint.tensors().iter().enumerate() {
        let len = info.n_rows() * info.row_len();
        // At most five elements a byte: ternary blocks are the densest.
        assert!(len <= 5 * file_len, "{info:?}");
        if len > budget {
            return;
        }
        budget -= len;
        let mut out = vec![0.0; len];
        checkpoint
            .read_rows(index, 0, &mut out)
            .expect("an accepted tensor has rows");
        if let Ok(raw) = checkpoint.raw(index) {
            assert_eq!(raw.len(), len / info.dtype.block_len() * info.dtype.block_bytes());
        }
        assert_eq!(checkpoint.find(&info.name), Some(index));
    }
}

/// Encodes and decodes with a tokenizer.
pub fn use_tokenizer(tokenizer: &Tokenizer) {
    for parse_special in [false, true] {
        let options = EncodeOptions { add_special: true, parse_special };
        for text in ["Héllo  wörld, 12345!\n\t<s> e\u{301} \u{4f60}\u{597d}", "", "▁ \u{10ffff}llo"] {
            let ids = tokenizer.encode(text, options);
            let decoded = tokenizer.decode(&ids, parse_special);
            let mut stream = tokenizer.decode_stream(parse_special);
            let mut streamed: String = ids.iter().map(|&id| stream.push(id).to_owned()).collect();
            streamed.push_str(stream.finish());
            assert_eq!(streamed, decoded);
            tokenizer.encode_pair(text, "b a", options);
        }
    }
    for token in [0, 1, 255, u32::MAX] {
        let _ = tokenizer.token(token);
    }
}
