use super::*;
use crate::checkpoint::{DType, Safetensors};

/// Writes GGUF files, right ones and wrong ones.
pub(crate) struct Writer {
    pub(crate) version: u32,
    entries: Vec<u8>,
    n_entries: u64,
    records: Vec<u8>,
    n_tensors: u64,
    data: Vec<u8>,
}

pub(crate) fn string(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
}

/// An array's kind, length and elements.
pub(crate) fn array(kind: u32, len: u64, elements: &[u8]) -> Vec<u8> {
    [&kind.to_le_bytes()[..], &len.to_le_bytes(), elements].concat()
}

impl Writer {
    pub(crate) fn new() -> Self {
        Self {
            version: 3,
            entries: Vec::new(),
            n_entries: 0,
            records: Vec::new(),
            n_tensors: 0,
            data: Vec::new(),
        }
    }

    pub(crate) fn entry(mut self, key: &str, kind: u32, value: &[u8]) -> Self {
        self.entries.extend(string(key));
        self.entries.extend(kind.to_le_bytes());
        self.entries.extend(value);
        self.n_entries += 1;
        self
    }

    /// A record whose offset is said to be `offset`; `dims` with the innermost first.
    pub(crate) fn record(mut self, name: &str, dims: &[u64], id: u32, offset: u64) -> Self {
        self.records.extend(string(name));
        self.records.extend((dims.len() as u32).to_le_bytes());
        self.records.extend(dims.iter().flat_map(|d| d.to_le_bytes()));
        self.records.extend(id.to_le_bytes());
        self.records.extend(offset.to_le_bytes());
        self.n_tensors += 1;
        self
    }

    pub(crate) fn tensor(self, name: &str, dims: &[u64], id: u32, data: &[u8]) -> Self {
        let offset = self.data.len().next_multiple_of(32);
        let mut this = self.record(name, dims, id, offset as u64);
        this.data.resize(offset, 0);
        this.data.extend(data);
        this
    }

    pub(crate) fn finish(&self) -> Vec<u8> {
        let mut file = b"GGUF".to_vec();
        file.extend(self.version.to_le_bytes());
        file.extend(self.n_tensors.to_le_bytes());
        file.extend(self.n_entries.to_le_bytes());
        file.extend(&self.entries);
        file.extend(&self.records);
        file.resize(file.len().next_multiple_of(32), 0);
        file.extend(&self.data);
        file
    }
}

/// A file with every kind of metadata and a few tensors.
pub(crate) fn small() -> Vec<u8> {
    let words = [string("a"), string("βγ"), string("")].concat();
    let nested =
        [array(4, 2, &[1u32.to_le_bytes(), 2u32.to_le_bytes()].concat()), array(8, 3, &words)]
            .concat();
    Writer::new()
        .entry("u8", 0, &[200])
        .entry("i8", 1, &[200])
        .entry("u16", 2, &60000u16.to_le_bytes())
        .entry("i16", 3, &(-3i16).to_le_bytes())
        .entry("u32", 4, &4_000_000_000u32.to_le_bytes())
        .entry("i32", 5, &(-5i32).to_le_bytes())
        .entry("f32", 6, &1.5f32.to_le_bytes())
        .entry("bool", 7, &[1])
        .entry("string", 8, &string("text"))
        .entry("words", 9, &array(8, 3, &words))
        .entry("nested", 9, &array(9, 2, &nested))
        .entry("u64", 10, &u64::MAX.to_le_bytes())
        .entry("i64", 11, &i64::MIN.to_le_bytes())
        .entry("f64", 12, &0.1f64.to_le_bytes())
        .entry("flags", 9, &array(7, 2, &[0, 1]))
        .entry("floats", 9, &array(6, 1, &2f32.to_le_bytes()))
        .tensor("matrix", &[2, 3], 1, &[0x00, 0x3c].repeat(6))
        .tensor("blocks", &[32, 2], 8, &[[0x00, 0x3c].as_slice(), &[7; 32]].concat().repeat(2))
        .tensor("none", &[0], 0, &[])
        .finish()
}

fn parse(file: &[u8]) -> Result<Gguf, CheckpointError> {
    Gguf::parse(Bytes::copy_of(file), "model.gguf")
}

