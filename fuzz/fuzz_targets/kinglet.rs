//! Any bytes as a `.kinglet` file, with a mutator that seals them again: otherwise the hash of the
//! head would hide everything behind it.
#![no_main]

use kinglet_formats::kinglet::{KingletFile, View};
use kinglet_formats::map::Bytes;
use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};

fuzz_target!(|data: &[u8]| {
    let Ok(file) = KingletFile::from_bytes(Bytes::copy_of(data)) else { return };
    let mut bytes = 0;
    for (i, tensor) in file.tensors().iter().enumerate() {
        assert_eq!(file.find(&tensor.name), Some(i));
        bytes += tensor.n_bytes();
        // A row costs at least half a byte a column, padding apart.
        let mut row = vec![0.0; tensor.cols()];
        for r in [0, tensor.rows() - 1] {
            match file.view(i) {
                View::I8(matrix) => matrix.row(r, &mut row),
                View::I4(matrix) => matrix.row(r, &mut row),
                View::F16(matrix) => matrix.row(r, &mut row),
                View::F32 { data, .. } => {
                    row.copy_from_slice(&data[r * tensor.cols()..][..tensor.cols()]);
                }
                View::U32 { data } => assert!(data.len() >= (r + 1) * tensor.cols()),
            }
        }
    }
    assert!(bytes as u64 <= file.data_len() && file.file_len() == data.len() as u64);
    let _ = file.verify(&mut |done, total| assert!(done <= total));
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let size = fuzzer_mutate(data, size, max_size);
    kinglet_fuzz::kinglet::seal(&mut data[..size], seed);
    size
});
