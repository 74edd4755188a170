//! Damaged and forged files: every one is a typed error or harmless, as it is and with its head
//! hash computed anew (someone who forges a file computes the hashes too).

use std::panic;

use super::header::{HASH, head_hash};
use super::index::RECORD;
use super::limits::HEADER;
use super::*;
use crate::map::Bytes;

/// Opens bytes, and where that succeeds does everything a user of the file would do.
fn open_and_use(bytes: &[u8]) -> Result<(), KingletError> {
    let file = KingletFile::from_bytes(Bytes::copy_of(bytes))?;
    for (i, tensor) in file.tensors().iter().enumerate() {
        assert_eq!(file.find(&tensor.name), Some(i));
        assert!(tensor.n_bytes() as u64 <= file.data_len());
        let mut row = vec![0.0; tensor.cols()];
        for r in [0, tensor.rows() - 1] {
            match file.view(i) {
                View::I8(matrix) => matrix.row(r, &mut row),
                View::I4(matrix) => matrix.row(r, &mut row),
                View::F16(matrix) => matrix.row(r, &mut row),
                View::F32 { data, .. } => {
                    let cols = tensor.cols();
                    row.copy_from_slice(&data[r * cols..][..cols]);
                }
                View::U32 { data } => assert!(data.len() >= (r + 1) * tensor.cols()),
            }
        }
    }
    file.verify(&mut |_, _| {})
}

/// Start of the data section by the lengths in the header, if they make sense.
fn head_len(bytes: &[u8]) -> Option<usize> {
    let header = bytes.first_chunk::<HEADER>()?;
    let length = |i: usize| u64::from_le_bytes(header[24 + 8 * i..][..8].try_into().unwrap());
    let mut at = HEADER as u64;
    for i in 0..4 {
        at = at.checked_next_multiple_of(64)?.checked_add(length(i))?;
    }
    let at = usize::try_from(at.checked_next_multiple_of(64)?).ok()?;
    (at <= bytes.len()).then_some(at)
}

/// Computes the head hash anew.
fn reseal(bytes: &mut [u8]) {
    if let Some(n) = head_len(bytes) {
        let hash = head_hash(&bytes[..n]);
        bytes[HASH].copy_from_slice(&hash);
    }
}

/// The sample with a change, resealed; its error.
fn forged(change: impl FnOnce(&mut Vec<u8>)) -> KingletError {
    let mut bytes = sample::bytes();
    change(&mut bytes);
    reseal(&mut bytes);
    open_and_use(&bytes).expect_err("the forged file was accepted")
}

/// Places of the sections of the sample.
struct Sections {
    index: usize,
    data: usize,
}

/// Length of section number `i`.
fn length(bytes: &[u8], i: usize) -> usize {
    u64::from_le_bytes(bytes[24 + 8 * i..][..8].try_into().unwrap()) as usize
}

fn sections(bytes: &[u8]) -> Sections {
    let length = |i: usize| length(bytes, i);
    let tokenizer = (HEADER + length(0)).next_multiple_of(64);
    Sections { index: (tokenizer + length(1)).next_multiple_of(64), data: head_len(bytes).unwrap() }
}

/// Changes record number `i` of the index.
fn forge_record(i: usize, change: impl FnOnce(&mut [u8])) -> String {
    let error = forged(|bytes| {
        let at = sections(bytes).index + i * RECORD;
        change(&mut bytes[at..at + RECORD]);
    });
    assert!(!matches!(error, KingletError::HeadHash), "resealed");
    error.to_string()
}

#[test]
fn cut_at_every_byte() {
    let bytes = sample::bytes();
    for n in 0..bytes.len() {
        let error = open_and_use(&bytes[..n]).unwrap_err();
        match error {
            KingletError::TooShort { found } => assert!(n < HEADER && found == n as u64),
            KingletError::Truncated { expected, found } => {
                assert_eq!((expected, found), (bytes.len() as u64, n as u64));
            }
            other => panic!("cut at {n}: {other}"),
        }
    }
    let longer = [&bytes[..], &[0]].concat();
    assert!(matches!(open_and_use(&longer), Err(KingletError::TrailingBytes { .. })));
    assert!(open_and_use(&bytes).is_ok());
}

