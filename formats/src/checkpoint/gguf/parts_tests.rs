//! Models in several files.

use std::path::PathBuf;

use super::super::tests::Writer;
use super::super::{Checkpoint, CheckpointError, Gguf};
use super::names;

/// Part `number` of `count` with one tensor.
fn part(number: u16, count: u16, tensor: &str, tensors: i32) -> Vec<u8> {
    Writer::new()
        .entry("split.no", 2, &number.to_le_bytes())
        .entry("split.count", 2, &count.to_le_bytes())
        .entry("split.tensors.count", 5, &tensors.to_le_bytes())
        .entry("only.in", 4, &u32::from(number).to_le_bytes())
        .tensor(tensor, &[1], 0, &f32::from(number).to_le_bytes())
        .finish()
}

fn folder(parts: &[(u16, Vec<u8>)]) -> (tempfile::TempDir, Vec<PathBuf>) {
    let folder = tempfile::tempdir().unwrap();
    let names = names(&folder.path().join("m-v1-00001-of-00003.gguf")).unwrap();
    for (number, bytes) in parts {
        std::fs::write(&names[usize::from(*number)], bytes).unwrap();
    }
    (folder, names)
}

fn three() -> [(u16, Vec<u8>); 3] {
    [0, 1, 2].map(|number| (number, part(number, 3, &format!("t{number}"), 3)))
}

#[test]
fn any_part_opens_all() {
    let (_keep, names) = folder(&three());
    for name in &names {
        let gguf = Gguf::open(name).unwrap();
        assert_eq!(gguf.files(), names);
        assert_eq!(gguf.metadata().u64("only.in"), Some(0));
        for (number, name) in ["t0", "t1", "t2"].into_iter().enumerate() {
            let index = gguf.find(name).unwrap();
            let mut value = [0.0];
            gguf.read_rows(index, 0, &mut value).unwrap();
            assert_eq!(value, [number as f32]);
        }
    }
}

#[test]
fn what_does_not_fit_is_named() {
    let error = |parts: &[(u16, Vec<u8>)], open: usize| {
        let (_keep, names) = folder(parts);
        Gguf::open(&names[open]).err().unwrap().to_string()
    };
    let [one, two, three] = three();
    let missing = error(&[one.clone(), three.clone()], 2);
    assert!(missing.contains("part 2 of 3, \"m-v1-00002-of-00003.gguf\", is missing"), "{missing}");
    let other = error(&[one.clone(), (1, part(2, 3, "t1", 3)), three.clone()], 0);
    assert!(other.contains("is not part 2 of 3"), "{other}");
    let whole = (1, Writer::new().finish());
    assert!(error(&[one.clone(), whole, three.clone()], 0).contains("is not part 2 of 3"));
    let twice = error(&[one.clone(), (1, part(1, 3, "t0", 3)), three.clone()], 0);
    assert!(twice.contains("\"t0\": appears twice"), "{twice}");
    let few = error(&[(0, part(0, 3, "t0", 4)), two.clone(), three.clone()], 0);
    assert!(few.contains("3 tensors, not 4"), "{few}");
    let cut = (1, two.1[..two.1.len() - 1].to_vec());
    assert!(error(&[one.clone(), cut, three], 0).contains("00002-of-00003"));

    let folder = tempfile::tempdir().unwrap();
    let renamed = folder.path().join("m.gguf");
    std::fs::write(&renamed, &one.1).unwrap();
    let error = Gguf::open(&renamed).err().unwrap().to_string();
    assert!(error.contains("does not end in -00001-of-00003.gguf"), "{error}");
    let bytes = crate::map::Bytes::copy_of(&one.1);
    assert!(matches!(Gguf::parse(bytes, "m"), Err(CheckpointError::Gguf { .. })));
}

#[test]
fn names_of_parts() {
    let of = |name: &str| names(name.as_ref()).map(|names| names.len());
    assert_eq!(of("a/b-00002-of-00003.gguf"), Some(3));
    for name in [
        "m.gguf",
        "m-00000-of-00003.gguf",
        "m-00004-of-00003.gguf",
        "m-1-of-3.gguf",
        "m-00001-of-00003.bin",
        "m-+0001-of-00003.gguf",
        "00001-of-00003.gguf",
    ] {
        assert_eq!(of(name), None, "{name}");
    }
}