#[test]
fn metadata_of_every_kind_is_read() {
    let gguf = parse(&small()).unwrap();
    let metadata = gguf.metadata();
    assert_eq!(gguf.version(), 3);
    assert_eq!(metadata.u64("u8"), Some(200));
    assert_eq!(metadata.i64("i8"), Some(-56));
    assert_eq!(metadata.u64("i8"), None);
    assert_eq!(metadata.u64("u16"), Some(60000));
    assert_eq!(metadata.i64("i16"), Some(-3));
    assert_eq!(metadata.u64("u32"), Some(4_000_000_000));
    assert_eq!(metadata.i64("i32"), Some(-5));
    assert_eq!(metadata.u64("u64"), Some(u64::MAX));
    assert_eq!(metadata.i64("u64"), None);
    assert_eq!(metadata.i64("i64"), Some(i64::MIN));
    assert_eq!(metadata.f32("f32"), Some(1.5));
    assert_eq!(metadata.f32("f64"), Some(0.1));
    assert_eq!(metadata.f32("u8"), None);
    assert_eq!(metadata.bool("bool"), Some(true));
    assert_eq!(metadata.bool("u8"), None);
    assert_eq!(metadata.str("string").unwrap(), Some("text"));
    assert_eq!(metadata.str("words").unwrap(), None);
    let words = metadata.strs("words").unwrap().unwrap();
    assert_eq!(words, ["a", "βγ", ""]);
    assert_eq!(metadata.bools("flags"), Some(vec![false, true]));
    assert_eq!(metadata.f32s("floats"), Some(vec![2.0]));
    assert_eq!(metadata.i64s("floats"), None);
    assert_eq!(metadata.value("missing"), None);
    assert_eq!(metadata.iter().len(), 16);

    let nested: Vec<_> = metadata.array("nested").unwrap().iter().collect();
    let [Value::Array(numbers), Value::Array(inner)] = nested[..] else {
        panic!("{nested:?}");
    };
    assert_eq!(numbers.iter().collect::<Vec<_>>(), [Value::U32(1), Value::U32(2)]);
    assert_eq!((inner.kind(), inner.len()), (Kind::String, 3));
    assert_eq!(inner.byte_strings().nth(1), Some("βγ".as_bytes()));
    assert_eq!(numbers.byte_strings().count(), 0);
}

#[test]
fn tensors_have_their_outermost_dimension_first() {
    let gguf = parse(&small()).unwrap();
    assert_eq!(gguf.tensors()[0].dims, [3, 2]);
    let mut all = [0.0; 6];
    gguf.read_rows(0, 0, &mut all).unwrap();
    assert_eq!(all, [1.0; 6]);
    let blocks = gguf.find("blocks").unwrap();
    assert_eq!(gguf.raw(blocks).unwrap().len(), 68);
    let mut row = [0.0; 32];
    gguf.read_rows(blocks, 1, &mut row).unwrap();
    assert_eq!(row, [7.0; 32]);
    assert!(gguf.raw(gguf.find("none").unwrap()).unwrap().is_empty());
}

#[test]
fn every_block_type_decodes_as_in_the_reference() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/goldens/gguf_blocks.golden");
    let golden = Safetensors::open(path).unwrap();
    let types = [
        (2, DType::Q4_0),
        (3, DType::Q4_1),
        (6, DType::Q5_0),
        (7, DType::Q5_1),
        (8, DType::Q8_0),
        (10, DType::Q2_K),
        (11, DType::Q3_K),
        (12, DType::Q4_K),
        (13, DType::Q5_K),
        (14, DType::Q6_K),
        (20, DType::IQ4_NL),
        (23, DType::IQ4_XS),
        (34, DType::TQ1_0),
        (35, DType::TQ2_0),
        (39, DType::MXFP4),
    ];
    assert_eq!(golden.tensors().len(), 2 * types.len());
    for (id, dtype) in types {
        let blocks = golden.find(&format!("{dtype}.blocks")).unwrap();
        let values = golden.find(&format!("{dtype}.values")).unwrap();
        let dims = &golden.tensors()[values].dims;
        let mut expected = vec![0.0; dims[0] * dims[1]];
        golden.read_rows(values, 0, &mut expected).unwrap();

        // The first row is one block, so that rows begin inside the data, too.
        let gguf = Writer::new()
            .tensor("t", &[dims[1] as u64, dims[0] as u64], id, golden.raw(blocks).unwrap())
            .finish();
        let gguf = parse(&gguf).unwrap();
        assert_eq!(gguf.tensors()[0].dtype, dtype);
        assert_eq!(gguf.raw(0).unwrap(), golden.raw(blocks).unwrap());
        let mut found = vec![f32::NAN; expected.len()];
        gguf.read_rows(0, 0, &mut found[..dims[1]]).unwrap();
        gguf.read_rows(0, 1, &mut found[dims[1]..]).unwrap();
        for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
            assert_eq!(found.to_bits(), expected.to_bits(), "{dtype}[{i}]: {found} {expected}");
        }
    }
}

