//! What targets share: reading all of an accepted checkpoint, and sealing `.kinglet` files.

pub mod kinglet;

use kinglet_formats::checkpoint::Checkpoint;

/// Reads all rows and bytes of all tensors, and checks that the file bounds what a caller allocates.
pub fn read_all(checkpoint: &dyn Checkpoint, file_len: usize) {
    // Tensors may share their bytes, so reading all of them may take long; some suffice.
    let mut budget = 64 * file_len + 4096;
    for (index, info) in checkpoint.tensors().iter().enumerate() {
        let len = info.n_rows() * info.row_len();
        // At most four elements a byte: 2-bit blocks are the densest.
        assert!(len <= 4 * file_len, "{info:?}");
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