#[test]
fn cut_at_every_byte_with_the_length_forged() {
    let bytes = sample::bytes();
    for n in HEADER..bytes.len() {
        let mut cut = bytes[..n].to_vec();
        cut[16..24].copy_from_slice(&(n as u64).to_le_bytes());
        reseal(&mut cut);
        let error = open_and_use(&cut).unwrap_err();
        let expected =
            matches!(error, KingletError::SectionSum { .. } | KingletError::SectionLength { .. });
        assert!(expected, "cut at {n}: {error}");
    }
}

#[test]
fn every_bit_flipped() {
    let good = sample::bytes();
    let data = sections(&good).data;
    let mut bytes = good.clone();
    for at in 0..good.len() {
        for bit in 0..8 {
            bytes[at] ^= 1 << bit;
            let error = open_and_use(&bytes).expect_err("a damaged file was accepted");
            let expected = match at {
                0..8 => {
                    matches!(error, KingletError::NotKinglet { .. } | KingletError::Mangled { .. })
                }
                8..10 => matches!(error, KingletError::Version { .. }),
                10..12 => matches!(error, KingletError::HeadHash),
                12..16 => matches!(error, KingletError::Features { .. }),
                16..24 => matches!(
                    error,
                    KingletError::Truncated { .. } | KingletError::TrailingBytes { .. }
                ),
                24..64 => matches!(
                    error,
                    KingletError::SectionLength { .. }
                        | KingletError::SectionSum { .. }
                        // Within the padding of a section, the sum stays the same.
                        | KingletError::HeadHash
                ),
                96..128 => matches!(error, KingletError::Reserved { .. }),
                at if at < data => matches!(error, KingletError::HeadHash),
                // A tensor is told by its name; what lies between tensors, by its chunk.
                _ => {
                    matches!(error, KingletError::Tensor { .. } | KingletError::Chunk { chunk: 0 })
                }
            };
            assert!(expected, "byte {at}, bit {bit}: {error}");
            bytes[at] ^= 1 << bit;
        }
    }
}

#[test]
fn every_bit_of_the_head_flipped_and_resealed() {
    let good = sample::bytes();
    let data = sections(&good).data;
    let mut accepted = 0;
    for at in 0..data {
        for bit in 0..8 {
            let mut bytes = good.clone();
            bytes[at] ^= 1 << bit;
            reseal(&mut bytes);
            let result = panic::catch_unwind(|| open_and_use(&bytes));
            match result.unwrap_or_else(|_| panic!("byte {at}, bit {bit} made it panic")) {
                Ok(()) => accepted += 1,
                Err(error) => {
                    let message = error.to_string();
                    let sealed = !HASH.contains(&at) && matches!(error, KingletError::HeadHash);
                    assert!(!sealed, "byte {at}, bit {bit} was not resealed");
                    assert!(!message.is_empty());
                }
            }
        }
    }
    // Other names, numbers and texts make other files, and those are fine.
    assert!(accepted > 1000, "{accepted}");
}

#[test]
fn damage_to_the_data_is_found_with_the_chunk_table_forged_too() {
    let good = sample::bytes();
    let data = sections(&good).data;
    for at in data..good.len() {
        let mut bytes = good.clone();
        bytes[at] ^= 0x10;
        let hash = blake3::hash(&bytes[data..]);
        bytes[data - 64..data - 32].copy_from_slice(hash.as_bytes());
        reseal(&mut bytes);
        match open_and_use(&bytes).unwrap_err() {
            KingletError::Tensor {
                problem: TensorProblem::Hash | TensorProblem::PlanePadding { .. },
                ..
            } => {}
            other => panic!("byte {at}: {other}"),
        }
    }
}