#[test]
fn each_lie_is_named() {
    let message = |file: Vec<u8>| match parse(&file) {
        Ok(_) => panic!("accepted"),
        Err(error) => error.to_string(),
    };
    let with_version = |version: u32| {
        let mut writer = Writer::new();
        writer.version = version;
        writer.finish()
    };
    let with_counts = |at: usize, count: u64| {
        let mut file = small();
        file[at..at + 8].copy_from_slice(&count.to_le_bytes());
        file
    };
    let deep = (0..6).fold(array(0, 0, &[]), |inner, _| array(9, 1, &inner));
    let record = |dims: &[u64], id, offset| Writer::new().record("t", dims, id, offset).finish();
    let value = |key, kind, value: &[u8]| Writer::new().entry(key, kind, value).finish();
    let too_large = if usize::BITS < 64 { "too many for this machine" } else { "too large" };
    let cases = [
        (b"GGML".to_vec(), "does not begin"),
        (with_version(1), "version 1 is not supported"),
        (with_version(4), "version 4"),
        (with_version(3u32.swap_bytes()), "big-endian"),
        (with_counts(8, u64::MAX), "claims 18446744073709551615 tensors"),
        (with_counts(16, 1 << 40), "metadata entries"),
        (value("k", 13, &[0]), "\"k\" has a value of type 13"),
        (value("k", 9, &deep), "more than 4 levels deep"),
        (value("k", 9, &array(10, 1 << 61, &[])), "claims 2305843009213693952 elements"),
        (value("k", 8, &u64::MAX.to_le_bytes()), "takes 18446744073709551615 bytes"),
        (Writer::new().entry("k", 0, &[1]).entry("k", 0, &[2]).finish(), "\"k\" appears twice"),
        (value("general.alignment", 4, &48u32.to_le_bytes()), "is 48"),
        (value("general.alignment", 4, &0u32.to_le_bytes()), "is 0"),
        (value("general.alignment", 10, &32u64.to_le_bytes()), "of type U64"),
        (value("split.count", 2, &3u16.to_le_bytes()), "part 1 of 3"),
        (record(&[1; 5], 0, 0), "5 dimensions"),
        (record(&[u64::MAX, 2], 0, 0), too_large),
        (record(&[1 << 33, 1 << 33, 0], 0, 0), too_large),
        (record(&[33], 8, 0), "not whole blocks of 32 Q8_0"),
        (record(&[256], 16, 0), "type IQ2_XXS"),
        (record(&[64], 40, 0), "type NVFP4"),
        (record(&[1], 99, 0), "number 99"),
        (record(&[1], 0, 8), "not a multiple of 32"),
        (record(&[1], 0, 32), "takes 4 bytes from"),
        (record(&[1], 0, !31), "takes 4 bytes from"),
        (record(&[0], 0, 1 << 40), "takes 0 bytes from"),
        (
            Writer::new().tensor("t", &[1], 24, &[0]).tensor("t", &[1], 24, &[0]).finish(),
            "\"t\": appears twice",
        ),
        (
            Writer::new().tensor("t", &[40], 24, &[0; 40]).record("u", &[1], 24, 32).finish(),
            "shares bytes with tensor \"t\"",
        ),
    ];
    for (file, expected) in cases {
        let message = message(file);
        assert!(message.contains(expected), "{message} lacks {expected}");
        assert!(message.starts_with("model.gguf: "), "{message}");
    }
}

#[test]
fn an_alignment_of_its_own_is_followed() {
    let mut file = Writer::new()
        .entry("general.alignment", 4, &256u32.to_le_bytes())
        .record("t", &[4], 24, 256)
        .finish();
    assert!(file.len() < 256);
    file.resize(512, 0);
    file.extend([1, 2, 3, 4]);
    let gguf = parse(&file).unwrap();
    assert_eq!(gguf.raw(0).unwrap(), [1, 2, 3, 4]);
}

#[test]
fn strings_that_are_not_utf8_are_still_there_as_bytes() {
    let mut broken = string("ab");
    broken[9] = 0xff;
    let file = Writer::new()
        .entry("text", 8, &broken)
        .entry("words", 9, &array(8, 2, &[string("x"), broken.clone()].concat()))
        .finish();
    let gguf = parse(&file).unwrap();
    let metadata = gguf.metadata();
    assert!(metadata.str("text").is_err());
    let error = metadata.strs("words").unwrap_err().to_string();
    assert!(error.contains("\"words\": element 1 is not"), "{error}");
    let words: Vec<_> = metadata.array("words").unwrap().byte_strings().collect();
    assert_eq!(words, [b"x".as_slice(), b"a\xff"]);
}
