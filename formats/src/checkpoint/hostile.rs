//! Damaged and forged files: every reader answers with an error or with tensors that can be read.

use std::path::Path;

use super::gguf::tests as gguf;
use super::safetensors::tests as safetensors;
use super::{
    Checkpoint, CheckpointError, Ct2, Ggml, Gguf, Onnx, Pytorch, Safetensors, ct2, ggml, onnx,
    pytorch,
};
use crate::map::Bytes;

type Parse = fn(Bytes) -> Result<Box<dyn Checkpoint>, CheckpointError>;

/// A reader and a small valid file for it.
struct Case {
    name: &'static str,
    parse: Parse,
    file: Vec<u8>,
    /// Whether the file ends with its last tensor, so that every cut must be noticed.
    ends_with_data: bool,
}

fn cases() -> Vec<Case> {
    let goldens = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/goldens/pytorch");
    let golden = |name| std::fs::read(goldens.join(name)).unwrap();
    let case = |name, parse, file, ends_with_data| Case { name, parse, file, ends_with_data };
    let st: Parse = |bytes| Ok(Box::new(Safetensors::parse(bytes, "file")?));
    let gg: Parse = |bytes| {
        let gguf = Gguf::parse(bytes, "file")?;
        walk(&gguf);
        Ok(Box::new(gguf))
    };
    let pt: Parse = |bytes| Ok(Box::new(Pytorch::parse(bytes, "file")?));
    let ox: Parse = |bytes| Ok(Box::new(Onnx::parse(bytes, "file")?));
    let ct: Parse = |bytes| Ok(Box::new(Ct2::parse(bytes, "file")?));
    let gl: Parse = |bytes| Ok(Box::new(Ggml::parse(bytes, "file")?));
    let small = safetensors::file(safetensors::SMALL, &safetensors::small_data());
    vec![
        case("safetensors", st, small, true),
        case("gguf", gg, gguf::small(), true),
        case("pytorch-zip", pt, pytorch::tests::small(), true),
        case("pytorch-zip-real", pt, golden("zip.bin"), true),
        case("pytorch-wrapped", pt, golden("wrapped.bin"), true),
        case("pytorch-legacy", pt, golden("legacy.bin"), true),
        case("onnx", ox, onnx::sample::small(), true),
        // It does not say how many tensors there are.
        case("ggml", gl, ggml::tests::small(), false),
        case("ct2", ct, ct2::tests::small(), true),
    ]
}

/// Visits all metadata.
fn walk(gguf: &Gguf) {
    let metadata = gguf.metadata();
    for (key, value) in metadata.iter() {
        assert_eq!(metadata.value(key).map(|v| v.kind()), Some(value.kind()));
        let _ = (metadata.str(key), metadata.strs(key), metadata.f32s(key));
        if let Some(array) = metadata.array(key) {
            assert_eq!(array.iter().count(), array.len());
        }
    }
}

/// Reads everything if the file is accepted; says whether it was.
fn survives(parse: Parse, file: &[u8]) -> bool {
    let checkpoint = match parse(Bytes::copy_of(file)) {
        Ok(checkpoint) => checkpoint,
        Err(error) => {
            // The message is bounded and names the file.
            let message = error.to_string();
            assert!(message.len() < 2000 && message.contains("file"), "{message}");
            return false;
        }
    };
    for (index, info) in checkpoint.tensors().iter().enumerate() {
        let len = info.n_rows() * info.row_len();
        // What a caller allocates is bounded by the file: at most two values a bit (2-bit blocks
        // are the densest) of a storage that no other tensor need have for itself.
        assert!(len <= 5 * file.len(), "{info:?}");
        let mut out = vec![0.0; len];
        checkpoint.read_rows(index, 0, &mut out).unwrap();
        // Each row by itself is there, too.
        for (row, expected) in out.chunks(info.row_len().max(1)).enumerate() {
            let mut alone = vec![0.0; expected.len()];
            checkpoint.read_rows(index, row, &mut alone).unwrap();
            let is_same = alone.iter().zip(expected).all(|(a, b)| a.to_bits() == b.to_bits());
            assert!(is_same, "{info:?} row {row}");
        }
        if let Ok(raw) = checkpoint.raw(index) {
            assert!(raw.len() <= file.len());
        }
        assert_eq!(checkpoint.find(&info.name), Some(index));
    }
    true
}

#[test]
fn a_file_cut_at_any_byte_is_refused() {
    for Case { name, parse, file, ends_with_data } in cases() {
        assert!(survives(parse, &file), "{name}");
        for len in 0..file.len() {
            let accepted = survives(parse, &file[..len]);
            assert!(!(accepted && ends_with_data), "{name} cut at {len}");
        }
    }
}

#[test]
fn any_flipped_bit_is_survived() {
    for Case { name: _, parse, mut file, .. } in cases() {
        for bit in 0..file.len() * 8 {
            file[bit / 8] ^= 1 << (bit % 8);
            survives(parse, &file);
            file[bit / 8] ^= 1 << (bit % 8);
        }
    }
}

/// Changes a file in the ways in which formats are usually broken: numbers at their extremes,
/// pieces repeated, removed or moved.
struct Mutator(u64);

impl Mutator {
    fn below(&mut self, n: usize) -> usize {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) as usize % n.max(1)
    }

    fn mutate(&mut self, file: &mut Vec<u8>) {
        for _ in 0..=self.below(4) {
            let at = self.below(file.len());
            let len = self.below(24).min(file.len() - at);
            match self.below(7) {
                0 => file[at..at + len.min(1)].iter_mut().for_each(|b| *b = b.wrapping_add(1)),
                1 => {
                    let extremes =
                        [0, 1, 0x7fff_ffff, 0xffff_ffff, 1 << 62, u64::MAX, u64::MAX / 3];
                    let number = extremes[self.below(extremes.len())].to_le_bytes();
                    let size = [1, 2, 4, 8][self.below(4)].min(file.len() - at);
                    file[at..at + size].copy_from_slice(&number[..size]);
                }
                2 => drop(file.drain(at..at + len)),
                3 => {
                    let piece = file[at..at + len].to_vec();
                    let to = self.below(file.len() + 1);
                    file.splice(to..to, piece);
                }
                4 => {
                    let digits = b"0123456789-.[]{}\",:eE";
                    file[at] = digits[self.below(digits.len())];
                }
                5 => {
                    let to = self.below(file.len() - len + 1);
                    file.copy_within(at..at + len, to);
                }
                _ => file[at] ^= 1 << self.below(8),
            }
            if file.is_empty() {
                file.push(0);
            }
        }
    }
}

#[test]
fn random_damage_is_survived() {
    let mut mutator = Mutator(20);
    let mut accepted = 0;
    for Case { parse, file, .. } in cases() {
        for _ in 0..20_000 {
            let mut damaged = file.clone();
            mutator.mutate(&mut damaged);
            accepted += usize::from(survives(parse, &damaged));
        }
    }
    // Neither is everything refused at once nor is nothing noticed.
    assert!((1_000..100_000).contains(&accepted), "{accepted}");
}

/// Run with `cargo test -p kinglet-formats write_fuzz_seeds -- --ignored` after changing a format.
#[test]
#[ignore = "writes fuzz/seeds"]
fn write_fuzz_seeds() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds");
    for Case { name, file, .. } in cases() {
        let target = name.split('-').next().unwrap();
        let folder = seeds.join(target);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(name), file).unwrap();
    }
}