#[test]
fn impossible_values_are_found_with_all_hashes_forged() {
    let good = sample::bytes();
    let Sections { index, data } = sections(&good);
    // The first tensor is [11, 9] f16: row 3 of its second panel, column 0, is padding.
    for (at, what) in [(9 * 16 + 2 * 3, "padding rows"), (1, "not finite")] {
        let mut bytes = good.clone();
        bytes[data + at] = if at == 1 { 0x7c } else { 1 };
        let hash = blake3::hash(&bytes[data..][..288]);
        bytes[index + 224..index + 256].copy_from_slice(hash.as_bytes());
        let hash = blake3::hash(&bytes[data..]);
        bytes[data - 64..data - 32].copy_from_slice(hash.as_bytes());
        reseal(&mut bytes);
        let message = open_and_use(&bytes).unwrap_err().to_string();
        assert!(message.contains("embed_tokens.weight`: its data holds"), "{message}");
        assert!(message.contains(what), "{message}");
    }
}

#[test]
fn header_fields() {
    let version = |major: u16, minor: u16| {
        forged(|b| {
            b[8..10].copy_from_slice(&major.to_le_bytes());
            b[10..12].copy_from_slice(&minor.to_le_bytes());
        })
        .to_string()
    };
    assert!(version(3, 3).contains("version 3.3, this Kinglet reads version 2; update Kinglet"));
    assert!(version(1, 0).contains("convert the checkpoint again"));
    let features = forged(|b| b[12] = 5).to_string();
    assert!(features.contains("flags 0x5); update Kinglet"), "{features}");
    assert!(matches!(forged(|b| b[127] = 1), KingletError::Reserved { .. }));

    // A newer minor version is read, unless its meta section is not understood.
    let mut newer = sample::bytes();
    newer[10] = 7;
    reseal(&mut newer);
    assert!(open_and_use(&newer).is_ok());
    let at = newer.windows(9).position(|w| w == b"\"general\"").unwrap();
    newer[at + 1] = b'G';
    reseal(&mut newer);
    let message = open_and_use(&newer).unwrap_err().to_string();
    assert!(message.contains("unknown field `General`"), "{message}");
    assert!(message.ends_with("update Kinglet"), "{message}");
    // Nor what only a newer reader can check.
    let mut meta = sample::meta();
    meta.spec.context_length = 0;
    let mut newer = with_meta(&serde_json::to_vec(&meta).unwrap());
    newer[10] = 7;
    reseal(&mut newer);
    let message = open_and_use(&newer).unwrap_err().to_string();
    assert!(message.contains("context_length"), "{message}");
    assert!(message.ends_with("update Kinglet"), "{message}");

    let length = |i: usize, n: u64| {
        forged(|b| b[24 + 8 * i..][..8].copy_from_slice(&n.to_le_bytes())).to_string()
    };
    assert!(length(0, u64::MAX).contains("the meta section is 18446744073709551615 bytes long"));
    assert!(length(4, 64).contains("add up to"));
    for i in 0..5 {
        for n in [0, 1, 1 << 20, u64::MAX - 63, u64::MAX] {
            length(i, n);
        }
    }
}

#[test]
fn sections_that_do_not_belong_together() {
    // A tensor's data is moved to the chunk table: both lengths change, their sum does not.
    let error = forged(|bytes| {
        let data = u64::from_le_bytes(bytes[56..64].try_into().unwrap()) - 64;
        bytes[56..64].copy_from_slice(&data.to_le_bytes());
        bytes[48..56].copy_from_slice(&128u64.to_le_bytes());
    });
    assert!(matches!(error, KingletError::ChunkTableLength { expected: 32, found: 128, .. }));
    // The index ends in the middle of a record.
    let error = forged(|bytes| {
        let end = sections(bytes).data - 64;
        bytes[end - 2..end].fill(0);
        let length = u64::from_le_bytes(bytes[40..48].try_into().unwrap()) - 2;
        bytes[40..48].copy_from_slice(&length.to_le_bytes());
    });
    assert!(matches!(error, KingletError::IndexLength { .. }), "{error}");
    // One record less: the data section is too long.
    let mut bytes = sample::bytes();
    let Sections { index, data } = sections(&bytes);
    let table = data - 64;
    bytes.drain(table - RECORD..table);
    let file = bytes.len() as u64;
    bytes[16..24].copy_from_slice(&file.to_le_bytes());
    bytes[40..48].copy_from_slice(&((table - RECORD - index) as u64).to_le_bytes());
    reseal(&mut bytes);
    let error = open_and_use(&bytes).unwrap_err();
    assert!(matches!(error, KingletError::DataLength { .. }), "{error}");
    // Padding after the meta section.
    let error = forged(|bytes| {
        let meta = length(bytes, 0);
        assert_ne!(meta % 64, 0, "the sample has padding there");
        bytes[HEADER + meta] = 1;
    });
    assert!(matches!(error, KingletError::SectionPadding { section: Section::Tokenizer }));
}

