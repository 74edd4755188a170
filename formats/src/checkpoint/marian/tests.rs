//! Files made here: sound ones, cut ones and such that lie.

use super::*;

/// An item: name, type, shape, data.
type Made = (&'static str, u64, Vec<i32>, Vec<u8>);

fn file(items: &[Made]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut u64 = |n: u64| bytes.extend(n.to_le_bytes());
    u64(1);
    u64(items.len() as u64);
    for (name, kind, shape, data) in items {
        let about = [name.len() as u64 + 1, *kind, shape.len() as u64, data.len() as u64];
        about.into_iter().for_each(&mut u64);
    }
    for (name, ..) in items {
        bytes.extend(name.as_bytes());
        bytes.push(0);
    }
    for (_, _, shape, _) in items {
        shape.iter().for_each(|dim| bytes.extend(dim.to_le_bytes()));
    }
    bytes.extend(3u64.to_le_bytes());
    bytes.extend([0; 3]);
    items.iter().for_each(|(.., data)| bytes.extend(data));
    bytes
}

fn int8(values: &[i8], multiplier: f32) -> Vec<u8> {
    let mut data: Vec<u8> = values.iter().map(|&v| v as u8).collect();
    data.extend(multiplier.to_le_bytes());
    data.resize(data.len() + 5, 0);
    data
}

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

fn items() -> Vec<Made> {
    vec![
        ("Wemb", INT8, vec![2, 3], int8(&[1, -2, 3, 4, 5, -127], 4.0)),
        ("encoder_l1_self_Wq", INT8, vec![3, 2], int8(&[1, 2, 3, 4, 5, 6], 0.5)),
        ("encoder_l1_self_Wq_QuantMultA", FLOAT, vec![1, 1], floats(&[9.0])),
        ("encoder_l1_self_bq", FLOAT, vec![1, 2], floats(&[0.25, -8.0])),
        (CONFIG, BYTES, vec![12], b"dim-emb: 3\n\0".to_vec()),
    ]
}

fn parse(bytes: &[u8]) -> Result<Marian, CheckpointError> {
    Marian::parse(Bytes::copy_of(bytes), "test.bin")
}

#[test]
fn tensors_are_read() {
    let bytes = file(&items());
    assert!(is_marian(&bytes));
    let model = parse(&bytes).unwrap();
    assert_eq!(model.config(), "dim-emb: 3\n");
    let names: Vec<&str> = model.tensors().iter().map(|info| &*info.name).collect();
    assert_eq!(names, ["Wemb", "encoder_l1_self_Wq", "encoder_l1_self_bq"]);
    // Stored as its columns: `[2 outputs, 3 inputs]`.
    assert_eq!(model.tensors()[1].dims, [2, 3]);
    let rows = |index: usize, first: usize, n: usize| {
        let mut out = vec![0.0; n];
        model.read_rows(index, first, &mut out).unwrap();
        out
    };
    assert_eq!(rows(0, 1, 3), [1.0, 1.25, -31.75]);
    assert_eq!(rows(1, 0, 6), [2.0, 4.0, 6.0, 8.0, 10.0, 12.0]);
    assert_eq!(rows(2, 0, 2), [0.25, -8.0]);
    assert_eq!((model.row_step(0, 1), model.row_step(2, 0)), (Some(0.25), None));
    assert!(model.raw(0).is_err());
    assert_eq!(model.raw(2).unwrap().len(), 8);
    assert!(model.read_rows(1, 1, &mut [0.0; 6]).is_err());
}

#[test]
fn cut_files_are_errors() {
    let bytes = file(&items());
    for len in 0..bytes.len() {
        assert!(parse(&bytes[..len]).is_err(), "{len} bytes");
    }
}

#[test]
fn files_that_lie_are_errors() {
    let refused = |change: &dyn Fn(&mut Vec<Made>), expected: &str| {
        let mut items = items();
        change(&mut items);
        let error = parse(&file(&items)).err().unwrap().to_string();
        assert!(error.contains(expected) && error.contains("test.bin"), "{error}");
    };
    refused(&|items| items[0].1 = 0x4201, "0x4201");
    refused(&|items| items[0].2 = vec![1 << 30, 1 << 30], "\"Wemb\"");
    refused(&|items| items[0].2 = vec![i32::MAX; 4], "too large");
    refused(&|items| items[0].2 = vec![-1, 3], "below zero");
    refused(&|items| items[0].2 = vec![1; 5], "5 dimensions");
    refused(&|items| items[0].2 = vec![2, 7], "14 bytes");
    refused(&|items| items[0].3 = int8(&[0; 6], 0.0), "step of inf");
    refused(&|items| items[0].3 = int8(&[0; 6], f32::NAN), "step of NaN");
    refused(&|items| items[3].0 = "Wemb", "twice");
    refused(&|items| drop(items.pop()), "special:model.yml");
    refused(&|items| items[4].3 = vec![0xff, 0], "UTF-8");

    let mut huge = file(&items());
    huge[8..16].copy_from_slice(&u64::MAX.to_le_bytes());
    assert!(parse(&huge).err().unwrap().to_string().contains("items"));
    let mut version = file(&items());
    version[0] = 2;
    assert!(parse(&version).err().unwrap().to_string().contains("version 2"));
}

/// A shortlist of 4 words: [1, 3] for the second, [2] for the last.
fn shortlist() -> Vec<u8> {
    let offsets = [0u64, 0, 2, 2, 3];
    let words = [1u32, 3, 2];
    let mut bytes: Vec<u8> = [0xf11a_48d5_0134_17f5, 0, 2, 50, 5, 3]
        .into_iter()
        .chain(offsets)
        .flat_map(u64::to_le_bytes)
        .collect();
    bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    bytes.extend([0; 4]);
    summed(bytes)
}

/// With the checksum that it should have.
fn summed(mut bytes: Vec<u8>) -> Vec<u8> {
    let mut seed = 0u64;
    for number in bytes[16..].as_chunks::<8>().0 {
        let number = u64::from_le_bytes(*number);
        let shifted = (seed << 6).wrapping_add(seed >> 2);
        seed ^= number.wrapping_add(0x9e37_79b9).wrapping_add(shifted);
    }
    bytes[8..16].copy_from_slice(&seed.to_le_bytes());
    bytes
}

fn parse_shortlist(bytes: &[u8]) -> Result<Shortlist, CheckpointError> {
    Shortlist::parse(Bytes::copy_of(bytes), "lex.bin")
}

#[test]
fn shortlists_are_read() {
    let bytes = shortlist();
    assert!(is_shortlist(&bytes) && !is_marian(&bytes));
    let lists = parse_shortlist(&bytes).unwrap();
    assert_eq!((lists.vocab_size(), lists.n_frequent(), lists.n_words()), (4, 2, 3));
    let mut offsets = [f32::NAN; 5];
    lists.read_rows(lists.find("shortlist.offsets").unwrap(), 0, &mut offsets).unwrap();
    assert_eq!(offsets, [0.0, 0.0, 2.0, 2.0, 3.0]);
    let mut words = [f32::NAN; 3];
    lists.read_rows(lists.find("shortlist.words").unwrap(), 0, &mut words).unwrap();
    assert_eq!(words, [1.0, 3.0, 2.0]);
    assert!(lists.read_rows(2, 0, &mut words).is_err());
    assert!(lists.read_rows(1, 0, &mut [0.0; 4]).is_err());
}

#[test]
fn shortlists_that_lie_are_refused() {
    let sound = shortlist();
    for len in 0..sound.len() {
        assert!(parse_shortlist(&sound[..len]).is_err(), "{len}");
    }
    for at in 0..sound.len() {
        let mut bytes = sound.clone();
        bytes[at] ^= 0x40;
        assert!(parse_shortlist(&bytes).is_err(), "{at}");
        // What is summed anew must still be consistent, or harmless.
        let _ = parse_shortlist(&summed(bytes));
    }
    let changed = |at: usize, number: u64| {
        let mut bytes = sound.clone();
        bytes[at..at + 8].copy_from_slice(&number.to_le_bytes());
        parse_shortlist(&summed(bytes)).err().unwrap().to_string()
    };
    for (at, number, part) in [
        (32, u64::MAX, "more than"),
        (32, 1, "empty"),
        (40, u64::MAX / 4, "more than"),
        (40, 5, "not downloaded completely"),
        (40, 2, "do not end where they should"),
        (48, 1, "do not follow one another"),
        (64, 1 << 60, "do not follow one another"),
        (88, 4, "beyond its vocabulary"),
    ] {
        let error = changed(at, number);
        assert!(error.contains(part) && error.contains("lex.bin"), "{at} {number}: {error}");
    }
}