#[test]
fn record_fields() {
    fn put(record: &mut [u8], at: usize, n: u64) {
        record[at..at + 8].copy_from_slice(&n.to_le_bytes());
    }
    let check = |i: usize, expected: &str, change: &dyn Fn(&mut [u8])| {
        let message = forge_record(i, change);
        assert!(message.contains(expected), "{message}\nexpected {expected}");
    };
    check(0, "index record 0: the name is empty", &|r| r[..112].fill(0));
    check(0, "not padded with zeros", &|r| r[111] = b'x');
    check(0, "index record 0: the name: invalid utf-8", &|r| r[3] = 0xff);
    check(0, "control characters", &|r| r[3] = b'\n');
    check(6, "`decoder.layers.0.attn_norm.weight`: the name is used twice", &|r| {
        r[..112].fill(0);
        r[..33].copy_from_slice(b"decoder.layers.0.attn_norm.weight");
    });
    check(1, "role 9 is unknown", &|r| r[112] = 9);
    check(1, "layout id 77 is unknown", &|r| r[114] = 77);
    check(1, "group 0 does not exist in layout i4.r8k16", &|r| r[114] = 16);
    check(1, "0 dimensions", &|r| r[116] = 0);
    check(1, "5 dimensions", &|r| r[116] = 5);
    check(1, "255 dimensions", &|r| r[116] = 255);
    check(1, "1 dimensions, but [9, 1, 0, 0] are given", &|r| put(r, 136, 1));
    check(1, "1 planes expected for [9] f32, 2 found", &|r| r[117] = 2);
    check(1, "reserved bytes", &|r| r[118] = 1);
    check(1, "reserved bytes", &|r| r[127] = 1);
    check(1, "reserved bytes", &|r| put(r, 176, 64));
    check(1, "reserved bytes", &|r| r[223] = 1);
    check(1, "group 64 does not exist in layout f32", &|r| r[120] = 64);
    check(2, "group 65 does not exist in layout i8.r8k8", &|r| r[120] = 65);
    check(1, "a dimension of [0] is zero", &|r| put(r, 128, 0));
    check(2, "overflow", &|r| put(r, 128, u64::MAX));
    check(2, "overflow", &|r| {
        put(r, 128, 1 << 40);
        put(r, 136, 1 << 40);
    });
    check(
        2,
        "tensor `decoder.layers.0.up_proj.weight`: 3072 bytes expected for plane 0 of \
         [17, 70] i8.r8k8 g64, 2048 found",
        &|r| put(r, 128, 17),
    );
    // A huge tensor whose record agrees with itself.
    check(1, "ends outside the data section", &|r| {
        put(r, 128, 1 << 40);
        put(r, 168, 1 << 42);
    });
    check(1, "plane 0 begins at 0 of the data section, 320 expected", &|r| put(r, 160, 0));
    check(2, "plane 1 begins at 2440", &|r| put(r, 176, 2440));
    check(2, "plane 0 begins at 18446744073709551615", &|r| put(r, 160, u64::MAX));
    for bad in [f32::NAN, f32::INFINITY, -0.5, -0.0] {
        check(1, "its relative error is", &|r| r[208..212].copy_from_slice(&bad.to_le_bytes()));
    }
}

/// The sample with another meta section of any length.
fn with_meta(text: &[u8]) -> Vec<u8> {
    let bytes = sample::bytes();
    let old = length(&bytes, 0);
    let mut out = bytes[..HEADER].to_vec();
    out.extend_from_slice(text);
    out.resize(out.len().next_multiple_of(64), 0);
    out.extend_from_slice(&bytes[(HEADER + old).next_multiple_of(64)..]);
    let file = out.len() as u64;
    out[16..24].copy_from_slice(&file.to_le_bytes());
    out[24..32].copy_from_slice(&(text.len() as u64).to_le_bytes());
    reseal(&mut out);
    out
}

#[test]
fn meta_sections() {
    let good = serde_json::to_string(&sample::meta()).unwrap();
    assert!(open_and_use(&with_meta(good.as_bytes())).is_ok());
    let message = |text: &str| open_and_use(&with_meta(text.as_bytes())).unwrap_err().to_string();
    let replaced = |from: &str, to: &str| {
        assert!(good.contains(from), "{from}");
        message(&good.replacen(from, to, 1))
    };
    assert!(message("").contains("EOF"));
    assert!(message("{}").contains("missing field `general`"));
    assert!(message(&good[..good.len() - 1]).contains("EOF"));
    assert!(message(&format!("{good}x")).contains("trailing characters"));
    assert!(message(&"[".repeat(1 << 20)).contains("nested"));
    assert!(message(&format!("{{\"labels\":[{}\"\"]", "\"\",".repeat(1 << 19))).contains("values"));
    let large = format!("{good}{}", " ".repeat(META_BYTES));
    assert!(message(&large).contains("at most 16777216"));
    assert!(replaced("\"labels\"", "\"lables\"").contains("unknown field `lables`"));
    assert!(replaced("\"labels\"", "\"general\":{},\"labels\"").contains("duplicate field"));
    let classifier =
        r#""heads":[{"chain":[{"size":3}],"output":{"kind":"labels","scores":"softmax"}},"#;
    assert!(replaced("\"heads\":[", classifier).contains("2 labels for 3 outputs"));
    assert!(replaced("\"causal\":true", "\"causal\":true,\"alibi\":1").contains("`alibi`"));
    assert!(replaced("\"kind\":\"rope\"", "\"kind\":\"alibi\"").contains("`alibi`"));
    assert!(replaced("\"eps\":0.00001", "\"eps\":1e300").contains("eps is inf"));
    assert!(replaced("\"eps\":0.00001", "\"eps\":-1").contains("eps is -1"));
    assert!(replaced("\"hidden_size\":9", "\"hidden_size\":0").contains("hidden_size is 0"));
    assert!(replaced("\"hidden_size\":9", "\"hidden_size\":-1").contains("cannot be understood"));
    assert!(
        replaced("\"temperature\":0.2", "\"temperature\":-0.2").contains("temperature is -0.2")
    );
    assert!(replaced("sample", "sam\\ud800ple").contains("cannot be understood"));
    let invalid = good.replacen("sample", "\u{1}", 1);
    assert!(message(&invalid).contains("control character"));
    let mut bytes = good.into_bytes();
    bytes[20] = 0xff;
    assert!(open_and_use(&with_meta(&bytes)).is_err());
}

/// A reproducible stand-in for a fuzzer: random damage in random places, resealed.
#[test]
fn random_damage_resealed() {
    let good = sample::bytes();
    let data = sections(&good).data;
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut random = |n: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % n as u64) as usize
    };
    let interesting = [0, 1, 0x7f, 0x80, 0xff, 8, 16, 64];
    for round in 0..20_000 {
        let mut bytes = good.clone();
        for _ in 0..1 + random(4) {
            // Half of the damage to the header and index, where numbers steer the reader.
            let (start, end) = [(0, data), (0, HEADER), (sections(&good).index, data)][random(3)];
            let at = start + random(end - start);
            match random(4) {
                0 => bytes[at] ^= 1 << random(8),
                1 => bytes[at] = interesting[random(interesting.len())],
                2 => {
                    let from = random(data - 8);
                    bytes.copy_within(from..from + 8, at.min(data - 8));
                }
                _ => {
                    let value = [0, u64::MAX, 1 << 63, 1 << 32, 64][random(5)];
                    let at = (at & !7).min(data - 8);
                    bytes[at..at + 8].copy_from_slice(&u64::to_le_bytes(value));
                }
            }
        }
        reseal(&mut bytes);
        if panic::catch_unwind(|| drop(open_and_use(&bytes))).is_err() {
            panic!("round {round} made it panic");
        }
    }
}
